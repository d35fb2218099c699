# SPDX-License-Identifier: GPL-2.0
"""
One invalidation is lost, and never again.

The base takes the acknowledged error for success, so the translation stays in
the ATC for good. The patched kernel's retry removes it, and nobody is fenced.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one invalidation is lost: nobody is fenced, no stale write lands",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "silent-once", "--wait-ms", "500", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.NOBODY_FENCED
    + expect.cmdq_errors(1),
    base=expect.BASE_CORRUPTS,
    allow={"base": expect.BASE_ALLOWS},
)
