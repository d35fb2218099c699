# SPDX-License-Identifier: GPL-2.0
"""
The verdict, with the logs of real runs: the good ones pass, and each way to
fail, seeded into a good one, fails it for the right reason.
"""

import json
import re
import sys
import unittest
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import build, expect, scenario, stress  # noqa: E402
from lib.splat import Allow  # noqa: E402
from lib.timeline import Timeline  # noqa: E402

LOGS = Path(__file__).with_name("logs")
# The fields of report.json, which others rely on
REPORT = ("scenario", "stale_writes_landed", "stale_writes_refused", "cmdq_errors", "log_lines",
          "fence_us", "innocents_fenced", "blocked", "recovered", "dma_ok_after_recovery")


class Judge:
    """The tests, for one stored run of one-silent."""

    which = None

    def setUp(self):
        self.scenario = scenario.load("one-silent")
        self.record = scenario.Record.read(LOGS / f"one-silent-{self.which}")

    def judge(self, **changes):
        """The verdict over the stored record with @changes."""
        return scenario.judge(self.scenario, self.which, replace(self.record, **changes))

    def fails(self, words, **changes):
        """With @changes the run must fail, and say @words."""
        result = self.judge(**changes)
        self.assertFalse(result["ok"])
        self.assertTrue(any(words in fail for fail in result["fails"]), result["fails"])

    def channel(self, pattern, text=None):
        """The channel's lines without those that match, or with @text in their place."""
        lines = [re.sub(pattern, text, line) if text is not None else line
                 for line in self.record.channel
                 if text is not None or not re.search(pattern, line)]
        self.assertNotEqual(lines, self.record.channel)
        return lines

    def value(self, name, value):
        """The channel with another value in the field @name."""
        return self.channel(rf'"{name}":[^}}]*', f'"{name}":{json.dumps(value)}')

    def timeline(self, pattern, text=""):
        """The model's timeline with something replaced."""
        changed = re.sub(pattern, text, self.record.timeline)
        self.assertNotEqual(changed, self.record.timeline)
        return changed

    def test_good(self):
        result = self.judge()
        self.assertEqual(result["fails"], [])
        self.assertTrue(result["ok"])

    def test_report_fields(self):
        fields = self.judge()["fields"]
        self.assertEqual([name for name in REPORT if name not in fields], [])
        json.dumps(fields)

    def test_timeline_is_in_order(self):
        story = self.judge()["timeline"]
        self.assertEqual(story[0], {"us": 0, "who": "guest", "what": "silence"})
        self.assertEqual([s["us"] for s in story], sorted(s["us"] for s in story))
        self.assertLessEqual({"guest", "model", "kernel"}, {s["who"] for s in story})

    def test_panic(self):
        self.fails("panic", console=self.record.console
                   + "[   9.0] Kernel panic - not syncing: Fatal exception\n")

    def test_hard_lockup(self):
        self.fails("hard lockup", console=self.record.console
                   + "[   9.0] watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1\n")

    def test_unexpected_splat(self):
        self.fails("WARN", console=self.record.console
                   + "[   9.0] WARNING: drivers/iommu/iommu.c:4181 at f+0x1/0x2, CPU#1\n")

    def test_idle_allowance(self):
        self.scenario.allow[self.which] = [*self.scenario.allow[self.which],
                                           Allow("no such line", "it was so once")]
        self.fails("matches nothing")

    def test_truncated_plan(self):
        self.fails("10 of 11 planned", channel=self.channel(r"^ok 11 "))

    def test_missing_plan(self):
        self.fails("no plan", channel=self.channel(r"^1\.\.11$"))

    def test_step_fails(self):
        self.fails("not ok: reset", channel=self.channel(r"^ok 9 ", "not ok 9 "))

    def test_missing_verdict(self):
        self.fails("no verdict", channel=self.channel("^@done"))

    def test_nothing_at_all(self):
        self.fails("no verdict", channel=[], console="", timeline="")

    def test_machine_trouble(self):
        self.fails("watchdog", problem="watchdog: the guest still ran after 300 s")

    def test_guest_dies_half_way(self):
        cut = next(n for n, line in enumerate(self.record.channel) if line.startswith("ok 7"))
        self.fails("6 of 11 planned", channel=self.record.channel[:cut])

    def test_missing_value(self):
        self.fails("stale_writes_landed", channel=self.channel('"stale_writes_landed"'))

    def test_value_twice(self):
        line = next(v for v in self.record.channel if '"blocked"' in v)
        self.fails("given twice", channel=[*self.record.channel, line])

    def test_ats_was_off(self):
        self.fails("was not 1 before", timeline=self.timeline('"eats":1', '"eats":0'))

    def test_no_translated_access(self):
        self.fails("no translated access", timeline=self.timeline(r'.*"translated-landed".*\n'))

    def test_model_contradicts_itself(self):
        self.fails("the model counted", timeline=self.timeline(r'.*"ev":"cerror".*\n'))

    def test_timeline_damaged(self):
        lines = self.record.timeline.splitlines()
        lines[4] = lines[4][:20]
        self.fails("line 5 is no JSON", timeline="\n".join(lines))
        # Only a line that was being written may be cut off.
        self.assertTrue(self.judge(timeline=self.record.timeline + '{"t":1')["ok"])

    def test_channel_garbage(self):
        self.fails("not a KTAP line", channel=[*self.record.channel, "Segmentation fault"])
        self.fails("no JSON", channel=[*self.record.channel, "@value {"])
        self.fails("unknown", channel=[*self.record.channel, "@kmsg-lost {}"])


class Base(Judge, unittest.TestCase):
    """The negative control has to fail in the expected way."""

    which = "base"

    def test_base_without_the_fault(self):
        self.fails("the base does not fail: stale_writes_landed",
                   channel=self.value("stale_writes_landed", 0))

    def test_base_with_one_error_only(self):
        channel = self.value("cmdq_errors", 2)
        self.fails("the base does not fail: cmdq_errors", channel=channel)

    def test_base_is_not_patched(self):
        result = scenario.judge(self.scenario, "patched", self.record)
        self.assertFalse(result["ok"])

    def test_base_that_dies(self):
        dead = "[    9.000000] Kernel panic - not syncing: Oops: Fatal exception\n"
        console = self.record.console + dead
        self.fails("panic", console=console, channel=[])
        self.scenario.base_may_die = "a reason"
        self.assertTrue(self.judge(console=console, channel=[])["ok"])
        self.fails("panic", console=dead, channel=[])

    def test_never_fenced(self):
        self.assertIsNone(self.judge()["fields"]["fence_us"])


class Patched(unittest.TestCase):
    """Runs of patched kernels, good ones and one that is too loud."""

    def judge(self, name, log):
        """The verdict over a stored run of the scenario @name."""
        return scenario.judge(scenario.load(name), "patched", scenario.Record.read(LOGS / log))

    def test_only_the_base_may_die(self):
        patched = replace(scenario.load("late-answer"), base_may_die="a reason")
        record = scenario.Record.read(LOGS / "late-answer-patched")
        record.console += "ATC invalidate timeout\nKernel panic - not syncing: Oops\n"
        self.assertFalse(scenario.judge(patched, "patched", record)["ok"])

    def test_panic_that_was_asked_for(self):
        asked = replace(scenario.load("late-answer"), patched=[], panics=r"\S+: it is dead")
        record = scenario.Record.read(LOGS / "late-answer-patched")
        console, panic = record.console, "[    9.000000] Kernel panic - not syncing: "
        for more, good in (("", False), (f"{panic}Oops\n", False),
                           (f"WARNING: a.c:1\n{panic}smmu: it is dead\n", False),
                           (f"{panic}smmu: it is dead\n", True)):
            record.console = console + more
            self.assertEqual(scenario.judge(asked, "patched", record)["ok"], good, more)
        self.assertFalse(scenario.judge(asked, "patched", replace(record, channel=[]))["ok"])

    def test_nobody_fenced(self):
        result = self.judge("late-answer", "late-answer-patched")
        self.assertEqual(result["fails"], [])
        self.assertEqual(result["fields"]["log_lines"], 0)

    def test_log_flood(self):
        result = self.judge("one-silent", "one-silent-flood")
        self.assertEqual(len(result["fails"]), 3, result["fails"])
        self.assertIn("the log floods", result["fails"][-1])
        self.assertEqual(result["fields"]["log_lines"], 9)

    def test_core_complains(self):
        record = scenario.Record.read(LOGS / "one-silent-flood")
        at = next(i for i, line in enumerate(record.channel) if "ATC invalidation" in line)
        for text, says in (("iommu: cannot be blocked: -12", "says_error"),
                           ("iommu: no recovery: -12", "says_error"),
                           ("recovery: failed: VFs in use", "says_not_recovered")):
            more = record.channel[at].split('"text":"')[0] + f'"text":"a: {text}"}}'
            channel = [*record.channel[:at + 1], more, *record.channel[at + 1:]]
            fields = scenario.judge(scenario.load("one-silent"), "patched",
                                    replace(record, channel=channel))["fields"]
            self.assertEqual(fields[says], 1, text)

    def test_but_for(self):
        """What a foreign report in the log makes useless is not looked at."""
        result = scenario.judge(scenario.load("one-silent"), "patched",
                                scenario.Record.read(LOGS / "one-silent-flood"),
                                but_for=("log_lines",))
        self.assertEqual(len(result["fails"]), 2, result["fails"])

    def test_fence(self):
        fields = self.judge("one-silent", "one-silent-flood")["fields"]
        self.assertEqual((fields["refused_by"], fields["refused_event"]), ("eats", 7))
        # Two timeouts of 10 ms; the clock starts at the end of the first.
        self.assertTrue(10_000 < fields["fence_us"] < 20_000, fields["fence_us"])

    def test_not_for_the_base(self):
        result = scenario.judge(scenario.load("late-answer"), "base",
                                scenario.Record.read(LOGS / "late-answer-patched"))
        self.assertTrue(any("the base does not fail" in fail for fail in result["fails"]))


class Fields(unittest.TestCase):
    """A check fails for a field that is missing or of another kind."""

    def test_check(self):
        check = scenario.Check("f", "<=", 4, "too many")
        self.assertIsNone(check.failure({"f": 4}))
        for fields in ({"f": 5}, {"f": None}, {"f": "4"}, {}):
            self.assertIn("too many", check.failure(fields))


class Stress(unittest.TestCase):
    """What a stress run has to get through, and what it may not see."""

    VALUES = {"seed": 7, "stale_writes_landed": 0, "translated_accesses": 10000, "unplugs": 100}

    def judge(self, silences=1000, **changes):
        """A run of half an hour with so many fences and recoveries."""
        run = stress.scenario(1800, seed=7)
        run.name = "stress"
        lines = ["@mark {\"name\":\"clock\",\"t\":0}", "KTAP version 1", "1..1", "ok 1 works",
                 "@kmsg {\"seq\":1,\"us\":1,\"level\":6,\"text\":\"atc-bench: silence\"}"]
        lines += ["@kmsg {\"seq\":1,\"us\":1,\"level\":3,\"text\":\"x: ATC invalidation timeout\"}",
                  "@kmsg {\"seq\":1,\"us\":1,\"level\":6,\"text\":\"x: iommu: recovered\"}"] * silences
        lines += [f"@value {json.dumps({**self.VALUES, **changes})}", "@done {}"]
        return scenario.judge(run, "patched", scenario.Record(
            channel=lines, console="x: ATC invalidation timeout"))

    def test_good(self):
        self.assertEqual(self.judge()["fails"], [])

    def test_too_little(self):
        for few in ({"silences": 999}, {"unplugs": 99}, {"translated_accesses": 10}):
            self.assertFalse(self.judge(**few)["ok"], few)

    def test_stale_write(self):
        self.assertFalse(self.judge(stale_writes_landed=1)["ok"])

    def test_scaled(self):
        self.assertEqual(stress.at_least(1800), stress.PER_HALF_HOUR)
        self.assertEqual(stress.at_least(18), {"says_fenced": 10, "says_recovered": 10,
                                               "unplugs": 1})


class Events(unittest.TestCase):
    """Fields that are computed from the model's events."""

    def timeline(self, *events):
        """A timeline of an incident that began at 0."""
        return Timeline(events=[dict(e, t=n) for n, e in enumerate(events, 1)],
                        mark_lines=[{"name": "silence", "t": 0}])

    def test_eats_back_on(self):
        error = {"ev": "cerror"}
        off, on = ({"ev": "cfgi-ste", "sid": 8, "eats": eats} for eats in (0, 1))
        other, reset = dict(on, sid=9), {"ev": "flr", "sid": 8}
        for events, times in (((error, off, on, on), 2), ((error, off, other), 0),
                              ((error, off, reset, on), 0), ((off, on), 0),
                              ((error, on), 0), ((error, off, dict(reset, sid=9), on), 1)):
            with self.subTest(events=events):
                back = scenario._eats_back_on(self.timeline(*events), {8})
                self.assertEqual(back, times)

    def test_taken_along(self):
        """A reset that takes neighbours along fences nobody."""
        events = "".join(json.dumps({"ev": "cfgi-ste", "sid": 2, "eats": 0, "t": t}) + "\n"
                         for t in (150, 250))
        channel = ["@function {\"sid\":1,\"bdf\":\"a\",\"broken\":true}",
                   "@function {\"sid\":2,\"bdf\":\"b\",\"broken\":false}"]
        marks = [("silence", 100), ("neighbours", 140), ("neighbours end", 160)]
        channel += [f"@mark {json.dumps({'name': name, 't': t})}" for name, t in marks]
        run = scenario.load("one-silent")

        def fenced(timeline):
            return scenario.judge(run, "patched", scenario.Record(channel, "", timeline))[
                "fields"]["innocents_fenced"]

        self.assertEqual(fenced(events), 1)
        self.assertEqual(fenced(events.splitlines()[0] + "\n"), 0)

    def test_smmu_aborts(self):
        gbpa = {"ev": "gbpa", "val": 1 << 20}
        off, on = {"ev": "cr0", "val": 0x1c}, {"ev": "cr0", "val": 0x1d}
        for events, aborts in (((on, gbpa, off), True), ((on, off), False),
                               ((gbpa, on), False), ((), False),
                               ((gbpa, off, on), False)):
            with self.subTest(events=events):
                self.assertEqual(scenario._smmu_aborts(self.timeline(*events)), aborts)

    def test_from_boot(self):
        timeline = self.timeline({"ev": "cerror"})
        timeline.mark_lines = [{"name": "silence", "t": 5}]
        self.assertEqual(timeline.incident(), [])
        timeline.from_boot = True
        self.assertEqual(len(timeline.incident()), 1)


class Faults(unittest.TestCase):
    """A story about stalled accesses, made up: three of them, and their responses."""

    def setUp(self):
        self.scenario = replace(scenario.load("iopf-sva"), patched=expect.FAULTS_ANSWERED,
                                allow={})
        self.values = {"stalled": 3, "retried": 2, "aborted": 1, "unmatched": 0,
                       "parked_at_end": 0, "waiting_accesses": 0, "damage": ""}
        self.events = [{"t": n, "ev": "stall", "sid": 256, "stag": n} for n in range(3)]
        self.events += [{"t": 9, "ev": "resume", "sid": 256, "stag": n, "action": action}
                        for n, action in enumerate(("retry", "retry", "abort"))]
        self.console = ""

    def fails(self):
        """What the verdict says."""
        channel = ['@mark {"name":"clock","t":1}', "KTAP version 1", "1..1", "ok 1 all",
                   "@value " + json.dumps(self.values), '@done {"status":0}']
        timeline = "".join(json.dumps(event) + "\n" for event in self.events)
        return scenario.judge(self.scenario, "patched",
                              scenario.Record(channel, self.console, timeline))["fails"]

    def test_good(self):
        self.assertEqual(self.fails(), [])

    def test_counts(self):
        for name in ("stalled", "retried", "aborted", "unmatched"):
            with self.subTest(name=name):
                self.setUp()
                self.values[name] += 1
                self.assertTrue(any(f"accesses {name}" in fail for fail in self.fails()))

    def test_nothing_stalled(self):
        self.events = []
        self.values.update(stalled=0, retried=0, aborted=0)
        self.assertEqual(self.fails(), ["no access was stalled"])

    def test_left_behind(self):
        for name in ("parked_at_end", "waiting_accesses"):
            with self.subTest(name=name):
                self.setUp()
                self.values[name] = 1
                self.assertEqual(len(self.fails()), 1)

    def test_damage(self):
        self.values["damage"] = "memory"
        self.console = "[    1.0] BUG: KASAN: slab-use-after-free in x+0x1/0x2\n"
        self.assertEqual(len(self.fails()), 2)


class Scenarios(unittest.TestCase):
    """Every scenario can be loaded and has both sides."""

    def test_all(self):
        self.assertIn("one-silent", scenario.names())
        for name in scenario.names():
            with self.subTest(name=name):
                loaded = scenario.load(name)
                self.assertTrue(loaded.patched and loaded.base and loaded.title)
                self.assertIn("base", loaded.timeout_s)
                self.assertTrue(build._fragments(loaded.config))
                for entries in loaded.allow.values():
                    self.assertTrue(all(entry.reason for entry in entries))

    def test_unknown(self):
        with self.assertRaises(ValueError):
            scenario.load("no-such-scenario")


if __name__ == "__main__":
    unittest.main()
