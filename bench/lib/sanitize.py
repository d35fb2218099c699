# SPDX-License-Identifier: GPL-2.0
"""
`make sanitize`: the KUnit suites and all scenarios of the patched kernel once
more, on kernels that watch themselves.

  asan   KASAN, UBSAN, lockdep, PROVE_RCU, DEBUG_ATOMIC_SLEEP, debug objects, kmemleak
  kcsan  KCSAN, which also simulates weak memory

Each kernel first has to find a seeded fault of each kind (bench/guest/
atctest_canary.c). What has passed is kept with the tree hash that it speaks of,
so that an interrupted run goes on where it was.
"""

import functools
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from . import build, guest, ktap, paths, scenario, series, splat, ui, vm

# {kernel: {canary: what its log has to say}}
CANARIES = {
    "asan": {
        "use-after-free": r"BUG: KASAN: slab-use-after-free in use_after_free",
        "shift": r"UBSAN: shift-out-of-bounds in .*atctest_canary",
        "deadlock": r"WARNING: possible circular locking dependency",
        "sleep-atomic": r"BUG: sleeping function called from .*atctest_canary",
        "rcu": r"WARNING: suspicious RCU usage",
        "leak": r"kmemleak: \d+ new suspected memory leaks",
    },
    "kcsan": {
        "race": r"BUG: KCSAN: data-race in racer",
    },
}
# Lockdep ends with its first report, and with one of KASAN.
TOGETHER = [("use-after-free", "shift", "sleep-atomic"), ("leak", "deadlock"), ("rcu",), ("race",)]

# What the kernels say that has nothing to do with the series. A race is foreign
# if neither of its functions is in these directories.
OURS = ["drivers/iommu", "drivers/pci"]
ALLOWS = {"asan": [], "kcsan": []}
# KASAN keeps what was freed; what is leaked there kmemleak finds.
BUT_FOR = {"asan": ("kernel_memory_grew_kb",), "kcsan": ()}

# Races of the base that have one foot in OURS, by their functions, with the reason
FOREIGN_RACES = {
    ("kthread_is_per_cpu", "pci_recovery_work"):
        "current->flags, which memalloc_noio_save() changes and the scheduler looks at",
    ("kthread_data", "pci_recovery_work"): "current->flags, as above",
    ("pci_ats_supported", "pci_save_state"):
        "bit-fields of struct pci_dev: one is set, another one that never changes is read",
}

# They are slower than the kernels of `make scenarios`.
SLOWER = 4


def kinds(only):
    """The kernels that @only names, or all."""
    if only and only not in CANARIES:
        raise ui.Stop(f"SAN={only}: there are {', '.join(CANARIES)}")
    return [only] if only else list(CANARIES)


@functools.cache
def own_functions(san):
    """Names of the functions of OURS in the kernel that was built last."""
    tree = paths.CACHE / paths.LINUX / "build" / f"bench+{san}"
    objects = [str(p) for where in OURS for p in sorted((tree / where).rglob("*.o"))]
    text = subprocess.run([build.CROSS + "nm", *objects], capture_output=True, text=True,
                          check=False).stdout
    return frozenset(re.findall(r"^\w+ [tT] (\w+)", text, re.M))


RACE = re.compile(r"BUG: KCSAN: (?:data-race|assert: race) in (\w+)\S*(?: / (\w+))?")


def without_foreign_races(text, own):
    """
    @text without the heading of each race that touches no function in @own, or is
    one of FOREIGN_RACES.
    """
    def foreign(line):
        match = RACE.search(line)
        return match and (match.groups() in FOREIGN_RACES or
                          not any(name in own for name in match.groups() if name))

    return "".join(line for line in text.splitlines(keepends=True) if not foreign(line))


# Devices that are plugged, or reset through their port, show it with and without
# the series: pciehp's reset_lock, pci_rescan_remove_lock and pci_slot_mutex are
# taken in different orders.
CYCLE = re.compile(r"WARNING: possible circular locking dependency detected")
CYCLE_LINES = 120
LOCKDEP_LINE = re.compile(r"\+0x[0-9a-f]+/0x|\{[-.+?!]{4}\}|lock\(|-->")
PCIEHP = re.compile(r"&ctrl->reset_lock")
NOT_PCIEHP = re.compile(r"iommu|smmu|pci_recovery|&group->|vfio")


def without_foreign_cycle(text):
    """@text without the report of the cycle that pciehp has with itself."""
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if CYCLE.search(line)), None)
    if start is None:
        return text
    trace = next((i for i in range(start, min(start + CYCLE_LINES, len(lines)))
                  if "Call trace:" in lines[i]), None)
    # Without what others have logged in between
    report = "".join(line for line in lines[start:trace] if LOCKDEP_LINE.search(line))
    if trace is None or not PCIEHP.search(report) or NOT_PCIEHP.search(report):
        return text
    return "".join(lines[:start] + lines[start + 1:trace] + lines[trace + 1:])


# A function that goes while it is found: pci_scan_device() frees it without its
# name, with and without the series.
LEAK = re.compile(r"unreferenced object")
LEAKS = re.compile(r"kmemleak: (\d+) new suspected memory leaks")
LEAK_LINES = 30


def without_foreign_leaks(text):
    """@text without the leaks of the PCI core's own, and without their count."""
    lines = text.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if LEAK.search(line)]
    foreign = set()
    for start, end in zip(starts, starts[1:] + [len(lines)]):
        report = "".join(lines[start:min(end, start + LEAK_LINES)])
        if re.search(r"dev_set_name\+.*\n.*pci_setup_device\+", report):
            foreign.add(start)
    if len(foreign) == len(starts):
        foreign |= {i for i, line in enumerate(lines) if foreign and LEAKS.search(line)}
    return "".join(line for i, line in enumerate(lines) if i not in foreign)


def cleaner(san):
    """What takes out of a log of the kernel @san what says nothing about the series."""
    if san != "kcsan":
        return lambda text: without_foreign_leaks(without_foreign_cycle(text))
    own = own_functions(san)
    if not own:
        raise ui.Stop(f"kernel bench+{san}: no object in {' '.join(OURS)}")
    return lambda text: without_foreign_races(text, own)


class Kept:
    """What has passed already on this kernel, QEMU and guest."""

    def __init__(self, san, key):
        self.file = paths.OUT / "sanitize" / san / "passed.json"
        self.key = key
        stored = {}
        if self.file.exists():
            stored = json.loads(self.file.read_text(encoding="utf-8"))
        self.names = set(stored["passed"]) if stored.get("key") == key else set()

    def add(self, name):
        """One more; on the disk at once."""
        self.names.add(name)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"key": self.key, "passed": sorted(self.names)}, indent=1)
                        + "\n", encoding="utf-8")
        part.rename(self.file)


def boot(kernel, emulator, programs, outdir, append, timeout_s=1800,
         on_line=lambda line: None):
    """
    Boot without a program; the console's text. @on_line gets the lines of the
    verdict channel.
    """
    initrd = outdir / "initramfs.cpio"
    outdir.mkdir(parents=True, exist_ok=True)
    guest.write_initramfs(initrd, programs, kernel["module"])
    machine = vm.Machine(ports=[[{}]], memory="2G", append=["log_buf_len=16M"])
    with vm.VM(machine, qemu=emulator, image=kernel["image"], initrd=initrd, append=append,
               outdir=outdir, on_line=on_line, timeout_s=timeout_s) as guest_vm:
        guest_vm.wait()
        if guest_vm.problem:
            raise ui.Stop(f"{ui.shown(outdir)}: {guest_vm.problem}")
    return (outdir / "console.log").read_text(encoding="utf-8", errors="replace")


def canaries(san, kernel, emulator, programs, results):
    """Does this kernel see what it is for?"""
    for names in TOGETHER:
        names = [name for name in names if name in CANARIES[san]]
        if not names:
            continue
        ui.note(f"{san}: seeded faults: {', '.join(names)}")
        text = boot(kernel, emulator, programs, paths.OUT / "sanitize" / san / f"canary-{names[0]}",
                    [f"atc.module=canary={':'.join(names)}"])
        for name in names:
            seen = re.search(CANARIES[san][name], text)
            results.add(f"{san}.canary.{name}",
                        None if seen else "the seeded fault was not seen")


def kunit(san, kernel, emulator, programs, results, allows):
    """The suites of the series, and what the log says meanwhile."""
    ui.note(f"{san}: the KUnit suites")
    outdir = paths.OUT / "sanitize" / san / "kunit"
    text = boot(kernel, emulator, programs, outdir, ["kunit.enable=1", "kunit.autorun=1"])
    lines = [re.sub(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ", "", line) for line in text.splitlines()]
    report = ktap.parse(lines, loose=True)
    bad = report.fails
    count = sum(1 for _ in report.leaves())
    for line in bad[:20]:
        ui.note(f"      {line}")
    results.add(f"{san}.kunit", "; ".join(bad[:3]) or (None if count else "no case ran"))
    problems = splat.scan(cleaner(san)("\n".join(lines)), allows + ALLOWS[san])
    for line in problems[:20]:
        ui.note(f"      {line}")
    results.add(f"{san}.kunit.log-clean", "; ".join(problems[:3]) or None)
    ui.note(f"{san}: KUnit: {count} results (log: {ui.shown(outdir / 'console.log')})")


def scenarios(san, names, kernel, emulator, programs, results, kept):
    """The scenarios @names, two machines at a time."""
    clean = cleaner(san)

    def work(name):
        ui.note(f"{san}: scenario {name}")
        return name, scenario.run(
            name, which="patched", image=kernel["image"], module=kernel["module"],
            qemu=emulator, programs=programs, slower=SLOWER, clean=clean, but_for=BUT_FOR[san],
            outdir=paths.OUT / "sanitize" / san / name, progress=lambda line: None)

    pool = ThreadPoolExecutor(max(1, int(paths.jobs())))
    try:
        for name, result in pool.map(work, names):
            results.add(f"{san}.scenario.{name}", "; ".join(result["fails"][:4]) or None)
            if result["ok"]:
                ui.note(f"pass  {san}: scenario {name}")
                kept.add(f"scenario.{name}")
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        vm.end_all()
        raise
    pool.shutdown()


def sanitize(results, san, only, wanted, found, programs, allows):
    """
    Everything on the kernel @san. @only: a list of scenarios and "kunit", nothing else.
    @wanted: all scenarios, @found: (kernels, emulator, QEMU's tree) as of
    jobs.kernels(), @allows: what the KUnit suites may log.
    """
    built, emulator, qemu_tree = found
    kernel = built["patched"]
    key = [kernel["tree"], qemu_tree, build.sanitizer_key(san), guest.digest(programs)]
    kept = Kept(san, key)
    ui.note(f"{san}: tree {kernel['tree'][:16]}" + (
        f", {len(kept.names)} parts have passed already" if kept.names else ""))
    before = len(results.all)
    if only is None:
        if "canary" not in kept.names:
            canaries(san, kernel, emulator, programs, results)
            if not any(list(results.all.values())[before:]):
                kept.add("canary")
    if "kunit" in only if only else "kunit" not in kept.names:
        start = len(results.all)
        kunit(san, kernel, emulator, programs, results, allows)
        if not any(list(results.all.values())[start:]):
            kept.add("kunit")
    names = [n for n in only if n != "kunit"] if only else [
        n for n in wanted if f"scenario.{n}" not in kept.names]
    scenarios(san, names, kernel, emulator, programs, results, kept)
    report = paths.OUT / "sanitize" / san / "report.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({"tree": kernel["tree"], "series": series.git(
        "rev-parse", kernel["commit"]), "qemu_tree": qemu_tree, "passed": sorted(kept.names),
        "failed": {k: v for k, v in results.all.items() if v}}, indent=1) + "\n",
        encoding="utf-8")
    ui.note(f"{san}: report: {ui.shown(report)}")
