# SPDX-License-Identifier: GPL-2.0
"""The kernel's own words that the bench looks for, in one place."""

import re

# The driver fenced a device
FENCED = re.compile(r"ATC invalidation timeout")
# The IOMMU core took it out of service, and back
QUARANTINED = re.compile(r"\bquarantined\b")
RECOVERED = re.compile(r"\brecovered\b")

# What the bench writes there itself: marks of the guest's programs, the driver
BENCH = re.compile(r"^(?:atc-bench: |atctest)")
MARK = re.compile(r"^atc-bench: (.*)$")
