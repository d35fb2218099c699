# SPDX-License-Identifier: GPL-2.0
"""A litmus test that says nothing, or something else, is no proof."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import litmus  # noqa: E402


class Litmus(unittest.TestCase):
    """expected() and problem(), and the tests that there are."""

    def test_result_differs(self):
        """Another result, or none, is named."""
        out = "Observation ste-mark Sometimes 1 3\n"
        self.assertIsNone(litmus.problem("Sometimes", out))
        self.assertIn("Sometimes, not Never", litmus.problem("Never", out))
        self.assertIn("syntax", litmus.problem("Never", "File x: syntax error"))
        self.assertIn("nothing", litmus.problem("Never", ""))

    def test_no_expectation(self):
        """A test has to say what it expects."""
        self.assertEqual(litmus.expected("(*\n * Result: Never\n *)\n"), "Never")
        self.assertIsNone(litmus.expected("(* Result: Maybe *)"))

    def test_twins(self):
        """Each "Never" has a twin that lacks a step and can happen."""
        want = {p.stem: litmus.expected(p.read_text(encoding="utf-8"))
                for p in litmus.TESTS.glob("*.litmus")}
        for name in (n for n, result in want.items() if result == "Never"):
            twins = [n for n in want if n.startswith(name + "-") and want[n] == "Sometimes"]
            self.assertTrue(twins, name)


if __name__ == "__main__":
    unittest.main()
