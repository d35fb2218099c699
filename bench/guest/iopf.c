// SPDX-License-Identifier: GPL-2.0
/*
 * Page faults of a device whose domain changes under them.
 *
 * As in incident.c a step is a KTAP point, and says whether it could be taken
 * on any kernel; what came of it are values. Once the kernel has said that it is
 * damaged, the rest of the story is not told: what follows proves nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "iommufd.h"
#include "iopf.h"
#include "stalls.h"

#define IOVA		0x40000000ULL
#define PAGE		0x10000		/* as large as a page of any kernel */
#define PAGES		64
#define SLOTS		3		/* fault queues, with a HWPT each */
#define BURST		64		/* accesses */

struct step {
	const char *what;
	bool (*take)(void);
};

struct iopf_options opt = { .rounds = 200, .wait_ms = 10000, .seed = 1 };
struct ep ep;

static struct owner me;

/* An IOAS with a HWPT on it whose faults go to a queue of its own */
static struct slot {
	pthread_mutex_t lock;	/* the queue's file is not closed under a reader */
	uint32_t ioas, hwpt, fault;
	int fd;
} slots[SLOTS];
static uint32_t plain;		/* an IOAS whose HWPT takes no faults */
static uint8_t *pages;
static uint64_t nr_faults, nr_answers;

static uint64_t iova_of(int page)
{
	return IOVA + (uint64_t)page * PAGE;
}

static uint8_t *page_at(int page)
{
	return pages + (size_t)page * PAGE;
}

/* Of the slot @s */
static bool map(struct slot *s, int page)
{
	return ioas_map(&me, s->ioas, iova_of(page), page_at(page), PAGE);
}

static bool slot_alloc(struct slot *s)
{
	s->ioas = ioas_alloc(&me);
	s->fault = s->ioas ? fault_alloc(&me, &s->fd) : 0;
	s->hwpt = s->fault ? hwpt_alloc(&me, s->ioas, 0, s->fault, NULL) : 0;
	/* Page 0 is always there */
	return s->hwpt && map(s, 0);
}

static bool slot_free(struct slot *s)
{
	close(s->fd);
	return id_destroy(&me, s->hwpt) && id_destroy(&me, s->fault) &&
	       id_destroy(&me, s->ioas);
}

/* An access that the SMMU stalls; its ticket, or 0 */
static uint32_t park(uint32_t cmd, int page)
{
	struct atctest_cmd c = bar_cmd(me.bar, cmd, iova_of(page), LEN);

	if (c.result == ATC_PARKED)
		return c.ticket;
	ktap_diag("page %d: result %#x instead of a stall", page, c.result);
	return 0;
}

/* Read one fault from the queue of @s, within the time */
static bool fault_read(struct slot *s, struct pgfault *f)
{
	for (int ms = 0; ms < opt.wait_ms; ms += 5) {
		ssize_t n = read(s->fd, f, sizeof(*f));

		if (n == sizeof(*f)) {
			nr_faults++;
			return true;
		}
		if (n) {
			ktap_diag("fault queue: %s", strerror(errno));
			return false;
		}
		usleep(5000);
	}
	ktap_diag("no fault in the queue");
	return false;
}

static bool fault_answer(struct slot *s, const struct pgfault *f, uint32_t code)
{
	struct page_response r = { .cookie = f->cookie, .code = code };

	if (write(s->fd, &r, sizeof(r)) == sizeof(r)) {
		nr_answers++;
		return true;
	}
	ktap_diag("answer: %s", strerror(errno));
	return false;
}

/* The result of a parked access, once it is there */
static uint32_t result_of(uint32_t ticket)
{
	uint32_t result = ATC_PARKED;

	for (int ms = 0; ms < opt.wait_ms; ms += 5) {
		result = bar_status(me.bar, ticket);
		if (result != ATC_PARKED)
			break;
		usleep(5000);
	}
	return result;
}

bool is(const char *what, uint32_t got, uint32_t want)
{
	if (got != want)
		ktap_diag("%s: %#x, not %#x", what, got, want);
	return got == want;
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fatal("CPU %d: %s", cpu, strerror(errno));
}

/* The steps */

static bool step_take(void)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		fatal("this takes two CPUs");
	pages = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (pages == MAP_FAILED || !owner_give(&ep) ||
	    !owner_open(&me, &ep, NULL))
		return false;
	for (int i = 0; i < SLOTS; i++) {
		pthread_mutex_init(&slots[i].lock, NULL);
		if (!slot_alloc(&slots[i]))
			return false;
	}
	plain = ioas_alloc(&me);
	return plain && owner_attach(&me, slots[0].hwpt) &&
	       is("access to what is mapped",
		  bar_cmd(me.bar, WRITE_PLAIN, iova_of(0), LEN).result, ATC_OK);
}

/* A fault that the user mends, and one that he does not */
static bool step_one_fault(void)
{
	struct slot *s = &slots[0];
	struct pgfault f;
	uint32_t ticket;

	bar_fill(me.bar, 7, LEN);
	ticket = park(WRITE_PLAIN, 1);
	if (!ticket || !fault_read(s, &f) ||
	    !is("address of the fault", f.addr - IOVA, PAGE) ||
	    !is("the access meanwhile", bar_status(me.bar, ticket), ATC_PARKED))
		return false;
	if (!map(s, 1) || !fault_answer(s, &f, RESPONSE_SUCCESS) ||
	    !is("the access", result_of(ticket), ATC_OK))
		return false;
	for (int i = 0; i < LEN; i++)
		if (page_at(1)[i] != atctest_pattern(7, i))
			return is("data", i, LEN);

	ticket = park(READ_PLAIN, 2);
	return ticket && fault_read(s, &f) &&
	       fault_answer(s, &f, RESPONSE_INVALID) &&
	       is("the access", result_of(ticket), ATC_REFUSED) &&
	       stalls_wait(0, opt.wait_ms);
}

/*
 * Some accesses are parked: one whose fault was read, and more that nobody has
 * looked at. Then the domain goes, by @change.
 */
static bool with_faults(bool (*change)(void))
{
	struct slot *s = &slots[0];
	struct pgfault f;
	uint32_t tickets[8];
	bool ok;

	if (!owner_attach(&me, s->hwpt))
		return false;
	for (int i = 0; i < 8; i++)
		tickets[i] = park(WRITE_PLAIN, 8 + i);
	if (!tickets[7] || !fault_read(s, &f))
		return false;
	if (!change())
		return false;
	for (int ms = 0; ms < opt.wait_ms && bar_parked(me.bar); ms += 5) {
		/* A fault that the new domain has to deal with */
		struct pgfault g;

		if (read(slots[1].fd, &g, sizeof(g)) == sizeof(g))
			fault_answer(&slots[1], &g, RESPONSE_INVALID);
		usleep(5000);
	}
	ok = stalls_wait(0, opt.wait_ms);
	for (int i = 0; i < 8 && ok; i++)
		ok = is("a parked access", bar_status(me.bar, tickets[i]),
			ATC_REFUSED);
	return ok;
}

static bool change_to_other(void)
{
	return owner_attach(&me, slots[1].hwpt);
}

static bool change_to_plain(void)
{
	return owner_attach(&me, plain);
}

static bool change_to_nothing(void)
{
	return owner_detach(&me);
}

static bool step_replace(void)
{
	return with_faults(change_to_other);
}

static bool step_replace_plain(void)
{
	return with_faults(change_to_plain);
}

static bool step_detach(void)
{
	return with_faults(change_to_nothing);
}

/* The HWPT and its queue are freed as soon as they are not used any more. */
static bool step_free(void)
{
	return with_faults(change_to_other) && slot_free(&slots[0]) &&
	       slot_alloc(&slots[0]);
}

/*
 * Events that no interrupt brings: a thread above the one that handles them,
 * which runs where the interrupt goes, on CPU 0, keeps it from running.
 */
static volatile bool holding;

static void *hold(void *unused)
{
	struct sched_param p = { .sched_priority = 60 };

	(void)unused;
	on_cpu(0);
	if (sched_setscheduler(0, SCHED_FIFO, &p))
		fatal("priority %d: %s", p.sched_priority, strerror(errno));
	holding = true;
	while (holding)
		;
	return NULL;
}

/* What has no response when @change, which takes the domain away, is over? */
static bool without_interrupt(bool (*change)(void), const char *value)
{
	pthread_t thread;
	uint32_t parked;
	bool ok;

	if (!owner_attach(&me, slots[0].hwpt) ||
	    pthread_create(&thread, NULL, hold, NULL))
		return false;
	on_cpu(1);
	while (!holding)
		;
	for (int i = 0; i < 8; i++)
		park(WRITE_PLAIN, 8 + i);
	parked = bar_parked(me.bar);
	ok = change();
	host_value(value, "%llu", (unsigned long long)stalls_parked());
	holding = false;
	pthread_join(thread, NULL);
	return ok && is("parked", parked, 8) && stalls_wait(0, opt.wait_ms);
}

static bool step_detach_alone(void)
{
	return without_interrupt(change_to_nothing, "unanswered_after_detach");
}

static bool step_replace_alone(void)
{
	return without_interrupt(change_to_plain, "unanswered_after_replace");
}

/* Load */

static volatile bool stop_firing, stop_answering;
static volatile uint64_t nr_fired;

unsigned int draw(unsigned int *seed, unsigned int n)
{
	/* xorshift; 0 would stay 0 */
	*seed = *seed ?: 1;
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed % n;
}

/*
 * A burst per change. The thread that handles events runs where the interrupt
 * goes, on CPU 0, and so does the one that changes the domain: each access that
 * faults interrupts it, wherever it is in the change, and is handled there and
 * then.
 */
static unsigned int bursts_wanted, bursts_done;

static unsigned int look(unsigned int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

static void next(unsigned int *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELEASE);
}

/* The only one that uses the registers meanwhile */
static void *fire(void *unused)
{
	unsigned int seed = opt.seed;

	(void)unused;
	on_cpu(1);
	while (!stop_firing) {
		if (look(&bursts_wanted) == bursts_done)
			continue;
		for (int i = 0; i < BURST && bar_parked(me.bar) < ROOM; i++) {
			bar_cmd(me.bar, draw(&seed, 2) ? READ_PLAIN : WRITE_PLAIN,
				iova_of(16 + draw(&seed, PAGES - 16)), LEN);
			nr_fired++;
		}
		/* A place for the next one */
		while (bar_parked(me.bar) > ROOM - BURST && !stop_firing)
			usleep(1000);
		next(&bursts_done);
	}
	return NULL;
}

static int now;		/* the slot that is attached, SLOTS: none, -1: nothing */

static void *answer(void *unused)
{
	unsigned int seed = opt.seed + 1;
	struct pgfault f[8];
	ssize_t n;

	(void)unused;
	while (!stop_answering) {
		struct slot *s = &slots[draw(&seed, SLOTS)];

		pthread_mutex_lock(&s->lock);
		n = read(s->fd, f, sizeof(f));
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(f[0]); i++) {
			struct page_response r = {
				.cookie = f[i].cookie,
				.code = draw(&seed, 4) ? RESPONSE_INVALID :
							 RESPONSE_SUCCESS,
			};

			nr_faults++;
			/* The domain may have gone, and the fault with it */
			if (write(s->fd, &r, sizeof(r)) == sizeof(r))
				nr_answers++;
		}
		pthread_mutex_unlock(&s->lock);
		if (n <= 0)
			sched_yield();
	}
	return NULL;
}

static bool change(unsigned int *seed)
{
	bool faults = now >= 0 && now < SLOTS;
	int next = draw(seed, SLOTS);
	struct slot *s;

	/* Every other time to a domain that takes no faults, or to nothing */
	if (faults && draw(seed, 2))
		next = draw(seed, 2) ? SLOTS : -1;

	if (next < 0 ? now < 0 || !owner_detach(&me) :
	    !owner_attach(&me, next == SLOTS ? plain : slots[next].hwpt))
		return next < 0;
	now = next;

	/* One that is not used goes, and a new one comes */
	s = &slots[draw(seed, SLOTS)];
	if (s == &slots[now < 0 || now == SLOTS ? 0 : now] && now == s - slots)
		return true;
	pthread_mutex_lock(&s->lock);
	if (!slot_free(s) || !slot_alloc(s)) {
		pthread_mutex_unlock(&s->lock);
		return false;
	}
	pthread_mutex_unlock(&s->lock);
	return true;
}

static bool step_load(void)
{
	unsigned int seed = opt.seed + 2;
	pthread_t firing, answering;
	bool ok = true;
	int round;

	now = 1;
	if (pthread_create(&firing, NULL, fire, NULL) ||
	    pthread_create(&answering, NULL, answer, NULL))
		return false;
	on_cpu(0);
	for (round = 0; round < opt.rounds && ok && !*damage(); round++) {
		uint64_t begin = nr_fired;

		next(&bursts_wanted);
		while (nr_fired == begin && look(&bursts_done) != bursts_wanted)
			;
		ok = change(&seed);
		while (look(&bursts_done) != bursts_wanted)
			sched_yield();
	}
	stop_firing = true;
	pthread_join(firing, NULL);
	stop_answering = true;
	pthread_join(answering, NULL);
	host_value("rounds", "%d", round);
	host_value("fired", "%llu", (unsigned long long)nr_fired);
	return ok;
}

/* Nobody answers any more but the kernel: the device gets nothing. */
static bool step_end(void)
{
	if (now >= 0 && !owner_detach(&me))
		return false;
	stalls_wait(0, opt.wait_ms);
	host_value("waiting_accesses", "%u", bar_parked(me.bar));
	return true;
}

static bool step_close(void)
{
	owner_close(&me);
	stalls_wait(0, opt.wait_ms);
	return true;
}

static const struct step replace[] = {
	{ "a user takes the device", step_take },
	{ "a fault that is mended, and one that is not", step_one_fault },
	{ "detach before the events are handled", step_detach_alone },
	{ "replace before the events are handled", step_replace_alone },
	{ "replace by a domain that takes faults", step_replace },
	{ "replace by a domain that takes none", step_replace_plain },
	{ "detach", step_detach },
	{ "replace and free", step_free },
	{ "replace, free and detach under load", step_load },
	{ "detach for good", step_end },
	{ "everything is closed", step_close },
	{}
};

static const struct step sva[] = {
	{ "two processes share their memory with the device", step_bind },
	{ "it reads and writes what it has never touched", step_shared },
	{ "the same through its ATC", step_translated },
	{ "unbind before a fault's work has begun", step_unbind_before_work },
	{ "unbind while a fault is being handled", step_unbind_in_work },
	{ "bind and unbind under load", step_sva_load },
	{ "unbind for good", step_unbind_all },
	{}
};

static const struct {
	const char *name, *what;
	const struct step *steps;
} stories[] = {
	{ "replace", "domains of iommufd are replaced and freed", replace },
	{ "sva", "two processes share their memory with the device", sva },
};

#define NR_STORIES ((int)(sizeof(stories) / sizeof(stories[0])))

static _Noreturn void usage(int status)
{
	printf("usage: iopf STORY [options]\n"
	       "The first function's accesses fault and are stalled while its domain changes.\n\n"
	       "stories:\n");
	for (int i = 0; i < NR_STORIES; i++)
		printf("  %-10s %s\n", stories[i].name, stories[i].what);
	printf("\noptions:\n"
	       "  --rounds N     changes under load (default %d)\n"
	       "  --seed N       of the choices made meanwhile (default %u)\n"
	       "  --wait-ms N    how long an answer may take (default %d)\n",
	       opt.rounds, opt.seed, opt.wait_ms);
	exit(status);
}

static void tell(const struct step *steps)
{
	const char *damaged = "", *after = "";
	int n = 0;

	while (steps[n].what)
		n++;
	ktap_plan(n);
	damage_start();
	for (const struct step *s = steps; s->what; s++) {
		char name[160];

		if (*damaged) {
			snprintf(name, sizeof(name),
				 "%s # SKIP the kernel is damaged", s->what);
			ktap_point(true, name);
			continue;
		}
		host_mark(s->what);
		ktap_point(s->take(), s->what);
		damaged = damage();
		if (*damaged)
			after = s->what;
	}
	stalls_report();
	host_value("faults_read", "%llu", (unsigned long long)nr_faults);
	host_value("faults_answered", "%llu", (unsigned long long)nr_answers);
	host_value("damage", "\"%s\"", damaged);
	host_value("damaged_by", "\"%s\"", after);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "wait-ms", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 'r': opt.rounds = atoi(optarg); break;
		case 's': opt.seed = atoi(optarg); break;
		case 'w': opt.wait_ms = atoi(optarg); break;
		case 'h': usage(0);
		default: usage(2);
		}
	}
	for (int i = 0; i < NR_STORIES && optind == argc - 1; i++) {
		if (strcmp(argv[optind], stories[i].name))
			continue;
		if (!host_open(HOST_FD)) {
			perror(HOST_PORT);
			return 1;
		}
		ep_open(&ep, 0);
		tell(stories[i].steps);
		return 0;
	}
	usage(2);
}
