# SPDX-License-Identifier: GPL-2.0
"""
A short run of the stress program: threads that map and unmap, make functions fall
silent, reset them, bind and unbind their drivers, take them through VFIO, unplug
them, remove and find them again. In the end all of them have to work. `make
stress` runs it for longer, and with other seeds.
"""

from lib import stress
from lib.scenario import Check

SCENARIO = stress.scenario(30, seed=1)
# The first decisions of each thread: the same seed has to give the same ones.
SCENARIO.patched.append(Check("digest", "==", "e523a382c46e8fed", "seed 1 does not replay"))
