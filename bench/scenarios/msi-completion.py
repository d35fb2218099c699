# SPDX-License-Identifier: GPL-2.0
"""
CMD_SYNC completes with an MSI, as on most hardware: the driver polls memory, and
has to look for the error all the same.
"""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="CMD_SYNC with MSI completion",
    machine=Machine(ports=[[{}], [{}]], smmu={"cmd-sync-msi": "on"}),
    program=["incident", "silent", "--further", "2", "--cpu", "1", "--gerror-cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2)
    + expect.ISSUER_SEES_IT,
    base=expect.BASE_CORRUPTS + expect.BASE_POLLS,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
