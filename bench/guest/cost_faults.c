// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to change the domain of a device whose faults are handled, and to
 * handle one fault, from the access to the response.
 *
 * Unlike the unmaps of atctest_cost.c this goes through system calls, interrupts
 * and a thread, and the timer's interrupts come in between: the smallest of many
 * counts is what repeats.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "cost_faults.h"
#include "host.h"
#include "iommufd.h"

#define ITERATIONS	200
#define IOVA		0x40000000ULL
#define WRITE_PLAIN	(ATC_CMD_WRITE | ATC_CMD_UNTRANSLATED)

enum { ATTACH, REPLACE, DETACH, FAULT, CANARY, NR };

static const char *const names[NR] = {
	"attach", "replace", "detach", "fault", "fault_canary"
};

static uint32_t least[NR];
static struct owner me;
static int queue;

static uint64_t counter(void)
{
	uint64_t now;

	asm volatile("isb; mrs %0, cntvct_el0" : "=r"(now));
	return now;
}

static void took(int what, uint64_t begin)
{
	uint32_t ticks = counter() - begin;

	if (ticks < least[what])
		least[what] = ticks;
}

static void spend(uint32_t instructions)
{
	while (instructions--)
		asm volatile("nop");
}

static void change(uint32_t one, uint32_t two)
{
	uint64_t begin = counter();

	if (!owner_attach(&me, one))
		fatal("attach");
	took(ATTACH, begin);

	begin = counter();
	if (!owner_attach(&me, two))
		fatal("replace");
	took(REPLACE, begin);

	begin = counter();
	if (!owner_detach(&me))
		fatal("detach");
	took(DETACH, begin);
}

static void fault(int what, uint32_t extra)
{
	struct page_response r = { .code = RESPONSE_INVALID };
	uint64_t begin = counter();
	struct pgfault f;

	bar_cmd(me.bar, WRITE_PLAIN, IOVA, 8);
	while (read(queue, &f, sizeof(f)) != sizeof(f))
		;
	r.cookie = f.cookie;
	if (write(queue, &r, sizeof(r)) != sizeof(r))
		fatal("the fault cannot be answered");
	if (extra)
		spend(extra);
	took(what, begin);
	while (bar_parked(me.bar))
		;
}

void cost_faults(struct ep *ep, uint32_t extra, int traced)
{
	uint32_t one, two, id;

	if (!owner_give(ep) || !owner_open(&me, ep, NULL))
		fatal("the device cannot be had");
	id = fault_alloc(&me, &queue);
	one = hwpt_alloc(&me, ioas_alloc(&me), 0, id, NULL);
	two = hwpt_alloc(&me, ioas_alloc(&me), 0, id, NULL);
	if (!id || !one || !two)
		fatal("no domains");
	for (int i = 0; i < NR; i++)
		least[i] = UINT32_MAX;
	for (int i = 0; i < ITERATIONS && !traced; i++)
		change(one, two);
	if (!owner_attach(&me, one))
		fatal("attach");
	if (traced) {
		fault(FAULT, 0);
		qemu_log(COST_TRACE);
		for (int i = 0; i < traced; i++)
			fault(FAULT, 0);
		qemu_log("none");
		return;
	}
	for (int i = 0; i < ITERATIONS; i++) {
		fault(FAULT, 0);
		fault(CANARY, extra);
	}
	for (int i = 0; i < NR; i++) {
		char name[40];

		snprintf(name, sizeof(name), "cost_%s", names[i]);
		host_value(name, "%u", least[i]);
	}
	owner_close(&me);
}
