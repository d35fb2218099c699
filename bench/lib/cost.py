# SPDX-License-Identifier: GPL-2.0
"""
What the series costs a healthy system: the table of `make bench`.

Instructions, not seconds: with -icount QEMU's virtual clock advances by one
nanosecond per instruction, and the guest's counter shows that clock. Base and
patched kernel run the same guest in one command, each twice. A count that does
not repeat exactly is no count, and a seeded extra cost has to be found: each is a
row of its own.
"""

import json
import operator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from . import guest, ktap, paths, ui
from .vm import VM, Machine

TIMEOUT_S = 300
# The seeded cost: far below what a person would notice, above every limit
CANARY_EXTRA = 100
MANY = 64

# The functions of the many entries: a root port and a switch without ACS, so
# that all of them are one IOMMU group, with one domain.
_SWITCH = ["-device", "pcie-root-port,id=rpm,bus=pcie.0,addr=0x8,chassis=8,disable-acs=on",
           "-device", "x3130-upstream,id=up,bus=rpm"]
for _port in range(MANY // 8):
    _SWITCH += ["-device", f"xio3130-downstream,id=down{_port},bus=up,addr={_port:#x},"
                           f"chassis={20 + _port},slot={_port}"]
    for _fn in range(8):
        _SWITCH += ["-device", f"atc-endpoint,id=ep{2 + 8 * _port + _fn},bus=down{_port},"
                               f"addr=0.{_fn},acs=off" + (",multifunction=on" if not _fn else "")]

MACHINE = Machine(ports=[[{"ats": "off"}], [{}]], smp=1, cpu="max",
                  accel="tcg,thread=single", append=["nokaslr"],
                  qemu_args=["-machine", "dtb-randomness=off",
                             "-icount", "shift=0,sleep=off", *_SWITCH])

# Page faults: the SMMU has to have the CPU's address size, and the counter the
# resolution of an instruction.
FAULTS_MACHINE = Machine(ports=[[{}]], smp=1, cpu="cortex-a76,cntfrq=1000000000",
                         smmu={"stall-model": "forced"}, accel="tcg,thread=single",
                         append=["nokaslr"],
                         qemu_args=["-machine", "dtb-randomness=off",
                                    "-icount", "shift=0,sleep=off"])
FAULTS_EXTRA = 1000
# name, label, the limit in percent or None
_FAULTS = [("attach", "attach of a domain that takes page faults", None),
           ("replace", "replace of one by another, no fault in flight", None),
           ("detach", "its detach", None),
           ("fault", "page fault: access, report, response", 0.5)]

# (measurement, index of the function, seeded extra)
_RUNS = [("none", 0, 0), ("one", 1, 0), ("many", 2, 0), ("again", 2, 0),
         ("canary", 1, CANARY_EXTRA)]
# label, measurement, the limit in percent
_COUNTS = [("unmap + flush, device without ATS", "none", 0.5),
           ("unmap + flush, 1 ATS entry", "one", 2.0),
           (f"unmap + flush, {MANY} ATS entries", "many", 2.0)]
_COMPARE = {"<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}


@dataclass
class Row:
    """One line of the table; @base and @patched as they are shown."""
    name: str
    label: str
    unit: str
    base: object
    patched: object
    limit: str
    ok: bool

    def failure(self):
        """None, or the one line that says what is wrong."""
        return None if self.ok else (f"{self.label}: base {self.base}, patched "
                                     f"{self.patched} {self.unit}, limit {self.limit}")


def _per_unmap(run):
    """Instructions of one unmap, without those of the measurement itself."""
    return (run["ticks"] - run["empty"]) / run["iterations"]


def _percent(base, patched):
    return 100.0 * (patched - base) / base


def _within(value, op, limit):
    return value is not None and _COMPARE[op](value, limit)


def count_rows(base, patched):
    """
    The rows that need no incident; @base and @patched hold the guest's values,
    "cost_<measurement>" and "sizes_none".
    """
    rows = []
    for label, name, limit in _COUNTS:
        have = [_per_unmap(v[f"cost_{name}"]) for v in (base, patched)]
        grows = _percent(*have)
        rows.append(Row(f"instructions-{name}", label, "instructions",
                        f"{have[0]:.1f}", f"{have[1]:.1f} ({grows:+.2f} %)", f"+{limit} %",
                        _within(grows, "<=", limit)))
    rows.append(_canary_row(base, patched))
    ats = [[v[f"cost_{name}"]["ats"] for name in ("none", "one", "many")]
           for v in (base, patched)]
    rows.append(Row("ats", "ATS of the three devices is as meant", "",
                    *("yes" if a == [False, True, True] else "no" for a in ats), "yes",
                    ats == [[False, True, True]] * 2))
    inv, cmdq = ([v["sizes_none"][key] for v in (base, patched)] for key in ("inv", "cmdq"))
    pointer, lock = 8, patched["sizes_none"]["lock"]
    rows.append(_size_row("sizeof-inv", "struct arm_smmu_inv", inv, pointer))
    # A bitmap's pointer and a lock, each with its padding
    rows.append(_size_row("sizeof-cmdq", "struct arm_smmu_cmdq", cmdq,
                          pointer + -(-lock // pointer) * pointer))
    return rows


def _canary_row(base, patched):
    """The seeded cost has to break the limit of the measurement that it is in."""
    grows = _percent(_per_unmap(base["cost_one"]), _per_unmap(patched["cost_canary"]))
    limit = _COUNTS[1][2]
    return Row("canary", f"seeded cost of {CANARY_EXTRA} nops is found", "", "-",
               f"{grows:+.2f} %", f"> +{limit} %", _within(grows, ">", limit))


def repeat_row(first, second):
    """
    @first, @second: the values of two boots of each kernel, (base, patched). By
    how much do counts differ, within a boot and from one to the next?
    """
    differ = []
    for one, two in zip(first, second):
        pairs = [(one["cost_many"], one["cost_again"])]
        pairs += [(one[f"cost_{name}"], two[f"cost_{name}"]) for name, _, _ in _RUNS]
        differ.append(max(abs(a["ticks"] - b["ticks"]) for a, b in pairs))
    return Row("repeats", "difference when counted again", "instructions", *differ, "0",
               differ == [0, 0])


def fault_rows(base, patched, again):
    """
    The rows about page faults; the values of both kernels, and of a second boot of
    both.
    """
    rows = []
    for name, label, limit in _FAULTS:
        have = [v[f"cost_{name}"] for v in (base, patched)]
        grows = _percent(*have)
        rows.append(Row(f"instructions-{name}", label, "instructions", have[0],
                        f"{have[1]} ({grows:+.2f} %)", f"+{limit} %" if limit else "-",
                        limit is None or _within(grows, "<=", limit)))
    limit = _FAULTS[-1][2]
    grows = _percent(base["cost_fault"], patched["cost_fault_canary"])
    rows.append(Row("canary-fault", f"seeded cost of {FAULTS_EXTRA} nops is found", "", "-",
                    f"{grows:+.2f} %", f"> +{limit} %", _within(grows, ">", limit)))
    differ = [max(abs(one[f"cost_{name}"] - two[f"cost_{name}"]) for name, _, _ in _FAULTS)
              for one, two in zip((base, patched), again)]
    rows.append(Row("repeats-faults", "difference when counted again", "instructions", *differ,
                    "0", differ == [0, 0]))
    return rows


def _size_row(name, label, sizes, growth):
    return Row(name, f"sizeof {label}", "bytes", sizes[0],
               f"{sizes[1]} ({sizes[1] - sizes[0]:+d})", f"+{growth}",
               0 < sizes[0] and sizes[1] - sizes[0] <= growth)


# name, label, unit, scenario, field, operator, limit
_INCIDENT = [
    ("cmdq-errors", "command queue errors of one incident", "", "one-silent",
     "cmdq_errors", "<=", 2),
    ("log-lines", "log lines, from silence to recovery", "", "one-silent",
     "log_lines", "<=", 4),
    ("fence", "hardware's report to confirmed fence", "us", "gerror-polling-cpu",
     "fence_us", "<", 1000000),
    ("poll", "the unmap, GERROR on the polling CPU", "us", "gerror-polling-cpu",
     "unmap_us", "<", 1000000),
]
INCIDENTS = sorted({scenario for _, _, _, scenario, _, _, _ in _INCIDENT})


def incident_rows(fields):
    """The rows of an incident; @fields: {(scenario, which): fields}."""
    rows = []
    for name, label, unit, scenario, field, op, limit in _INCIDENT:
        base, patched = (fields[(scenario, which)].get(field) for which in ("base", "patched"))
        rows.append(Row(name, label, unit, "never" if base is None else base,
                        "never" if patched is None else patched, f"{op} {limit}",
                        _within(patched, op, limit)))
    return rows


def missed_counts(rows):
    """The measurements whose counts are beyond their limits."""
    return [row.name.removeprefix("instructions-") for row in rows
            if row.name.startswith("instructions-") and not row.ok]


def table(rows):
    """The rows as aligned lines."""
    cells = [("", "base", "patched", "limit", "")]
    cells += [(f"{r.label}" + (f", {r.unit}" if r.unit else ""), str(r.base), str(r.patched),
               r.limit, "ok" if r.ok else "MISSED") for r in rows]
    width = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ["  ".join([row[0].ljust(width[0]), *(row[i].rjust(width[i]) for i in (1, 2, 3)),
                        row[4]]).rstrip() for row in cells]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def arguments(only=None, *options):
    """The guest program's: all measurements, or the one that is called @only."""
    return ["cost", *options, *(word for run in _RUNS if only in (None, run[0])
                                for word in run)]


def boot(machine, outdir, kernel, emulator, programs, words, extra=()):
    """Run the program and arguments @words on @kernel; the guest's values."""
    outdir.mkdir(parents=True, exist_ok=True)
    lines = []
    append = ["atc.scenario=cost", f"atc.run={words[0]}",
              *(f"atc.arg={word}" for word in words[1:])]
    with VM(machine, qemu=emulator, image=kernel["image"],
            initrd=guest.write_initramfs(outdir / "initramfs.cpio", programs,
                                         kernel["module"]),
            append=append, outdir=outdir, on_line=lines.append,
            timeout_s=TIMEOUT_S, extra=extra) as guest_machine:
        guest_machine.wait()
        problem = guest_machine.problem
    (outdir / "channel.log").write_text("".join(f"{line}\n" for line in lines),
                                        encoding="utf-8")
    report = ktap.parse([line for line in lines if not line.startswith("@")])
    if problem or report.fails:
        raise ui.Stop(f"cost: {problem or report.fails[0]} "
                      f"(console: {ui.shown(outdir)}/console.log)")
    values = {}
    for line in lines:
        if line.startswith("@value "):
            values.update(json.loads(line.removeprefix("@value ")))
    return values


def measure(found, emulator, programs):
    """The rows that need no incident, from a boot of each kernel."""
    ui.note("count the instructions of an unmap, on both kernels")
    kinds = {"unmap": (MACHINE, arguments()),
             "faults": (FAULTS_MACHINE, ["cost", "--faults", str(FAULTS_EXTRA)])}
    boots = [(kind, which, number) for kind in kinds for number in (1, 2)
             for which in ("base", "patched")]

    def run(job):
        kind, which, number = job
        machine, words = kinds[kind]
        return boot(machine, paths.OUT / "bench" / f"{kind}-{which}-{number}", found[which],
                    emulator, programs, words)

    with ThreadPoolExecutor(2) as pool:
        values = list(pool.map(run, boots))
    return [*count_rows(*values[:2]), repeat_row(values[:2], values[2:4]),
            *fault_rows(*values[4:6], values[6:])]


def write_report(rows, versions):
    """out/bench/report.json"""
    file = paths.OUT / "bench/report.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"rows": [asdict(r) for r in rows], "versions": versions},
                               indent=2) + "\n", encoding="utf-8")
    part.rename(file)
    return file
