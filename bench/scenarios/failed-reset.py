# SPDX-License-Identifier: GPL-2.0
"""
The first reset fails: the function does not come back within the minute that
the kernel waits for it. It stays out of service, also when it answers again
later, until a reset succeeds.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a failed reset leaves the function blocked, a good one frees it",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "failed-reset", "--further", "1", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.RECOVERED
    + expect.cmdq_errors(2)
    + [check for check in expect.FENCED if check.field != "log_lines"]
    + [Check("blocked_after_failed_reset", "==", True,
             "a reset that failed gave the function its translations back"),
       Check("failing_reset_errno", "!=", 0, "the failed reset was reported as done")],
    base=expect.BASE_CORRUPTS
    + [Check("blocked_after_failed_reset", "==", False,
             "the base restores translation after a failed reset")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
