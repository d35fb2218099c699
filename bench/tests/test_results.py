# SPDX-License-Identifier: GPL-2.0
"""The closing lines of a run."""

import io
import sys
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import jobs  # noqa: E402


def closed(results, planned=None):
    """(exit code, the lines on standard output) of results.close()."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(io.StringIO()):
        code = results.close(planned)
    return code, said.getvalue().splitlines()


class Close(unittest.TestCase):
    """Results.close()"""

    def setUp(self):
        self.results = jobs.Results()

    def add(self, *args, **kwargs):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            self.results.add(*args, **kwargs)

    def test_all_pass(self):
        self.add("a")
        self.add("b")
        self.assertEqual(closed(self.results, ["a", "b"]), (0, ["2 passed, 0 failed"]))

    def test_failures_are_repeated_before_the_closing_line(self):
        self.add("a")
        self.add("b", "it broke")
        self.assertEqual(closed(self.results),
                         (1, ["failed: b: it broke", "1 passed, 1 failed"]))

    def test_many_failures_are_counted(self):
        for number in range(jobs.AT_THE_END + 3):
            self.add(f"n{number}", "no")
        code, lines = closed(self.results)
        self.assertEqual(code, 1)
        self.assertEqual(lines[-2], "failed: 3 more, see above")
        self.assertEqual(len(lines), jobs.AT_THE_END + 2)

    def test_planned_but_missing_and_unplanned(self):
        self.add("new")
        code, lines = closed(self.results, ["old"])
        self.assertEqual(code, 1)
        self.assertEqual(lines[-1], "0 passed, 2 failed")

    def test_skipped_is_neither(self):
        self.add("a")
        self.add("b", skipped=True)
        self.assertEqual(closed(self.results), (0, ["1 passed, 0 failed, 1 skipped"]))

    def test_nothing_ran(self):
        self.assertEqual(closed(self.results), (1, ["0 passed, 0 failed"]))


class Plan(unittest.TestCase):
    """bench/plan"""

    def test_each_test_of_the_harness_is_planned(self):
        def names(suite):
            for test in suite:
                if isinstance(test, unittest.TestSuite):
                    yield from names(test)
                else:
                    yield f"harness.{test.id()}"

        found = names(unittest.TestLoader().discover(str(Path(__file__).parent)))
        self.assertEqual(sorted(set(found) ^ set(jobs.plan("harness"))), [])

    def cases(self, release, source):
        """What planned_cases() makes of a plan with two cases, and what it says."""
        names = ["kunit.complete", "kunit.suite.test_a", "kunit.suite.test_b.1 entry"]
        said = io.StringIO()
        with mock.patch.multiple(jobs.series, release_of=lambda commit: release,
                                 git=lambda *args: source), \
                mock.patch.object(jobs, "plan", lambda part: names), \
                redirect_stdout(said), redirect_stderr(said):
            return jobs.planned_cases("commit"), said.getvalue()

    def test_a_base_with_its_own_patches_has_their_cases(self):
        names, said = self.cases("7.2", "\tKUNIT_CASE_PARAM(test_b, gen),\n")
        self.assertEqual(names, ["kunit.complete", "kunit.suite.test_b.1 entry"])
        self.assertIn("kunit.suite.test_a: the patches for linux 7.2 do not have it", said)

    def test_any_other_base_has_all_cases(self):
        names, said = self.cases("7.1", "")
        self.assertEqual((len(names), said), (3, ""))


if __name__ == "__main__":
    unittest.main()
