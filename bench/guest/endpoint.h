/* SPDX-License-Identifier: GPL-2.0 */
/* One function of the bench's endpoint as a program sees it. */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "atctest.h"

struct ep {
	int fd;
	int index;
	char bdf[16];
	uint16_t sid;		/* StreamID: the machine maps them 1:1 */
	char qom[64];		/* path of the model */
};

/* Is there a function @index? */
bool ep_exists(int index);
/* Everything below ends the program if the driver says no. */
void ep_open(struct ep *ep, int index);
void ep_close(struct ep *ep);
struct atctest_info ep_info(struct ep *ep);
struct atctest_slot ep_map(struct ep *ep, int slot);
struct atctest_slot ep_map_pages(struct ep *ep, int slot, int pages);
struct atctest_slot ep_query(struct ep *ep, int slot);
void ep_free(struct ep *ep, int slot);
/*
 * Unmap; if @fire is not NULL, the function runs it right after the flush.
 * @flags are ATCTEST_UNMAP_*, @other is the function whose interrupt handler
 * does it if they say so.
 */
struct atctest_unmap ep_unmap(struct ep *ep, int slot, uint32_t flags,
			      struct ep *other, const struct atctest_cmd *fire);
/* Give an unmapped page to its next owner: did it get the same frame? */
bool ep_handover(struct ep *ep, int slot);
struct atctest_cmd ep_cmd(struct ep *ep, uint32_t cmd, uint64_t iova,
			  uint32_t len);
void ep_fill(struct ep *ep, uint32_t slot, uint32_t seed, uint32_t len);
/* How many bytes differ from the pattern? */
uint32_t ep_check(struct ep *ep, uint32_t slot, uint32_t seed, uint32_t len);
void ep_mark(struct ep *ep, uint32_t value);
/* Raise an interrupt; did it arrive? */
bool ep_irq(struct ep *ep);
void ep_restore(struct ep *ep);
/* PCI power state, 0 or 3 */
void ep_power(struct ep *ep, uint32_t state);
/* Start the list of calls of its error handlers anew. */
void ep_forget_calls(struct ep *ep);
struct atctest_cost ep_cost(struct ep *ep, uint32_t iterations, uint32_t extra);
/* Bus Master Enable, Interrupt Disable and ATS_CTRL.E as config space has them */
bool ep_bus_master(struct ep *ep);
bool ep_intx_disabled(struct ep *ep);
bool ep_ats_enabled(struct ep *ep);
/* Write text to a file; the errno of the attempt */
int write_file(const char *path, const char *text);
/* The same for a sysfs attribute of the function */
int ep_sysfs(struct ep *ep, const char *attribute, const char *text);
/* Read the first line of a file, or of an attribute: could it be read? */
bool read_file(const char *path, char *text, size_t len);
bool ep_read_sysfs(struct ep *ep, const char *attribute, char *text, size_t len);
/* Send the SMMU's error interrupt there. */
bool gerror_to_cpu(int cpu);
/* How often it was quarantined, says the kernel: 0 if it knows nothing of that */
int ep_incidents(struct ep *ep);
/* The PCI address of the port above the function */
bool ep_bridge(struct ep *ep, char *bdf, size_t len);

#endif /* ENDPOINT_H */
