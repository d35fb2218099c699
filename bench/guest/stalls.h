/* SPDX-License-Identifier: GPL-2.0 */
/* What the model knows about stalled accesses, and the kernel about itself. */
#ifndef STALLS_H
#define STALLS_H

#include <stdbool.h>
#include <stdint.h>

/* Accesses that are stalled now */
uint64_t stalls_parked(void);
/* Are there @want of them, within the time that the option gives? */
bool stalls_wait(uint64_t want, int ms);
/*
 * The counters of the model as values: stalled, retried, aborted, terminated,
 * unmatched, parked_at_end
 */
void stalls_report(void);
/* What the kernel has said about itself since the start: "" or the kind */
void damage_start(void);
const char *damage(void);

#endif /* STALLS_H */
