# SPDX-License-Identifier: GPL-2.0
"""
The hardware never gives up. When the driver's cap is reached the queue is dead,
no invalidation can be confirmed for anyone, and the SMMU has to abort all
traffic without the queue.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="the hardware never gives up: the SMMU aborts all traffic",
    machine=Machine(ports=[[{}], [{}]], smmu={"atc-inv-timeout-us": 0},
                    append=["arm_smmu_v3.cmdq_stall_limit=5"]),
    program=["incident", "never", "--further", "2", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE
    + [Check("cmdq_errors", "==", 0, "the model raised an error although it should not"),
       Check("smmu_aborts", "==", True, "the SMMU does not abort: GBPA.ABORT = 1, SMMUEN = 0"),
       Check("blocked", "==", True, "the function still has DMA"),
       Check("unmap_us", ">=", 5000000, "the flush returned before the cap"),
       Check("says_stalled", "==", 1, "a stalled queue is said once"),
       Check("says_dead", "==", 1, "a dead queue is said once"),
       Check("quarantined", "==", 2, "the core was not told of all who have no DMA"),
       Check("says_fenced", "==", 0, "somebody was accused without a verdict")],
    base=expect.BASE_CORRUPTS
    + [Check("quarantined", "==", 0, "on the base nobody is told"),
       Check("smmu_aborts", "==", False, "the base lets the traffic pass")],
    allow={"base": expect.BASE_ALLOWS},
)
