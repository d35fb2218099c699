# SPDX-License-Identifier: GPL-2.0
"""
Lazy mode: an unmap returns at once, and what it unmapped may be used until the
flush queue's turn comes. After that the same guarantee holds as in strict mode;
the shots come 300 ms after each unmap.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="lazy DMA mode: the guarantee holds from the deferred flush on",
    machine=Machine(ports=[[{}], [{}]], append=["iommu.strict=0"]),
    program=["incident", "silent", "--further", "2", "--cpu", "1", "--lazy"],
    # What refuses may by now be the blocking that follows the fence.
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.RECOVERED
    + expect.cmdq_errors(2) + expect.fenced(1),
    base=expect.BASE_CORRUPTS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
