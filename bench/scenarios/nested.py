# SPDX-License-Identifier: GPL-2.0
"""
Two devices of a virtual machine: the guest's stage 1, the host's stage 2. One of
them falls silent, and the guest's own invalidation finds it. The host fences it,
and tells the monitor which of the guest's commands has failed.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a device of a virtual machine falls silent",
    machine=Machine(ports=[[{}], [{}]], smmu={"s2fwb": "on"}),
    program=["incident", "nested", "--further", "3", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.fenced(1) + expect.RECOVERED
    + expect.cmdq_errors(2) + [
        Check("innocents_fenced", "==", 0, "the guest's other device was fenced"),
        Check("guest_told_timeout", "==", True, "the guest's invalidation did not fail"),
        Check("guest_commands_done", "==", 2, "it is not told which command failed"),
        Check("guest_sibling_works", "==", True, "the guest's other device is out of service"),
        Check("guest_error_after", "==", 0, "invalidations fail after the reset")],
    base=expect.BASE_CORRUPTS + [
        Check("guest_told_timeout", "==", False, "the base tells the guest that all is well")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
