# SPDX-License-Identifier: GPL-2.0
"""
The link of a function drops without a word: its port's driver finds out and
removes it. What its driver then unmaps has no answer, and nobody is accused of
that. When the link comes back the function works again. (It writes nothing
meanwhile, so no stale write can show the base's fault.)
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="surprise removal: the link of a function drops",
    # QEMU's ports signal no PME: one that sleeps would not see who is plugged
    machine=Machine(ports=[[{}], [{}]], append=["pcie_port_pm=off"]),
    program=["incident", "link-down", "--further", "7", "--cpu", "1"],
    patched=expect.NO_INNOCENT + expect.cmdq_errors(2)
    + [Check("says_fenced", "==", 0, "a function that is gone was accused"),
       Check("says_quarantined", "==", 0, "a function that is gone was accused"),
       Check("log_lines", "<=", 4, "the log floods"),
       Check("back_with_ats", "==", True, "it does not work when the link is back")],
    base=[Check("cmdq_errors", ">=", 8, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS},
)
