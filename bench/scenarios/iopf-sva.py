# SPDX-License-Identifier: GPL-2.0
"""
Two processes share their memory with the device, each with a PASID, and are
bound and unbound while the device faults.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="processes are bound and unbound under page faults",
    machine=Machine(ports=[[{"pasid": 16}]], smmu={"stall-model": "forced", "ssidsize": 16},
                    memory="1G"),
    program=["iopf", "sva"],
    patched=expect.FAULTS_ANSWERED + [
        Check("unbind_waited", "==", True, "the bond went while its fault was handled"),
        Check("rounds", "==", 200, "not all changes were made"),
        Check("stalled", ">=", 1000, "there was no load")],
    base=[Check("kasan", ">=", 1, "the base handles faults of a bond that was freed")],
    allow={"base": expect.BASE_FAULT_ALLOWS, "patched": expect.FAULT_ALLOWS},
    faults=True,
    config="bench+asan",
)
