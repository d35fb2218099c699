# SPDX-License-Identifier: GPL-2.0
"""
One answer comes after the hardware's timeout, the retry's comes in time.

The function did invalidate: it is healthy, if slow, and must not be fenced.
But until the retry is answered nobody may take the flush for done.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one answer comes late: nobody is fenced, no stale write lands",
    # Five seconds: the base has long taken the flush for done.
    machine=Machine(ports=[[{"atc-late-us": 5000000}], [{}]]),
    program=["incident", "late", "--wait-ms", "500", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.NOBODY_FENCED
    + expect.cmdq_errors(1),
    base=expect.BASE_CORRUPTS[:1],
    allow={"base": expect.BASE_ALLOWS},
)
