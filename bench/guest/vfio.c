// SPDX-License-Identifier: GPL-2.0
/*
 * The broken function belongs to a user: vfio-pci, and a page of the process
 * that is mapped for DMA, unmapped, and no longer the device's to write to. Or a
 * healthy member of its group does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "incident.h"

#define IOVA		0x40000000ULL
#define PAGE		0x10000		/* as large as a page of any kernel */
#define PAGES		(MAX_FURTHER + 2)
#define SLEEPS		4
#define COMMAND		0x04
#define MASTER		0x0006

static struct {
	struct ep *ep;			/* what the user has */
	int container, group, device;
	int told;			/* the eventfd of its errors */
	volatile uint32_t *bar;
	uint8_t *pages;			/* the last one stays mapped */
} user;

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

static bool give_to_vfio(struct ep *ep)
{
	int err = ep_sysfs(ep, "driver_override", "vfio-pci");

	err = err ?: write_file("/sys/bus/pci/drivers/vfio-pci/bind", ep->bdf);
	errno = err;
	return !err || fails("vfio-pci");
}

static bool open_group(void)
{
	char path[128], link[128];
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group",
		 user.ep->bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return fails(path);
	link[len] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	user.group = open(path, O_RDWR);
	user.container = open("/dev/vfio/vfio", O_RDWR);
	if (user.group < 0 || user.container < 0)
		return fails(path);
	if (ioctl(user.group, VFIO_GROUP_SET_CONTAINER, &user.container) ||
	    ioctl(user.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return fails("container");
	user.device = ioctl(user.group, VFIO_GROUP_GET_DEVICE_FD, user.ep->bdf);
	return user.device >= 0 || fails("device");
}

/* Have the user told of errors. */
static bool open_eventfd(void)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} irqs = {
		.set = {
			.argsz = sizeof(irqs), .count = 1,
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_ERR_IRQ_INDEX,
		},
	};

	user.told = irqs.fd = eventfd(0, EFD_NONBLOCK);
	return !ioctl(user.device, VFIO_DEVICE_SET_IRQS, &irqs) ||
	       fails("eventfd");
}

static bool was_told(void)
{
	uint64_t times;

	return read(user.told, &times, sizeof(times)) == sizeof(times);
}

/* Whoever closes the last file of a device has it reset. */
static void close_device(void)
{
	munmap((void *)user.bar, BAR_SIZE);
	user.bar = NULL;
	close(user.device);
	close(user.group);
	close(user.container);
	close(user.told);
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

/* Open @ep, and use all pages. */
static bool take(struct ep *ep)
{
	user.ep = ep;
	if (!open_group() || !open_bar() || !open_eventfd())
		return false;
	for (int page = 0; page <= last_page(); page++)
		if (!dma_map(page) || !writes(page))
			return false;
	bar_fill(user.bar, ATTACK, LEN);
	return true;
}

static bool pages(void)
{
	user.pages = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return user.pages != MAP_FAILED;
}

bool step_vfio_take(void)
{
	pin(opt.cpu);
	if (!pages() || !unbind(broken))
		return false;
	ep_close(broken);
	return give_to_vfio(broken) && take(broken);
}

static int victim_bad;
static uint64_t flrs_at_silence;

bool step_vfio_silence(void)
{
	flrs_at_silence = qom_get(broken->qom, "stat-flr");
	return step_silence();
}

/* Unmap page by page, a stale write after each; the pages are the user's. */
static bool unmap_all(void)
{
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
			victim_bad += bytes[i] != atctest_pattern(VICTIM, i);
	}
	return true;
}

bool step_vfio_unmap(void)
{
	return unmap_all();
}

static bool user_refused(void)
{
	return bar_cmd(user.bar, READ_PLAIN, iova_of(last_page()), LEN).result ==
	       ATC_REFUSED;
}

static bool wait_refused(void)
{
	for (uint64_t end = wait_end(); now_ns() < end;) {
		if (user_refused())
			return true;
		usleep(20000);
	}
	return false;
}

/* Blocked, its user told, and not reset by anybody else. */
bool step_vfio_blocked(void)
{
	bool told = false;

	host_value_bool("blocked", wait_refused());
	for (uint64_t end = wait_end(); now_ns() < end && !told;) {
		told = was_told();
		if (!told)
			usleep(20000);
	}
	host_value_bool("user_told", told);
	host_value("resets_by_core", "%llu", (unsigned long long)
		   qom_get(broken->qom, "stat-flr") - flrs_at_silence);
	return ep_bus_master(broken);
}

bool step_vfio_reset(void)
{
	host_mark("reset");
	return (!vfio_reset(user.device) || fails("reset")) &&
	       open_bar() && qom_get(broken->qom, "stat-flr");
}

bool step_vfio_recovered(void)
{
	bool ats = ep_ats_enabled(broken) && qom_get(broken->qom, "ats-enabled");
	bool dma = writes(last_page()) && !user_refused();

	host_value_bool("recovered", ats && dma);
	host_value_bool("dma_ok_after_recovery", dma);
	return true;
}

/* Without a way to reset it there is only its state to be restored. */
static bool closed_without_reset(void)
{
	bool closed = !ep_sysfs(broken, "reset_method", "\n") && take(broken);

	if (closed)
		close_device();
	/* VFIO sets this before it closes a device */
	host_value_bool("state_restored", !ep_intx_disabled(broken));
	closed = !ep_sysfs(broken, "reset_method", "default") && closed;
	return closed && take(broken) && ep_ats_enabled(broken);
}

/*
 * Once more, and this time its user gives it up, and comes back. It stays awake
 * without a user, so that each reset is one that somebody has asked for.
 */
bool step_vfio_reopen(void)
{
	bool blocked;

	if (ep_sysfs(broken, "power/control", "on"))
		return false;
	for (int page = 0; page <= opt.further; page++)
		if (!dma_map(page) || !writes(page))
			return false;
	bar_fill(user.bar, ATTACK, LEN);
	qom_set(broken->qom, "atc-fault", "\"silent\"");
	if (!unmap_all())
		return false;
	blocked = wait_refused();
	close_device();
	host_value_bool("reopened", take(broken) && ep_ats_enabled(broken));
	close_device();
	host_value_bool("no_reset_at_close", closed_without_reset());
	host_value_bool("blocked_again", blocked);
	host_value("victim_bytes_changed", "%d", victim_bad);
	host_value("siblings_stale", "0");
	incident_over();
	return true;
}

static bool wait_asleep(void)
{
	char state[16] = "";

	for (uint64_t end = wait_end(); now_ns() < end;) {
		if (ep_read_sysfs(broken, "power_state", state, sizeof(state)) &&
		    !strcmp(state, "D3hot"))
			return true;
		usleep(1000);
	}
	return false;
}

/*
 * Without a user it sleeps: it gets the default domain back while it falls asleep,
 * and its next user's before it wakes up, with or without a reset then. When it has
 * a driver again that is of this kernel nobody attaches anything.
 */
bool step_vfio_asleep(void)
{
	int incidents = ep_incidents(broken);
	bool works = !ep_sysfs(broken, "power/control", "auto");

	for (int i = 0; i < SLEEPS && works; i++) {
		close_device();
		works = wait_asleep() &&
			!ep_sysfs(broken, "reset_method", i % 2 ? "\n" : "default") &&
			take(broken) && ep_ats_enabled(broken);
	}
	host_value_bool("works_after_sleep", works);
	close_device();
	works = wait_asleep() && unbind(broken) &&
		!ep_sysfs(broken, "driver_override", "\n") && bind(broken) &&
		ep_ats_enabled(broken);
	host_value_bool("ats_without_vfio", works);
	host_value_bool("accused_asleep", ep_incidents(broken) != incidents);
	return true;
}

/*
 * The broken function's group has other members: without ACS all functions of
 * a device share one. They are all of the same slot.
 */
static bool is_member(const struct ep *ep)
{
	return !strncmp(ep->bdf, broken->bdf, strlen("0000:00:00"));
}

bool step_group_silent(void)
{
	uint64_t ops;

	if (!fall_silent(broken))
		return false;
	count_blocked(wait_blocked(broken));
	ops = innocent_ops();
	sleep(1);
	host_value("ops_in_quarantine", "%llu",
		   (unsigned long long)innocent_ops() - ops);
	return true;
}

/* One that is healthy: can the others of its group still use memory at @addr? */
static bool only_broken_refused(uint64_t addr)
{
	bool ok = true;

	for_each_ep(ep) {
		volatile uint32_t *bar = is_member(ep) ? map_bar(ep) : NULL;
		uint32_t result;

		if (!bar)
			continue;
		result = bar_cmd(bar, READ_PLAIN, addr, LEN).result;
		munmap((void *)bar, BAR_SIZE);
		if (result != (is_broken(ep) ? ATC_REFUSED : ATC_OK))
			ktap_diag("%s: result %u", ep->bdf, result);
		ok = ok && result == (is_broken(ep) ? ATC_REFUSED : ATC_OK);
	}
	return ok;
}

/* The group's drivers go, and it changes its domain: to an identity map and back. */
bool step_group_domain(void)
{
	uint64_t phys = ep_query(broken, SLOT_CANARY).phys;
	int err;

	host_mark("neighbours");
	for_each_ep(ep)
		if (is_member(ep) && !unbind(ep))
			return false;
	err = ep_sysfs(broken, "iommu_group/type", "identity");
	host_value_bool("identity", !err && only_broken_refused(phys));
	errno = err;
	if (err)
		fails("identity");
	err = ep_sysfs(broken, "iommu_group/type", "DMA");
	errno = err;
	host_value_bool("translated", !err || fails("DMA"));
	return true;
}

/* A user takes the first member. */
bool step_group_vfio(void)
{
	volatile uint32_t *bar;
	bool works, refused;

	if (!pages() || !give_to_vfio(&eps[0]))
		return false;
	works = take(&eps[0]);
	host_value_bool("healthy_claimed", works);
	bar = map_bar(broken);
	refused = bar_cmd(bar, READ_PLAIN, iova_of(last_page()), LEN).result ==
		  ATC_REFUSED;
	host_value_bool("broken_refused", refused);
	munmap((void *)bar, BAR_SIZE);
	close_device();
	if (ep_sysfs(&eps[0], "driver/unbind", eps[0].bdf) ||
	    ep_sysfs(&eps[0], "driver_override", "\n"))
		return false;
	for_each_ep(ep)
		if (is_member(ep) && !bind(ep))
			return false;
	host_mark("neighbours end");
	return true;
}

bool step_group_reset(void)
{
	host_mark("reset");
	if (!reset_by_hand(broken))
		return false;
	came_back(broken);
	return true;
}
