/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ATCTEST_COST_H
#define ATCTEST_COST_H

#include <linux/device.h>
#include <asm/barrier.h>
#include <asm/sysreg.h>

#include "atctest.h"

/* QEMU's virtual clock; with -icount it counts instructions. */
static inline u64 atctest_now(void)
{
	isb();
	return read_sysreg(cntvct_el0);
}

int atctest_cost(struct device *dev, struct atctest_cost *c);

#endif /* ATCTEST_COST_H */
