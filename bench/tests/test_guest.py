# SPDX-License-Identifier: GPL-2.0
"""The initramfs is what the kernel expects, and the same every time."""

import stat
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import guest  # noqa: E402


def entries(data):
    """Read a newc archive: {name: (mode, content, major, minor)}."""
    found, at = {}, 0
    while True:
        assert data[at:at + 6] == b"070701", at
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, major, minor, namesize = (fields[i] for i in (1, 6, 9, 10, 11))
        name = data[at + 110:at + 110 + namesize - 1].decode()
        start = (at + 110 + namesize + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[start:start + size], major, minor)
        at = (start + size + 3) & ~3


class Initramfs(unittest.TestCase):
    """With stand-ins for the programs."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = Path(temporary.name)
        self.programs = {}
        for name in guest.PROGRAMS + ("atctest.ko", "busybox"):
            self.programs[name] = self.dir / name
            self.programs[name].write_bytes(name.encode() * 3)
        self.module = self.programs.pop("atctest.ko")
        self.busybox = self.programs.pop("busybox")

    def write(self, **kwargs):
        """The archive's bytes."""
        return guest.write_initramfs(self.dir / "initramfs", self.programs, self.module,
                                     **kwargs).read_bytes()

    def test_content(self):
        found = entries(self.write())
        self.assertEqual(found["init"][:2], (stat.S_IFREG | 0o755, b"init" * 3))
        self.assertEqual(found["bin/incident"][1], b"incident" * 3)
        self.assertEqual(found["atctest.ko"][0], stat.S_IFREG | 0o644)
        self.assertEqual(found["dev/console"], (stat.S_IFCHR | 0o600, b"", 5, 1))
        names = list(found)
        self.assertLess(names.index("bin"), names.index("bin/incident"))
        self.assertNotIn("bin/sh", found)

    def test_shell(self):
        found = entries(self.write(busybox=self.busybox))
        self.assertEqual(found["bin/sh"][:2], (stat.S_IFLNK | 0o777, b"busybox"))
        self.assertEqual(found["bin/busybox"][1], b"busybox" * 3)

    def test_same_bytes(self):
        self.assertEqual(self.write(), self.write())


if __name__ == "__main__":
    unittest.main()
