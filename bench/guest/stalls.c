// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "stalls.h"

/* What tells, the worst first */
static const struct {
	const char *text, *kind;
} signs[] = {
	{ "BUG: KASAN", "memory" },
	{ "Internal error: ", "oops" },
	{ "Unable to handle kernel ", "oops" },
	{ "BUG: ", "bug" },
	{ "WARNING: ", "warning" },
	{ "list_del corruption", "bug" },
	{ "list_add corruption", "bug" },
	{ "refcount_t: ", "warning" },
};

#define NR_SIGNS ((int)(sizeof(signs) / sizeof(signs[0])))

static int kmsg_fd = -1;
static int worst = NR_SIGNS;

uint64_t stalls_parked(void)
{
	return qom_get("@smmu", "stalls-parked");
}

bool stalls_wait(uint64_t want, int ms)
{
	for (int waited = 0; waited < ms; waited += 10) {
		if (stalls_parked() == want)
			return true;
		usleep(10000);
	}
	return stalls_parked() == want;
}

void stalls_report(void)
{
	static const struct {
		const char *value, *property;
	} counts[] = {
		{ "stalled", "stat-stalled" },
		{ "retried", "stat-stall-retried" },
		{ "aborted", "stat-stall-aborted" },
		{ "terminated", "stat-stall-terminated" },
		{ "unmatched", "stat-resume-unmatched" },
		{ "parked_at_end", "stalls-parked" },
	};

	for (unsigned int i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		host_value(counts[i].value, "%llu", (unsigned long long)
			   qom_get("@smmu", counts[i].property));
}

void damage_start(void)
{
	kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (kmsg_fd < 0 || lseek(kmsg_fd, 0, SEEK_END) < 0)
		fatal("/dev/kmsg cannot be read");
}

const char *damage(void)
{
	char record[8192];
	ssize_t n;

	if (kmsg_fd < 0)
		fatal("nobody has looked at the log from the start");
	for (;;) {
		n = read(kmsg_fd, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)
			continue;	/* some were overwritten */
		if (n <= 0)
			break;
		record[n] = 0;
		for (int i = 0; i < worst; i++)
			if (strstr(record, signs[i].text))
				worst = i;
	}
	return worst < NR_SIGNS ? signs[worst].kind : "";
}
