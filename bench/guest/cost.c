// SPDX-License-Identifier: GPL-2.0
/*
 * What one unmap costs on a function without ATS, on one with it, and on one
 * whose domain has many ATC entries. The host runs QEMU with -icount, where the
 * counter counts instructions, and compares kernels.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost_faults.h"
#include "endpoint.h"
#include "host.h"

/*
 * An unmap whose commands cross a word of the queue's bitmap costs a little
 * more: a multiple of 64 sees as many of them wherever it begins.
 */
#define ITERATIONS	2048
/* What is counted per function by the host is logged, one line each. */
#define TRACED		64

static bool trace;

static void measure(const char *name, int index, uint32_t extra)
{
	struct atctest_cost c;
	char path[64];
	struct ep ep;

	ep_open(&ep, index);
	if (trace)
		qemu_log(COST_TRACE);
	c = ep_cost(&ep, trace ? TRACED : ITERATIONS, extra);
	if (trace)
		qemu_log("none");
	snprintf(path, sizeof(path), "cost_%s", name);
	host_value(path, "{\"ticks\":%llu,\"empty\":%llu,\"min\":%u,\"max\":%u,"
		   "\"iterations\":%u,\"ats\":%s}",
		   (unsigned long long)c.ticks, (unsigned long long)c.empty,
		   c.min, c.max, c.iterations,
		   ep_ats_enabled(&ep) ? "true" : "false");
	if (!index) {
		snprintf(path, sizeof(path), "sizes_%s", name);
		host_value(path, "{\"inv\":%u,\"cmdq\":%u,\"lock\":%u}",
			   c.sizeof_inv, c.sizeof_cmdq, c.sizeof_lock);
	}
	ep_close(&ep);
}

static _Noreturn void usage(int status)
{
	printf("usage: cost [--trace] NAME INDEX EXTRA [NAME INDEX EXTRA ...]\n"
	       "       cost [--trace] --faults EXTRA\n"
	       "Count %d unmaps of function INDEX, each with EXTRA more instructions.\n"
	       "--trace: only %d, and let QEMU log what is executed\n"
	       "--faults: changes of the first function's domain, and page faults\n",
	       ITERATIONS, TRACED);
	exit(status);
}

static int faults(uint32_t extra)
{
	struct ep ep;

	if (!host_open(HOST_FD)) {
		perror(HOST_PORT);
		return 1;
	}
	ktap_plan(1);
	ep_open(&ep, 0);
	cost_faults(&ep, extra, trace ? TRACED : 0);
	ktap_point(true, "faults");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		usage(0);
	if (argc > 1 && !strcmp(argv[1], "--trace")) {
		trace = true;
		argv++;
		argc--;
	}
	if (argc == 3 && !strcmp(argv[1], "--faults"))
		return faults(atoi(argv[2]));
	if (argc < 4 || (argc - 1) % 3)
		usage(2);
	if (!host_open(HOST_FD)) {
		perror(HOST_PORT);
		return 1;
	}
	ktap_plan((argc - 1) / 3);
	for (int i = 1; i < argc; i += 3) {
		measure(argv[i], atoi(argv[i + 1]), atoi(argv[i + 2]));
		ktap_point(true, argv[i]);
	}
	return 0;
}
