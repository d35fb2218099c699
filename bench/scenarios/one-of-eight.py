# SPDX-License-Identifier: GPL-2.0
"""
One of eight functions in one IOMMU group: eight invalidations under one sync.

Without ACS the functions share a group and a domain, and each unmap
invalidates all eight ATCs. The sync fails and does not say for whom.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one of eight functions under one sync falls silent",
    machine=Machine(ports=[[{"acs": "off"}] * 8]),
    program=["incident", "silent", "--broken", "3", "--further", "5", "--group", "--cpu", "1"],
    # The siblings' unmaps go to the broken function, too: each of the two CPUs
    # may have a sync in the queue before the mark.
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(3),
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
