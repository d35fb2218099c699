// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the bench's guest. The kernel's command line tells what to do:
 *   atc.run=PROGRAM   run /bin/PROGRAM, if any, say @done on the verdict channel,
 *                     power off
 *   atc.arg=ARG       its arguments, one each
 *   atc.module=OPT    options for atctest.ko, one each
 *   atc.scenario=NAME for people only
 *   atc.shell         a shell on the console instead
 * With kmemleak in the kernel, what was leaked is in its log at the end; with
 * gcov, its counters are sent to the host.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

#define MAX_ARGS	32
#define BUSYBOX		"/bin/busybox"
#define GCOV		"/sys/kernel/debug/gcov"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

static char cmdline[4096];
static char program[64];
static char *args[MAX_ARGS + 2];
static int nr_args = 1;
static char module_options[512];
static bool shell;

static _Noreturn void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void mounts(void)
{
	static const struct {
		const char *type, *where;
	} fs[] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" },
		{ "devtmpfs", "/dev" }, { "tmpfs", "/tmp" },
		{ "debugfs", "/sys/kernel/debug" },
	};

	for (unsigned int i = 0; i < sizeof(fs) / sizeof(fs[0]); i++) {
		mkdir(fs[i].where, 0755);
		if (mount(fs[i].type, fs[i].where, fs[i].type, 0, NULL) &&
		    errno != EBUSY)
			fprintf(stderr, "init: %s: %s\n", fs[i].where,
				strerror(errno));
	}
}

/* The value of @token if its name is @name */
static char *value_of(char *token, const char *name)
{
	size_t len = strlen(name);

	return strncmp(token, name, len) ? NULL : token + len;
}

static void read_cmdline(void)
{
	int fd = open("/proc/cmdline", O_RDONLY);
	ssize_t len = fd < 0 ? -1 : read(fd, cmdline, sizeof(cmdline) - 1);

	if (len < 0)
		return;
	cmdline[len] = 0;
	close(fd);
	for (char *t = strtok(cmdline, " \n"); t; t = strtok(NULL, " \n")) {
		char *v;

		if ((v = value_of(t, "atc.run="))) {
			snprintf(program, sizeof(program), "/bin/%s", v);
		} else if ((v = value_of(t, "atc.arg="))) {
			if (nr_args <= MAX_ARGS)
				args[nr_args++] = v;
		} else if ((v = value_of(t, "atc.module="))) {
			size_t used = strlen(module_options);

			snprintf(module_options + used,
				 sizeof(module_options) - used, "%s ", v);
		} else if (!strcmp(t, "atc.shell")) {
			shell = true;
		}
	}
	args[0] = program;
}

/* The port appears when the host's device was probed. */
static bool open_port(void)
{
	for (int i = 0; i < 1000; i++) {
		int fd = open(HOST_PORT, O_RDWR);

		if (fd >= 0) {
			if (fd != HOST_FD) {
				dup2(fd, HOST_FD);
				close(fd);
			}
			return host_open(HOST_FD);
		}
		usleep(10000);
	}
	return false;
}

/* "level,sequence,microseconds,flags;text" -> one JSON line for the host */
static bool forward_record(char *record)
{
	unsigned long long seq, us;
	unsigned int level;
	char json[2048], *text = strchr(record, ';');
	size_t n = 0;

	if (!text || sscanf(record, "%u,%llu,%llu,", &level, &seq, &us) != 3)
		return true;
	text++;
	text[strcspn(text, "\n")] = 0;
	for (char *c = text; *c && n < sizeof(json) - 2; c++) {
		if (*c == '"' || *c == '\\')
			json[n++] = '\\';
		json[n++] = (unsigned char)*c < ' ' ? ' ' : *c;
	}
	json[n] = 0;
	host_line("@kmsg {\"seq\":%llu,\"us\":%llu,\"level\":%u,\"text\":\"%s\"}",
		  seq, us, level & 7, json);
	return strcmp(text, KMSG_PREFIX KMSG_END);
}

static pid_t forward_kmsg(void)
{
	char record[8192];
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	fd = open("/dev/kmsg", O_RDONLY);
	if (fd < 0)
		fatal("/dev/kmsg cannot be opened");
	for (;;) {
		ssize_t n = read(fd, record, sizeof(record) - 1);

		if (n < 0 && errno == EPIPE) {
			host_line("@kmsg-lost {}");
			continue;
		}
		if (n <= 0)
			fatal("/dev/kmsg cannot be read");
		record[n] = 0;
		if (!forward_record(record))
			exit(0);
	}
}

/* kmemleak says nothing about what is younger than five seconds. */
static void find_leaks(void)
{
	char line[512];
	FILE *found;
	int fd = open(KMEMLEAK, O_WRONLY);

	if (fd < 0)
		return;
	for (int i = 0; i < 2; i++) {
		sleep(6);
		if (write(fd, "scan\n", 5) != 5)
			fatal("%s: %s", KMEMLEAK, strerror(errno));
	}
	close(fd);
	found = fopen(KMEMLEAK, "r");
	while (found && fgets(line, sizeof(line), found)) {
		line[strcspn(line, "\n")] = 0;
		kmsg("%s", line);
	}
	if (found)
		fclose(found);
}

static void send_file(const char *path)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char in[2400];
	char out[sizeof(in) / 3 * 4 + 1];
	FILE *file = fopen(path, "r");
	size_t n;

	while (file && (n = fread(in, 1, sizeof(in), file))) {
		size_t o = 0;

		memset(in + n, 0, n < sizeof(in) ? sizeof(in) - n : 0);
		for (size_t i = 0; i < n; i += 3) {
			unsigned int v = in[i] << 16 | in[i + 1] << 8 | in[i + 2];

			for (int shift = 18; shift >= 0; shift -= 6)
				out[o++] = digits[v >> shift & 63];
		}
		for (size_t pad = (3 - n % 3) % 3; pad; pad--)
			out[o - pad] = '=';
		out[o] = 0;
		host_line("@file {\"name\":\"%s\",\"data\":\"%s\"}",
			  path + strlen(GCOV), out);
	}
	if (file)
		fclose(file);
}

static int send_counters(const char *path, const struct stat *st, int type)
{
	size_t len = strlen(path);

	(void)st;
	if (type == FTW_F && len > 5 && !strcmp(path + len - 5, ".gcda"))
		send_file(path);
	return 0;
}

static void load_module(void)
{
	int err = host_load_module(module_options);

	if (err)
		fatal("%s: %s", HOST_MODULE, strerror(err));
	/* For programs that unload it */
	setenv("ATC_MODULE_OPTIONS", module_options, 1);
}

static int run(char *const argv[])
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], argv);
		fatal("%s: %s", argv[0], strerror(errno));
	}
	waitpid(pid, &status, 0);
	return status;
}

static void run_shell(void)
{
	char *const argv[] = { BUSYBOX, "sh", "-c",
			       BUSYBOX " --install -s /bin; exec " BUSYBOX " sh",
			       NULL };
	pid_t pid = fork();

	if (!pid) {
		int fd;

		setsid();
		fd = open("/dev/console", O_RDWR);
		ioctl(fd, TIOCSCTTY, 1);
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		setenv("PATH", "/bin", 1);
		setenv("PS1", "guest# ", 1);
		setenv("HOME", "/", 1);
		printf("\natcctl --help, incident --help; the scenario is:\n"
		       "  %s", program);
		for (int i = 1; i < nr_args; i++)
			printf(" %s", args[i]);
		printf("\nexit powers off\n");
		fflush(stdout);
		/* What the host types from now on waits in the tty */
		host_line("@ready {}");
		execv(argv[0], argv);
		perror(BUSYBOX);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	pid_t forwarder;
	int status = 0;

	if (getpid() != 1) {
		printf("usage: the kernel starts %s as PID 1; its command line:\n"
		       "  atc.run=PROGRAM atc.arg=ARG... atc.module=OPTION... | atc.shell\n",
		       argc ? argv[0] : "init");
		return 1;
	}
	mounts();
	read_cmdline();
	if (!open_port()) {
		fprintf(stderr, "init: no verdict channel\n");
		if (!shell)
			power_off();
	}
	/* The host learns from this mark how the log's clock runs. */
	host_mark("clock");
	forwarder = forward_kmsg();
	load_module();

	if (shell)
		run_shell();
	else if (program[0])
		status = run(args);
	find_leaks();
	ftw(GCOV, send_counters, 16);

	kmsg(KMSG_END);
	waitpid(forwarder, NULL, 0);
	/*
	 * Where the host reads slowly the counters may still be on their way, and
	 * the end of the machine would cut them off. An answer is behind them.
	 */
	host_qmp("{\"execute\":\"query-status\"}");
	host_line("@done {\"status\":%d}", status);
	power_off();
}
