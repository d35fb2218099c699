# SPDX-License-Identifier: GPL-2.0
"""
An ACPI boot with two SMMUs: the broken function is behind the second one, with
a healthy neighbour; another one behind the first SMMU must not notice either.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="ACPI boot, two SMMUs, one device falls silent",
    machine=Machine(ports=[[{}], [{}], [{}]], acpi=True, second=2),
    program=["incident", "silent", "--further", "5", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
