# SPDX-License-Identifier: GPL-2.0
"""
The function belongs to a user (vfio-pci): a page that he has unmapped is his
again, and nobody else's to write to. The core tells him by his eventfd, and never
resets such a function; its user does. The second time he closes it and opens it
again, which resets it as well. Without a user it sleeps in D3hot, and is accused
of nothing.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a VFIO user's device falls silent",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "vfio", "--further", "3", "--wait-ms", "2000", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.fenced(2)
    + expect.recovered(2) + expect.cmdq_errors(4)
    + [Check("user_told", "==", True, "the user's eventfd was not signalled"),
       Check("resets_by_core", "==", 0, "somebody else has reset the user's function"),
       Check("blocked_again", "==", True, "it was not blocked the second time"),
       Check("reopened", "==", True, "closed and opened again it does not work"),
       Check("bus_resets", "==", 1, "its bus is reset only where it has no reset of its own"),
       Check("state_restored", "==", True, "its state is not the one that it had"),
       Check("no_reset_at_close", "==", True,
             "its next user cannot use it if there is no way to reset it"),
       Check("works_after_sleep", "==", True, "its next user cannot use it if it slept"),
       Check("ats_without_vfio", "==", True, "the next driver has no ATS"),
       Check("accused_asleep", "==", False, "it was accused of being asleep")],
    base=expect.BASE_CORRUPTS
    + [Check("user_told", "==", False, "on the base nobody tells the user"),
       Check("cmdq_errors", ">=", 8, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
