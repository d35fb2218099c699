# SPDX-License-Identifier: GPL-2.0
"""The kernel's own words that the bench looks for, in one place."""

import re

# The driver fenced a device
FENCED = re.compile(r"ATC invalidation timeout")
# The IOMMU core took it out of service, and back
QUARANTINED = re.compile(r"\bquarantined\b")
RECOVERED = re.compile(r"\brecovered\b")
NOT_RECOVERED = re.compile(r"\brecovery: failed: ")
# Something went wrong with that
ERROR = re.compile(r"\biommu: (?:cannot be |no recovery)")
# The hardware takes longer than the driver's poll; the queue will never move again
STALLED = re.compile(r"arm-smmu-v3 \S+: .*\bstalled\b")
DEAD = re.compile(r"all DMA through this SMMU is aborted")

MARK = re.compile(r"^atc-bench: (.*)$")

# Lines between silence and recovery that are not about the incident: (pattern, why)
_OTHERS = [
    (r"^atc-bench: ", "the marks of the bench"),
    (r"^atctest: |^atctest(?:-eh)? \S+: error handlers: ", "the test driver itself"),
    (r"^pci(?:_bus)? \S+: (?:\[|BAR |enabling |busn_res|Adding to iommu group)",
     "the PCI core, about a function that it finds"),
    (r"^[\w-]+ \S+: enabling device \(", "the PCI core, about a driver's first steps"),
    (r"^pcieport \S+: (?:pciehp: |PCI bridge to |  bridge window )",
     "a port, about what is plugged and unplugged"),
    (r"^[\w-]+ \S+: (?:resetting|reset done)$", "the PCI core, about each reset that a user asks for"),
]
_UNRELATED = re.compile("|".join(pattern for pattern, _ in _OTHERS))


def about_incident(line):
    """Does this line of the log count as one about the incident?"""
    return not _UNRELATED.search(line)


def unescape(text):
    """/dev/kmsg writes a control character as \\xNN; a log line has only tabs."""
    return text.replace("\\x09", "\t")
