/* SPDX-License-Identifier: GPL-2.0 */
/* The endpoint's registers, for a program that has mapped its BAR itself. */
#ifndef BAR_H
#define BAR_H

#include <stdint.h>

#include "atctest.h"

#define BAR_SIZE	0x10000
#define BAR_BUF		0x1000

/* One command; the result is as the driver would give it. */
struct atctest_cmd bar_cmd(volatile uint32_t *bar, uint32_t cmd, uint64_t iova,
			   uint32_t len);
/* What became of a parked access; a READ that is done puts its data in the buffer */
uint32_t bar_status(volatile uint32_t *bar, uint32_t ticket);
/* How many are parked */
uint32_t bar_parked(volatile uint32_t *bar);
/* Fill the endpoint's buffer with pattern @seed. */
void bar_fill(volatile uint32_t *bar, uint32_t seed, uint32_t len);

/*
 * VFIO_DEVICE_RESET of the device @fd, as ioctl(). It does not wait for the locks
 * that the recovery takes to tell the owner: EAGAIN is no failure.
 */
int vfio_reset(int fd);

#endif /* BAR_H */
