// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "endpoint.h"
#include "host.h"

#define COMMAND		0x04
#define COMMAND_MASTER	0x0004
#define EXT_CAP_START	0x100
#define EXT_CAP_ATS	0x0f
#define ATS_CTRL	0x06
#define ATS_CTRL_E	0x8000

static void path_of(char *path, size_t len, int index)
{
	snprintf(path, len, "/dev/atctest%d", index);
}

bool ep_exists(int index)
{
	char path[32];

	path_of(path, sizeof(path), index);
	return !access(path, F_OK);
}

#define CALL(ep, request, arg) do {					\
		if (ioctl((ep)->fd, request, arg))			\
			fatal("function %d: %s: %s", (ep)->index,	\
			      #request, strerror(errno));		\
	} while (0)

void ep_open(struct ep *ep, int index)
{
	unsigned int domain, bus, dev, fn;
	char path[32];

	path_of(path, sizeof(path), index);
	ep->index = index;
	ep->fd = open(path, O_RDWR | O_CLOEXEC);
	if (ep->fd < 0)
		fatal("%s: %s", path, strerror(errno));
	strcpy(ep->bdf, ep_info(ep).bdf);
	if (sscanf(ep->bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		fatal("%s: no PCI address: %s", path, ep->bdf);
	ep->sid = bus << 8 | dev << 3 | fn;
	snprintf(ep->qom, sizeof(ep->qom), "/machine/peripheral/ep%d", index);
}

struct atctest_info ep_info(struct ep *ep)
{
	struct atctest_info info;

	CALL(ep, ATCTEST_INFO, &info);
	return info;
}

struct atctest_slot ep_map(struct ep *ep, int slot)
{
	struct atctest_slot s = { .slot = slot };

	CALL(ep, ATCTEST_MAP, &s);
	return s;
}

struct atctest_slot ep_query(struct ep *ep, int slot)
{
	struct atctest_slot s = { .slot = slot };

	CALL(ep, ATCTEST_QUERY, &s);
	return s;
}

void ep_free(struct ep *ep, int slot)
{
	struct atctest_slot s = { .slot = slot };

	CALL(ep, ATCTEST_FREE, &s);
}

struct atctest_unmap ep_unmap(struct ep *ep, int slot, bool alone,
			      struct ep *target, const struct atctest_cmd *fire)
{
	struct atctest_unmap u = {
		.slot = slot,
		.flags = (alone ? ATCTEST_UNMAP_ALONE : 0) |
			 (fire ? ATCTEST_UNMAP_FIRE : 0),
		.fire_fd = target && target != ep ? target->fd : -1,
	};

	if (fire)
		u.fire = *fire;
	CALL(ep, ATCTEST_UNMAP, &u);
	return u;
}

bool ep_handover(struct ep *ep, int slot)
{
	struct atctest_slot s = { .slot = slot };

	if (!ioctl(ep->fd, ATCTEST_HANDOVER, &s))
		return true;
	if (errno != EAGAIN)
		fatal("function %d: handover: %s", ep->index, strerror(errno));
	return false;
}

struct atctest_cmd ep_cmd(struct ep *ep, uint32_t cmd, uint64_t iova,
			  uint32_t len)
{
	struct atctest_cmd c = { .cmd = cmd, .iova = iova, .len = len };

	CALL(ep, ATCTEST_CMD, &c);
	return c;
}

void ep_fill(struct ep *ep, uint32_t slot, uint32_t seed, uint32_t len)
{
	struct atctest_data d = { .slot = slot, .seed = seed, .len = len };

	CALL(ep, ATCTEST_FILL, &d);
}

uint32_t ep_check(struct ep *ep, uint32_t slot, uint32_t seed, uint32_t len)
{
	struct atctest_data d = { .slot = slot, .seed = seed, .len = len };

	CALL(ep, ATCTEST_CHECK, &d);
	return d.bad;
}

void ep_mark(struct ep *ep, uint32_t value)
{
	CALL(ep, ATCTEST_MARK, &value);
}

bool ep_irq(struct ep *ep)
{
	return !ioctl(ep->fd, ATCTEST_IRQ);
}

void ep_restore(struct ep *ep)
{
	CALL(ep, ATCTEST_RESTORE, NULL);
}

static int sysfs_open(struct ep *ep, const char *attribute, int flags)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", ep->bdf,
		 attribute);
	return open(path, flags | O_CLOEXEC);
}

static int config_open(struct ep *ep)
{
	int fd = sysfs_open(ep, "config", O_RDONLY);

	if (fd < 0)
		fatal("%s: config: %s", ep->bdf, strerror(errno));
	return fd;
}

bool ep_bus_master(struct ep *ep)
{
	int fd = config_open(ep);
	uint16_t command = 0;

	if (pread(fd, &command, 2, COMMAND) != 2)
		fatal("%s: COMMAND cannot be read", ep->bdf);
	close(fd);
	return command != 0xffff && (command & COMMAND_MASTER);
}

bool ep_ats_enabled(struct ep *ep)
{
	int fd = config_open(ep);
	uint32_t where = EXT_CAP_START, header;
	uint16_t ctrl = 0;

	/* All ones from a function that does not answer end the walk, too. */
	while (where >= EXT_CAP_START && where < 0xff0 &&
	       pread(fd, &header, 4, where) == 4 && header != 0xffffffff) {
		if ((header & 0xffff) == EXT_CAP_ATS) {
			if (pread(fd, &ctrl, 2, where + ATS_CTRL) != 2)
				fatal("%s: ATS_CTRL cannot be read", ep->bdf);
			break;
		}
		where = header >> 20;
	}
	close(fd);
	return ctrl != 0xffff && (ctrl & ATS_CTRL_E);
}

int ep_sysfs(struct ep *ep, const char *attribute, const char *text)
{
	int fd = sysfs_open(ep, attribute, O_WRONLY);
	int err = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	return err;
}
