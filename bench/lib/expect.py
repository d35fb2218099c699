# SPDX-License-Identifier: GPL-2.0
"""Expectations that scenarios share. See the guarantees in doc/architecture.md."""

from .scenario import Check
from .splat import Allow

# Nothing of what was unmapped may be reached, whatever else happens.
NO_STALE_WRITE = [
    Check("stale_writes_landed", "==", 0, "a write landed in a page that was unmapped"),
    Check("victim_bytes_changed", "==", 0, "the next owner's page was corrupted"),
    Check("stale_writes_other", "==", 0, "a stale write was not even tried"),
]

NO_INNOCENT = [
    Check("innocents_fenced", "==", 0, "a healthy function was fenced"),
    Check("innocent_errors", "==", 0, "DMA of a healthy function failed"),
    Check("siblings_stale", "==", 0, "a healthy function kept a translation"),
]


def fenced(functions, slow=False):
    """
    Each of so many functions is fenced and blocked, and said to be so once. @slow:
    a wait may take more than a second, of which the command queue has a line.
    """
    return [
        Check("stale_writes_refused", ">=", 1, "nothing refused the stale writes"),
        Check("fenced", "==", True, "EATS = 0 was never confirmed"),
        Check("blocked", "==", True, "a function was not blocked"),
        Check("says_fenced", "==", functions,
              "the driver must say once that it fenced a function"),
        Check("says_quarantined", "==", functions,
              "the core must say once that it blocked a function"),
        Check("says_error", "==", 0, "the core could not do what it should"),
        # In a long run this machine may lose its CPU for a second, which is said, too.
        Check("log_lines", "<=", 4 * functions + functions // 50 + slow * (functions + 1),
              "the log floods"),
    ]


def recovered(functions):
    """Each of so many functions is back after its reset."""
    return [
        Check("recovered", "==", True, "the reset did not bring ATS back"),
        Check("dma_ok_after_recovery", "==", True, "DMA does not work after the reset"),
        Check("says_recovered", "==", functions,
              "the core must say once that a function is back"),
    ]


# The first stale write meets the fence itself, not what follows later.
MEETS_EATS = [
    Check("refused_by", "==", "eats", "what refused the first stale write is not EATS = 0"),
    Check("refused_event", "==", 7, "the refusal is not F_TRANSL_FORBIDDEN"),
]
FENCED = fenced(1) + MEETS_EATS

RECOVERED = recovered(1)


def rounds(number):
    """A function is fenced and blocked in each of so many rounds, and always comes back."""
    return fenced(number) + [
        check for check in recovered(number) if check.field != "says_recovered"] + [
        Check("rounds", "==", number, "not all rounds were run"),
        Check("refused_by", "==", "eats", "what refused the first stale write is not EATS = 0"),
    ]


def no_leak(cycles):
    """What the kernel's memory may have grown by: less than 256 bytes a cycle, and noise."""
    return [
        Check("cycles", "==", cycles, "not all cycles were run"),
        Check("kernel_memory_grew_kb", "<=", 512 + cycles // 4, "the kernel's memory grows"),
    ]


NOBODY_FENCED = [
    Check("fenced", "==", False, "a function that had answered was fenced"),
    Check("blocked", "==", False, "a function that had answered was blocked"),
    Check("in_service", "==", True, "the function is out of service"),
    Check("says_fenced", "==", 0, "the driver accused a function that had answered"),
    Check("log_lines", "<=", 4, "the log floods"),
]

# How the base fails: it reports success, and the device still has the page.
BASE_CORRUPTS = [
    Check("stale_writes_landed", ">=", 1, "a stale write lands on the base"),
    Check("victim_bytes_changed", ">=", 1, "the next owner's page is corrupted on the base"),
]

BASE_ERROR_PER_UNMAP = [
    Check("cmdq_errors", ">=", 6, "each unmap raises an error of its own on the base"),
]

BASE_ALLOWS = [
    Allow(r"CMDQ error|unexpected global error|CMD_SYNC timeout"
          r"|stall|soft lockup|hogged CPU|blocked for more than",
          "the base reports each timeout, and polls with interrupts off while it lasts"),
]

PATCHED_ALLOWS = [
    Allow(r"ATC invalidation timeout", "the one line that says that a function was fenced"),
]


def cmdq_errors(at_most):
    """S3: the errors of one incident are bounded."""
    return [Check("cmdq_errors", "<=", at_most, "command queue errors beyond the bound"),
            Check("cmdq_errors", ">=", 1, "the fault did not show at all")]

# The error is seen by who waits for the CMD_SYNC, or, on the base, by nobody
ISSUER_SEES_IT = [
    Check("unmap_us", "<", 1000000, "a poll of 1 s ran out: nobody saw the error")]
BASE_POLLS = [
    Check("unmap_us", ">=", 1000000,
          "on the base nobody sees the error before the poll of 1 s runs out")]



def all_of_eight(slow=False):
    """Eight silent functions under one sync: its error, and one for each asked alone."""
    return NO_STALE_WRITE + NO_INNOCENT + cmdq_errors(9) + fenced(8, slow) + recovered(8)


# Each stalled access got one response, and the kernel found nothing wrong with it.
FAULTS_ANSWERED = [
    Check("damage", "==", "", "the kernel says that it is damaged"),
    Check("parked_at_end", "==", 0, "a stalled access never got a response"),
    Check("waiting_accesses", "==", 0, "the device still waits for an access"),
    Check("unmatched", "==", 0, "an access got two responses"),
]

_FAULT_EVENTS = r"event 0x(10|13|0a) received|event: (F_TRANSLATION|F_PERMISSION|C_BAD_CD) client:"

FAULT_ALLOWS = [
    Allow(_FAULT_EVENTS,
          "an access without a handler is logged and aborted, and so is one that meets a "
          "context descriptor while it is replaced"),
]

BASE_FAULT_ALLOWS = [
    Allow(rf"BUG: KASAN|WARNING: |Unable to handle kernel |Internal error: |{_FAULT_EVENTS}",
          "the base uses what it has freed; the story ends there"),
]
