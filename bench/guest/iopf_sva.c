// SPDX-License-Identifier: GPL-2.0
/*
 * Shared virtual addressing: the device uses this process's memory, and that of
 * another one, each with a PASID, and faults while they are bound and unbound.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iopf.h"
#include "stalls.h"

#define PAGE		0x10000		/* as large as a page of any kernel */
#define PAGES		64
#define MINE		0		/* bonds: of this process, of the other */
#define OTHERS		1
#define PATTERN(bond)	(11 + (bond))

/* The same addresses in both processes, and different memory behind them */
static uint8_t *area;
/* A page of the driver's file: it comes when the driver is told to let go */
static uint8_t *slow;
static volatile uint32_t *pasids;	/* the bonds', which both processes see */

/* The other process does what it is told to, one letter each. */
static int to_other[2], from_other[2];

static bool bind_self(int bond)
{
	struct atctest_sva b = { .bond = bond };

	if (ioctl(ep.fd, ATCTEST_SVA_BIND, &b)) {
		ktap_diag("bind: %s", strerror(errno));
		return false;
	}
	pasids[bond] = b.pasid;
	return true;
}

static bool unbind(int bond)
{
	struct atctest_sva b = { .bond = bond };

	if (!ioctl(ep.fd, ATCTEST_SVA_UNBIND, &b))
		return true;
	ktap_diag("unbind: %s", strerror(errno));
	return false;
}

/* The memory is gone, and comes back, empty, with the next access. */
static bool forget(void)
{
	return mmap(area, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area;
}

static bool holds(int page, int seed)
{
	for (int i = 0; i < LEN; i++)
		if (area[(size_t)page * PAGE + i] != atctest_pattern(seed, i))
			return false;
	return true;
}

static void store(int page, int seed)
{
	for (int i = 0; i < LEN; i++)
		area[(size_t)page * PAGE + i] = atctest_pattern(seed, i);
}

static _Noreturn void be_other(void)
{
	char what, ok;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(to_other[0], &what, 1) == 1) {
		switch (what) {
		case 'b': ok = bind_self(OTHERS); break;
		case 'u': ok = unbind(OTHERS); break;
		case 'f': ok = forget(); break;
		case 's': store(1, PATTERN(OTHERS)); ok = true; break;
		case 'c': ok = holds(2, PATTERN(OTHERS)); break;
		default: ok = false;
		}
		if (write(from_other[1], &ok, 1) != 1)
			break;
	}
	_exit(0);
}

static void tell_other(char what)
{
	if (write(to_other[1], &what, 1) != 1)
		fatal("the other process is gone");
}

static bool heard_other(void)
{
	char ok;

	if (read(from_other[0], &ok, 1) != 1)
		fatal("the other process is gone");
	return ok;
}

static bool other(char what)
{
	tell_other(what);
	return heard_other();
}

static struct atctest_cmd access_as(int bond, uint32_t cmd, void *where)
{
	struct atctest_cmd c = {
		.cmd = cmd, .iova = (uintptr_t)where, .len = LEN,
		.pasid = pasids[bond],
	};

	if (ioctl(ep.fd, ATCTEST_CMD, &c))
		fatal("a command of the device: %s", strerror(errno));
	return c;
}

/* What became of it, at once or after a fault */
static uint32_t result_of(const struct atctest_cmd *c)
{
	struct atctest_status s = { .ticket = c->ticket, .result = c->result };

	for (int ms = 0; s.result == ATC_PARKED && ms < opt.wait_ms; ms += 5) {
		usleep(5000);
		if (ioctl(ep.fd, ATCTEST_STATUS, &s))
			fatal("STATUS: %s", strerror(errno));
	}
	return s.result;
}

/* Has the access of a bond that is gone come to an end, whichever? */
static bool answered(const struct atctest_cmd *c)
{
	uint32_t result = result_of(c);

	ktap_diag("the access: %#x", result);
	return result != ATC_PARKED && stalls_wait(0, opt.wait_ms);
}

static uint32_t done_as(int bond, uint32_t cmd, void *where)
{
	struct atctest_cmd c = access_as(bond, cmd, where);

	return result_of(&c);
}

/* Wait without giving up the place at the head of the run queue */
static void spin_ms(int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;

	while (now_ns() < end)
		;
}

/* The steps */

bool step_bind(void)
{
	area = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	slow = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ep.fd, 0);
	pasids = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED || slow == MAP_FAILED || pasids == MAP_FAILED ||
	    pipe(to_other) || pipe(from_other))
		return false;
	if (!fork())
		be_other();
	return bind_self(MINE) && other('b') && pasids[MINE] &&
	       pasids[OTHERS] && pasids[MINE] != pasids[OTHERS];
}

bool step_shared(void)
{
	store(1, PATTERN(MINE));
	other('s');
	for (int bond = MINE; bond <= OTHERS; bond++) {
		/* Page 1 to page 2, which nobody has ever touched */
		if (!is("read", done_as(bond, READ_PLAIN, area + PAGE), ATC_OK) ||
		    ep_check(&ep, ATCTEST_SLOT_BUF, PATTERN(bond), LEN) ||
		    !is("write", done_as(bond, WRITE_PLAIN, area + 2 * PAGE),
			ATC_OK))
			return false;
	}
	if (!stalls_parked() && !qom_get("@smmu", "stat-stalled"))
		return is("stalls", 0, 1);
	return holds(2, PATTERN(MINE)) && other('c') &&
	       /* Not mapped in any process */
	       is("access to nothing", done_as(MINE, READ_PLAIN, NULL),
		  ATC_REFUSED);
}

bool step_translated(void)
{
	for (int bond = MINE; bond <= OTHERS; bond++) {
		struct atctest_cmd c = access_as(bond, ATC_CMD_READ, area + PAGE);

		if (!is("translated read", c.result, ATC_OK) ||
		    !is("its flags", c.flags & ATC_WAS_TRANSLATED,
			ATC_WAS_TRANSLATED) ||
		    ep_check(&ep, ATCTEST_SLOT_BUF, PATTERN(bond), LEN))
			return false;
	}
	return true;
}

static void on_cpu(int cpu, int priority)
{
	struct sched_param p = { .sched_priority = priority };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) ||
	    sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &p))
		fatal("CPU %d, priority %d: %s", cpu, priority, strerror(errno));
}

/*
 * The thread that handles events has a higher priority than this process, the
 * work that it queues a lower one; another process keeps the other CPUs busy. So
 * the work cannot begin before this process sleeps, and that is what the kernel
 * has to do in the unbind.
 */
bool step_unbind_before_work(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pid_t hogs[8] = { 0 };
	struct atctest_cmd c;
	bool ok;

	on_cpu(0, 10);
	for (int cpu = 1; cpu < cpus && cpu < 8; cpu++) {
		hogs[cpu] = fork();
		if (!hogs[cpu]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			on_cpu(cpu, 10);
			for (;;)
				;
		}
	}
	usleep(20000);
	c = access_as(MINE, WRITE_PLAIN, area + 3 * PAGE);
	spin_ms(2);
	ok = unbind(MINE);
	on_cpu(0, 0);
	for (int cpu = 1; cpu < cpus && cpu < 8; cpu++) {
		kill(hogs[cpu], SIGKILL);
		waitpid(hogs[cpu], NULL, 0);
	}
	if (!is("the access", c.result, ATC_PARKED))
		return false;
	return ok && (answered(&c) || *damage()) && (*damage() || bind_self(MINE));
}

static bool unbound;

static void *unbind_other(void *unused)
{
	(void)unused;
	other('u');
	__atomic_store_n(&unbound, true, __ATOMIC_RELEASE);
	return NULL;
}

static uint32_t hold(uint32_t on)
{
	if (ioctl(ep.fd, ATCTEST_HOLD, &on))
		fatal("HOLD: %s", strerror(errno));
	return on;
}

/* The handler of the fault waits for a page; the unbind waits for the handler. */
bool step_unbind_in_work(void)
{
	struct atctest_cmd c;
	pthread_t thread;
	bool waited;

	hold(1);
	c = access_as(OTHERS, WRITE_PLAIN, slow);
	for (int ms = 0; ms < opt.wait_ms && !hold(1); ms += 5)
		usleep(5000);
	if (!is("handlers that wait", hold(1), 1) ||
	    pthread_create(&thread, NULL, unbind_other, NULL))
		return false;
	usleep(200000);
	waited = !__atomic_load_n(&unbound, __ATOMIC_ACQUIRE);
	host_value_bool("unbind_waited", waited);
	hold(0);
	pthread_join(thread, NULL);
	return (answered(&c) || *damage()) && (*damage() || other('b'));
}

static volatile bool stop_firing;
static volatile uint64_t nr_fired;

static void *fire(void *unused)
{
	unsigned int seed = opt.seed;

	(void)unused;
	while (!stop_firing) {
		if (qom_get(ep.qom, "parked") > ROOM)
			continue;
		for (int i = 0; i < 32; i++)
			access_as(draw(&seed, 2),
				  draw(&seed, 2) ? READ_PLAIN : WRITE_PLAIN,
				  area + (size_t)(8 + draw(&seed, PAGES - 8)) *
				  PAGE);
		nr_fired += 32;
	}
	return NULL;
}

bool step_sva_load(void)
{
	unsigned int seed = opt.seed + 1;
	pthread_t firing;
	bool ok = true;
	int round;

	if (pthread_create(&firing, NULL, fire, NULL))
		return false;
	for (round = 0; round < opt.rounds && ok && !*damage(); round++) {
		uint64_t begin = nr_fired;

		while (nr_fired - begin < 64)
			sched_yield();
		switch (draw(&seed, 4)) {
		case 0:
			ok = unbind(MINE) && bind_self(MINE);
			break;
		case 1:
			ok = other('u') && other('b');
			break;
		case 2:
			ok = forget();
			break;
		case 3:
			ok = other('f');
			break;
		}
	}
	stop_firing = true;
	pthread_join(firing, NULL);
	host_value("rounds", "%d", round);
	host_value("fired", "%llu", (unsigned long long)nr_fired);
	return ok;
}

bool step_unbind_all(void)
{
	bool ok = unbind(MINE) && other('u');

	stalls_wait(0, opt.wait_ms);
	host_value("waiting_accesses", "%llu",
		   (unsigned long long)qom_get(ep.qom, "parked"));
	return ok;
}
