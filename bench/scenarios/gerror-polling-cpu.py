# SPDX-License-Identifier: GPL-2.0
"""
The SMMU's error interrupt is routed to the CPU that waits for the CMD_SYNC,
with interrupts off.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="GERROR on the polling CPU: the issuer finds the error itself",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "silent", "--further", "2", "--cpu", "1", "--gerror-cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2)
    + expect.ISSUER_SEES_IT,
    base=expect.BASE_CORRUPTS + expect.BASE_POLLS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
