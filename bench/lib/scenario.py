# SPDX-License-Identifier: GPL-2.0
"""
Scenarios: load one, run it, judge it.

A scenario names the machine, the guest's program, what the patched kernel has
to show, and by which field and value the base kernel has to fail: a negative
control, without which a pass would mean nothing. The verdict comes from the
KTAP plan, the fields and the scan of the log, never from an exit status.
"""

import argparse
import importlib.util
import json
import operator
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import archive, guest, kernel_says, ktap, splat
from .timeline import CLOCK, RECOVERED, RESETS, SILENCE, Timeline
from .vm import VM, Machine

DIRECTORY = Path(__file__).resolve().parents[1] / "scenarios"
GBPA_ABORT = 1 << 20
LATE_ERRORS = 4
CR0_SMMUEN = 1
_OPERATORS = {"==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge,
              "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Check:
    """What a field has to be, and what it means if it is not."""
    field: str
    op: str
    value: object
    why: str

    def failure(self, fields):
        """None, or the one line that says what is wrong."""
        have = fields.get(self.field)
        try:
            good = self.field in fields and _OPERATORS[self.op](have, self.value)
        except TypeError:
            good = False
        wanted = f"{self.field} = {json.dumps(have)}, not {self.op} {json.dumps(self.value)}"
        return None if good else f"{wanted}: {self.why}"


PANIC = "Kernel panic - not syncing: "
# What a stale write may do to the kernel, after the error that tells of it
BROUGHT_DOWN = re.compile(rf"ATC invalidate timeout.*{PANIC}", re.S)


@dataclass
class Scenario:
    """
    @patched, @base: Checks; those of the base show the fault
    @allow: {"base": [...], "patched": [...]}: what the log may show (splat.Allow)
    @timeout_s: the same keys, wall-clock seconds
    @silent_from_boot: the broken functions never worked, and need not have
    @faults: the story is about stalled accesses; no device falls silent
    @base_may_die: why the base may bring itself down, which shows its fault as well
    @panics: how the panic begins in which the patched kernel has to end, as asked for
    @on_request: why it runs only if asked for by name
    @config: the kernel's configuration, fragments in bench/kernel/
    """
    title: str
    machine: Machine
    program: list
    patched: list
    base: list
    allow: dict = field(default_factory=dict)
    timeout_s: dict = field(default_factory=lambda: {"base": 900, "patched": 300})
    module_options: list = field(default_factory=list)
    silent_from_boot: bool = False
    faults: bool = False
    base_may_die: str = ""
    panics: str = ""
    on_request: str = ""
    config: str = "bench"
    name: str = ""


def names():
    """All scenarios."""
    return sorted(p.stem for p in DIRECTORY.glob("*.py") if not p.stem.startswith("_"))


def load(name):
    """The Scenario of bench/scenarios/<name>.py."""
    path = DIRECTORY / f"{name}.py"
    if not path.exists():
        raise ValueError(f"no scenario {name}; there are: {', '.join(names())}")
    spec = importlib.util.spec_from_file_location(f"scenario_{re.sub(r'[^a-z0-9]', '_', name)}",
                                                  path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SCENARIO.name = name
    return module.SCENARIO


@dataclass
class Record:
    """All that a run left behind; enough to judge it again."""
    channel: list = field(default_factory=list)
    console: str = ""
    timeline: str = ""
    problem: str = None

    @classmethod
    def read(cls, directory):
        """The record of a stored run."""
        directory = Path(directory)

        def text(name):
            path = directory / name
            return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

        return cls(text("channel.log").splitlines(), text("console.log"),
                   text("timeline.jsonl"), text("problem").strip() or None)


@dataclass
class _Channel:
    """The verdict channel's lines, sorted by kind."""
    ktap: list = field(default_factory=list)
    values: dict = field(default_factory=dict)
    functions: list = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)
    done: bool = False
    errors: list = field(default_factory=list)

    def add(self, line):
        """Sort one line in."""
        if not line.startswith("@"):
            self.ktap.append(line)
            return
        verb, _, text = line[1:].partition(" ")
        try:
            data = json.loads(text or "{}")
        except ValueError:
            self.errors.append(f"verdict channel: no JSON: {line[:80]}")
            return
        if verb == "value":
            twice = self.values.keys() & data.keys()
            if twice:
                self.errors.append(f"verdict channel: {min(twice)} was given twice")
            self.values.update(data)
        elif verb == "function":
            self.functions.append(data)
        elif verb == "mark":
            self.timeline.mark_lines.append(data)
        elif verb == "kmsg":
            data["text"] = kernel_says.unescape(data["text"])
            self.timeline.kmsg.append(data)
        elif verb == "file":
            pass  # make cover looks at these
        elif verb == "done":
            self.done = True
        else:
            self.errors.append(f"verdict channel: unknown: {line[:80]}")


def _eats_before(timeline, sid):
    """STE.EATS of @sid as the model read it last before the silence."""
    silence = timeline.marks.get(SILENCE, 0)
    eats = [e.get("eats") for e in timeline.events if e["ev"] in ("ste", "cfgi-ste")
            and e["sid"] == sid and e["t"] < silence]
    return eats[-1] if eats else None


def _fence_us(timeline, broken):
    """
    Microseconds from the first CERROR to the confirmed EATS = 0, or None. A
    reset blocks the function, too: only what happens before one counts. The
    CMD_SYNC after the CFGI_STE is what confirms.
    """
    start = None
    cleared = False
    for event in timeline.incident(until=(*RESETS, RECOVERED)):
        if event["ev"] == "cerror" and start is None:
            start = event["t"]
        elif event["ev"] == "cfgi-ste" and event["sid"] in broken and event.get("eats") == 0:
            cleared = True
        elif event["ev"] == "sync" and cleared and start is not None:
            return round((event["t"] - start) / 1000, 1)
    return None


def _eats_back_on(timeline, broken):
    """How often a fenced function's STE had EATS again before it was reset."""
    fenced, failed, times = set(), False, 0
    for event in timeline.incident():
        sid = event.get("sid")
        if event["ev"] in ("flr", "reset"):
            fenced.discard(sid)
            failed = False
        elif event["ev"] == "cerror":
            failed = True
        elif event["ev"] in ("ste", "cfgi-ste") and sid in broken:
            if event.get("eats") == 0 and failed:
                fenced.add(sid)
            elif event.get("eats") and sid in fenced:
                times += 1
    return times


def _taken_along(timeline):
    """When a reset takes healthy neighbours along, which blocks them, too: [(begin, end)]"""
    times = {name: [m["t"] for m in timeline.mark_lines if m["name"] == name]
             for name in ("neighbours", "neighbours end")}
    return list(zip(times["neighbours"], times["neighbours end"]))


def _smmu_aborts(timeline):
    """Does the SMMU abort all traffic at the end (GBPA.ABORT = 1, SMMUEN = 0)?"""
    last = {e["ev"]: e["val"] for e in timeline.events if e["ev"] in ("gbpa", "cr0")}
    return bool(last.get("gbpa", 0) & GBPA_ABORT) and not last.get("cr0", 1) & CR0_SMMUEN


def _fields(channel, scenario):
    """The fields of report.json, and what else the checks may want."""
    timeline = channel.timeline
    values = channel.values
    broken = {f["sid"] for f in channel.functions if f.get("broken")}
    innocent = {f["sid"] for f in channel.functions} - broken
    incident = timeline.incident()
    lines = timeline.incident_log()
    fence_us = _fence_us(timeline, broken)
    refused = [e for e in incident if e["ev"] == "translated-refused" and e["sid"] in broken
               and e.get("write")]
    along = _taken_along(timeline)
    fields = {
        "scenario": scenario.name,
        "stale_writes_landed": values.get("stale_writes_landed"),
        "stale_writes_refused": values.get("stale_writes_refused"),
        "cmdq_errors": values.get("cmdq_errors"),
        "log_lines": len(lines),
        "fence_us": fence_us,
        "innocents_fenced": len({e["sid"] for e in incident if e["ev"] == "cfgi-ste"
                                 and e["sid"] in innocent and e.get("eats") == 0
                                 and not any(begin <= e["t"] <= end for begin, end in along)}),
        "blocked": values.get("blocked"),
        "recovered": values.get("recovered"),
        "dma_ok_after_recovery": values.get("dma_ok_after_recovery"),
    }
    fields.update({k: v for k, v in values.items() if k not in fields})
    fields["ats_on_before"] = bool(channel.functions) and all(
        _eats_before(timeline, f["sid"]) == 1 for f in channel.functions)
    bad = fields.get("victim_bytes_changed")
    fields["victim"] = None if bad is None else f"{bad} bytes changed" if bad else "intact"
    fields["fenced"] = fence_us is not None
    fields["refused_by"] = refused[0].get("reason") if refused else None
    fields["refused_event"] = refused[0].get("event") if refused else None
    fields["cmdq_errors_in_timeline"] = sum(e["ev"] == "cerror" for e in incident)
    fields["eats_back_on"] = _eats_back_on(timeline, broken)
    fields["bus_resets"] = sum(e["ev"] == "reset" and e.get("sid") in broken for e in incident)
    fields["smmu_aborts"] = _smmu_aborts(timeline)
    for name, pattern in (("says_fenced", kernel_says.FENCED),
                          ("says_stalled", kernel_says.STALLED),
                          ("says_dead", kernel_says.DEAD),
                          ("says_quarantined", kernel_says.QUARANTINED),
                          ("says_recovered", kernel_says.RECOVERED),
                          ("says_not_recovered", kernel_says.NOT_RECOVERED),
                          ("says_error", kernel_says.ERROR)):
        fields[name] = sum(bool(pattern.search(line)) for line in lines)
    return fields


def _honesty(channel, fields, silent_from_boot, marks=(CLOCK, SILENCE, RECOVERED)):
    """What has to be true on any kernel, or the run proves nothing."""
    timeline = channel.timeline
    fails = list(timeline.errors) + channel.errors
    for mark in marks:
        if mark not in timeline.marks:
            fails.append(f"timeline: no mark \"{mark}\"")
    if not timeline.events:
        fails.append("timeline: the model wrote nothing")
    silence = timeline.marks.get(SILENCE, 0)
    fails += [f"EATS of {f['bdf']} was not 1 before the fault" for f in channel.functions
              if _eats_before(timeline, f["sid"]) != 1
              and not (silent_from_boot and f.get("broken"))]
    if not any(f.get("broken") for f in channel.functions):
        fails.append("no function was named as the broken one")
    landed = sum(e["ev"] == "translated-landed" for e in timeline.events if e["t"] < silence)
    if not landed:
        fails.append("no translated access landed before the fault")
    # Where they go on, some may come after the guest has read the counter.
    more = fields["cmdq_errors_in_timeline"] - (fields["cmdq_errors"] or 0)
    if not 0 <= more <= LATE_ERRORS:
        fails.append(f"the model counted {fields['cmdq_errors']} command queue errors, its "
                     f"timeline has {fields['cmdq_errors_in_timeline']}")
    return fails


def _honesty_of_faults(channel, fields):
    """The same for a story about stalled accesses."""
    timeline = channel.timeline
    fails = list(timeline.errors) + channel.errors
    if CLOCK not in timeline.marks:
        fails.append(f"timeline: no mark \"{CLOCK}\"")
    seen = {action: sum(e["ev"] == "resume" and e["action"] == action
                        for e in timeline.events)
            for action in ("retry", "abort", "unmatched")}
    seen["stall"] = sum(e["ev"] == "stall" for e in timeline.events)
    if not seen["stall"]:
        fails.append("no access was stalled")
    for name, action in (("stalled", "stall"), ("retried", "retry"),
                         ("aborted", "abort"), ("unmatched", "unmatched")):
        if fields.get(name) != seen[action]:
            fails.append(f"the model counted {fields.get(name)} accesses {name}, its "
                         f"timeline has {seen[action]}")
    return fails


def judge(scenario, which, record, splats=True, but_for=()):
    """
    The verdict over a Record: {"ok", "fails", "fields", "timeline", ...}, without
    the checks of the fields @but_for.
    """
    channel = _Channel()
    for line in record.channel:
        channel.add(line)
    channel.timeline.from_boot = scenario.silent_from_boot
    channel.timeline.load_events(record.timeline)
    fields = _fields(channel, scenario)
    fields["kasan"] = len(re.findall(r"BUG: KASAN", record.console))
    report = ktap.parse(channel.ktap)

    fails, console = [record.problem] if record.problem else [], record.console
    if which == "patched" and scenario.panics:
        console, _, last = console.partition(PANIC)
        if not re.match(scenario.panics, last):
            fails.append(f"the run did not end in a panic \"{scenario.panics}\"")
        fails += _honesty(channel, fields, scenario.silent_from_boot, (CLOCK, SILENCE))
    else:
        if not channel.done:
            fails.append("no verdict: the guest never said that it was done")
        fails += report.fails
        if scenario.faults:
            fails += _honesty_of_faults(channel, fields)
        elif scenario.machine.timeline:
            fails += _honesty(channel, fields, scenario.silent_from_boot)
    if splats:
        fails += splat.scan(console, scenario.allow.get(which, ()))
    checks = scenario.patched if which == "patched" else scenario.base
    for check in checks:
        failure = None if check.field in but_for else check.failure(fields)
        if failure:
            fails.append(failure if which == "patched" else f"the base does not fail: {failure}")
    diagnostics = report.diagnostics
    if which == "base" and scenario.base_may_die and BROUGHT_DOWN.search(record.console):
        fails, diagnostics = [], [f"the base is down: {scenario.base_may_die}", *diagnostics]
    broken = {f["sid"] for f in channel.functions if f.get("broken")}
    return {"scenario": scenario.name, "which": which, "ok": not fails, "fails": fails,
            "fields": fields, "timeline": channel.timeline.story(broken),
            "log": channel.timeline.incident_log(),
            "points": [(name, point.ok) for name, point in report.leaves()],
            "diagnostics": diagnostics}


def _append(scenario, interactive):
    words = [f"atc.scenario={scenario.name}", f"atc.run={scenario.program[0]}"]
    words += [f"atc.arg={arg}" for arg in scenario.program[1:]]
    words += [f"atc.module={option}" for option in scenario.module_options]
    return words + (["atc.shell"] if interactive else [])


def run(name, *, which, image, module, qemu, outdir, programs=None, busybox=None,
        interactive=False, qemu_extra=(), progress=print, slower=1, clean=str,
        more=(), but_for=()):
    """
    Run the scenario @name (or a Scenario) on the kernel @image and judge it.

    @which: "base" or "patched": which of the scenario's expectations apply
    @module: atctest.ko of that kernel
    @programs: the guest's, as guest.build_programs() returns them (built if None)
    @interactive: a shell on this terminal instead; the result is None
    @qemu_extra: more arguments for QEMU, @progress: called with one line at a time
    @more: words for the kernel's command line, @slower: factor for the timeout
    @clean: takes out of a log what is not looked at, @but_for: fields that say nothing here
    Everything is left in @outdir; the result is as of judge().
    """
    scenario = name if isinstance(name, Scenario) else load(name)
    name = scenario.name
    outdir = Path(outdir)
    outdir.mkdir(parents=True, exist_ok=True)
    programs = programs or guest.build_programs(outdir / "guest")
    initrd = guest.write_initramfs(outdir / "initramfs.cpio", programs, module, busybox)
    record = Record()

    def on_line(line):
        record.channel.append(line)
        if re.match(r"(not )?ok |1\.\.|#", line):
            progress(f"{name} ({which}): {line}")

    timeout = None if interactive else scenario.timeout_s[which] * slower
    firmware = archive.firmware() if scenario.machine.acpi else None
    with VM(scenario.machine, qemu=qemu, image=image, initrd=initrd, outdir=outdir,
            append=[*_append(scenario, interactive), *more], on_line=on_line, timeout_s=timeout,
            firmware=firmware,
            interactive=interactive, extra=qemu_extra) as machine:
        if interactive:
            progress(f"QEMU: {machine.shell_command()}")
        machine.wait()
        record.problem = machine.problem
    (outdir / "channel.log").write_text("".join(line + "\n" for line in record.channel),
                                        encoding="utf-8")
    (outdir / "problem").write_text(record.problem or "", encoding="utf-8")
    if interactive:
        return None
    stored = Record.read(outdir)
    console, stored.console = stored.console, clean(stored.console)
    # A foreign report that was taken out has many lines.
    result = judge(scenario, which, stored,
                   but_for=(*but_for, *(("log_lines",) if stored.console != console else ())))
    (outdir / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def ktap_lines(result):
    """A result as KTAP: the guest's points, then the verdict."""
    points = result["points"] + [(f"verdict of {result['scenario']} ({result['which']})",
                                  result["ok"])]
    yield "KTAP version 1"
    yield f"1..{len(points)}"
    for fail in result["fails"]:
        yield f"# {fail}"
    for number, (name, good) in enumerate(points, 1):
        yield f"{'' if good else 'not '}ok {number} {name}"


def main():
    """The command line, for work on the bench itself; `make scenarios` is for everybody."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python3 -m lib.scenario",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="the scenario; without one they are listed")
    parser.add_argument("--which", choices=["base", "patched"], default="patched")
    parser.add_argument("--image", type=Path, help="kernel Image")
    parser.add_argument("--module", type=Path, help="atctest.ko of that kernel")
    parser.add_argument("--qemu", type=Path, help="qemu-system-aarch64 with the model")
    parser.add_argument("--outdir", type=Path, help="where logs and result go")
    parser.add_argument("--busybox", type=Path, help="static busybox, for --shell")
    parser.add_argument("--shell", action="store_true", help="a shell in the guest")
    parser.add_argument("--judge", type=Path, metavar="DIR", help="judge a stored run again")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not args.name:
        for name in names():
            print(f"{name:20} {load(name).title}")
        return 0
    if args.judge:
        result = judge(load(args.name), args.which, Record.read(args.judge))
    else:
        missing = [o for o in ("image", "module", "qemu", "outdir") if not getattr(args, o)]
        if missing:
            parser.error(f"--{missing[0]} is needed")
        result = run(args.name, which=args.which, image=args.image, module=args.module,
                     qemu=args.qemu, outdir=args.outdir, busybox=args.busybox,
                     interactive=args.shell,
                     progress=lambda line: print(f"# {line}", flush=True))
        if result is None:
            return 0
    print("\n".join(ktap_lines(result)))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
