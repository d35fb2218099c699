# SPDX-License-Identifier: GPL-2.0
"""
A resumed CMD_SYNC fails a second time, and CMDQ_CONS.ERR keeps its last value:
the hardware may do both. Twice the errors of one incident, and no more.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a resumed CMD_SYNC fails again",
    machine=Machine(ports=[[{}], [{}]], smmu={"atc-inv-sync-repeat": 1, "cons-err-sticky": "on"}),
    program=["incident", "silent", "--further", "2", "--cpu", "1", "--gerror-cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(4)
    + expect.ISSUER_SEES_IT,
    base=expect.BASE_CORRUPTS + expect.BASE_POLLS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
