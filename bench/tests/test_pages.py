# SPDX-License-Identifier: GPL-2.0
"""The pages name files and tests that exist."""

import fnmatch
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import jobs, paths, scenario  # noqa: E402

TOP = paths.BENCH.parent


def broken_links(page, text):
    """The targets of @text, which is the page @page, that are no files."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?m)^\[[^]]+\]:\s*(\S+)$", text)
    labels = {label.lower() for label in re.findall(r"(?m)^\[([^]]+)\]:", text)}
    return ([target for target in targets
             if "://" not in target and not (page.parent / target.split("#")[0]).exists()]
            + [label for label in re.findall(r"\]\[([^]]+)\]", text)
               if label.lower() not in labels])


def unknown_tests(text):
    """The tests and scenarios of the tables of doc/review.md that do not exist."""
    known = scenario.names()
    for name in jobs.plan("kunit"):
        known += [part.removeprefix("arm_smmu_v3_atc_test_") for part in name.split(".")[1:]]
    rows = [row.split("|")[1:-1] for row in text.splitlines() if row.startswith("| ")]
    named = [name for row in rows if row[0].strip() != "topic"
             for name in re.findall(r"`([\w*-]+)`", row[-1])]
    for row in rows:
        for only in re.findall(r"`make scenarios ONLY=([\w,-]+)`", row[-1]):
            named += only.split(",")
    return [name for name in named if not fnmatch.filter(known, name)]


class Pages(unittest.TestCase):
    """README.md and doc/"""

    def test_links(self):
        for page in [TOP / "README.md", *sorted((TOP / "doc").glob("*.md"))]:
            with self.subTest(page=page.name):
                self.assertEqual(broken_links(page, page.read_text(encoding="utf-8")), [])

    def test_a_link_that_leads_nowhere_is_found(self):
        page = TOP / "doc" / "review.md"
        text = ("[a](bench.md#x) [b](none.md) [1][smmu 1] [2][smmu 2]\n\n"
                "[smmu 1]: ../series/0001-gone.patch\n")
        self.assertEqual(broken_links(page, text),
                         ["none.md", "../series/0001-gone.patch", "smmu 2"])

    def test_tests_of_the_review_page(self):
        text = (TOP / "doc" / "review.md").read_text(encoding="utf-8")
        self.assertEqual(unknown_tests(text), [])

    def test_an_unknown_test_is_found(self):
        text = ("| topic | test |\n|---|---|\n"
                "| x | `eight_of_eight`, `ste_*`; scenario `one-silent`, `one-noisy` |\n"
                "| y | `make scenarios ONLY=vfio,lost` |\n")
        self.assertEqual(unknown_tests(text), ["one-noisy", "lost"])


if __name__ == "__main__":
    unittest.main()
