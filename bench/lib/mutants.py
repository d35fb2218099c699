# SPDX-License-Identifier: GPL-2.0
"""
`make mutants`: does a test notice each small fault in the lines of the series?

The faults (mutate.py) are compiled in, as many per image as fit, and one is
chosen at boot. A mutant is killed when a KUnit case fails, the log shows a
splat, or the run does not end; the machine is stopped as soon as that is seen.
Mutants that all suites survive go through the scenarios. What survives those,
too, needs a reason in bench/mutants.ini, where an entry that names nothing, or
a mutant that is killed, is an error.

Verdicts are kept with the tree hash, so an interrupted run goes on.
"""

import configparser
import json
import os
import re
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from . import build, ktap, mutate, paths, series, splat, ui

REASONS = paths.BENCH / "mutants.ini"
CONFIG = "bench+kunit"
# Not compiled in that configuration
ELSEWHERE = ["arch/powerpc/", "drivers/pci/hotplug/pnv_php.c", "drivers/net/", "drivers/scsi/",
             "drivers/gpu/", "drivers/infiniband/", "drivers/crypto/", "drivers/xen/"]
HEADER = """
#ifndef BENCH_MUTANT
#define BENCH_MUTANT
extern int bench_mutant_id;
#define bench_mutant(n) __builtin_expect(bench_mutant_id == (n), 0)
#endif
"""
DEFINITION = """
int bench_mutant_id;
static int __init bench_mutant_setup(char *text)
{
	return kstrtoint(text, 10, &bench_mutant_id);
}
early_param("mutant", bench_mutant_setup);
"""
# Nothing but the suites runs in this machine; a good run takes a fraction of it.
TIMEOUT_S = 240
BAD = re.compile(r"^\[[^]]*\] +not ok \d+ |Kernel panic|Unable to handle kernel|kernel BUG at|"
                 r"BUG: |Internal error", re.M)


def added_lines(commit):
    """{file: (text, {numbers of the lines that the series adds})} of C code that is no test."""
    base = series.base()
    found = {}
    for name in series.git("diff", "--name-only", base, commit, "--", "*.c").split():
        if "test" in name.rsplit("/", 1)[-1] or any(name.startswith(e) for e in ELSEWHERE):
            continue
        lines = set()
        for match in re.finditer(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@",
                                 series.git("diff", "-U0", base, commit, "--", name), re.M):
            lines |= set(range(int(match[1]), int(match[1]) + int(match[2] or 1)))
        found[name] = (series.git("show", f"{commit}:{name}") + "\n", lines)
    return found


def _commit(parent, files):
    """A commit on @parent in which @files ({name: text}) are as given."""
    with tempfile.TemporaryDirectory() as tmp:
        env = dict(os.environ, GIT_INDEX_FILE=f"{tmp}/index",
                   GIT_AUTHOR_NAME="bench", GIT_AUTHOR_EMAIL="bench@localhost",
                   GIT_COMMITTER_NAME="bench", GIT_COMMITTER_EMAIL="bench@localhost",
                   GIT_AUTHOR_DATE="2026-01-01T00:00:00Z",
                   GIT_COMMITTER_DATE="2026-01-01T00:00:00Z")

        def git(*args, text=None):
            return subprocess.run(["git", "-C", str(series.REPO), *args], env=env, input=text,
                                  capture_output=True, text=True, check=True).stdout.strip()

        git("read-tree", parent)
        for name, text in files.items():
            blob = git("hash-object", "-w", "--stdin", text=text)
            git("update-index", "--cacheinfo", f"100644,{blob},{name}")
        return git("commit-tree", git("write-tree"), "-p", parent, "-m", "mutants")


def _with_header(text):
    """@text with HEADER after its last #include, on the line of that."""
    last = list(re.finditer(r"^#include [^\n]*$", text, re.M))[-1]
    return text[:last.end()] + HEADER + text[last.end():]


def images(commit):
    """
    [(image, {number: (mutant, key)})]: each mutant that compiles is in one. What
    does not compile is no mutant.
    """
    files = added_lines(commit)
    numbered, number = {}, 0
    for name, (text, lines) in files.items():
        for mutant in mutate.mutants(name, text, lines):
            number += 1
            numbered[number] = (mutant, mutant.key(text))
    todo, made = dict(numbered), []
    main = series.git("show", f"{commit}:init/main.c") + "\n" + DEFINITION
    while todo:
        broken, rest, chosen = set(), {}, {}
        changed = {"init/main.c": main}
        for name, (text, _) in files.items():
            own = [(n, m) for n, (m, _) in todo.items() if m.file == name]
            if not own:
                continue
            new, left = mutate.apply(text, own)
            changed[name] = _with_header(new)
            rest |= {n: todo[n] for n, _ in left}
        chosen = {n: m for n, m in todo.items() if n not in rest}
        try:
            image, _ = build.kernel(f"mutants-{len(made)}", _commit(commit, changed), CONFIG)
        except ui.Stop:
            log = (paths.LOGS / f"kernel-{CONFIG}-mutants-{len(made)}.log").read_text(
                encoding="utf-8", errors="replace")
            broken = _uncompilable(log, changed)
            if not broken:
                raise
            todo = {n: m for n, m in todo.items() if n not in broken}
            ui.note(f"mutants that do not compile: {len(broken)}")
            continue
        made.append((image, chosen))
        todo = rest
    return made


def _uncompilable(log, changed):
    """Numbers of the mutants in the lines that the compiler complains about."""
    broken = set()
    for name, number in re.findall(r"(\S+\.c):(\d+):\d+: error:", log):
        text = next((t for n, t in changed.items() if name.endswith(n)), None)
        if text:
            # a statement of several lines is on its first one
            line = text.split("\n")[int(number) - 1]
            broken |= {int(n) for n in re.findall(r"bench_mutant\((\d+)\)", line)}
    return broken


def boot(image, emulator, number, log, suites=None):
    """The suites with the mutant @number; None if all is well, else what killed it."""
    words = ["console=ttyAMA0", "panic=-1", "log_buf_len=16M", "kunit.enable=1",
             "kunit.autorun=1", "kunit_shutdown=poweroff", f"mutant={number}"]
    if suites:
        words.append(f"kunit.filter_glob={suites}")
    with open(log, "wb") as out:
        proc = subprocess.Popen(
            [str(emulator), "-nodefaults", "-nographic", "-no-reboot", "-M",
             "virt,gic-version=3,iommu=smmuv3", "-accel", "tcg,thread=multi", "-cpu",
             "cortex-a76", "-smp", "2", "-m", "1G", "-serial", "stdio", "-run-with",
             "exit-with-parent=on", "-kernel", str(image), "-append", " ".join(words)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    end = time.monotonic() + TIMEOUT_S
    why = None
    try:
        while proc.poll() is None and not why:
            time.sleep(0.3)
            text = log.read_text(encoding="utf-8", errors="replace")
            if match := BAD.search(text):
                why = " ".join(text[match.start():].split("\n", 1)[0].split())[:110]
            elif time.monotonic() > end:
                why = f"no end after {TIMEOUT_S} s"
    finally:
        if proc.poll() is None:
            proc.kill()
        proc.wait()
    return why


def judge(log, allows):
    """None if the suites' log is that of a good run, else what is wrong with it."""
    lines = [re.sub(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ", "", line) for line in
             log.read_text(encoding="utf-8", errors="replace").splitlines()]
    report = ktap.parse(lines, loose=True)
    problems = report.fails + splat.scan("\n".join(lines), allows)
    if not problems and not report.points:
        problems = ["no case ran"]
    return problems[0][:110] if problems else None


class Verdicts:
    """What is known about the mutants of one tree; on the disk at once."""

    def __init__(self, tree):
        self.file = paths.OUT / "mutants" / "verdicts.json"
        self.tree = tree
        stored = {}
        if self.file.exists():
            stored = json.loads(self.file.read_text(encoding="utf-8"))
        self.known = stored.get("verdicts", {}) if stored.get("tree") == tree else {}

    def add(self, key, verdict):
        """@verdict: what killed it, or None."""
        self.known[key] = verdict
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"tree": self.tree, "verdicts": self.known}, indent=1) + "\n",
                        encoding="utf-8")
        part.rename(self.file)


def reasons():
    """{key of a mutant: why no test can notice it}."""
    parser = configparser.ConfigParser(delimiters=("=>",), interpolation=None, strict=True)
    parser.optionxform = str
    if REASONS.exists():
        parser.read(REASONS, encoding="utf-8")
    return {f"{name}: {key}": why for name in parser.sections() for key, why in
            parser[name].items()}


def mutants(results, emulator, allows, survivors_run, only=None):
    """
    All of it. @allows: what the suites may log. @survivors_run(image, number,
    mutant): the scenarios with it, None or what killed it. @only: a part of a
    file's name.
    """
    commit, _ = series.subject()
    tree = series.git("rev-parse", f"{commit}^{{tree}}")
    verdicts = Verdicts(tree)
    outdir = paths.OUT / "mutants"
    outdir.mkdir(parents=True, exist_ok=True)
    made = images(commit)
    every = {key for _, chosen in made for _, key in chosen.values()}
    start, lived = time.monotonic(), []
    for image, chosen in made:
        control = outdir / "control.log"
        why = boot(image, emulator, 0, control) or judge(control, allows)
        if why:
            raise ui.Stop(f"the suites fail without a mutant: {why} "
                          f"(log: {ui.shown(control)})")
        todo = [(n, m, key) for n, (m, key) in sorted(chosen.items())
                if (not only or only in m.file) and verdicts.known.get(key) is None]
        ui.note(f"mutants: tree {tree[:16]}, {len(chosen)} in this image, {len(todo)} to do")

        def work(item, image=image):
            number, mutant, key = item
            log = outdir / f"{number}.log"
            why = None
            if key not in verdicts.known:
                why = boot(image, emulator, number, log) or judge(log, allows)
                log.unlink()
            return number, mutant, key, why

        with ThreadPoolExecutor(max(1, int(paths.jobs()))) as pool:
            for count, (number, mutant, key, why) in enumerate(pool.map(work, todo), 1):
                verdicts.add(key, why)
                if why is None:
                    ui.note(f"survives the suites: {mutant.file}:{mutant.line} {key[:150]}")
                    lived.append((image, number, mutant, key))
                elif count % 20 == 0:
                    ui.note(f"{count} of {len(todo)}, {(time.monotonic() - start) / 60:.0f} min")
    _report(results, lived, survivors_run, verdicts, every, only)


def _report(results, lived, survivors_run, verdicts, every, only):
    why_not = reasons()
    for image, number, mutant, key in lived:
        why = survivors_run(image, number, mutant)
        if why:
            verdicts.add(key, f"scenario {why}")
        elif key not in why_not:
            results.add(f"mutant.{key}", f"line {mutant.line}: survives every test")
    for key in why_not:
        if not only and (key not in every or verdicts.known.get(key)):
            results.add(f"mutant.reason.{key}", "bench/mutants.ini: there is no such mutant, or "
                                                "a test kills it")
    known = [v for k, v in verdicts.known.items() if k in every]
    killed = sum(v is not None for v in known)
    results.add("mutants.killed-or-explained", None if known else "no mutant ran")
    ui.say(f"{len(every)} mutants, {len(known)} run, {killed} killed, "
           f"{len(known) - killed} survive, {len(why_not)} of them with a reason")
