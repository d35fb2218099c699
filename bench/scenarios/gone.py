# SPDX-License-Identifier: GPL-2.0
"""
A function that is not there any more (all ones from its config space), while its
driver unmaps what it had, and is removed. (It writes nothing, so no stale write
can show the base's fault: it raises an error for each unmap.)
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a function that is gone, and its quiet removal",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "gone", "--further", "7", "--cpu", "1"],
    patched=expect.NO_INNOCENT + expect.cmdq_errors(2)
    + [Check("log_lines", "<=", 4, "the log floods")],
    base=[Check("cmdq_errors", ">=", 8, "each unmap raises an error of its own on the base")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
