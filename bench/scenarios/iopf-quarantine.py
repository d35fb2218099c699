# SPDX-License-Identifier: GPL-2.0
"""
A device falls silent while some of its accesses are stalled: their faults are in
the hands of a user of iommufd, or in his queue. The fence and the block do not
lose them: each gets a response, and after the reset faults are handled again.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a device falls silent with page faults in flight",
    machine=Machine(ports=[[{}], [{}]], smmu={"stall-model": "forced"}, memory="1G"),
    program=["incident", "faulting", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.fenced(1)
    + expect.RECOVERED + expect.cmdq_errors(2) + [
        Check("damage", "==", "", "the kernel says that it is damaged"),
        Check("parked_at_end", "==", 0, "a stalled access never got a response"),
        Check("waiting_accesses", "==", 0, "the device still waits for an access"),
        Check("unmatched", "==", 0, "an access got two responses"),
        Check("answers_refused", "==", 0, "a fault in the user's hands was lost"),
        Check("stalled_landed", "==", 0, "a stalled access landed although the device is blocked"),
        Check("fault_ok_after_recovery", "==", True, "faults are not handled after the reset"),
        Check("stalled", ">=", 17, "not all accesses were stalled")],
    base=expect.BASE_CORRUPTS + [
        Check("blocked", "==", False, "nobody blocks the device on the base"),
        Check("stalled_landed", ">=", 1, "its stalled accesses land on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
    config="bench+asan",
)
