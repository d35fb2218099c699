# SPDX-License-Identifier: GPL-2.0
"""
A silent function is removed and found again, as silent as before: the second
time it gets no ATS, and what it still holds is out of its reach.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="remove and rescan of a silent function",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "rescan", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.RECOVERED
    + [Check("stale_writes_refused", ">=", 4, "nothing refused the stale writes"),
       Check("ats_while_silent", "==", False, "ATS is on again, and nobody has answered"),
       Check("log_lines", "<=", 8, "the log floods")],
    base=[Check("ats_while_silent", "==", True, "the base enables ATS without an answer"),
          Check("stale_writes_landed", ">=", 4, "the stale writes land on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
