# SPDX-License-Identifier: GPL-2.0
"""
A real driver: the ATC of an NVMe disk falls silent while two threads write and
read. Its error handlers bring it back, all I/O ends without an error, and each
block has what was written to it last. On the base the disk goes on with stale
translations, and data goes to where other data belongs.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="an NVMe disk falls silent in the middle of its I/O",
    machine=Machine(ports=[], disk=True, smp=3),
    program=["disk"],
    patched=expect.cmdq_errors(3)
    + [Check("fenced", "==", True, "EATS = 0 was never confirmed"),
       Check("says_fenced", "==", 1, "the driver must say once that it fenced a function"),
       Check("incidents", "==", 1, "the disk was not quarantined"),
       Check("recovered", "==", True, "the disk did not come back with ATS"),
       Check("says_recovered", "==", 1, "the core must say once that a function is back"),
       Check("says_not_recovered", "==", 0, "a recovery that succeeds is called failed"),
       Check("io_goes_on", "==", True, "the I/O does not go on"),
       Check("io_errors", "==", 0, "a request failed"),
       Check("bytes_wrong", "==", 0, "data was lost or went astray")],
    base=[Check("bytes_wrong", ">=", 1, "on the base data goes astray")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
