// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver of a broken function sees: error handlers, alone and against
 * AER's, I/O that goes on, and the functions of a PF.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "incident.h"

#define SLOT_IO		150

/* I/O of the first broken function, by a process of its own */

static struct {
	volatile bool stop, pause;
	volatile bool resting;
	uint64_t done, retries, lost;
} *io;

static pid_t io_pid;

/*
 * One request, as a driver has it: a page of its own, repeated until the device
 * says that it has written it. Then the data has to be there.
 */
static void request(struct ep *ep)
{
	struct atctest_slot s = ep_map(ep, SLOT_IO);
	bool ok = false;

	while (!io->stop) {
		ep_fill(ep, ATCTEST_SLOT_BUF, DEVICE, LEN);
		/* A reset in between has taken away what was to be written */
		ok = ep_cmd(ep, ATC_CMD_WRITE, s.iova, LEN).result == ATC_OK &&
		     !ep_check(ep, ATCTEST_SLOT_BUF, DEVICE, LEN);
		if (ok)
			break;
		io->retries++;
		usleep(5000);
	}
	if (ok && ep_check(ep, SLOT_IO, DEVICE, LEN))
		io->lost++;
	ep_unmap(ep, SLOT_IO, 0, NULL, NULL);
	ep_free(ep, SLOT_IO);
	io->done += ok;
}

bool step_start_io(void)
{
	io = mmap(NULL, sizeof(*io), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (io == MAP_FAILED)
		return false;
	pin(opt.cpu);
	io_pid = fork();
	if (!io_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!io->stop) {
			io->resting = io->pause;
			if (!io->pause)
				request(broken);
			usleep(1000);
		}
		_exit(0);
	}
	for (int i = 0; i < 1000 && io->done < 10; i++)
		usleep(10000);
	return io->done >= 10;
}

static void rest_io(bool rest)
{
	io->pause = rest;
	while (io->resting != rest && !waitpid(io_pid, NULL, WNOHANG))
		usleep(1000);
}

/* Error handlers */

/* @calls of the handlers, as far as they got within the time that is given */
static bool wait_calls(struct ep *ep, const char *calls)
{
	for (uint64_t end = wait_end(); now_ns() < end;) {
		if (!strcmp(ep_info(ep).calls, calls))
			return true;
		usleep(20000);
	}
	ktap_diag("%s: calls of the handlers: \"%s\", not \"%s\"", ep->bdf,
		  ep_info(ep).calls, calls);
	return false;
}

static void report_calls(struct ep *ep)
{
	char name[16];

	snprintf(name, sizeof(name), "calls_%d", ep->index);
	host_value(name, "\"%s\"", ep_info(ep).calls);
}

/* All of them at once, while the first one has I/O */
bool step_silence_each(void)
{
	bool ok = true;

	rest_io(true);
	for_each_broken(ep) {
		ok = ok && fall_silent(ep);
		rest_io(false);
	}
	return ok;
}

/* Does it work with ATS again, without anybody's help? */
static bool works(struct ep *ep)
{
	return ep_ats_enabled(ep) && !translated_dma(ep, SLOT_PROBE);
}

/*
 * Who has handlers that want a reset comes back: functions 0 and 1. The others,
 * one whose driver gives up and one without handlers, stay.
 */
bool step_handled(void)
{
	uint64_t done;
	bool stay = true;

	wait_calls(&eps[0], "fsr");
	wait_calls(&eps[1], "fmsr");
	wait_calls(&eps[2], "fp");
	/* The I/O has to go on, not only to have gone on. */
	done = io->done;
	for (uint64_t end = wait_end(); now_ns() < end && io->done < done + 20;)
		usleep(20000);
	host_value_bool("io_goes_on", io->done >= done + 20);
	io->stop = true;
	waitpid(io_pid, NULL, 0);
	host_value("io_requests", "%llu", (unsigned long long)io->done);
	host_value("io_retries", "%llu", (unsigned long long)io->retries);
	host_value("io_lost", "%llu", (unsigned long long)io->lost);

	for_each_broken(ep) {
		report_calls(ep);
		count_blocked(ep_incidents(ep) == 1);
		if (ep->index > 1)
			stay = stay && canary_refused(ep);
	}
	host_value_bool("back_by_themselves", works(&eps[0]) && works(&eps[1]));
	host_value_bool("others_stay_blocked", stay);
	return true;
}

/* The kernel tries, and gives up. */
bool step_recovery_fails(void)
{
	if (!fall_silent(broken))
		return false;
	wait_calls(broken, "fp");
	report_calls(broken);
	count_blocked(wait_blocked(broken));
	qom_set(broken->qom, "atc-fault", "\"none\"");
	return true;
}

bool step_reset_others(void)
{
	host_mark("reset");
	for_each_broken(ep) {
		/* On a kernel that recovers nobody by itself: all of them */
		if ((opt.forever || !works(ep)) && !reset_by_hand(ep))
			return false;
		came_back(ep);
	}
	return true;
}

/* AER: function 0 breaks, function 1 below the same port can hold up the walk. */

static bool module_parameter(const char *name, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/atctest/parameters/%s", name);
	return !write_file(path, value);
}

static bool inject(struct ep *ep, const char *error)
{
	char command[64];
	const char *said;

	snprintf(command, sizeof(command), "pcie_aer_inject_error ep%d %s",
		 ep->index, error);
	said = host_monitor(command);
	if (!strstr(said, "OK"))
		ktap_diag("%s: %s", error, said);
	return strstr(said, "OK");
}

static void forget_calls(void)
{
	for (int i = 0; i < 2; i++)
		ep_forget_calls(&eps[i]);
}

/*
 * AER is first, and has told function 0 of an error when that falls silent. The
 * function's own recovery has to wait until AER is through with it.
 */
bool step_aer_first(void)
{
	bool ok;

	forget_calls();
	ok = module_parameter("handlers", "can-recover,can-recover") &&
	     module_parameter("hold", "1") && inject(&eps[0], "COMP_TIME") &&
	     wait_calls(&eps[1], "n") && wait_calls(&eps[0], "n");
	if (!ok || !fall_silent(&eps[0]))
		return false;
	count_blocked(wait_blocked(&eps[0]));
	/* Two looks of the recovery that waits, a second apart */
	usleep(2500000);
	host_value("calls_while_aer", "\"%s\"", ep_info(&eps[0]).calls);
	ok = module_parameter("hold", "-1") && wait_calls(&eps[1], "nmr");
	wait_calls(&eps[0], "nmrfmsr");
	host_value("calls_aer_first", "\"%s\"", ep_info(&eps[0]).calls);
	/* A kernel without a recovery of its own needs help. */
	ok = ok && (works(&eps[0]) || reset_by_hand(&eps[0]));
	came_back(&eps[0]);
	return ok;
}

/*
 * The error is fatal: function 0 falls silent while the channel is frozen. It
 * is fenced, but nobody takes it for broken, and the reset of the link heals it.
 */
bool step_aer_fatal(void)
{
	bool ok;

	forget_calls();
	ok = module_parameter("handlers", "reset,reset") &&
	     module_parameter("hold", "1") && inject(&eps[0], "DLP") &&
	     wait_calls(&eps[1], "f");
	if (!ok || !fall_silent(&eps[0]))
		return false;
	host_value("incidents_while_frozen", "%d", ep_incidents(&eps[0]));
	/* Nothing blocks it in this round, and nothing has to. */
	count_blocked(true);
	ok = module_parameter("hold", "-1") && wait_calls(&eps[1], "fsr") &&
	     wait_calls(&eps[0], "fsr");
	host_value("calls_fatal", "\"%s\"", ep_info(&eps[0]).calls);
	came_back(&eps[0]);
	return ok;
}

/* Its driver has given it up; then a fatal error makes AER reset the link. */
bool step_aer_later(void)
{
	bool ok;

	forget_calls();
	if (!module_parameter("handlers", "disconnect,reset") ||
	    !fall_silent(&eps[0]))
		return false;
	wait_calls(&eps[0], "fp");
	count_blocked(wait_blocked(&eps[0]));
	ok = module_parameter("handlers", "reset,reset") &&
	     inject(&eps[0], "DLP") && wait_calls(&eps[1], "fsr");
	wait_calls(&eps[0], "fpfsr");
	host_value("calls_later", "\"%s\"", ep_info(&eps[0]).calls);
	came_back(&eps[0]);
	return ok;
}

/* A PF, function 0, and its VFs, the last ones */

bool enable_vfs(int n)
{
	char path[32], text[8];
	struct ep pf;
	int before = 0, err;

	while (ep_exists(before))
		before++;
	ep_open(&pf, 0);
	snprintf(text, sizeof(text), "%d", n);
	err = ep_sysfs(&pf, "sriov_numvfs", text);
	ep_close(&pf);
	if (err)
		ktap_diag("sriov_numvfs: %s", strerror(err));
	snprintf(path, sizeof(path), "/dev/atctest%d", before + n - 1);
	for (int i = 0; i < 500 && access(path, F_OK); i++)
		usleep(10000);
	return !access(path, F_OK);
}

bool step_silent_vf(void)
{
	struct ep *vf = &eps[nr_eps - 1];
	bool ok;

	if (!fall_silent(vf))
		return false;
	count_blocked(wait_blocked(vf));
	/* The PF has nothing to do with it. */
	host_value_bool("pf_works", works(&eps[0]));
	ok = reset_by_hand(vf) && qom_get(vf->qom, "stat-flr");
	came_back(vf);
	return ok;
}

bool step_silent_pf(void)
{
	uint64_t flrs = qom_get(eps[0].qom, "stat-flr");

	if (!fall_silent(&eps[0]))
		return false;
	count_blocked(wait_blocked(&eps[0]));
	/* What the core does about it, it does within this time. */
	for (uint64_t end = wait_end(); now_ns() < end && !*ep_info(&eps[0]).calls;)
		usleep(20000);
	report_calls(&eps[0]);
	host_value("pf_resets_by_core", "%llu", (unsigned long long)
		   qom_get(eps[0].qom, "stat-flr") - flrs);
	host_value_bool("pf_blocked_vf_works", canary_refused(&eps[0]) &&
			works(&eps[nr_eps - 1]));
	return true;
}

/* Its administrator does, who has asked the users of the VFs. */
bool step_reset_pf(void)
{
	bool ok;

	rest_healthy(true);
	host_mark("neighbours");
	ok = reset_by_hand(&eps[0]);
	/* A reset of the PF is one of the VFs; nobody restores what they had. */
	for (int i = nr_eps - opt.vfs; i < nr_eps; i++)
		ep_restore(&eps[i]);
	host_mark("neighbours end");
	rest_healthy(false);
	came_back(&eps[0]);
	host_value_bool("vfs_work", works(&eps[nr_eps - 1]));
	return ok;
}
