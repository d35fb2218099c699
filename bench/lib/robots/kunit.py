# SPDX-License-Identifier: GPL-2.0
"""
The KUnit suites of what the series touches, at each patch: those that exist there.

The kernel of a patch is booted in the background, while the next ones are
built. A patch that leaves the image as it was needs no boot of its own.
"""

import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import build, ktap, paths, series, splat, ui
from . import common, store

# The same source gives the same image.
NO_VERSION = "# CONFIG_LOCALVERSION_AUTO is not set"
SAME = ["LOCALVERSION=", "KBUILD_BUILD_USER=bench", "KBUILD_BUILD_HOST=bench",
        "KBUILD_BUILD_TIMESTAMP=2026-01-01", "KBUILD_BUILD_VERSION=1"]
# Seconds until a kernel without an end is ended, on a machine with other work
TIMEOUT = 1200

CANARY_FILE = "drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-test.c"
CANARY_TEXT = """\
#include <linux/reboot.h>

static void bench_canary_bad_fails(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, 1, 2);
}

static void bench_canary_bad_warns(struct kunit *test)
{
	WARN_ON(1);
}

static void bench_canary_ends(struct kunit *test)
{
	emergency_restart();
}

"""
CANARY_CASES = ["bench_canary_bad_fails", "bench_canary_bad_warns", "bench_canary_ends"]
# What has to be seen of which cases; the end of the machine hides the others
CANARY = {"case": ("not ok: arm-smmu-v3-kunit-test.bench_canary_bad_fails", "bad_*"),
          "splat": ("WARN: ", "bad_*"), "end": ("KTAP: ", "ends")}


def broken(text):
    """The file of a suite with three more cases: one fails, one warns, one never ends."""
    array = re.search(r"^static struct kunit_case \w+\[\] = \{\n", text, re.M)
    cases = "".join(f"\tKUNIT_CASE({name}),\n" for name in CANARY_CASES)
    return text[:array.start()] + CANARY_TEXT + array[0] + cases + text[array.end():]


def judge(text, allows):
    """(what is wrong with a kernel's log @text, what ran)."""
    log = [re.sub(r"^\[ *\d+\.\d+\] ", "", line) for line in text.splitlines()]
    report = ktap.parse(log, loose=True)
    lines = report.fails
    cases = list(report.leaves())
    if not cases:
        lines.append("no test ran")
    # Suites that are not there yet do not show what is allowed to them.
    lines += [line for line in splat.scan("\n".join(log), allows)
              if not line.startswith("allowance ")]
    skipped = sum(point.skipped for _, point in cases)
    ran = f"{len(report.points)} suites, {len(cases)} cases"
    return lines, ran + (f", {skipped} skipped" if skipped else "")


class Verdict:
    """A verdict that may still have to be waited for."""

    def __init__(self, wait, future=None, kept=False):
        self.wait, self.future, self.kept = wait, future, kept

    def done(self):
        """Can it be had without waiting?"""
        return self.future is None or self.future.done()

    def result(self):
        """(lines, what ran, was it kept)."""
        return (*self.wait(), self.kept)


class Suites:
    """Build and boot; verdicts come when the boots are done."""

    def __init__(self, base, tip, files, allows, verdicts, log):
        self.base, self.allows, self.verdicts, self.log = base, allows, verdicts, log
        self.folder = common.BUILDS / "check-kunit"
        self.wanted = sorted({NO_VERSION, *(line for name in files for line in series.git(
            "show", f"{tip}:{name}").splitlines() if re.match(r"(# )?CONFIG_", line))})
        self.emulator, qemu = build.qemu()
        self.tools = store.digest(qemu, store.version(f"{build.CROSS}gcc", "--version"),
                                  [(a.pattern, a.reason) for a in allows], TIMEOUT,
                                  paths.BENCH / "lib/robots/kunit.py")
        self.names = [re.match(r"(?:# )?CONFIG_(\w+)", line)[1] for line in self.wanted]
        self.pool = ThreadPoolExecutor(1)
        self.running = None
        self.lock = threading.Lock()
        self.images = {}        # digest of an image: the future of its verdict

    def _known(self, commit):
        """Those of our symbols that the kernel @commit has."""
        found = series.git("grep", "-hE", f"^(menu)?config ({'|'.join(self.names)})$", commit,
                           "--", "*Kconfig*", check=False)
        return {line.split()[-1] for line in found.splitlines()}

    def config(self, commit):
        """The configuration of @commit: what of it is there."""
        known = self._known(commit)
        return "".join(f"{line}\n" for line, name in zip(self.wanted, self.names)
                       if name in known)

    def key(self, commit, config, glob=None):
        """What the verdict on @commit depends on."""
        return "kunit " + store.digest(self.tools, common.tree_of(commit), config, glob)

    def _tool(self, what, folder, *args):
        return [common.WORK / "tools/testing/kunit/kunit.py", what, "--arch=arm64",
                f"--cross_compile={build.CROSS}", f"--build_dir={folder}", *args]

    def _build(self, commit, config):
        """The image of @commit, or None."""
        common.go_to(commit)
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = self.folder / ".bench-kunitconfig"
        wanted.write_text(config, encoding="utf-8")
        image = self.folder / "arch/arm64/boot/Image.gz"
        image.unlink(missing_ok=True)
        code, _ = common.shell(self._tool(
            "build", self.folder, f"--kunitconfig={wanted}", "--jobs", paths.jobs(),
            *[word for value in [f"CC=ccache {build.CROSS}gcc", *SAME]
              for word in ("--make_options", value)]), self.log, cwd=common.WORK)
        return image if code == 0 and image.exists() else None

    def start(self, commit, name, glob=None):
        """Build @commit now and boot it later: its Verdict."""
        config = self.config(commit)
        key = self.key(commit, config, glob)
        if known := self.verdicts.get(key):
            return Verdict(lambda: (known["lines"], known["ran"]), kept=True)
        image = self._build(commit, config)
        if image is None:
            return Verdict(lambda: ([f"no KUnit kernel (log: {ui.shown(self.log)})"], ""))
        same = store.digest(image, glob)
        first, future = self.images.get(same, (None, None))
        if future is None:
            future = self.pool.submit(self._boot, self._apart(image, name), name, glob)
            self.images[same] = (name, future)

        def wait():
            lines, ran = future.result()
            if first:
                ran += f" (same image as {first})"
            # What failed runs again: a machine with much work is one more reason.
            if not lines or name.startswith("canary-"):
                self.verdicts.put(key, {"lines": lines, "ran": ran})
            return lines, ran

        return Verdict(wait, future)

    def _apart(self, image, name):
        """A folder that looks like a build to kunit.py, for a boot of its own."""
        folder = self.folder / "boot" / name.replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        target = folder / "arch/arm64/boot"
        target.mkdir(parents=True)
        shutil.copy2(image, target)
        return folder

    def _boot(self, folder, name, glob):
        raw = paths.OUT / "check/kunit" / f"{name.replace('/', '-')}.log"
        raw.parent.mkdir(parents=True, exist_ok=True)
        env = common.tools_env()
        env["PATH"] = f"{self.emulator.parent}:{env['PATH']}"
        cmd = self._tool("exec", folder, f"--timeout={TIMEOUT}", "--raw_output=all",
                         "--qemu_args=-smp 2", "--kernel_args=log_buf_len=16M",
                         *([glob] if glob else []))
        with open(raw, "wb") as out, open(self.log, "ab") as err:
            with self.lock:
                if self.running is self:
                    raise ui.Stop("interrupted")
                machine = self.running = subprocess.Popen(
                    [str(word) for word in cmd], cwd=common.WORK, env=env, stdout=out,
                    stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
            machine.wait()
        shutil.rmtree(folder)
        return judge(Path(raw).read_text(encoding="utf-8", errors="replace"), self.allows)

    def end(self):
        """Nothing may be left running."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        with self.lock:
            running, self.running = self.running, self
        if running not in (None, self):
            ui.kill_group(running)

    def canary(self):
        """Which of the seeded faults are not seen."""
        commit = common.seeded(self.base, {CANARY_FILE: broken})
        said = {}
        for glob in sorted({glob for _, glob in CANARY.values()}):
            lines, _, _ = self.start(commit, f"canary-{glob.rstrip('_*')}",
                                     f"arm-smmu-v3-kunit-test.bench_canary_{glob}").result()
            said[glob] = "\n".join(lines)
        return sorted(kind for kind, (what, glob) in CANARY.items() if what not in said[glob])
