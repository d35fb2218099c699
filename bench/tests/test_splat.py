# SPDX-License-Identifier: GPL-2.0
"""The scan finds each kind of splat, and an allowance has to earn its keep."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import splat  # noqa: E402

# What each kind looks like in a log; the words after "!" name it.
SPLATS = """
Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ! panic
Internal error: Oops: 0000000096000004 [#1]  SMP ! oops
Unable to handle kernel NULL pointer dereference at virtual address 0 ! bad access
kernel BUG at drivers/iommu/iommu.c:100! ! BUG
BUG: KASAN: slab-use-after-free in f+0x10/0x20 ! KASAN
BUG: KCSAN: data-race in f / g ! KCSAN
BUG: sleeping function called from invalid context at mm/slub.c:1 ! sleep
BUG: scheduling while atomic: a/1/0x00000002 ! sleep
watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [incident:61] ! soft lockup
watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1 ! hard lockup
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks: ! RCU stall
rcu: INFO: rcu_preempt self-detected stall on CPU ! RCU stall
rcu: rcu_preempt kthread starved for 5254 jiffies! ! RCU stall
INFO: task incident:61 blocked for more than 120 seconds. ! hung task
WARNING: possible circular locking dependency detected ! lockdep
WARNING: suspicious RCU usage ! lockdep
INFO: trying to register non-static key. ! lockdep
WARNING: CPU: 1 PID: 61 at drivers/iommu/iommu.c:1 f+0x1/0x2 ! WARN
WARNING: drivers/iommu/iommu.c:4181 at f+0x1/0x2, CPU#1: incident/61 ! WARN
refcount_t: underflow; use-after-free. ! refcount
list_add corruption. next->prev should be prev ! list corruption
UBSAN: array-index-out-of-bounds in drivers/a.c:1 ! UBSAN
irq 20: nobody cared (try booting with the "irqpoll" option) ! lost interrupt
arm-smmu-v3 9050000.smmuv3: CMDQ error (cons 0x03000010): ATC invalidate timeout ! SMMU
arm-smmu-v3 9050000.smmuv3: event 0x07 received: ! SMMU event
Call trace: ! trace
"""

QUIET = """\
[    0.4] rcu: Hierarchical RCU implementation.
[    0.5] atctest: loading out-of-tree module taints kernel.
[    0.6] pci 0000:01:00.0: BAR 0 [mem 0x8000000000-0x800000ffff 64bit]: assigned
[    0.7] Run /init as init process"""


class Splat(unittest.TestCase):
    """Finding, allowing, and no longer needing to."""

    def test_each_kind(self):
        for line in SPLATS.strip().splitlines():
            text, what = line.rsplit(" ! ", 1)
            with self.subTest(what=what):
                found = splat.scan(f"{QUIET}\n[    1.0] {text}\n{QUIET}")
                self.assertEqual(len(found), 1, found)
                self.assertIn(what, found[0])
                self.assertIn("line 5", found[0])

    def test_quiet(self):
        self.assertEqual(splat.scan(QUIET), [])

    def test_trace_belongs_to_its_heading(self):
        self.assertEqual(len(splat.scan("watchdog: BUG: soft lockup - x\nCall trace:\n")), 1)
        far = "\n" * (splat.TRACE_LINES + 1)
        self.assertEqual(len(splat.scan(f"watchdog: BUG: soft lockup - x{far}Call trace:\n")), 2)

    def test_allowed(self):
        allow = [splat.Allow("soft lockup", "the base polls with interrupts off")]
        self.assertEqual(splat.scan("BUG: soft lockup - CPU#1\nCall trace:\n", allow), [])
        self.assertEqual(len(splat.scan("BUG: soft lockup - x\nkernel BUG at a.c:1!\n", allow)), 1)

    def test_idle_allowance(self):
        found = splat.scan(QUIET, [splat.Allow("soft lockup", "it was so once")])
        self.assertEqual(len(found), 1)
        self.assertIn("matches nothing", found[0])

    def test_rare_allowance(self):
        """What is left to chance need not show."""
        rare = splat.Allow("CMDQ error", "a test", rare=True)
        self.assertEqual(splat.scan("all is well\n", [rare]), [])
        self.assertEqual(splat.scan("smmu: CMDQ error (cons 0x1)\n", [rare]), [])

    def test_reason_is_needed(self):
        with self.assertRaises(ValueError):
            splat.scan(QUIET, [splat.Allow("soft lockup", " ")])


if __name__ == "__main__":
    unittest.main()
