# SPDX-License-Identifier: GPL-2.0
"""
CMD_SYNC completes with an MSI, as on most hardware: the driver polls memory, and
has to look for the error all the same.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="CMD_SYNC with MSI completion",
    machine=Machine(ports=[[{}], [{}]], smmu={"cmd-sync-msi": "on"}),
    program=["incident", "silent", "--further", "2", "--cpu", "1", "--gerror-cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2)
    + [Check("unmap_us", "<", 1000000, "a poll of 1 s ran out: nobody saw the error")],
    base=expect.BASE_CORRUPTS
    + [Check("unmap_us", ">=", 1000000,
             "on the base nobody sees the error before the poll of 1 s runs out")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
