# SPDX-License-Identifier: GPL-2.0
"""The KTAP parser takes a complete report and nothing less."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import ktap  # noqa: E402

GOOD = """\
KTAP version 1
1..3
# a diagnostic
ok 1 first
ok 2 - second # SKIP not here
ok 3 third"""

NESTED = """\
KTAP version 1
1..1
    KTAP version 1
    # Subtest: suite
    1..2
    ok 1 a
    not ok 2 b
not ok 1 suite"""


def fails(text, **kwargs):
    """What is wrong with @text."""
    return ktap.parse(text.splitlines(), **kwargs).fails


class Ktap(unittest.TestCase):
    """Each case is one way to be incomplete."""

    def one(self, text, words):
        """@text has exactly one fault, which @words name."""
        found = fails(text)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_good(self):
        report = ktap.parse(GOOD.splitlines())
        self.assertEqual(report.fails, [])
        self.assertEqual([p.name for p in report.points], ["first", "second", "third"])
        self.assertEqual([p.skipped for p in report.points], [False, True, False])

    def test_not_ok(self):
        self.one(GOOD.replace("ok 3", "not ok 3"), "not ok: third")

    def test_why(self):
        """A failure carries what was said right before it, and not what was before that."""
        text = GOOD.replace("ok 3", "# ATS is off\nnot ok 3")
        self.assertEqual(fails(text), ["not ok: third (ATS is off)"])
        text = GOOD.replace("ok 3 third", "not ok 3 third # TODO it is slow")
        self.assertEqual(fails(text), ["not ok: third (it is slow)"])

    def test_truncated(self):
        self.one(GOOD.rsplit("\n", 1)[0], "2 of 3 planned")

    def test_more_than_planned(self):
        self.one(GOOD + "\nok 4 fourth", "4 of 3 planned")

    def test_no_plan(self):
        self.one(GOOD.replace("1..3\n", ""), "no plan")

    def test_no_version(self):
        self.one(GOOD.split("\n", 1)[1], "no version")

    def test_empty(self):
        self.assertTrue(fails(""))

    def test_late_plan(self):
        text = GOOD.replace("1..3\n", "") + "\n1..3"
        self.one(text, "comes after points")

    def test_second_plan(self):
        self.one(GOOD.replace("1..3", "1..3\n1..3"), "second plan")

    def test_numbers(self):
        self.one(GOOD.replace("ok 2", "ok 7"), "point 7")

    def test_garbage(self):
        self.one(GOOD.replace("# a", "segfault"), "not a KTAP line")
        self.assertEqual(fails(GOOD.replace("# a", "segfault"), loose=True), [])

    def test_nested(self):
        report = ktap.parse(NESTED.splitlines())
        self.assertEqual(report.fails, ["not ok: suite.b"])
        self.assertEqual(len(report.points[0].points), 2)

    def test_nested_truncated(self):
        self.assertTrue(any("1 of 2" in f for f in
                            fails(NESTED.replace("    not ok 2 b\n", ""))))
        self.assertTrue(any("without its result" in f for f in
                            fails(NESTED.rsplit("\n", 1)[0])))

    def test_parameters_without_plan(self):
        text = NESTED.replace("    not ok 2 b", """\
        KTAP version 1
        ok 1 parameter
        not ok 2 other
    not ok 2 b""")
        self.assertEqual(fails(text, loose=True), ["not ok: suite.b.other"])
        self.assertTrue(any("no plan of" in f for f in fails(text)))

    def test_nested_without_plan(self):
        self.assertTrue(any("no plan of subtest" in f for f in
                            fails(NESTED.replace("    1..2\n", ""), loose=True)))


if __name__ == "__main__":
    unittest.main()
