// SPDX-License-Identifier: GPL-2.0
/* A function that belongs to this process, through iommufd. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "endpoint.h"
#include "host.h"
#include "iommufd.h"

#define COMMAND		0x04
#define MASTER		0x0006

#define BIND_IOMMUFD	_IO(VFIO_TYPE, VFIO_BASE + 18)
#define ATTACH_PT	_IO(VFIO_TYPE, VFIO_BASE + 19)
#define DETACH_PT	_IO(VFIO_TYPE, VFIO_BASE + 20)
#define IOMMUFD_IO(nr)	_IO(';', nr)

static bool fails(const char *what)
{
	int err = errno;

	ktap_diag("%s: %s", what, strerror(err));
	errno = err;
	return false;
}

bool owner_give(struct ep *ep)
{
	int err;

	ep_close(ep);
	err = write_file("/sys/bus/pci/drivers/atctest/unbind", ep->bdf);
	err = err ?: ep_sysfs(ep, "driver_override", "vfio-pci");
	err = err ?: write_file("/sys/bus/pci/drivers/vfio-pci/bind", ep->bdf);
	errno = err;
	return !err || fails("vfio-pci");
}

/* Open the device file of the function @ep */
static int open_cdev(struct ep *ep)
{
	char path[300];
	struct dirent *e;
	DIR *dir;
	int fd = -1;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev",
		 ep->bdf);
	dir = opendir(path);
	while (dir && fd < 0 && (e = readdir(dir)))
		if (!strncmp(e->d_name, "vfio", 4)) {
			snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
				 e->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
	if (dir)
		closedir(dir);
	if (fd < 0)
		fails(path);
	return fd;
}

static bool open_regions(struct owner *o)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX
	};
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX
	};

	if (ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &config))
		return fails("regions");
	o->config = config.offset;
	o->bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      o->device, bar.offset);
	return o->bar != MAP_FAILED || fails("BAR 0");
}

bool owner_open(struct owner *o, struct ep *ep, const struct owner *first)
{
	struct {
		uint32_t argsz, flags;
		int32_t iommufd;
		uint32_t devid;
	} bind = { .argsz = sizeof(bind) };

	o->iommufd = first ? first->iommufd : open("/dev/iommu",
						   O_RDWR | O_CLOEXEC);
	o->device = open_cdev(ep);
	if (o->iommufd < 0 || o->device < 0)
		return fails("iommufd");
	bind.iommufd = o->iommufd;
	if (ioctl(o->device, BIND_IOMMUFD, &bind))
		return fails("bind");
	o->id = bind.devid;
	return open_regions(o) && owner_enable(o);
}

void owner_close(struct owner *o)
{
	munmap((void *)o->bar, BAR_SIZE);
	close(o->device);
	close(o->iommufd);
}

bool owner_enable(struct owner *o)
{
	uint16_t command = MASTER;

	return pwrite(o->device, &command, 2, o->config + COMMAND) == 2 ||
	       fails("COMMAND");
}

bool owner_reset(struct owner *o)
{
	return (!vfio_reset(o->device) || fails("reset")) &&
	       owner_enable(o);
}

bool owner_attach(struct owner *o, uint32_t pt)
{
	struct {
		uint32_t argsz, flags, pt, pasid;
	} a = { .argsz = 12, .pt = pt };

	return !ioctl(o->device, ATTACH_PT, &a) || fails("attach");
}

bool owner_detach(struct owner *o)
{
	struct {
		uint32_t argsz, flags;
	} d = { .argsz = sizeof(d) };

	return !ioctl(o->device, DETACH_PT, &d) || fails("detach");
}

static bool call(struct owner *o, unsigned int nr, void *arg, const char *what)
{
	return !ioctl(o->iommufd, IOMMUFD_IO(nr), arg) || fails(what);
}

uint32_t ioas_alloc(struct owner *o)
{
	struct {
		uint32_t size, flags, id;
	} a = { .size = sizeof(a) };

	return call(o, IOMMUFD_IOAS_ALLOC, &a, "IOAS") ? a.id : 0;
}

bool ioas_map(struct owner *o, uint32_t ioas, uint64_t iova, void *va,
	      uint64_t len)
{
	struct {
		uint32_t size, flags, ioas, reserved;
		uint64_t va, len, iova;
	} m = {
		.size = sizeof(m), .flags = 7 /* fixed IOVA, write, read */,
		.ioas = ioas, .va = (uintptr_t)va, .len = len, .iova = iova,
	};

	return call(o, IOMMUFD_IOAS_MAP, &m, "map");
}

bool ioas_unmap(struct owner *o, uint32_t ioas, uint64_t iova, uint64_t len)
{
	struct {
		uint32_t size, ioas;
		uint64_t iova, len;
	} u = { .size = sizeof(u), .ioas = ioas, .iova = iova, .len = len };

	return call(o, IOMMUFD_IOAS_UNMAP, &u, "unmap");
}

uint32_t hwpt_alloc(struct owner *o, uint32_t pt, uint32_t flags,
		    uint32_t fault, const uint64_t ste[2])
{
	struct {
		uint32_t size, flags, dev, pt, id, reserved, type, len;
		uint64_t data;
		uint32_t fault, reserved2;
	} a = {
		.size = sizeof(a), .dev = o->id, .pt = pt, .fault = fault,
		.flags = flags | (fault ? HWPT_FAULT_ID_VALID : 0),
		.type = ste ? HWPT_DATA_ARM_SMMUV3 : 0,
		.len = ste ? 16 : 0, .data = (uintptr_t)ste,
	};

	return call(o, IOMMUFD_HWPT_ALLOC, &a, "HWPT") ? a.id : 0;
}

uint32_t fault_alloc(struct owner *o, int *fd)
{
	struct {
		uint32_t size, flags, id, fd;
	} a = { .size = sizeof(a) };

	if (!call(o, IOMMUFD_FAULT_ALLOC, &a, "fault queue"))
		return 0;
	*fd = a.fd;
	return a.id;
}

uint32_t viommu_alloc(struct owner *o, uint32_t parent)
{
	struct {
		uint32_t size, flags, type, dev, hwpt, id, len, reserved;
		uint64_t data;
	} a = {
		.size = sizeof(a), .type = VIOMMU_ARM_SMMUV3, .dev = o->id,
		.hwpt = parent,
	};

	return call(o, IOMMUFD_VIOMMU_ALLOC, &a, "vIOMMU") ? a.id : 0;
}

uint32_t vdevice_alloc(struct owner *o, uint32_t viommu, uint64_t vsid)
{
	struct {
		uint32_t size, viommu, dev, id;
		uint64_t vsid;
	} a = { .size = sizeof(a), .viommu = viommu, .dev = o->id,
		.vsid = vsid };

	return call(o, IOMMUFD_VDEVICE_ALLOC, &a, "vDEVICE") ? a.id : 0;
}

int viommu_invalidate(struct owner *o, uint32_t viommu, const void *cmds,
		      uint32_t *num)
{
	struct {
		uint32_t size, id;
		uint64_t data;
		uint32_t type, len, num, reserved;
	} i = {
		.size = sizeof(i), .id = viommu, .data = (uintptr_t)cmds,
		.type = INVALIDATE_ARM_SMMUV3, .len = 16, .num = *num,
	};
	int err = ioctl(o->iommufd, IOMMUFD_IO(IOMMUFD_HWPT_INVALIDATE), &i) ?
		  errno : 0;

	*num = i.num;
	return err;
}

bool id_destroy(struct owner *o, uint32_t id)
{
	struct {
		uint32_t size, id;
	} d = { .size = sizeof(d), .id = id };

	return call(o, IOMMUFD_DESTROY, &d, "destroy");
}
