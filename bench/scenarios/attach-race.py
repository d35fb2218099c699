# SPDX-License-Identifier: GPL-2.0
"""
Eight rounds in which a function falls silent a little later each time, while
its driver goes and its group changes from one domain type to the next: between
fence and reset no attach may turn EATS on again.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.splat import Allow
from lib.vm import Machine

SCENARIO = Scenario(
    title="attach and detach while a function falls silent",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "attach-race", "--further", "3"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT
    + [Check("eats_back_on", "==", 0, "EATS came back before a reset"),
       Check("recovered", "==", True, "the last reset did not bring ATS back"),
       Check("dma_ok_after_recovery", "==", True, "DMA does not work after the reset"),
       Check("says_fenced", "<=", 8, "more than one line per round")],
    base=[Check("stale_writes_landed", ">=", 4, "the stale writes land on the base"),
          Check("eats_back_on", ">=", 1, "the base turns EATS on again")],
    allow={"base": [*expect.BASE_ALLOWS,
                    Allow(r"event 0x0[57] received|event: \w+ client",
                          "with an identity domain the SMMU refuses the base's stale writes")],
           "patched": expect.PATCHED_ALLOWS},
)
