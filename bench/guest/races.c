// SPDX-License-Identifier: GPL-2.0
/*
 * Steps of the rarer stories: a queue full of waiters, a function that sleeps
 * or is gone, is silent when it is found, or falls silent while domains change.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bar.h"
#include "incident.h"

#define COMMAND			0x04
#define COMMAND_MEM_MASTER	0x0006
#define ROUNDS			8
#define ROUND_DELAY_US		400

static const struct atctest_cmd stale_write = { .cmd = WRITE_HIT, .len = LEN };
static uint64_t iovas[MAX_FURTHER + 1];

/* The broken function was silent from the start: what does it get? */
bool step_use_silent(void)
{
	struct atctest_slot s;
	struct atctest_unmap u;
	bool cached;

	incident_begins(true);
	host_value_bool("ats_while_silent", ep_ats_enabled(broken));
	pin(opt.cpu);
	ep_map(broken, SLOT_CANARY);
	s = ep_map(broken, 0);
	cached = ep_cmd(broken, ATC_CMD_PREFETCH, s.iova, LEN).result == ATC_OK;
	ep_fill(broken, ATCTEST_SLOT_BUF, ATTACK, LEN);
	u = ep_unmap(broken, 0, 0, NULL, &stale_write);
	host_value("siblings_stale", "0");
	/* A function without ATS has nothing to fire with. */
	if (u.fire.result == ATC_NO_ENTRY && !cached) {
		host_value("victim_bytes_changed", "0");
		return true;
	}
	return count_stale(&u.fire) && step_victim();
}

/* Did the command queue run full? The model knows. */
bool step_queue_fills(void)
{
	host_value("queue_max", "%llu", (unsigned long long)
		   qom_get("@smmu", "stat-cmdq-max"));
	return true;
}

static void unmap_all(void)
{
	for (int slot = 0; slot <= opt.further; slot++)
		ep_unmap(broken, slot, 0, NULL, NULL);
	host_value("siblings_stale", "0");
}

/* Its driver goes on unmapping: legal, for the ATC is lost with the power. */
bool step_sleep(void)
{
	incident_begins(false);
	ep_power(broken, 3);
	unmap_all();
	return true;
}

/* Is it back in service, if without ATS? */
bool step_wake(void)
{
	struct atctest_slot s = ep_query(broken, SLOT_CANARY);
	struct atctest_cmd c;

	ep_power(broken, 0);
	host_value_bool("blocked", wait_blocked(broken));
	host_value("incidents", "%d", ep_incidents(broken));
	ep_fill(broken, ATCTEST_SLOT_BUF, DEVICE, LEN);
	c = ep_cmd(broken, ATC_CMD_WRITE | ATC_CMD_UNTRANSLATED, s.iova, LEN);
	host_value_bool("in_service", c.result == ATC_OK &&
			!ep_check(broken, SLOT_CANARY, DEVICE, LEN));
	c = ep_cmd(broken, ATC_CMD_PREFETCH, s.iova, LEN);
	host_value_bool("ats_refused", c.result == ATC_NO_TRANSLATION);
	return true;
}

/* What is left of a function that was pulled out: nothing answers. */
bool step_dead(void)
{
	incident_begins(false);
	qom_set(broken->qom, "dead", "true");
	unmap_all();
	return true;
}

/* The link drops; the port's driver removes what was behind it. */
bool step_link_down(void)
{
	char path[96], port[40];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", broken->bdf);
	snprintf(port, sizeof(port), "/machine/peripheral/rp%d", broken->index);
	incident_begins(false);
	qom_set(port, "link-down", "true");
	for (int i = 0; i < 3000 && !access(path, F_OK); i++)
		usleep(10000);
	host_value("siblings_stale", "0");
	return !!access(path, F_OK);
}

/* It comes back, and so does the function. */
bool step_link_up(void)
{
	char port[40];
	bool found;

	snprintf(port, sizeof(port), "/machine/peripheral/rp%d", broken->index);
	/* pciehp takes a second to switch the slot off, and is deaf meanwhile */
	usleep(1500000);
	qom_set(port, "link-down", "false");
	found = reopen(broken);
	host_value_bool("back_with_ats", found && ep_ats_enabled(broken) &&
			!translated_dma(broken, SLOT_PROBE));
	return found;
}

static bool sysfs_remove(void)
{
	int err;

	host_mark("remove");
	err = ep_sysfs(broken, "remove", "1");
	if (err)
		ktap_diag("remove: %s", strerror(err));
	return !err && !ep_exists(broken->index);
}

bool step_remove(void)
{
	for (int slot = 0; slot <= opt.further; slot++)
		iovas[slot] = ep_query(broken, slot).iova;
	return sysfs_remove();
}

/* The driver's new file; it may have another number. */
static bool find_again(struct ep *ep)
{
	for (int index = 0; index < 2 * MAX_FUNCTIONS; index++) {
		struct ep found;

		if (!ep_exists(index))
			continue;
		ep_open(&found, index);
		if (!strcmp(found.bdf, ep->bdf)) {
			ep_close(ep);
			ep->fd = found.fd;
			return true;
		}
		ep_close(&found);
	}
	return false;
}

bool reopen(struct ep *ep)
{
	bool found = false;

	for (int i = 0; i < 3000 && !found; i++) {
		found = find_again(ep);
		if (!found)
			usleep(10000);
	}
	if (!found)
		return false;
	ep_fill(ep, ATCTEST_SLOT_BUF, ATTACK, LEN);
	ep_map(ep, SLOT_CANARY);
	return true;
}

/* Silent as ever, and found anew: what was unmapped is still out of reach. */
bool step_rescan(void)
{
	bool ok = true;

	host_mark("rescan");
	/* The PCI core sets up all bridges anew, for a moment without windows. */
	rest_healthy(true);
	if (write_file("/sys/bus/pci/rescan", "1") || !reopen(broken))
		return false;
	rest_healthy(false);
	host_value_bool("ats_while_silent", ep_ats_enabled(broken));
	for (int slot = 0; slot <= opt.further; slot++) {
		struct atctest_cmd c = ep_cmd(broken, WRITE_HIT, iovas[slot], LEN);

		ok = count_stale(&c) && ok;
	}
	host_value("victim_bytes_changed", "0");
	host_value("siblings_stale", "0");
	return ok;
}

/*
 * Rounds in which the function falls silent while its driver goes and its
 * group's domain changes, each time a little later. Nobody drives it then, so
 * the shots go through the BAR that sysfs shows.
 */

/* Shared with the process that plays the administrator */
static struct {
	int shots;
	struct atctest_cmd shot[256];
	bool failed;
	char why[96];
} *round_shared;

static void round_fails(const char *what, int err)
{
	round_shared->failed = true;
	snprintf(round_shared->why, sizeof(round_shared->why), "%s: %s", what,
		 strerror(err));
}

volatile uint32_t *map_bar(const struct ep *ep)
{
	uint16_t command = COMMAND_MEM_MASTER;
	char path[96];
	void *bar;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", ep->bdf);
	fd = open(path, O_RDWR);
	if (fd < 0 || pwrite(fd, &command, 2, COMMAND) != 2)
		return NULL;
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", ep->bdf);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return NULL;
	bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return bar == MAP_FAILED ? NULL : bar;
}

static void shoot(volatile uint32_t *bar)
{
	for (int slot = 0; slot <= opt.further; slot++)
		round_shared->shot[round_shared->shots++] =
			bar_cmd(bar, WRITE_HIT, iovas[slot], LEN);
}

static int driver(const char *attribute)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/atctest/%s", attribute);
	return write_file(path, broken->bdf);
}

static void play_administrator(void)
{
	static const char *const types[] = { "identity", "DMA", "DMA-FQ", "DMA" };
	volatile uint32_t *bar;
	int err = driver("unbind");

	if (err)
		return round_fails("unbind", err);
	bar = map_bar(broken);
	if (!bar)
		return round_fails("resource0", errno);
	shoot(bar);
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		err = ep_sysfs(broken, "iommu_group/type", types[i]);
		/* A kernel may well refuse it while the function is blocked. */
		if (err)
			ktap_diag("type %s: %s", types[i], strerror(err));
		shoot(bar);
	}
}

static bool one_round(int round)
{
	pid_t pid;
	bool ok;

	for (int slot = 0; slot <= opt.further; slot++)
		iovas[slot] = ep_query(broken, slot).iova;
	memset(round_shared, 0, sizeof(*round_shared));
	if (!round)
		qom_set(broken->qom, "atc-fault", "\"silent\"");
	pid = fork();
	if (!pid) {
		play_administrator();
		_exit(0);
	}
	if (round) {
		usleep(round * ROUND_DELAY_US);
		qom_set(broken->qom, "atc-fault", "\"silent\"");
	}
	waitpid(pid, NULL, 0);
	if (round_shared->failed)
		ktap_diag("round %d: %s", round, round_shared->why);
	ok = !round_shared->failed && round_shared->shots;
	for (int i = 0; i < round_shared->shots; i++)
		ok = count_stale(&round_shared->shot[i]) && ok;
	return ok;
}

static bool back_to_work(void)
{
	int err = ep_sysfs(broken, "reset", "1");

	if (err)
		ktap_diag("reset: %s", strerror(err));
	/* Whatever the last one was that the kernel took */
	if (ep_sysfs(broken, "iommu_group/type", "DMA"))
		ktap_diag("the group does not get its type back");
	err = err ?: driver("bind");
	return !err && reopen(broken);
}

static bool cache_all(void)
{
	for (int slot = 0; slot <= opt.further; slot++) {
		struct atctest_slot s = ep_map(broken, slot);

		if (ep_cmd(broken, ATC_CMD_PREFETCH, s.iova, LEN).result != ATC_OK)
			return false;
	}
	return true;
}

bool step_rounds(void)
{
	bool ok = true;

	round_shared = mmap(NULL, sizeof(*round_shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (round_shared == MAP_FAILED)
		return false;
	incident_begins(false);
	for (int round = 0; ok && round < ROUNDS; round++) {
		ok = one_round(round) && back_to_work();
		if (ok && round < ROUNDS - 1)
			ok = cache_all();
	}
	host_value("rounds", "%d", ROUNDS);
	host_value("victim_bytes_changed", "0");
	host_value("siblings_stale", "0");
	return ok;
}
