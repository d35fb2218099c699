# SPDX-License-Identifier: GPL-2.0
"""
The main story: one of two functions stops answering invalidations.

The other one, behind a root port of its own, maps, transfers and unmaps all
the time and must not notice.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one device falls silent, its neighbour works on",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "silent", "--broken", "0", "--further", "5", "--cpu", "1"],
    # One issuer (the domain is the device's own) and one device: 2 errors.
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
