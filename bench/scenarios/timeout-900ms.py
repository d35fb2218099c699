# SPDX-License-Identifier: GPL-2.0
"""
The hardware gives up after 900 ms, just before the driver's poll of 1 s would:
twice that, with interrupts off, is what the fence takes.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a hardware timeout of 900 ms",
    machine=Machine(ports=[[{}], [{}]], smmu={"atc-inv-timeout-us": 900000}),
    program=["incident", "silent", "--further", "2", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT
    + expect.fenced(1, slow=True) + expect.MEETS_EATS
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS
    + [Check("cmdq_errors", ">=", 3, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
