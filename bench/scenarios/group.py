# SPDX-License-Identifier: GPL-2.0
"""
One of four functions in one IOMMU group is in quarantine. The others go on
working; when their drivers are gone the group changes its domain, to an identity
map and back, and a user claims a healthy member through VFIO: all of that without
the broken one, which has no DMA in any of these domains before it is reset.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="a group with a broken member: DMA, domains and VFIO of the healthy ones",
    machine=Machine(ports=[[{"acs": "off"}] * 4, [{}]]),
    program=["incident", "group", "--broken", "3", "--group", "--cpu", "1"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.rounds(1) + expect.recovered(1)
    + [Check("ops_in_quarantine", ">=", 20, "the healthy functions do not work on"),
       Check("identity", "==", True,
             "in an identity domain the healthy ones have no DMA, or the broken one has"),
       Check("translated", "==", True, "the group could not go back to a DMA domain"),
       Check("healthy_claimed", "==", True, "a user cannot use a healthy member"),
       Check("broken_refused", "==", True, "the broken member can use the user's memory")],
    base=expect.BASE_CORRUPTS
    + [Check("broken_refused", "==", False, "on the base it reaches the user's memory")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
