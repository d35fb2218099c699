// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"

#define LINE_MAX_LEN	4096

static int port = HOST_FD;
static int points;

/*
 * The generic timer counts QEMU's virtual clock, which also stamps the host's
 * timeline: the two need no further alignment.
 */
uint64_t cnt_to_ns(uint64_t cntvct)
{
	uint64_t freq;

	asm volatile("mrs %0, cntfrq_el0" : "=r"(freq));
	return (unsigned __int128)cntvct * 1000000000 / freq;
}

uint64_t now_ns(void)
{
	uint64_t cnt;

	asm volatile("isb; mrs %0, cntvct_el0" : "=r"(cnt));
	return cnt_to_ns(cnt);
}

static void send_line(char *line, int len)
{
	ssize_t n;

	line[len++] = '\n';
	n = write(port, line, len);
	if (n != len)
		perror("verdict channel");
}

/* The line's length, with room left for a newline */
static int format(char *line, const char *prefix, const char *fmt, va_list ap)
{
	int len = snprintf(line, LINE_MAX_LEN, "%s", prefix);

	len += vsnprintf(line + len, LINE_MAX_LEN - len, fmt, ap);
	return len < LINE_MAX_LEN - 1 ? len : LINE_MAX_LEN - 2;
}

#define SEND(prefix, fmt) do {						\
		char line_[LINE_MAX_LEN];				\
		va_list ap_;						\
		int len_;						\
									\
		va_start(ap_, fmt);					\
		len_ = format(line_, prefix, fmt, ap_);			\
		va_end(ap_);						\
		send_line(line_, len_);					\
	} while (0)

bool host_open(int fd)
{
	if (fcntl(fd, F_GETFD) >= 0) {
		port = fd;
		return true;
	}
	port = open(HOST_PORT, O_RDWR);
	return port >= 0;
}

void host_line(const char *fmt, ...)
{
	SEND("", fmt);
}

void ktap_diag(const char *fmt, ...)
{
	SEND("# ", fmt);
}

void fatal(const char *fmt, ...)
{
	SEND("# bench: ", fmt);
	exit(1);
}

void ktap_plan(int n)
{
	host_line("KTAP version 1");
	host_line("1..%d", n);
}

void ktap_point(bool ok, const char *name)
{
	host_line("%sok %d %s", ok ? "" : "not ", ++points, name);
}

uint64_t kmsg(const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	int fd = open("/dev/kmsg", O_WRONLY);
	uint64_t now;
	va_list ap;
	int len;

	if (fd < 0)
		fatal("/dev/kmsg cannot be opened");
	va_start(ap, fmt);
	len = format(line, "<6>" KMSG_PREFIX, fmt, ap);
	va_end(ap);
	/* Without a newline the record waits for the one after it. */
	line[len++] = '\n';
	now = now_ns();
	if (write(fd, line, len) != len)
		fatal("/dev/kmsg cannot be written");
	close(fd);
	return now;
}

void host_mark_at(const char *name, uint64_t ns)
{
	host_line("@mark {\"name\":\"%s\",\"t\":%llu}", name,
		  (unsigned long long)ns);
}

void host_mark(const char *name)
{
	host_mark_at(name, kmsg("%s", name));
}

void host_value(const char *name, const char *fmt, ...)
{
	char json[LINE_MAX_LEN / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(json, sizeof(json), fmt, ap);
	va_end(ap);
	host_line("@value {\"%s\":%s}", name, json);
}

void host_value_bool(const char *name, bool value)
{
	host_value(name, "%s", value ? "true" : "false");
}

/* The answer to one QMP command: what follows "return": on the host's line. */
static const char *qmp(const char *fmt, ...)
{
	static char line[LINE_MAX_LEN];
	const char *key = "\"return\":";
	size_t len = 0;
	char *value;

	SEND("@qmp ", fmt);
	while (len < sizeof(line) - 1) {
		if (read(port, line + len, 1) != 1)
			fatal("no answer from the host");
		if (line[len] == '\n')
			break;
		len++;
	}
	line[len] = 0;
	value = strstr(line, key);
	if (!value)
		fatal("QMP: %s", line);
	value += strlen(key);
	return value + strspn(value, " ");
}

void qom_set(const char *path, const char *property, const char *json)
{
	qmp("{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"%s\","
	    "\"property\":\"%s\",\"value\":%s}}", path, property, json);
}

uint64_t qom_get(const char *path, const char *property)
{
	const char *value = qmp("{\"execute\":\"qom-get\",\"arguments\":"
				"{\"path\":\"%s\",\"property\":\"%s\"}}",
				path, property);

	if (!strncmp(value, "true", 4))
		return 1;
	if (!strncmp(value, "false", 5))
		return 0;
	return strtoull(value, NULL, 10);
}

void qemu_log(const char *items)
{
	qmp("{\"execute\":\"human-monitor-command\",\"arguments\":"
	    "{\"command-line\":\"log %s\"}}", items);
}
