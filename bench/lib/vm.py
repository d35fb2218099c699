# SPDX-License-Identifier: GPL-2.0
"""
One virtual machine: from its description to its end.

A QEMU chardev that nobody reads stops the guest's clocks and looks like a
kernel bug, so the console goes to a file and the verdict channel has a thread
that always reads. A guest that hangs is killed by the clock on the wall, and
QEMU is gone on every way out.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

VERDICT_PORT = "verdict"
# A unix socket's path has about 100 bytes.
_SOCKET_DIR = "/tmp"
# The second SMMU's root bus, far above what the first one may use
SECOND_BUS = 0x40
DISK_SIZE = 64 << 20


def _option(path):
    """@path as a value in one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")


@dataclass
class Machine:
    """
    @ports: a root port each, with the functions behind it; a function is a
        dict of properties of atc-endpoint. In this order they are ep0, ep1
        ... for QEMU and /dev/atctest0, 1 ... in the guest; VFs, which have the
        property sriov-pf, come after all others.
    @smmu: properties of arm-smmuv3, @append: more of the kernel's command line
    @acpi: boot with UEFI firmware and ACPI instead of a device tree
    @second: how many of the first root ports are behind a second SMMU, which is
        where Linux looks first; needs @acpi
    @disk: one more root port, with an NVMe disk of 64 MiB that has an ATC
    @timeline: does the model write one? Without it nothing is told by it.
    """
    ports: list
    smmu: dict = field(default_factory=dict)
    smp: int = 2
    memory: str = "512M"
    cpu: str = "cortex-a76"
    accel: str = "tcg,thread=multi"
    append: list = field(default_factory=list)
    qemu_args: list = field(default_factory=list)
    acpi: bool = False
    second: int = 0
    timeline: bool = True
    disk: bool = False

    def arguments(self, timeline):
        """The part of QEMU's command line that describes the machine."""
        # The machine's own SMMU is one for all: two are devices, one per bus.
        iommu = "" if self.second else "iommu=smmuv3,"
        args = ["-M", f"virt,{iommu}gic-version=3", "-accel", self.accel,
                "-cpu", self.cpu, "-smp", str(self.smp), "-m", self.memory]
        for name, value in {"ats": "on", **self.smmu}.items():
            args += ["-global", f"arm-smmuv3.{name}={value}"]
        if self.second:
            args += ["-device", f"pxb-pcie,id=pcie.1,bus=pcie.0,addr=0x1e,"
                                f"bus_nr={SECOND_BUS}"]
            for bus in (0, 1):
                args += ["-device", f"arm-smmuv3,id=smmu{bus},primary-bus=pcie.{bus}"]
        if self.timeline:
            args += ["-object", f"atc-timeline,id=tl0,path={_option(timeline)}"]
        endpoints, vfs = [], []
        for port, functions in enumerate(self.ports):
            bus = int(port < self.second)
            args += ["-device", f"pcie-root-port,id=rp{port},bus=pcie.{bus},"
                                f"addr={port + 1:#x},chassis={port + 1}"]
            for number, properties in enumerate(functions):
                words = [f"bus=rp{port},addr=0.{number:x}"]
                is_vf = "sriov-pf" in properties
                if not is_vf and sum("sriov-pf" not in f for f in functions) > 1:
                    words.append("multifunction=on")
                words += [f"{name}={value}" for name, value in properties.items()]
                (vfs if is_vf else endpoints).append(",".join(words))
        endpoints = [f"atc-endpoint,id=ep{index},{words}"
                     for index, words in enumerate(endpoints + vfs)]
        # QEMU wants to know a VF before its PF.
        for words in endpoints[len(endpoints) - len(vfs):] + endpoints[:len(endpoints) - len(vfs)]:
            args += ["-device", words]
        if self.disk:
            port = len(self.ports) + 1
            args += ["-device", f"pcie-root-port,id=rpdisk,bus=pcie.0,addr={port:#x},chassis={port}",
                     "-drive", f"if=none,id=disk,format=raw,file={_option(Path(timeline).parent)}"
                               "/disk.raw",
                     "-device", "nvme,id=disk0,bus=rpdisk,serial=atc,drive=disk,max_ioqpairs=1,"
                                "x-atc=on"]
        return args + self.qemu_args


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    """A QMP client; may be used from several threads."""

    def __init__(self, sock):
        self._file = sock.makefile("rw", encoding="utf-8")
        sock.close()  # the file keeps the connection
        self._lock = threading.Lock()
        json.loads(self._file.readline())
        self.execute("qmp_capabilities")

    def close(self):
        """End the connection."""
        with contextlib.suppress(OSError):
            self._file.close()

    def raw(self, command):
        """Run @command (a dict); the answer as QEMU gives it."""
        with self._lock:
            self._file.write(json.dumps(command) + "\n")
            self._file.flush()
            while True:
                line = self._file.readline()
                if not line:
                    raise QmpError("QEMU is gone")
                answer = json.loads(line)
                if "event" not in answer:
                    return answer

    def execute(self, command, **arguments):
        """Run one command; what it returns."""
        answer = self.raw({"execute": command, "arguments": arguments})
        if "error" in answer:
            raise QmpError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def find(self, typename, path="/machine"):
        """The QOM path of the first object of @typename."""
        for item in self.execute("qom-list", path=path):
            if item["type"] == f"child<{typename}>":
                return f"{path}/{item['name']}"
        for item in self.execute("qom-list", path=path):
            if item["type"] in ("child<container>", "child<virt-machine>"):
                found = self.find(typename, f"{path}/{item['name']}")
                if found:
                    return found
        return None


_running = set()


def end_all():
    """
    End every machine of this process, from any thread. For the thread that
    gets a Ctrl-C while others wait for their machines.
    """
    for machine in list(_running):
        machine.end("interrupted")


class VM:
    """
    A context manager. @on_line gets each line of the verdict channel that is
    not a QMP command. After wait(), @problem says what went wrong with the
    machine itself, if anything.
    """

    def __init__(self, machine, *, qemu, image, initrd, append, outdir, on_line,
                 timeout_s, firmware=None, interactive=False, extra=()):
        self.outdir = Path(outdir)
        self.outdir.mkdir(parents=True, exist_ok=True)
        self.console = self.outdir / "console.log"
        self.timeline = self.outdir / "timeline.jsonl"
        self.problem = None
        self.timeout_s = timeout_s
        self._interactive = interactive
        self._on_line = on_line
        self._proc = self._thread = self._verdict = None
        self._ready = threading.Event()
        self._disk = machine.disk
        # Where the broken functions are
        self._smmu = "/machine/peripheral/smmu1" if machine.second else None
        self._sockets = Path(tempfile.mkdtemp(prefix="atc-", dir=_SOCKET_DIR))
        self.qmp_path = self._sockets / "qmp"
        self.qmp = None
        serial = ["-serial", "mon:stdio"] if interactive else \
            ["-chardev", f"file,id=con,path={_option(self.console)}", "-serial", "chardev:con"]
        self.command = [
            str(qemu), "-nodefaults", "-nographic", "-no-reboot",
            *machine.arguments(self.timeline),
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off", *serial,
            "-device", "virtio-serial-device",
            "-chardev", f"socket,id=v,path={self._sockets}/v,server=on,wait=off",
            "-device", f"virtserialport,chardev=v,name={VERDICT_PORT}",
            "-kernel", str(image), "-initrd", str(initrd), "-append",
            " ".join(["console=ttyAMA0", "panic=-1", *machine.append, *append]),
            *(["-bios", str(firmware)] if firmware else []), *extra]

    def shell_command(self):
        """The command line, ready to paste."""
        return f"mkdir -p {self._sockets} && {shlex.join(self.command)}"

    def __enter__(self):
        for path in (self.console, self.timeline):
            path.unlink(missing_ok=True)
        script = self.outdir / "qemu.sh"
        script.write_text(f"#!/bin/sh\n{self.shell_command()}\n", encoding="utf-8")
        script.chmod(0o755)
        if self._disk:
            with open(self.outdir / "disk.raw", "wb") as disk:
                disk.truncate(DISK_SIZE)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def end(self, why):
        """Kill the machine; whoever waits for it sees @why."""
        self.problem = self.problem or why
        if self._proc:
            self._proc.kill()

    def _start(self):
        _running.add(self)
        # Should this process die without a chance to clean up, so does QEMU.
        command = self.command + ["-run-with", "exit-with-parent=on"]
        if self._interactive and sys.stdin.isatty():
            self._proc = subprocess.Popen(command)
        elif self._interactive:
            self._proc = subprocess.Popen(command, stdin=subprocess.PIPE)
            threading.Thread(target=self._type, daemon=True).start()
        else:
            with open(self.outdir / "qemu.log", "wb") as log:
                self._proc = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True)
        self._deadline = time.monotonic() + self.timeout_s if self.timeout_s else None
        self._verdict = self._connect(self._sockets / "v")
        qmp = self._connect(self.qmp_path)
        if self._verdict and qmp:
            try:
                self.qmp = Qmp(qmp)
            except (OSError, ValueError, QmpError):
                return  # QEMU has ended; wait() says with what words
            self._thread = threading.Thread(target=self._drain, daemon=True)
            self._thread.start()

    def _connect(self, path):
        sock = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 30
        while self._proc.poll() is None and time.monotonic() < end:
            try:
                sock.connect(str(path))
                return sock
            except OSError:
                time.sleep(0.02)
        sock.close()
        return None

    def _drain(self):
        with self._verdict.makefile("rb") as stream:
            try:
                for raw in stream:
                    self._line(raw.decode("utf-8", "replace").rstrip("\r\n"))
            except OSError:
                pass

    def _type(self):
        """
        Type what was piped in. Not before the guest's shell is there, else it
        is lost; the end of the input is the end of the shell.
        """
        text = sys.stdin.buffer.read()
        self._ready.wait()
        with contextlib.suppress(OSError):
            self._proc.stdin.write(text + b"\nexit\n")
            self._proc.stdin.flush()

    def _line(self, line):
        if line.startswith("@ready"):
            self._ready.set()
        if line.startswith("@qmp "):
            self._verdict.sendall(self._answer(line[5:]).encode() + b"\n")
            return
        try:
            self._on_line(line)
        except Exception as err:  # the thread must go on reading
            self.problem = self.problem or f"verdict channel: {line[:80]}: {err}"

    def _answer(self, text):
        """Run the guest's QMP command; "@smmu" as a path is the SMMU."""
        try:
            command = json.loads(text)
            arguments = command.get("arguments", {})
            if arguments.get("path") == "@smmu":
                self._smmu = self._smmu or self.qmp.find("arm-smmuv3")
                arguments["path"] = self._smmu
            return json.dumps(self.qmp.raw(command))
        except (ValueError, QmpError) as err:
            return json.dumps({"error": {"desc": str(err)}})

    def wait(self):
        """Wait for the machine's end, which is the guest's power-off, or end it."""
        while self._proc.poll() is None:
            if self._deadline and time.monotonic() > self._deadline:
                self.end(f"watchdog: the guest still ran after {self.timeout_s} s")
                self._proc.wait()
                break
            time.sleep(0.05)
        if self._thread:
            self._thread.join(10)
        if self._proc.returncode and not self.problem:
            log = self.outdir / "qemu.log"
            text = log.read_text(errors="replace").strip() if log.exists() else ""
            self.problem = f"QEMU ended with status {self._proc.returncode}: {text[-300:]}"
        elif not self._thread and not self.problem:
            self.problem = "QEMU ended before its sockets could be used"

    def close(self):
        """End QEMU, whatever it does, and remove what it leaves."""
        _running.discard(self)
        if self._proc and self._proc.poll() is None:
            self._proc.kill()
            self._proc.wait()
        if self._thread:
            self._thread.join(10)
        for connection in (self._verdict, self.qmp):
            if connection:
                connection.close()
        shutil.rmtree(self._sockets, ignore_errors=True)
        if self._proc and not self._interactive:
            log = self.outdir / "qemu.log"
            if log.exists() and not os.path.getsize(log):
                log.unlink()
