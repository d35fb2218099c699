# SPDX-License-Identifier: GPL-2.0
"""
A function whose driver has error handlers is as silent after its recovery as it
was before: it stays in quarantine. When it answers again a reset by hand brings
back all of it, config space included, which the recovery has reset, too.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a recovery that does not help, then a reset that does",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "recovery-fails", "--forever", "--wait-ms", "3000", "--cpu", "1"],
    module_options=["handlers=reset"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT
    + [Check("calls_0", "==", "fp", "the driver has to be told that its function is given up"),
       Check("fenced", "==", True, "EATS = 0 was never confirmed"),
       Check("blocked", "==", True, "the function was not blocked"),
       Check("says_quarantined", "==", 1, "the core must say once that it blocked a function"),
       Check("says_recovered", "==", 1, "the core must say once that the function is back"),
       Check("says_not_recovered", "==", 1, "the log must say once that it is not brought back"),
       Check("recovered", "==", True, "the reset by hand did not bring ATS back"),
       Check("dma_ok_after_recovery", "==", True, "DMA does not work after the reset"),
       # It is fenced once more, after the reset that does not help.
       Check("log_lines", "<=", 5, "the log floods")],
    base=expect.BASE_CORRUPTS
    + [Check("calls_0", "==", "", "on the base nobody tells the driver")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
