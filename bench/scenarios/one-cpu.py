# SPDX-License-Identifier: GPL-2.0
"""
One CPU: whoever waits for the CMD_SYNC has interrupts off, and there is nobody
else to take the SMMU's error interrupt.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one CPU: the issuer finds the error itself",
    machine=Machine(ports=[[{}], [{}]], smp=1),
    program=["incident", "silent", "--further", "2"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2)
    + expect.ISSUER_SEES_IT,
    base=expect.BASE_CORRUPTS + expect.BASE_POLLS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
