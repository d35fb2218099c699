// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "endpoint.h"
#include "host.h"

#define COMMAND		0x04
#define COMMAND_MASTER	0x0004
#define COMMAND_INTX_DISABLE	0x0400
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

void ep_close(struct ep *ep)
{
	if (ep->fd >= 0)
		close(ep->fd);
	ep->fd = -1;
}

struct atctest_info ep_info(struct ep *ep)
{
	struct atctest_info info;

	CALL(ep, ATCTEST_INFO, &info);
	return info;
}

struct atctest_slot ep_map_pages(struct ep *ep, int slot, int pages)
{
	struct atctest_slot s = { .slot = slot, .pages = pages };

	CALL(ep, ATCTEST_MAP, &s);
	return s;
}

struct atctest_slot ep_map(struct ep *ep, int slot)
{
	return ep_map_pages(ep, slot, 1);
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

struct atctest_unmap ep_unmap(struct ep *ep, int slot, uint32_t flags,
			      struct ep *other, const struct atctest_cmd *fire)
{
	struct atctest_unmap u = {
		.slot = slot,
		.flags = flags | (fire ? ATCTEST_UNMAP_FIRE : 0),
		.fire_fd = -1,
		.irq_fd = other ? other->fd : -1,
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

void ep_power(struct ep *ep, uint32_t state)
{
	CALL(ep, ATCTEST_POWER, &state);
}

void ep_forget_calls(struct ep *ep)
{
	CALL(ep, ATCTEST_FORGET, NULL);
}

struct atctest_cost ep_cost(struct ep *ep, uint32_t iterations, uint32_t extra)
{
	struct atctest_cost c = { .iterations = iterations, .extra = extra };

	CALL(ep, ATCTEST_COST, &c);
	return c;
}

static void sysfs_path(char *path, size_t len, struct ep *ep,
		       const char *attribute)
{
	snprintf(path, len, "/sys/bus/pci/devices/%s/%s", ep->bdf, attribute);
}

static int config_open(struct ep *ep)
{
	char path[96];
	int fd;

	sysfs_path(path, sizeof(path), ep, "config");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fatal("%s: config: %s", ep->bdf, strerror(errno));
	return fd;
}

static uint16_t command(struct ep *ep)
{
	int fd = config_open(ep);
	uint16_t value = 0;

	if (pread(fd, &value, 2, COMMAND) != 2)
		fatal("%s: COMMAND cannot be read", ep->bdf);
	close(fd);
	return value;
}

bool ep_bus_master(struct ep *ep)
{
	uint16_t value = command(ep);

	return value != 0xffff && (value & COMMAND_MASTER);
}

bool ep_intx_disabled(struct ep *ep)
{
	return command(ep) & COMMAND_INTX_DISABLE;
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

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	return err;
}

bool read_file(const char *path, char *text, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, text, len - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return n >= 0;
}

/* The number of the interrupt @name, or -1 */
static int find_irq(const char *name)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[512];
	int irq = -1;

	while (f && irq < 0 && fgets(line, sizeof(line), f))
		if (strstr(line, name))
			irq = atoi(line);
	if (f)
		fclose(f);
	return irq;
}

bool gerror_to_cpu(int cpu)
{
	char path[64], mask[16];
	int err;

	snprintf(path, sizeof(path), "/proc/irq/%d/smp_affinity",
		 find_irq("arm-smmu-v3-gerror"));
	snprintf(mask, sizeof(mask), "%x", 1U << cpu);
	err = write_file(path, mask);
	if (err)
		ktap_diag("%s: %s", path, strerror(err));
	return !err;
}

bool ep_read_sysfs(struct ep *ep, const char *attribute, char *text, size_t len)
{
	char path[96];

	sysfs_path(path, sizeof(path), ep, attribute);
	return read_file(path, text, len);
}

int ep_incidents(struct ep *ep)
{
	char text[16];

	ep_read_sysfs(ep, "quarantine/incidents", text, sizeof(text));
	return atoi(text);
}

bool ep_bridge(struct ep *ep, char *bdf, size_t len)
{
	char path[96], link[256], *name;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", ep->bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = 0;
	*strrchr(link, '/') = 0;
	name = strrchr(link, '/') + 1;
	snprintf(bdf, len, "%s", name);
	return true;
}

int ep_sysfs(struct ep *ep, const char *attribute, const char *text)
{
	char path[96];

	sysfs_path(path, sizeof(path), ep, attribute);
	return write_file(path, text);
}
