// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that nothing is wrong with: processes that map, transfer and
 * unmap all the time, and must not notice.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "incident.h"

#define MAX_WORKERS	MAX_FUNCTIONS

static struct {
	volatile bool stop, pause;
	int at_work, resting;		/* processes, of nr_workers */
	uint64_t ops, errors, max_ns;
	char first_error[128];
} *innocents;

static pid_t pids[MAX_WORKERS];
static int nr_workers;

static int count(int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

static void add(int *counter, int n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELEASE);
}

uint64_t innocent_ops(void)
{
	return __atomic_load_n(&innocents->ops, __ATOMIC_ACQUIRE);
}

static void work(struct ep *ep)
{
	uint64_t begin = now_ns(), took;
	const char *wrong = translated_dma(ep, SLOT_INNOCENT);

	took = now_ns() - begin;
	/* Two processes may both take their time for the longest: harmless. */
	if (took > innocents->max_ns)
		innocents->max_ns = took;
	if (wrong && !__atomic_fetch_add(&innocents->errors, 1, __ATOMIC_RELAXED))
		snprintf(innocents->first_error, sizeof(innocents->first_error),
			 "function %d: %s", ep->index, wrong);
	__atomic_fetch_add(&innocents->ops, 1, __ATOMIC_RELEASE);
}

static _Noreturn void play(int worker)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (opt.workers > 1)
		pin(worker);
	add(&innocents->at_work, 1);
	while (!innocents->stop) {
		if (innocents->pause) {
			add(&innocents->resting, 1);
			while (innocents->pause && !innocents->stop)
				usleep(1000);
			add(&innocents->resting, -1);
			continue;
		}
		for_each_ep(ep)
			if (!is_broken(ep) && ep->index % opt.workers == worker)
				work(ep);
		/* A crowd is one because it does not wait. */
		if (opt.workers == 1)
			usleep(2000);
	}
	add(&innocents->at_work, -1);
	_exit(0);
}

bool step_start_innocents(void)
{
	int healthy = 0;

	innocents = mmap(NULL, sizeof(*innocents), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (innocents == MAP_FAILED)
		return false;
	for_each_ep(ep)
		healthy += !is_broken(ep);
	if (!healthy)
		return true;
	for (; nr_workers < opt.workers; nr_workers++) {
		pids[nr_workers] = fork();
		if (!pids[nr_workers])
			play(nr_workers);
	}
	for (int i = 0; i < 1000 && innocent_ops() < 10; i++)
		usleep(10000);
	return innocent_ops() >= 10;
}

void rest_healthy(bool rest)
{
	int wanted = rest ? nr_workers : 0;

	innocents->pause = rest;
	for (int i = 0; i < 1000 && count(&innocents->resting) != wanted; i++)
		usleep(10000);
	if (count(&innocents->resting) != wanted)
		fatal("the healthy functions do not %s", rest ? "rest" : "go on");
}

void rest_siblings(bool rest)
{
	/* A crowd has to be there when the silence comes. */
	if (opt.group && opt.workers == 1)
		rest_healthy(rest);
}

bool step_stop_innocents(void)
{
	uint64_t ops = innocent_ops();
	bool moved = !nr_workers;

	for (int i = 0; i < 500 && !moved; i++) {
		usleep(10000);
		moved = innocent_ops() > ops;
	}
	innocents->stop = true;
	for (int i = 0; i < 12000 && count(&innocents->at_work); i++)
		usleep(10000);
	for (int i = 0; i < nr_workers && !count(&innocents->at_work); i++)
		waitpid(pids[i], NULL, 0);
	host_value("innocent_ops", "%llu", (unsigned long long)innocent_ops());
	host_value("innocent_errors", "%llu",
		   (unsigned long long)innocents->errors);
	host_value("innocent_max_us", "%llu",
		   (unsigned long long)innocents->max_ns / 1000);
	if (innocents->errors)
		ktap_diag("innocents: %s", innocents->first_error);
	return !count(&innocents->at_work) && moved;
}
