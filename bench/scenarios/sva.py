# SPDX-License-Identifier: GPL-2.0
"""
A process shares its memory with the device, which caches translations with the
process's PASID, falls silent, and keeps them over munmap().
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a device falls silent that shares the memory of a process",
    machine=Machine(ports=[[{"pasid": 16}], [{}]], smmu={"ssidsize": 16}),
    program=["incident", "sva", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.fenced(1)
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS + [
        Check("blocked", "==", False, "nobody blocks the device on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
