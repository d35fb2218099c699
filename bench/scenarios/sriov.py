# SPDX-License-Identifier: GPL-2.0
"""
A VF falls silent, while its PF and the other VF work on, and is reset. Then the
PF does: it has error handlers, but the core does not reset it, as that would hit
the users of its VFs, which work on; its administrator resets all of them.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

VF = {"sriov-pf": "ep0"}

SCENARIO = Scenario(
    title="a silent VF, and a silent PF with VFs",
    machine=Machine(ports=[[{}, VF, VF], [{}]]),
    program=["incident", "sriov", "--vfs", "2", "--broken", "0,3", "--wait-ms", "2000",
             "--cpu", "1"],
    module_options=["handlers=reset"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.rounds(2) + expect.recovered(2)
    + [Check("pf_works", "==", True, "the PF suffers from its VF"),
       Check("calls_0", "==", "", "the PF's driver was told, although nobody may reset it"),
       Check("pf_resets_by_core", "==", 0, "the core has reset a PF with VFs"),
       Check("pf_blocked_vf_works", "==", True, "the VFs suffer from their PF"),
       Check("vfs_work", "==", True, "the VFs do not work after the reset of their PF")],
    base=expect.BASE_CORRUPTS
    + [Check("blocked", "==", False, "the base blocks nothing")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
