# SPDX-License-Identifier: GPL-2.0
"""
A command queue of 128 entries, without range invalidations, and four CPUs that
unmap 64 pages at a time in the broken function's domain: the queue is full of
waiters when it halts. Waiting for space needs an exit, too. (65 commands of one
unmap and a few others leave no room for the next 65. A fifth CPU takes the error
interrupt: without it the base hangs for good, which would prove less.)
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a queue full of waiters",
    machine=Machine(ports=[[{"acs": "off"}] * 8], smp=5,
                    smmu={"cmdq-log2": 7, "ril": "off"}),
    program=["incident", "full-queue", "--broken", "7", "--further", "5",
             "--group", "--workers", "4", "--pages", "64", "--cpu", "3",
             "--gerror-cpu", "4"],
    # A sync of each CPU may be in the queue before the mark.
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.RECOVERED
    + expect.cmdq_errors(5) + expect.fenced(1)
    + [Check("queue_max", ">", 65, "the queue was never full")],
    base=expect.BASE_CORRUPTS
    + [Check("queue_max", ">", 65, "the queue was never full")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
