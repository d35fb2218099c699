# SPDX-License-Identifier: GPL-2.0
"""The cost table: what is within the limits passes, and each excess is found."""

import copy
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import cost  # noqa: E402


def run(instructions, ats=True):
    """What the guest says about one measurement."""
    return {"ticks": 100 * (instructions + 4), "empty": 400, "min": 1, "max": 1,
            "iterations": 100, "ats": ats}


BASE = {"cost_none": run(1000, False), "cost_one": run(2000), "cost_many": run(9000),
        "cost_again": run(9000), "cost_canary": run(2200),
        "sizes_none": {"inv": 32, "cmdq": 128, "lock": 4}}


FAULTS = {"cost_attach": 10000, "cost_replace": 10000, "cost_detach": 10000,
          "cost_fault": 10000, "cost_fault_canary": 14000}


class Faults(unittest.TestCase):
    """Rows about page faults."""

    def missed(self, again=None, **changes):
        """The names of the rows that miss their limit."""
        patched = {**FAULTS, **changes}
        again = again or (FAULTS, patched)
        return [row.name for row in cost.fault_rows(FAULTS, patched, again) if not row.ok]

    def test_good(self):
        self.assertEqual(self.missed(), [])

    def test_limit(self):
        self.assertEqual(self.missed(cost_fault=10050), [])
        self.assertEqual(self.missed(cost_fault=10051), ["instructions-fault"])
        # What has no limit is shown
        self.assertEqual(self.missed(cost_detach=20000), [])

    def test_canary_is_lost(self):
        self.assertEqual(self.missed(cost_fault_canary=10050), ["canary-fault"])

    def test_repeats(self):
        for name in ("attach", "replace", "detach", "fault"):
            other = {**FAULTS, f"cost_{name}": FAULTS[f"cost_{name}"] + 1}
            self.assertEqual(self.missed(again=(FAULTS, other)), ["repeats-faults"])
            self.assertEqual(self.missed(again=(other, FAULTS)), ["repeats-faults"])


class Cost(unittest.TestCase):
    """Rows over made-up counts."""

    def setUp(self):
        self.patched = copy.deepcopy(BASE)

    def missed(self):
        """The names of the rows that miss their limit."""
        return [row.name for row in cost.count_rows(BASE, self.patched) if not row.ok]

    def test_good(self):
        self.assertEqual(self.missed(), [])

    def test_limits(self):
        for name, limit in (("none", 1005), ("one", 2040), ("many", 9180)):
            with self.subTest(name=name):
                self.patched = copy.deepcopy(BASE)
                self.patched[f"cost_{name}"]["ticks"] = 100 * (limit + 4)
                self.assertEqual(self.missed(), [])
                self.patched[f"cost_{name}"]["ticks"] += 1
                self.assertEqual(self.missed(), [f"instructions-{name}"])

    def test_cheaper_is_good(self):
        self.patched["cost_none"]["ticks"] //= 2
        self.assertEqual(self.missed(), [])

    def test_canary_is_lost(self):
        self.patched["cost_canary"] = run(2040)
        self.assertEqual(self.missed(), ["canary"])

    def test_repeats(self):
        self.assertTrue(cost.repeat_row((BASE, BASE), (BASE, self.patched)).ok)
        for name in ("none", "one", "many", "again", "canary"):
            with self.subTest(name=name):
                self.patched = copy.deepcopy(BASE)
                self.patched[f"cost_{name}"]["ticks"] -= 1
                row = cost.repeat_row((BASE, BASE), (BASE, self.patched))
                self.assertEqual((row.ok, row.patched), (False, 1))
        row = cost.repeat_row((self.patched, BASE), (self.patched, BASE))
        self.assertTrue(row.ok)
        self.patched["cost_again"]["ticks"] -= 1
        self.assertFalse(cost.repeat_row((self.patched, BASE), (self.patched, BASE)).ok)

    def test_ats(self):
        self.patched["cost_one"]["ats"] = False
        self.assertEqual(self.missed(), ["ats"])

    def test_sizes(self):
        for key, limit in (("inv", 8), ("cmdq", 16)):
            with self.subTest(key=key):
                self.patched = copy.deepcopy(BASE)
                self.patched["sizes_none"][key] += limit
                self.assertEqual(self.missed(), [])
                self.patched["sizes_none"][key] += 1
                self.assertEqual(self.missed(), [f"sizeof-{key}"])

    def test_incident(self):
        fields = {(name, which): {"cmdq_errors": 2, "log_lines": 4, "fence_us": 5.0,
                                  "unmap_us": 6} for name in cost.INCIDENTS
                  for which in ("base", "patched")}
        self.assertTrue(all(row.ok for row in cost.incident_rows(fields)))
        for scenario, field, bad in (
                ("one-silent", "cmdq_errors", 3), ("one-silent", "log_lines", 5),
                ("gerror-polling-cpu", "fence_us", None),
                ("gerror-polling-cpu", "unmap_us", 1000000)):
            with self.subTest(field=field):
                changed = copy.deepcopy(fields)
                changed[(scenario, "patched")][field] = bad
                self.assertEqual(sum(not row.ok for row in cost.incident_rows(changed)), 1)

    def test_table(self):
        self.patched["cost_one"]["ticks"] *= 2
        lines = cost.table(cost.count_rows(BASE, self.patched))
        self.assertEqual(sum(line.endswith("MISSED") for line in lines), 1)
        self.assertEqual(sum(line.endswith("ok") for line in lines), len(lines) - 3)


if __name__ == "__main__":
    unittest.main()
