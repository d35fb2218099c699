# SPDX-License-Identifier: GPL-2.0
"""
A function in D3hot does not answer, and need not: its ATC went with the power.
But nobody can confirm that, so it goes without ATS until its next reset, in
service and accused of nothing. (No stale write can show the base's fault here:
it raises an error for each unmap.)
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a function in D3hot goes without ATS until its next reset",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "asleep", "--further", "7", "--wait-ms", "500", "--cpu", "1"],
    patched=expect.NO_INNOCENT + expect.cmdq_errors(2)
    + [Check("fenced", "==", True, "EATS = 0 was never confirmed"),
       Check("says_fenced", "==", 1, "the driver must say once that it goes without ATS"),
       Check("blocked", "==", False, "a function that slept was blocked"),
       Check("incidents", "==", 0, "a function that slept was quarantined"),
       Check("says_quarantined", "==", 0, "a function that slept was accused"),
       Check("in_service", "==", True, "the function is out of service"),
       Check("ats_refused", "==", True, "it has ATS, and nobody has confirmed anything"),
       Check("log_lines", "<=", 1, "the log floods"),
       Check("recovered", "==", True, "the reset did not bring ATS back"),
       Check("dma_ok_after_recovery", "==", True, "DMA does not work after the reset")],
    base=[Check("cmdq_errors", ">=", 8, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
