// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"

#define LINE_MAX_LEN	4096
#define QMP_LOCK	"/tmp/qmp.lock"

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

static __thread char answer[LINE_MAX_LEN];

static void read_answer(void)
{
	size_t len = 0;

	while (len < sizeof(answer) - 1) {
		if (read(port, answer + len, 1) != 1)
			fatal("no answer from the host");
		if (answer[len] == '\n')
			break;
		len++;
	}
	answer[len] = 0;
}

/*
 * One answer belongs to one command: threads and processes take turns. The lock
 * is in a file that all of them map, as this kernel has no locks of files.
 */
static int *qmp_lock(void)
{
	static int *lock;
	int fd, *map;

	if (lock)
		return lock;
	fd = open(QMP_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*lock)))
		fatal("%s cannot be written", QMP_LOCK);
	map = mmap(NULL, sizeof(*lock), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		fatal("%s cannot be mapped", QMP_LOCK);
	close(fd);
	return lock = map;
}

#define ASK(prefix, fmt) do {						\
		int *lock_ = qmp_lock();				\
									\
		while (__atomic_exchange_n(lock_, 1, __ATOMIC_ACQUIRE))	\
			usleep(200);					\
		SEND(prefix, fmt);					\
		read_answer();						\
		__atomic_store_n(lock_, 0, __ATOMIC_RELEASE);		\
	} while (0)

/* What follows "return": in the answer, or NULL */
static const char *returned(void)
{
	const char *key = "\"return\":";
	char *value = strstr(answer, key);

	if (!value)
		return NULL;
	value += strlen(key);
	return value + strspn(value, " ");
}

static const char *qmp(const char *fmt, ...)
{
	const char *value;

	ASK("@qmp ", fmt);
	value = returned();
	if (!value)
		fatal("QMP: %s", answer);
	return value;
}

const char *host_qmp(const char *fmt, ...)
{
	ASK("@qmp ", fmt);
	return returned() ? NULL : answer;
}

const char *host_monitor(const char *command)
{
	return qmp("{\"execute\":\"human-monitor-command\",\"arguments\":"
		   "{\"command-line\":\"%s\"}}", command);
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

int host_load_module(const char *options)
{
	int fd = open(HOST_MODULE, O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return errno;
	if (syscall(SYS_finit_module, fd, options, 0))
		err = errno;
	close(fd);
	return err;
}

void qemu_log(const char *items)
{
	char command[64];

	snprintf(command, sizeof(command), "log %s", items);
	host_monitor(command);
}
