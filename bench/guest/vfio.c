// SPDX-License-Identifier: GPL-2.0
/*
 * The broken function belongs to a user: vfio-pci, and a page of the process
 * that is mapped for DMA, unmapped, and no longer the device's to write to.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "incident.h"

#define IOVA		0x40000000ULL
#define PAGE		0x10000		/* as large as a page of any kernel */
#define PAGES		(MAX_FURTHER + 2)
#define COMMAND		0x04
#define MASTER		0x0006

static struct {
	int container, device;
	volatile uint32_t *bar;
	uint8_t *pages;			/* the last one stays mapped */
} user = { .device = -1 };

static bool fails(const char *what)
{
	ktap_diag("%s: %s", what, strerror(errno));
	return false;
}

static uint64_t iova_of(int page)
{
	return IOVA + (uint64_t)page * PAGE;
}

static int last_page(void)
{
	return opt.further + 1;
}

static bool give_to_vfio(void)
{
	char path[96];
	int err;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/atctest/unbind");
	ep_close(broken);
	err = write_file(path, broken->bdf);
	err = err ?: ep_sysfs(broken, "driver_override", "vfio-pci");
	err = err ?: write_file("/sys/bus/pci/drivers/vfio-pci/bind", broken->bdf);
	errno = err;
	return !err || fails("vfio-pci");
}

static bool open_group(void)
{
	char path[128], link[128];
	ssize_t len;
	int group;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group",
		 broken->bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return fails(path);
	link[len] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	group = open(path, O_RDWR);
	user.container = open("/dev/vfio/vfio", O_RDWR);
	if (group < 0 || user.container < 0)
		return fails(path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &user.container) ||
	    ioctl(user.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return fails("container");
	user.device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, broken->bdf);
	return user.device >= 0 || fails("device");
}

static bool open_bar(void)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX
	};
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX
	};
	uint16_t command = MASTER;

	if (ioctl(user.device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    ioctl(user.device, VFIO_DEVICE_GET_REGION_INFO, &config))
		return fails("regions");
	if (pwrite(user.device, &command, 2, config.offset + COMMAND) != 2)
		return fails("COMMAND");
	if (user.bar)
		return true;
	user.bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			user.device, bar.offset);
	return user.bar != MAP_FAILED || fails("BAR 0");
}

static bool dma_map(int page)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .iova = iova_of(page), .size = PAGE,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)user.pages + (size_t)page * PAGE,
	};

	return !ioctl(user.container, VFIO_IOMMU_MAP_DMA, &map) || fails("map");
}

static bool dma_unmap(int page)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova_of(page), .size = PAGE,
	};

	return !ioctl(user.container, VFIO_IOMMU_UNMAP_DMA, &unmap) ||
	       fails("unmap");
}

static bool writes(int page)
{
	uint8_t *bytes = user.pages + (size_t)page * PAGE;
	struct atctest_cmd c;

	bar_fill(user.bar, DEVICE, LEN);
	c = bar_cmd(user.bar, ATC_CMD_PREFETCH, iova_of(page), LEN);
	if (c.result != ATC_OK)
		return false;
	c = bar_cmd(user.bar, WRITE_HIT, iova_of(page), LEN);
	for (int i = 0; i < LEN; i++)
		if (bytes[i] != atctest_pattern(DEVICE, i))
			return false;
	return c.result == ATC_OK && (c.flags & ATC_WAS_TRANSLATED);
}

bool step_vfio_take(void)
{
	user.pages = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (user.pages == MAP_FAILED || !give_to_vfio() || !open_group() ||
	    !open_bar())
		return false;
	for (int page = 0; page <= last_page(); page++)
		if (!dma_map(page) || !writes(page))
			return false;
	bar_fill(user.bar, ATTACK, LEN);
	pin(opt.cpu);
	return true;
}

/* Unmap page by page, a stale write after each; the pages are the user's. */
bool step_vfio_unmap(void)
{
	int bad = 0;

	for (int page = 0; page <= opt.further; page++) {
		uint8_t *bytes = user.pages + (size_t)page * PAGE;
		struct atctest_cmd c;

		if (!dma_unmap(page))
			return false;
		for (int i = 0; i < PAGE; i++)
			bytes[i] = atctest_pattern(VICTIM, i);
		c = bar_cmd(user.bar, WRITE_HIT, iova_of(page), LEN);
		if (!count_stale(&c))
			return false;
		for (int i = 0; i < PAGE; i++)
			bad += bytes[i] != atctest_pattern(VICTIM, i);
	}
	host_value("victim_bytes_changed", "%d", bad);
	host_value("siblings_stale", "0");
	return true;
}

static bool user_refused(void)
{
	return bar_cmd(user.bar, READ_PLAIN, iova_of(last_page()), LEN).result ==
	       ATC_REFUSED;
}

bool step_vfio_blocked(void)
{
	bool blocked = false;

	for (int ms = 0; ms < opt.wait_ms && !blocked; ms += 20) {
		blocked = user_refused();
		if (!blocked)
			usleep(20000);
	}
	host_value_bool("blocked", blocked);
	return ep_bus_master(broken);
}

bool step_vfio_reset(void)
{
	host_mark("reset");
	return (!ioctl(user.device, VFIO_DEVICE_RESET) || fails("reset")) &&
	       open_bar() && qom_get(broken->qom, "stat-flr");
}

bool step_vfio_recovered(void)
{
	bool ats = ep_ats_enabled(broken) && qom_get(broken->qom, "ats-enabled");
	bool dma = writes(last_page()) && !user_refused();

	host_value_bool("recovered", ats && dma);
	host_value_bool("dma_ok_after_recovery", dma);
	incident_over();
	return true;
}
