# SPDX-License-Identifier: GPL-2.0
"""
A user of iommufd has two devices behind two SMMUs in one address space: each unmap
flushes both. One of them falls silent; the other one must not notice, and the user
is told by the device's error event.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="one address space over two SMMUs, one device falls silent",
    machine=Machine(ports=[[{}], [{}]], acpi=True, second=1),
    program=["incident", "shared", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.fenced(1) + expect.RECOVERED
    + expect.cmdq_errors(2) + [
        Check("innocents_fenced", "==", 0, "the other SMMU's device was fenced"),
        Check("siblings_stale", "==", 0, "the other device kept a translation"),
        Check("sibling_works", "==", True, "the other device is out of service"),
        Check("user_told", "==", True, "the user's error event did not come")],
    base=expect.BASE_CORRUPTS + [
        Check("user_told", "==", False, "nobody tells the user on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
