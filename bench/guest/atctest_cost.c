// SPDX-License-Identifier: GPL-2.0
/*
 * What one unmap and its flush cost, in instructions.
 *
 * Under QEMU's -icount the generic timer counts instructions. Interrupts are
 * off, the page is mapped anew outside of the measurement, and the IOVA comes
 * from the same per-CPU cache each time: every iteration takes the same path,
 * and every run of the same kernel gives the same count.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>

#include "arm-smmu-v3.h"
#include "atctest_cost.h"

/* The first ones fill caches that are not the subject */
#define WARM_UP		64

/* One instruction each, and nothing that an optimiser could take away */
static noinline void spend(u32 instructions)
{
	while (instructions--)
		asm volatile("nop");
}

static int measure(struct device *dev, struct page *page,
		   struct atctest_cost *c, bool warm_up)
{
	dma_addr_t iova;
	u64 start, took;

	iova = dma_map_page(dev, page, 0, ATCTEST_PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(dev, iova))
		return -EIO;
	start = atctest_now();
	dma_unmap_page(dev, iova, ATCTEST_PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (c->extra)
		spend(c->extra);
	took = atctest_now() - start;
	if (warm_up)
		return 0;
	c->ticks += took;
	c->min = min_t(u64, c->min, took);
	c->max = max_t(u64, c->max, took);

	start = atctest_now();
	c->empty += atctest_now() - start;
	return 0;
}

int atctest_cost(struct device *dev, struct atctest_cost *c)
{
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned long flags;
	int ret = 0;
	u32 i;

	if (!page)
		return -ENOMEM;
	c->ticks = 0;
	c->empty = 0;
	c->min = U32_MAX;
	c->max = 0;
	c->sizeof_inv = sizeof(struct arm_smmu_inv);
	c->sizeof_cmdq = sizeof(struct arm_smmu_cmdq);
	c->sizeof_lock = sizeof(raw_spinlock_t);

	local_irq_save(flags);
	for (i = 0; !ret && i < WARM_UP + c->iterations; i++)
		ret = measure(dev, page, c, i < WARM_UP);
	local_irq_restore(flags);

	__free_page(page);
	return ret;
}
