# SPDX-License-Identifier: GPL-2.0
"""
A function that never answered an invalidation must not get ATS.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="silent from boot: no ATS before the first answer",
    machine=Machine(ports=[[{"atc-fault": "silent"}], [{}]]),
    program=["incident", "boot", "--cpu", "1"],
    silent_from_boot=True,
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.RECOVERED
    + [Check("ats_while_silent", "==", False, "ATS is on, and nobody has answered"),
       Check("says_fenced", "<=", 1, "the log floods")],
    base=[Check("ats_while_silent", "==", True, "the base enables ATS without an answer"),
          Check("stale_writes_landed", ">=", 1, "a stale write lands on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
