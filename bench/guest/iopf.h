/* SPDX-License-Identifier: GPL-2.0 */
/* What the stories about page faults share; see iopf.c. */
#ifndef IOPF_H
#define IOPF_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "host.h"

#define LEN		64	/* bytes per transfer */
#define ROOM		200	/* accesses parked at once, of the endpoint's 256 */
#define READ_PLAIN	(ATC_CMD_READ | ATC_CMD_UNTRANSLATED)
#define WRITE_PLAIN	(ATC_CMD_WRITE | ATC_CMD_UNTRANSLATED)

struct iopf_options {
	int rounds, wait_ms;
	unsigned int seed;
};

extern struct iopf_options opt;
extern struct ep ep;

/* Say so if @got is not @want */
bool is(const char *what, uint32_t got, uint32_t want);
/* One of @n, the same ones for the same @seed */
unsigned int draw(unsigned int *seed, unsigned int n);

/* iopf_sva.c */
bool step_bind(void);
bool step_shared(void);
bool step_translated(void);
bool step_unbind_before_work(void);
bool step_unbind_in_work(void);
bool step_sva_load(void);
bool step_unbind_all(void);

#endif /* IOPF_H */
