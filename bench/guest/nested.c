// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual machine monitor's part, without a virtual machine: two functions
 * behind one vIOMMU, with stage 1 tables of the guest and stage 2 tables of the
 * host. One of them falls silent, and the guest invalidates its ATC.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "incident.h"
#include "iommufd.h"

#define PAGE		4096
#define PAGES		256
#define IPA		0x40000000ULL	/* where the guest's memory is */
#define IOVA		0x30000000ULL	/* what its functions use */
#define GUESTS		2
/* Pages of the guest's memory: three levels of tables, descriptors, data */
#define TABLE(g, level)	((g) * 8 + (level))
#define CD(g)		((g) * 8 + 7)
#define DATA(g)		(64 + (g) * 64)
#define VSID(g)		(0x1000 + (g))	/* not the host's StreamIDs */
#define SILENT		0
#define HEALTHY		1

/* The commands that a guest issues */
#define OP_TLBI_NH_ASID	0x11
#define OP_ATC_INV	0x40
#define OP_CFGI_CD	0x05
#define ATC_ALL		52

struct command {
	uint64_t data[2];
};

static struct owner user[GUESTS];
static uint32_t viommu;
static uint8_t *memory;

static uint8_t *page_at(int page)
{
	return memory + (size_t)page * PAGE;
}

static uint64_t ipa_of(int page)
{
	return IPA + (uint64_t)page * PAGE;
}

static uint64_t iova_of(int page)
{
	return IOVA + (uint64_t)page * PAGE;
}

static void put(int page, int entry, uint64_t value)
{
	((volatile uint64_t *)page_at(page))[entry] = value;
}

/* Page @n of the data of guest @g, mapped or not: valid, access flag */
static void map(int g, int n, bool on)
{
	int index = (iova_of(n) >> 12) & 511;

	put(TABLE(g, 2), index, on ? ipa_of(DATA(g) + n) | 0x403 : 0);
}

static void tables(int g)
{
	put(TABLE(g, 0), (IOVA >> 30) & 511, ipa_of(TABLE(g, 1)) | 3);
	put(TABLE(g, 1), (IOVA >> 21) & 511, ipa_of(TABLE(g, 2)) | 3);
	/* 39 bits, EPD1, valid; 44 bits, AArch64, R, A, ASID */
	put(CD(g), 0, 25 | 1ULL << 30 | 1ULL << 31 |
	    (4ULL | 1 << 9 | 1 << 13 | 1 << 14 | (uint64_t)(g + 1) << 16) << 32);
	put(CD(g), 1, ipa_of(TABLE(g, 0)));
	for (int n = 0; n <= opt.further + 1; n++)
		map(g, n, true);
}

static bool attach(int g, uint32_t parent)
{
	/* Stage 1, one descriptor; EATS */
	const uint64_t ste[2] = { ipa_of(CD(g)) | 5 << 1 | 1, 1 << 28 };
	uint32_t hwpt;

	if (!viommu)
		viommu = viommu_alloc(&user[g], parent);
	if (!viommu || !vdevice_alloc(&user[g], viommu, VSID(g)))
		return false;
	hwpt = hwpt_alloc(&user[g], viommu, 0, 0, ste);
	return hwpt && owner_attach(&user[g], hwpt);
}

static bool writes(int g, int n)
{
	struct atctest_cmd c;

	bar_fill(user[g].bar, DEVICE, LEN);
	c = bar_cmd(user[g].bar, ATC_CMD_PREFETCH, iova_of(n), LEN);
	if (c.result != ATC_OK) {
		ktap_diag("function %d, page %d: translation %#x", g, n, c.result);
		return false;
	}
	c = bar_cmd(user[g].bar, WRITE_HIT, iova_of(n), LEN);
	for (int i = 0; i < LEN; i++)
		if (page_at(DATA(g) + n)[i] != atctest_pattern(DEVICE, i))
			return false;
	return c.result == ATC_OK && (c.flags & ATC_WAS_TRANSLATED);
}

bool step_nested_take(void)
{
	uint32_t ioas, parent;

	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	for (int g = 0; g < GUESTS; g++)
		if (!owner_give(&eps[g]) ||
		    !owner_open(&user[g], &eps[g], g ? &user[0] : NULL))
			return false;
	ioas = ioas_alloc(&user[0]);
	if (!ioas || !ioas_map(&user[0], ioas, IPA, memory, PAGES * PAGE))
		return false;
	parent = hwpt_alloc(&user[0], ioas, HWPT_NEST_PARENT, 0, NULL);
	if (!parent)
		return false;
	for (int g = 0; g < GUESTS; g++) {
		tables(g);
		if (!attach(g, parent))
			return false;
		for (int n = 0; n <= opt.further + 1; n++)
			if (!writes(g, n))
				return false;
	}
	pin(opt.cpu);
	return true;
}

static struct command atc_inv(int g, uint64_t addr, int size)
{
	return (struct command) {
		{ OP_ATC_INV | (uint64_t)VSID(g) << 32, addr | size }
	};
}

/*
 * What a guest does in an unmap. The list has both functions in it, and the
 * silent one's command is neither the first nor the last one.
 */
static int invalidate(int n, uint32_t *num)
{
	const struct command list[] = {
		{ { OP_TLBI_NH_ASID | (uint64_t)(SILENT + 1) << 48, 0 } },
		atc_inv(HEALTHY, 0, ATC_ALL),
		atc_inv(SILENT, iova_of(n), 0),
		atc_inv(HEALTHY, 0, ATC_ALL),
	};

	*num = sizeof(list) / sizeof(list[0]);
	return viommu_invalidate(&user[0], viommu, list, num);
}

/* The guest is told what happened, and goes on as if it were nothing. */
bool step_nested_unmap(void)
{
	int bad = 0, first_err = 0;
	uint32_t first_done = 0;

	bar_fill(user[SILENT].bar, ATTACK, LEN);
	for (int n = 0; n <= opt.further; n++) {
		uint8_t *bytes = page_at(DATA(SILENT) + n);
		struct atctest_cmd c;
		uint32_t done;
		int err;

		map(SILENT, n, false);
		err = invalidate(n, &done);
		if (!n) {
			first_err = err;
			first_done = done;
		}
		for (int i = 0; i < PAGE; i++)
			bytes[i] = atctest_pattern(VICTIM, i);
		c = bar_cmd(user[SILENT].bar, WRITE_HIT, iova_of(n), LEN);
		if (!count_stale(&c))
			return false;
		for (int i = 0; i < PAGE; i++)
			bad += bytes[i] != atctest_pattern(VICTIM, i);
	}
	host_value("victim_bytes_changed", "%d", bad);
	host_value("guest_told_timeout", first_err == ETIMEDOUT ? "true" : "false");
	host_value("guest_error", "%d", first_err);
	host_value("guest_commands_done", "%u", first_done);
	host_value("siblings_stale", "0");
	return true;
}

static bool refused(void)
{
	return bar_cmd(user[SILENT].bar, READ_PLAIN, iova_of(opt.further + 1),
		       LEN).result == ATC_REFUSED;
}

/* The other function of the same guest must not notice. */
bool step_nested_blocked(void)
{
	await_blocked(refused);
	host_value_bool("guest_sibling_works", writes(HEALTHY, 0));
	return true;
}

bool step_nested_reset(void)
{
	host_mark("reset");
	return owner_reset(&user[SILENT]) && qom_get(broken->qom, "stat-flr");
}

bool step_nested_recovered(void)
{
	bool ats = ep_ats_enabled(broken) && qom_get(broken->qom, "ats-enabled");
	bool dma = writes(SILENT, opt.further + 1) && !refused();
	uint32_t done;
	int err = invalidate(opt.further + 1, &done);

	host_value("guest_error_after", "%d", err);
	host_value_bool("recovered", ats && dma);
	host_value_bool("dma_ok_after_recovery", dma);
	incident_over();
	return true;
}
