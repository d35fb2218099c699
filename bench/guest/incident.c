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
#include <unistd.h>

#include "incident.h"

struct options opt = {
	.broken = 1, .further = 5, .cpu = -1, .gerror_cpu = -1,
	.wait_ms = 5000, .settle_ms = 300, .workers = 1, .pages = 1,
	.cycles = 50,
};

void await_blocked(bool (*refused)(void))
{
	bool blocked = false;

	for (int ms = 0; ms < opt.wait_ms && !blocked; ms += 20) {
		blocked = refused();
		if (!blocked)
			usleep(20000);
	}
	host_value_bool("blocked", blocked);
}
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

static const struct step rehearsal[] = {
	{ "ATS is on and works: config space, model, data", step_prove },
	{ "the healthy functions are at work", step_start_innocents },
	{ "reports of what is not there", step_report_nobody },
	{ "the function is reported as broken", step_report_broken },
	{ "a reset that is to count as failed", step_fail_reset },
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
	{ "does it work when it wakes up, without ATS?", step_wake },
	{ "reset", step_reset },
	{ "does it work again, with ATS?", step_recovered },
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

static const struct step link_down[] = {
	SETUP,
	{ "its link drops, and its port's driver removes it", step_link_down },
	{ "the end of it", step_over },
	{ "the link comes back", step_link_up },
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
	{ "the device falls silent", step_vfio_silence },
	{ "the user unmaps, a stale write after each page", step_vfio_unmap },
	{ "is the device blocked, and the user told?", step_vfio_blocked },
	{ "the user resets it", step_vfio_reset },
	{ "does it work again?", step_vfio_recovered },
	{ "it falls silent, and the user closes and opens it", step_vfio_reopen },
	{ "it sleeps between its users", step_vfio_asleep },
	SHUTDOWN,
	{}
};

static const struct step faulting[] = {
	{ "ATS is on and works: config space, model, data", step_prove },
	{ "the healthy functions are at work", step_start_innocents },
	{ "a user takes the device, and it caches translations", step_owned_take },
	{ "some of its accesses are stalled", step_owned_stall },
	{ "the device falls silent", step_silence },
	{ "the user unmaps, a stale write after each page", step_owned_unmap },
	{ "is the device blocked?", step_owned_blocked },
	{ "the user answers the faults", step_owned_answer },
	{ "the user resets it", step_owned_reset },
	{ "does it work again, and its faults?", step_owned_recovered },
	{ "the user goes, and leaves faults behind", step_owned_close },
	SHUTDOWN,
	{}
};

static const struct step nested[] = {
	{ "ATS is on and works: config space, model, data", step_prove },
	{ "a guest gets two devices, and both cache translations", step_nested_take },
	{ "one of them falls silent", step_silence },
	{ "the guest unmaps, a stale write after each page", step_nested_unmap },
	{ "is the device blocked?", step_nested_blocked },
	{ "its owner resets it", step_nested_reset },
	{ "does it work again?", step_nested_recovered },
	{}
};

static const struct step shared[] = {
	{ "ATS is on and works: config space, model, data", step_prove },
	{ "a user shares an address space with two devices", step_shared_take },
	{ "one of them falls silent", step_silence },
	{ "the user unmaps, a stale write after each page", step_shared_unmap },
	{ "is the device blocked, and its user told?", step_shared_blocked },
	{ "the user resets it", step_shared_reset },
	{ "does it work again?", step_shared_recovered },
	{}
};

static const struct step sva[] = {
	{ "ATS is on and works: config space, model, data", step_prove },
	{ "the healthy functions are at work", step_start_innocents },
	{ "a process shares its memory with the device, which caches translations",
	  step_sva_take },
	{ "the device falls silent", step_silence },
	{ "the process unmaps, a stale write after each page", step_sva_unmap },
	{ "is the device blocked, with its PASID?", step_sva_blocked },
	{ "reset", step_reset },
	{ "does it work again, with its PASID?", step_sva_recovered },
	SHUTDOWN,
	{}
};

/* None of them has DMA, and each has a driver that ought to know. */
static bool step_all_told(void)
{
	char state[32];
	int told = 0;

	/* The base has no core to be told, and hardly time to wait for it */
	for (int ms = 0; ms < opt.wait_ms && told < nr_eps &&
	     ep_read_sysfs(broken, "quarantine/state", state, sizeof(state));
	     ms += 20) {
		told = 0;
		for_each_ep(ep)
			told += ep_incidents(ep) > 0;
		if (told < nr_eps)
			usleep(20000);
	}
	host_value("quarantined", "%d", told);
	return true;
}

static const struct step never[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	SHOTS,
	{ "is the device blocked?", step_blocked },
	{ "is the core told of all who have no DMA?", step_all_told },
	{ "the end of it", step_over },
	{}
};

/* The rounds bring their own translations. */
#define SETUP_ROUNDS							\
	{ "ATS is on and works: config space, model, data", step_prove },	\
	{ "the SMMU's error interrupt goes where it shall", step_gerror },	\
	{ "the healthy functions are at work", step_start_innocents }
#define ROUNDS_OVER { "the end of it", step_rounds_over }

static const struct step ways[] = {
	SETUP_ROUNDS,
	{ "falls silent, and a reset of its bus", step_bus_reset },
	{ "falls silent, and a reset of all below its port", step_reset_subordinate },
	{ "falls silent, unbind, reset, bind", step_reset_without_driver },
	{ "falls silent, is unplugged, and another one plugged", step_replug },
	SHUTDOWN,
	{ "falls silent, rmmod, reset, insmod", step_reload },
	ROUNDS_OVER,
	{}
};

static const struct step group[] = {
	SETUP_ROUNDS,
	{ "falls silent, and its group works on", step_group_silent },
	SHUTDOWN,
	{ "the group changes its domain", step_group_domain },
	{ "a user takes a healthy member", step_group_vfio },
	{ "the broken one is reset", step_group_reset },
	ROUNDS_OVER,
	{}
};

static const struct step cycles[] = {
	SETUP_ROUNDS,
	{ "falls silent and is reset, again and again", step_cycles },
	ROUNDS_OVER,
	SHUTDOWN,
	{}
};

static const struct step handlers[] = {
	SETUP_ROUNDS,
	{ "the first one has I/O", step_start_io },
	{ "four fall silent", step_silence_each },
	{ "those that can come back by themselves", step_handled },
	{ "the others by a reset", step_reset_others },
	ROUNDS_OVER,
	SHUTDOWN,
	{}
};

static const struct step recovery_fails[] = {
	SETUP_ROUNDS,
	{ "falls silent, and a reset does not help", step_recovery_fails },
	{ "it answers again, and is reset", step_reset_others },
	ROUNDS_OVER,
	SHUTDOWN,
	{}
};

static const struct step aer[] = {
	SETUP_ROUNDS,
	{ "falls silent in the middle of a recovery by AER", step_aer_first },
	{ "falls silent while the channel is frozen", step_aer_fatal },
	{ "is given up, and AER resets the link", step_aer_later },
	ROUNDS_OVER,
	SHUTDOWN,
	{}
};

static const struct step sriov[] = {
	SETUP_ROUNDS,
	{ "a VF falls silent, and is reset", step_silent_vf },
	{ "the PF falls silent, while VFs are in use", step_silent_pf },
	{ "the PF is reset, and its VFs with it", step_reset_pf },
	ROUNDS_OVER,
	SHUTDOWN,
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
	{ "rehearsal", "is healthy, and reported as broken", rehearsal },
	{ "full-queue", "falls silent while the command queue is full", full_queue },
	{ "boot", "is silent from the start", silent_from_boot },
	{ "asleep", "is in D3hot while its driver unmaps", asleep },
	{ "gone", "is not there any more while its driver unmaps", gone },
	{ "link-down", "is behind a link that drops", link_down },
	{ "rescan", "falls silent, is removed and found again", rescan },
	{ "attach-race", "falls silent while its driver and domain change", attach_race },
	{ "vfio", "falls silent in the hands of a user", vfio },
	{ "faulting", "falls silent while some of its accesses are stalled", faulting },
	{ "nested", "falls silent in the hands of a virtual machine", nested },
	{ "shared", "falls silent, one of two in an address space of a user", shared },
	{ "sva", "falls silent with the memory of a process in its ATC", sva },
	{ "never", "falls silent, and the SMMU never gives up", never },
	{ "ways", "falls silent and comes back, in many ways", ways },
	{ "cycles", "falls silent and is reset, many times", cycles },
	{ "group", "falls silent, and its group goes on to live", group },
	{ "handlers", "four fall silent, some with error handlers", handlers },
	{ "recovery-fails", "is as silent after its recovery as before",
	  recovery_fails },
	{ "aer", "falls silent before, while and after AER recovers it", aer },
	{ "sriov", "a VF falls silent, then the PF", sriov },
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
	       "  --cycles N     rounds of the story \"cycles\" (default 50)\n"
	       "  --vfs N        VFs of function 0; they come after all others\n"
	       "  --forever      silent until it is told otherwise, whatever is reset\n"
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
		{ "cycles", required_argument, NULL, 'y' },
		{ "forever", no_argument, NULL, 'F' },
		{ "vfs", required_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	const struct { int option, *value; } numbers[] = {
		{ 'f', &opt.further }, { 'c', &opt.cpu },
		{ 'e', &opt.gerror_cpu }, { 's', &opt.settle_ms },
		{ 'n', &opt.workers }, { 'p', &opt.pages },
		{ 'w', &opt.wait_ms }, { 'y', &opt.cycles },
		{ 'v', &opt.vfs },
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
		opt.forever |= c == 'F';
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
	if (opt.vfs && !enable_vfs(opt.vfs))
		fatal("no VFs");
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
