# SPDX-License-Identifier: GPL-2.0
"""
An NVMe disk falls silent once more than the kernel recovers a function for. Its
driver is told that it has failed for good: requests end with an error, and the
driver can be unbound, which waits for no reset. After a reset by hand and a bind
the disk is used again, and has what was written to it.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="an NVMe disk that broke too often is unbound, reset and bound",
    machine=Machine(ports=[], disk=True, smp=3),
    program=["disk", "give-up"],
    patched=[
        Check("recoveries", "==", 5, "the kernel starts five recoveries"),
        Check("incidents", "==", 6, "each silence is an incident"),
        Check("says_fenced", "==", 6, "the driver must say once that it fenced a function"),
        Check("says_recovered", "==", 6, "five recoveries, and the reset by hand"),
        Check("says_not_recovered", "==", 1, "only the last one is called failed"),
        Check("state_given_up", "==", "broken", "it has to stay blocked until it is reset"),
        Check("io_errors", ">=", 1, "requests must fail, not hang"),
        Check("unbound", "==", True, "the driver does not let go of the disk"),
        Check("reset", "==", True, "the disk cannot be reset"),
        Check("bound", "==", True, "the driver does not take it back"),
        Check("recovered", "==", True, "ATS is not on again"),
        Check("io_goes_on", "==", True, "the disk cannot be used again"),
        Check("io_errors_after", "==", 0, "a request failed after the reset"),
        Check("bytes_wrong", "==", 0, "data was lost or went astray")],
    base=[Check("recoveries", "==", 0, "on the base nothing is recovered"),
          Check("bytes_wrong", ">=", 1, "on the base data goes astray")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
