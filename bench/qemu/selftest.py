#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-test of the QEMU model: SMMUv3 with ATS, functions with an ATC.

No guest runs.  QEMU is started with -accel qtest; this program plays the
driver: it builds stream table, page tables and queues in guest memory, sets
up PCI configuration space through ECAM, and moves virtual time by hand.  Each
test gets a QEMU of its own.  The result is KTAP on standard output.
"""

import argparse
import fnmatch
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

# --------------------------------------------------------------------------
# Memory map of the virt machine, and what this program keeps where

SMMU = 0x09050000
FW_CFG = 0x09020000
ECAM = 0x4010000000
PCI_MMIO = 0x10000000
RAM = 0x40000000

STRTAB = RAM + 0x100000         # 2^10 entries of 64 bytes
STRTAB_LOG2 = 10
CMDQ = RAM + 0x200000
CMDQ_LOG2 = 5
EVTQ = RAM + 0x210000
EVTQ_LOG2 = 7
CDS = RAM + 0x220000            # one context descriptor per function
TABLES = RAM + 0x300000         # page tables, allocated upwards
CD_TABLES = RAM + 0x600000      # tables of context descriptors
PAGES = RAM + 0x800000          # pages that devices may access

MS = 1000 * 1000                # in nanoseconds

# SMMUv3 registers
IDR0, IDR1, IDR3, IDR5 = 0x00, 0x04, 0x0c, 0x14
CR0, CR0ACK, GBPA, IRQ_CTRL = 0x20, 0x24, 0x44, 0x50
GERROR, GERRORN = 0x60, 0x64
STRTAB_BASE, STRTAB_BASE_CFG = 0x80, 0x88
CMDQ_BASE, CMDQ_PROD, CMDQ_CONS = 0x90, 0x98, 0x9c
EVTQ_BASE, EVTQ_PROD, EVTQ_CONS = 0xa0, 0xa8, 0xac
CR0_SMMUEN, CR0_EVTQEN, CR0_CMDQEN, CR0_ATSCHK = 1, 4, 8, 16
GERROR_CMDQ = 1
CERROR_ILL, CERROR_ATC_INV_SYNC = 1, 3
# Order of the SMMU's interrupt lines
IRQ_EVTQ, IRQ_PRIQ, IRQ_SYNC, IRQ_GERROR = range(4)

F_BAD_ATS_TREQ, F_TRANSL_FORBIDDEN, F_TRANSLATION = 0x05, 0x07, 0x10
C_BAD_STE, F_STREAM_DISABLED, C_BAD_SUBSTREAMID, C_BAD_CD = 0x04, 0x06, 0x08, 0x0a
F_PERMISSION = 0x13

# Context descriptor, second word
CD_S, CD_R, CD_A = 1 << 12, 1 << 13, 1 << 14

# STE.Config
ABORT, BYPASS, S1 = 0, 4, 5

# atc-endpoint, BAR 0
REG_ID, REG_IOVA, REG_LEN, REG_CMD = 0x00, 0x08, 0x10, 0x14
REG_RESULT, REG_FLAGS, REG_PA = 0x18, 0x1c, 0x20
REG_ENTRIES, REG_MARK, REG_IRQ, BUF = 0x28, 0x30, 0x38, 0x1000
REG_PASID, REG_TICKET, REG_SELECT = 0x3c, 0x40, 0x44
REG_STATUS, REG_PARKED = 0x48, 0x4c
READ, WRITE, PREFETCH = 1, 2, 3
UNTRANSLATED, HIT_ONLY, NO_WRITE = 0x100, 0x200, 0x400
OK, REFUSED, ATS_REFUSED, NO_PERM, NO_ENTRY, BAD = 0, 1, 2, 3, 4, 0xff
PARKED, NO_ROOM = 5, 6
NO_PASID = 0xffffffff

# PCI
CAP_PM, CAP_MSI, CAP_EXP = 0x01, 0x05, 0x10
EXT_AER, EXT_ACS, EXT_ATS, EXT_SRIOV, EXT_PASID = 0x01, 0x0d, 0x0f, 0x10, 0x1b


class Failure(Exception):
    """A test found something that is not as it should be."""


def check(cond, text):
    """Fail the test unless cond."""
    if not cond:
        raise Failure(text)


def equal(got, want, what):
    """Fail the test unless got == want."""
    if got != want:
        if isinstance(got, int) and isinstance(want, int):
            raise Failure(f"{what}: got {got:#x}, want {want:#x}")
        raise Failure(f"{what}: got {got!r}, want {want!r}")


# --------------------------------------------------------------------------
# QEMU

class Line:
    """A socket that carries one message per line."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.sock = None
        self.data = b""

    def accept(self, process):
        """Wait for QEMU to connect."""
        self.listener.settimeout(0.1)
        end = time.monotonic() + 60
        while self.sock is None:
            try:
                self.sock, _ = self.listener.accept()
            except socket.timeout:
                if process.poll() is not None:
                    raise Failure(f"QEMU ended with status "
                                  f"{process.returncode}") from None
                if time.monotonic() > end:
                    raise Failure("QEMU does not connect") from None
        self.sock.settimeout(60)
        self.listener.close()

    def send(self, text):
        """Send one line."""
        self.sock.sendall(text.encode() + b"\n")

    def receive(self):
        """Receive one line."""
        while b"\n" not in self.data:
            try:
                more = self.sock.recv(65536)
            except (socket.timeout, ConnectionError) as e:
                raise Failure(f"QEMU does not answer: {e}") from None
            if not more:
                raise Failure("QEMU is gone")
            self.data += more
        line, self.data = self.data.split(b"\n", 1)
        return line.decode()

    def close(self):
        """Close whatever is open."""
        self.listener.close()
        if self.sock:
            self.sock.close()


class Qemu:
    """A QEMU under the qtest protocol, with QMP."""

    def __init__(self, binary, workdir, args):
        self.dir = workdir
        self.timeline_path = os.path.join(workdir, "timeline")
        self.irqs = []
        self.events = []
        self.qtest = Line(os.path.join(workdir, "qtest"))
        self.monitor = Line(os.path.join(workdir, "qmp"))
        self.log = open(os.path.join(workdir, "log"), "w+",
                        encoding="utf-8", errors="replace")
        self.argv = [
            binary, "-accel", "qtest", "-display", "none", "-nodefaults",
            "-qtest", f"unix:{workdir}/qtest", "-qtest-log", "none",
            "-qmp", f"unix:{workdir}/qmp",
            "-cpu", "max", "-m", "64M",
            "-object", f"atc-timeline,id=tl0,path={self.timeline_path},"
                       "verbose=on",
        ] + args
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            self.qtest.accept(self.process)
            self.monitor.accept(self.process)
            self.monitor.receive()
            self.qmp("qmp_capabilities")
        except Failure as e:
            raise Failure(f"{e}: {self.stop()}{' '.join(self.argv)}") from None

    def stop(self):
        """End this QEMU.  Returns what it printed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.qtest.close()
        self.monitor.close()
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        return text

    def died(self):
        """Whether it crashed before stop()."""
        return self.process.poll() is not None

    def command(self, text):
        """A qtest command."""
        self.qtest.send(text)
        while True:
            words = self.qtest.receive().split()
            if words and words[0] == "IRQ":
                self.irqs.append((words[1], int(words[2])))
                continue
            if not words or words[0] != "OK":
                raise Failure(f"qtest {text!r}: {' '.join(words)}")
            return words[1:]

    def clock_step(self, ns):
        """Let virtual time pass.  Returns the new time."""
        return int(self.command(f"clock_step {ns}")[0])

    def r8(self, addr):
        """Read a byte."""
        return int(self.command(f"readb {addr:#x}")[0], 0)

    def r16(self, addr):
        """Read 16 bits."""
        return int(self.command(f"readw {addr:#x}")[0], 0)

    def r32(self, addr):
        """Read 32 bits."""
        return int(self.command(f"readl {addr:#x}")[0], 0)

    def r64(self, addr):
        """Read 64 bits."""
        return int(self.command(f"readq {addr:#x}")[0], 0)

    def w8(self, addr, val):
        """Write a byte."""
        self.command(f"writeb {addr:#x} {val:#x}")

    def w16(self, addr, val):
        """Write 16 bits."""
        self.command(f"writew {addr:#x} {val:#x}")

    def w32(self, addr, val):
        """Write 32 bits."""
        self.command(f"writel {addr:#x} {val:#x}")

    def w64(self, addr, val):
        """Write 64 bits."""
        self.command(f"writeq {addr:#x} {val:#x}")

    def read(self, addr, size):
        """Read bytes."""
        return bytes.fromhex(self.command(f"read {addr:#x} {size:#x}")[0][2:])

    def write(self, addr, data):
        """Write bytes."""
        self.command(f"write {addr:#x} {len(data):#x} 0x{data.hex()}")

    def qmp(self, execute, **arguments):
        """A QMP command.  Returns its result."""
        self.monitor.send(json.dumps({"execute": execute,
                                      "arguments": arguments}))
        while True:
            answer = json.loads(self.monitor.receive())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Failure(f"QMP {execute}: {answer['error']['desc']}")
            self.events.append(answer["event"])

    def wait_event(self, name):
        """Wait for a QMP event."""
        while name not in self.events:
            self.events.append(json.loads(self.monitor.receive())["event"])
        self.events.remove(name)

    def get(self, path, prop):
        """Read a QOM property."""
        return self.qmp("qom-get", path=path, property=prop)

    def set(self, path, prop, value):
        """Write a QOM property."""
        self.qmp("qom-set", path=path, property=prop, value=value)

    def timeline(self, ev=None):
        """Lines of the timeline, all or those of one kind."""
        with open(self.timeline_path, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        return [x for x in lines if ev is None or x["ev"] == ev]


# --------------------------------------------------------------------------
# Commands

def cfgi_ste(sid):
    """CMD_CFGI_STE, leaf."""
    return struct.pack("<4I", 0x03, sid, 1, 0)


def cfgi_all():
    """CMD_CFGI_ALL."""
    return struct.pack("<4I", 0x04, 0, 31, 0)


def cfgi_cd(sid, ssid, leaf=True):
    """CMD_CFGI_CD."""
    return struct.pack("<4I", 0x05 | ssid << 12, sid, leaf, 0)


def cfgi_cd_all(sid):
    """CMD_CFGI_CD_ALL."""
    return struct.pack("<4I", 0x06, sid, 0, 0)


def tlbi_all():
    """CMD_TLBI_NSNH_ALL."""
    return struct.pack("<4I", 0x30, 0, 0, 0)


def atc_inv(sid, addr=0, size=52, ssid=None, g=False):
    """CMD_ATC_INV of 2^size pages."""
    word0 = 0x40 | (g << 9)
    if ssid is not None:
        word0 |= (1 << 11) | (ssid << 12)
    return struct.pack("<2IQ", word0, sid, (addr & ~0xfff) | size)


def resume(sid, stag, retry=False, abort=True):
    """CMD_RESUME."""
    return struct.pack("<4I", 0x44 | retry << 12 | abort << 13, sid, stag, 0)


def stall_term(sid):
    """CMD_STALL_TERM."""
    return struct.pack("<4I", 0x45, sid, 0, 0)


def sync(cs=0, data=0, addr=0):
    """CMD_SYNC."""
    return struct.pack("<2IQ", 0x46 | (cs << 12), data, addr)


# --------------------------------------------------------------------------
# The machine as the tests see it

class Function:
    """One atc-endpoint."""

    def __init__(self, m, fn=0, ident=None, bus=1):
        self.m = m
        self.q = m.q
        self.fn = fn
        self.sid = bus << 8 | fn
        self.cfg = ECAM + (self.sid << 12)
        self.bar = PCI_MMIO + fn * 0x10000
        self.path = f"/machine/peripheral/{ident or f'ep{fn}'}"
        self.tables = None
        self.eats = 1
        self.ats_cap = None
        self.cd_bits = CD_R | CD_A
        self.s1stalld = False

    # configuration space

    def cap(self, ident):
        """Offset of a capability, 0 if it is not there."""
        return self.m.pci_cap(self.cfg, ident)

    def ext_cap(self, ident):
        """Offset of an extended capability, 0 if it is not there."""
        pos = 0x100
        while pos:
            header = self.q.r32(self.cfg + pos)
            if header & 0xffff == ident:
                return pos
            pos = header >> 20
        return 0

    def enable(self, ats=True):
        """What a driver does first: BAR, memory space, bus master, ATS."""
        self.q.w32(self.cfg + 0x10, self.bar)
        self.q.w32(self.cfg + 0x14, 0)
        self.q.w16(self.cfg + 0x04, 0x6)
        if ats:
            self.ats(True)

    def ats(self, on):
        """Write ATS_CTRL.E."""
        if self.ats_cap is None:
            self.ats_cap = self.ext_cap(EXT_ATS)
        self.q.w16(self.cfg + self.ats_cap + 6, 0x8000 if on else 0)

    def flr(self):
        """Function level reset, and what a driver has to repeat after it."""
        exp = self.cap(CAP_EXP)
        self.q.w16(self.cfg + exp + 8, 0x8000)

    def power(self, state):
        """Write the power state."""
        self.q.w16(self.cfg + self.cap(CAP_PM) + 4, state)

    # stream table and page tables

    def attach(self, config=S1, eats=1, valid=True):
        """Write this function's STE (and context descriptor)."""
        if self.tables is None:
            self.tables = self.m.new_table()
            self.write_cd(CDS + self.fn * 64)
        self.eats = eats
        self.q.write(STRTAB + self.sid * 64, struct.pack(
            "<2Q", (CDS + self.fn * 64) | config << 1 | valid,
            eats << 28 | self.s1stalld << 27).ljust(64, b"\0"))
        self.m.issue(cfgi_ste(self.sid), sync())

    def write_cd(self, cd, tables=None, asid=None):
        """Write a context descriptor; by default that without a SubstreamID."""
        self.q.write(cd, struct.pack(
            "<2IQ", 25 | (1 << 30) | (1 << 31),
            4 | (1 << 9) | self.cd_bits | (asid or self.fn + 1) << 16,
            tables or self.tables).ljust(64, b"\0"))

    def change_cd(self, cd_bits):
        """Another context descriptor, for those without a SubstreamID."""
        self.cd_bits = cd_bits
        self.write_cd(CDS + self.fn * 64)
        self.m.issue(cfgi_ste(self.sid), sync())

    def store_eats(self, eats):
        """Change nothing but EATS in memory."""
        addr = STRTAB + self.sid * 64 + 8
        self.q.w64(addr, self.q.r64(addr) & ~(3 << 28) | eats << 28)

    def map(self, iova, pa, ro=False, block=False, tables=None):
        """Map a page, or a block of 2 MiB."""
        table = tables or self.tables
        for shift in (30, 21):
            entry = table + (iova >> shift & 0x1ff) * 8
            if block and shift == 21:
                self.q.w64(entry, pa | 0x401 | ro << 7)
                return
            val = self.q.r64(entry)
            if not val:
                val = self.m.new_table() | 3
                self.q.w64(entry, val)
            table = val & ~0xfff
        self.q.w64(table + (iova >> 12 & 0x1ff) * 8, pa | 0x403 | ro << 7)

    def unmap(self, iova, tlbi=True):
        """Unmap a page; without an ATC invalidation."""
        table = self.tables
        for shift in (30, 21):
            table = self.q.r64(table + (iova >> shift & 0x1ff) * 8) & ~0xfff
        self.q.w64(table + (iova >> 12 & 0x1ff) * 8, 0)
        if tlbi:
            self.m.issue(tlbi_all(), sync())

    # DMA engine

    def reg(self, offset):
        """Read a register."""
        return self.q.r32(self.bar + offset)

    def dma(self, cmd, iova, length=8):
        """Run a command.  Returns RESULT."""
        self.q.w64(self.bar + REG_IOVA, iova)
        self.q.w32(self.bar + REG_LEN, length)
        self.q.w32(self.bar + REG_CMD, cmd)
        return self.reg(REG_RESULT)

    def put(self, iova, value, flags=0):
        """Write 8 bytes to memory.  Returns RESULT."""
        self.q.w64(self.bar + BUF, value)
        return self.dma(WRITE | flags, iova)

    def fetch(self, iova, flags=0):
        """Read 8 bytes from memory.  Returns RESULT and the value."""
        self.q.w64(self.bar + BUF, 0)
        result = self.dma(READ | flags, iova)
        return result, self.q.r64(self.bar + BUF)

    def ticket(self):
        """The last access that was parked."""
        return self.reg(REG_TICKET)

    def status(self, ticket):
        """What became of it."""
        self.q.w32(self.bar + REG_SELECT, ticket)
        return self.reg(REG_STATUS)

    def park(self, iova, value, cmd=WRITE):
        """An access that is stalled.  Returns its ticket."""
        self.q.w64(self.bar + BUF, value)
        equal(self.dma(cmd | UNTRANSLATED, iova), PARKED, "RESULT")
        return self.ticket()

    # host side

    def get(self, prop):
        """QOM property."""
        return self.q.get(self.path, prop)

    def set(self, prop, value):
        """QOM property."""
        self.q.set(self.path, prop, value)

    def fault(self, name):
        """Break the ATC."""
        self.set("atc-fault", name)


class Machine:
    """virt with an SMMUv3, a root port and functions behind it."""

    def __init__(self, env, functions=1, smmu="", ep="", start=True,
                 ats=True, extra=(), machine="virt,iommu=smmuv3,gic-version=3",
                 bare=False):
        args = ["-M", machine]
        if not bare:
            args += ["-global", "arm-smmuv3.ats=" + ("on" if ats else "off")]
            for prop in smmu.split(",") if smmu else []:
                args += ["-global", "arm-smmuv3." + prop]
            args += ["-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1"]
        for fn in range(functions):
            device = f"atc-endpoint,id=ep{fn},bus=rp0,addr=0.{fn}"
            if functions > 1 and fn == 0:
                device += ",multifunction=on"
            if ep:
                device += "," + ep
            args += ["-device", device]
        self.q = env.start(args + list(extra))
        self.smmu = SMMU
        self.path = "/machine/smmu"
        self.next_table = TABLES
        self.prod = 0
        self.ev_cons = 0
        self.fns = [Function(self, fn) for fn in range(functions)]
        if start:
            self.start()

    def start(self):
        """Bring up bridge, SMMU and functions."""
        self.bridge()
        self.smmu_start()
        for f in self.fns:
            f.enable()
            f.attach()

    def bridge(self):
        """Root port 00:01.0: bus 1 behind it."""
        rp = ECAM + (1 << 15)
        self.q.w32(rp + 0x18, 0x010100)
        self.q.w32(rp + 0x20, 0x11f01000)
        self.q.w32(rp + 0x24, 0x0000fff0)
        self.q.w16(rp + 0x04, 0x6)

    def pci_cap(self, cfg, ident):
        """Offset of a capability, 0 if it is not there."""
        pos = self.q.r8(cfg + 0x34)
        while pos not in (0, 0xff):
            if self.q.r8(cfg + pos) == ident:
                return pos
            pos = self.q.r8(cfg + pos + 1)
        return 0

    def secondary_reset(self):
        """Secondary bus reset of the root port."""
        rp = ECAM + (1 << 15)
        ctl = self.q.r16(rp + 0x3e)
        self.q.w16(rp + 0x3e, ctl | 0x40)
        self.q.w16(rp + 0x3e, ctl & ~0x40)

    def slot_control(self, bits):
        """Write power and indicator control of the slot."""
        rp = ECAM + (1 << 15)
        addr = rp + self.pci_cap(rp, CAP_EXP) + 0x18
        self.q.w16(addr, self.q.r16(addr) & ~0x7c0 | bits)

    def unplug(self, ident):
        """Remove all functions behind the root port."""
        self.q.qmp("device_del", id=ident)
        self.slot_control(0x6c0)        # power indicator blinks
        self.slot_control(0x7c0)        # off, and power off
        self.q.wait_event("DEVICE_DELETED")

    def power_on(self):
        """Power for what was plugged in."""
        self.slot_control(0x1c0)

    def new_table(self):
        """A zeroed page for a page table."""
        addr = self.next_table
        self.next_table += 0x1000
        self.q.command(f"memset {addr:#x} 0x1000 0x0")
        return addr

    # SMMU

    def rd(self, reg):
        """Read an SMMU register."""
        return self.q.r32(self.smmu + reg)

    def wr(self, reg, val):
        """Write an SMMU register."""
        self.q.w32(self.smmu + reg, val)

    def smmu_start(self, cr0=None):
        """Tables, queues, enable."""
        self.q.command(f"memset {STRTAB:#x} {64 << STRTAB_LOG2:#x} 0x0")
        self.q.w64(self.smmu + STRTAB_BASE, STRTAB)
        self.wr(STRTAB_BASE_CFG, STRTAB_LOG2)
        self.q.w64(self.smmu + CMDQ_BASE, CMDQ | CMDQ_LOG2)
        self.q.w64(self.smmu + EVTQ_BASE, EVTQ | EVTQ_LOG2)
        self.wr(CMDQ_PROD, 0)
        self.wr(CMDQ_CONS, 0)
        self.wr(EVTQ_PROD, 0)
        self.wr(EVTQ_CONS, 0)
        self.prod = self.ev_cons = 0
        self.wr(IRQ_CTRL, 0x5)
        if cr0 is None:
            cr0 = CR0_CMDQEN | CR0_EVTQEN | CR0_SMMUEN | CR0_ATSCHK
        self.wr(CR0, cr0)
        self.issue(cfgi_all(), tlbi_all(), sync())

    def queue(self, *cmds):
        """Write commands to the queue and move PROD, whatever comes of it."""
        for cmd in cmds:
            index = self.prod & ((1 << CMDQ_LOG2) - 1)
            self.q.write(CMDQ + index * 16, cmd)
            self.prod = (self.prod + 1) & ((2 << CMDQ_LOG2) - 1)
        self.wr(CMDQ_PROD, self.prod)

    def issue(self, *cmds):
        """Commands that have to complete at once."""
        self.queue(*cmds)
        equal(self.cons(), self.prod, "CMDQ_CONS")

    def cons(self):
        """CMDQ_CONS.RD with the wrap bit."""
        return self.rd(CMDQ_CONS) & ((2 << CMDQ_LOG2) - 1)

    def err(self):
        """CMDQ_CONS.ERR."""
        return self.rd(CMDQ_CONS) >> 24 & 0x7f

    def cmdq_error(self):
        """Is there an unacknowledged command queue error?"""
        return bool((self.rd(GERROR) ^ self.rd(GERRORN)) & GERROR_CMDQ)

    def ack(self):
        """Acknowledge a command queue error."""
        check(self.cmdq_error(), "no error to acknowledge")
        self.wr(GERRORN, self.rd(GERRORN) ^ GERROR_CMDQ)

    def waits_at(self, cons, what="the queue"):
        """The queue waits at this command, without an error."""
        equal(self.cons(), cons, f"CONS, {what} waits")
        check(not self.cmdq_error(), f"{what} has an error instead of waiting")

    def failed_at(self, cons, error=CERROR_ATC_INV_SYNC):
        """The queue has halted with an error at this command."""
        check(self.cmdq_error(), "no command queue error")
        equal(self.cons(), cons, "CONS at the error")
        equal(self.err(), error, "CMDQ_CONS.ERR")

    def idle(self):
        """Everything is consumed and there is no error."""
        check(not self.cmdq_error(), "there is a command queue error")
        equal(self.cons(), self.prod, "CMDQ_CONS")

    def records(self):
        """New event records, with all that is in them; CONS stays."""
        prod = self.rd(EVTQ_PROD) & ((2 << EVTQ_LOG2) - 1)
        out = []
        while self.ev_cons != prod:
            index = self.ev_cons & ((1 << EVTQ_LOG2) - 1)
            w = struct.unpack("<4I2Q", self.q.read(EVTQ + index * 32, 32))
            out.append({"type": w[0] & 0xff, "ssv": w[0] >> 11 & 1,
                        "ssid": w[0] >> 12, "sid": w[1], "stag": w[2] & 0xffff,
                        "stall": w[2] >> 31, "read": w[3] >> 3 & 1,
                        "s2": w[3] >> 7 & 1, "addr": w[4]})
            self.ev_cons = (self.ev_cons + 1) & ((2 << EVTQ_LOG2) - 1)
        return out

    def stalled(self, count=1):
        """So many new records of stalls.  Returns them, and gives them back."""
        records = self.records()
        equal(len(records), count, f"number of events in {records}")
        for r in records:
            equal((r["stall"], r["type"]), (1, F_TRANSLATION), f"Stall, type of {r}")
        self.wr(EVTQ_CONS, self.ev_cons)
        return records

    def stall_counts(self, **want):
        """The counters add up, and are these."""
        have = {k: self.get(f"stat-{v}") for k, v in STALL_STATS.items()}
        have["parked"] = self.get("stalls-parked")
        equal(have["stalled"], sum(have[k] for k in
                                   ("retried", "aborted", "terminated", "parked")),
              f"the sum of {have}")
        for name, value in want.items():
            equal(have[name], value, name)

    def events(self):
        """New event records, as (type, sid, read, address)."""
        prod = self.rd(EVTQ_PROD) & ((2 << EVTQ_LOG2) - 1)
        out = []
        while self.ev_cons != prod:
            index = self.ev_cons & ((1 << EVTQ_LOG2) - 1)
            w = struct.unpack("<4I2Q", self.q.read(EVTQ + index * 32, 32))
            out.append((w[0] & 0xff, w[1], w[3] >> 3 & 1, w[4]))
            self.ev_cons = (self.ev_cons + 1) & ((2 << EVTQ_LOG2) - 1)
        self.wr(EVTQ_CONS, self.ev_cons)
        return out

    def event(self, kind, sid, addr, read=None):
        """There is one new event, and it is this one."""
        evs = self.events()
        equal(len(evs), 1, f"number of events in {evs}")
        equal(evs[0][0], kind, "type of the event")
        equal(evs[0][1], sid, "StreamID of the event")
        equal(evs[0][3], addr, "address of the event")
        if read is not None:
            equal(evs[0][2], read, "RnW of the event")

    def no_event(self):
        """Nothing was recorded."""
        equal(self.events(), [], "events")

    def get(self, prop):
        """QOM property of the SMMU."""
        return self.q.get(self.path, prop)

    def set(self, prop, value):
        """QOM property of the SMMU."""
        self.q.set(self.path, prop, value)

    def step(self, ns):
        """Let time pass."""
        self.q.clock_step(ns)


# --------------------------------------------------------------------------
# Tests

TESTS = []

IOVA, IOVA2 = 0x30000000, 0x30001000
PAGE, PAGE2 = PAGES, PAGES + 0x1000
OLD, NEW, STALE = 0x1111111111111111, 0x2222222222222222, 0x5555555555555555
TIMEOUT = 10 * MS               # default of atc-inv-timeout-us
RESUMED = 2000                  # a resumed access goes on within so many ns
STALL_STATS = {"stalled": "stalled", "retried": "stall-retried",
               "aborted": "stall-aborted", "terminated": "stall-terminated",
               "unmatched": "resume-unmatched"}


def test(fn):
    """Decorator: a test."""
    TESTS.append(fn)
    return fn


def one(env, **kw):
    """A machine with one function and two pages mapped."""
    m = Machine(env, **kw)
    f = m.fns[0]
    f.map(IOVA, PAGE)
    f.map(IOVA2, PAGE2)
    m.q.w64(PAGE, OLD)
    m.q.w64(PAGE2, OLD)
    return m, f, m.q


def several(env, n, **kw):
    """A machine with n functions and a page mapped for each of them."""
    m = Machine(env, functions=n, **kw)
    for f in m.fns:
        f.map(IOVA, PAGE + f.fn * 0x1000)
    return m, m.fns, m.q


def cached(f, iova=IOVA):
    """Make the function cache a translation, with a write that lands."""
    equal(f.put(iova, OLD), OK, "write that fills the ATC")
    equal(f.reg(REG_FLAGS) & 1, 1, "it was translated")


# --- registers and what firmware tables say

@test
def idr0_ats(env):
    """IDR0.ATS follows the property."""
    equal(Machine(env).rd(IDR0) >> 10 & 1, 1, "IDR0.ATS with ats=on")
    env.restart()
    equal(Machine(env, ats=False).rd(IDR0) >> 10 & 3, 0,
          "IDR0.ATS and NS1ATS with ats=off")


@test
def idr0_default(env):
    """Without the property the SMMU is what it was: no ATS."""
    m = Machine(env, functions=0, bare=True, start=False)
    equal(m.rd(IDR0) >> 10 & 3, 0, "IDR0.ATS and NS1ATS")


@test
def device_tree(env):
    """The host bridge node has ats-supported with ats=on only."""
    blobs = []
    for onoff in ("on", "off"):
        path = os.path.join(env.dir, "dtb-" + onoff)
        subprocess.run([env.binary, "-accel", "qtest", "-display", "none",
                        "-nodefaults", "-M", f"virt,iommu=smmuv3,dumpdtb={path}",
                        "-global", "arm-smmuv3.ats=" + onoff], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(path, "rb") as f:
            blobs.append(b"ats-supported\0" in f.read())
    equal(blobs, [True, False], "ats-supported in the device tree")


def fw_cfg_read(q, key, size):
    """Read a fw_cfg item, with the DMA interface."""
    request, data = RAM + 0x1000000, RAM + 0x1001000
    q.write(request, struct.pack(">2IQ", key << 16 | 0xa, size, data))
    q.w32(FW_CFG + 0x10, 0)
    q.w32(FW_CFG + 0x14, int.from_bytes(struct.pack(">I", request), "little"))
    equal(q.read(request, 4), bytes(4), "status of the fw_cfg transfer")
    return q.read(data, size)


def acpi_tables(q):
    """The ACPI tables that firmware would find."""
    count = struct.unpack(">I", fw_cfg_read(q, 0x19, 4))[0]
    entries = fw_cfg_read(q, 0x19, 4 + 64 * count)[4:]
    for i in range(count):
        size, key, _, name = struct.unpack_from(">I2H56s", entries, 64 * i)
        if name.rstrip(b"\0") == b"etc/acpi/tables":
            return fw_cfg_read(q, key, size)
    raise Failure("no ACPI tables")


@test
def iort(env):
    """The root complex node of the IORT has the ATS attribute with ats=on
    only."""
    got = []
    for onoff in (True, False):
        tables = acpi_tables(Machine(env, ats=onoff, start=False).q)
        start = tables.index(b"IORT")
        nodes, offset = struct.unpack_from("<2I", tables, start + 36)
        for _ in range(nodes):
            kind, size = struct.unpack_from("<BH", tables, start + offset)
            if kind == 2:
                got += struct.unpack_from("<I", tables, start + offset + 24)
            offset += size
        env.restart()
    equal(got, [1, 0], "ATS attributes")


@test
def help_describes_properties(env):
    """Every property of the interface exists and explains itself."""
    want = {
        "arm-smmuv3": ["ats", "atc-inv-timeout-us", "atc-inv-sync-repeat",
                       "cons-err-sticky", "stat-cerror-atc-inv",
                       "stat-atc-inv", "stat-sync"],
        "atc-endpoint": ["acs", "flr", "atc-size", "atc-fault",
                         "atc-silent-next", "reset-ready-ms", "dead",
                         "stat-inv-received", "stat-inv-answered",
                         "stat-inv-dropped", "stat-ats-requests",
                         "stat-ats-refused", "stat-translated-reads-landed",
                         "stat-translated-reads-refused",
                         "stat-translated-writes-landed",
                         "stat-translated-writes-refused",
                         "stat-untranslated-landed",
                         "stat-untranslated-refused", "stat-flr",
                         "atc-entries", "ats-enabled"],
    }
    for device, props in want.items():
        text = subprocess.run([env.binary, "-device", device + ",help"],
                              check=True, capture_output=True,
                              encoding="utf-8").stdout
        for prop in props:
            lines = [x for x in text.splitlines()
                     if x.split("=")[0].strip() == prop]
            check(lines, f"{device} has no property {prop}")
            check(" - " in lines[0] and
                  len(lines[0].split(" - ", 1)[1].strip()) > 8,
                  f"{device}.{prop} has no description: {lines[0]}")


@test
def smmu_defaults(env):
    """Defaults of the SMMU's properties; they change at run time."""
    m = Machine(env)
    equal(m.get("atc-inv-timeout-us"), 10000, "atc-inv-timeout-us")
    equal(m.get("atc-inv-sync-repeat"), 0, "atc-inv-sync-repeat")
    equal(m.get("cons-err-sticky"), False, "cons-err-sticky")
    equal(m.q.get("/machine/smmu", "type"), "arm-smmuv3", "type of the path")
    for prop, value in (("atc-inv-timeout-us", 1 << 40),
                        ("atc-inv-sync-repeat", 7),
                        ("cons-err-sticky", True)):
        m.set(prop, value)
        equal(m.get(prop), value, prop)


# --- the endpoint

@test
def endpoint_config_space(env):
    """IDs and capabilities."""
    m = Machine(env, start=False)
    f = m.fns[0]
    m.bridge()
    equal(m.q.r32(f.cfg), 0xa7c01234, "vendor and device")
    equal(m.q.r32(f.cfg + 8) >> 16, 0xff00, "class")
    equal(m.q.r32(f.cfg + 0x10) & 0xf, 0x4, "BAR 0 is 64-bit memory")
    m.q.w32(f.cfg + 0x10, 0xffffffff)
    equal(m.q.r32(f.cfg + 0x10) & ~0xf, 0xffff0000, "size of BAR 0")
    for cap in (CAP_PM, CAP_MSI, CAP_EXP):
        check(f.cap(cap), f"no capability {cap:#x}")
    check(m.q.r32(f.cfg + f.cap(CAP_EXP) + 4) >> 28 & 1, "no FLR")
    equal(f.ext_cap(EXT_ATS), 0x100, "place of the ATS capability")
    equal(m.q.r16(f.cfg + 0x106), 0, "ATS_CTRL after power-on")


@test
def cmdq_log2(env):
    """cmdq-log2: IDR1.CMDQS, and no queue gets longer; stat-cmdq-max."""
    m = Machine(env)
    equal(m.rd(IDR1) >> 21 & 31, 19, "IDR1.CMDQS by default")
    equal(m.get("stat-cmdq-max"), 3, "stat-cmdq-max")
    env.restart()
    # A guest that asks for more gets a queue of 8: it wraps after 8 commands.
    m = Machine(env, smmu="cmdq-log2=3", start=False)
    equal(m.rd(IDR1) >> 21 & 31, 3, "IDR1.CMDQS")
    m.smmu_start()
    m.queue(*[sync()] * 4)
    equal(m.rd(CMDQ_CONS) & 15, 7, "CONS before the end of the queue")
    m.q.write(CMDQ + 7 * 16, sync())
    m.q.write(CMDQ, cfgi_all())
    m.q.write(CMDQ + 8 * 16, struct.pack("<4I", 0xff, 0, 0, 0))
    m.wr(CMDQ_PROD, 9)
    equal((m.rd(CMDQ_CONS) & 15, m.cmdq_error()), (9, False),
          "CONS behind the wrap")


@test
def ril(env):
    """ril: IDR3.RIL."""
    equal(Machine(env).rd(IDR3) >> 10 & 1, 1, "IDR3.RIL by default")
    env.restart()
    equal(Machine(env, smmu="ril=off").rd(IDR3) >> 10 & 1, 0, "IDR3.RIL")


@test
def endpoint_options(env):
    """acs, flr, aer and ats decide about capabilities."""
    m = Machine(env, functions=2, start=False)
    m.bridge()
    for f in m.fns:
        check(f.ext_cap(EXT_ACS), f"function {f.fn} has no ACS capability")
        check(not f.ext_cap(EXT_AER), f"function {f.fn} has AER")
    env.restart()
    m = Machine(env, functions=2, ep="acs=off,flr=off,aer=on", start=False)
    m.bridge()
    for f in m.fns:
        check(not f.ext_cap(EXT_ACS), f"function {f.fn} has ACS")
        check(f.ext_cap(EXT_AER), f"function {f.fn} has no AER")
        equal(m.q.r32(f.cfg + f.cap(CAP_EXP) + 4) >> 28 & 1, 0, "FLR bit")
    env.restart()
    m = Machine(env, functions=2, ep="ats=off", start=False)
    m.bridge()
    for f in m.fns:
        check(not f.ext_cap(EXT_ATS), f"function {f.fn} has ATS")
        check(f.ext_cap(EXT_ACS), f"function {f.fn} has no ACS capability")


@test
def endpoint_registers(env):
    """32 and 64 bit accesses to the registers and the buffer."""
    m, f, q = one(env)
    equal(f.reg(REG_ID), 0xa7c00001, "ID")
    q.w64(f.bar + REG_IOVA, 0x123456789abcdef0)
    equal(q.r64(f.bar + REG_IOVA), 0x123456789abcdef0, "IOVA, 64 bits")
    q.w32(f.bar + REG_IOVA + 4, 0xcafe)
    equal(q.r64(f.bar + REG_IOVA), 0xcafe9abcdef0, "IOVA, upper half")
    q.w64(f.bar + BUF + 0xff8, NEW)
    equal(q.r64(f.bar + BUF + 0xff8), NEW, "end of the buffer")
    equal(q.r32(f.bar + BUF + 0xffc), NEW >> 32, "its last 32 bits")
    equal(m.get("stat-atc-inv"), 0, "no invalidation yet")


@test
def endpoint_bad_parameters(env):
    """LEN and page crossing are checked."""
    m, f, _ = one(env)
    for iova, length in ((IOVA, 0), (IOVA, 4097), (IOVA + 1, 4096),
                         (IOVA + 0xff9, 8)):
        for cmd in (READ, WRITE, READ | UNTRANSLATED):
            equal(f.dma(cmd, iova, length), BAD,
                  f"command {cmd:#x} at {iova:#x} of {length}")
    for cmd in (0, 4, WRITE | UNTRANSLATED | HIT_ONLY, WRITE | 0x800):
        equal(f.dma(cmd, IOVA), BAD, f"command {cmd:#x}")
    equal(f.dma(READ, IOVA + 0xff8), OK, "up to the end of the page")
    equal(f.dma(WRITE, IOVA, 4096), OK, "a whole page")
    m.no_event()


@test
def endpoint_msi(env):
    """REG_IRQ sends the MSI, which is never translated by the ATC."""
    _, f, q = one(env)
    cap = f.cap(CAP_MSI)
    q.w32(f.cfg + cap + 4, IOVA2 + 0x40)
    q.w32(f.cfg + cap + 8, 0)
    q.w16(f.cfg + cap + 12, 0xbeef)
    q.w16(f.cfg + cap + 2, 1)
    requests = f.get("stat-ats-requests")
    q.w32(f.bar + REG_IRQ, 1)
    for _ in range(100):
        if q.r32(PAGE2 + 0x40) == 0xbeef:
            break
        q.clock_step(1)
    equal(q.r32(PAGE2 + 0x40), 0xbeef, "data of the MSI")
    equal(f.get("stat-ats-requests"), requests, "translation requests")


@test
def endpoint_mark(env):
    """REG_MARK writes a line to the timeline."""
    _, f, q = one(env)
    q.clock_step(1234)
    q.w32(f.bar + REG_MARK, 4711)
    marks = q.timeline("mark")
    equal([x["val"] for x in marks], [4711], "marks")
    check(marks[0]["t"] >= 1234, "time of the mark")


# --- translation

@test
def untranslated(env):
    """Untranslated accesses go through the page tables."""
    m, f, q = one(env)
    equal(f.put(IOVA, NEW, UNTRANSLATED), OK, "write")
    equal(q.r64(PAGE), NEW, "memory after the write")
    equal(f.fetch(IOVA, UNTRANSLATED), (OK, NEW), "read")
    equal(f.reg(REG_FLAGS), 0, "FLAGS")
    equal(f.get("stat-untranslated-landed"), 2, "stat-untranslated-landed")
    m.no_event()
    equal(f.put(IOVA + 0x100000, NEW, UNTRANSLATED), REFUSED, "unmapped")
    equal(f.get("stat-untranslated-refused"), 1, "stat-untranslated-refused")
    m.event(F_TRANSLATION, f.sid, IOVA + 0x100000)
    equal(f.get("stat-ats-requests"), 0, "stat-ats-requests")


@test
def translated(env):
    """The first access asks, the second uses the ATC; both reach memory."""
    m, f, q = one(env)
    equal(f.put(IOVA + 8, NEW), OK, "first write")
    equal(q.r64(PAGE + 8), NEW, "memory after the first write")
    equal(f.reg(REG_FLAGS), 1, "FLAGS of a miss")
    equal(q.r64(f.bar + REG_PA), PAGE + 8, "PA")
    equal(f.reg(REG_ENTRIES), 1, "entries")
    equal(f.put(IOVA + 16, STALE), OK, "second write")
    equal(q.r64(PAGE + 16), STALE, "memory after the second write")
    equal(f.reg(REG_FLAGS), 3, "FLAGS of a hit")
    equal(f.fetch(IOVA + 8), (OK, NEW), "read")
    equal(f.get("stat-ats-requests"), 1, "stat-ats-requests")
    equal(f.get("stat-translated-writes-landed"), 2, "writes landed")
    equal(f.get("stat-translated-reads-landed"), 1, "reads landed")
    m.no_event()
    landed = q.timeline("translated-landed")
    equal([(x["sid"], x["write"]) for x in landed],
          [(f.sid, True), (f.sid, True), (f.sid, False)], "timeline")


@test
def prefetch(env):
    """PREFETCH fills the ATC and touches no memory."""
    m, f, q = one(env)
    equal(f.dma(PREFETCH, IOVA), OK, "prefetch")
    equal(f.get("atc-entries"), 1, "entries")
    equal(q.r64(PAGE), OLD, "memory")
    equal(f.put(IOVA, NEW, HIT_ONLY), OK, "hit-only write")
    equal(f.reg(REG_FLAGS), 3, "FLAGS")
    equal(q.r64(PAGE), NEW, "memory")
    equal(f.dma(PREFETCH, IOVA), OK, "prefetch again")
    equal(f.get("stat-ats-requests"), 2, "a prefetch always asks")
    equal(f.get("atc-entries"), 1, "entries")
    m.no_event()


@test
def unmapped_page(env):
    """A request for an unmapped page succeeds with R = W = 0: no event."""
    m, f, _ = one(env)
    equal(f.dma(PREFETCH, IOVA + 0x100000), NO_PERM, "prefetch")
    equal(f.dma(PREFETCH | NO_WRITE, IOVA + 0x40000000), NO_PERM,
          "prefetch where even the table is missing")
    equal(f.put(IOVA + 0x100000, NEW), NO_PERM, "write")
    equal(f.get("atc-entries"), 0, "entries")
    equal(f.get("stat-ats-requests"), 3, "stat-ats-requests")
    equal(f.get("stat-ats-refused"), 0, "stat-ats-refused")
    m.no_event()


@test
def read_only_page(env):
    """A read-only page gives R = 1, W = 0."""
    m, f, q = one(env)
    f.map(IOVA + 0x5000, PAGE + 0x5000, ro=True)
    q.w64(PAGE + 0x5000, OLD)
    equal(f.dma(PREFETCH, IOVA + 0x5000), NO_PERM, "prefetch for writing")
    equal(f.get("atc-entries"), 1, "the read-only entry is cached")
    equal(f.fetch(IOVA + 0x5000, HIT_ONLY), (OK, OLD), "read")
    equal(f.put(IOVA + 0x5000, NEW, HIT_ONLY), NO_PERM, "hit-only write")
    equal(f.put(IOVA + 0x5000, NEW), NO_PERM, "write")
    equal(q.r64(PAGE + 0x5000), OLD, "memory")
    m.no_event()


@test
def no_write_flag(env):
    """A request with No Write brings no write permission."""
    m, f, _ = one(env)
    equal(f.dma(PREFETCH | NO_WRITE, IOVA), OK, "prefetch")
    equal(f.fetch(IOVA, HIT_ONLY)[0], OK, "read")
    equal(f.put(IOVA, NEW, HIT_ONLY), NO_PERM, "write")
    equal(f.put(IOVA, NEW), OK, "write that may ask again")
    equal(f.reg(REG_FLAGS), 1, "it did ask")
    equal(f.get("atc-entries"), 1, "entries")
    m.no_event()


@test
def hit_only(env):
    """A stale device never asks."""
    _, f, q = one(env)
    equal(f.put(IOVA, NEW, HIT_ONLY), NO_ENTRY, "write on an empty ATC")
    equal(q.r64(PAGE), OLD, "memory")
    equal(f.get("stat-ats-requests"), 0, "stat-ats-requests")


@test
def block_mapping(env):
    """One translation covers a block; any page of it takes it back."""
    m, f, q = one(env)
    f.map(0x40000000, RAM + 0x1000000, block=True)
    equal(f.put(0x40000000 + 0x12340, NEW), OK, "write")
    equal(q.r64(RAM + 0x1012340), NEW, "memory")
    equal(f.put(0x40000000 + 0x1ff000, NEW, HIT_ONLY), OK, "another page")
    equal(q.r64(RAM + 0x11ff000), NEW, "memory")
    equal(f.get("atc-entries"), 1, "entries")
    m.issue(atc_inv(f.sid, 0x40000000 + 0x5000, 0), sync())
    equal(f.get("atc-entries"), 0, "entries")


@test
def capacity(env):
    """The least recently used translation makes room."""
    _, f, _ = one(env, ep="atc-size=2")
    f.map(IOVA + 0x2000, PAGE + 0x2000)
    cached(f, IOVA)
    cached(f, IOVA2)
    cached(f, IOVA)
    cached(f, IOVA + 0x2000)
    equal(f.get("atc-entries"), 2, "entries")
    equal(f.fetch(IOVA, HIT_ONLY)[0], OK, "recently used")
    equal(f.fetch(IOVA2, HIT_ONLY)[0], NO_ENTRY, "least recently used")


# --- who may use ATS

@test
def ats_disabled_in_function(env):
    """ATS_CTRL.E = 0: nothing is requested, accesses are untranslated."""
    m, f, q = one(env)
    f.ats(False)
    equal(f.get("ats-enabled"), False, "ats-enabled")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    equal(f.put(IOVA, NEW), OK, "write")
    equal(f.reg(REG_FLAGS), 0, "FLAGS")
    equal(q.r64(PAGE), NEW, "memory")
    equal(f.get("stat-ats-requests"), 0, "stat-ats-requests")
    m.no_event()
    f.ats(True)
    equal(f.get("ats-enabled"), True, "ats-enabled")
    cached(f)
    f.ats(False)
    equal(f.get("atc-entries"), 0, "a healthy function forgets")


@test
def eats_zero(env):
    """EATS = 0 refuses requests with 0x05 and translated accesses with 0x07,
    from CMD_CFGI_STE on."""
    m, f, q = one(env)
    cached(f)
    f.store_eats(0)
    equal(f.put(IOVA, NEW, HIT_ONLY), OK, "write before CMD_CFGI_STE")
    equal(q.r64(PAGE), NEW, "it lands: the old STE is cached")
    m.no_event()

    m.issue(cfgi_ste(f.sid), sync())
    equal(f.put(IOVA + 8, STALE, HIT_ONLY), REFUSED, "write")
    equal(f.reg(REG_FLAGS), 3, "it went out as a translated one")
    equal(q.r64(PAGE + 8), 0, "memory")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE + 8, read=0)
    equal(f.fetch(IOVA, HIT_ONLY)[0], REFUSED, "read")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE, read=1)
    equal(f.dma(PREFETCH, IOVA2), ATS_REFUSED, "prefetch")
    m.event(F_BAD_ATS_TREQ, f.sid, IOVA2)
    equal(f.put(IOVA2, NEW), ATS_REFUSED, "write that has to ask")
    m.event(F_BAD_ATS_TREQ, f.sid, IOVA2)
    equal(f.put(IOVA2, NEW, UNTRANSLATED), OK, "untranslated write")
    equal(q.r64(PAGE2), NEW, "memory")
    m.no_event()
    equal(f.get("stat-translated-writes-refused"), 1, "writes refused")
    equal(f.get("stat-translated-reads-refused"), 1, "reads refused")
    equal(f.get("stat-ats-refused"), 2, "requests refused")
    equal([(x["sid"], x["event"], x["write"], x["reason"])
           for x in q.timeline("translated-refused")],
          [(f.sid, 7, True, "eats"), (f.sid, 7, False, "eats")], "timeline")

    f.store_eats(1)
    m.issue(cfgi_ste(f.sid), sync())
    equal(f.put(IOVA, NEW, HIT_ONLY), OK, "write with EATS = 1 again")


@test
def eats_reserved(env):
    """Split-stage and DPT do not exist here: as EATS = 0."""
    m, f, _ = one(env)
    for eats in (2, 3):
        f.attach(eats=eats)
        equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, f"prefetch, EATS = {eats}")
        m.event(F_BAD_ATS_TREQ, f.sid, IOVA)


@test
def config_bypass(env):
    """Config bypass refuses ATS with the same events, whatever EATS says."""
    m, f, q = one(env)
    cached(f)
    f.attach(config=BYPASS, eats=1)
    equal(f.put(IOVA, STALE, HIT_ONLY), REFUSED, "write")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE, read=0)
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    m.event(F_BAD_ATS_TREQ, f.sid, IOVA)
    equal(q.r64(PAGE), OLD, "memory")
    equal(f.put(PAGE, NEW, UNTRANSLATED), OK, "untranslated write")
    equal(q.r64(PAGE), NEW, "memory")
    equal(q.timeline("translated-refused")[0]["reason"], "config", "reason")


@test
def config_abort(env):
    """Config abort refuses everything silently."""
    m, f, q = one(env)
    cached(f)
    f.attach(config=ABORT, eats=1)
    equal(f.put(IOVA, STALE, HIT_ONLY), REFUSED, "write")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    equal(f.put(IOVA, STALE, UNTRANSLATED), REFUSED, "untranslated write")
    equal(q.r64(PAGE), OLD, "memory")
    m.no_event()
    refused = q.timeline("translated-refused")
    equal((refused[0]["reason"], refused[0]["event"]), ("config", 0),
          "timeline")


@test
def ste_invalid(env):
    """An invalid STE refuses; IDR0.ATSRECERR = 0: without an event."""
    m, f, q = one(env)
    cached(f)
    f.attach(valid=False)
    equal(f.put(IOVA, STALE, HIT_ONLY), REFUSED, "write")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    m.no_event()
    equal(q.r64(PAGE), OLD, "memory")
    equal(q.timeline("translated-refused")[0]["reason"], "table", "reason")


@test
def atschk_off(env):
    """ATSCHK = 0 lets translated accesses through; requests are checked."""
    m, f, q = one(env)
    cached(f)
    f.attach(eats=0)
    m.wr(CR0, m.rd(CR0) & ~CR0_ATSCHK)
    equal(m.rd(CR0ACK) & CR0_ATSCHK, 0, "CR0ACK.ATSCHK")
    equal(f.put(IOVA, STALE, HIT_ONLY), OK, "write")
    equal(q.r64(PAGE), STALE, "memory")
    m.no_event()
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    m.event(F_BAD_ATS_TREQ, f.sid, IOVA)
    m.wr(CR0, m.rd(CR0) | CR0_ATSCHK)
    equal(f.put(IOVA, NEW, HIT_ONLY), REFUSED, "write with ATSCHK again")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE, read=0)


@test
def smmu_disabled(env):
    """SMMUEN = 0: requests are refused silently; GBPA decides the rest."""
    m, f, q = one(env)
    cached(f)
    m.wr(CR0, m.rd(CR0) & ~CR0_SMMUEN)
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    equal(f.put(IOVA, NEW, HIT_ONLY), OK, "write with GBPA.ABORT = 0")
    equal(q.r64(PAGE), NEW, "memory")
    m.wr(GBPA, 1 << 31 | 1 << 20)
    equal(f.put(IOVA, STALE, HIT_ONLY), REFUSED, "write with GBPA.ABORT = 1")
    equal(f.put(PAGE, STALE, UNTRANSLATED), REFUSED, "untranslated")
    equal(q.r64(PAGE), NEW, "memory")
    m.no_event()


@test
def event_queue_overflow(env):
    """A flood of refused accesses overflows the event queue, and that is
    no error of the queue."""
    m, f, _ = one(env)
    cached(f)
    f.attach(eats=0)
    room = 1 << EVTQ_LOG2
    for _ in range(room):
        f.put(IOVA, STALE, HIT_ONLY)
    equal(m.rd(EVTQ_PROD), room, "EVENTQ_PROD of a full queue")
    for _ in range(3):
        f.put(IOVA, STALE, HIT_ONLY)
        equal(m.rd(EVTQ_PROD), 1 << 31 | room, "EVENTQ_PROD, events lost")
    equal(m.rd(GERROR), m.rd(GERRORN), "GERROR")
    equal(len(m.events()), room, "events")
    m.wr(EVTQ_CONS, 1 << 31 | room)
    f.put(IOVA, STALE, HIT_ONLY)
    equal(m.rd(EVTQ_PROD), 1 << 31 | room + 1, "EVENTQ_PROD, acknowledged")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE, read=0)


@test
def bus_master_off(env):
    """Without bus mastering nothing leaves the function."""
    m, f, q = one(env)
    cached(f)
    q.w16(f.cfg + 4, 2)
    equal(f.put(IOVA, NEW, HIT_ONLY), REFUSED, "translated write")
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "untranslated write")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    equal(q.r64(PAGE), OLD, "memory")
    m.no_event()


# --- invalidation

@test
def stale_without_invalidation(env):
    """Unmap + TLBI alone leave a device that writes to the old page."""
    m, f, q = one(env)
    cached(f)
    f.unmap(IOVA)
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "untranslated write")
    m.event(F_TRANSLATION, f.sid, IOVA)
    equal(f.put(IOVA, STALE), OK, "stale write")
    equal(q.r64(PAGE), STALE, "it corrupts memory")
    m.issue(atc_inv(f.sid, IOVA, 0), sync())
    equal(f.put(IOVA, NEW, HIT_ONLY), NO_ENTRY, "after the invalidation")
    equal(f.put(IOVA, NEW), NO_PERM, "and when it asks")


@test
def invalidate_ranges(env):
    """Address, size, global and SubstreamID decide what goes."""
    m, f, _ = one(env)
    for i in range(2, 8):
        f.map(IOVA + i * 0x1000, PAGE + i * 0x1000)

    def fill():
        m.issue(atc_inv(f.sid), sync())
        equal(f.get("atc-entries"), 0, "entries after invalidate-all")
        for i in range(8):
            equal(f.dma(PREFETCH, IOVA + i * 0x1000), OK, f"prefetch {i}")

    def left():
        return [i for i in range(8)
                if f.fetch(IOVA + i * 0x1000, HIT_ONLY)[0] == OK]

    fill()
    m.issue(atc_inv(f.sid, IOVA + 0x3000, 0), sync())
    equal(left(), [0, 1, 2, 4, 5, 6, 7], "one page")
    fill()
    m.issue(atc_inv(f.sid, IOVA + 0x4000, 2), sync())
    equal(left(), [0, 1, 2, 3], "four pages")
    fill()
    m.issue(atc_inv(f.sid, IOVA + 0x100000, 3), sync())
    equal(left(), list(range(8)), "other pages")
    m.issue(atc_inv(f.sid, IOVA, 0, ssid=0), sync())
    equal(left(), list(range(8)), "with a SubstreamID: other translations")
    m.issue(atc_inv(f.sid, IOVA, 0, ssid=0, g=True), sync())
    equal(left(), list(range(8)), "global: every PASID, and these have none")
    m.issue(atc_inv(f.sid + 1), sync())
    equal(left(), list(range(8)), "another StreamID")
    m.issue(atc_inv(f.sid, 0, 51), sync())
    equal(left(), [], "half of everything")


@test
def answers_before_ats_is_enabled(env):
    """A function answers also with ATS_CTRL.E = 0."""
    m, f, _ = one(env)
    f.ats(False)
    m.issue(atc_inv(f.sid), sync())
    equal(f.get("stat-inv-answered"), 1, "stat-inv-answered")


@test
def no_function(env):
    """CMD_ATC_INV to nobody completes without error."""
    m, _, _ = one(env)
    for sid in (0x107, 0x1ff, 0x000, 0x2345, 0xffffffff):
        m.issue(atc_inv(sid), sync())
    m.idle()
    equal(m.get("stat-atc-inv"), 5, "stat-atc-inv")


@test
def other_devices(env):
    """A function without an ATC answers at once."""
    m = Machine(env, extra=["-device", "edu,bus=pcie.0,addr=5.0"])
    m.issue(atc_inv(0x28), sync())


@test
def counters(env):
    """Counters of a healthy function and of the SMMU."""
    m, f, _ = one(env)
    syncs = m.get("stat-sync")
    for _ in range(3):
        m.issue(atc_inv(f.sid), sync())
    equal(f.get("stat-inv-received"), 3, "stat-inv-received")
    equal(f.get("stat-inv-answered"), 3, "stat-inv-answered")
    equal(f.get("stat-inv-dropped"), 0, "stat-inv-dropped")
    equal(m.get("stat-atc-inv"), 3, "stat-atc-inv")
    equal(m.get("stat-sync") - syncs, 3, "stat-sync")
    equal(m.get("stat-cerror-atc-inv"), 0, "stat-cerror-atc-inv")


# --- silence

@test
def silent(env):
    """The CMD_SYNC waits, then fails; CONS stays on it; the
    acknowledgement resumes; what is behind it waits all that time."""
    m, f, q = one(env)
    cached(f)
    f.unmap(IOVA)
    f.fault("silent")
    received = f.get("stat-inv-received")
    start = m.prod
    m.queue(atc_inv(f.sid, IOVA, 0), sync(), tlbi_all(),
            atc_inv(f.sid + 8), sync())
    at = start + 1
    m.waits_at(at)
    equal(f.get("stat-inv-received") - received, 1, "stat-inv-received")
    m.step(TIMEOUT - 1)
    m.waits_at(at, "one ns before the timeout, the queue")
    m.step(1)
    m.failed_at(at)
    equal(m.get("stat-cerror-atc-inv"), 1, "stat-cerror-atc-inv")
    equal(m.get("stat-atc-inv"), 1, "CMD_ATC_INV behind it not consumed")

    m.step(1000 * MS)
    m.failed_at(at)
    m.wr(CMDQ_PROD, m.prod)
    m.failed_at(at)
    equal(m.get("stat-cerror-atc-inv"), 1, "PROD resumes nothing")
    m.wr(GERRORN, m.rd(GERRORN))
    m.failed_at(at)
    equal(m.get("stat-atc-inv"), 1, "nor does GERRORN as it was")

    m.ack()
    m.idle()
    equal(m.err(), 0, "ERR after the acknowledgement")
    equal(m.get("stat-atc-inv"), 2, "CMD_ATC_INV behind it")
    equal(f.get("stat-inv-dropped"), 1, "stat-inv-dropped")
    equal(f.put(IOVA, STALE, HIT_ONLY), OK, "the entry is still there")
    equal(q.r64(PAGE), STALE, "and so the stale write lands")


@test
def silent_timeline(env):
    """The timeline of one incident, in order, with the StreamID."""
    m, f, q = one(env)
    cached(f)
    f.fault("silent")
    at = m.prod + 1
    m.queue(atc_inv(f.sid, IOVA, 0), sync())
    m.step(TIMEOUT)
    m.ack()
    f.attach(eats=0)
    f.put(IOVA, STALE, HIT_ONLY)
    f.flr()
    lines = q.timeline()
    order = [x["ev"] for x in lines]
    first = order.index("silence")
    lines, order = lines[first:], order[first:]
    want = ["silence", "atc-inv", "cerror", "cmdq-ack", "cfgi-ste", "ste",
            "translated-refused", "event", "flr"]
    equal([x for x in order if x in want], want, "order of events")
    by = {x["ev"]: x for x in lines}
    equal((by["silence"]["dev"], by["silence"]["fault"]), ("ep0", "silent"),
          "silence")
    inv = by["atc-inv"]
    equal((inv["sid"], inv["addr"], inv["size"], inv["answered"],
           inv["dropped"]), (f.sid, hex(IOVA), 0, False, True), "atc-inv")
    equal((by["cerror"]["cons"], by["cerror"]["sids"], by["cerror"]["smmu"]),
          (at, [f.sid], "/machine/smmu"), "cerror")
    equal((by["cfgi-ste"]["sid"], by["cfgi-ste"]["eats"]), (f.sid, 0),
          "cfgi-ste")
    equal((by["ste"]["sid"], by["ste"]["eats"], by["ste"]["config"]),
          (f.sid, 0, S1), "ste")
    equal((by["event"]["type"], by["event"]["sid"]), (7, f.sid), "event")
    equal(by["flr"]["dev"], "ep0", "flr")
    equal(by["cerror"]["t"] - inv["t"], TIMEOUT, "time until the error")


@test
def fence_stops_the_stale_write(env):
    """The whole story: after EATS = 0 the stale write is refused."""
    m, f, q = one(env)
    cached(f)
    f.fault("silent")
    f.unmap(IOVA)
    m.queue(atc_inv(f.sid, IOVA, 0), sync())
    m.step(TIMEOUT)
    m.ack()
    q.w64(PAGE, NEW)
    f.store_eats(0)
    m.issue(cfgi_ste(f.sid), sync())
    equal(f.put(IOVA, STALE, HIT_ONLY), REFUSED, "stale write")
    equal(q.r64(PAGE), NEW, "the page's new contents")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE, read=0)


@test
def gerror_interrupt(env):
    """GERROR raises its interrupt line, if it is enabled."""
    m, f, q = one(env)
    q.command("irq_intercept_out /machine/smmu sysbus-irq")
    f.fault("silent")
    m.queue(atc_inv(f.sid), sync())
    equal(q.irqs, [], "interrupts while it waits")
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    equal(q.irqs, [("raise", IRQ_GERROR), ("lower", IRQ_GERROR)],
          "interrupts of the error")
    m.ack()
    q.irqs.clear()
    m.wr(IRQ_CTRL, 0)
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    equal(q.irqs, [], "interrupts with GERROR_IRQEN = 0")


@test
def sync_interrupt(env):
    """CMD_SYNC with CS = IRQ signals when it completes, not before."""
    m, f, q = one(env)
    q.command("irq_intercept_out /machine/smmu sysbus-irq")
    f.set("atc-late-us", 2000)
    f.fault("late")
    m.queue(atc_inv(f.sid), sync(cs=1))
    m.rd(CMDQ_CONS)
    equal(q.irqs, [], "interrupts while it waits")
    m.step(2 * MS)
    m.idle()
    equal(q.irqs, [("raise", IRQ_SYNC), ("lower", IRQ_SYNC)], "interrupts")


@test
def sync_msi(env):
    """cmd-sync-msi: CMD_SYNC writes its MSI when it completes, not when it
    fails."""
    m, f, q = one(env, smmu="cmd-sync-msi=on")
    equal(m.rd(IDR0) >> 13 & 1, 1, "IDR0.MSI")
    q.command("irq_intercept_out /machine/smmu sysbus-irq")
    at = PAGES + 0x9000
    m.issue(sync(1, 0x1234, at))
    equal(q.r64(at), 0x1234, "data of the first MSI")
    equal(q.irqs, [], "interrupts")
    f.set("atc-silent-next", 1)
    m.queue(atc_inv(f.sid), sync(1, 0x5678, at), sync(1, 0x9abc, at + 8))
    equal(q.r64(at), 0x1234, "data while it waits")
    m.step(TIMEOUT)
    m.failed_at(m.prod - 2)
    equal(q.r64(at), 0x1234, "data when it has failed")
    q.w64(at, OLD)
    m.ack()
    m.idle()
    equal(q.r32(at), 0x5678, "data after the acknowledgement")
    equal(q.r32(at + 4), OLD >> 32, "it is 32 bits")
    equal(q.r32(at + 8), 0x9abc, "the next one")
    q.irqs.clear()
    m.issue(sync(1))
    equal(q.irqs, [("raise", IRQ_SYNC), ("lower", IRQ_SYNC)],
          "interrupts without an address")
    m.issue(sync(0, 1, at))
    equal(q.r32(at), 0x5678, "CS = none sends nothing")


@test
def sync_msi_default(env):
    """Without cmd-sync-msi the address is ignored."""
    m, _, q = one(env)
    equal(m.rd(IDR0) >> 13 & 1, 0, "IDR0.MSI")
    m.issue(sync(1, 0x1234, PAGE))
    equal(q.r64(PAGE), OLD, "memory")


@test
def silence_starts_before_sync(env):
    """The time runs from the invalidation, and no error comes before a
    CMD_SYNC asks for it."""
    m, f, _ = one(env)
    f.fault("silent")
    m.queue(atc_inv(f.sid))
    m.idle()
    m.step(100 * TIMEOUT)
    m.idle()
    m.queue(tlbi_all(), sync())
    m.failed_at(m.prod - 1)
    m.ack()
    m.idle()

    m.queue(atc_inv(f.sid))
    m.step(TIMEOUT // 2)
    m.queue(sync())
    m.waits_at(m.prod - 1)
    m.step(TIMEOUT // 2)
    m.failed_at(m.prod - 1)


@test
def foreign_sync_takes_the_error(env):
    """The error belongs to the next CMD_SYNC, whoever queued it."""
    m, fns, _ = several(env, 2)
    fns[0].fault("silent")
    m.queue(atc_inv(fns[0].sid))
    m.queue(atc_inv(fns[1].sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    m.idle()
    m.issue(atc_inv(fns[1].sid), sync())


@test
def each_unmap_fails_again(env):
    """A function that stays silent fails every CMD_SYNC that covers it."""
    m, f, _ = one(env)
    f.fault("silent")
    for i in range(1, 6):
        m.queue(atc_inv(f.sid), sync())
        m.step(TIMEOUT)
        m.failed_at(m.prod - 1)
        equal(m.get("stat-cerror-atc-inv"), i, "stat-cerror-atc-inv")
        m.ack()
        m.idle()


@test
def queue_wraps_while_silent(env):
    """Errors at every index of the queue, over the wrap."""
    m, f, _ = one(env, smmu="atc-inv-timeout-us=100")
    f.fault("silent")
    for _ in range((1 << CMDQ_LOG2) + 3):
        m.queue(tlbi_all(), atc_inv(f.sid), sync())
        m.step(MS)
        m.failed_at((m.prod - 1) & ((2 << CMDQ_LOG2) - 1))
        m.ack()
        m.idle()


@test
def queue_full_of_waiters(env):
    """A full queue behind a waiting CMD_SYNC drains in order."""
    m, f, _ = one(env)
    f.fault("silent")
    syncs = m.get("stat-sync")
    start = m.prod
    m.queue(atc_inv(f.sid), sync(), *[sync()] * ((1 << CMDQ_LOG2) - 2))
    m.waits_at(start + 1)
    equal(m.get("stat-sync"), syncs, "stat-sync")
    m.step(TIMEOUT)
    m.failed_at(start + 1)
    m.ack()
    m.idle()
    equal(m.get("stat-sync") - syncs, (1 << CMDQ_LOG2) - 1, "stat-sync")
    equal(m.get("stat-cmdq-max"), 1 << CMDQ_LOG2, "stat-cmdq-max")


@test
def repeat(env):
    """atc-inv-sync-repeat: the resumed CMD_SYNC fails again, in time."""
    m, f, q = one(env, smmu="atc-inv-sync-repeat=2")
    f.set("atc-silent-next", 1)
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync(), tlbi_all(), sync())
    for i in range(1, 4):
        m.waits_at(at, f"before error {i}, the queue")
        m.step(TIMEOUT - 1)
        m.waits_at(at, f"just before error {i}, the queue")
        m.step(1)
        m.failed_at(at)
        equal(m.get("stat-cerror-atc-inv"), i, "stat-cerror-atc-inv")
        m.ack()
    m.idle()
    equal([x["sids"] for x in q.timeline("cerror")], [[f.sid]] * 3, "sids")
    m.issue(atc_inv(f.sid), sync())


@test
def sticky_err(env):
    """cons-err-sticky keeps CMDQ_CONS.ERR, and harms nothing."""
    m, f, _ = one(env, smmu="cons-err-sticky=on")
    f.set("atc-silent-next", 1)
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.ack()
    m.idle()
    equal(m.err(), CERROR_ATC_INV_SYNC, "ERR after the acknowledgement")
    m.issue(atc_inv(f.sid), sync())
    equal(m.err(), CERROR_ATC_INV_SYNC, "ERR later")


@test
def illegal_command(env):
    """Other command errors are what they were."""
    m, f, _ = one(env)
    at = m.prod
    m.queue(struct.pack("<4I", 0xfe, 0, 0, 0), atc_inv(f.sid), sync())
    m.failed_at(at, CERROR_ILL)
    equal(m.get("stat-cerror-atc-inv"), 0, "stat-cerror-atc-inv")
    m.q.write(CMDQ + at * 16, sync())
    m.ack()
    m.idle()


@test
def illegal_command_behind(env):
    """An error of the command after a CMD_SYNC that failed."""
    m, f, _ = one(env)
    f.set("atc-silent-next", 1)
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync(), struct.pack("<4I", 0xfe, 0, 0, 0))
    m.step(TIMEOUT)
    m.failed_at(at)
    m.ack()
    m.failed_at(at + 1, CERROR_ILL)


@test
def never(env):
    """Timeout 0: the CMD_SYNC never completes, until that changes."""
    m, f, _ = one(env, smmu="atc-inv-timeout-us=0")
    f.fault("silent")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    m.step(3600 * 1000 * MS)
    m.waits_at(at)
    f.fault("none")
    m.queue(atc_inv(f.sid), sync())
    m.step(MS)
    m.waits_at(at, "although the function is well again, the queue")
    m.set("atc-inv-timeout-us", 1000)
    m.failed_at(at)
    m.ack()
    m.idle()


@test
def long_timeout(env):
    """A timeout above a driver's own second; changed while it runs."""
    m, f, _ = one(env, smmu="atc-inv-timeout-us=3000000")
    f.fault("silent")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    m.step(2999 * MS)
    m.waits_at(at)
    m.step(MS)
    m.failed_at(at)
    m.ack()
    m.queue(atc_inv(f.sid), sync())
    m.step(MS)
    m.set("atc-inv-timeout-us", 5000)
    m.waits_at(at + 2)
    m.step(4 * MS)
    m.failed_at(at + 2)


@test
def silent_next(env):
    """atc-silent-next counts down, then the function behaves."""
    m, f, _ = one(env)
    cached(f)
    f.set("atc-silent-next", 2)
    for left in (1, 0):
        m.queue(atc_inv(f.sid), sync())
        equal(f.get("atc-silent-next"), left, "atc-silent-next")
        m.step(TIMEOUT)
        m.failed_at(m.prod - 1)
        m.ack()
        m.idle()
        equal(f.get("atc-entries"), 1, "entries")
    m.issue(atc_inv(f.sid), sync())
    equal(f.get("atc-entries"), 0, "entries")
    equal(f.get("stat-inv-dropped"), 2, "stat-inv-dropped")


# --- late answers

@test
def late(env):
    """The answer comes after the error, and is ignored; the retry's is in
    time."""
    m, f, q = one(env)
    cached(f)
    f.fault("late")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(at)
    equal(f.get("atc-entries"), 1, "entries before the answer")
    equal(f.get("stat-inv-answered"), 0, "stat-inv-answered")
    m.ack()
    m.idle()
    m.step(MS)
    equal(f.get("stat-inv-answered"), 1, "stat-inv-answered")
    equal(f.get("atc-entries"), 0, "entries after the answer")
    equal(m.get("stat-atc-late"), 1, "stat-atc-late")
    m.idle()
    m.issue(atc_inv(f.sid), sync())
    equal(m.get("stat-cerror-atc-inv"), 1, "stat-cerror-atc-inv")
    equal(f.get("atc-fault"), "none", "atc-fault")
    check(q.timeline("atc-inv-done")[0]["late"], "timeline")


@test
def late_answer_helps_no_other(env):
    """A late answer does not stand for a newer invalidation."""
    m, f, _ = one(env)
    f.fault("late")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.ack()
    f.set("atc-silent-next", 1)
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    m.step(MS)
    equal(m.get("stat-atc-late"), 1, "stat-atc-late")
    m.waits_at(at, "although the older answer came, the queue")
    m.step(TIMEOUT)
    m.failed_at(at)


@test
def slow_but_in_time(env):
    """An answer before the timeout completes the CMD_SYNC, without error."""
    m, f, _ = one(env)
    cached(f)
    f.set("atc-late-us", 4000)
    f.fault("late")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync(), tlbi_all(), sync())
    m.step(4 * MS - 1)
    m.waits_at(at)
    equal(f.get("atc-entries"), 1, "entries before the answer")
    m.step(1)
    m.idle()
    equal(f.get("atc-entries"), 0, "entries after the answer")
    m.step(100 * TIMEOUT)
    m.idle()
    equal(m.get("stat-cerror-atc-inv"), 0, "stat-cerror-atc-inv")
    equal(m.get("stat-atc-late"), 0, "stat-atc-late")


@test
def slow_functions_under_one_sync(env):
    """The CMD_SYNC waits for the last of them."""
    m, fns, _ = several(env, 3)
    for f, us in zip(fns, (2000, 6000, 4000)):
        f.set("atc-late-us", us)
        f.fault("late")
    at = m.prod + 3
    m.queue(*[atc_inv(f.sid) for f in fns], sync())
    for now in (2, 4):
        m.step(2 * MS)
        m.waits_at(at, f"after {now} ms, the queue")
    m.step(2 * MS)
    m.idle()
    equal(m.get("stat-cerror-atc-inv"), 0, "stat-cerror-atc-inv")


# --- several functions

@test
def one_of_eight(env):
    """One silent function of eight under one CMD_SYNC: one error."""
    m, fns, q = several(env, 8)
    for f in fns:
        cached(f)
    fns[5].fault("silent")
    at = m.prod + 8
    m.queue(*[atc_inv(f.sid) for f in fns], sync())
    m.waits_at(at)
    m.step(TIMEOUT)
    m.failed_at(at)
    m.ack()
    m.idle()
    equal(m.get("stat-cerror-atc-inv"), 1, "stat-cerror-atc-inv")
    equal([f.get("atc-entries") for f in fns],
          [0, 0, 0, 0, 0, 1, 0, 0], "entries")
    equal(q.timeline("cerror")[0]["sids"], [fns[5].sid], "sids")


@test
def all_of_eight(env):
    """Eight silent functions under one CMD_SYNC: one error, no names; one
    CMD_SYNC each: eight errors, each at its own."""
    m, fns, q = several(env, 8)
    for f in fns:
        f.fault("silent")
    m.queue(*[atc_inv(f.sid) for f in fns], *[atc_inv(f.sid) for f in fns],
            sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    m.idle()
    equal(q.timeline("cerror")[0]["sids"], [f.sid for f in fns], "sids")

    start = m.prod
    cmds = []
    for f in fns[:4]:
        cmds += [atc_inv(f.sid), sync()]
    m.queue(*cmds)
    for i in range(4):
        at = (start + 2 * i + 1) & ((2 << CMDQ_LOG2) - 1)
        m.waits_at(at, f"sync {i}")
        m.step(TIMEOUT)
        m.failed_at(at)
        equal(q.timeline("cerror")[-1]["sids"], [fns[i].sid], "sids")
        m.ack()
    m.idle()
    equal(m.get("stat-cerror-atc-inv"), 5, "stat-cerror-atc-inv")


@test
def siblings_live(env):
    """A silent function does not keep its sibling from DMA while the
    CMD_SYNC waits."""
    m, fns, q = several(env, 2)
    fns[0].fault("silent")
    m.queue(atc_inv(fns[0].sid), sync())
    m.waits_at(m.prod - 1)
    equal(fns[1].put(IOVA, NEW), OK, "translated write")
    equal(fns[1].put(IOVA + 8, NEW, UNTRANSLATED), OK, "untranslated write")
    equal(q.r64(PAGE2), NEW, "memory")
    equal(q.r64(PAGE2 + 8), NEW, "memory")


# --- disabling and resetting the SMMU

@test
def cmdq_disabled_while_waiting(env):
    """CMDQEN = 0 ends the wait: no error comes any more."""
    m, f, _ = one(env)
    f.fault("silent")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync(), tlbi_all(), sync())
    m.waits_at(at)
    cr0 = m.rd(CR0)
    m.wr(CR0, cr0 & ~CR0_CMDQEN)
    equal(m.rd(CR0ACK) & CR0_CMDQEN, 0, "CR0ACK.CMDQEN")
    m.step(100 * TIMEOUT)
    check(not m.cmdq_error(), "an error although the queue is disabled")
    equal(m.cons(), at, "CONS")
    equal(m.get("stat-cerror-atc-inv"), 0, "stat-cerror-atc-inv")
    m.wr(CMDQ_PROD, 0)
    m.wr(CMDQ_CONS, 0)
    m.prod = 0
    m.wr(CR0, cr0)
    m.issue(cfgi_all(), sync())
    m.step(100 * TIMEOUT)
    m.idle()


@test
def cmdq_disabled_between_repeats(env):
    """CMDQEN = 0 also ends what atc-inv-sync-repeat has in store."""
    m, f, _ = one(env, smmu="atc-inv-sync-repeat=5")
    f.set("atc-silent-next", 1)
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.ack()
    m.waits_at(m.prod - 1)
    cr0 = m.rd(CR0)
    m.wr(CR0, cr0 & ~CR0_CMDQEN)
    m.wr(CR0, cr0)
    m.idle()
    m.step(100 * TIMEOUT)
    m.idle()
    equal(m.get("stat-cerror-atc-inv"), 1, "stat-cerror-atc-inv")


@test
def smmu_disabled_while_waiting(env):
    """SMMUEN = 0 does not stop the command queue, nor its timeout."""
    m, f, _ = one(env)
    f.fault("silent")
    m.queue(atc_inv(f.sid), sync())
    m.wr(CR0, m.rd(CR0) & ~CR0_SMMUEN)
    m.waits_at(m.prod - 1)
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    m.idle()


@test
def system_reset_while_waiting(env):
    """A reset of the machine ends the wait."""
    m, f, q = one(env)
    f.fault("silent-forever")
    m.queue(atc_inv(f.sid), sync())
    m.waits_at(m.prod - 1)
    q.qmp("system_reset")
    q.wait_event("RESET")
    equal(m.rd(CR0), 0, "CR0")
    m.step(100 * TIMEOUT)
    equal(m.rd(GERROR), 0, "GERROR")
    equal(m.get("stat-cerror-atc-inv"), 0, "stat-cerror-atc-inv")
    m.start()
    m.step(100 * TIMEOUT)
    m.idle()
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)


@test
def unplug_while_waiting(env):
    """A function that goes while it owes an answer: the error comes; later
    invalidations complete at once.  What is plugged in then is a new one."""
    m, fns, q = several(env, 2)
    f = fns[1]
    cached(f)
    f.fault("silent")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    m.waits_at(at)
    m.unplug("ep0")
    equal(q.r32(f.cfg), 0xffffffff, "IDs of the removed function")
    m.step(TIMEOUT)
    m.failed_at(at)
    m.ack()
    m.idle()
    m.issue(atc_inv(f.sid), sync())

    q.qmp("device_add", driver="atc-endpoint", id="ep0", bus="rp0")
    m.power_on()
    f = fns[0]
    f.enable()
    equal(f.get("atc-entries"), 0, "entries of the new function")
    m.issue(atc_inv(f.sid), sync())
    cached(f)


@test
def unplug_late(env):
    """A function that goes while its answer is on the way."""
    m, f, q = one(env)
    f.set("atc-late-us", 5000)
    f.fault("late")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    m.unplug("ep0")
    m.step(TIMEOUT)
    m.failed_at(at)
    m.ack()
    m.idle()
    equal(m.get("stat-atc-late"), 0, "stat-atc-late")
    equal(q.r32(f.cfg), 0xffffffff, "IDs of the removed function")


# --- resets of the function

@test
def flr(env):
    """FLR clears ATS_CTRL.E and the ATC, and ends "silent"."""
    m, f, q = one(env)
    cached(f)
    f.fault("silent")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.ack()
    f.flr()
    equal(f.get("ats-enabled"), False, "ats-enabled")
    equal(q.r16(f.cfg + f.ats_cap + 6), 0, "ATS_CTRL")
    equal(q.r16(f.cfg + 4) & 6, 0, "memory space and bus master")
    equal(f.get("atc-entries"), 0, "entries")
    equal(f.get("atc-fault"), "none", "atc-fault")
    equal(f.get("stat-flr"), 1, "stat-flr")
    m.issue(atc_inv(f.sid), sync())
    f.enable()
    cached(f)
    equal(q.r64(PAGE), OLD, "memory")


@test
def flr_answers_nothing(env):
    """FLR does not answer what the function still owes."""
    m, f, _ = one(env)
    f.fault("silent")
    at = m.prod + 1
    m.queue(atc_inv(f.sid), sync())
    f.flr()
    m.waits_at(at, "after the FLR, the queue")
    m.step(TIMEOUT)
    m.failed_at(at)
    m.ack()
    m.issue(atc_inv(f.sid), sync())


@test
def flr_forgets_late_answers(env):
    """FLR while an answer is late: it never comes."""
    m, f, _ = one(env)
    f.set("atc-late-us", 2000)
    f.fault("late")
    m.queue(atc_inv(f.sid), sync())
    f.flr()
    m.step(5 * MS)
    m.waits_at(m.prod - 1)
    equal(f.get("stat-inv-answered"), 0, "stat-inv-answered")
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)


@test
def silent_forever(env):
    """silent-forever survives resets, but the ATC does not."""
    m, f, _ = one(env)
    cached(f)
    f.fault("silent-forever")
    for reset in (f.flr, m.secondary_reset):
        reset()
        equal(f.get("atc-entries"), 0, "entries")
        equal(f.get("atc-fault"), "silent-forever", "atc-fault")
        m.queue(atc_inv(f.sid), sync())
        m.step(TIMEOUT)
        m.failed_at(m.prod - 1)
        m.ack()
    f.fault("none")
    m.issue(atc_inv(f.sid), sync())


@test
def silent_ignores_ats_disable(env):
    """A broken ATC keeps its entries when ATS is disabled."""
    m, f, q = one(env)
    cached(f)
    f.fault("silent")
    f.ats(False)
    equal(f.get("ats-enabled"), False, "ats-enabled")
    equal(f.put(IOVA, STALE, HIT_ONLY), OK, "stale write")
    equal(q.r64(PAGE), STALE, "memory")
    f.attach(eats=0)
    equal(f.put(IOVA, NEW, HIT_ONLY), REFUSED, "stale write with EATS = 0")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE, read=0)


@test
def secondary_bus_reset(env):
    """A conventional reset heals, and is no FLR."""
    m, fns, q = several(env, 2)
    for f in fns:
        cached(f)
        f.fault("silent")
    m.secondary_reset()
    for f in fns:
        equal(f.get("atc-fault"), "none", "atc-fault")
        equal(f.get("atc-entries"), 0, "entries")
        equal(f.get("ats-enabled"), False, "ats-enabled")
        equal(f.get("stat-flr"), 0, "stat-flr")
        m.issue(atc_inv(f.sid), sync())
    equal([x["dev"] for x in q.timeline("reset")], ["ep0", "ep1"], "timeline")


@test
def link_down(env):
    """A link that drops: the port says so, and nobody is behind it until it is
    back, in the state after a reset."""
    m, f, q = one(env)
    rp = ECAM + (1 << 15)
    exp = rp + m.pci_cap(rp, CAP_EXP)
    lnksta, sltsta = exp + 0x12, exp + 0x1a
    m.slot_control(0x1c0)
    f.enable()
    cached(f)
    equal(q.r16(lnksta) >> 13 & 1, 1, "Data Link Layer Link Active")
    q.w16(sltsta, 0x108)
    q.set("/machine/peripheral/rp0", "link-down", True)
    equal(q.r32(f.cfg), 0xffffffff, "IDs")
    equal(q.r16(lnksta) >> 13 & 1, 0, "Data Link Layer Link Active")
    equal(q.r16(sltsta) & 0x148, 0x108, "link and presence changed, not present")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    # The port's driver switches the power off and on: it stays down.
    m.slot_control(0x7c0)
    m.slot_control(0x1c0)
    equal(q.r32(f.cfg), 0xffffffff, "IDs")
    q.w16(sltsta, 0x108)
    equal(q.r16(sltsta) & 0x108, 0, "events that were cleared")
    q.set("/machine/peripheral/rp0", "link-down", False)
    equal(q.r16(lnksta) >> 13 & 1, 1, "Data Link Layer Link Active")
    equal(q.r16(sltsta) & 0x148, 0x148, "link and presence changed, present")
    equal(f.get("atc-entries"), 0, "entries")
    equal(f.get("ats-enabled"), False, "ats-enabled")
    m.issue(atc_inv(f.sid), sync())
    f.enable()
    cached(f)


@test
def low_power(env):
    """In D3hot a function answers nothing; coming back is a reset."""
    m, f, _ = one(env)
    cached(f)
    f.fault("silent")
    f.power(3)
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    f.fault("none")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    f.fault("silent")
    f.power(0)
    equal(f.get("atc-fault"), "none", "atc-fault")
    equal(f.get("atc-entries"), 0, "entries")
    m.issue(atc_inv(f.sid), sync())
    f.enable()
    cached(f)


@test
def reset_ready(env):
    """reset-ready-ms: away after an FLR, then back."""
    m, f, q = one(env)
    f.set("reset-ready-ms", 50)
    f.flr()
    for _ in range(2):
        equal(q.r32(f.cfg), 0xffffffff, "IDs")
        equal(q.r16(f.cfg + 4), 0xffff, "command")
        q.w16(f.cfg + 4, 6)
        q.clock_step(20 * MS)
    m.queue(atc_inv(f.sid), sync())
    q.clock_step(10 * MS)
    m.failed_at(m.prod - 1)
    m.ack()
    equal(q.r32(f.cfg), 0xa7c01234, "IDs")
    equal(q.r16(f.cfg + 4), 0, "writes were lost")
    m.issue(atc_inv(f.sid), sync())
    f.enable()
    cached(f)


@test
def reset_never_ready(env):
    """reset-ready-ms = 2^32 - 1: away until it is set to 0."""
    m, f, q = one(env)
    f.set("reset-ready-ms", 0xffffffff)
    f.flr()
    q.clock_step(3600 * 1000 * MS)
    equal(q.r32(f.cfg), 0xffffffff, "IDs")
    m.secondary_reset()
    equal(q.r32(f.cfg), 0xffffffff, "IDs after another reset")
    f.set("reset-ready-ms", 0)
    equal(q.r32(f.cfg), 0xa7c01234, "IDs")
    f.enable()
    cached(f)
    m.issue(atc_inv(f.sid), sync())


@test
def dead(env):
    """A dead function: all ones, no DMA, no answers."""
    m, f, q = one(env)
    cached(f)
    exp = f.cap(CAP_EXP)
    f.set("dead", True)
    equal(q.r32(f.cfg), 0xffffffff, "IDs")
    equal(q.r32(f.bar + REG_ID), 0xffffffff, "BAR")
    q.w64(f.bar + BUF, STALE)
    q.w32(f.bar + REG_CMD, WRITE | HIT_ONLY)
    equal(q.r64(PAGE), OLD, "memory")
    q.w16(f.cfg + exp + 8, 0x8000)
    equal(f.get("stat-flr"), 0, "a dead function is not reset")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    f.set("dead", False)
    equal(q.r32(f.cfg), 0xa7c01234, "IDs")
    m.issue(atc_inv(f.sid), sync())


@test
def silent_from_boot(env):
    """atc-fault given at creation outlasts the machine's own reset."""
    m, f, _ = one(env, ep="atc-fault=silent")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    f.flr()
    m.issue(atc_inv(f.sid), sync())


@test
def virtual_functions(env):
    """VFs have an ATC each; while they are not enabled there is nobody."""
    m = Machine(env, functions=0, start=False, extra=[
        "-device", "atc-endpoint,id=vf2,bus=rp0,addr=0.2,sriov-pf=ep0",
        "-device", "atc-endpoint,id=vf1,bus=rp0,addr=0.1,sriov-pf=ep0",
        "-device", "atc-endpoint,id=ep0,bus=rp0,addr=0.0"])
    q = m.q
    m.fns = [Function(m, 0)]
    m.start()
    pf = m.fns[0]
    vfs = [Function(m, 1, "vf1"), Function(m, 2, "vf2")]
    for f in vfs:
        equal(q.r32(f.cfg), 0xffffffff, "IDs of a VF that is not enabled")
        f.fault("silent")
        m.issue(atc_inv(f.sid), sync())
    cap = pf.ext_cap(EXT_SRIOV)
    check(cap, "no SR-IOV capability")

    def enable_vfs():
        q.w16(pf.cfg + cap + 0x10, 2)
        q.w32(pf.cfg + cap + 0x24, vfs[0].bar)
        q.w32(pf.cfg + cap + 0x28, 0)
        q.w16(pf.cfg + cap + 0x08, 0x09)
        for f in vfs:
            q.w16(f.cfg + 4, 6)
            f.ats(True)
            f.attach()
            f.map(IOVA, PAGE + f.fn * 0x1000)

    enable_vfs()
    for f in vfs:
        equal(q.r32(f.cfg), 0xffffffff, "IDs are those of the PF")
        equal(f.reg(REG_ID), 0xa7c00001, "ID register")
        equal(f.get("atc-fault"), "none", "atc-fault")
        cached(f)
        equal(q.r64(PAGE + f.fn * 0x1000), OLD, "memory")
    vfs[1].fault("silent")
    m.queue(*[atc_inv(f.sid) for f in [pf] + vfs], sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    equal(q.timeline("cerror")[-1]["sids"], [vfs[1].sid], "sids")
    m.ack()
    equal([f.get("atc-entries") for f in vfs], [0, 1], "entries")

    # FLR of the PF takes the VFs away
    pf.flr()
    equal(vfs[1].get("atc-entries"), 0, "entries of the VF")
    m.issue(atc_inv(vfs[1].sid), sync())
    pf.enable()
    enable_vfs()
    for f in vfs:
        cached(f)
    m.issue(*[atc_inv(f.sid) for f in [pf] + vfs], sync())
    vfs[1].fault("silent")
    vfs[1].flr()
    equal([f.get("stat-flr") for f in vfs], [0, 1], "stat-flr")
    m.issue(atc_inv(vfs[1].sid), sync())


# --- x-atc=on: any function as a victim

class Nvme(Function):
    """An NVMe controller, as far as IDENTIFY needs one."""

    ASQ, ACQ = PAGES + 0x10000, PAGES + 0x11000
    IASQ, IACQ = 0x20000000, 0x20001000

    def __init__(self, m, ident, fn=0):
        super().__init__(m, fn, ident)
        self.tail = 0
        self.phase = 1

    def start(self):
        """Admin queues, of 16 entries each."""
        self.q.command(f"memset {self.ASQ:#x} 0x2000 0x0")
        self.map(self.IASQ, self.ASQ)
        self.map(self.IACQ, self.ACQ)
        self.q.w32(self.bar + 0x24, 0x000f000f)
        self.q.w64(self.bar + 0x28, self.IASQ)
        self.q.w64(self.bar + 0x30, self.IACQ)
        self.q.w32(self.bar + 0x14, 0x00460001)
        equal(self.q.r32(self.bar + 0x1c) & 1, 1, "CSTS.RDY")

    def identify(self, iova):
        """Let the controller write a page.  Returns the status, if any."""
        slot = self.tail
        self.q.write(self.ASQ + slot * 64, struct.pack(
            "<2I4Q2I", 0x06 | slot << 16, 0, 0, 0, iova, 0, 1, 0))
        self.tail = (self.tail + 1) % 16
        self.q.w32(self.bar + 0x1000, self.tail)
        for _ in range(200):
            self.q.clock_step(MS)
            status = self.q.r16(self.ACQ + slot * 16 + 14)
            if status & 1 == self.phase:
                self.q.w32(self.bar + 0x1004, self.tail)
                if self.tail == 0:
                    self.phase ^= 1
                return status >> 1
        return None


def nvme_machine(env, options="x-atc=on"):
    """A machine with an NVMe controller."""
    m = Machine(env, functions=0, extra=[
        "-drive", "if=none,id=d0,driver=null-co,size=1M",
        "-device", f"nvme,id=nv0,serial=s,drive=d0,bus=rp0,addr=0.0,{options}"])
    f = Nvme(m, "nv0")
    f.enable(ats=False)
    f.attach()
    return m, f, m.q


@test
def x_atc_nvme(env):
    """An NVMe controller goes on using what it cached, until it is
    invalidated or fenced."""
    m, f, q = nvme_machine(env)
    f.ats(True)
    f.start()
    f.map(IOVA, PAGE)
    equal(f.identify(IOVA), 0, "status of IDENTIFY")
    check(q.read(PAGE, 4096) != bytes(4096), "no data")
    check(f.get("stat-translated-writes-landed") > 0, "nothing translated")
    check(f.get("atc-entries") >= 3, "queues and page are not cached")
    requests = f.get("stat-ats-requests")

    # The page goes to somebody else, and nobody tells the controller
    q.command(f"memset {PAGE:#x} 0x1000 0x0")
    f.map(IOVA, PAGE2)
    m.issue(tlbi_all(), sync())
    equal(f.identify(IOVA), 0, "status of the stale IDENTIFY")
    check(q.read(PAGE, 4096) != bytes(4096), "the stale write did not land")
    equal(q.read(PAGE2, 4096), bytes(4096), "new page")
    equal(f.get("stat-ats-requests"), requests, "stat-ats-requests")

    # It is told
    q.command(f"memset {PAGE:#x} 0x1000 0x0")
    m.issue(atc_inv(f.sid, IOVA, 0), sync())
    equal(f.identify(IOVA), 0, "status after the invalidation")
    equal(q.read(PAGE, 4096), bytes(4096), "old page")
    check(q.read(PAGE2, 4096) != bytes(4096), "new page: no data")

    # It falls silent, and is fenced
    q.command(f"memset {PAGE2:#x} 0x1000 0x0")
    f.fault("silent")
    m.queue(atc_inv(f.sid, IOVA, 0), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    m.no_event()
    f.store_eats(0)
    m.issue(cfgi_ste(f.sid), sync())
    equal(f.identify(IOVA), None, "status behind the fence")
    equal(q.read(PAGE2, 4096), bytes(4096), "page behind the fence")
    events = m.events()
    check(events, "no event")
    equal({(e[0], e[1]) for e in events}, {(F_TRANSL_FORBIDDEN, f.sid)},
          "events")

    # A reset brings it back
    f.flr()
    equal(f.get("ats-enabled"), False, "ats-enabled")
    equal(f.get("atc-entries"), 0, "entries")
    f.store_eats(1)
    m.issue(cfgi_ste(f.sid), atc_inv(f.sid), sync())
    f.enable()
    f.tail = 0
    f.start()
    equal(f.identify(IOVA), 0, "status after the reset")


@test
def x_atc_unplug(env):
    """Unplug while silent, plug in again."""
    m, f, q = nvme_machine(env)
    f.ats(True)
    f.start()
    f.fault("silent")
    m.queue(atc_inv(f.sid), sync())
    m.unplug("nv0")
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    m.ack()
    q.qmp("blockdev-add", driver="null-co", **{"node-name": "n1"})
    q.qmp("device_add", driver="nvme", id="nv0", serial="t", drive="n1",
          bus="rp0", **{"x-atc": True})
    m.power_on()
    f = Nvme(m, "nv0")
    f.enable(ats=False)
    f.attach()
    f.ats(True)
    f.start()
    f.map(IOVA, PAGE)
    equal(f.identify(IOVA), 0, "status of IDENTIFY")
    check(f.get("stat-translated-writes-landed") > 0, "nothing translated")
    m.issue(atc_inv(f.sid), sync())


@test
def x_atc_not_enabled(env):
    """With ATS_CTRL.E = 0 x-atc changes nothing."""
    m, f, q = nvme_machine(env)
    f.start()
    f.map(IOVA, PAGE)
    equal(f.identify(IOVA), 0, "status of IDENTIFY")
    check(q.read(PAGE, 4096) != bytes(4096), "no data")
    equal(f.get("stat-ats-requests"), 0, "stat-ats-requests")
    f.map(IOVA, PAGE2)
    m.issue(tlbi_all(), sync())
    equal(f.identify(IOVA), 0, "status of IDENTIFY")
    check(q.read(PAGE2, 4096) != bytes(4096), "no data in the new page")


@test
def x_atc_off(env):
    """Without x-atc there is no ATS capability."""
    _, f, _ = nvme_machine(env, "x-atc=off")
    equal(f.ext_cap(EXT_ATS), 0, "ATS capability")
    f.start()


@test
def x_atc_devices(env):
    """x-atc and devices of other kinds."""
    m = Machine(env, functions=0, extra=[
        "-drive", "if=none,id=d0,driver=null-co,size=1M", "-device",
        "virtio-blk-pci,id=vb0,drive=d0,bus=rp0,addr=0.0,x-atc=on,"
        "disable-legacy=on,iommu_platform=on,multifunction=on",
        "-device",
        "virtio-rng-pci,id=vr0,bus=rp0,addr=0.1,x-atc=on,ats=on,"
        "disable-legacy=on,iommu_platform=on"])
    for fn, ident in enumerate(("vb0", "vr0")):
        f = Function(m, fn, ident)
        check(f.ext_cap(EXT_ATS), f"{ident} has no ATS capability")
        equal(f.get("ats-enabled"), False, "ats-enabled")
        f.ats(True)
        equal(f.get("ats-enabled"), True, "ats-enabled")
        m.issue(atc_inv(f.sid), sync())
        equal(f.get("stat-inv-answered"), 1, "stat-inv-answered")
        f.fault("silent")
        m.queue(atc_inv(f.sid), sync())
        m.step(TIMEOUT)
        m.failed_at(m.prod - 1)
        m.ack()
    for device, text in (
            ("edu,x-atc=on", "PCI Express"),
            ("atc-endpoint,x-atc=on,bus=pcie.0", "ATC of its own")):
        out = subprocess.run([env.binary, "-accel", "qtest", "-display",
                              "none", "-nodefaults", "-M", "virt",
                              "-device", device], stdin=subprocess.DEVNULL,
                             capture_output=True, encoding="utf-8",
                             timeout=60, check=False)
        check(out.returncode == 1 and text in out.stderr,
              f"{device} is not refused: {out.stderr}")


# --- another way to have an SMMU

@test
def second_smmu(env):
    """-device arm-smmuv3,ats=on: one SMMU per root complex."""
    m = Machine(env, start=False, machine="virt,gic-version=3", bare=True,
                functions=0, extra=[
                    "-device", "pxb-pcie,id=pcie.1,bus_nr=8,bus=pcie.0,"
                               "addr=8.0",
                    "-device", "arm-smmuv3,primary-bus=pcie.0,id=s0,ats=on",
                    "-device", "arm-smmuv3,primary-bus=pcie.1,id=s1,ats=on,"
                               "atc-inv-timeout-us=20000",
                    "-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,"
                               "addr=1.0",
                    "-device", "pcie-root-port,id=rp1,bus=pcie.1,chassis=2,"
                               "addr=0.0",
                    "-device", "atc-endpoint,id=ep0,bus=rp0",
                    "-device", "atc-endpoint,id=ep1,bus=rp1"])
    m.bridge()
    for i in (0, 1):
        m.smmu = 0x0c000000 + i * 0x20000
        m.path = f"/machine/peripheral/s{i}"
        m.wr(CR0, 0)
        equal(m.rd(IDR0) >> 10 & 1, 1, f"IDR0.ATS of SMMU {i}")
    m.smmu = 0x0c000000
    m.path = "/machine/peripheral/s0"
    m.smmu_start()
    f = Function(m, 0, "ep0")
    f.enable()
    f.attach()
    f.map(IOVA, PAGE)
    cached(f)
    f.fault("silent")
    m.queue(atc_inv(f.sid), sync())
    m.step(TIMEOUT)
    m.failed_at(m.prod - 1)
    equal(m.q.timeline("cerror")[0]["smmu"], "/machine/peripheral/s0", "smmu")
    equal(m.q.get("/machine/peripheral/s1", "stat-cerror-atc-inv"), 0,
          "errors of the other SMMU")


# --- stalls

def stalling(env, model="forced", smmu="", **kw):
    """A machine with one function whose faults stall."""
    m = Machine(env, smmu=f"stall-model={model}" + ("," + smmu if smmu else ""),
                start=False, **kw)
    for f in m.fns:
        f.cd_bits |= CD_S
    m.start()
    return m, m.fns[0], m.q


@test
def stall_off(env):
    """stall-model=none: no stalls, and no commands for them."""
    m, f, q = one(env)
    equal(m.rd(IDR0) >> 24 & 3, 1, "IDR0.STALL_MODEL")
    equal(m.rd(IDR5) >> 16, 0, "IDR5.STALL_MAX")
    equal(f.put(IOVA + 0x10000, NEW, UNTRANSLATED), REFUSED, "fault")
    record = m.records()[0]
    equal((record["type"], record["stall"]), (F_TRANSLATION, 0), "event")
    m.wr(EVTQ_CONS, m.ev_cons)
    for cmd in (resume(f.sid, 0), stall_term(f.sid)):
        at = m.prod
        m.queue(cmd)
        m.failed_at(at, CERROR_ILL)
        q.write(CMDQ + at * 16, sync())
        m.ack()
        m.idle()
    f.change_cd(CD_R | CD_A | CD_S)
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "CD.S = 1")
    m.event(C_BAD_CD, f.sid, 0)


@test
def stall_registers(env):
    """What IDR0 and IDR5 say; which bits are legal with which model."""
    for model, number in (("stall", 0), ("forced", 2)):
        m, f, _ = stalling(env, model, smmu="stall-max=77")
        equal(m.rd(IDR0) >> 24 & 3, number, f"IDR0.STALL_MODEL, {model}")
        equal(m.rd(IDR5) >> 16, 77, "IDR5.STALL_MAX")
        f.map(IOVA, PAGE)
        equal(f.put(IOVA, NEW, UNTRANSLATED), OK, "write without a fault")
        # CD.S = 0
        f.change_cd(CD_R | CD_A)
        if model == "forced":
            equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "CD.S = 0, forced")
            m.event(C_BAD_CD, f.sid, 0)
        else:
            equal(f.put(IOVA2, NEW, UNTRANSLATED), REFUSED, "CD.S = 0")
            equal(m.records()[0]["stall"], 0, "Stall")
            m.wr(EVTQ_CONS, m.ev_cons)
            # And nothing is recorded without R
            f.change_cd(CD_A)
            equal(f.put(IOVA2, NEW, UNTRANSLATED), REFUSED, "CD.R = 0")
            m.no_event()
        # CD.A = 0 is illegal with TERM_MODEL = 1
        f.change_cd(CD_R | CD_S)
        equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "CD.A = 0")
        m.event(C_BAD_CD, f.sid, 0)
        # STE.S1STALLD
        f.change_cd(CD_R | CD_A | CD_S)
        f.s1stalld = True
        f.attach()
        equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "S1STALLD = 1")
        m.event(C_BAD_STE if model == "forced" else C_BAD_CD, f.sid, 0)
        m.stall_counts(stalled=0)
        env.restart()


@test
def stall_record(env):
    """The event record of a stall, and that nothing else happens."""
    m, f, q = stalling(env)
    q.w64(PAGE, OLD)
    ticket = f.park(IOVA + 0x40, NEW)
    equal(f.reg(REG_PARKED), 1, "parked")
    equal(f.get("parked"), 1, "property parked")
    equal(m.get("stalls-parked"), 1, "stalls-parked")
    w = m.stalled()[0]
    equal((w["sid"], w["read"], w["addr"], w["s2"], w["ssv"]),
          (f.sid, 0, IOVA + 0x40, 0, 0), "event of the write")
    read = f.park(IOVA + 0x80, 0, READ)
    r = m.stalled()[0]
    equal((r["sid"], r["read"], r["addr"]), (f.sid, 1, IOVA + 0x80), "event of the read")
    check(r["stag"] != w["stag"], "two stalls have one STAG")
    check(ticket != read, "two accesses have one ticket")
    m.step(1000 * MS)
    equal(f.status(ticket), PARKED, "the write, after a second")
    equal(f.status(read), PARKED, "the read, after a second")
    equal(q.r64(PAGE + 0x40), 0, "memory")
    # The function works on
    f.map(IOVA2, PAGE2)
    equal(f.put(IOVA2, NEW, UNTRANSLATED), OK, "another access")
    equal(q.r64(PAGE2), NEW, "its data")
    m.stall_counts(stalled=2, parked=2)
    lines = q.timeline("stall")
    equal([(x["sid"], x["write"], x["stag"]) for x in lines],
          [(f.sid, True, w["stag"]), (f.sid, False, r["stag"])], "timeline")


@test
def stall_retry(env):
    """CMD_RESUME, retry: the access happens, once."""
    m, f, q = stalling(env)
    write = f.park(IOVA, NEW)
    read = f.park(IOVA2 + 8, 0, READ)
    stags = [r["stag"] for r in m.stalled(2)]
    f.map(IOVA, PAGE)
    f.map(IOVA2, PAGE2)
    q.w64(PAGE2 + 8, OLD)
    q.w64(f.bar + BUF, STALE)
    m.issue(resume(f.sid, stags[0], retry=True), sync())
    m.step(RESUMED)
    equal(f.status(write), OK, "the write")
    equal(q.r64(PAGE), NEW, "memory")
    equal(f.status(read), PARKED, "the read, of which nobody spoke")
    equal(f.reg(REG_PARKED), 1, "parked")
    m.issue(resume(f.sid, stags[1], retry=True), sync())
    m.step(RESUMED)
    equal(f.status(read), OK, "the read")
    equal(q.r64(f.bar + BUF), OLD, "its data")
    # Resumed twice: the second one names nobody
    q.w64(PAGE, OLD)
    m.issue(resume(f.sid, stags[0], retry=True), sync())
    m.step(RESUMED)
    equal(q.r64(PAGE), OLD, "memory after a second CMD_RESUME")
    m.stall_counts(stalled=2, retried=2, parked=0, unmatched=1)
    equal(f.get("stat-untranslated-landed"), 2, "landed")
    m.no_event()


@test
def stall_again(env):
    """A retry that faults again is a stall of its own."""
    m, f, _ = stalling(env)
    ticket = f.park(IOVA, NEW)
    for _ in range(3):
        m.issue(resume(f.sid, m.stalled()[0]["stag"], retry=True), sync())
        m.step(RESUMED)
        equal(f.status(ticket), PARKED, "RESULT")
    f.map(IOVA, PAGE)
    m.issue(resume(f.sid, m.stalled()[0]["stag"], retry=True), sync())
    m.step(RESUMED)
    equal(f.status(ticket), OK, "RESULT")
    m.stall_counts(stalled=4, retried=4, parked=0)
    equal(f.get("stat-parked"), 1, "stat-parked")


@test
def stall_abort(env):
    """CMD_RESUME, abort and terminate: refused, also if the page is there."""
    m, f, q = stalling(env)
    q.w64(PAGE, OLD)
    first, second = f.park(IOVA, NEW), f.park(IOVA, NEW)
    stags = [r["stag"] for r in m.stalled(2)]
    f.map(IOVA, PAGE)
    m.issue(resume(f.sid, stags[0]), resume(f.sid, stags[1], abort=False), sync())
    m.step(RESUMED)
    equal((f.status(first), f.status(second)), (REFUSED, REFUSED), "RESULT")
    equal(q.r64(PAGE), OLD, "memory")
    equal(f.get("stat-untranslated-refused"), 2, "refused")
    m.stall_counts(stalled=2, aborted=1, terminated=1, parked=0)
    equal([x["action"] for x in q.timeline("resume")], ["abort", "terminate"], "timeline")


@test
def stall_unmatched(env):
    """CMD_RESUME for another StreamID or STAG changes nothing."""
    m, f, _ = stalling(env, functions=2)
    ticket = f.park(IOVA, NEW)
    stag = m.stalled()[0]["stag"]
    m.issue(resume(f.sid + 1, stag), resume(f.sid, stag + 1), sync())
    m.step(RESUMED)
    equal(f.status(ticket), PARKED, "RESULT")
    m.stall_counts(unmatched=2, parked=1)


@test
def stall_terminate(env):
    """CMD_STALL_TERM ends all of one StreamID, and no other's."""
    m, _, _ = stalling(env, functions=2)
    a, b = m.fns
    tickets = [a.park(IOVA, NEW) for _ in range(3)]
    other = b.park(IOVA, NEW)
    m.stalled(4)
    m.issue(stall_term(a.sid), sync())
    m.step(RESUMED)
    equal([a.status(t) for t in tickets], [REFUSED] * 3, "RESULT")
    equal(b.status(other), PARKED, "the other function's")
    m.stall_counts(stalled=4, terminated=3, parked=1)
    # The SMMU is switched off
    m.wr(CR0, CR0_CMDQEN | CR0_EVTQEN)
    m.step(RESUMED)
    equal(b.status(other), REFUSED, "after SMMUEN = 0")
    m.stall_counts(terminated=4, parked=0)


@test
def stall_many(env):
    """256 at once: each has a STAG; there is no room for one more."""
    m, f, q = stalling(env)
    tickets, stags = [], []
    for number in range(256):
        tickets.append(f.park(IOVA + number * 8, number + 1))
        stags += [r["stag"] for r in m.stalled()]
    equal(len(set(stags)), 256, "STAGs")
    equal(f.put(IOVA, NEW, UNTRANSLATED), NO_ROOM, "one more")
    f.map(IOVA, PAGE)
    for stag in reversed(stags):
        m.issue(resume(f.sid, stag, retry=True))
    m.step(RESUMED)
    equal([f.status(t) for t in tickets], [OK] * 256, "RESULT")
    equal([q.r64(PAGE + n * 8) for n in range(256)], list(range(1, 257)), "memory")
    m.stall_counts(stalled=256, retried=256, parked=0)


@test
def stall_max(env):
    """No more than STALL_MAX are reported; the others wait for their turn."""
    m, f, _ = stalling(env, smmu="stall-max=2")
    tickets = [f.park(IOVA + 8 * n, NEW) for n in range(4)]
    records = m.stalled(2)
    equal(m.get("stalls-parked"), 4, "stalls-parked")
    equal([x["stag"] for x in m.q.timeline("stall")][2:], [-1, -1], "timeline")
    m.issue(resume(f.sid, records[0]["stag"]))
    m.step(RESUMED)
    third = m.stalled()[0]
    equal(third["addr"], IOVA + 16, "the third one's event")
    # CMD_STALL_TERM ends those that nobody heard of, too
    m.issue(stall_term(f.sid))
    m.step(RESUMED)
    equal([f.status(t) for t in tickets], [REFUSED] * 4, "RESULT")
    m.no_event()


@test
def stall_queue_full(env):
    """The event of a stall is not lost in a full queue, nor without one."""
    m, f, _ = stalling(env)
    b = 1 << EVTQ_LOG2
    for number in range(b):
        f.park(IOVA + 8 * number, number)
    late = f.park(IOVA2, NEW)
    equal(m.rd(EVTQ_PROD) >> 31, 0, "no overflow")
    equal(len(m.stalled(b)), b, "events")
    record = m.stalled()[0]
    equal(record["addr"], IOVA2, "the late event")
    m.issue(resume(f.sid, record["stag"]))
    m.step(RESUMED)
    equal(f.status(late), REFUSED, "RESULT")
    # Event queue off
    m.wr(CR0, CR0_CMDQEN | CR0_SMMUEN)
    f.park(IOVA2, NEW)
    m.no_event()
    m.wr(CR0, CR0_CMDQEN | CR0_SMMUEN | CR0_EVTQEN)
    equal(m.stalled()[0]["addr"], IOVA2, "the event, once there is a queue")


@test
def stall_permission(env):
    """A permission fault stalls as well, and the retry sees the new table."""
    m, f, q = stalling(env)
    f.map(IOVA, PAGE, ro=True)
    ticket = f.park(IOVA, NEW)
    record = m.records()[0]
    m.wr(EVTQ_CONS, m.ev_cons)
    equal((record["type"], record["stall"]), (F_PERMISSION, 1), "event")
    f.map(IOVA, PAGE)
    m.issue(tlbi_all(), resume(f.sid, record["stag"], retry=True), sync())
    m.step(RESUMED)
    equal(f.status(ticket), OK, "RESULT")
    equal(q.r64(PAGE), NEW, "memory")


@test
def stall_not_with_ats(env):
    """A translation request never stalls, nor does a translated access."""
    m, f, _ = stalling(env)
    equal(f.dma(PREFETCH, IOVA), NO_PERM, "translation request")
    equal(f.put(IOVA, NEW), NO_PERM, "write through the ATC")
    f.map(IOVA, PAGE)
    cached(f)
    f.store_eats(0)
    m.issue(cfgi_ste(f.sid), sync())
    equal(f.put(IOVA, NEW, HIT_ONLY), REFUSED, "stale write")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE)
    m.stall_counts(stalled=0)


@test
def stall_then_reset(env):
    """A reset of the function forgets the access; the SMMU waits on."""
    m, f, q = stalling(env)
    q.w64(PAGE, OLD)
    ticket = f.park(IOVA, NEW)
    record = m.stalled()[0]
    f.flr()
    f.enable()
    equal(f.reg(REG_PARKED), 0, "parked in the function")
    equal(f.status(ticket), BAD, "RESULT")
    m.stall_counts(parked=1)
    f.map(IOVA, PAGE)
    m.issue(resume(f.sid, record["stag"], retry=True), sync())
    m.step(RESUMED)
    equal(q.r64(PAGE), OLD, "memory: what was before the reset is gone")
    m.stall_counts(retried=1, parked=0)


@test
def stall_then_unplug(env):
    """The function is gone when its access is resumed."""
    m, f, q = stalling(env)
    f.park(IOVA, NEW)
    record = m.stalled()[0]
    m.unplug("ep0")
    m.stall_counts(parked=1)
    m.issue(resume(f.sid, record["stag"], retry=True), sync())
    m.step(RESUMED)
    m.stall_counts(retried=1, parked=0)


@test
def stall_then_dead(env):
    """A dead function does not access memory when it is resumed."""
    m, f, q = stalling(env)
    f.park(IOVA, NEW)
    record = m.stalled()[0]
    f.map(IOVA, PAGE)
    q.w64(PAGE, OLD)
    f.set("dead", True)
    m.issue(resume(f.sid, record["stag"], retry=True), sync())
    m.step(RESUMED)
    equal(q.r64(PAGE), OLD, "memory")
    f.set("dead", False)
    equal(f.reg(REG_PARKED), 0, "parked")


@test
def stall_then_system_reset(env):
    """A reset of the machine ends all stalls."""
    m, f, q = stalling(env)
    f.park(IOVA, NEW)
    m.stalled()
    q.qmp("system_reset")
    q.wait_event("RESET")
    m.step(RESUMED)
    m.stall_counts(terminated=1, parked=0)
    m.start()
    equal(f.reg(REG_PARKED), 0, "parked")


@test
def stall_other_devices(env):
    """A device that cannot wait gets an abort, and an event without Stall."""
    m, f, q = stalling(env)
    f.map(IOVA, PAGE)
    # An MSI is such an access: no address is mapped for it
    msi = f.cap(CAP_MSI)
    q.w32(f.cfg + msi + 4, IOVA2)
    q.w32(f.cfg + msi + 8, 0)
    q.w16(f.cfg + msi + 2, 1)
    q.w32(f.bar + REG_IRQ, 1)
    m.step(1)
    record = m.records()[0]
    equal((record["type"], record["stall"], record["addr"]),
          (F_TRANSLATION, 0, IOVA2), "event")
    m.stall_counts(stalled=0)


@test
def s2fwb(env):
    """s2fwb=on: IDR3.FWB, where there is a stage 2."""
    for machine in ("virt", "virt-9.1"):
        for smmu, on in (("s2fwb=on", 1), ("", 0)):
            m = Machine(env, smmu=smmu, start=False,
                        machine=f"{machine},iommu=smmuv3,gic-version=3")
            # The old machine has stage 1 only
            stage2 = m.rd(IDR0) & 1
            equal(stage2, int(machine == "virt"), f"IDR0.S2P of {machine}")
            equal(m.rd(IDR3) >> 8 & 1, on & stage2, f"IDR3.FWB of {machine}, {smmu}")
            env.restart()


@test
def stall_stage2(env):
    """STE.S2S: a stage 2 fault stalls, and the record says so."""
    for model, s2s, want in (("forced", 1, PARKED), ("forced", 0, REFUSED),
                             ("stall", 1, PARKED), ("stall", 0, REFUSED),
                             ("none", 1, REFUSED), ("none", 0, REFUSED)):
        m = Machine(env, smmu=f"stall-model={model}")
        f = m.fns[0]
        # 39 bits of IPA, pages of 4 KiB, three levels; S2PS 44 bits
        m.q.write(STRTAB + f.sid * 64, struct.pack(
            "<2Q2IQ", 6 << 1 | 1, 0, 1,
            25 | 1 << 6 | 4 << 16 | 1 << 19 | 1 << 21 | s2s << 25 | 1 << 26,
            m.new_table()).ljust(64, b"\0"))
        m.issue(cfgi_ste(f.sid), sync())
        equal(f.put(IOVA, NEW, UNTRANSLATED), want, f"{model}, S2S = {s2s}")
        record = m.records()[0]
        bad = s2s != 1 if model == "forced" else model == "none" and s2s
        equal(record["type"], C_BAD_STE if bad else F_TRANSLATION, f"{model}, S2S = {s2s}")
        if want == PARKED:
            equal((record["stall"], record["s2"]), (1, 1), "event")
        m.stall_counts(stalled=int(want == PARKED))
        env.restart()


# --- SubstreamIDs and PASIDs

LINEAR, LEAF_4K, LEAF_64K = 0, 1, 2
DSS_TERMINATE, DSS_BYPASS, DSS_SSID0 = 0, 1, 2


class Substreams:
    """The context descriptors of one function, and its address spaces."""

    def __init__(self, f, cdmax=12, fmt=LEAF_64K, dss=DSS_SSID0, eats=1):
        self.f, self.m, self.q = f, f.m, f.q
        self.cdmax, self.fmt, self.eats = cdmax, fmt, eats
        self.spaces = {}
        self.leaves = {}
        self.free = CD_TABLES
        self.q.command(f"memset {CD_TABLES:#x} 0x100000 0x0")
        self.base = self.take((64 << cdmax) if fmt == LINEAR else 0x10000)
        self.dss(dss)

    def take(self, size):
        """Zeroed memory, aligned to 64 KiB."""
        addr = self.free
        self.free += -(-size // 0x10000) * 0x10000
        return addr

    def dss(self, dss):
        """Write the STE, with this S1DSS."""
        self.q.write(STRTAB + self.f.sid * 64, struct.pack(
            "<2Q", self.cdmax << 59 | self.base | self.fmt << 4 | S1 << 1 | 1,
            self.eats << 28 | dss).ljust(64, b"\0"))
        self.m.issue(cfgi_ste(self.f.sid), sync())

    def cd(self, ssid):
        """Where the context descriptor of @ssid is."""
        if self.fmt == LINEAR:
            return self.base + ssid * 64
        bits = 6 if self.fmt == LEAF_4K else 10
        index = ssid >> bits
        if index not in self.leaves:
            self.leaves[index] = self.take(64 << bits)
            self.q.w64(self.base + index * 8, self.leaves[index] | 1)
        return self.leaves[index] + (ssid & ((1 << bits) - 1)) * 64

    def add(self, ssid, asid=None):
        """Give @ssid an address space."""
        self.spaces[ssid] = self.m.new_table()
        self.f.write_cd(self.cd(ssid), self.spaces[ssid], asid or 100 + ssid)
        self.m.issue(cfgi_cd(self.f.sid, ssid), sync())

    def remove(self, ssid):
        """Take it away again, without a CMD_CFGI_CD."""
        self.q.write(self.cd(ssid), bytes(64))

    def map(self, ssid, iova, pa):
        """Map a page for @ssid."""
        self.f.map(iova, pa, tables=self.spaces[ssid])


def pasid_on(f, on=True):
    """Write PASID_CTRL; ATS has to be off meanwhile."""
    f.ats(False)
    f.q.w16(f.cfg + f.ext_cap(EXT_PASID) + 6, int(on))
    f.ats(True)


def substreams(env, smmu="", fmt=LEAF_64K, cdmax=12, dss=DSS_SSID0, **kw):
    """A machine with one function that uses PASIDs."""
    m = Machine(env, smmu="ssidsize=16" + ("," + smmu if smmu else ""), ep="pasid=16",
                **kw)
    f = m.fns[0]
    if "forced" in smmu:
        f.cd_bits |= CD_S
    pasid_on(f)
    sub = Substreams(f, cdmax, fmt, dss)
    sub.add(0, 1)
    return m, f, m.q, sub


def as_pasid(f, pasid):
    """The PASID of the commands that follow."""
    f.q.w32(f.bar + REG_PASID, pasid)


@test
def pasid_off(env):
    """Without ssidsize and pasid there are neither."""
    m, f, q = one(env)
    equal(m.rd(IDR1) >> 6 & 0x1f, 0, "IDR1.SSIDSIZE")
    equal(m.rd(IDR0) >> 19 & 1, 0, "IDR0.CD2L")
    equal(f.ext_cap(EXT_PASID), 0, "PASID capability")
    equal(f.reg(REG_PASID), NO_PASID, "PASID register")
    as_pasid(f, 1)
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "with a PASID")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "translation request with a PASID")
    as_pasid(f, NO_PASID)
    equal(f.put(IOVA, NEW, UNTRANSLATED), OK, "without")
    # More descriptors than the SMMU has SubstreamIDs for
    q.w64(STRTAB + f.sid * 64, CDS | 1 << 59 | S1 << 1 | 1)
    m.issue(cfgi_ste(f.sid), sync())
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "S1CDMAX = 1")
    m.event(C_BAD_STE, f.sid, 0)


@test
def pasid_capability(env):
    """The capability, its Enable bit, and what a reset does to it."""
    m, f, q, sub = substreams(env)
    equal(m.rd(IDR1) >> 6 & 0x1f, 16, "IDR1.SSIDSIZE")
    equal(m.rd(IDR0) >> 19 & 1, 1, "IDR0.CD2L")
    cap = f.cfg + f.ext_cap(EXT_PASID)
    equal(q.r16(cap + 4) >> 8, 16, "width")
    sub.add(5)
    sub.map(5, IOVA, PAGE)
    as_pasid(f, 5)
    equal(f.put(IOVA, NEW, UNTRANSLATED), OK, "enabled")
    pasid_on(f, False)
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "disabled")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "translation request, disabled")
    pasid_on(f)
    f.flr()
    equal(q.r16(cap + 6), 0, "PASID_CTRL after an FLR")
    f.enable()
    equal(f.reg(REG_PASID), NO_PASID, "PASID register after an FLR")
    m.no_event()


@test
def pasid_formats(env):
    """Tables of context descriptors: linear, leaves of 4 KiB and of 64 KiB."""
    for fmt, cdmax in ((LINEAR, 4), (LEAF_4K, 12), (LEAF_64K, 12)):
        m, f, q, sub = substreams(env, fmt=fmt, cdmax=cdmax)
        last = (1 << cdmax) - 1
        for number, ssid in enumerate((1, 2, last)):
            sub.add(ssid)
            sub.map(ssid, IOVA, PAGE + number * 0x1000)
        for number, ssid in enumerate((1, 2, last)):
            as_pasid(f, ssid)
            equal(f.put(IOVA, ssid, UNTRANSLATED), OK, f"format {fmt}, PASID {ssid}")
            equal(q.r64(PAGE + number * 0x1000), ssid, "memory")
        m.no_event()
        env.restart()


@test
def pasid_bad(env):
    """SubstreamIDs that there are not, each with its event."""
    m, f, _, sub = substreams(env)
    for ssid, what in ((0, "0 with S1DSS = 2"), (1 << 12, "beyond S1CDMAX"),
                       (0xc00, "in no leaf")):
        as_pasid(f, ssid)
        equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, what)
        record = m.records()[0]
        equal((record["type"], record["ssid"]), (C_BAD_SUBSTREAMID, ssid), what)
        m.wr(EVTQ_CONS, m.ev_cons)
    sub.add(3)
    as_pasid(f, 4)
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "V = 0")
    record = m.records()[0]
    equal((record["type"], record["ssv"], record["ssid"]), (C_BAD_CD, 1, 4), "V = 0")
    m.wr(EVTQ_CONS, m.ev_cons)
    as_pasid(f, 3)
    equal(f.put(IOVA, NEW, UNTRANSLATED), REFUSED, "not mapped")
    record = m.records()[0]
    equal((record["type"], record["ssv"], record["ssid"], record["addr"]),
          (F_TRANSLATION, 1, 3, IOVA), "not mapped")
    m.wr(EVTQ_CONS, m.ev_cons)
    # Beyond S1CDMAX, where memory has a good descriptor all the same
    sub = Substreams(f, 4, LINEAR)
    for ssid, what in ((15, OK), (16, REFUSED)):
        sub.add(ssid)
        sub.map(ssid, IOVA, PAGE)
        as_pasid(f, ssid)
        equal(f.put(IOVA, NEW, UNTRANSLATED), what, f"PASID {ssid} of 16")
    equal(m.records()[0]["type"], C_BAD_SUBSTREAMID, "event, 16 of 16")
    m.wr(EVTQ_CONS, m.ev_cons)
    # Without stage 1
    f.q.w64(STRTAB + f.sid * 64, BYPASS << 1 | 1)
    m.issue(cfgi_ste(f.sid), sync())
    equal(f.put(PAGE, NEW, UNTRANSLATED), REFUSED, "bypass")
    equal(m.records()[0]["type"], C_BAD_SUBSTREAMID, "bypass")


@test
def pasid_s1dss(env):
    """What S1DSS says for accesses without a PASID."""
    m, f, q, sub = substreams(env)
    sub.add(1)
    sub.map(0, IOVA, PAGE)
    sub.map(1, IOVA, PAGE2)
    equal(f.put(IOVA, 1, UNTRANSLATED), OK, "SSID0")
    equal(q.r64(PAGE), 1, "memory, SSID0")
    sub.dss(DSS_TERMINATE)
    equal(f.put(IOVA, 2, UNTRANSLATED), REFUSED, "terminate")
    equal(m.records()[0]["type"], F_STREAM_DISABLED, "event, terminate")
    m.wr(EVTQ_CONS, m.ev_cons)
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "translation request, terminate")
    as_pasid(f, 1)
    equal(f.put(IOVA, 3), OK, "with a PASID, terminate")
    equal(f.reg(REG_FLAGS) & 1, 1, "translated")
    equal(q.r64(PAGE2), 3, "memory, with a PASID")
    as_pasid(f, NO_PASID)
    sub.dss(DSS_BYPASS)
    equal(f.put(PAGE, 4, UNTRANSLATED), OK, "bypass")
    equal(q.r64(PAGE), 4, "memory, bypass")
    equal(f.put(PAGE, 5), OK, "bypass, through the ATC")
    equal(f.reg(REG_FLAGS) & 1, 1, "translated")
    equal(q.r64(PAGE), 5, "memory, bypass, through the ATC")
    # 0 is a SubstreamID like any other now
    as_pasid(f, 0)
    equal(f.put(IOVA, 6, UNTRANSLATED), OK, "PASID 0")
    equal(q.r64(PAGE), 6, "memory, PASID 0")


@test
def pasid_cached_cd(env):
    """A context descriptor is cached until a CMD_CFGI covers it, and no longer."""
    for cmd, gone in ((lambda f: cfgi_cd(f.sid, 2), True),
                      (lambda f: cfgi_cd(f.sid, 1), False),
                      (lambda f: cfgi_cd(f.sid + 1, 2), False),
                      (lambda f: cfgi_cd_all(f.sid), True),
                      (lambda f: cfgi_ste(f.sid), True),
                      (lambda f: cfgi_ste(f.sid + 1), False),
                      (lambda f: cfgi_all(), True)):
        m, f, _, sub = substreams(env)
        sub.add(2)
        sub.map(2, IOVA, PAGE)
        as_pasid(f, 2)
        equal(f.put(IOVA, OLD, UNTRANSLATED), OK, "before")
        sub.remove(2)
        equal(f.put(IOVA, OLD, UNTRANSLATED), OK, "before the command")
        m.issue(cmd(f), sync())
        equal(f.put(IOVA, OLD, UNTRANSLATED), REFUSED if gone else OK,
              f"after {cmd(f).hex()}")
        env.restart()


@test
def pasid_atc(env):
    """The ATC keeps translations apart, and invalidations name theirs."""
    m, f, q, sub = substreams(env)
    for ssid in (0, 1, 2):
        if ssid:
            sub.add(ssid)
        sub.map(ssid, IOVA, PAGE + ssid * 0x1000)

    def fill():
        for ssid in (NO_PASID, 1, 2):
            as_pasid(f, ssid)
            equal(f.put(IOVA, ssid), OK, f"write, PASID {ssid:#x}")

    def held():
        out = []
        for ssid in (NO_PASID, 1, 2):
            as_pasid(f, ssid)
            if f.put(IOVA, ssid, HIT_ONLY) == OK:
                out.append(ssid)
        return out

    fill()
    equal(f.reg(REG_ENTRIES), 3, "translations")
    equal([q.r64(PAGE + n * 0x1000) for n in range(3)], [NO_PASID, 1, 2], "memory")
    for cmd, want in ((atc_inv(f.sid, ssid=1), [NO_PASID, 2]),
                      (atc_inv(f.sid, IOVA, 0, ssid=2), [NO_PASID, 1]),
                      (atc_inv(f.sid, IOVA2, 0, ssid=2), [NO_PASID, 1, 2]),
                      (atc_inv(f.sid, ssid=7), [NO_PASID, 1, 2]),
                      (atc_inv(f.sid, ssid=7, g=True), [NO_PASID]),
                      (atc_inv(f.sid), []),
                      (atc_inv(f.sid, IOVA2, 0), [NO_PASID, 1, 2])):
        m.issue(cmd, sync())
        equal(held(), want, f"held after {cmd.hex()}")
        fill()
    equal([x["ssid"] for x in q.timeline("atc-inv")][:4], [1, 2, 2, 7], "timeline")


@test
def pasid_eats(env):
    """EATS = 0 refuses every PASID's translated accesses and requests."""
    m, f, _, sub = substreams(env)
    sub.add(1)
    sub.map(1, IOVA, PAGE)
    as_pasid(f, 1)
    equal(f.put(IOVA, OLD), OK, "write that fills the ATC")
    sub.eats = 0
    sub.dss(DSS_SSID0)
    equal(f.put(IOVA, NEW, HIT_ONLY), REFUSED, "stale write")
    m.event(F_TRANSL_FORBIDDEN, f.sid, PAGE)
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "translation request")
    record = m.records()[0]
    equal((record["type"], record["ssv"], record["ssid"]), (F_BAD_ATS_TREQ, 1, 1),
          "event of the request")


@test
def pasid_stall(env):
    """A stall with a PASID: the record names it; two of them at once."""
    m, f, q, sub = substreams(env, smmu="stall-model=forced")
    tickets = {}
    for ssid in (1, 2):
        sub.add(ssid)
        as_pasid(f, ssid)
        tickets[ssid] = f.park(IOVA, ssid)
    records = m.stalled(2)
    equal([(r["ssv"], r["ssid"], r["addr"]) for r in records],
          [(1, 1, IOVA), (1, 2, IOVA)], "events")
    sub.map(2, IOVA, PAGE)
    as_pasid(f, NO_PASID)
    for r in records:
        m.issue(resume(f.sid, r["stag"], retry=True), sync())
        m.step(RESUMED)
    equal(f.status(tickets[2]), OK, "PASID 2")
    equal(q.r64(PAGE), 2, "memory")
    equal(f.status(tickets[1]), PARKED, "PASID 1, for which nothing is mapped")
    again = m.stalled()[0]
    equal((again["ssid"], again["addr"]), (1, IOVA), "event of the retry")
    sub.remove(1)
    m.issue(cfgi_cd(f.sid, 1), resume(f.sid, again["stag"], retry=True), sync())
    m.step(RESUMED)
    equal(f.status(tickets[1]), REFUSED, "PASID 1, which is gone")
    equal(m.records()[0]["type"], C_BAD_CD, "event")
    m.stall_counts(stalled=3, retried=3, parked=0)


# --- without ATS

@test
def without_ats(env):
    """ats=off: the SMMU is the one it was before."""
    m, f, q = one(env, ats=False)
    f.fault("silent")
    m.issue(atc_inv(f.sid), sync())
    m.step(100 * TIMEOUT)
    m.idle()
    equal(f.get("stat-inv-received"), 0, "stat-inv-received")
    equal(f.dma(PREFETCH, IOVA), ATS_REFUSED, "prefetch")
    equal(f.put(IOVA, NEW, UNTRANSLATED), OK, "untranslated write")
    equal(q.r64(PAGE), NEW, "memory")
    m.no_event()
    at = m.prod
    m.queue(struct.pack("<4I", 0xfe, 0, 0, 0))
    m.failed_at(at, CERROR_ILL)
    q.write(CMDQ + at * 16, sync())
    m.ack()
    m.idle()
    equal(m.err(), CERROR_ILL, "ERR stays, as ever")


# --------------------------------------------------------------------------

class Env:
    """What a test gets: the means to start QEMU."""

    def __init__(self, binary, keep):
        self.binary = binary
        self.keep = keep
        self.dir = tempfile.mkdtemp(prefix="atc-selftest-")
        self.qemu = None
        self.count = 0
        self.output = ""

    def start(self, args):
        """Start a QEMU."""
        self.count += 1
        workdir = os.path.join(self.dir, str(self.count))
        os.mkdir(workdir)
        self.qemu = Qemu(self.binary, workdir, args)
        return self.qemu

    def restart(self):
        """End the QEMU that runs, to start another."""
        self.end()

    def end(self):
        """End the QEMU that runs.  Complain if it has ended by itself."""
        if not self.qemu:
            return
        died = self.qemu.died()
        status = self.qemu.process.returncode
        self.output += self.qemu.stop()
        self.qemu = None
        if died:
            raise Failure(f"QEMU ended by itself, status {status}")

    def close(self):
        """Remove what is left."""
        if self.keep:
            print(f"# kept {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def run(fn, binary, keep):
    """Run one test.  Returns None or why it failed."""
    env = Env(binary, keep)
    why = None
    argv = None
    try:
        fn(env)
        env.end()
    except Failure as e:
        why = e
        where = [x for x in traceback.extract_tb(e.__traceback__)
                 if x.name == fn.__name__]
        if where:
            why = Failure(f"{e} (line {where[-1].lineno})")
    except Exception as e:  # pylint: disable=broad-except
        why = Failure("".join(traceback.format_exception(e)).rstrip())
    finally:
        if env.qemu:
            argv = env.qemu.argv
            try:
                env.end()
            except Failure as e:
                why = Failure(f"{why}; {e}")
        env.close()
    if why:
        for text in [str(why)] + env.output.splitlines()[-20:]:
            print("#   " + text.replace("\n", "\n#   "))
        if argv:
            print("#   " + " ".join(argv))
    return why


def main():
    """Parse the command line, run the tests, print KTAP."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", maxsplit=1)[0],
        epilog="Exit status: 0 if no test failed, 1 otherwise.")
    parser.add_argument("--qemu", metavar="PATH",
                        default=os.environ.get("QEMU", "qemu-system-aarch64"),
                        help="the qemu-system-aarch64 to test (default: "
                             "$QEMU, or the one in the PATH)")
    parser.add_argument("--list", action="store_true",
                        help="list the tests and exit")
    parser.add_argument("--keep", action="store_true",
                        help="keep the working directory of each test")
    parser.add_argument("pattern", nargs="*", default=["*"],
                        help="tests to run, with wildcards (default: all)")
    args = parser.parse_args()

    tests = [t for t in TESTS
             if any(fnmatch.fnmatch(t.__name__, p) for p in args.pattern)]
    if args.list:
        for t in tests:
            print(f"{t.__name__:34s}{t.__doc__.split(chr(10))[0]}")
        return 0
    if not tests:
        parser.error("no such test")
    if not shutil.which(args.qemu):
        parser.error(f"{args.qemu} cannot be executed")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = 0
    print("KTAP version 1")
    print(f"1..{len(tests)}")
    for number, t in enumerate(tests, 1):
        if run(t, args.qemu, args.keep):
            failed += 1
            print(f"not ok {number} {t.__name__}")
        else:
            print(f"ok {number} {t.__name__}")
        sys.stdout.flush()
    print(f"# {len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
