# SPDX-License-Identifier: GPL-2.0
"""
One CPU: whoever waits for the CMD_SYNC has interrupts off, and there is nobody
else to take the SMMU's error interrupt.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one CPU: the issuer finds the error itself",
    machine=Machine(ports=[[{}], [{}]], smp=1),
    program=["incident", "silent", "--further", "2"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2)
    + [Check("unmap_us", "<", 1000000, "a poll of 1 s ran out: nobody saw the error")],
    base=expect.BASE_CORRUPTS
    + [Check("unmap_us", ">=", 1000000,
             "on the base nobody sees the error before the poll of 1 s runs out")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
