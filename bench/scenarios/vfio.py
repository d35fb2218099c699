# SPDX-License-Identifier: GPL-2.0
"""
The function belongs to a user (vfio-pci): a page that he has unmapped is his
again, and nobody else's to write to. The core never resets such a function; its
user does.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a VFIO user's device falls silent",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "vfio", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.fenced(1)
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS
    + [Check("cmdq_errors", ">=", 4, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
