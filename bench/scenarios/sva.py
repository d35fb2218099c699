# SPDX-License-Identifier: GPL-2.0
"""
A process shares its memory with the device, which caches translations with the
process's PASID, falls silent, and keeps them over munmap(). When it is back a
second process shares its memory, and ends before a reset.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.splat import Allow
from lib.vm import Machine

SCENARIO = Scenario(
    title="a device falls silent that shares the memory of a process",
    machine=Machine(ports=[[{"pasid": 16}], [{}]], smmu={"ssidsize": 16}),
    program=["incident", "sva", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.fenced(1)
    + expect.RECOVERED + expect.cmdq_errors(2)
    + [Check("back_without_process", "==", True,
             "a PASID whose process is gone keeps a reset from bringing the device back")],
    base=expect.BASE_CORRUPTS + [
        Check("blocked", "==", False, "nobody blocks the device on the base")],
    allow={"base": expect.BASE_ALLOWS + [
        Allow(r"WARNING: .*pci_dev_reset_iommu_done", "so the base says when a PASID is lost")],
           "patched": expect.PATCHED_ALLOWS},
)
