# SPDX-License-Identifier: GPL-2.0
"""Kernel configurations made of fragments."""

import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import build, ui  # noqa: E402


class Config(unittest.TestCase):
    """bench/kernel/*.config"""

    def test_override(self):
        one, two = build._wanted("bench"), build._wanted("bench+64k")
        self.assertIn("CONFIG_ARM64_4K_PAGES=y", one)
        self.assertIn("# CONFIG_ARM64_4K_PAGES is not set", two)
        self.assertNotIn("CONFIG_ARM64_4K_PAGES=y", two)
        self.assertIn("CONFIG_ARM64_64K_PAGES=y", two)
        self.assertEqual(len(two), len(one) + 1)

    def test_unknown(self):
        with self.assertRaises(ui.Stop):
            build._fragments("bench+no-such")

    def test_dropped(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / ".config").write_text(
                "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n", encoding="utf-8")
            build.none_dropped(Path(folder), ["CONFIG_A=y", "# CONFIG_D is not set"],
                               "name", "where")
            with self.assertRaisesRegex(ui.Stop, "name.*dropped CONFIG_B=y and 2 more.*where"):
                build.none_dropped(Path(folder), [
                    "CONFIG_A=y", "CONFIG_B=y", "CONFIG_C=y", "CONFIG_E=y"], "name", "where")
            with mock.patch.object(build, "has_symbol", lambda _, line: "_B" not in line):
                build.none_dropped(Path(folder), ["CONFIG_B=y"], "name", "where", "commit")


if __name__ == "__main__":
    unittest.main()
