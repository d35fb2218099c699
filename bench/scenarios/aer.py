# SPDX-License-Identifier: GPL-2.0
"""
A function falls silent while AER recovers what is below its port, and its own
recovery has to wait until that is over; while a fatal error has frozen the
channel, which means that nobody takes it for broken; and it is given up by its
driver before a fatal error makes AER reset the link, which heals it. A second
function below the port holds up AER's walk to force the order.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="recovery of a silent function against that of AER",
    machine=Machine(ports=[[{"aer": "on"}, {"aer": "on"}], [{}]]),
    program=["incident", "aer", "--broken", "0,1", "--wait-ms", "8000", "--cpu", "1"],
    module_options=["handlers=reset,reset"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT
    + [Check("fenced", "==", True, "EATS = 0 was never confirmed"),
       Check("blocked", "==", True, "the function was not blocked"),
       Check("says_fenced", "==", 3, "the driver must say once per round that it fenced it"),
       Check("says_quarantined", "==", 2, "a function whose channel is frozen was accused"),
       Check("says_recovered", "==", 2, "the core must say once that the function is back"),
       Check("recovered", "==", True, "ATS did not come back"),
       Check("dma_ok_after_recovery", "==", True, "DMA does not work afterwards"),
       Check("calls_while_aer", "==", "n", "two recoveries of one function at a time"),
       Check("calls_aer_first", "==", "nmrfmsr", "AER's callbacks, then the function's own"),
       Check("incidents_while_frozen", "==", 1,
             "a function whose channel is frozen was accused"),
       Check("calls_fatal", "==", "fsr", "there must be AER's callbacks only"),
       Check("calls_later", "==", "fpfsr", "given up, then AER's callbacks")],
    base=expect.BASE_CORRUPTS
    + [Check("calls_aer_first", "==", "nmr", "on the base only AER calls the driver")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
