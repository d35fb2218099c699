// SPDX-License-Identifier: GPL-2.0
/*
 * The incident, told step by step: a device with a cached translation stops
 * answering invalidations, its page is unmapped and changes hands, and the
 * device writes through what it still has in its cache.
 *
 * A step is a KTAP point, and says whether the step could be taken, on any
 * kernel. What came of it are values; the host judges them, because the base
 * kernel has to fail where the patched one has not.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident.h"

struct options opt = {
	.broken = 1, .further = 5, .cpu = -1, .gerror_cpu = -1,
	.wait_ms = 5000, .settle_ms = 300, .workers = 1, .pages = 1,
};
struct ep eps[MAX_FUNCTIONS];
int nr_eps;
struct ep *broken;

bool is_broken(const struct ep *ep)
{
	return opt.broken & 1U << ep->index;
}

#define SETUP								\
	{ "ATS is on and works: config space, model, data", step_prove },	\
	{ "the SMMU's error interrupt goes where it shall", step_gerror },	\
	{ "the healthy functions are at work", step_start_innocents },	\
	{ "the device caches translations", step_cache }
#define SHOTS								\
	{ "unmap, and a stale write right after the flush", step_unmap },	\
	{ "a stale write after the page got its next owner", step_victim },	\
	{ "further unmaps, a stale write after each", step_further }
#define RESET								\
	{ "is the device blocked?", step_blocked },			\
	{ "reset", step_reset },					\
	{ "does it work again?", step_recovered }
#define SHUTDOWN { "the healthy functions are still at work", step_stop_innocents }

static const struct step silent[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	SHOTS,
	RESET,
	SHUTDOWN,
	{}
};

static const struct step late[] = {
	SETUP,
	{ "the next answer comes after the timeout", step_late },
	SHOTS,
	{ "is the device still in service?", step_in_service },
	SHUTDOWN,
	{}
};

static const struct step silent_once[] = {
	SETUP,
	{ "the device drops one invalidation", step_drop_one },
	SHOTS,
	{ "is the device still in service?", step_in_service },
	SHUTDOWN,
	{}
};

static const struct step failed_reset[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	SHOTS,
	{ "is the device blocked?", step_blocked },
	{ "a reset that fails", step_failing_reset },
	{ "is it still blocked, now that it answers again?", step_still_blocked },
	{ "a reset that succeeds", step_reset },
	{ "does it work again?", step_recovered },
	SHUTDOWN,
	{}
};

static const struct step full_queue[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	SHOTS,
	{ "did the queue run full?", step_queue_fills },
	RESET,
	SHUTDOWN,
	{}
};

static const struct step silent_from_boot[] = {
	{ "the healthy functions have ATS, and it works", step_prove_healthy },
	{ "the healthy functions are at work", step_start_innocents },
	{ "a silent function caches and writes what it can", step_use_silent },
	RESET,
	SHUTDOWN,
	{}
};

static const struct step asleep[] = {
	SETUP,
	{ "unmaps while the device sleeps", step_sleep },
	{ "does it work when it wakes up?", step_wake },
	SHUTDOWN,
	{}
};

static const struct step gone[] = {
	SETUP,
	{ "unmaps of a device that is not there any more", step_dead },
	{ "its removal", step_remove },
	{ "the end of it", step_over },
	SHUTDOWN,
	{}
};

static const struct step rescan[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	{ "its removal", step_remove },
	{ "it is found again, and fires at what was unmapped", step_rescan },
	RESET,
	SHUTDOWN,
	{}
};

static const struct step attach_race[] = {
	SETUP,
	{ "it falls silent while its group's domain changes", step_rounds },
	{ "does it work again?", step_recovered },
	SHUTDOWN,
	{}
};

static const struct step vfio[] = {
	{ "ATS is on and works: config space, model, data", step_prove },
	{ "the healthy functions are at work", step_start_innocents },
	{ "a user takes the device, and it caches translations", step_vfio_take },
	{ "the device falls silent", step_silence },
	{ "the user unmaps, a stale write after each page", step_vfio_unmap },
	{ "is the device blocked?", step_vfio_blocked },
	{ "the user resets it", step_vfio_reset },
	{ "does it work again?", step_vfio_recovered },
	SHUTDOWN,
	{}
};

static const struct step never[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	SHOTS,
	{ "is the device blocked?", step_blocked },
	{ "the end of it", step_over },
	{}
};

static const struct {
	const char *name, *what;
	const struct step *steps;
} stories[] = {
	{ "silent", "falls silent, is reset, comes back", silent },
	{ "late", "answers one invalidation after the timeout", late },
	{ "silent-once", "drops one invalidation", silent_once },
	{ "failed-reset", "falls silent, and its first reset fails", failed_reset },
	{ "full-queue", "falls silent while the command queue is full", full_queue },
	{ "boot", "is silent from the start", silent_from_boot },
	{ "asleep", "is in D3hot while its driver unmaps", asleep },
	{ "gone", "is not there any more while its driver unmaps", gone },
	{ "rescan", "falls silent, is removed and found again", rescan },
	{ "attach-race", "falls silent while its driver and domain change", attach_race },
	{ "vfio", "falls silent in the hands of a user", vfio },
	{ "never", "falls silent, and the SMMU never gives up", never },
};

#define NR_STORIES ((int)(sizeof(stories) / sizeof(stories[0])))

static _Noreturn void usage(int status)
{
	printf("usage: incident STORY [options]\n"
	       "One function of the test endpoint misbehaves, the others are at work.\n\n"
	       "stories:\n");
	for (int i = 0; i < NR_STORIES; i++)
		printf("  %-14s %s\n", stories[i].name, stories[i].what);
	printf("\noptions:\n"
	       "  --broken N,N   the functions that misbehave, or \"all\" (default 0)\n"
	       "  --further N    unmaps after the first one (default 5)\n"
	       "  --cpu N        the CPU that unmaps (default: any)\n"
	       "  --gerror-cpu N the CPU that gets the SMMU's error interrupt\n"
	       "  --context C    unmap in a \"task\", under a \"spinlock\", or in another\n"
	       "                 function's \"interrupt\" handler\n"
	       "  --group        all functions share one domain and cache the same pages\n"
	       "  --lazy         the kernel flushes later: so do the shots come later\n"
	       "  --settle-ms N  how much later (default 300)\n"
	       "  --workers N    processes of the healthy functions, one per CPU\n"
	       "  --pages N      pages that these map at once (default 1)\n"
	       "  --wait-ms N    how long to wait for the device to be blocked\n");
	exit(status);
}

static uint32_t parse_broken(const char *text)
{
	uint32_t set = 0;
	char *end;

	if (!strcmp(text, "all"))
		return -1U;
	for (;; text = end + 1) {
		set |= 1U << (strtoul(text, &end, 10) % 32);
		if (*end != ',')
			return set;
	}
}

static uint32_t parse_context(const char *text)
{
	if (!strcmp(text, "task"))
		return 0;
	if (!strcmp(text, "spinlock"))
		return ATCTEST_UNMAP_LOCKED;
	if (!strcmp(text, "interrupt"))
		return ATCTEST_UNMAP_IRQ;
	usage(2);
}

static const struct step *parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "broken", required_argument, NULL, 'b' },
		{ "further", required_argument, NULL, 'f' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "gerror-cpu", required_argument, NULL, 'e' },
		{ "context", required_argument, NULL, 'x' },
		{ "group", no_argument, NULL, 'g' },
		{ "lazy", no_argument, NULL, 'l' },
		{ "settle-ms", required_argument, NULL, 's' },
		{ "workers", required_argument, NULL, 'n' },
		{ "pages", required_argument, NULL, 'p' },
		{ "wait-ms", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	const struct { int option, *value; } numbers[] = {
		{ 'f', &opt.further }, { 'c', &opt.cpu },
		{ 'e', &opt.gerror_cpu }, { 's', &opt.settle_ms },
		{ 'n', &opt.workers }, { 'p', &opt.pages },
		{ 'w', &opt.wait_ms },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h' || c == '?')
			usage(c == 'h' ? 0 : 2);
		if (c == 'b')
			opt.broken = parse_broken(optarg);
		if (c == 'x')
			opt.context = parse_context(optarg);
		opt.group |= c == 'g';
		opt.lazy |= c == 'l';
		for (unsigned int i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			if (c == numbers[i].option)
				*numbers[i].value = atoi(optarg);
	}
	if (opt.further < 1 || opt.further > MAX_FURTHER || !opt.broken ||
	    opt.workers < 1 || opt.workers > MAX_FUNCTIONS)
		usage(2);
	for (int i = 0; i < NR_STORIES && optind < argc; i++)
		if (!strcmp(argv[optind], stories[i].name))
			return stories[i].steps;
	usage(2);
}

static void setup(void)
{
	if (!host_open(HOST_FD)) {
		perror(HOST_PORT);
		exit(1);
	}
	while (nr_eps < MAX_FUNCTIONS && ep_exists(nr_eps)) {
		ep_open(&eps[nr_eps], nr_eps);
		nr_eps++;
	}
	for_each_broken(ep)
		broken = broken ?: ep;
	if (!broken || nr_eps < 2)
		fatal("%d functions found", nr_eps);
	for_each_ep(ep)
		host_line("@function {\"index\":%d,\"bdf\":\"%s\",\"sid\":%u,"
			  "\"broken\":%s}", ep->index, ep->bdf, ep->sid,
			  is_broken(ep) ? "true" : "false");
}

int main(int argc, char **argv)
{
	const struct step *steps = parse(argc, argv);
	bool reached = true;
	int n = 0;

	setup();
	while (steps[n].what)
		n++;
	ktap_plan(n);
	for (int i = 0; i < n; i++) {
		if (reached)
			reached = steps[i].take();
		else
			ktap_diag("not reached:");
		ktap_point(reached, steps[i].what);
	}
	report_stale();
	return reached ? 0 : 1;
}
