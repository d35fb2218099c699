# SPDX-License-Identifier: GPL-2.0
"""The main story with pages of 64 KiB, in the kernel and in the SMMU's tables."""

from lib import expect
from lib.scenario import Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="pages of 64 KiB",
    machine=Machine(ports=[[{}], [{}]]),
    program=["incident", "silent", "--further", "5", "--cpu", "1"],
    config="bench+64k",
    on_request="a kernel configuration of its own",
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.FENCED
    + expect.RECOVERED + expect.cmdq_errors(2),
    base=expect.BASE_CORRUPTS + expect.BASE_ERROR_PER_UNMAP,
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
