# SPDX-License-Identifier: GPL-2.0
"""
All of the eight functions in one IOMMU group are silent, with a hardware timeout
of 10 ms: one error for the flush, one for each function asked alone, and eight
fences, before the unmap returns.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="eight of eight functions under one sync fall silent, 10 ms",
    machine=Machine(ports=[[{"acs": "off"}] * 8]),
    program=["incident", "silent", "--broken", "all", "--further", "2", "--group",
             "--cpu", "1"],
    patched=expect.all_of_eight(),
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
