# SPDX-License-Identifier: GPL-2.0
"""
What a kernel says when it is unwell.

An allowed pattern is a hole in the scan, so each one has its reason, and is
an error itself as soon as it matches nothing.
"""

import re
from dataclasses import dataclass

# (pattern, what it is); the first that matches a line names it
PATTERNS = [(re.compile(pattern), what) for pattern, what in [
    (r"Kernel panic - not syncing", "panic"),
    (r"Internal error: |Oops(?: -|:)", "oops"),
    (r"Unable to handle kernel ", "bad access"),
    (r"Unhandled fault|SError Interrupt", "fault"),
    (r"kernel BUG at ", "BUG"),
    (r"BUG: KASAN", "KASAN"),
    (r"BUG: KCSAN", "KCSAN"),
    (r"BUG: KFENCE", "KFENCE"),
    (r"UBSAN: ", "UBSAN"),
    (r"BUG: sleeping function|BUG: scheduling while atomic", "sleep in atomic context"),
    (r"soft lockup", "soft lockup"),
    (r"[Hh]ard LOCKUP", "hard lockup"),
    (r"rcu.*(?:detected (?:expedited )?stalls|self-detected stall)|rcu.*kthread starved",
     "RCU stall"),
    (r"INFO: task .* blocked for more than", "hung task"),
    (r"workqueue: .* hogged CPU", "hogged workqueue"),
    (r"WARNING: possible (?:circular|recursive) locking|inconsistent lock state"
     r"|trying to register non-static key"
     r"|possible irq lock inversion|suspicious RCU usage|held lock freed"
     r"|BUG: Invalid wait context|bad unlock balance|locks? held when returning", "lockdep"),
    (r"refcount_t: ", "refcount"),
    (r"list_(?:add|del) corruption", "list corruption"),
    (r"Bad page (?:state|map)|page allocation failure|Out of memory", "memory"),
    (r"BUG: ", "BUG"),
    (r"WARNING: ", "WARN"),
    (r"unreferenced object|kmemleak: \d+ new", "leak"),
    (r"nobody cared", "lost interrupt"),
    (r"CMDQ error|unexpected global error|CMD_SYNC timeout", "SMMU command queue"),
    (r"event 0x[0-9a-f]+ received|event: \w+ client:", "SMMU event"),
    (r"ATC invalidation timeout", "ATC timeout"),
    (r"iommu: .*cannot be (?:blocked|re-attached)", "IOMMU core"),
    (r"Call trace:|Modules linked in:", "trace without a heading"),
]]

# A trace within so many lines after a heading belongs to it.
TRACE_LINES = 80


@dataclass(frozen=True)
class Allow:
    """
    A pattern that a run is expected to show, and why. @rare: not each run does, as
    what happens is left to chance there.
    """
    pattern: str
    reason: str
    rare: bool = False


def scan(text, allow=()):
    """One line for each splat that is not allowed, and for each idle allowance."""
    for entry in allow:
        if not entry.reason.strip():
            raise ValueError(f"allowance without a reason: {entry.pattern}")
    allowed = [(re.compile(entry.pattern), entry) for entry in allow]
    used = set()
    fails = []
    heading = None
    for number, line in enumerate(text.splitlines(), 1):
        what = next((what for pattern, what in PATTERNS if pattern.search(line)), None)
        if what is None:
            continue
        if what.startswith("trace"):
            if heading is not None and number - heading <= TRACE_LINES:
                continue
        else:
            heading = number
        hits = [entry for pattern, entry in allowed if pattern.search(line)]
        used.update(hits)
        if not hits:
            fails.append(f"console line {number}: {what}: {line.strip()[:160]}")
    fails.extend(f"allowance matches nothing any more: {entry.pattern} ({entry.reason})"
                 for entry in allow if entry not in used and not entry.rare)
    return fails
