# SPDX-License-Identifier: GPL-2.0
"""
A user of iommufd takes the page faults of his device, replaces and frees the
domains while accesses are stalled, and does not answer all of them.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.splat import Allow
from lib.vm import Machine

SCENARIO = Scenario(
    title="domains are replaced and freed under page faults",
    machine=Machine(ports=[[{}]], smmu={"stall-model": "forced"}, memory="1G"),
    program=["iopf", "replace", "--rounds", "200"],
    patched=expect.FAULTS_ANSWERED + [
        Check("unanswered_after_detach", "==", 0,
              "a fault was not dealt with when its domain was gone"),
        Check("unanswered_after_replace", "==", 0,
              "a fault was not dealt with when its domain was gone"),
        Check("faults_read", ">=", 1, "no fault reached the user"),
        Check("rounds", "==", 200, "not all changes were made"),
        Check("stalled", ">=", 1000, "there was no load")],
    base=[Check("unanswered_after_detach", "==", 8, "the base leaves its events for later"),
          Check("unanswered_after_replace", "==", 8, "the base leaves its events for later")],
    allow={"base": [*expect.BASE_FAULT_ALLOWS,
                    Allow(r"CMDQ error|unexpected global error|CMD_SYNC timeout",
                          "the base asks a function that sleeps without a user")],
           "patched": expect.FAULT_ALLOWS},
    faults=True,
    config="bench+asan",
)
