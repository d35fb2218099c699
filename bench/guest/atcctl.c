// SPDX-License-Identifier: GPL-2.0
/* One command to one function, for a person at the guest's shell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "host.h"

static const char *const states[] = { "empty", "mapped", "unmapped", "victim" };

static void show_slot(struct atctest_slot s)
{
	printf("slot %u %s iova %#llx phys %#llx\n", s.slot, states[s.state],
	       (unsigned long long)s.iova, (unsigned long long)s.phys);
}

static void show_cmd(const struct atctest_cmd *c)
{
	static const char *const results[] = {
		"ok", "refused", "no translation", "no permission", "no entry"
	};

	printf("%s (result %#x)%s%s pa %#llx, %u entries\n",
	       c->result < 5 ? results[c->result] : "error", c->result,
	       c->flags & ATC_WAS_TRANSLATED ? " translated" : "",
	       c->flags & ATC_WAS_HIT ? " hit" : "",
	       (unsigned long long)c->pa, c->entries);
}

static void do_info(struct ep *ep, int argc, char **argv)
{
	struct atctest_info info = ep_info(ep);

	(void)argc;
	(void)argv;
	printf("%s sid %#x: ATS_CTRL.E %d, kernel's ats_enabled %u, error_state %u, irqs %u\n"
	       "error handlers: %s, calls: \"%s\"\n",
	       ep->bdf, ep->sid, ep_ats_enabled(ep), info.ats_enabled,
	       info.error_state, info.irqs, info.has_handlers ? "yes" : "no",
	       info.calls);
}

static int number(int argc, char **argv, int i, int preset)
{
	return i < argc ? (int)strtol(argv[i], NULL, 0) : preset;
}

static void do_map(struct ep *ep, int argc, char **argv)
{
	show_slot(ep_map(ep, number(argc, argv, 0, 0)));
}

static void do_unmap(struct ep *ep, int argc, char **argv)
{
	const struct atctest_cmd shot = {
		.cmd = ATC_CMD_WRITE | ATC_CMD_HIT_ONLY, .len = 64
	};
	struct atctest_unmap u = ep_unmap(ep, number(argc, argv, 0, 0),
					  ATCTEST_UNMAP_ALONE, NULL, &shot);

	printf("flushed in %llu us; stale write: ", (unsigned long long)
	       (cnt_to_ns(u.end) - cnt_to_ns(u.start)) / 1000);
	show_cmd(&u.fire);
}

static void do_handover(struct ep *ep, int argc, char **argv)
{
	printf("%s\n", ep_handover(ep, number(argc, argv, 0, 0)) ?
	       "same frame, new owner" : "the frame went elsewhere");
}

static void do_free(struct ep *ep, int argc, char **argv)
{
	ep_free(ep, number(argc, argv, 0, 0));
}

static void do_show(struct ep *ep, int argc, char **argv)
{
	show_slot(ep_query(ep, number(argc, argv, 0, 0)));
}

static void dma(struct ep *ep, uint32_t cmd, int argc, char **argv)
{
	struct atctest_slot s = ep_query(ep, number(argc, argv, 0, 0));
	struct atctest_cmd c;

	for (int i = 1; i < argc; i++)
		cmd |= !strcmp(argv[i], "untranslated") ? ATC_CMD_UNTRANSLATED :
		       !strcmp(argv[i], "hit") ? ATC_CMD_HIT_ONLY : 0;
	c = ep_cmd(ep, cmd, s.iova, 64);
	show_cmd(&c);
}

static void do_read(struct ep *ep, int argc, char **argv)
{
	dma(ep, ATC_CMD_READ, argc, argv);
}

static void do_write(struct ep *ep, int argc, char **argv)
{
	dma(ep, ATC_CMD_WRITE, argc, argv);
}

static void do_prefetch(struct ep *ep, int argc, char **argv)
{
	dma(ep, ATC_CMD_PREFETCH, argc, argv);
}

static void do_fill(struct ep *ep, int argc, char **argv)
{
	ep_fill(ep, number(argc, argv, 0, ATCTEST_SLOT_BUF),
		number(argc, argv, 1, 1), 64);
}

static void do_check(struct ep *ep, int argc, char **argv)
{
	printf("%u of 64 bytes differ\n",
	       ep_check(ep, number(argc, argv, 0, ATCTEST_SLOT_BUF),
			number(argc, argv, 1, 1), 64));
}

static void do_mark(struct ep *ep, int argc, char **argv)
{
	ep_mark(ep, number(argc, argv, 0, 0));
}

static void do_irq(struct ep *ep, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("%s\n", ep_irq(ep) ? "arrived" : "did not arrive");
}

static void do_fault(struct ep *ep, int argc, char **argv)
{
	char json[32];

	snprintf(json, sizeof(json), "\"%s\"", argc ? argv[0] : "none");
	qom_set(ep->qom, "atc-fault", json);
}

static void do_power(struct ep *ep, int argc, char **argv)
{
	ep_power(ep, number(argc, argv, 0, 0));
}

static void do_reset(struct ep *ep, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("%s\n", strerror(ep_sysfs(ep, "reset", "1")));
}

static const struct {
	const char *name, *args, *what;
	void (*run)(struct ep *ep, int argc, char **argv);
} commands[] = {
	{ "info", "", "state of the function and of its driver", do_info },
	{ "map", "[SLOT]", "allocate a page and map it", do_map },
	{ "show", "[SLOT]", "a slot's state and addresses", do_show },
	{ "prefetch", "[SLOT]", "ask for the translation", do_prefetch },
	{ "read", "[SLOT] [untranslated|hit]", "memory -> buffer", do_read },
	{ "write", "[SLOT] [untranslated|hit]", "buffer -> memory", do_write },
	{ "fill", "[SLOT] [SEED]", "fill a page (-1: the buffer)", do_fill },
	{ "check", "[SLOT] [SEED]", "compare a page (-1: the buffer)", do_check },
	{ "unmap", "[SLOT]", "unmap, then one stale write", do_unmap },
	{ "handover", "[SLOT]", "give an unmapped page to its next owner", do_handover },
	{ "free", "[SLOT]", "end of a slot", do_free },
	{ "fault", "[none|silent|silent-forever|late]", "make the ATC misbehave", do_fault },
	{ "power", "[STATE]", "PCI power state: 0 or 3", do_power },
	{ "reset", "", "through sysfs", do_reset },
	{ "mark", "[NUMBER]", "a line in the model's timeline", do_mark },
	{ "irq", "", "raise an interrupt and wait for it", do_irq },
};

#define NR_COMMANDS ((int)(sizeof(commands) / sizeof(commands[0])))

static int usage(int status)
{
	printf("usage: atcctl FUNCTION COMMAND [ARGUMENTS]\n"
	       "FUNCTION is N of /dev/atctest<N>; a slot is a page, 0 to %d.\n\n",
	       ATCTEST_SLOTS - 1);
	for (int i = 0; i < NR_COMMANDS; i++)
		printf("  %-9s %-34s %s\n", commands[i].name, commands[i].args,
		       commands[i].what);
	return status;
}

int main(int argc, char **argv)
{
	struct ep ep;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		return usage(0);
	if (argc < 3)
		return usage(2);
	for (int i = 0; i < NR_COMMANDS; i++) {
		if (strcmp(argv[2], commands[i].name))
			continue;
		if (!host_open(HOST_FD))
			return perror(HOST_PORT), 1;
		ep_open(&ep, atoi(argv[1]));
		commands[i].run(&ep, argc - 3, argv + 3);
		return 0;
	}
	return usage(2);
}
