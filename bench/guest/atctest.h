/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ioctl interface of atctest.ko, the driver of the bench's "atc-endpoint".
 *
 * Each PCI function is /dev/atctest<N>, N counting in the order of enumeration.
 * A function owns ATCTEST_SLOTS slots; a slot is one page and what became of
 * it. Slots belong to the function, not to the open file: a shell can map in
 * one command and unmap in the next.
 */
#ifndef ATCTEST_H
#define ATCTEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ATCTEST_SLOTS		256
#define ATCTEST_PAGE_SIZE	4096
#define ATCTEST_SLOT_BUF	0xffffffffU	/* the endpoint's own buffer */
#define ATCTEST_MAX_PAGES	64		/* of one slot */
#define ATCTEST_CALLS		32		/* of error handlers, with a NUL */

/* CMD register of the endpoint */
#define ATC_CMD_READ		1		/* memory -> buffer */
#define ATC_CMD_WRITE		2		/* buffer -> memory */
#define ATC_CMD_PREFETCH	3		/* ask for a translation */
#define ATC_CMD_UNTRANSLATED	0x100		/* bypass the ATC */
#define ATC_CMD_HIT_ONLY	0x200		/* what a stale device does */
#define ATC_CMD_NO_WRITE	0x400		/* no write permission wanted */

/* RESULT register */
#define ATC_OK			0
#define ATC_REFUSED		1	/* the access was aborted */
#define ATC_NO_TRANSLATION	2	/* the ATS request was refused */
#define ATC_NO_PERMISSION	3
#define ATC_NO_ENTRY		4	/* HIT_ONLY and nothing cached */
#define ATC_PARKED		5	/* the SMMU has stalled the access */
#define ATC_NO_ROOM		6	/* too many of these already */
#define ATC_BAD			0xff
#define ATC_GONE		0xffffffffU	/* the function does not answer */

/* FLAGS register */
#define ATC_WAS_TRANSLATED	0x1
#define ATC_WAS_HIT		0x2

enum atctest_slot_state {
	ATCTEST_EMPTY,
	ATCTEST_MAPPED,		/* the device may use the page */
	ATCTEST_UNMAPPED,	/* flushed, the driver still holds the page */
	ATCTEST_VICTIM,		/* given back, and somebody else's by now */
};

struct atctest_info {
	char bdf[16];
	__u32 index;
	__u32 ats_enabled;	/* pdev->ats_enabled */
	__u32 error_state;	/* pdev->error_state, pci_channel_state_t */
	__u32 irqs;		/* MSIs seen */
	__u32 has_handlers;
	/*
	 * The calls of the error handlers in their order: error_detected() with
	 * the channel normal (n), frozen (f) or given up (p), mmio_enabled (m),
	 * slot_reset (s), resume (r)
	 */
	char calls[ATCTEST_CALLS];
};

struct atctest_slot {
	__u32 slot;
	__u32 pages;		/* a power of two; 0: 1 */
	__u32 state;		/* out, from here on */
	__u32 pad;
	__u64 iova;
	__u64 phys;
};

struct atctest_cmd {
	__u64 iova;
	__u32 len;
	__u32 cmd;
	__u32 result;		/* out, from here on */
	__u32 flags;
	__u32 entries;
	__u32 ticket;		/* of ATC_PARKED: its name */
	__u64 pa;
	__u64 start;		/* CNTVCT */
	__u64 end;
	__u32 pasid;		/* in; 0: none */
	__u32 pad;
};

/* A parked access */
struct atctest_status {
	__u32 ticket;
	__u32 result;		/* out */
};

/*
 * The process's address space for the function (SVA). A bond belongs to the
 * function, too: whoever knows its number can undo it.
 */
#define ATCTEST_BONDS		16

struct atctest_sva {
	__u32 bond;		/* 0 to ATCTEST_BONDS - 1 */
	__u32 pasid;		/* out */
};

#define ATCTEST_UNMAP_FIRE	0x1	/* run @fire right after the flush */
#define ATCTEST_UNMAP_ALONE	0x2	/* no other CPU schedules meanwhile */
#define ATCTEST_UNMAP_LOCKED	0x4	/* under a spinlock, interrupts off */
#define ATCTEST_UNMAP_IRQ	0x8	/* in the interrupt handler of @irq_fd */

struct atctest_unmap {
	__u32 slot;
	__u32 flags;
	__s32 fire_fd;		/* the function that fires; -1: this one */
	__s32 irq_fd;		/* another function, for ATCTEST_UNMAP_IRQ */
	struct atctest_cmd fire;	/* iova is set by the driver */
	__u64 start;		/* out, CNTVCT around dma_unmap_page() */
	__u64 end;
};

/* The byte at offset i of pattern @seed, see atctest_pattern() */
struct atctest_data {
	__u32 slot;		/* or ATCTEST_SLOT_BUF */
	__u32 len;
	__u32 seed;
	__u32 bad;		/* out of CHECK: bytes that differ */
	__u32 first_bad;
	__u32 pad;
};

/* What an unmap costs; all counts are in ticks of CNTVCT */
struct atctest_cost {
	__u32 iterations;
	__u32 extra;		/* more instructions in each, to see if they are found */
	__u64 ticks;		/* out, from here on: all unmaps */
	__u64 empty;		/* the same measurement of nothing */
	__u32 min;		/* of one unmap */
	__u32 max;
	__u32 sizeof_inv;	/* struct arm_smmu_inv */
	__u32 sizeof_cmdq;	/* struct arm_smmu_cmdq */
	__u32 sizeof_lock;	/* raw_spinlock_t */
	__u32 pad;
};

#define ATCTEST_INFO		_IOR('A', 0, struct atctest_info)
#define ATCTEST_MAP		_IOWR('A', 1, struct atctest_slot)
#define ATCTEST_UNMAP		_IOWR('A', 2, struct atctest_unmap)
#define ATCTEST_HANDOVER	_IOWR('A', 3, struct atctest_slot)
#define ATCTEST_FREE		_IOWR('A', 4, struct atctest_slot)
#define ATCTEST_QUERY		_IOWR('A', 5, struct atctest_slot)
#define ATCTEST_CMD		_IOWR('A', 6, struct atctest_cmd)
#define ATCTEST_FILL		_IOWR('A', 7, struct atctest_data)
#define ATCTEST_CHECK		_IOWR('A', 8, struct atctest_data)
#define ATCTEST_MARK		_IOW('A', 9, __u32)
#define ATCTEST_IRQ		_IO('A', 10)
#define ATCTEST_RESTORE		_IO('A', 11)
#define ATCTEST_POWER		_IOW('A', 12, __u32)	/* 0: D0, 3: D3hot */
#define ATCTEST_COST		_IOWR('A', 13, struct atctest_cost)
#define ATCTEST_FORGET		_IO('A', 20)	/* the calls of error handlers */
#define ATCTEST_STATUS		_IOWR('A', 32, struct atctest_status)
#define ATCTEST_SVA_BIND	_IOWR('A', 33, struct atctest_sva)
#define ATCTEST_SVA_UNBIND	_IOW('A', 34, struct atctest_sva)
/*
 * Pages of the file, mapped with mmap(): while 1 is set, a fault on one waits.
 * The answer is how many do.
 */
#define ATCTEST_HOLD		_IOWR('A', 35, __u32)

static inline __u8 atctest_pattern(__u32 seed, __u32 i)
{
	return seed * 0x9d + i * 7 + (i >> 8);
}

#endif /* ATCTEST_H */
