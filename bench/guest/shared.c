// SPDX-License-Identifier: GPL-2.0
/*
 * Two functions behind two SMMUs, in one address space of a user of iommufd: one
 * unmap flushes both. One of them falls silent, which its user hears of.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "incident.h"
#include "iommufd.h"

#define IOVA		0x40000000ULL
#define PAGE		0x10000		/* as large as a page of any kernel */
#define PAGES		(MAX_FURTHER + 2)
#define SILENT		0
#define HEALTHY		1

static struct owner user[2];
static uint32_t ioas;
static uint8_t *pages;		/* the last one stays mapped */
static int error_event;

static uint64_t iova_of(int page)
{
	return IOVA + (uint64_t)page * PAGE;
}

static int last_page(void)
{
	return opt.further + 1;
}

static bool writes(int u, int page)
{
	uint8_t *bytes = pages + (size_t)page * PAGE;
	struct atctest_cmd c;

	bar_fill(user[u].bar, DEVICE + u, LEN);
	c = bar_cmd(user[u].bar, ATC_CMD_PREFETCH, iova_of(page), LEN);
	if (c.result != ATC_OK)
		return false;
	c = bar_cmd(user[u].bar, WRITE_HIT, iova_of(page), LEN);
	for (int i = 0; i < LEN; i++)
		if (bytes[i] != atctest_pattern(DEVICE + u, i))
			return false;
	return c.result == ATC_OK && (c.flags & ATC_WAS_TRANSLATED);
}

/* Have the user told of errors of the silent function */
static bool want_event(void)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_ERR_IRQ_INDEX,
			.count = 1,
		},
	};

	error_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	irq.fd = error_event;
	if (!ioctl(user[SILENT].device, VFIO_DEVICE_SET_IRQS, &irq))
		return true;
	ktap_diag("error event: %s", strerror(errno));
	return false;
}

bool step_shared_take(void)
{
	pages = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (pages == MAP_FAILED)
		return false;
	for (int u = 0; u < 2; u++)
		if (!owner_give(&eps[u]) ||
		    !owner_open(&user[u], &eps[u], u ? &user[0] : NULL))
			return false;
	ioas = ioas_alloc(&user[0]);
	if (!ioas || !owner_attach(&user[SILENT], ioas) ||
	    !owner_attach(&user[HEALTHY], ioas) || !want_event())
		return false;
	for (int page = 0; page <= last_page(); page++)
		if (!ioas_map(&user[0], ioas, iova_of(page),
			      pages + (size_t)page * PAGE, PAGE) ||
		    !writes(SILENT, page) || !writes(HEALTHY, page))
			return false;
	pin(opt.cpu);
	return true;
}

bool step_shared_unmap(void)
{
	int bad = 0, sibling = 0;

	bar_fill(user[SILENT].bar, ATTACK, LEN);
	for (int page = 0; page <= opt.further; page++) {
		uint8_t *bytes = pages + (size_t)page * PAGE;
		struct atctest_cmd c;

		if (!ioas_unmap(&user[0], ioas, iova_of(page), PAGE))
			return false;
		for (int i = 0; i < PAGE; i++)
			bytes[i] = atctest_pattern(VICTIM, i);
		c = bar_cmd(user[SILENT].bar, WRITE_HIT, iova_of(page), LEN);
		if (!count_stale(&c))
			return false;
		c = bar_cmd(user[HEALTHY].bar, WRITE_HIT, iova_of(page), LEN);
		sibling += c.result != ATC_NO_ENTRY;
		for (int i = 0; i < PAGE; i++)
			bad += bytes[i] != atctest_pattern(VICTIM, i);
	}
	host_value("victim_bytes_changed", "%d", bad);
	host_value("siblings_stale", "%d", sibling);
	return true;
}

static bool refused(void)
{
	return bar_cmd(user[SILENT].bar, READ_PLAIN, iova_of(last_page()),
		       LEN).result == ATC_REFUSED;
}

bool step_shared_blocked(void)
{
	bool blocked = false;
	uint64_t events = 0;

	for (int ms = 0; ms < opt.wait_ms && !blocked; ms += 20) {
		blocked = refused();
		if (!blocked)
			usleep(20000);
	}
	for (int ms = 0; ms < opt.wait_ms && blocked && !events; ms += 20) {
		if (read(error_event, &events, sizeof(events)) < 0)
			usleep(20000);
	}
	host_value_bool("blocked", blocked);
	host_value_bool("user_told", events);
	host_value_bool("sibling_works", writes(HEALTHY, last_page()));
	return true;
}

bool step_shared_reset(void)
{
	host_mark("reset");
	return owner_reset(&user[SILENT]) && qom_get(broken->qom, "stat-flr");
}

bool step_shared_recovered(void)
{
	bool ats = ep_ats_enabled(broken) && qom_get(broken->qom, "ats-enabled");
	bool dma = writes(SILENT, last_page()) && !refused();

	host_value_bool("recovered", ats && dma);
	host_value_bool("dma_ok_after_recovery", dma);
	incident_over();
	return true;
}
