# SPDX-License-Identifier: GPL-2.0
"""
The SMMU's error interrupt goes to a third CPU: handler and issuer find the same
error, and only one of them may handle it.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="GERROR elsewhere: handler and issuer meet over one error",
    machine=Machine(ports=[[{}], [{}]], smp=3),
    program=["incident", "silent", "--further", "5", "--cpu", "1", "--gerror-cpu", "2"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2)
    + [Check("unmap_us", "<", 1000000, "a poll of 1 s ran out: nobody saw the error")],
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
