# SPDX-License-Identifier: GPL-2.0
"""
As timeout-never, on a machine whose operator wants a crash dump rather than one
without DMA: the kernel panics, but not before all traffic is aborted.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="the hardware never gives up: a panic, as asked for",
    machine=Machine(ports=[[{}], [{}]], smmu={"atc-inv-timeout-us": 0},
                    append=["arm_smmu_v3.cmdq_stall_limit=5", "arm_smmu_v3.cmdq_dead_panic=1"]),
    program=["incident", "never", "--cpu", "1"],
    panics=r"\S+: command queue does not respond",
    patched=[Check("smmu_aborts", "==", True,
                   "the SMMU does not abort: GBPA.ABORT = 1, SMMUEN = 0"),
             Check("cmdq_errors_in_timeline", "==", 0,
                   "the model raised an error although it should not")],
    base=expect.BASE_CORRUPTS
    + [Check("smmu_aborts", "==", False, "the base lets the traffic pass")],
    allow={"base": expect.BASE_ALLOWS},
)
