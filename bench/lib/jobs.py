# SPDX-License-Identifier: GPL-2.0
"""The commands that run something: run, test, kunit, scenarios, shell."""

import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import (archive, build, check, cost, cover, deb, guest, ktap, litmus, mutants, paths, profile,
               sanitize, scenario, series, splat, stress, ui, vm)

PLAN = paths.BENCH / "plan"
# how many failures the end of a run repeats
AT_THE_END = 12
KERNELS = ("base", "patched")
# what kunit.py takes as --kunitconfig, in the kernel tree
KUNIT = ["drivers/iommu/arm/arm-smmu-v3/.kunitconfig", "drivers/iommu/.kunitconfig"]


# what these suites provoke on purpose
KUNIT_ALLOWS = [
    splat.Allow(r"arm_smmu_v3_atc_test_\w+\.\w+: \S+: ATC invalidation timeout",
                "the suite makes simulated devices fall silent"),
    splat.Allow(r"(arm_smmu_v3_atc_test_\w+\.smmu|vcmdq_test_\w+\.vcmdq): "
                r"(CMDQ error|unexpected global error)",
                "some cases raise errors of other kinds"),
    splat.Allow(r" 10000:\S+: iommu: .*cannot be", "so do attaches of the suite"),
    splat.Allow(r"smmu-iopf: event", "some faults of the suite have no handler"),
]


def plan(part=""):
    """The names in bench/plan, or those of one @part (harness, kunit, ...)."""
    return [name for name in PLAN.read_text(encoding="utf-8").splitlines()
            if not part or name.startswith(part + ".")]


class Results:
    """Named results, and the closing line."""

    def __init__(self):
        self.all = {}

    def add(self, name, why=None, skipped=False):
        """@why is None for a pass, else the reason in one line."""
        if name in self.all:
            why = why or "reported twice"
        self.all[name] = "skip" if skipped and not why else why
        if why or skipped:
            ui.note(f"{'SKIP' if skipped and not why else 'FAIL'}  {name}"
                    + (f": {why}" if why else ""))

    def close(self, planned=None):
        """Compare with the stored plan, print the closing line, exit code."""
        for name in planned or ():
            if name not in self.all:
                self.add(name, "planned, but it did not run")
        unknown = [n for n in self.all if planned is not None and n not in planned]
        for name in unknown:
            self.all[name] = self.all[name] or "not in bench/plan: add it there"
            ui.note(f"FAIL  {name}: {self.all[name]}")
        # Once more, together: who sees only the end of a log sees what failed.
        bad = [(name, why) for name, why in self.all.items() if why and why != "skip"]
        for name, why in bad[:AT_THE_END]:
            ui.say(f"failed: {name}: {why}")
        if bad[AT_THE_END:]:
            ui.say(f"failed: {len(bad) - AT_THE_END} more, see above")
        skipped = sum(why == "skip" for why in self.all.values())
        passed = sum(why is None for why in self.all.values())
        failed = len(self.all) - passed - skipped
        ui.say(f"{passed} passed, {failed} failed"
               + (f", {skipped} skipped" if skipped else ""))
        return 1 if failed or not passed else 0


def kernels(which=KERNELS, config="bench"):
    """{which: {image, module, tree, text}}, built if need be; and QEMU's."""
    emulator, qemu_tree = build.qemu()
    found = {}
    for name in which:
        commit, text = (series.base(), "the base") if name == "base" \
            else series.subject()
        image, module = build.kernel(name, commit, config)
        found[name] = {"image": image, "module": module, "commit": commit, "text": text,
                       "tree": series.git("rev-parse", f"{commit}^{{tree}}")}
    if "patched" in found:
        ui.note(f"patched kernel: {found['patched']['text']}")
    return found, emulator, qemu_tree


def _programs():
    try:
        return guest.build_programs(paths.OUT / "guest")
    except RuntimeError as err:
        raise ui.Stop(str(err)) from err


def _one(name, which, kernel, emulator, programs, outdir):
    return scenario.run(name, which=which, image=kernel["image"],
                        module=kernel["module"], qemu=emulator, programs=programs,
                        outdir=outdir, progress=lambda line: None)


def _versions(found, qemu_tree):
    """What report.json says about what was run."""
    return {
        "base_tree": found["base"]["tree"], "patched_tree": found["patched"]["tree"],
        "patched_from": found["patched"]["text"], "qemu_tree": qemu_tree,
        "kernel": os.environ.get("LINUX") or paths.pins(paths.LINUX)["version"],
        "qemu": os.environ.get("QEMU") or paths.pins("qemu")["version"]}


# --- make run -----------------------------------------------------------

def run():
    """The main job: one silent function, on the base and on the patched kernel."""
    found, emulator, qemu_tree = kernels()
    outdir = paths.OUT / "run"
    outdir.mkdir(parents=True, exist_ok=True)
    programs, report, bad = _programs(), {}, []
    for which in KERNELS:
        ui.note(f"boot the {which} kernel: a device falls silent")
        result = _one("one-silent", which, found[which], emulator, programs,
                      outdir / which)
        report[which] = result["fields"]
        report[which]["timeline"] = result["timeline"]
        bad += [f"{which}: {why}" for why in result["fails"]]
    report["versions"] = _versions(found, qemu_tree)
    file = outdir / "report.json"
    part = file.with_suffix(".part")
    part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    part.rename(file)
    for which in KERNELS:
        ui.say(f"\nTimeline, {which} kernel (ms of virtual time since the silence)")
        whole = outdir / which / "timeline.txt"
        lines = story(report[which]["timeline"])
        whole.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        short = [line for line in lines if not DETAIL.search(line)]
        for line in short[:STORY_LINES]:
            ui.say("  " + line)
        if short[STORY_LINES:]:
            ui.say(f"  ... {len(short) - STORY_LINES} lines more of the same")
        ui.say(f"  (whole: {ui.shown(whole)})")
    ui.say()
    for line in table(report):
        ui.say(line)
    ui.say(f"\nreport: {ui.shown(file)}   consoles and timelines: {ui.shown(outdir)}")
    for why in bad:
        ui.say(f"FAIL  {why}")
    return 1 if bad else 0


# What only a reader of the whole timeline wants to know, and how much is shown
DETAIL = re.compile(r"model +(sync-wait|cmdq-ack|event) ")
STORY_LINES = 60

ROWS = [
    ("ATS on before the fault", "ats_on_before"),
    ("stale writes that landed", "stale_writes_landed"),
    ("stale writes that were refused", "stale_writes_refused"),
    ("somebody else's page", "victim"),
    ("command queue errors", "cmdq_errors"),
    ("log lines", "log_lines"),
    ("CERROR to confirmed EATS = 0", "fence_us"),
    ("innocents fenced", "innocents_fenced"),
    ("blocked by the IOMMU core", "blocked"),
    ("recovered by a reset", "recovered"),
    ("DMA verified after recovery", "dma_ok_after_recovery"),
]


def table(report):
    """The side-by-side table, as lines."""
    def text(key, value):
        if value is None:
            return "never" if key == "fence_us" else "-"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value} us" if key == "fence_us" else str(value)

    lines = [f"{'':32}{'base':>16}{'patched':>16}", "-" * 64]
    for label, key in ROWS:
        cells = [text(key, report[which].get(key)) for which in KERNELS]
        lines.append(f"{label:32}{cells[0]:>16}{cells[1]:>16}")
    return lines


def story(timeline):
    """The timeline as lines: ms, who, what; neighbours that repeat are folded."""
    lines = []
    for step in timeline:
        times = f" ({step['times']} times)" if "times" in step else ""
        lines.append(f"{step['us'] / 1000:12.3f}  {step['who']:7} "
                     f"{step['what']}{times}")
    return lines


def _summary(fields):
    keys = ("stale_writes_landed", "stale_writes_refused", "cmdq_errors", "log_lines")
    if fields.get("cmdq_errors") is None:
        keys = ("stalled", "retried", "aborted", "parked_at_end")
    return ", ".join(f"{key.replace('_', ' ')} {fields.get(key)}" for key in keys)


# --- make scenarios ------------------------------------------------------

def scenarios(only=None, results=None):
    """Every scenario on both kernels, two machines at a time."""
    names = scenario.names()
    wanted = only.split(",") if only else \
        [name for name in names if not scenario.load(name).on_request]
    for name in wanted:
        if name not in names:
            raise ui.Stop(f"no scenario {name}: there are {', '.join(names)}")
    configs = {name: scenario.load(name).config for name in wanted}
    found = {config: kernels(config=config) for config in sorted(set(configs.values()))}
    outdir = paths.OUT / "scenarios"
    own = results is None
    results = results or Results()
    programs = _programs()

    def work(job):
        name, which = job
        ui.note(f"scenario {name} on the {which} kernel")
        built, emulator, _ = found[configs[name]]
        return job, _one(name, which, built[which], emulator, programs,
                         outdir / f"{name}-{which}")

    jobs = [(name, which) for name in wanted for which in KERNELS]
    pool = ThreadPoolExecutor(max(1, int(paths.jobs())))
    try:
        for (name, which), result in pool.map(work, jobs):
            results.add(f"scenario.{name}.{which}", "; ".join(result["fails"]) or None)
            if result["ok"]:
                ui.note(f"pass  scenario {name} on the {which} kernel: "
                        + _summary(result["fields"]))
            else:
                ui.note(f"      look into {ui.shown(outdir / f'{name}-{which}')}/, or "
                        f"make shell SCENARIO={name} KERNEL={which}")
    except BaseException:
        # Else an interrupt would wait for the machines that run.
        pool.shutdown(wait=False, cancel_futures=True)
        vm.end_all()
        raise
    pool.shutdown()
    return results.close() if own else 0


# --- make bench -----------------------------------------------------------

def bench(results=None):
    """
    The cost table. As a part of `make test` (@results) only the counts: the
    incidents of the other rows are scenarios there.
    """
    found, emulator, qemu_tree = kernels()
    programs = _programs()
    rows = cost.measure(found, emulator, programs)
    if results is None:
        fields = {}
        for name in cost.INCIDENTS:
            for which in KERNELS:
                ui.note(f"scenario {name} on the {which} kernel")
                fields[(name, which)] = _one(name, which, found[which], emulator, programs,
                                             paths.OUT / "bench" / f"{name}-{which}")["fields"]
        rows += cost.incident_rows(fields)
    file = cost.write_report(rows, _versions(found, qemu_tree))
    if results is not None:
        for row in rows:
            results.add(f"bench.{row.name}", row.failure())
        return 0
    ui.say()
    for line in cost.table(rows):
        ui.say(line)
    ui.say(f"\nreport: {ui.shown(file)}")
    for name in cost.missed_counts(rows):
        ui.note(f"by function: {name}")
        for line in profile.measure(name, found, emulator, programs):
            ui.say("    " + line)
    missed = [row for row in rows if not row.ok]
    for row in missed:
        ui.say(f"FAIL  {row.failure()}")
    return 1 if missed else 0


# --- make kunit -----------------------------------------------------------

def kunit(only=None, results=None):
    """The KUnit suites of the series, by kunit.py under QEMU, in one kernel."""
    own = results is None
    results = results or Results()
    commit, text = series.subject()
    if only:
        _known_suite(only, commit)
    ui.note(f"KUnit of {text}")
    raw = build.kunit(commit, KUNIT, only)
    log = [re.sub(r"^\[ *\d+\.\d+\] ", "", line) for line in
           raw.read_text(encoding="utf-8", errors="replace").splitlines()]
    ran = _ktap(results, "kunit", ktap.parse(log, loose=True))
    problems = splat.scan("\n".join(log), KUNIT_ALLOWS)
    if only:
        problems = [text for text in problems if not text.startswith("allowance ")]
    results.add("kunit.log-clean", "; ".join(problems[:3]) or None)
    ui.note(f"KUnit: {ran} cases (log: {ui.shown(raw)})")
    return results.close(None if only else planned_cases(commit)) if own else 0


def planned_cases(commit):
    """
    The KUnit cases of bench/plan that the kernel @commit must run: all of them, but on
    a base with a series/for-<release>/ those that its patches still have.
    """
    names, release = plan("kunit"), series.release_of(commit)
    if not (paths.SERIES / f"for-{release}").is_dir():
        return names
    cases = set(re.findall(r"KUNIT_CASE\w*\((\w+)", series.git(
        "grep", "-h", "KUNIT_CASE", commit, "--", "drivers/iommu")))
    kept = [name for name in names
            if name.count(".") < 2 or name.split(".")[2] in cases]
    for name in sorted(set(names) - set(kept)):
        ui.note(f"{name}: the patches for linux {release} do not have it")
    return kept


def _known_suite(glob, commit):
    """Stop if no suite of the kernel @commit is called @glob."""
    found = re.findall(r'^\S*:\s*\.name = "([\w-]+)",$',
                       series.git("grep", "-e", r'^[[:space:]]\.name = "', commit, "--",
                                  "drivers/iommu/*test*.c", check=False), re.M)
    if not any(fnmatch.fnmatch(name, glob.split(".")[0]) for name in found):
        raise ui.Stop(f"no suite {glob}: there are {', '.join(sorted(found))}")


def _ktap(results, prefix, report):
    """Add the leaves of a KTAP report, and one result for its form."""
    count = 0
    for name, point in report.leaves():
        results.add(f"{prefix}.{name}", None if point.ok else point.why or "not ok",
                    point.skipped)
        count += 1
    results.add(f"{prefix}.complete", "; ".join(report.errors[:3]) or
                (None if count else "no test ran"))
    return count


# --- make test -------------------------------------------------------------

def harness(results):
    """The tests of the harness itself."""
    class Collect(unittest.TestResult):
        """Each test by its name."""
        def addSuccess(self, test):
            results.add(f"harness.{test.id()}")

        def addFailure(self, test, err):
            results.add(f"harness.{test.id()}", str(err[1]).splitlines()[0])

        addError = addFailure

        def addSkip(self, test, reason):
            results.add(f"harness.{test.id()}", skipped=True)

    suite = unittest.TestLoader().discover(str(paths.BENCH / "tests"))
    suite.run(Collect())


def selftest(results):
    """The self-test of the QEMU model."""
    emulator, _ = build.qemu()
    log = paths.LOGS / "qemu-selftest.ktap"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        subprocess.run([sys.executable, paths.BENCH / "qemu/selftest.py", "--qemu",
                        str(emulator)], stdout=out, stderr=subprocess.STDOUT,
                       stdin=subprocess.DEVNULL, check=False)
    report = ktap.parse(log.read_text(encoding="utf-8",
                                      errors="replace").splitlines())
    ui.note(f"QEMU self-test: {_ktap(results, 'qemu', report)} cases")


def test():
    """Everything that CI runs."""
    results = Results()
    harness(results)
    bad = series.round_trip()
    results.add("series.export-changes-no-byte", ", ".join(bad) if bad else None)
    litmus.litmus(results)
    selftest(results)
    kunit(results=results)
    scenarios(results=results)
    bench(results)
    if os.environ.get("PLAN") == "write":
        PLAN.write_text("".join(f"{n}\n" for n in sorted(results.all)),
                        encoding="utf-8")
        ui.note(f"wrote {ui.shown(PLAN)}")
    return results.close(plan())


# --- make litmus -----------------------------------------------------------

def litmus_tests():
    """The litmus tests of the series."""
    results = Results()
    litmus.litmus(results)
    return results.close()


# --- make sanitize ---------------------------------------------------------

def sanitized(only=None, san=None):
    """KUnit and scenarios on the kernels with sanitizers."""
    results = Results()
    wanted = _usual_scenarios()
    for name in only.split(",") if only else ():
        if name != "kunit" and name not in scenario.names():
            raise ui.Stop(f"no scenario {name}: there are kunit, {', '.join(scenario.names())}")
    for kind in sanitize.kinds(san):
        sanitize.sanitize(results, kind, only and only.split(","), wanted,
                          kernels(("patched",), f"bench+{kind}"), _programs(), KUNIT_ALLOWS)
    return results.close()


# --- make stress -----------------------------------------------------------

def stressed(minutes, seed, san=None):
    """Everything at once, for so many minutes, on the patched kernel."""
    results = Results()
    config = "bench" + (f"+{sanitize.kinds(san)[0]}" if san else "")
    found, emulator, _ = kernels(("patched",), config)
    seconds = round(float(minutes) * 60)
    if seconds < 10:
        raise ui.Stop(f"MINUTES={minutes}: too short to say anything")
    run = stress.scenario(seconds, seed)
    run.name = "stress"
    ui.note(f"stress: {seconds} s, seed {seed}, kernel {config}")
    result = scenario.run(run, which="patched", image=found["patched"]["image"],
                          module=found["patched"]["module"], qemu=emulator,
                          programs=_programs(), outdir=paths.OUT / "stress" / config,
                          clean=sanitize.cleaner(san) if san else str,
                          progress=lambda line: ui.note(line.partition("): ")[2]))
    results.add(f"stress.{config}", "; ".join(result["fails"][:8]) or None)
    ui.say(f"stress ({config}, {seconds} s): {stress.summary(result['fields'])}")
    if not result["ok"]:
        ui.note(f"again: make stress MINUTES={minutes} SEED={seed}"
                + (f" SAN={san}" if san else "")
                + f"   logs: {ui.shown(paths.OUT / 'stress' / config)}/")
    return results.close()


# --- make check -------------------------------------------------------------

def robots(only=None):
    """Each patch through the maintainers' robots."""
    results = Results()
    check.check(results, only, (KUNIT, KUNIT_ALLOWS))
    return results.close()


# --- make cover ------------------------------------------------------------

def covered(only=None):
    """What of the added lines KUnit and the scenarios execute; @only: a list of these."""
    results = Results()
    # A kernel that panics leaves no counters.
    runs = only.split(",") if only else ["kunit", *(
        name for name in _usual_scenarios(ANY_KERNEL) if not scenario.load(name).panics)]
    for name in runs:
        if name != "kunit" and name not in scenario.names():
            raise ui.Stop(f"no scenario {name}: there are kunit, {', '.join(scenario.names())}")
    emulator, _ = build.qemu()
    programs = _programs()
    commit, _ = series.subject()
    files = mutants.added_lines(commit)
    image, module = build.kernel("patched", cover.profiled(commit, files), cover.CONFIG)
    kernel = {"image": image, "module": module}
    counters = cover.Counters(paths.CACHE / "linux/build" / cover.CONFIG, files)
    if "kunit" in runs:
        lines = []
        ui.note("cover: the KUnit suites")
        sanitize.boot(kernel, emulator, programs, cover.OUT / "kunit",
                      ["kunit.enable=1", "kunit.autorun=1"], on_line=lines.append)
        counters.add("kunit", cover.decode(lines))

    def work(name):
        ui.note(f"cover: scenario {name}")
        outdir = cover.OUT / "scenario" / name
        result = _one(name, "patched", kernel, emulator, programs, outdir)
        return name, result, (outdir / "channel.log").read_text(encoding="utf-8").splitlines()

    with ThreadPoolExecutor(max(1, int(paths.jobs()))) as pool:
        for name, result, lines in pool.map(work, [n for n in runs if n != "kunit"]):
            results.add(f"cover.scenario.{name}", "; ".join(result["fails"]) or None)
            counters.add(name, cover.decode(lines))
    cover.report(results, commit, counters)
    return results.close()


def _usual_scenarios(configs=("bench",)):
    """Those of `make test` that need no kernel of their own, or one of @configs."""
    return [name for name in scenario.names() if scenario.load(name).config in configs
            and not scenario.load(name).on_request]


# Where only the base needs KASAN, to show what it does
ANY_KERNEL = ("bench", "bench+asan")


# --- make mutants ----------------------------------------------------------

def mutations(only=None, earlier=None):
    """
    Seeded faults in the lines of the series; does a test notice each? @earlier: the
    file with the verdicts of a run elsewhere.
    """
    results = Results()
    if earlier:
        mutants.take_over(Path(earlier))
    emulator, _ = build.qemu()
    programs = _programs()
    commit, _ = series.subject()
    names = _usual_scenarios(ANY_KERNEL)
    # They leave no counters: one of them may be what executes a line that no other does.
    panics = {name for name in names if scenario.load(name).panics}
    executed = cover.executed(series.git("rev-parse", f"{commit}^{{tree}}"))
    if executed is None:
        ui.note("no `make cover` of this tree: what the suites let pass needs all scenarios")
    _, module = build.kernel("patched", commit, mutants.CONFIG)

    def runs(mutant, name="kunit"):
        if executed is None:
            return True
        # gcov counts a statement on one of its lines, and what is inlined from a header
        # nowhere near it
        if name in panics:
            return not executed.get((mutant.file, mutant.line))
        return any(name in executed.get((mutant.file, mutant.line + i), ())
                   for i in range(-3, 5))

    def fault(name, image, number, mutant):
        result = scenario.run(
            name, which="patched", image=image, module=module, qemu=emulator,
            programs=programs, outdir=paths.OUT / "mutants" / f"scenario-{number}",
            progress=lambda line: None, more=(f"mutant={mutant}",),
            clean=sanitize.cleaner("asan"))
        return None if result["ok"] else result["fails"][0]

    sound = set()

    def scenarios_with(image, number, mutant):
        for name in [name for name in names if runs(mutant, name)]:
            why = fault(name, image, number, number)
            # What fails by itself on this kernel kills nothing.
            alone = why and name not in sound and fault(name, image, number, 0)
            if alone:
                raise ui.Stop(f"scenario {name} fails without a mutant: {alone} (logs: "
                              f"{ui.shown(paths.OUT / 'mutants' / f'scenario-{number}')}/)")
            if why:
                sound.add(name)
                return f"scenario {name}: {why}"[:110]
        return None

    def sanitized_with(kernel, number, mutant):
        outdir = paths.OUT / "mutants" / f"sanitized-{number}"
        for suites in mutants.suites_of(mutant.file) if runs(mutant) else []:
            try:
                sanitize.boot(dict(zip(("image", "module"), kernel)), emulator, programs, outdir,
                              mutants.words_for(number, mutant.file, suites))
            except ui.Stop as stop:
                return f"sanitizers: {stop}"[:110]
            why = mutants.judge(outdir / "console.log", KUNIT_ALLOWS + sanitize.ALLOWS["asan"],
                                sanitize.cleaner("asan"))
            if why:
                return f"sanitizers: {why}"
        return None

    mutants.mutants(results, emulator, KUNIT_ALLOWS, runs, scenarios_with, sanitized_with, only)
    return results.close()


# --- make deb ---------------------------------------------------------------

def packages(kind):
    """Kernel packages, and the main scenario on what is in them."""
    results = Results()
    debs, module, tree = deb.packages(kind)
    emulator, _ = build.qemu()
    kernel = deb.image(debs, paths.OUT / "deb" / kind / "test" / "unpacked")
    for name in deb.SCENARIOS:
        ui.note(f"boot the packaged kernel with UEFI and ACPI: scenario {name}")
        story = scenario.load(name)
        story.machine.acpi = True
        result = scenario.run(
            story, which="patched", image=kernel, module=module, qemu=emulator,
            programs=_programs(), outdir=paths.OUT / "deb" / kind / "test" / name,
            progress=lambda line: None)
        results.add(f"deb.{kind}.scenario.{name}", "; ".join(result["fails"]) or None)
    ui.say(f"\npackages of tree {tree}:")
    for file in debs:
        ui.say(f"  {ui.shown(file)}  ({file.stat().st_size >> 20} MiB)")
    return results.close()


# --- make shell --------------------------------------------------------------

def shell(name, which):
    """A guest shell in the machine of the scenario @name."""
    if name not in scenario.names():
        raise ui.Stop(f"no scenario {name}: there are {', '.join(scenario.names())}")
    if which not in KERNELS:
        raise ui.Stop(f"KERNEL={which}: base or patched")
    found, emulator, _ = kernels((which,), scenario.load(name).config)
    busybox = archive.busybox()
    # The path of a socket must be short, and the bench keeps its own QMP busy.
    with tempfile.TemporaryDirectory(prefix="atc-shell-", dir="/tmp") as sockets:
        ui.say(f"QMP:  {sockets}/qmp\ngdb:  target remote {sockets}/gdb   (symbols of "
               f"the kernel built last: {ui.shown(build.vmlinux())})")
        scenario.run(name, which=which, image=found[which]["image"],
                     module=found[which]["module"], qemu=emulator,
                     programs=_programs(), busybox=busybox, interactive=True,
                     outdir=paths.OUT / "shell", progress=ui.say,
                     qemu_extra=("-qmp", f"unix:{sockets}/qmp,server=on,wait=off",
                                 "-gdb", f"unix:{sockets}/gdb,server=on,wait=off"))
    return 0
