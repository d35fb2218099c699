// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing is wrong with the function: a person rehearses what happens if there
 * were, by the fault injection of the patched kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "incident.h"

#define DIR		"/sys/kernel/debug/iommu_quarantine/"
#define REPORT		DIR "report_broken"

static bool able;	/* does this kernel have it? */

/* The error of a write from where this program has no memory */
static int write_nothing_there(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return errno;
	err = syscall(SYS_write, fd, NULL, 8) < 0 ? errno : 0;
	close(fd);
	return err;
}

static void value_errno(const char *name, int err)
{
	host_value(name, "%d", err);
}

bool step_report_nobody(void)
{
	char state[32] = "";

	value_errno("report_nonsense_errno", write_file(REPORT, "nonsense"));
	value_errno("report_empty_errno", write_file(REPORT, ""));
	value_errno("report_fault_errno", write_nothing_there(REPORT));
	value_errno("report_nobody_errno", write_file(REPORT, "0000:ff:1f.7"));
	if (!unbind(broken))
		return false;
	value_errno("report_without_driver_errno",
		    write_file(REPORT, broken->bdf));
	ep_read_sysfs(broken, "quarantine/state", state, sizeof(state));
	host_value("state_at_first", "\"%s\"", state);
	return bind(broken) && !translated_dma(broken, SLOT_PROBE);
}

bool step_report_broken(void)
{
	char state[32] = "";
	int err;

	if (ep_query(broken, SLOT_CANARY).state == ATCTEST_EMPTY)
		ep_map(broken, SLOT_CANARY);
	incident_begins(false);
	err = write_file(REPORT, broken->bdf);
	value_errno("report_errno", err);
	able = !err;
	host_value_bool("blocked", able && wait_blocked(broken));
	ep_read_sysfs(broken, "quarantine/state", state, sizeof(state));
	host_value("state_when_reported", "\"%s\"", state);
	return true;
}

bool step_fail_reset(void)
{
	char state[32] = "";
	int err;

	if (!able)
		return true;
	/* Without a stack trace in the log, which looks like damage */
	err = write_file(DIR "fail_reset/verbose", "1") ?:
	      write_file(DIR "fail_reset/probability", "100") ?:
	      write_file(DIR "fail_reset/times", "1");
	if (err) {
		ktap_diag("fail_reset: %s", strerror(err));
		return false;
	}
	if (!reset_by_hand(broken))
		return false;
	host_value_bool("blocked_after_failed_reset", canary_refused(broken));
	ep_read_sysfs(broken, "quarantine/state", state, sizeof(state));
	host_value("state_after_failed_reset", "\"%s\"", state);
	return ep_bus_master(broken);
}
