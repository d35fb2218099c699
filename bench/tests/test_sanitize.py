# SPDX-License-Identifier: GPL-2.0
"""What is taken out of the logs of the kernels with sanitizers, and what is not."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import sanitize, splat  # noqa: E402

REPORT = """\
[ 1.0] WARNING: possible circular locking dependency detected
[ 1.0] irq/21-pciehp/63 is trying to acquire lock:
[ 1.0] ffff (pci_rescan_remove_lock){{+.+.}}-{{4:4}}, at: pci_lock_rescan_remove+0x1c/0x24
[ 1.0] but task is already holding lock:
[ 1.0] ffff ({lock}){{++++}}-{{4:4}}, at: pciehp_ist+0x204/0x778
[ 1.0] arm-smmu-v3 9050000.smmuv3: 0000:01:00.0: something else meanwhile
[ 1.0]        {function}+0x1/0x2
[ 1.0] Call trace:
[ 1.0]  show_stack+0x14/0x1c (C)
"""


class Cycle(unittest.TestCase):
    """The cycles that pciehp has with itself."""

    def scan(self, lock="&ctrl->reset_lock", function="pciehp_reset_slot", more=""):
        text = REPORT.format(lock=lock, function=function) + more
        return splat.scan(sanitize.cleaner("asan")(text))

    def test_foreign(self):
        self.assertEqual(self.scan(), [])

    def test_other_lock(self):
        self.assertTrue(self.scan(lock="&dev->mutex"))

    def test_ours(self):
        for name in ("iommu_device_broken_work", "arm_smmu_atc_retry", "pci_recovery_work"):
            self.assertTrue(self.scan(function=name), name)

    def test_what_follows(self):
        self.assertTrue(self.scan(more="[ 2.0] BUG: KASAN: slab-use-after-free in x\n"))

    def test_without_trace(self):
        self.assertTrue(splat.scan(sanitize.cleaner("asan")(REPORT.format(
            lock="&ctrl->reset_lock", function="x").split("[ 1.0] Call")[0])))


class Leak(unittest.TestCase):
    """The names of functions that go while they are found."""

    LEAK = """\
[ 9.0] atc-bench: unreferenced object 0xffff00000414ede0 (size 16):
[ 9.0] atc-bench:     dev_set_name+0x90/0xa8
[ 9.0] atc-bench:     {caller}+0x3fc/0x1c3c
"""

    def scan(self, *callers):
        text = f"[ 8.0] kmemleak: {len(callers)} new suspected memory leaks\n" + "".join(
            self.LEAK.format(caller=caller) for caller in callers)
        return splat.scan(sanitize.cleaner("asan")(text))

    def test_foreign(self):
        self.assertEqual(self.scan("pci_setup_device", "pci_setup_device"), [])

    def test_ours(self):
        self.assertTrue(self.scan("iommu_probe_device"))
        self.assertEqual(len(self.scan("pci_setup_device", "iommu_probe_device")), 2)


if __name__ == "__main__":
    unittest.main()
