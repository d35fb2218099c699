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
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "endpoint.h"
#include "host.h"

#define MAX_FUNCTIONS	8
#define MAX_FURTHER	64
#define LEN		64	/* bytes per transfer */
#define SLOT_CANARY	100	/* stays mapped: what the device may do with it */
#define SLOT_PROBE	101
#define SLOT_INNOCENT	200

#define TIMELINE	"/objects/tl0"

/* Patterns */
#define OWNER		1
#define DEVICE		2
#define ATTACK		3
#define VICTIM		4

#define WRITE_HIT	(ATC_CMD_WRITE | ATC_CMD_HIT_ONLY)
#define READ_HIT	(ATC_CMD_READ | ATC_CMD_HIT_ONLY)
#define READ_PLAIN	(ATC_CMD_READ | ATC_CMD_UNTRANSLATED)

static struct ep eps[MAX_FUNCTIONS];
static int nr_eps;
static struct ep *broken;
static int opt_broken, opt_further = 5, opt_cpu = -1, opt_wait_ms = 5000;
static bool opt_group;

static const struct atctest_cmd stale_write = { .cmd = WRITE_HIT, .len = LEN };

static struct {
	int landed, refused, no_entry, other;
} stale;

/* Shared with the process that plays the healthy functions */
static struct {
	volatile bool stop, done, pause, paused;
	uint64_t ops, errors, max_ns;
	char first_error[128];
} *innocents;
static pid_t innocents_pid;

static uint64_t errors_at_silence;

static bool is_translated(const struct atctest_cmd *c)
{
	return c->flags & ATC_WAS_TRANSLATED;
}

/* One shot at an address that was unmapped: what became of it? */
static bool count_stale(const struct atctest_cmd *c)
{
	static const char *const what[] = {
		"stale write landed", "stale write refused",
		"stale write: no entry"
	};
	int *count[] = { &stale.landed, &stale.refused, &stale.no_entry };
	int i = c->result == ATC_OK && is_translated(c) ? 0 :
		c->result == ATC_REFUSED && is_translated(c) ? 1 :
		c->result == ATC_NO_ENTRY ? 2 : -1;

	if (i < 0) {
		stale.other++;
		ktap_diag("stale write: result %#x flags %#x", c->result,
			  c->flags);
		return false;
	}
	++*count[i];
	host_mark_at(what[i], cnt_to_ns(c->start));
	return true;
}

static uint64_t cmdq_errors(void)
{
	return qom_get("@smmu", "stat-cerror-atc-inv") - errors_at_silence;
}

/*
 * Both directions of DMA through the ATC with the data compared, then the
 * invalidation: afterwards the function must not have the translation.
 * Returns what went wrong, or NULL.
 */
static const char *translated_dma(struct ep *ep, int slot)
{
	struct atctest_slot s = ep_map(ep, slot);
	struct atctest_unmap u;
	struct atctest_cmd c;
	const char *wrong = NULL;

	ep_fill(ep, slot, OWNER, LEN);
	c = ep_cmd(ep, ATC_CMD_PREFETCH, s.iova, LEN);
	if (c.result != ATC_OK)
		wrong = "no translation";
	c = ep_cmd(ep, READ_HIT, s.iova, LEN);
	if (!wrong && (c.result != ATC_OK || !is_translated(&c)))
		wrong = "translated read failed";
	if (!wrong && c.pa != s.phys)
		wrong = "wrong address used";
	if (!wrong && ep_check(ep, ATCTEST_SLOT_BUF, OWNER, LEN))
		wrong = "wrong data read";
	ep_fill(ep, ATCTEST_SLOT_BUF, DEVICE, LEN);
	c = ep_cmd(ep, WRITE_HIT, s.iova, LEN);
	if (!wrong && (c.result != ATC_OK || !is_translated(&c) ||
		       !(c.flags & ATC_WAS_HIT)))
		wrong = "translated write failed";
	if (!wrong && ep_check(ep, slot, DEVICE, LEN))
		wrong = "wrong data written";

	u = ep_unmap(ep, slot, false, ep, &stale_write);
	if (!wrong && u.fire.result != ATC_NO_ENTRY)
		wrong = "still cached after the unmap";
	ep_free(ep, slot);
	return wrong;
}

/* Everything works, with ATS, before the fault: else nothing is proven. */
static bool step_prove(void)
{
	bool ok = true;

	for (int i = 0; i < nr_eps; i++) {
		struct ep *ep = &eps[i];
		const char *wrong = NULL;

		if (!ep_ats_enabled(ep))
			wrong = "ATS_CTRL.E = 0";
		else if (!qom_get(ep->qom, "ats-enabled"))
			wrong = "the model has ATS off";
		else if (!ep_info(ep).ats_enabled)
			wrong = "the kernel has ATS off";
		else
			wrong = translated_dma(ep, SLOT_PROBE);
		if (!wrong && !qom_get(ep->qom, "stat-translated-writes-landed"))
			wrong = "the model saw no translated write";
		if (!wrong && !qom_get(ep->qom, "stat-inv-answered"))
			wrong = "the model saw no invalidation";
		if (wrong)
			ktap_diag("function %d (%s): %s", i, ep->bdf, wrong);
		ok = ok && !wrong;
	}
	return ok;
}

static void play_innocents(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!innocents->stop) {
		innocents->paused = innocents->pause;
		if (innocents->pause) {
			usleep(1000);
			continue;
		}
		for (int i = 0; i < nr_eps; i++) {
			uint64_t begin = now_ns(), took;
			const char *wrong;

			if (&eps[i] == broken)
				continue;
			wrong = translated_dma(&eps[i], SLOT_INNOCENT);
			took = now_ns() - begin;
			if (took > innocents->max_ns)
				innocents->max_ns = took;
			if (wrong && !innocents->errors++)
				snprintf(innocents->first_error,
					 sizeof(innocents->first_error),
					 "function %d: %s", i, wrong);
			innocents->ops++;
		}
		usleep(2000);
	}
	innocents->done = true;
	_exit(0);
}

static bool step_start_innocents(void)
{
	innocents = mmap(NULL, sizeof(*innocents), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (innocents == MAP_FAILED)
		return false;
	innocents_pid = fork();
	if (!innocents_pid)
		play_innocents();
	for (int i = 0; i < 500 && innocents->ops < 10; i++)
		usleep(10000);
	return innocents->ops >= 10;
}

/*
 * In one domain with the broken function any unmap may find the silence, and
 * the blocking that follows could be there before the shot: the siblings rest
 * from the silence to the first shot.
 */
static void rest_siblings(bool rest)
{
	if (!opt_group)
		return;
	innocents->pause = rest;
	for (int i = 0; i < 1000 && innocents->paused != rest; i++)
		usleep(10000);
	if (innocents->paused != rest)
		fatal("the healthy functions do not %s", rest ? "rest" : "go on");
}

static bool step_stop_innocents(void)
{
	uint64_t ops = innocents->ops;
	bool moved = false;

	for (int i = 0; i < 500 && !moved; i++) {
		usleep(10000);
		moved = innocents->ops > ops;
	}
	innocents->stop = true;
	for (int i = 0; i < 12000 && !innocents->done; i++)
		usleep(10000);
	if (innocents->done)
		waitpid(innocents_pid, NULL, 0);
	host_value("innocent_ops", "%llu", (unsigned long long)innocents->ops);
	host_value("innocent_errors", "%llu",
		   (unsigned long long)innocents->errors);
	host_value("innocent_max_us", "%llu",
		   (unsigned long long)innocents->max_ns / 1000);
	if (innocents->errors)
		ktap_diag("innocents: %s", innocents->first_error);
	return innocents->done && moved;
}

/* Only now: the healthy functions' process runs wherever it likes. */
static void pin(void)
{
	cpu_set_t set;

	if (opt_cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(opt_cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fatal("CPU %d: %s", opt_cpu, strerror(errno));
}

/* The device caches what it will later use without being entitled to. */
static bool step_cache(void)
{
	struct atctest_slot s = ep_map(broken, SLOT_CANARY);
	struct atctest_cmd c;

	pin();
	c = ep_cmd(broken, READ_PLAIN, s.iova, LEN);
	if (c.result != ATC_OK)
		return false;
	for (int slot = 0; slot <= opt_further; slot++) {
		s = ep_map(broken, slot);
		for (int i = 0; i < nr_eps; i++) {
			if (&eps[i] != broken && !opt_group)
				continue;
			c = ep_cmd(&eps[i], ATC_CMD_PREFETCH, s.iova, LEN);
			if (c.result != ATC_OK)
				return false;
		}
		ep_fill(broken, ATCTEST_SLOT_BUF, DEVICE, LEN);
		c = ep_cmd(broken, WRITE_HIT, s.iova, LEN);
		if (c.result != ATC_OK || !is_translated(&c) ||
		    c.pa != s.phys || ep_check(broken, slot, DEVICE, LEN))
			return false;
	}
	ep_fill(broken, ATCTEST_SLOT_BUF, ATTACK, LEN);
	return true;
}

static bool set_fault(const char *property, const char *json)
{
	rest_siblings(true);
	errors_at_silence = qom_get("@smmu", "stat-cerror-atc-inv");
	/* Every sync from now on: the one after the fence confirms it. */
	qom_set(TIMELINE, "verbose", "true");
	host_mark("silence");
	qom_set(broken->qom, property, json);
	return true;
}

static void incident_over(void)
{
	host_value("cmdq_errors", "%llu", (unsigned long long)cmdq_errors());
	host_mark("recovered");
	qom_set(TIMELINE, "verbose", "false");
}

static bool step_silence(void)
{
	return set_fault("atc-fault", "\"silent\"");
}

static bool step_late(void)
{
	return set_fault("atc-fault", "\"late\"");
}

static bool step_drop_one(void)
{
	return set_fault("atc-silent-next", "1");
}

/*
 * The other CPUs do not schedule before the shot was fired: if it is refused,
 * then by what the flush itself did.
 */
static bool step_unmap(void)
{
	struct atctest_unmap u = ep_unmap(broken, 0, true, broken,
					  &stale_write);
	int held = 0;

	host_value("unmap_us", "%llu", (unsigned long long)
		   (cnt_to_ns(u.end) - cnt_to_ns(u.start)) / 1000);
	host_value("shot_after_us", "%llu", (unsigned long long)
		   (cnt_to_ns(u.fire.end) - cnt_to_ns(u.end)) / 1000);
	for (int i = 0; opt_group && i < nr_eps; i++) {
		if (&eps[i] == broken)
			continue;
		/* Read only: the page is nobody's in particular now. */
		held += ep_cmd(&eps[i], READ_HIT, u.fire.iova, LEN).result !=
			ATC_NO_ENTRY;
	}
	host_value("siblings_stale", "%d", held);
	rest_siblings(false);
	return count_stale(&u.fire);
}

static bool step_victim(void)
{
	uint64_t iova = ep_query(broken, 0).iova;
	struct atctest_cmd c;
	uint32_t bad;

	if (!ep_handover(broken, 0))
		return false;
	ep_fill(broken, 0, VICTIM, ATCTEST_PAGE_SIZE);
	c = ep_cmd(broken, WRITE_HIT, iova, LEN);
	bad = ep_check(broken, 0, VICTIM, ATCTEST_PAGE_SIZE);
	host_value("victim_bytes_changed", "%u", bad);
	/* The model and the memory must tell the same story. */
	return count_stale(&c) && (bad > 0) == (c.result == ATC_OK);
}

static bool step_further(void)
{
	char list[MAX_FURTHER * 12] = "";
	bool ok = true;
	size_t n = 0;

	for (int slot = 1; slot <= opt_further; slot++) {
		struct atctest_unmap u = ep_unmap(broken, slot, false, broken,
						  &stale_write);

		ok = count_stale(&u.fire) && ok;
		n += snprintf(list + n, sizeof(list) - n, "%s%llu",
			      slot == 1 ? "" : ",",
			      (unsigned long long)cmdq_errors());
	}
	host_value("cmdq_errors_after_unmap", "[%s]", list);
	return ok;
}

/* May the device still reach a page that is mapped for it? */
static bool canary_refused(void)
{
	uint64_t iova = ep_query(broken, SLOT_CANARY).iova;

	return ep_cmd(broken, READ_PLAIN, iova, LEN).result == ATC_REFUSED;
}

static bool wait_blocked(void)
{
	for (int ms = 0; ms < opt_wait_ms; ms += 20) {
		if (canary_refused())
			return true;
		usleep(20000);
	}
	return false;
}

/* What refuses must be the IOMMU: the function itself has to be able to try. */
static bool step_blocked(void)
{
	bool blocked = wait_blocked();

	host_value_bool("blocked", blocked);
	if (blocked)
		host_mark("blocked");
	return ep_bus_master(broken);
}

/* A late or lost answer: the function must stay in service. */
static bool step_in_service(void)
{
	const char *wrong;

	host_value_bool("blocked", wait_blocked());
	wrong = translated_dma(broken, SLOT_PROBE);
	if (wrong)
		ktap_diag("afterwards: %s", wrong);
	host_value_bool("in_service", !wrong && ep_ats_enabled(broken));
	incident_over();
	return true;
}

static bool step_failing_reset(void)
{
	int err;

	/* One method only: the kernel would try them all, a minute each. */
	err = ep_sysfs(broken, "reset_method", "flr");
	if (err) {
		ktap_diag("reset_method: %s", strerror(err));
		return false;
	}
	qom_set(broken->qom, "reset-ready-ms", "4294967295");
	host_mark("failing reset");
	err = ep_sysfs(broken, "reset", "1");
	host_value("failing_reset_errno", "%d", err);
	host_mark("failing reset returned");
	qom_set(broken->qom, "reset-ready-ms", "0");
	ep_restore(broken);
	return err && !ep_sysfs(broken, "reset_method", "default");
}

static bool step_still_blocked(void)
{
	bool refused = canary_refused();
	uint64_t iova = ep_query(broken, SLOT_CANARY).iova;
	struct atctest_cmd c = ep_cmd(broken, ATC_CMD_PREFETCH, iova, LEN);

	host_value_bool("blocked_after_failed_reset",
			refused && c.result != ATC_OK);
	return ep_bus_master(broken);
}

static bool step_reset(void)
{
	int err;

	host_mark("reset");
	err = ep_sysfs(broken, "reset", "1");
	if (err)
		ktap_diag("reset: %s", strerror(err));
	return !err && qom_get(broken->qom, "stat-flr");
}

static bool step_recovered(void)
{
	bool ats = ep_ats_enabled(broken) &&
		   qom_get(broken->qom, "ats-enabled");
	const char *wrong = translated_dma(broken, SLOT_PROBE);
	bool refused = canary_refused();

	if (wrong)
		ktap_diag("after the reset: %s", wrong);
	host_value_bool("recovered", ats && !refused);
	host_value_bool("dma_ok_after_recovery", ats && !refused && !wrong);
	incident_over();
	return true;
}

struct step {
	const char *what;
	bool (*take)(void);
};

#define SETUP								\
	{ "ATS is on and works: config space, model, data", step_prove },	\
	{ "the healthy functions are at work", step_start_innocents },	\
	{ "the device caches translations", step_cache }
#define SHOTS								\
	{ "unmap, and a stale write right after the flush", step_unmap },	\
	{ "a stale write after the page got its next owner", step_victim },	\
	{ "further unmaps, a stale write after each", step_further }
#define SHUTDOWN { "the healthy functions are still at work", step_stop_innocents }

static const struct step silent[] = {
	SETUP,
	{ "the device falls silent", step_silence },
	SHOTS,
	{ "is the device blocked?", step_blocked },
	{ "reset", step_reset },
	{ "does it work again?", step_recovered },
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

static const struct {
	const char *name, *what;
	const struct step *steps;
} stories[] = {
	{ "silent", "falls silent, is reset, comes back", silent },
	{ "late", "answers one invalidation after the timeout", late },
	{ "silent-once", "drops one invalidation", silent_once },
	{ "failed-reset", "falls silent, and its first reset fails", failed_reset },
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
	       "  --broken N     the function that misbehaves (default 0)\n"
	       "  --further N    unmaps after the first one (default 5)\n"
	       "  --cpu N        the CPU that unmaps (default: any)\n"
	       "  --group        all functions share one domain and cache the same pages\n"
	       "  --wait-ms N    how long to wait for the device to be blocked\n");
	exit(status);
}

static const struct step *parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "broken", required_argument, NULL, 'b' },
		{ "further", required_argument, NULL, 'f' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "group", no_argument, NULL, 'g' },
		{ "wait-ms", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			opt_broken = atoi(optarg);
			break;
		case 'f':
			opt_further = atoi(optarg);
			break;
		case 'c':
			opt_cpu = atoi(optarg);
			break;
		case 'g':
			opt_group = true;
			break;
		case 'w':
			opt_wait_ms = atoi(optarg);
			break;
		default:
			usage(c == 'h' ? 0 : 2);
		}
	}
	if (opt_further < 1 || opt_further > MAX_FURTHER || opt_broken < 0)
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
	if (opt_broken >= nr_eps || nr_eps < 2)
		fatal("%d functions found", nr_eps);
	broken = &eps[opt_broken];
	for (int i = 0; i < nr_eps; i++)
		host_line("@function {\"index\":%d,\"bdf\":\"%s\",\"sid\":%u,"
			  "\"broken\":%s}", i, eps[i].bdf, eps[i].sid,
			  &eps[i] == broken ? "true" : "false");
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
	host_value("stale_writes_landed", "%d", stale.landed);
	host_value("stale_writes_refused", "%d", stale.refused);
	host_value("stale_writes_no_entry", "%d", stale.no_entry);
	host_value("stale_writes_other", "%d", stale.other);
	return reached ? 0 : 1;
}
