# SPDX-License-Identifier: GPL-2.0
"""
The unmap that finds the silence runs under a spinlock, with interrupts off:
nothing on the way may sleep or allocate.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="the flush runs under a spinlock, with interrupts off",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "silent", "--further", "5", "--cpu", "1",
             "--context", "spinlock"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
