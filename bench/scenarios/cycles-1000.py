# SPDX-License-Identifier: GPL-2.0
"""
A thousand cycles of silence and reset: nothing is left behind. With kmemleak on
the kernels that have it.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="1000 cycles of silence and reset",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "cycles", "--cycles", "1000", "--cpu", "1"],
    on_request="takes several minutes",
    timeout_s={"base": 3600, "patched": 3600},
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.rounds(1010)
    + expect.recovered(1010) + expect.no_leak(1000),
    base=expect.BASE_CORRUPTS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
