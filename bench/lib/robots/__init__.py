# SPDX-License-Identifier: GPL-2.0
"""The robots of `make check`, each in a file of its own; bench/lib/check.py runs them."""
