# SPDX-License-Identifier: GPL-2.0
"""
The hardware gives up after 3 s, the driver's poll after 1 s: the queue is
stalled, nobody can be accused before the hardware's verdict, and the flush must
not return before it.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a hardware timeout of 3 s, longer than the driver's poll",
    machine=Machine(ports=[[{}], [{}]], smmu={"atc-inv-timeout-us": 3000000}),
    program=["incident", "silent", "--further", "2", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.RECOVERED
    + expect.cmdq_errors(2)
    # One line more than usual: that the queue is stalled.
    + [check for check in expect.FENCED if check.field != "log_lines"]
    + [Check("says_stalled", "==", 1, "a stalled queue is said once"),
       Check("log_lines", "<=", 5, "the log floods"),
       Check("unmap_us", ">=", 3000000, "the flush returned before the hardware's verdict")],
    base=expect.BASE_CORRUPTS
    + [Check("unmap_us", "<", 3000000,
             "the base's flush returns before the hardware's verdict")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
