# SPDX-License-Identifier: GPL-2.0
"""
Where the instructions of an unmap, or of a page fault, go, by function: what
`make bench` adds when a limit is missed. QEMU executes one instruction per
translation block and logs each; System.map names the function. Maps are in it,
too: they cost the same.
"""

import bisect
import re
from collections import Counter
from dataclasses import replace

from . import cost, paths

_ACCEL = "tcg,thread=single,one-insn-per-tb=on"
MACHINE = replace(cost.MACHINE, accel=_ACCEL)
FAULTS_MACHINE = replace(cost.FAULTS_MACHINE, accel=_ACCEL)
# As many as the guest's program runs with --trace, with those that warm up
UNMAPS = 128
FAULTS = 64
# Less than an instruction per unmap is noise of the first and the last one.
_LEAST = 1.0
_MODULES = "(outside of the kernel)"
_EXECUTED = re.compile(r"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")


class Symbols:
    """The functions of a kernel."""

    def __init__(self, text):
        rows = sorted((int(address, 16), name) for address, kind, name in
                      (line.split() for line in text.splitlines()) if kind in "tTwW")
        self.addresses = [row[0] for row in rows]
        self.names = [row[1] for row in rows]
        self.end = next((a for a, n in rows if n == "_etext"), self.addresses[-1])

    def name(self, address):
        """The function that @address is in."""
        if not self.addresses[0] <= address < self.end:
            return _MODULES
        return self.names[bisect.bisect_right(self.addresses, address) - 1]


def count(lines, symbols, times_run=UNMAPS):
    """Instructions of each function, per run, from the lines of QEMU's log."""
    executed = Counter(match[1] for line in lines if (match := _EXECUTED.match(line)))
    found = Counter()
    for address, times in executed.items():
        found[symbols.name(int(address, 16))] += times / times_run
    return found


def measure(name, found, emulator, programs):
    """Lines that say which functions differ in the measurement @name."""
    machine, words, times_run = (MACHINE, cost.arguments(name, "--trace"), UNMAPS) \
        if name != "fault" else (FAULTS_MACHINE, ["cost", "--trace", "--faults", "0"], FAULTS)
    counts = []
    for which in ("base", "patched"):
        kernel = found[which]
        outdir = paths.OUT / "bench" / f"trace-{name}-{which}"
        log = outdir / "exec.log"
        cost.boot(machine, outdir, kernel, emulator, programs, words, ("-D", str(log)))
        symbols = Symbols((kernel["image"].parent / "System.map").read_text(encoding="ascii"))
        with open(log, encoding="utf-8", errors="replace") as lines:
            counts.append(count(lines, symbols, times_run))
        log.unlink()
    return table(*counts)


def table(base, patched):
    """The functions that differ, the greatest difference first."""
    rows = sorted((base[name] - patched[name], name) for name in {*base, *patched}
                  if abs(base[name] - patched[name]) >= _LEAST and name != _MODULES)
    return [f"{name:44}{base[name]:10.1f}{patched[name]:10.1f}{-less:+10.1f}"
            for less, name in rows]
