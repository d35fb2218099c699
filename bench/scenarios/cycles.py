# SPDX-License-Identifier: GPL-2.0
"""
A function falls silent and is reset, fifty times, and ten before that: nothing is
left behind. (cycles-1000 has more of them.)
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="50 cycles of silence and reset",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "cycles", "--cycles", "50", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.rounds(60)
    + expect.recovered(60) + expect.no_leak(50),
    base=expect.BASE_CORRUPTS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
