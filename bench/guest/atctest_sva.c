// SPDX-License-Identifier: GPL-2.0
/*
 * Shared virtual addressing: the function uses addresses of a process, and page
 * faults that the SMMU stalls are handled by the kernel as the process's own.
 *
 * A page of the driver's file takes as long to come as the test wants, so that
 * a fault is being handled for as long.
 */
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "atctest_sva.h"

void atctest_sva_init(struct atctest_bonds *b, struct device *dev)
{
	mutex_init(&b->lock);
	init_waitqueue_head(&b->wait);
	b->dev = dev;
}

static struct iommu_sva *take_bond(struct atctest_bonds *b, u32 bond)
{
	struct iommu_sva *sva;

	if (bond >= ATCTEST_BONDS)
		return NULL;
	guard(mutex)(&b->lock);
	sva = b->bond[bond];
	b->bond[bond] = NULL;
	return sva;
}

void atctest_sva_exit(struct atctest_bonds *b)
{
	u32 i;

	atctest_sva_hold(b, 0);
	scoped_guard(mutex, &b->lock)
		b->dev = NULL;
	for (i = 0; i < ATCTEST_BONDS; i++)
		atctest_sva_unbind(b, i);
}

int atctest_sva_bind(struct atctest_bonds *b, struct atctest_sva *arg)
{
	struct iommu_sva *sva;

	if (arg->bond >= ATCTEST_BONDS)
		return -EINVAL;
	guard(mutex)(&b->lock);
	if (!b->dev)
		return -ENODEV;
	if (b->bond[arg->bond])
		return -EBUSY;
	sva = iommu_sva_bind_device(b->dev, current->mm);
	if (IS_ERR(sva))
		return PTR_ERR(sva);
	arg->pasid = iommu_sva_get_pasid(sva);
	b->bond[arg->bond] = sva;
	return 0;
}

int atctest_sva_unbind(struct atctest_bonds *b, u32 bond)
{
	struct iommu_sva *sva = take_bond(b, bond);

	if (!sva)
		return -EINVAL;
	iommu_sva_unbind_device(sva);
	return 0;
}

u32 atctest_sva_hold(struct atctest_bonds *b, u32 hold)
{
	WRITE_ONCE(b->hold, hold);
	wake_up_all(&b->wait);
	return atomic_read(&b->held);
}

static vm_fault_t atctest_sva_fault(struct vm_fault *vmf)
{
	struct atctest_bonds *b = vmf->vma->vm_private_data;
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	if (!page)
		return VM_FAULT_OOM;
	atomic_inc(&b->held);
	wait_event(b->wait, !READ_ONCE(b->hold));
	atomic_dec(&b->held);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct atctest_sva_vm_ops = {
	.fault = atctest_sva_fault,
};

/* The mapping keeps the file, and with it @b. */
int atctest_sva_mmap(struct atctest_bonds *b, struct vm_area_struct *vma)
{
	vma->vm_private_data = b;
	vma->vm_ops = &atctest_sva_vm_ops;
	return 0;
}
