# SPDX-License-Identifier: GPL-2.0
"""Instructions by function, from QEMU's log."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import profile  # noqa: E402

MAP = """ffff800080000000 T _text
ffff800080000100 t flush
ffff800080000200 T unmap
ffff800080000300 T _etext
ffff800080000400 D data
"""


def line(address):
    """What QEMU logs for one instruction."""
    return f"Trace 0: 0x7f0000000100 [00000000/{address:016x}/00000000/ff000000] flush\n"


class Profile(unittest.TestCase):
    """With a small map."""

    def setUp(self):
        self.symbols = profile.Symbols(MAP)

    def test_names(self):
        for address, name in ((0xffff800080000100, "flush"), (0xffff8000800001fc, "flush"),
                              (0xffff800080000200, "unmap"), (0xffff800080000300, None),
                              (0x400000, None), (0xffff80007a000000, None)):
            self.assertEqual(self.symbols.name(address), name or profile._MODULES)

    def test_count(self):
        lines = [line(0xffff800080000104)] * 3 * profile.UNMAPS + ["something else\n"]
        self.assertEqual(profile.count(lines, self.symbols), {"flush": 3})

    def test_table(self):
        base = profile.Counter(flush=10, unmap=5, same=7)
        patched = profile.Counter(flush=12, new=30, same=7.5)
        rows = [row.split() for row in profile.table(base, patched)]
        self.assertEqual([row[0] for row in rows], ["new", "flush", "unmap"])
        self.assertEqual(rows[1][1:], ["10.0", "12.0", "+2.0"])


if __name__ == "__main__":
    unittest.main()
