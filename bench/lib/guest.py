# SPDX-License-Identifier: GPL-2.0
"""The guest: its static programs and its initramfs, made without root."""

import hashlib
import os
import stat
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "guest"
PROGRAMS = ("init", "incident", "atcctl", "cost", "disk", "iopf", "stress")
_DIRECTORIES = ("bin", "dev", "proc", "sys", "tmp")
_CONSOLE = (5, 1)


def build_programs(outdir, cross=None):
    """Compile the programs into @outdir; {name: path}."""
    if cross is None:
        cross = "" if os.uname().machine == "aarch64" else "aarch64-linux-gnu-"
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-s", "-C", str(SOURCE), f"O={Path(outdir).absolute()}",
                           f"CROSS_COMPILE={cross}"], env=env,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the guest's programs do not build:\n{done.stderr}")
    return {name: Path(outdir) / name for name in PROGRAMS}


def digest(programs):
    """A short hash over what build_programs() has made."""
    total = hashlib.sha256()
    for name in sorted(programs):
        total.update(programs[name].read_bytes())
    return total.hexdigest()[:16]


class _Cpio:
    """A writer of the "newc" format, as Documentation/driver-api/early-userspace has it."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        """One entry; the same input gives the same bytes."""
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        self.data += b"070701" + b"".join(b"%08x" % value for value in fields) + encoded
        self._pad()
        self.data += content
        self._pad()

    def _pad(self):
        self.data += b"\0" * (-len(self.data) % 4)

    def finish(self):
        """The whole archive."""
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def write_initramfs(path, programs, module, busybox=None):
    """
    An initramfs at @path: @programs as build_programs() returns them, @module
    (atctest.ko) and, for a shell, @busybox (a static one).
    """
    cpio = _Cpio()
    for name in _DIRECTORIES:
        cpio.add(name, stat.S_IFDIR | 0o755)
    cpio.add("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE)
    for name, program in programs.items():
        where = "init" if name == "init" else f"bin/{name}"
        cpio.add(where, stat.S_IFREG | 0o755, Path(program).read_bytes())
    cpio.add("atctest.ko", stat.S_IFREG | 0o644, Path(module).read_bytes())
    if busybox:
        cpio.add("bin/busybox", stat.S_IFREG | 0o755, Path(busybox).read_bytes())
        cpio.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    Path(path).write_bytes(cpio.finish())
    return Path(path)
