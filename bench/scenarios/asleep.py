# SPDX-License-Identifier: GPL-2.0
"""
A function in D3hot does not answer, and need not: its ATC went with the power.
Nobody is accused, and it works when it wakes up. (No stale write can show the
base's fault here: it raises an error for each unmap.)
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a function in D3hot: nobody is accused",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "asleep", "--further", "7", "--wait-ms", "500", "--cpu", "1"],
    on_request="a known limit: a function in D3hot is fenced, though not quarantined",
    patched=expect.NO_INNOCENT + expect.cmdq_errors(2)
    + [Check("blocked", "==", False, "a function that slept was blocked"),
       Check("in_service", "==", True, "the function is out of service"),
       Check("says_fenced", "==", 0, "a function that slept was accused"),
       Check("says_quarantined", "==", 0, "a function that slept was accused")],
    base=[Check("cmdq_errors", ">=", 8, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS},
)
