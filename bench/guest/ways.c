// SPDX-License-Identifier: GPL-2.0
/*
 * Rounds: each broken function falls silent, is fenced and blocked, and comes
 * back in one of the ways that an administrator has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "incident.h"

#define SLOTS	2	/* unmapped in each round */

static const struct atctest_cmd stale_write = { .cmd = WRITE_HIT, .len = LEN };

static struct {
	int rounds, blocked, recovered, dma_ok;
	uint32_t victim_bad;
} tally;

static bool cache_own(struct ep *ep)
{
	if (ep_query(ep, SLOT_CANARY).state == ATCTEST_EMPTY)
		ep_map(ep, SLOT_CANARY);
	for (int slot = 0; slot < SLOTS; slot++) {
		struct atctest_slot s;

		ep_free(ep, slot);
		s = ep_map(ep, slot);
		if (ep_cmd(ep, ATC_CMD_PREFETCH, s.iova, LEN).result != ATC_OK)
			return false;
	}
	ep_fill(ep, ATCTEST_SLOT_BUF, ATTACK, LEN);
	return true;
}

/*
 * The reset that the kernel starts by itself, if the driver has handlers, may
 * come before the shot: then there is nobody to fire.
 */
static bool count_shot(struct ep *ep, const struct atctest_cmd *c)
{
	return (c->result == ATC_GONE && ep_info(ep).has_handlers) ||
	       count_stale(c);
}

static bool shoot_victim(struct ep *ep, int slot)
{
	uint64_t iova = ep_query(ep, slot).iova;
	struct atctest_cmd c;
	uint32_t bad;

	if (!ep_handover(ep, slot))
		return false;
	ep_fill(ep, slot, VICTIM, ATCTEST_PAGE_SIZE);
	c = ep_cmd(ep, WRITE_HIT, iova, LEN);
	bad = ep_check(ep, slot, VICTIM, ATCTEST_PAGE_SIZE);
	tally.victim_bad += bad;
	return count_shot(ep, &c) && (bad > 0) == (c.result == ATC_OK);
}

/* The first shots are fired while nothing but the flush can have done anything. */
static bool unmap_own(struct ep *ep)
{
	struct atctest_unmap u;
	bool ok;

	u = ep_unmap(ep, 0, ATCTEST_UNMAP_ALONE, NULL, &stale_write);
	ok = count_shot(ep, &u.fire);
	ok = shoot_victim(ep, 0) && ok;
	for (int slot = 1; slot < SLOTS; slot++) {
		u = ep_unmap(ep, slot, 0, NULL, &stale_write);
		ok = count_shot(ep, &u.fire) && ok;
	}
	return ok;
}

bool fall_silent(struct ep *ep)
{
	bool ok;

	if (!cache_own(ep)) {
		ktap_diag("%s: no translation", ep->bdf);
		return false;
	}
	pin(opt.cpu);
	rest_siblings(true);
	if (!tally.rounds++)
		incident_begins(false);
	qom_set(ep->qom, "atc-fault",
		opt.forever ? "\"silent-forever\"" : "\"silent\"");
	ok = unmap_own(ep);
	rest_siblings(false);
	return ok;
}

void came_back(struct ep *ep)
{
	bool ats = ep_ats_enabled(ep) && qom_get(ep->qom, "ats-enabled");
	const char *wrong = translated_dma(ep, SLOT_PROBE);
	bool refused = canary_refused(ep);

	if (wrong)
		ktap_diag("%s: afterwards: %s", ep->bdf, wrong);
	tally.recovered += ats && !refused;
	tally.dma_ok += !wrong;
}

void count_blocked(bool blocked)
{
	tally.blocked += blocked;
}

/* One round; @way says whether its step could be taken. */
static bool way_back(bool (*way)(struct ep *ep))
{
	bool able;

	if (!fall_silent(broken))
		return false;
	count_blocked(wait_blocked(broken));
	able = ep_bus_master(broken);
	host_mark("reset");
	if (!able || !way(broken))
		return false;
	came_back(broken);
	return true;
}

static bool says(const char *what, int err)
{
	if (err)
		ktap_diag("%s: %s", what, strerror(err));
	return !err;
}

bool reset_by_hand(struct ep *ep)
{
	return says("reset", ep_sysfs(ep, "reset", "1"));
}

static bool reset_bus(struct ep *ep)
{
	uint64_t flrs = qom_get(ep->qom, "stat-flr");
	bool ok = says("reset_method", ep_sysfs(ep, "reset_method", "bus"));

	ok = ok && reset_by_hand(ep);
	/* It must not have been another one in the end. */
	return says("reset_method", ep_sysfs(ep, "reset_method", "default")) &&
	       ok && qom_get(ep->qom, "stat-flr") == flrs;
}

static bool reset_subordinate(struct ep *ep)
{
	char bridge[32], path[96];

	if (!ep_bridge(ep, bridge, sizeof(bridge)))
		return false;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset_subordinate",
		 bridge);
	return says(path, write_file(path, "1"));
}

bool unbind(struct ep *ep)
{
	return says("unbind", ep_sysfs(ep, "driver/unbind", ep->bdf));
}

bool bind(struct ep *ep)
{
	return says("bind", write_file("/sys/bus/pci/drivers_probe", ep->bdf)) &&
	       reopen(ep);
}

static bool reset_without_driver(struct ep *ep)
{
	return unbind(ep) && reset_by_hand(ep) && bind(ep);
}

/* The slot's button and power: the function goes, another one comes. */
static bool replug(struct ep *ep)
{
	char path[96], port[8];
	const char *no = "";

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", ep->bdf);
	snprintf(port, sizeof(port), "rp%d", ep->index);
	no = host_qmp("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"ep%d\"}}",
		      ep->index);
	if (no) {
		ktap_diag("device_del: %s", no);
		return false;
	}
	/* The port's driver blinks for five seconds first. */
	for (int i = 0; i < 3000 && !access(path, F_OK); i++)
		usleep(10000);
	if (!access(path, F_OK))
		return false;
	for (int i = 0; i < 1000; i++) {
		no = host_qmp("{\"execute\":\"device_add\",\"arguments\":{"
			      "\"driver\":\"atc-endpoint\",\"id\":\"ep%d\","
			      "\"bus\":\"%s\",\"addr\":\"0.0\"}}", ep->index, port);
		/* Its predecessor may not be gone yet. */
		if (!no || !strstr(no, "Duplicate"))
			break;
		usleep(10000);
	}
	if (no)
		ktap_diag("device_add: %s", no);
	return !no && reopen(ep);
}

bool step_bus_reset(void)
{
	return way_back(reset_bus);
}

bool step_reset_subordinate(void)
{
	return way_back(reset_subordinate);
}

bool step_reset_without_driver(void)
{
	return way_back(reset_without_driver);
}

bool step_replug(void)
{
	return way_back(replug);
}

/* The functions that are healthy have no user any more. */
static bool reload_module(struct ep *ep)
{
	char *options = getenv("ATC_MODULE_OPTIONS");

	for_each_ep(each)
		ep_close(each);
	if (syscall(SYS_delete_module, "atctest", 0))
		return says("rmmod", errno);
	if (!says("reset", ep_sysfs(ep, "reset", "1")) ||
	    !says("insmod", host_load_module(options ?: "")))
		return false;
	for_each_ep(each)
		if (!reopen(each))
			return false;
	return true;
}

bool step_reload(void)
{
	return way_back(reload_module);
}

bool step_rounds_over(void)
{
	host_value("rounds", "%d", tally.rounds);
	host_value_bool("blocked", tally.blocked == tally.rounds);
	host_value_bool("recovered", tally.recovered == tally.rounds);
	host_value_bool("dma_ok_after_recovery", tally.dma_ok == tally.rounds);
	host_value("victim_bytes_changed", "%u", tally.victim_bad);
	host_value("siblings_stale", "0");
	incident_over();
	return true;
}

/*
 * Many cycles, and what the kernel's memory looks like at their end. The first
 * ones fill caches that stay.
 */
#define WARM_UP		10

static long meminfo(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "r");
	size_t len = strlen(name);
	char line[128];
	long kb = -1;

	while (f && kb < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ':')
			kb = atol(line + len + 1);
	if (f)
		fclose(f);
	return kb;
}

static long kernel_memory(void)
{
	return meminfo("SUnreclaim") + meminfo("KernelStack") +
	       meminfo("PageTables") + meminfo("Percpu") + meminfo("VmallocUsed");
}

bool step_cycles(void)
{
	long before = 0, after, free_before = 0;

	int i;

	for (i = 0; i < opt.cycles + WARM_UP; i++) {
		if (i == WARM_UP) {
			before = kernel_memory();
			free_before = meminfo("MemFree");
		}
		if (!way_back(reset_by_hand)) {
			ktap_diag("cycle %d", i);
			return false;
		}
		/* On a kernel that blocks nobody more of it says nothing. */
		if (tally.blocked < tally.rounds)
			break;
	}
	/* RCU and the works have to have done their part. */
	sleep(1);
	after = kernel_memory();
	host_value("cycles", "%d", i - WARM_UP);
	host_value("kernel_memory_grew_kb", "%ld", i > WARM_UP ? after - before : 0);
	host_value("free_memory_shrank_kb", "%ld",
		   i > WARM_UP ? free_before - meminfo("MemFree") : 0);
	return true;
}
