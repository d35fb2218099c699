# SPDX-License-Identifier: GPL-2.0
"""The coverage report: a gap needs a reason, and a reason a gap."""

import io
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import cover, jobs  # noqa: E402

TEXT = """\
int f(int a)
{
	if (a)
		g();
	h(a);
	return 0;
}
"""
# line: (count, counts of its branches)
ALL = {3: (2, [1, 1]), 4: (1, []), 5: (2, []), 6: (2, [])}


class Counters:
    """Those of one run."""
    runs, by_run = 1, {}

    def __init__(self, counts):
        self.counts = counts

    def lines(self, _name):
        return self.counts


class Report(unittest.TestCase):
    """cover.report()"""

    def report(self, counts, reasons="", lines=(3, 4, 5, 6)):
        """{name of a result: why it is bad, or None}."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            (out / "cover.ini").write_text(reasons, encoding="utf-8")
            results = jobs.Results()
            with mock.patch.object(cover, "OUT", out), \
                    mock.patch.object(cover, "REASONS", out / "cover.ini"), \
                    mock.patch.object(cover.mutants, "added_lines",
                                      lambda _: {"d/f.c": (TEXT, set(lines))}), \
                    mock.patch.object(cover, "blame", lambda *_: dict.fromkeys(lines, "c1")), \
                    mock.patch.object(cover.series, "base", lambda: "c0"), \
                    mock.patch.object(cover.series, "git", lambda *_: "c1"), \
                    redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                cover.report(results, "c1", Counters(counts))
            self.text = (out / "report.txt").read_text(encoding="utf-8")
            return results.all

    def test_all_executed(self):
        self.assertEqual(self.report(ALL), {"cover.lines": None, "cover.branches": None})

    def test_line_not_executed(self):
        got = self.report({**ALL, 4: (0, [])})
        self.assertIn("1 lines", got["cover.lines"])
        self.assertIsNone(got["cover.branches"])
        self.assertIn("d/f.c:4: f: g();", self.text)

    def test_one_way_only(self):
        got = self.report({**ALL, 3: (2, [2, 0])})
        self.assertIsNone(got["cover.lines"])
        self.assertIn("1 lines", got["cover.branches"])
        self.assertIn("d/f.c:3: f: 1 of 2 branches: if (a)", self.text)

    def test_branches_of_a_macro(self):
        got = self.report({**ALL, 5: (2, [2, 0])})
        self.assertIsNone(got["cover.branches"])

    def test_reasons(self):
        got = self.report({**ALL, 3: (2, [2, 0]), 4: (0, [])},
                          "[d/f.c]\nf: g(); => never\nf: branch: if (a) => always\n")
        self.assertEqual(got, {"cover.lines": None, "cover.branches": None})
        self.assertIn("(always)", self.text)

    def test_stale_reason(self):
        got = self.report(ALL, "[d/f.c]\nf: g(); => never\n")
        self.assertIn("cover.reason.d/f.c: f: g();", got)

    def test_reason_for_another_function(self):
        got = self.report({**ALL, 4: (0, [])}, "[d/f.c]\nh: g(); => never\n")
        self.assertIn("1 lines", got["cover.lines"])
        self.assertIn("cover.reason.d/f.c: h: g();", got)

    def test_nothing_counted(self):
        got = self.report({})
        self.assertEqual(got["cover.lines"], "nothing was counted")
        self.assertIn("not in kernels", got["cover.file.d/f.c"])


if __name__ == "__main__":
    unittest.main()
