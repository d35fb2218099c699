// SPDX-License-Identifier: GPL-2.0
/* The steps that most stories take; see incident.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "incident.h"

#define TIMELINE	"/objects/tl0"

static const struct atctest_cmd stale_write = { .cmd = WRITE_HIT, .len = LEN };

static struct {
	int landed, refused, no_entry, other;
} stale;

static uint64_t errors_at_silence;

static bool is_translated(const struct atctest_cmd *c)
{
	return c->flags & ATC_WAS_TRANSLATED;
}

bool count_stale(const struct atctest_cmd *c)
{
	static const char *const what[] = {
		"stale write landed", "stale write refused",
		"stale write: no entry"
	};
	int *count[] = { &stale.landed, &stale.refused, &stale.no_entry };
	int i = c->result == ATC_OK && is_translated(c) ? 0 :
		c->result == ATC_REFUSED && is_translated(c) ? 1 :
		c->result == ATC_NO_ENTRY ? 2 : -1;

	if (i < 0) {
		stale.other++;
		ktap_diag("stale write: result %#x flags %#x", c->result,
			  c->flags);
		return false;
	}
	++*count[i];
	host_mark_at(what[i], cnt_to_ns(c->start));
	return true;
}

uint64_t cmdq_errors(void)
{
	return qom_get("@smmu", "stat-cerror-atc-inv") - errors_at_silence;
}

const char *translated_dma(struct ep *ep, int slot)
{
	struct atctest_slot s = ep_map_pages(ep, slot, opt.pages);
	struct atctest_unmap u;
	struct atctest_cmd c;
	const char *wrong = NULL;
	/* In lazy mode a flush may come between any two steps. */
	uint32_t how = opt.lazy ? 0 : ATC_CMD_HIT_ONLY;

	ep_fill(ep, slot, OWNER, LEN);
	c = ep_cmd(ep, ATC_CMD_PREFETCH, s.iova, LEN);
	if (c.result != ATC_OK)
		wrong = "no translation";
	c = ep_cmd(ep, ATC_CMD_READ | how, s.iova, LEN);
	if (!wrong && (c.result != ATC_OK || !is_translated(&c)))
		wrong = "translated read failed";
	if (!wrong && c.pa != s.phys)
		wrong = "wrong address used";
	if (!wrong && ep_check(ep, ATCTEST_SLOT_BUF, OWNER, LEN))
		wrong = "wrong data read";
	ep_fill(ep, ATCTEST_SLOT_BUF, DEVICE, LEN);
	c = ep_cmd(ep, ATC_CMD_WRITE | how, s.iova, LEN);
	if (!wrong && (c.result != ATC_OK || !is_translated(&c) ||
		       (how && !(c.flags & ATC_WAS_HIT))))
		wrong = "translated write failed";
	if (!wrong && ep_check(ep, slot, DEVICE, LEN))
		wrong = ep_check(ep, ATCTEST_SLOT_BUF, DEVICE, LEN) ?
			"the endpoint's buffer was not filled" :
			ep_check(ep, slot, OWNER, LEN) ?
			"wrong data written" : "nothing written";

	u = ep_unmap(ep, slot, 0, NULL, &stale_write);
	/* In lazy mode the invalidation is still to come. */
	if (!wrong && u.fire.result == ATC_GONE)
		wrong = "does not answer";
	if (!wrong && !opt.lazy && u.fire.result != ATC_NO_ENTRY)
		wrong = "still cached after the unmap";
	ep_free(ep, slot);
	return wrong;
}

/* Does it work, with ATS? What is wrong with it, or NULL */
static const char *prove(struct ep *ep)
{
	const char *wrong;

	if (!ep_ats_enabled(ep))
		return "ATS_CTRL.E = 0";
	if (!qom_get(ep->qom, "ats-enabled"))
		return "the model has ATS off";
	if (!ep_info(ep).ats_enabled)
		return "the kernel has ATS off";
	wrong = translated_dma(ep, SLOT_PROBE);
	if (wrong)
		return wrong;
	if (!qom_get(ep->qom, "stat-translated-writes-landed"))
		return "the model saw no translated write";
	/* In lazy mode they come later. */
	for (int ms = 0; ms < 2000; ms += 20) {
		if (qom_get(ep->qom, "stat-inv-answered"))
			return NULL;
		usleep(20000);
	}
	return "the model saw no invalidation";
}

static bool prove_all(bool broken_too)
{
	bool ok = true;

	for_each_ep(ep) {
		const char *wrong = NULL;

		if (broken_too || !is_broken(ep))
			wrong = prove(ep);
		if (wrong)
			ktap_diag("function %d (%s): %s", ep->index, ep->bdf,
				  wrong);
		ok = ok && !wrong;
	}
	return ok;
}

/* Everything works, with ATS, before the fault: else nothing is proven. */
bool step_prove(void)
{
	return prove_all(true);
}

bool step_prove_healthy(void)
{
	return prove_all(false);
}

/* Send the SMMU's error interrupt to the CPU that was asked for. */
bool step_gerror(void)
{
	return opt.gerror_cpu < 0 || gerror_to_cpu(opt.gerror_cpu);
}

void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fatal("CPU %d: %s", cpu, strerror(errno));
}

static bool cache_page(struct ep *ep, const struct atctest_slot *s)
{
	return ep_cmd(ep, ATC_CMD_PREFETCH, s->iova, LEN).result == ATC_OK;
}

/* The devices cache what they will later use without being entitled to. */
bool step_cache(void)
{
	struct atctest_slot s = ep_map(broken, SLOT_CANARY);
	struct atctest_cmd c;

	/* Only now: the healthy functions' processes run wherever they like. */
	pin(opt.cpu);
	/* Let earlier unmaps be flushed, or it may be these that are. */
	if (opt.lazy)
		usleep(opt.settle_ms * 1000);
	c = ep_cmd(broken, READ_PLAIN, s.iova, LEN);
	if (c.result != ATC_OK)
		return false;
	for (int slot = 0; slot <= opt.further; slot++) {
		s = ep_map(broken, slot);
		for_each_ep(ep)
			if ((ep == broken || opt.group) && !cache_page(ep, &s))
				return false;
		ep_fill(broken, ATCTEST_SLOT_BUF, DEVICE, LEN);
		c = ep_cmd(broken, WRITE_HIT, s.iova, LEN);
		if (c.result != ATC_OK || !is_translated(&c) ||
		    c.pa != s.phys || ep_check(broken, slot, DEVICE, LEN))
			return false;
	}
	for_each_broken(ep)
		ep_fill(ep, ATCTEST_SLOT_BUF, ATTACK, LEN);
	return true;
}

void incident_begins(bool at_boot)
{
	errors_at_silence = at_boot ? 0 :
			    qom_get("@smmu", "stat-cerror-atc-inv");
	/* Every sync from now on: the one after the fence confirms it. */
	qom_set(TIMELINE, "verbose", "true");
	host_mark("silence");
}

void incident_over(void)
{
	host_value("cmdq_errors", "%llu", (unsigned long long)cmdq_errors());
	host_mark("recovered");
	qom_set(TIMELINE, "verbose", "false");
}

bool set_fault(const char *property, const char *json)
{
	rest_siblings(true);
	incident_begins(false);
	for_each_broken(ep)
		qom_set(ep->qom, property, json);
	return true;
}

bool step_silence(void)
{
	return set_fault("atc-fault", "\"silent\"");
}

bool step_late(void)
{
	return set_fault("atc-fault", "\"late\"");
}

bool step_drop_one(void)
{
	return set_fault("atc-silent-next", "1");
}

/* The other functions' turn: who else still has the translation? */
static int others_shoot(uint64_t iova)
{
	int held = 0;

	for_each_ep(ep) {
		struct atctest_cmd c;

		if (ep == broken || !opt.group)
			continue;
		/*
		 * A healthy one only reads: the page is nobody's in particular
		 * now.
		 */
		c = ep_cmd(ep, is_broken(ep) ? WRITE_HIT : READ_HIT, iova, LEN);
		if (is_broken(ep))
			count_stale(&c);
		else
			held += c.result != ATC_NO_ENTRY;
	}
	return held;
}

/* Another function than the broken one, whose interrupt we may borrow */
static struct ep *interrupter(void)
{
	for_each_ep(ep)
		if (!is_broken(ep))
			return ep;
	fatal("there is no healthy function");
}

/*
 * The other CPUs do not schedule before the shot was fired: if it is refused,
 * then by what the flush itself did. In lazy mode the flush comes later, and so
 * has the shot to.
 */
bool step_unmap(void)
{
	bool crowd = opt.workers > 1;
	uint32_t flags = opt.context | (opt.lazy || crowd ? 0 : ATCTEST_UNMAP_ALONE);
	struct ep *other = opt.context == ATCTEST_UNMAP_IRQ ? interrupter() : NULL;
	struct atctest_unmap u = ep_unmap(broken, 0, flags, other,
					  opt.lazy ? NULL : &stale_write);

	host_value("unmap_us", "%llu", (unsigned long long)
		   (cnt_to_ns(u.end) - cnt_to_ns(u.start)) / 1000);
	if (opt.lazy) {
		usleep(opt.settle_ms * 1000);
		u.fire = ep_cmd(broken, WRITE_HIT, ep_query(broken, 0).iova, LEN);
	}
	host_value("shot_after_us", "%llu", (unsigned long long)
		   (cnt_to_ns(u.fire.end) - cnt_to_ns(u.end)) / 1000);
	host_value("siblings_stale", "%d", others_shoot(u.fire.iova));
	rest_siblings(false);
	return count_stale(&u.fire);
}

bool step_victim(void)
{
	uint64_t iova = ep_query(broken, 0).iova;
	struct atctest_cmd c;
	uint32_t bad;

	if (!ep_handover(broken, 0))
		return false;
	ep_fill(broken, 0, VICTIM, ATCTEST_PAGE_SIZE);
	c = ep_cmd(broken, WRITE_HIT, iova, LEN);
	bad = ep_check(broken, 0, VICTIM, ATCTEST_PAGE_SIZE);
	host_value("victim_bytes_changed", "%u", bad);
	/* The model and the memory must tell the same story. */
	return count_stale(&c) && (bad > 0) == (c.result == ATC_OK);
}

bool step_further(void)
{
	char list[MAX_FURTHER * 12] = "";
	bool ok = true;
	size_t n = 0;

	for (int slot = 1; slot <= opt.further; slot++) {
		struct atctest_unmap u = ep_unmap(broken, slot, 0, NULL,
						  opt.lazy ? NULL : &stale_write);

		if (opt.lazy) {
			usleep(opt.settle_ms * 1000);
			u.fire = ep_cmd(broken, WRITE_HIT,
					ep_query(broken, slot).iova, LEN);
		}
		ok = count_stale(&u.fire) && ok;
		n += snprintf(list + n, sizeof(list) - n, "%s%llu",
			      slot == 1 ? "" : ",",
			      (unsigned long long)cmdq_errors());
	}
	host_value("cmdq_errors_after_unmap", "[%s]", list);
	return ok;
}

uint64_t wait_end(void)
{
	return now_ns() + opt.wait_ms * 1000000ULL;
}

bool canary_refused(struct ep *ep)
{
	struct atctest_slot s = ep_query(opt.group ? broken : ep, SLOT_CANARY);

	if (s.state != ATCTEST_MAPPED)
		fatal("function %d has no canary", ep->index);
	return ep_cmd(ep, READ_PLAIN, s.iova, LEN).result == ATC_REFUSED;
}

bool wait_blocked(struct ep *ep)
{
	for (uint64_t end = wait_end(); now_ns() < end;) {
		if (canary_refused(ep))
			return true;
		usleep(20000);
	}
	return false;
}

/* What refuses must be the IOMMU: the function itself has to be able to try. */
bool step_blocked(void)
{
	bool blocked = true, able = true;

	for_each_broken(ep) {
		blocked = wait_blocked(ep) && blocked;
		able = able && ep_bus_master(ep);
	}
	host_value_bool("blocked", blocked);
	if (blocked)
		host_mark("blocked");
	return able;
}

/* A late or lost answer: the function must stay in service. */
bool step_in_service(void)
{
	const char *wrong;

	host_value_bool("blocked", wait_blocked(broken));
	wrong = translated_dma(broken, SLOT_PROBE);
	if (wrong)
		ktap_diag("afterwards: %s", wrong);
	host_value_bool("in_service", !wrong && ep_ats_enabled(broken));
	incident_over();
	return true;
}

bool step_failing_reset(void)
{
	int err;

	/* One method only: the kernel would try them all, a minute each. */
	err = ep_sysfs(broken, "reset_method", "flr");
	if (err) {
		ktap_diag("reset_method: %s", strerror(err));
		return false;
	}
	qom_set(broken->qom, "reset-ready-ms", "4294967295");
	host_mark("failing reset");
	err = ep_sysfs(broken, "reset", "1");
	host_value("failing_reset_errno", "%d", err);
	host_mark("failing reset returned");
	qom_set(broken->qom, "reset-ready-ms", "0");
	ep_restore(broken);
	return err && !ep_sysfs(broken, "reset_method", "default");
}

bool step_still_blocked(void)
{
	bool refused = canary_refused(broken);
	uint64_t iova = ep_query(broken, SLOT_CANARY).iova;
	struct atctest_cmd c = ep_cmd(broken, ATC_CMD_PREFETCH, iova, LEN);

	host_value_bool("blocked_after_failed_reset",
			refused && c.result != ATC_OK);
	return ep_bus_master(broken);
}

bool step_reset(void)
{
	bool ok = true;

	host_mark("reset");
	for_each_broken(ep) {
		int err = ep_sysfs(ep, "reset", "1");

		if (err)
			ktap_diag("%s: reset: %s", ep->bdf, strerror(err));
		ok = ok && !err && qom_get(ep->qom, "stat-flr");
	}
	return ok;
}

bool step_recovered(void)
{
	bool recovered = true, dma = true;

	for_each_broken(ep) {
		bool ats = ep_ats_enabled(ep) && qom_get(ep->qom, "ats-enabled");
		const char *wrong = translated_dma(ep, SLOT_PROBE);
		bool refused = canary_refused(ep);

		if (wrong)
			ktap_diag("%s: after the reset: %s", ep->bdf, wrong);
		recovered = recovered && ats && !refused;
		dma = dma && !wrong;
	}
	host_value_bool("recovered", recovered);
	host_value_bool("dma_ok_after_recovery", recovered && dma);
	incident_over();
	return true;
}

/* An incident that no reset ends */
bool step_over(void)
{
	incident_over();
	return true;
}

void report_stale(void)
{
	host_value("stale_writes_landed", "%d", stale.landed);
	host_value("stale_writes_refused", "%d", stale.refused);
	host_value("stale_writes_no_entry", "%d", stale.no_entry);
	host_value("stale_writes_other", "%d", stale.other);
}
