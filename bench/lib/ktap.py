# SPDX-License-Identifier: GPL-2.0
"""
A strict KTAP parser.

A run that stops half way must never look like a good one, so whatever is not
a complete report is an error: no version line, no plan, fewer or more points
than planned, numbers out of order, lines of another kind.
"""

import re
from dataclasses import dataclass, field

SAID = 4  # lines of diagnostics that go with a failure

_VERSION = re.compile(r"(?:KTAP|TAP) version \d+$")
_PLAN = re.compile(r"1\.\.(\d+)(?: # SKIP.*)?$")
_POINT = re.compile(r"(ok|not ok) (\d+)(?: -)?(?: (?!#)(.*?))?(?: # (\w+)\b ?(.*))?$")


@dataclass
class Point:
    """One result line; @points are those of its subtest, @said the diagnostics before it."""
    number: int
    name: str
    ok: bool
    directive: str = ""
    reason: str = ""
    points: list = field(default_factory=list)
    said: list = field(default_factory=list)

    @property
    def skipped(self):
        """Skipped is neither passed nor failed."""
        return self.directive.upper() == "SKIP"

    @property
    def why(self):
        """Why it failed, in a line: what was said last before it."""
        return "; ".join([self.reason] * bool(self.reason) + self.said[-SAID:])


@dataclass
class Report:
    """What a KTAP text says, and what is wrong with the text itself."""
    points: list = field(default_factory=list)
    diagnostics: list = field(default_factory=list)
    errors: list = field(default_factory=list)

    def leaves(self, points=None, path=""):
        """(full name, point) of each point without points of its own."""
        for point in self.points if points is None else points:
            name = f"{path}{point.name}"
            if point.points:
                yield from self.leaves(point.points, name + ".")
            else:
                yield name, point

    @property
    def fails(self):
        """One line for each thing that is not as it should be."""
        bad = [f"not ok: {name}" + f" ({point.why})" * bool(point.why)
               for name, point in self.leaves() if not point.ok and not point.skipped]
        return self.errors + bad


def parse(lines, loose=False):
    """
    Parse KTAP. @loose is for a kernel's console: lines of another kind are
    ignored, and the parameters of a KUnit case need no plan, for a generator
    does not know how many it will make.
    """
    report = Report()
    rows = []
    said = []
    for line in lines:
        line = line.rstrip("\r\n")
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if not text:
            continue
        if text.startswith("#"):
            report.diagnostics.append(text)
            said.append(text.lstrip("# "))
        elif _VERSION.match(text) or _PLAN.match(text) or _POINT.match(text):
            rows.append((indent, text, said))
            said = []
        elif not loose:
            report.errors.append(f"KTAP: not a KTAP line: {text[:80]}")
    report.points, used = _block(rows, 0, 0, report.errors, "", 2 if loose else None)
    if used < len(rows):
        report.errors.append(f"KTAP: nothing may follow the plan: {rows[used][1][:80]}")
    return report


def _block(rows, at, indent, errors, where, levels):
    """
    One level of indentation: (its points, the row after it). Below @levels
    more levels a plan is not needed.
    """
    points, nested = [], []
    plan = None
    version = False
    name = f" of {where}" if where else ""
    while at < len(rows):
        depth, text, said = rows[at]
        if depth < indent:
            break
        if depth > indent:
            inner, at = _block(rows, at, depth, errors, f"subtest after {len(points)}",
                                None if levels is None else levels - 1)
            nested.extend(inner)
            continue
        if _VERSION.match(text):
            if version:
                errors.append(f"KTAP: a second version line{name}")
            version = True
        elif match := _PLAN.match(text):
            if plan is not None:
                errors.append(f"KTAP: a second plan{name}")
            if points:
                errors.append(f"KTAP: the plan{name} comes after points")
            plan = int(match[1])
        else:
            word, number, title, directive, reason = _POINT.match(text).groups()
            points.append(Point(int(number), title or f"#{number}", word == "ok",
                                directive or "", reason or "", nested, said))
            nested = []
            if points[-1].number != len(points):
                errors.append(f"KTAP: point {number}{name} should be {len(points)}")
        at += 1
    if not version and not where:
        errors.append("KTAP: no version line")
    if plan is None:
        if levels is None or levels > 0:
            errors.append(f"KTAP: no plan{name}")
    elif plan != len(points):
        errors.append(f"KTAP: {len(points)} of {plan} planned points{name}")
    if nested:
        errors.append(f"KTAP: a subtest{name} without its result")
    return points, at
