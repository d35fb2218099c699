/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's end of the verdict channel: KTAP lines, values, marks, and QMP
 * commands that the host runs for us. Every line is one write(), so several
 * processes may share the port.
 */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stdint.h>

/* The port that init opened for everybody; a port can be opened once only. */
#define HOST_FD		3
#define HOST_PORT	"/dev/vport0p1"

#define HOST_MODULE	"/atctest.ko"

#define KMSG_PREFIX	"atc-bench: "
#define KMSG_END	"end"

#define PRINTF(f, a)	__attribute__((format(printf, f, a)))

uint64_t cnt_to_ns(uint64_t cntvct);
uint64_t now_ns(void);

/* Say what is wrong with the bench itself and exit: the plan stays incomplete. */
_Noreturn void fatal(const char *fmt, ...) PRINTF(1, 2);

bool host_open(int fd);
void host_line(const char *fmt, ...) PRINTF(1, 2);
/* A line in the kernel's log, to find one's place in it; when it was written */
uint64_t kmsg(const char *fmt, ...) PRINTF(1, 2);
/* A line in the run's timeline, and for host_mark() in the kernel's log, too */
void host_mark_at(const char *name, uint64_t ns);
void host_mark(const char *name);
/* A field of the verdict; @fmt prints JSON */
void host_value(const char *name, const char *fmt, ...) PRINTF(2, 3);
void host_value_bool(const char *name, bool value);

/* QMP: "@smmu" as a path means the SMMU, wherever it is in the QOM tree. */
void qom_set(const char *path, const char *property, const char *json);
uint64_t qom_get(const char *path, const char *property);
/* A command for people; what the monitor says */
const char *host_monitor(const char *command);
/* Any command; NULL if it was carried out, else what the host says */
const char *host_qmp(const char *fmt, ...) PRINTF(1, 2);

/* Load the test driver; an errno */
int host_load_module(const char *options);

/* What QEMU logs from now on: the items of its option -d, or "none" */
void qemu_log(const char *items);

void ktap_plan(int points);
void ktap_diag(const char *fmt, ...) PRINTF(1, 2);
void ktap_point(bool ok, const char *name);

#endif /* HOST_H */
