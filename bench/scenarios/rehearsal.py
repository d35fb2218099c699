# SPDX-License-Identifier: GPL-2.0
"""
An administrator rehearses an incident by the fault injection in debugfs: a function
with which nothing is wrong is reported as broken, and its first reset counts as
failed.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a quarantine can be rehearsed on a healthy function",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "rehearsal", "--cpu", "1"],
    patched=[check for check in expect.NO_INNOCENT if check.field != "siblings_stale"]
    + expect.RECOVERED + [
        Check("report_nonsense_errno", "==", 22, "what is no address was taken for one"),
        Check("report_empty_errno", "==", 22, "an empty report was taken for one"),
        Check("report_fault_errno", "==", 14, "a bad pointer was read"),
        Check("report_nobody_errno", "==", 19, "a function that is not there was reported"),
        Check("report_without_driver_errno", "==", 6,
              "a function without a driver was reported"),
        Check("state_at_first", "==", "none", "a function is blocked before its report"),
        Check("report_errno", "==", 0, "the report was refused"),
        Check("blocked", "==", True, "the function that was reported was not blocked"),
        Check("state_when_reported", "==", "broken", "sysfs does not tell of the report"),
        Check("blocked_after_failed_reset", "==", True,
              "a reset that was to fail gave the function its translations back"),
        Check("state_after_failed_reset", "==", "broken",
              "a reset that failed took the mark away"),
        Check("says_quarantined", "==", 1,
              "the core must say once that it blocked a function"),
        Check("says_fenced", "==", 0, "the driver accused a function that answers"),
        Check("cmdq_errors", "==", 0, "a function that answers caused an error"),
    ],
    base=[Check("report_errno", "!=", 0, "the base has nothing of the kind")],
)
