/* SPDX-License-Identifier: GPL-2.0 */
/* What the stories of an incident share; see incident.c. */
#ifndef INCIDENT_H
#define INCIDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "host.h"

#define MAX_FUNCTIONS	8
#define MAX_FURTHER	64
#define LEN		64	/* bytes per transfer */
#define SLOT_CANARY	100	/* stays mapped: what the device may do with it */
#define SLOT_PROBE	101
#define SLOT_INNOCENT	200

/* Patterns */
#define OWNER		1
#define DEVICE		2
#define ATTACK		3
#define VICTIM		4

#define WRITE_HIT	(ATC_CMD_WRITE | ATC_CMD_HIT_ONLY)
#define READ_HIT	(ATC_CMD_READ | ATC_CMD_HIT_ONLY)
#define READ_PLAIN	(ATC_CMD_READ | ATC_CMD_UNTRANSLATED)

struct step {
	const char *what;
	bool (*take)(void);	/* could the step be taken? */
};

struct options {
	uint32_t broken;	/* a bit for each function that misbehaves */
	int further;
	int cpu;
	int gerror_cpu;
	int wait_ms;
	int settle_ms;
	int workers;
	int pages;
	int cycles;
	int vfs;
	uint32_t context;	/* ATCTEST_UNMAP_LOCKED, _IRQ or 0 */
	bool group;
	bool lazy;
	bool forever;
};

extern struct options opt;

/* Wait until @refused says that a read is, and tell the host if it came to that */
void await_blocked(bool (*refused)(void));
extern struct ep eps[MAX_FUNCTIONS];
extern int nr_eps;
extern struct ep *broken;	/* the first one that misbehaves */

bool is_broken(const struct ep *ep);
#define for_each_ep(p) for (struct ep *p = eps; p < eps + nr_eps; p++)
#define for_each_broken(p) for_each_ep(p) if (is_broken(p))

/* steps.c */
/* When the time that --wait-ms gives is over, from now on, in ns */
uint64_t wait_end(void);
/*
 * Both directions of DMA through the ATC with the data compared, then the
 * invalidation: afterwards the function must not have the translation.
 * Returns what went wrong, or NULL.
 */
const char *translated_dma(struct ep *ep, int slot);
/* One shot at an address that was unmapped: what became of it? */
bool count_stale(const struct atctest_cmd *c);
void report_stale(void);
uint64_t cmdq_errors(void);
/* The incident begins (or did so at boot) and ends: marks, and the count of errors */
void incident_begins(bool at_boot);
void incident_over(void);
bool set_fault(const char *property, const char *json);
/* Run this process on one CPU from now on. */
void pin(int cpu);
/* May the device still reach a page that is mapped for it? */
bool canary_refused(struct ep *ep);
/* Is the function blocked, within the time that --wait-ms gives? */
bool wait_blocked(struct ep *ep);

bool step_prove(void);
bool step_gerror(void);
bool step_cache(void);
bool step_silence(void);
bool step_late(void);
bool step_drop_one(void);
bool step_unmap(void);
bool step_victim(void);
bool step_further(void);
bool step_blocked(void);
bool step_in_service(void);
bool step_failing_reset(void);
bool step_still_blocked(void);
bool step_reset(void);
bool step_recovered(void);
bool step_over(void);

/* healthy.c */
bool step_start_innocents(void);
bool step_stop_innocents(void);
void rest_healthy(bool rest);
uint64_t innocent_ops(void);
/*
 * In one domain with the broken function any unmap may find the silence, and
 * the blocking that follows could be there before the shot: the siblings rest
 * from the silence to the first shot.
 */
void rest_siblings(bool rest);

/* races.c */
bool step_prove_healthy(void);
bool step_use_silent(void);
bool step_queue_fills(void);
bool step_sleep(void);
bool step_wake(void);
bool step_dead(void);
bool step_link_down(void);
bool step_link_up(void);
bool step_remove(void);
bool step_rescan(void);
bool step_rounds(void);
/* Find the function's file again, after its driver was bound or it was found. */
bool reopen(struct ep *ep);

/* ways.c */
/*
 * One function caches translations, falls silent, and its pages are unmapped
 * and change hands; each time counts as a round.
 */
bool fall_silent(struct ep *ep);
/* What came of a round: was it blocked, does it work again? */
void count_blocked(bool blocked);
void came_back(struct ep *ep);
bool reset_by_hand(struct ep *ep);
bool unbind(struct ep *ep);
bool bind(struct ep *ep);
bool step_bus_reset(void);
bool step_reset_subordinate(void);
bool step_reset_without_driver(void);
bool step_replug(void);
bool step_reload(void);
bool step_cycles(void);
bool step_rounds_over(void);

/* handlers.c */
/* Before the functions are counted */
bool enable_vfs(int n);
bool step_start_io(void);
bool step_silence_each(void);
bool step_handled(void);
bool step_reset_others(void);
bool step_recovery_fails(void);
bool step_aer_first(void);
bool step_aer_fatal(void);
bool step_aer_later(void);
bool step_silent_vf(void);
bool step_silent_pf(void);
bool step_reset_pf(void);

/* The registers of a function that no driver has */
volatile uint32_t *map_bar(const struct ep *ep);

/* vfio.c */
bool step_vfio_take(void);
bool step_vfio_silence(void);
bool step_vfio_unmap(void);
bool step_vfio_blocked(void);
bool step_vfio_reset(void);
bool step_vfio_recovered(void);
bool step_vfio_reopen(void);
bool step_vfio_asleep(void);
bool step_group_silent(void);
bool step_group_domain(void);
bool step_group_vfio(void);
bool step_group_reset(void);

/* owned.c */
bool step_owned_take(void);
bool step_owned_stall(void);
bool step_owned_unmap(void);
bool step_owned_blocked(void);
bool step_owned_answer(void);
bool step_owned_reset(void);
bool step_owned_recovered(void);
bool step_owned_close(void);

/* nested.c */
bool step_nested_take(void);
bool step_nested_unmap(void);
bool step_nested_blocked(void);
bool step_nested_reset(void);
bool step_nested_recovered(void);

/* rehearse.c */
bool step_report_nobody(void);
bool step_report_broken(void);
bool step_fail_reset(void);

/* shared.c */
bool step_shared_take(void);
bool step_shared_unmap(void);
bool step_shared_blocked(void);
bool step_shared_reset(void);
bool step_shared_recovered(void);

/* shared_va.c */
bool step_sva_take(void);
bool step_sva_unmap(void);
bool step_sva_blocked(void);
bool step_sva_recovered(void);

#endif /* INCIDENT_H */
