# SPDX-License-Identifier: GPL-2.0
"""The virtual machine's life: nothing hangs, nothing is left running or lying."""

import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib.vm import VM, Machine, end_all  # noqa: E402

FAKE = Path(__file__).with_name("fake_qemu.py")


class Life(unittest.TestCase):
    """With a program that plays QEMU."""

    def setUp(self):
        self.lines = []
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.outdir = Path(temporary.name)

    def vm(self, what, timeout_s=30):
        """A VM of the fake that does @what."""
        return VM(Machine(ports=[[{}]]), qemu=FAKE, image="Image", initrd="initrd",
                  append=[f"fake={what}"], outdir=self.outdir, on_line=self.lines.append,
                  timeout_s=timeout_s)

    def gone(self, machine):
        """Neither process nor sockets are left."""
        self.assertIsNotNone(machine._proc.poll())
        self.assertFalse(machine.qmp_path.parent.exists())

    def test_watchdog(self):
        with self.vm("hang", timeout_s=1) as machine:
            machine.wait()
        self.assertIn("watchdog", machine.problem)
        self.assertEqual(self.lines, ["KTAP version 1"])
        self.gone(machine)

    def test_interrupt(self):
        with self.assertRaises(KeyboardInterrupt), self.vm("hang") as machine:
            raise KeyboardInterrupt
        self.gone(machine)

    def test_end_all(self):
        with self.vm("hang") as machine:
            threading.Timer(0.2, end_all).start()
            machine.wait()
        self.assertEqual(machine.problem, "interrupted")
        self.gone(machine)

    def test_refusal(self):
        with self.vm("refuse") as machine:
            machine.wait()
        self.assertIn("no such machine", machine.problem)
        self.gone(machine)

    def test_late_refusal(self):
        with self.vm("refuse_late") as machine:
            machine.wait()
        self.assertIn("no such device", machine.problem)
        self.gone(machine)

    def test_qmp_for_the_guest(self):
        with self.vm("ask") as machine:
            machine.wait()
        self.assertIsNone(machine.problem)
        self.assertEqual(self.lines, ['answer {"return": "query-status"}'])
        self.gone(machine)

    def test_flood(self):
        begin = time.monotonic()
        with self.vm("flood") as machine:
            machine.wait()
        self.assertEqual(len(self.lines), 50000)
        self.assertLess(time.monotonic() - begin, 20)

    def test_listener_fails(self):
        def fail(line):
            raise ValueError(line)
        machine = self.vm("flood")
        machine._on_line = fail
        with machine:
            machine.wait()
        self.assertIn("# line 0", machine.problem)

    def test_command_can_be_pasted(self):
        with self.vm("flood") as machine:
            machine.wait()
        script = (self.outdir / "qemu.sh").read_text(encoding="utf-8")
        self.assertIn("atc-endpoint,id=ep0,bus=rp0", script)
        self.assertIn("'console=ttyAMA0 panic=-1 fake=flood'", script)


class Description(unittest.TestCase):
    """A machine's arguments."""

    def test_functions(self):
        text = " ".join(Machine(ports=[[{}], [{"acs": "off"}] * 2],
                                smmu={"atc-inv-timeout-us": 5}).arguments("t"))
        for part in ("arm-smmuv3.ats=on", "arm-smmuv3.atc-inv-timeout-us=5",
                     "atc-endpoint,id=ep0,bus=rp0,addr=0.0 ",
                     "atc-endpoint,id=ep1,bus=rp1,addr=0.0,multifunction=on,acs=off",
                     "atc-endpoint,id=ep2,bus=rp1,addr=0.1,multifunction=on,acs=off", "id=rp1,bus=pcie.0,addr=0x2"):
            self.assertIn(part, text + " ")

    def test_two_smmus(self):
        text = " ".join(Machine(ports=[[{}], [{}], [{}]], acpi=True, second=2).arguments("t"))
        for part in ("-M virt,gic-version=3 ", "arm-smmuv3,id=smmu0,primary-bus=pcie.0",
                     "arm-smmuv3,id=smmu1,primary-bus=pcie.1", "id=rp0,bus=pcie.1,",
                     "id=rp1,bus=pcie.1,", "id=rp2,bus=pcie.0,"):
            self.assertIn(part, text)

    def test_vfs(self):
        args = Machine(ports=[[{}, {"sriov-pf": "ep0"}], [{}]]).arguments("t")
        functions = [arg for arg in args if arg.startswith("atc-endpoint")]
        # QEMU has to know a VF first, and the guest finds it last.
        self.assertEqual(functions, [
            "atc-endpoint,id=ep2,bus=rp0,addr=0.1,sriov-pf=ep0",
            "atc-endpoint,id=ep0,bus=rp0,addr=0.0", "atc-endpoint,id=ep1,bus=rp1,addr=0.0"])

    def test_disk(self):
        text = " ".join(Machine(ports=[], disk=True).arguments("/a,b/t"))
        for part in ("nvme,id=disk0,bus=rpdisk", "x-atc=on", "file=/a,,b/disk.raw"):
            self.assertIn(part, text)

    def test_timeline(self):
        self.assertIn("atc-timeline", " ".join(Machine(ports=[]).arguments("t")))
        self.assertNotIn("atc-timeline", " ".join(Machine(ports=[], timeline=False).arguments("t")))


if __name__ == "__main__":
    unittest.main()
