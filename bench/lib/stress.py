# SPDX-License-Identifier: GPL-2.0
"""
The stress run: threads that do everything at once, for a time, from a seed. The
program is bench/guest/stress.c; each of its threads has a stream of decisions
that follows from the seed alone.
"""

from . import expect
from .scenario import Check, Scenario
from .splat import Allow
from .vm import Machine

# What a run has to have got through, in half an hour: {field: count}
PER_HALF_HOUR = {"says_fenced": 1000, "says_recovered": 1000, "unplugs": 100}
WHAT = {"says_fenced": "fences", "says_recovered": "recoveries", "unplugs": "unplugs"}

# Three functions with a port each, and a group of three
PORTS = [[{}], [{}], [{}], [{"acs": "off"}] * 3]


def at_least(seconds):
    """{field: count} for a run of so many seconds."""
    return {name: max(1, count * seconds // 1800) for name, count in PER_HALF_HOUR.items()}


def scenario(seconds, seed, base_seconds=None, **more):
    """A run of so many seconds."""
    return Scenario(
        title=f"everything at once for {seconds} s",
        machine=Machine(ports=PORTS, smp=4, timeline=False,
                        append=["log_buf_len=4M", "oops=panic"]),
        base_may_die="a stale write has landed in the kernel's own memory",
        module_options=["handlers=reset,can-recover,disconnect,reset"],
        program=["stress", "--seconds", str(seconds), "--seed", str(seed), "--ports", "3"],
        timeout_s={"patched": 600 + 3 * seconds, "base": 600 + 3 * (base_seconds or seconds)},
        patched=[
            Check("stale_writes_landed", "==", 0, "a write landed in a page that was unmapped"),
            Check("translated_accesses", ">=", seconds, "hardly any translated access"),
            *(Check(name, ">=", count, f"too few {WHAT[name]} to say anything")
              for name, count in at_least(seconds).items())],
        base=expect.BASE_CORRUPTS[:1],
        allow={"base": expect.BASE_ALLOWS, "patched": expect.PATCHED_ALLOWS + [
            Allow(r"event 0x07 received|event: F_TRANSL_FORBIDDEN client",
                  "a device writes while somebody resets it: blocked, but not fenced, so it "
                  "is not muted", rare=True),
            Allow(r"iommu: cannot be re-attached: -22",
                  "VFIO asks a domain to enforce coherency while its only device, which "
                  "cannot, is blocked; it is back when the user closes it", rare=True)]},
        **more)


def summary(fields):
    """The counts of a run in a line."""
    return ", ".join([f"seed {fields.get('seed')}"] + [
        f"{fields.get(name)} {what}" for name, what in WHAT.items()] + [
        f"{name.replace('_', ' ')} {fields.get(name)}" for name in (
            "resets", "binds", "claims", "rescans", "translated_accesses",
            "stale_writes_refused", "stale_writes_landed", "digest")])
