# SPDX-License-Identifier: GPL-2.0
"""
Four functions fall silent: the drivers of two have error handlers and want a
reset, or think that they can do without one; the third driver gives up; the
fourth has no handlers. The first two come back by themselves, and the I/O of the
first goes on, with nothing lost; the others stay blocked until they are reset.
"""

from lib import expect
from lib.scenario import Check, Scenario
from lib.vm import Machine

SCENARIO = Scenario(
    title="drivers with and without error handlers",
    machine=Machine(ports=[[{}], [{}], [{}], [{}], [{}]], smp=3),
    program=["incident", "handlers", "--broken", "0,1,2,3", "--wait-ms", "3000", "--cpu", "1",
             "--gerror-cpu", "2"],
    module_options=["handlers=reset,can-recover,disconnect"],
    patched=expect.NO_STALE_WRITE + expect.NO_INNOCENT + expect.rounds(4) + expect.recovered(4)
    + [Check("calls_0", "==", "fsr", "NEED_RESET: frozen, slot_reset, resume"),
       Check("calls_1", "==", "fmsr", "CAN_RECOVER: frozen, mmio_enabled, slot_reset, resume"),
       Check("calls_2", "==", "fp", "DISCONNECT: frozen, then perm_failure"),
       Check("calls_3", "==", "", "there are no handlers"),
       Check("back_by_themselves", "==", True, "no recovery without help"),
       Check("others_stay_blocked", "==", True, "it came back although its driver gave up"),
       Check("says_not_recovered", "==", 2,
             "the log must say once why the kernel does not bring a function back"),
       Check("io_retries", ">=", 1, "the I/O never met the fault"),
       Check("io_lost", "==", 0, "data was lost"),
       Check("io_goes_on", "==", True, "the I/O does not go on")],
    base=expect.BASE_CORRUPTS
    + [Check("calls_0", "==", "", "on the base nobody tells the driver"),
       Check("io_lost", ">=", 1, "on the base data of the I/O is lost"),
       Check("back_by_themselves", "==", False, "on the base nothing recovers by itself")],
    allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS},
)
