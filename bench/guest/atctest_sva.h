/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ATCTEST_SVA_H
#define ATCTEST_SVA_H

#include <linux/device.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "atctest.h"

struct iommu_sva;

/**
 * struct atctest_bonds - address spaces of processes that a function may use
 * @lock: protects @dev and @bond. Not held where a fault is handled.
 * @dev: NULL once the driver was unbound
 * @hold: faults on pages of the file wait
 * @held: how many do
 */
struct atctest_bonds {
	struct mutex lock;
	struct device *dev;
	struct iommu_sva *bond[ATCTEST_BONDS];
	wait_queue_head_t wait;
	bool hold;
	atomic_t held;
};

void atctest_sva_init(struct atctest_bonds *b, struct device *dev);
void atctest_sva_exit(struct atctest_bonds *b);
int atctest_sva_bind(struct atctest_bonds *b, struct atctest_sva *arg);
int atctest_sva_unbind(struct atctest_bonds *b, u32 bond);
u32 atctest_sva_hold(struct atctest_bonds *b, u32 hold);
int atctest_sva_mmap(struct atctest_bonds *b, struct vm_area_struct *vma);

#endif /* ATCTEST_SVA_H */
