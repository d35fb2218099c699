# SPDX-License-Identifier: GPL-2.0
"""
`make cover`: which of the lines and branches that the series adds are executed
by the KUnit suites and the scenarios?

gcov counts in the kernel; the guest sends its counters through the verdict
channel when it is done, gcov-tool adds those of all runs, and gcov says which
line they belong to. The report in out/cover/ is by patch and by line. A line
that nothing executes needs a reason in bench/cover.ini, and so does a condition in
it that never goes one of its ways; a reason there names the function, then the line
("f: g();", "f: branch: if (a)"), and needs such a line. The branches of a line without a condition are those of inline functions
and macros of the kernel: they are counted, but need no reason. What each run executes
is kept, too: `make mutants` runs only the scenarios that can notice a mutant.
"""

import base64
import configparser
import json
import re
import shutil
import subprocess
from collections import defaultdict

from . import build, mutants, mutate, paths, series, ui

CONFIG = "bench+kunit+cover"
REASONS = paths.BENCH / "cover.ini"
OUT = paths.OUT / "cover"
# A line that decides something itself
DECIDES = re.compile(r"\b(?:if|while|for|switch)\b|\?|&&|\|\|")


def profiled(commit, files):
    """
    A commit on @commit that has gcov switched on for the objects of @files. Given
    to make, the variables would also count for objects elsewhere that have the same
    name, such as pci.o of the EFI stub.
    """
    makefiles = {}
    for name in files:
        folder, _, file = name.rpartition("/")
        makefile = f"{folder}/Makefile"
        if makefile not in makefiles:
            makefiles[makefile] = series.git("show", f"{commit}:{makefile}") + "\n"
        makefiles[makefile] += f"GCOV_PROFILE_{file[:-2]}.o := y\n"
    return mutants.commit_with(commit, makefiles)


class Counters:
    """The counters of many runs, added up in out/cover/sum."""

    def __init__(self, tree, names):
        self.names = names
        self.by_run = {}
        self.sum = OUT / "sum"
        shutil.rmtree(self.sum, ignore_errors=True)
        OUT.mkdir(parents=True, exist_ok=True)
        self.tree = tree
        self.runs = 0

    def add(self, run, files):
        """@files: {path in the guest: bytes} of the run called @run."""
        one = OUT / "one"
        shutil.rmtree(one, ignore_errors=True)
        for name, data in files.items():
            # /sys/kernel/debug/gcov/<path of the object in the build tree>
            path = one / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if not files:
            raise ui.Stop("the guest sent no counters: is gcov in its kernel?")
        self.by_run[run] = {
            name: sorted(line for line, (count, _) in self.lines(name, one).items() if count)
            for name in self.names}
        if self.runs:
            both = OUT / "both"
            shutil.rmtree(both, ignore_errors=True)
            subprocess.run([build.CROSS + "gcov-tool", "merge", "-o", both, self.sum, one],
                           check=True, capture_output=True)
            shutil.rmtree(self.sum)
            both.rename(self.sum)
        else:
            one.rename(self.sum)
        self.runs += 1

    def lines(self, name, where=None):
        """{line of the source file @name: (count, [count of each branch])}."""
        stem = name[:-2]
        gcda = next(iter((where or self.sum).rglob(f"{stem}.gcda")), None)
        if gcda is None:
            return {}
        shutil.copy2(self.tree / f"{stem}.gcno", gcda.with_suffix(".gcno"))
        done = subprocess.run([build.CROSS + "gcov", "--json-format", "--branch-probabilities",
                               "--stdout", gcda.name], cwd=gcda.parent, capture_output=True,
                              text=True, check=True)
        found = defaultdict(lambda: (0, []))
        for text in done.stdout.splitlines():
            if not text.startswith("{"):
                continue
            for file in json.loads(text)["files"]:
                if not file["file"].endswith(name):
                    continue
                for line in file["lines"]:
                    count, branches = found[line["line_number"]]
                    new = [b["count"] for b in line["branches"]]
                    # the same line in several functions, e.g. inlined ones
                    if len(new) == len(branches):
                        new = [a + b for a, b in zip(new, branches)]
                    found[line["line_number"]] = (count + line["count"], new)
        return dict(found)


def executed(tree):
    """
    {(file, line): names of the runs that execute it} as of the last `make cover`,
    or None if that was not of @tree.
    """
    try:
        stored = json.loads((OUT / "runs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if stored["tree"] != tree:
        return None
    found = defaultdict(set)
    for run, files in stored["runs"].items():
        for name, lines in files.items():
            for line in lines:
                found[name, line].add(run)
    return found


def decode(lines):
    """{path: bytes} from the verdict channel's "@file" lines, in order."""
    found = {}
    for line in lines:
        if line.startswith("@file "):
            part = json.loads(line[6:])
            found[part["name"]] = found.get(part["name"], b"") + base64.b64decode(part["data"])
    return found


def blame(commit, name):
    """{line: commit that added it}, of the lines that the series adds."""
    text = series.git("blame", "-s", "-l", f"{series.base()}..{commit}", "--", name)
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("^"):
            found[number] = line.split()[0]
    return found


def reasons():
    """{(file, "function: line"): why nothing can execute it}."""
    parser = configparser.ConfigParser(delimiters=("=>",), interpolation=None)
    parser.optionxform = str
    if REASONS.exists():
        parser.read(REASONS, encoding="utf-8")
    return {(name, text): why for name in parser.sections() for text, why in parser[name].items()}


def report(results, commit, counters):
    """Write out/cover/report.txt and say what is not covered."""
    tree = series.git("rev-parse", f"{commit}^{{tree}}")
    (OUT / "runs.json").write_text(json.dumps({"tree": tree, "runs": counters.by_run}),
                                   encoding="utf-8")
    why, used = reasons(), set()
    by_patch = defaultdict(lambda: [0, 0, 0, 0, []])
    for name, (text, _) in mutants.added_lines(commit).items():
        source, blanked = text.split("\n"), mutate.blank(text)
        code, functions = blanked.split("\n"), mutate.functions(blanked)
        owner = blame(commit, name)
        counted = counters.lines(name)
        if not counted and owner.keys() & functions.keys():
            results.add(f"cover.file.{name}", f"it is not in kernels of {CONFIG}")
        for number, (count, branches) in sorted(counted.items()):
            if number not in owner:
                continue
            row = by_patch[owner[number]]
            row[0] += 1
            row[1] += bool(count)
            row[2] += len(branches)
            row[3] += sum(bool(b) for b in branches)
            if count and (all(branches) or not DECIDES.search(code[number - 1])):
                continue
            kind = "" if not count else "branch: "
            line = " ".join(source[number - 1].split())
            function = functions[number].name if number in functions else ""
            key = (name, f"{function}: {kind}{line}")
            used.add(key)
            never = f"{branches.count(0)} of {len(branches)} branches: " if count else ""
            row[4].append((f"{name}:{number}: {function}: {never}{line}",
                           why.get(key), kind))
    out = [f"series: tree {tree}, {counters.runs} runs", "",
           f"{'lines':>12} {'branches':>12}  patch"]
    total, missing = [0, 0, 0, 0], {"": 0, "branch: ": 0}
    for patch in series.git("rev-list", "--reverse", f"{series.base()}..{commit}").split():
        row = by_patch.get(patch)
        if not row:
            continue
        total = [a + b for a, b in zip(total, row)]
        out.append(f"{row[1]:5} of {row[0]:3} {row[3]:5} of {row[2]:3}  "
                   + series.git("log", "-1", "--format=%s", patch))
        for text, reason, kind in row[4]:
            missing[kind] += reason is None
            out.append(f"{'':28}{text}" + (f"\n{'':32}({reason})" if reason else ""))
    out.append(f"{total[1]:5} of {total[0]:3} {total[3]:5} of {total[2]:3}  in all")
    (OUT / "report.txt").write_text("\n".join(out) + "\n", encoding="utf-8")
    for line in out:
        if re.match(r" *\d+ of ", line):
            ui.say(line)
    ui.say(f"report: {ui.shown(OUT / 'report.txt')}")
    for kind, what in (("", "lines"), ("branch: ", "branches")):
        results.add(f"cover.{what}",
                    f"{missing[kind]} lines with {'branches that ' if kind else 'code that '}"
                    f"nothing takes and no reason in {ui.shown(REASONS)}" if missing[kind] else
                    (None if total[0] else "nothing was counted"))
    for name, text in why.keys() - used:
        results.add(f"cover.reason.{name}: {text}",
                    f"{ui.shown(REASONS)}: there is no such line, or it is executed")
