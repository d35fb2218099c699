// SPDX-License-Identifier: GPL-2.0
/*
 * Test equipment: the driver of the bench's PCI endpoint with an ATC.
 *
 * It is a driver as any other where it matters: pages are mapped and unmapped
 * through the streaming DMA API, so every unmap really invalidates, and the
 * page goes back to the page allocator afterwards. What a real driver does not
 * do is to start a DMA to an address that it has just unmapped; a broken
 * device does that on its own, and ATCTEST_UNMAP_FIRE plays it.
 */
#define pr_fmt(fmt) "atctest: " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "atctest.h"
#include "atctest_cost.h"
#include "atctest_sva.h"

#define ATCTEST_VENDOR		0x1234
#define ATCTEST_DEVICE		0xa7c0

#define REG_ID			0x00
#define REG_IOVA		0x08
#define REG_LEN			0x10
#define REG_CMD			0x14
#define REG_RESULT		0x18
#define REG_FLAGS		0x1c
#define REG_PA			0x20
#define REG_ENTRIES		0x28
#define REG_MARK		0x30
#define REG_IRQ			0x38
#define REG_PASID		0x3c
#define REG_TICKET		0x40
#define REG_SELECT		0x44
#define REG_STATUS		0x48
#define REG_BUF			0x1000
#define ATCTEST_ID		0xa7c00001

/* How long another function's interrupt may take to come, and its handler */
#define IRQ_TIMEOUT_MS		60000

/* How many pages a handover may take to meet the freed one again */
#define HANDOVER_TRIES		4096

#define MAX_HANDLERS	8

/* What error_detected() answers, besides "" for a function without handlers */
static const struct {
	const char *name;
	pci_ers_result_t answer;
} answers[] = {
	{ "reset", PCI_ERS_RESULT_NEED_RESET },
	{ "can-recover", PCI_ERS_RESULT_CAN_RECOVER },
	{ "disconnect", PCI_ERS_RESULT_DISCONNECT },
};

static char *handlers[MAX_HANDLERS];
static int nr_handlers;
module_param_array(handlers, charp, &nr_handlers, 0644);
MODULE_PARM_DESC(handlers,
		 "what error_detected() of each function answers: \"reset\", \"can-recover\", \"disconnect\", or \"\" for a function without handlers; the answer may change, but not whether there is one");

static int hold = -1;
module_param(hold, int, 0644);
MODULE_PARM_DESC(hold,
		 "the function whose error_detected() does not return as long as this is its number (default -1)");

struct slot {
	enum atctest_slot_state state;
	unsigned int order;
	struct page *page;
	dma_addr_t iova;
};

/* An unmap that another function's interrupt handler does */
struct irq_job {
	struct atctest *at;
	struct atctest *target;
	struct atctest_unmap *u;
	bool done;
};

/**
 * struct atctest - one function
 * @lock: serialises the register file and the slots; several functions are
 *	locked in the order of their index
 * @slock: what a driver would hold around an unmap, and protects @job
 * @job: what the next interrupt is for
 * @calls: of its error handlers, which the device lock serialises
 * @pdev: NULL once the driver was unbound; the file may outlive it
 */
struct atctest {
	struct kref kref;
	struct mutex lock;
	struct pci_dev *pdev;
	void __iomem *bar;
	struct pci_saved_state *saved;
	struct miscdevice misc;
	char name[24];
	unsigned int index;
	spinlock_t slock;
	struct irq_job *job;
	struct completion irq_done;
	atomic_t irqs;
	bool has_handlers;
	struct atctest_bonds bonds;
	char calls[ATCTEST_CALLS];
	struct slot slots[ATCTEST_SLOTS];
};

static DEFINE_IDA(atctest_ida);
static const struct file_operations atctest_fops;

static void atctest_release_kref(struct kref *kref)
{
	struct atctest *at = container_of(kref, struct atctest, kref);

	kfree(at->saved);
	kfree(at);
}

/* Registers */

/* One command; safe with preemption off. at->lock is held. */
static void atctest_run(struct atctest *at, struct atctest_cmd *c)
{
	c->start = atctest_now();
	writel(c->pasid ?: U32_MAX, at->bar + REG_PASID);
	writeq(c->iova, at->bar + REG_IOVA);
	writel(c->len, at->bar + REG_LEN);
	writel(c->cmd, at->bar + REG_CMD);
	c->result = readl(at->bar + REG_RESULT);
	c->flags = readl(at->bar + REG_FLAGS);
	c->pa = readq(at->bar + REG_PA);
	c->entries = readl(at->bar + REG_ENTRIES);
	c->ticket = readl(at->bar + REG_TICKET);
	c->end = atctest_now();
}

/* Slots */

static struct slot *atctest_slot(struct atctest *at, u32 nr)
{
	return nr < ATCTEST_SLOTS ? &at->slots[nr] : NULL;
}

static void slot_report(struct slot *s, struct atctest_slot *out)
{
	out->state = s->state;
	out->iova = s->iova;
	out->phys = s->page ? page_to_phys(s->page) : 0;
}

static size_t slot_size(struct slot *s)
{
	return ATCTEST_PAGE_SIZE << s->order;
}

static int slot_map(struct atctest *at, struct slot *s, u32 pages)
{
	struct page *page;
	dma_addr_t iova;

	if (s->state != ATCTEST_EMPTY)
		return -EBUSY;
	if (pages > ATCTEST_MAX_PAGES || (pages && !is_power_of_2(pages)))
		return -EINVAL;
	s->order = pages ? ilog2(pages) : 0;
	page = alloc_pages(GFP_KERNEL | __GFP_ZERO, get_order(slot_size(s)));
	if (!page)
		return -ENOMEM;
	iova = dma_map_page(&at->pdev->dev, page, 0, slot_size(s),
			    DMA_BIDIRECTIONAL);
	if (dma_mapping_error(&at->pdev->dev, iova)) {
		__free_pages(page, get_order(slot_size(s)));
		return -EIO;
	}
	s->page = page;
	s->iova = iova;
	s->state = ATCTEST_MAPPED;
	return 0;
}

static void slot_dma_unmap(struct atctest *at, struct slot *s)
{
	dma_unmap_page(&at->pdev->dev, s->iova, slot_size(s),
		       DMA_BIDIRECTIONAL);
	s->state = ATCTEST_UNMAPPED;
}

static void slot_free(struct atctest *at, struct slot *s)
{
	if (s->state == ATCTEST_MAPPED)
		slot_dma_unmap(at, s);
	if (s->page)
		__free_pages(s->page, get_order(slot_size(s)));
	memset(s, 0, sizeof(*s));
}

/*
 * Give the page back and become its next owner. The page allocator hands out
 * the page freed last on this CPU first, so this is what happens to the pages
 * of any driver: the next allocation, whoever makes it, gets the frame.
 */
static int slot_handover(struct slot *s)
{
	unsigned long pfn;
	struct page *page, *tmp;
	LIST_HEAD(others);
	int i;

	if (s->state != ATCTEST_UNMAPPED || s->order)
		return -EINVAL;
	pfn = page_to_pfn(s->page);

	preempt_disable();
	__free_page(s->page);
	s->page = NULL;
	s->state = ATCTEST_EMPTY;
	for (i = 0; i < HANDOVER_TRIES; i++) {
		page = alloc_page(GFP_ATOMIC | __GFP_NOWARN);
		if (!page)
			break;
		if (page_to_pfn(page) == pfn) {
			s->page = page;
			s->state = ATCTEST_VICTIM;
			break;
		}
		list_add(&page->lru, &others);
	}
	preempt_enable();

	list_for_each_entry_safe(page, tmp, &others, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
	return s->page ? 0 : -EAGAIN;
}

static int atctest_data(struct atctest *at, struct atctest_data *d, bool fill)
{
	u8 *bytes __free(kfree) = kmalloc(ATCTEST_PAGE_SIZE, GFP_KERNEL);
	struct slot *s = NULL;
	bool mapped;
	u32 i;

	if (!bytes)
		return -ENOMEM;
	if (d->len > ATCTEST_PAGE_SIZE)
		return -EINVAL;
	if (d->slot != ATCTEST_SLOT_BUF) {
		s = atctest_slot(at, d->slot);
		if (!s || !s->page)
			return -EINVAL;
	}
	mapped = s && s->state == ATCTEST_MAPPED;

	if (fill) {
		for (i = 0; i < d->len; i++)
			bytes[i] = atctest_pattern(d->seed, i);
		if (!s)
			memcpy_toio(at->bar + REG_BUF, bytes, d->len);
		else
			memcpy(page_address(s->page), bytes, d->len);
		if (mapped)
			dma_sync_single_for_device(&at->pdev->dev, s->iova,
						   d->len, DMA_BIDIRECTIONAL);
		return 0;
	}

	if (mapped)
		dma_sync_single_for_cpu(&at->pdev->dev, s->iova, d->len,
					DMA_BIDIRECTIONAL);
	if (!s)
		memcpy_fromio(bytes, at->bar + REG_BUF, d->len);
	else
		memcpy(bytes, page_address(s->page), d->len);
	d->bad = 0;
	d->first_bad = 0;
	for (i = 0; i < d->len; i++) {
		if (bytes[i] == atctest_pattern(d->seed, i))
			continue;
		if (!d->bad++)
			d->first_bad = i;
	}
	return 0;
}

/*
 * Keep the other CPUs from scheduling, so that no work item runs until the
 * stale DMA was fired: what refuses it is then the fence, not the blocking
 * that follows. They still take interrupts: the SMMU's may be theirs.
 */
struct others {
	struct task_struct *task[NR_CPUS];
	atomic_t held;
};

static int others_spin(void *data)
{
	struct others *o = data;

	preempt_disable();
	atomic_inc(&o->held);
	while (!kthread_should_stop())
		cpu_relax();
	preempt_enable();
	return 0;
}

static void others_release(struct others *o)
{
	int cpu;

	for_each_possible_cpu(cpu)
		if (o->task[cpu])
			kthread_stop(o->task[cpu]);
	kfree(o);
}

static struct others *others_hold(void)
{
	struct others *o = kzalloc_obj(*o);
	int cpu, wanted = 0;

	if (!o)
		return ERR_PTR(-ENOMEM);
	for_each_online_cpu(cpu) {
		struct task_struct *t;

		if (cpu == raw_smp_processor_id())
			continue;
		t = kthread_create_on_cpu(others_spin, o, cpu, "atctest/%u");
		if (IS_ERR(t)) {
			others_release(o);
			return ERR_CAST(t);
		}
		o->task[cpu] = t;
		wanted++;
	}
	for_each_possible_cpu(cpu)
		if (o->task[cpu])
			wake_up_process(o->task[cpu]);
	while (atomic_read(&o->held) < wanted)
		usleep_range(100, 200);
	return o;
}

/* Unmap, and what a broken device does next; in any context */
static void unmap_and_fire(struct atctest *at, struct atctest *target,
			   struct atctest_unmap *u)
{
	struct slot *s = &at->slots[u->slot];

	u->start = atctest_now();
	slot_dma_unmap(at, s);
	u->end = atctest_now();
	if (u->flags & ATCTEST_UNMAP_FIRE) {
		u->fire.iova = s->iova;
		atctest_run(target, &u->fire);
	}
}

static irqreturn_t atctest_irq(int irq, void *data)
{
	struct atctest *at = data;
	struct irq_job *job;

	atomic_inc(&at->irqs);
	spin_lock(&at->slock);
	job = at->job;
	at->job = NULL;
	spin_unlock(&at->slock);
	if (job) {
		unmap_and_fire(job->at, job->target, job->u);
		smp_store_release(&job->done, true);
	} else {
		complete(&at->irq_done);
	}
	return IRQ_HANDLED;
}

static int unmap_in_irq(struct atctest *at, struct atctest *target,
			struct atctest *other, struct atctest_unmap *u)
{
	struct irq_job job = { .at = at, .target = target, .u = u };
	ktime_t end = ktime_add_ms(ktime_get(), IRQ_TIMEOUT_MS);
	bool lost = false;

	spin_lock_irq(&other->slock);
	other->job = &job;
	spin_unlock_irq(&other->slock);
	writel(1, other->bar + REG_IRQ);

	/* Sleeping would need this CPU's timer, which may be late. */
	while (!smp_load_acquire(&job.done) && !lost) {
		cpu_relax();
		if (ktime_before(ktime_get(), end))
			continue;
		spin_lock_irq(&other->slock);
		lost = other->job;
		other->job = NULL;
		spin_unlock_irq(&other->slock);
	}
	return lost ? -ETIMEDOUT : 0;
}

/* The caller holds the locks of @at, of @target and of @other. */
static int atctest_unmap(struct atctest *at, struct atctest *target,
			 struct atctest *other, struct atctest_unmap *u)
{
	struct slot *s = atctest_slot(at, u->slot);
	struct others *o = NULL;
	int ret = 0;

	if (!s || s->state != ATCTEST_MAPPED)
		return -EINVAL;

	migrate_disable();
	if (u->flags & ATCTEST_UNMAP_ALONE) {
		o = others_hold();
		if (IS_ERR(o)) {
			migrate_enable();
			return PTR_ERR(o);
		}
	}

	if (u->flags & ATCTEST_UNMAP_IRQ) {
		ret = unmap_in_irq(at, target, other, u);
	} else if (u->flags & ATCTEST_UNMAP_LOCKED) {
		guard(spinlock_irqsave)(&at->slock);
		unmap_and_fire(at, target, u);
	} else {
		guard(preempt)();
		unmap_and_fire(at, target, u);
	}

	if (o)
		others_release(o);
	migrate_enable();
	return ret;
}

/* The file */

static int atctest_open(struct inode *inode, struct file *file)
{
	struct atctest *at = container_of(file->private_data, struct atctest,
					  misc);

	kref_get(&at->kref);
	file->private_data = at;
	return 0;
}

static int atctest_close(struct inode *inode, struct file *file)
{
	struct atctest *at = file->private_data;

	kref_put(&at->kref, atctest_release_kref);
	return 0;
}

static void atctest_info(struct atctest *at, struct atctest_info *info)
{
	memset(info, 0, sizeof(*info));
	strscpy(info->bdf, pci_name(at->pdev));
	info->index = at->index;
#ifdef CONFIG_PCI_ATS
	info->ats_enabled = at->pdev->ats_enabled;
#endif
	info->error_state = at->pdev->error_state;
	info->irqs = atomic_read(&at->irqs);
	info->has_handlers = at->has_handlers;
	strscpy(info->calls, at->calls);
}

static int atctest_slot_ioctl(struct atctest *at, unsigned int cmd,
			      struct atctest_slot *arg)
{
	struct slot *s = atctest_slot(at, arg->slot);
	int ret = 0;

	if (!s)
		return -EINVAL;
	switch (cmd) {
	case ATCTEST_MAP:
		ret = slot_map(at, s, arg->pages);
		break;
	case ATCTEST_HANDOVER:
		ret = slot_handover(s);
		break;
	case ATCTEST_FREE:
		slot_free(at, s);
		break;
	}
	slot_report(s, arg);
	return ret;
}

static int atctest_raise_irq(struct atctest *at)
{
	reinit_completion(&at->irq_done);
	writel(1, at->bar + REG_IRQ);
	return wait_for_completion_timeout(&at->irq_done, HZ) ? 0 : -ETIMEDOUT;
}

/*
 * Configure a function that came back after its reset had been given up, as
 * its administrator would: the state that the driver saved when it was bound.
 */
static int atctest_restore(struct atctest *at)
{
	int ret = pci_load_saved_state(at->pdev, at->saved);

	if (ret)
		return ret;
	pci_restore_state(at->pdev);
	pci_set_master(at->pdev);
	return 0;
}

/* As a driver's suspend and resume would */
static int atctest_power(struct atctest *at, u32 state)
{
	int ret;

	if (state != PCI_D0 && state != PCI_D3hot)
		return -EINVAL;
	ret = pci_set_power_state(at->pdev, state);
	if (ret || state != PCI_D0)
		return ret;
	return atctest_restore(at);
}

union atctest_arg {
	struct atctest_info info;
	struct atctest_slot slot;
	struct atctest_unmap unmap;
	struct atctest_cmd cmd;
	struct atctest_data data;
	struct atctest_cost cost;
	struct atctest_status status;
	struct atctest_sva sva;
	u32 value;
};

static int atctest_dispatch(struct atctest *at, struct atctest *target,
			    struct atctest *other, unsigned int cmd,
			    union atctest_arg *arg)
{
	switch (cmd) {
	case ATCTEST_INFO:
		atctest_info(at, &arg->info);
		return 0;
	case ATCTEST_MAP:
	case ATCTEST_HANDOVER:
	case ATCTEST_FREE:
	case ATCTEST_QUERY:
		return atctest_slot_ioctl(at, cmd, &arg->slot);
	case ATCTEST_UNMAP:
		return atctest_unmap(at, target, other, &arg->unmap);
	case ATCTEST_CMD:
		atctest_run(at, &arg->cmd);
		return 0;
	case ATCTEST_FILL:
	case ATCTEST_CHECK:
		return atctest_data(at, &arg->data, cmd == ATCTEST_FILL);
	case ATCTEST_MARK:
		writel(arg->value, at->bar + REG_MARK);
		return 0;
	case ATCTEST_IRQ:
		return atctest_raise_irq(at);
	case ATCTEST_RESTORE:
		return atctest_restore(at);
	case ATCTEST_POWER:
		return atctest_power(at, arg->value);
	case ATCTEST_FORGET:
		memset(at->calls, 0, sizeof(at->calls));
		return 0;
	case ATCTEST_COST:
		return atctest_cost(&at->pdev->dev, &arg->cost);
	case ATCTEST_STATUS:
		writel(arg->status.ticket, at->bar + REG_SELECT);
		arg->status.result = readl(at->bar + REG_STATUS);
		return 0;
	}
	return -ENOTTY;
}

/* What may wait for a fault's work, while others use the registers */
static int atctest_dispatch_sva(struct atctest *at, unsigned int cmd,
				union atctest_arg *arg)
{
	switch (cmd) {
	case ATCTEST_SVA_BIND:
		return atctest_sva_bind(&at->bonds, &arg->sva);
	case ATCTEST_SVA_UNBIND:
		return atctest_sva_unbind(&at->bonds, arg->sva.bond);
	case ATCTEST_HOLD:
		arg->value = atctest_sva_hold(&at->bonds, arg->value);
		return 0;
	}
	return -ENOTTY;
}

/* @me if there is no such file */
static struct atctest *atctest_of(struct fd f, struct atctest *me)
{
	if (fd_empty(f))
		return me;
	return fd_file(f)->f_op == &atctest_fops ? fd_file(f)->private_data :
						   NULL;
}

/* Lock each of the three once, in the order of their index. */
static void atctest_lock(struct atctest *of[3])
{
	int i, depth __maybe_unused = 0;

	if (of[0]->index > of[1]->index)
		swap(of[0], of[1]);
	if (of[1]->index > of[2]->index)
		swap(of[1], of[2]);
	if (of[0]->index > of[1]->index)
		swap(of[0], of[1]);
	for (i = 0; i < 3; i++)
		if (!i || of[i] != of[i - 1])
			mutex_lock_nested(&of[i]->lock, depth++);
}

static void atctest_unlock(struct atctest *of[3])
{
	int i;

	for (i = 2; i >= 0; i--)
		if (!i || of[i] != of[i - 1])
			mutex_unlock(&of[i]->lock);
}

static long atctest_ioctl(struct file *file, unsigned int cmd,
			  unsigned long user)
{
	struct atctest *at = file->private_data, *target, *other, *locked[3];
	union atctest_arg arg = {};
	CLASS(fd, fire)(-1);
	CLASS(fd, irq)(-1);
	int ret;

	if (_IOC_TYPE(cmd) != 'A' || _IOC_SIZE(cmd) > sizeof(arg))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) &&
	    copy_from_user(&arg, (void __user *)user, _IOC_SIZE(cmd)))
		return -EFAULT;

	if (cmd == ATCTEST_UNMAP) {
		if (arg.unmap.fire_fd >= 0)
			fire = fdget(arg.unmap.fire_fd);
		if (arg.unmap.flags & ATCTEST_UNMAP_IRQ)
			irq = fdget(arg.unmap.irq_fd);
	}
	target = atctest_of(fire, at);
	other = atctest_of(irq, at);
	if (!target || !other)
		return -EBADF;

	ret = atctest_dispatch_sva(at, cmd, &arg);
	if (ret != -ENOTTY)
		goto out;

	locked[0] = at;
	locked[1] = target;
	locked[2] = other;
	atctest_lock(locked);
	if (at->pdev && target->pdev && other->pdev)
		ret = atctest_dispatch(at, target, other, cmd, &arg);
	else
		ret = -ENODEV;
	atctest_unlock(locked);

out:
	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) &&
	    copy_to_user((void __user *)user, &arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static int atctest_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct atctest *at = file->private_data;

	return atctest_sva_mmap(&at->bonds, vma);
}

static const struct file_operations atctest_fops = {
	.owner = THIS_MODULE,
	.mmap = atctest_mmap,
	.open = atctest_open,
	.release = atctest_close,
	.unlocked_ioctl = atctest_ioctl,
};

/* The PCI driver */

/* The functions before this one: their order must not depend on the driver. */
static int atctest_position(struct pci_dev *pdev)
{
	struct pci_dev *other = NULL;
	int position = 0;

	for (;;) {
		other = pci_get_device(ATCTEST_VENDOR, ATCTEST_DEVICE, other);
		if (!other || other == pdev)
			break;
		position++;
	}
	pci_dev_put(other);
	return position;
}

/* What error_detected() of a function is to answer, or PCI_ERS_RESULT_NONE */
static pci_ers_result_t atctest_answer(int position)
{
	pci_ers_result_t answer = PCI_ERS_RESULT_NONE;
	int i;

	kernel_param_lock(THIS_MODULE);
	for (i = 0; position < nr_handlers && i < ARRAY_SIZE(answers); i++)
		if (!strcmp(handlers[position], answers[i].name))
			answer = answers[i].answer;
	kernel_param_unlock(THIS_MODULE);
	return answer;
}

static void atctest_irq_setup(struct atctest *at)
{
	struct pci_dev *pdev = at->pdev;

	if (pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI | PCI_IRQ_MSIX) < 1) {
		pci_info(pdev, "no MSI, goes on without\n");
		return;
	}
	if (request_irq(pci_irq_vector(pdev, 0), atctest_irq, 0, at->name, at))
		pci_free_irq_vectors(pdev);
}

static void atctest_irq_teardown(struct atctest *at)
{
	if (!at->pdev->msi_enabled && !at->pdev->msix_enabled)
		return;
	free_irq(pci_irq_vector(at->pdev, 0), at);
	pci_free_irq_vectors(at->pdev);
}

static int atctest_probe_one(struct pci_dev *pdev, bool has_handlers)
{
	struct atctest *at;
	int ret;

	if ((atctest_answer(atctest_position(pdev)) != PCI_ERS_RESULT_NONE) !=
	    has_handlers)
		return -ENODEV;

	at = kzalloc_obj(*at);
	if (!at)
		return -ENOMEM;
	kref_init(&at->kref);
	mutex_init(&at->lock);
	spin_lock_init(&at->slock);
	init_completion(&at->irq_done);
	atctest_sva_init(&at->bonds, &pdev->dev);
	at->pdev = pdev;
	at->has_handlers = has_handlers;

	ret = pci_enable_device_mem(pdev);
	if (ret)
		goto err_put;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		goto err_disable;
	at->bar = pci_ioremap_bar(pdev, 0);
	if (!at->bar) {
		ret = -ENOMEM;
		goto err_disable;
	}
	if (readl(at->bar + REG_ID) != ATCTEST_ID) {
		ret = -ENODEV;
		goto err_unmap;
	}
	pci_set_master(pdev);

	ret = ida_alloc_min(&atctest_ida, atctest_position(pdev), GFP_KERNEL);
	if (ret < 0)
		goto err_unmap;
	at->index = ret;
	snprintf(at->name, sizeof(at->name), "atctest%u", at->index);
	atctest_irq_setup(at);

	pci_save_state(pdev);
	at->saved = pci_store_saved_state(pdev);
	if (!at->saved) {
		ret = -ENOMEM;
		goto err_ida;
	}

	at->misc.minor = MISC_DYNAMIC_MINOR;
	at->misc.name = at->name;
	at->misc.fops = &atctest_fops;
	pci_set_drvdata(pdev, at);
	ret = misc_register(&at->misc);
	if (ret)
		goto err_ida;
	return 0;

err_ida:
	atctest_irq_teardown(at);
	ida_free(&atctest_ida, at->index);
err_unmap:
	iounmap(at->bar);
err_disable:
	pci_disable_device(pdev);
err_put:
	kref_put(&at->kref, atctest_release_kref);
	return ret;
}

static void atctest_remove(struct pci_dev *pdev)
{
	struct atctest *at = pci_get_drvdata(pdev);
	int i;

	misc_deregister(&at->misc);
	atctest_sva_exit(&at->bonds);
	mutex_lock(&at->lock);
	/*
	 * The pages stay allocated: what a broken device still writes to them
	 * must not hit anybody, on a kernel that lets it.
	 */
	for (i = 0; i < ATCTEST_SLOTS; i++)
		if (at->slots[i].state == ATCTEST_MAPPED)
			slot_dma_unmap(at, &at->slots[i]);
	atctest_irq_teardown(at);
	pci_clear_master(pdev);
	iounmap(at->bar);
	pci_disable_device(pdev);
	ida_free(&atctest_ida, at->index);
	at->pdev = NULL;
	mutex_unlock(&at->lock);
	kref_put(&at->kref, atctest_release_kref);
}

/* One more letter in the list of calls; see struct atctest_info */
static void atctest_called(struct atctest *at, char letter)
{
	size_t len = strlen(at->calls);

	if (len < sizeof(at->calls) - 1)
		WRITE_ONCE(at->calls[len], letter);
	pci_info(at->pdev, "error handlers: %s\n", at->calls);
}

static pci_ers_result_t atctest_error_detected(struct pci_dev *pdev,
					       pci_channel_state_t state)
{
	struct atctest *at = pci_get_drvdata(pdev);

	atctest_called(at, state == pci_channel_io_normal ? 'n' :
			   state == pci_channel_io_frozen ? 'f' : 'p');
	/* For the tests that force an order, for as long as they want */
	while (READ_ONCE(hold) == at->index)
		msleep(20);
	return atctest_answer(at->index);
}

static pci_ers_result_t atctest_mmio_enabled(struct pci_dev *pdev)
{
	struct atctest *at = pci_get_drvdata(pdev);

	atctest_called(at, 'm');
	return readl(at->bar + REG_ID) == ATCTEST_ID ?
	       PCI_ERS_RESULT_RECOVERED : PCI_ERS_RESULT_NEED_RESET;
}

static pci_ers_result_t atctest_slot_reset(struct pci_dev *pdev)
{
	struct atctest *at = pci_get_drvdata(pdev);

	atctest_called(at, 's');
	return atctest_restore(at) ? PCI_ERS_RESULT_DISCONNECT :
				     PCI_ERS_RESULT_RECOVERED;
}

static void atctest_resume(struct pci_dev *pdev)
{
	atctest_called(pci_get_drvdata(pdev), 'r');
}

static const struct pci_error_handlers atctest_handlers = {
	.error_detected = atctest_error_detected,
	.mmio_enabled = atctest_mmio_enabled,
	.slot_reset = atctest_slot_reset,
	.resume = atctest_resume,
};

static const struct pci_device_id atctest_ids[] = {
	{ PCI_DEVICE(ATCTEST_VENDOR, ATCTEST_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, atctest_ids);

static int atctest_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return atctest_probe_one(pdev, false);
}

static int atctest_probe_eh(struct pci_dev *pdev,
			    const struct pci_device_id *id)
{
	return atctest_probe_one(pdev, true);
}

/* Error handlers belong to the driver, not to a function: hence two drivers. */
static struct pci_driver atctest_driver = {
	.name = "atctest",
	.id_table = atctest_ids,
	.probe = atctest_probe,
	.remove = atctest_remove,
	.sriov_configure = pci_sriov_configure_simple,
};

static struct pci_driver atctest_driver_eh = {
	.name = "atctest-eh",
	.id_table = atctest_ids,
	.probe = atctest_probe_eh,
	.remove = atctest_remove,
	.sriov_configure = pci_sriov_configure_simple,
	.err_handler = &atctest_handlers,
};

static int __init atctest_init(void)
{
	int ret = pci_register_driver(&atctest_driver_eh);

	if (ret)
		return ret;
	ret = pci_register_driver(&atctest_driver);
	if (ret)
		pci_unregister_driver(&atctest_driver_eh);
	return ret;
}

static void __exit atctest_exit(void)
{
	pci_unregister_driver(&atctest_driver);
	pci_unregister_driver(&atctest_driver_eh);
}

module_init(atctest_init);
module_exit(atctest_exit);
MODULE_DESCRIPTION("Test driver of an emulated PCI endpoint with an ATC");
MODULE_LICENSE("GPL");
