// SPDX-License-Identifier: GPL-2.0
/*
 * The broken function belongs to a user of iommufd, who handles its page faults
 * himself. When it falls silent some of its accesses are stalled, and their
 * faults are on the way, in the queue, or in his hands.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "incident.h"
#include "iommufd.h"
#include "stalls.h"

#define IOVA		0x40000000ULL
#define PAGE		0x10000		/* as large as a page of any kernel */
#define PAGES		(MAX_FURTHER + 2)
#define HOLES		(PAGES + 1)	/* the first page that nobody maps */
#define STALLED		8
#define WRITE_PLAIN	(ATC_CMD_WRITE | ATC_CMD_UNTRANSLATED)

static struct owner user;
static uint32_t ioas, hwpt, queue;
static int queue_fd;
static uint8_t *pages;		/* the last one stays mapped */
static struct {
	uint32_t ticket;
	struct pgfault fault;
	bool in_hand;
} stalled[STALLED];

static uint64_t iova_of(int page)
{
	return IOVA + (uint64_t)page * PAGE;
}

static uint8_t *page_at(int page)
{
	return pages + (size_t)page * PAGE;
}

static int last_page(void)
{
	return opt.further + 1;
}

static bool writes(int page)
{
	struct atctest_cmd c;

	bar_fill(user.bar, DEVICE, LEN);
	c = bar_cmd(user.bar, ATC_CMD_PREFETCH, iova_of(page), LEN);
	if (c.result != ATC_OK)
		return false;
	c = bar_cmd(user.bar, WRITE_HIT, iova_of(page), LEN);
	for (int i = 0; i < LEN; i++)
		if (page_at(page)[i] != atctest_pattern(DEVICE, i))
			return false;
	return c.result == ATC_OK && (c.flags & ATC_WAS_TRANSLATED);
}

bool step_owned_take(void)
{
	pages = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	damage_start();
	if (pages == MAP_FAILED || !owner_give(broken) ||
	    !owner_open(&user, broken, NULL))
		return false;
	ioas = ioas_alloc(&user);
	queue = ioas ? fault_alloc(&user, &queue_fd) : 0;
	hwpt = queue ? hwpt_alloc(&user, ioas, 0, queue, NULL) : 0;
	if (!hwpt || !owner_attach(&user, hwpt))
		return false;
	for (int page = 0; page <= last_page(); page++)
		if (!ioas_map(&user, ioas, iova_of(page), page_at(page), PAGE) ||
		    !writes(page))
			return false;
	pin(opt.cpu);
	return true;
}

static bool park(int i)
{
	struct atctest_cmd c = bar_cmd(user.bar, WRITE_PLAIN,
				       iova_of(HOLES + i), LEN);

	stalled[i].ticket = c.ticket;
	stalled[i].in_hand = false;
	if (c.result != ATC_PARKED)
		ktap_diag("result %#x instead of a stall", c.result);
	return c.result == ATC_PARKED;
}

/* The user has the first faults in hand, the others wait in the queue. */
static bool park_some(void)
{
	for (int i = 0; i < STALLED; i++)
		if (!park(i))
			return false;
	for (int i = 0, ms = 0; i < STALLED / 2 && ms < opt.wait_ms; ms += 5) {
		ssize_t n = read(queue_fd, &stalled[i].fault,
				 sizeof(stalled[i].fault));

		if (n > 0)
			stalled[i++].in_hand = true;
		else
			usleep(5000);
	}
	return stalled[STALLED / 2 - 1].in_hand;
}

bool step_owned_stall(void)
{
	return park_some() && stalls_parked() == STALLED;
}

/* Unmap page by page, a stale write after each; the pages are the user's. */
bool step_owned_unmap(void)
{
	int bad = 0;

	bar_fill(user.bar, ATTACK, LEN);
	for (int page = 0; page <= opt.further; page++) {
		uint8_t *bytes = page_at(page);
		struct atctest_cmd c;

		if (!ioas_unmap(&user, ioas, iova_of(page), PAGE))
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

static bool refused(void)
{
	return bar_cmd(user.bar, READ_PLAIN, iova_of(last_page()), LEN).result ==
	       ATC_REFUSED;
}

bool step_owned_blocked(void)
{
	await_blocked(refused);
	return true;
}

static bool answer(const struct pgfault *f)
{
	struct page_response r = { .cookie = f->cookie,
				   .code = RESPONSE_SUCCESS };

	return write(queue_fd, &r, sizeof(r)) == sizeof(r);
}

/*
 * The user maps what is missing, and answers what he has; the kernel has not done
 * it for him. A device that is blocked does not get its page.
 */
bool step_owned_answer(void)
{
	struct pgfault f;
	int landed = 0, lost = 0;

	for (int i = 0; i < STALLED; i++)
		if (!ioas_map(&user, ioas, iova_of(HOLES + i), page_at(0), PAGE))
			return false;
	for (int i = 0; i < STALLED; i++)
		if (stalled[i].in_hand && !answer(&stalled[i].fault))
			lost++;
	for (int ms = 0; ms < opt.wait_ms && stalls_parked(); ms += 5) {
		while (read(queue_fd, &f, sizeof(f)) == sizeof(f))
			if (!answer(&f))
				lost++;
		usleep(5000);
	}
	for (int i = 0; i < STALLED; i++)
		landed += bar_status(user.bar, stalled[i].ticket) == ATC_OK;
	host_value("answers_refused", "%d", lost);
	host_value("stalled_landed", "%d", landed);
	host_value("waiting_accesses", "%u", bar_parked(user.bar));
	return true;
}

bool step_owned_reset(void)
{
	host_mark("reset");
	return owner_reset(&user) && qom_get(broken->qom, "stat-flr");
}

/* DMA through the ATC, and a fault from its beginning to its end */
bool step_owned_recovered(void)
{
	bool ats = ep_ats_enabled(broken) && qom_get(broken->qom, "ats-enabled");
	bool dma = writes(last_page()) && !refused();
	bool fault = false;
	struct pgfault f;

	for (int i = 0; i < STALLED; i++)
		ioas_unmap(&user, ioas, iova_of(HOLES + i), PAGE);
	if (park(0)) {
		for (int ms = 0; ms < opt.wait_ms && !fault; ms += 5) {
			if (read(queue_fd, &f, sizeof(f)) == sizeof(f))
				fault = ioas_map(&user, ioas, iova_of(HOLES),
						 page_at(0), PAGE) && answer(&f);
			usleep(5000);
		}
		for (int ms = 0; ms < opt.wait_ms && stalls_parked(); ms += 5)
			usleep(5000);
		fault = fault && bar_status(user.bar, stalled[0].ticket) == ATC_OK;
	}
	host_value_bool("recovered", ats && dma);
	host_value_bool("dma_ok_after_recovery", dma);
	host_value_bool("fault_ok_after_recovery", fault);
	incident_over();
	return true;
}

/* With faults that nobody answers, in hand and in the queue */
bool step_owned_close(void)
{
	ioas_unmap(&user, ioas, iova_of(HOLES), PAGE);
	park_some();
	owner_close(&user);
	close(queue_fd);
	stalls_wait(0, opt.wait_ms);
	stalls_report();
	host_value("damage", "\"%s\"", damage());
	return true;
}
