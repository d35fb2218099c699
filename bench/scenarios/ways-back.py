# SPDX-License-Identifier: GPL-2.0
"""
A function falls silent five times and comes back in five ways: by a reset of its
bus; by a reset of everything below its port; by unbind, reset and bind; by being
unplugged and another one plugged; by rmmod, reset and insmod.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="five ways back into service",
    # QEMU's ports signal no PME: one that sleeps would not see who is plugged
    machine=Machine(ports=[[{}], [{}]], append=["pcie_port_pm=off"]),
    program=["incident", "ways", "--wait-ms", "2000", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.rounds(5)
    # The one that was plugged has nothing to recover from.
    + [Check("says_recovered", "==", 4,
             "the core must say once per reset that the function is back")],
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
