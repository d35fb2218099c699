// SPDX-License-Identifier: GPL-2.0
/*
 * The broken function uses this process's addresses, with a PASID (SVA): what is
 * unmapped here, by munmap(), must be out of its reach.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "incident.h"

#define PAGE		0x10000		/* as large as a page of any kernel */

static uint8_t *area;		/* the last page stays mapped */
static uint32_t pasid;

static uint8_t *page_at(int page)
{
	return area + (size_t)page * PAGE;
}

static int last_page(void)
{
	return opt.further + 1;
}

static struct atctest_cmd command(uint32_t cmd, int page)
{
	struct atctest_cmd c = {
		.cmd = cmd, .iova = (uintptr_t)page_at(page), .len = LEN,
		.pasid = pasid,
	};

	if (ioctl(broken->fd, ATCTEST_CMD, &c))
		fatal("a command of the device: %s", strerror(errno));
	return c;
}

static bool writes(int page)
{
	struct atctest_cmd c;

	ep_fill(broken, ATCTEST_SLOT_BUF, DEVICE, LEN);
	c = command(ATC_CMD_PREFETCH, page);
	if (c.result != ATC_OK) {
		ktap_diag("page %d: translation %#x", page, c.result);
		return false;
	}
	c = command(WRITE_HIT, page);
	for (int i = 0; i < LEN; i++)
		if (page_at(page)[i] != atctest_pattern(DEVICE, i))
			return false;
	return c.result == ATC_OK && (c.flags & ATC_WAS_TRANSLATED);
}

static uint8_t *new_page(void)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		fatal("no memory");
	for (int i = 0; i < PAGE; i++)
		page[i] = atctest_pattern(VICTIM, i);
	return page;
}

bool step_sva_take(void)
{
	struct atctest_sva b = { .bond = 0 };

	area = mmap(NULL, (size_t)(last_page() + 1) * PAGE,
		    PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (area == MAP_FAILED)
		return false;
	if (ioctl(broken->fd, ATCTEST_SVA_BIND, &b)) {
		ktap_diag("bind: %s", strerror(errno));
		return false;
	}
	pasid = b.pasid;
	for (int page = 0; page <= last_page(); page++)
		if (!writes(page))
			return false;
	pin(opt.cpu);
	return true;
}

/* Page by page; the next owner is this process as well. */
bool step_sva_unmap(void)
{
	int bad = 0;

	ep_fill(broken, ATCTEST_SLOT_BUF, ATTACK, LEN);
	for (int page = 0; page <= opt.further; page++) {
		struct atctest_cmd c;
		uint8_t *next;

		if (munmap(page_at(page), PAGE))
			return false;
		next = new_page();
		c = command(WRITE_HIT, page);
		if (!count_stale(&c))
			return false;
		for (int i = 0; i < PAGE; i++)
			bad += next[i] != atctest_pattern(VICTIM, i);
	}
	host_value("victim_bytes_changed", "%d", bad);
	host_value("siblings_stale", "0");
	return true;
}

static bool refused(void)
{
	return command(READ_PLAIN, last_page()).result == ATC_REFUSED;
}

bool step_sva_blocked(void)
{
	await_blocked(refused);
	return true;
}

/*
 * Another process has a PASID, and ends. Somebody else (this one) keeps the file, so
 * the PASID stays, and a reset has to bring back the device nevertheless.
 */
static bool back_without_process(void)
{
	struct atctest_sva b = { .bond = 1 };
	pid_t other = fork();
	int status;

	if (!other)
		_exit(ioctl(broken->fd, ATCTEST_SVA_BIND, &b) ? 1 : 0);
	if (other < 0 || waitpid(other, &status, 0) != other || status)
		fatal("no second process with a PASID");
	/* fork() has made it read only, for the device too */
	*(volatile uint8_t *)page_at(last_page()) = 0;
	if (ep_sysfs(broken, "reset", "1"))
		return false;
	return ep_ats_enabled(broken) && writes(last_page()) && !refused();
}

/* With the PASID, without another bind */
bool step_sva_recovered(void)
{
	bool ats = ep_ats_enabled(broken) && qom_get(broken->qom, "ats-enabled");
	bool dma = writes(last_page()) && !refused();
	struct atctest_sva b = { .bond = 0 };

	host_value_bool("recovered", ats && dma);
	host_value_bool("dma_ok_after_recovery", dma);
	incident_over();
	host_value_bool("back_without_process", back_without_process());
	return !ioctl(broken->fd, ATCTEST_SVA_UNBIND, &b);
}
