# SPDX-License-Identifier: GPL-2.0
"""
`make mutants`: does a test notice each small fault in the lines of the series?

The faults (mutate.py) are compiled in, as many per image as fit, and one is
chosen at boot. A mutant is killed when a KUnit case fails, the log shows a
splat, or the run does not end; the machine is stopped as soon as that is seen.
What all suites survive needs a reason in bench/mutants.ini: why it is equivalent,
or, since no machine here shows what a barrier is for, "litmus: NAME" for a test of
`make litmus` that lacks the same one. The others go through the scenarios, and then
through the suites once more, with KASAN and kmemleak, and what survives that, too,
is an error. So is a reason that names nothing, or a mutant that is killed.

Verdicts are kept, so an interrupted run goes on. What was killed stays so as long
as its function is the same, for tests only grow; what survived runs again when the
tree is another one. The report says by which trees it was judged.
"""

import configparser
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from . import build, ktap, litmus, mutate, paths, series, splat, ui

REASONS = paths.BENCH / "mutants.ini"
CONFIG = "bench+kunit+locks"
SANITIZED = "bench+asan"
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
# The suites that are about a file, in the order in which they run; for some, the cases
# that tell most come first on their own
SUITES = [("drivers/iommu/arm/", ["arm-smmu-v3*"]),
          ("drivers/iommu/io-pgfault.c", ["arm-smmu-v3*", "iommu-quarantine"]),
          ("drivers/iommu/iommu-sva.c", ["arm-smmu-v3*", "iommu-quarantine"]),
          ("drivers/iommu/", ["iommu-quarantine", "arm-smmu-v3*"]),
          ("drivers/pci/recovery.c", ["iommu-quarantine.test_rec*", "iommu-quarantine"]),
          ("", ["iommu-quarantine"])]
# Those whose mutants meet the very slow cases as well
VERY_SLOW = ["drivers/pci/quirks.c", "drivers/pci/recovery.c"]
# A mutant that takes so many times as long as the suites do alone, without one, or says
# nothing for so many times as long as they ever do, has no end. They sleep for much of
# the time, so there may be more of them than CPUs.
TOO_LONG = 10
LEAST_SILENT_S = 40
PER_CPU = 3
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


def commit_with(parent, files):
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
    """@text with HEADER after its first #include: there may be code before the last one."""
    first = re.search(r"^#include [^\n]*$", text, re.M)
    return text[:first.end()] + HEADER + text[first.end():]


def every_mutant(files):
    """
    {number: (mutant, key, code)} of @files, which are those of added_lines(). @code
    is the hash of the function, or of the whole file where there is none.
    """
    found, number, seen = {}, 0, Counter()
    for name, (text, lines) in files.items():
        functions = mutate.functions(mutate.blank(text))
        for mutant in mutate.mutants(name, text, lines):
            number += 1
            function = functions.get(mutant.line)
            code = text[function.start:function.end] if function else text
            key = mutant.key(text, function.name if function else "")
            seen[key] += 1
            found[number] = (mutant, key + (f" #{seen[key]}" if seen[key] > 1 else ""),
                             hashlib.sha256(code.encode()).hexdigest()[:24])
    return found


def images(commit, files, numbered, verdicts, config=CONFIG):
    """
    [(kernel, {number: (mutant, key)})], kernels as of build.kernel(): each mutant of
    @numbered, {number: (mutant, key, ...)}, that compiles is in one. What does not
    compile is no mutant, and @verdicts remember it.
    """
    todo = {number: (mutant, key) for number, (mutant, key, _) in numbered.items()
            if verdicts.compiles(key)}
    made = []
    main = series.git("show", f"{commit}:init/main.c") + "\n" + DEFINITION
    os.environ["GNUMAKEFLAGS"] = "-k"       # all that does not compile at once
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
            kernel = build.kernel(f"mutants-{len(made)}", commit_with(commit, changed), config)
        except ui.Stop:
            log = (paths.LOGS / f"kernel-{config}-mutants-{len(made)}.log").read_text(
                encoding="utf-8", errors="replace")
            broken = _uncompilable(log, changed)
            if not broken:
                raise
            verdicts.add_broken(todo[n][1] for n in broken)
            todo = {n: m for n, m in todo.items() if n not in broken}
            ui.note(f"mutants that do not compile: {len(broken)}")
            continue
        made.append((kernel, chosen))
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


def words_for(number, file, suites):
    """What the kernel's command line says for @suites with the mutant @number of @file."""
    return ["kunit.enable=1", "kunit.autorun=1", f"mutant={number}",
            f"kunit.filter_glob={suites}",
            *([] if file in VERY_SLOW else ["kunit.filter=speed>very_slow"])]


class Patience:
    """Seconds until a run has no end: in all, and since it said something."""

    def __init__(self, whole_s, silent_s):
        self.whole_s, self.silent_s = whole_s, silent_s
        self.begin = self.heard = time.monotonic()
        self.size, self.longest = 0, 0

    def again(self):
        """The same for another run."""
        return Patience(self.whole_s, self.silent_s)

    def lost(self, size):
        """With @size bytes of its log: why to wait no longer, or None."""
        now = time.monotonic()
        self.longest = max(self.longest, now - self.heard)
        if size != self.size:
            self.size, self.heard = size, now
        if now - self.begin > self.whole_s:
            return f"no end after {self.whole_s:.0f} s"
        if now - self.heard > self.silent_s:
            return f"says nothing for {self.silent_s:.0f} s"
        return None

    def times(self, factor):
        """@factor times as much as this run took; a busy machine may always be mute a while."""
        return Patience(factor * (time.monotonic() - self.begin),
                        max(factor * self.longest, LEAST_SILENT_S))


def boot(image, emulator, log, more, patience):
    """A kernel with words_for(); None if all is well, else what killed the mutant."""
    words = ["console=ttyAMA0", "panic=-1", "log_buf_len=16M", "kunit_shutdown=poweroff", *more]
    with open(log, "wb") as out:
        proc = subprocess.Popen(
            [str(emulator), "-nodefaults", "-nographic", "-no-reboot", "-M",
             "virt,gic-version=3,iommu=smmuv3", "-accel", "tcg,thread=multi", "-cpu",
             "cortex-a76", "-smp", "2", "-m", "1G", "-serial", "stdio", "-run-with",
             "exit-with-parent=on", "-kernel", str(image), "-append", " ".join(words)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    why = None
    try:
        while proc.poll() is None and not why:
            time.sleep(0.3)
            text = log.read_text(encoding="utf-8", errors="replace")
            if match := BAD.search(text):
                why = " ".join(text[match.start():].split("\n", 1)[0].split())[:110]
            else:
                why = patience.lost(len(text))
    finally:
        if proc.poll() is None:
            proc.kill()
        proc.wait()
    return why


def judge(log, allows, clean=str):
    """
    None if the log of some suites is that of a good run, else what is wrong with it.
    What the other ones may say does not have to be there. @clean: takes out of it what
    is not looked at.
    """
    lines = [re.sub(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ", "", line) for line in
             log.read_text(encoding="utf-8", errors="replace").splitlines()]
    report = ktap.parse(lines, loose=True)
    says = splat.scan(clean("\n".join(lines)), allows)
    problems = report.fails + [line for line in says if not line.startswith("allowance ")]
    if not problems and not report.points:
        problems = ["no case ran"]
    return problems[0][:110] if problems else None


def suites_of(file):
    """The suites for a mutant in @file, as globs."""
    return next(suites for prefix, suites in SUITES if file.startswith(prefix))


class Verdicts:
    """
    What is known about the mutants of @codes, {key: hash of the code around it}, at
    the series' @tree; on the disk at once.
    """

    def __init__(self, codes, tree):
        self.codes, self.tree, self.lock = codes, tree, threading.Lock()
        self.known = {}
        if self.store().exists():
            stored = json.loads(self.store().read_text(encoding="utf-8"))
            self.known = {key: verdict for key, verdict in stored.items()
                          if verdict["code"] == self.codes.get(key)}

    @staticmethod
    def store():
        """Where they are kept."""
        return paths.OUT / "mutants" / "verdicts.json"

    def killed(self, key):
        """What killed it, or None."""
        return self.known.get(key, {}).get("killed")

    def survived(self, key):
        """Did it survive all suites of this very tree?"""
        return key in self.known and not self.killed(key) \
            and self.known[key].get("tree") == self.tree

    def compiles(self, key):
        """Is it not known that it does not?"""
        return "broken" not in self.known.get(key, {})

    def add(self, key, killed, more=()):
        """@killed: by what, or None; @more: what it has met after the suites."""
        self._put({key: {"killed": killed, "tree": self.tree, "more": list(more)}})

    def met(self, key, what):
        """Has what survived the suites met @what as well?"""
        return what in self.known[key].get("more", ())

    def add_broken(self, keys):
        """@keys do not compile."""
        self._put({key: {"broken": True} for key in keys})

    def _put(self, verdicts):
        with self.lock:
            for key, verdict in verdicts.items():
                self.known[key] = dict(verdict, code=self.codes[key])
            self.store().parent.mkdir(parents=True, exist_ok=True)
            part = self.store().with_suffix(".part")
            part.write_text(json.dumps(self.known, indent=1) + "\n", encoding="utf-8")
            part.rename(self.store())


def take_over(file):
    """Go on from the verdicts in @file, of a run elsewhere, where there are none."""
    store = Verdicts.store()
    try:
        text = file.read_text(encoding="utf-8")
        good = all("code" in verdict for verdict in json.loads(text).values())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ui.Stop(f"VERDICTS={file}: cannot be read ({error})") from error
    if not good:
        raise ui.Stop(f"VERDICTS={file}: not what `make mutants` leaves in {ui.shown(store)}")
    if store.exists():
        ui.note(f"VERDICTS={file} is not looked at: {ui.shown(store)} is there")
        return
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(text, encoding="utf-8")


def reasons():
    """{key of a mutant: why no test can notice it}."""
    parser = configparser.ConfigParser(delimiters=("=>",), interpolation=None, strict=True)
    parser.optionxform = str
    if REASONS.exists():
        parser.read(REASONS, encoding="utf-8")
    return {f"{name}: {key}": why for name in parser.sections() for key, why in
            parser[name].items()}


def _reason(results, key, why):
    """What the report says of the mutant @key, whose reason is @why."""
    kind, _, name = why.partition("litmus: ")
    if kind or not name:
        return f"equivalent: {why}"
    file = litmus.TESTS / f"{name}.litmus"
    if not file.exists() or litmus.expected(file.read_text(encoding="utf-8")) != "Sometimes":
        results.add(f"mutant.reason.{key}", f"{ui.shown(file)} is not there, or does not have "
                                            "the result Sometimes")
    return f"make litmus shows it: {name}"


def mutants(results, emulator, allows, runs, scenarios_with, sanitized_with, only=None):
    """
    All of it. @allows: what the suites may log. @runs(mutant): whether the suites
    execute its line. @scenarios_with(image, number, mutant): the scenarios with it,
    None or what killed it, @sanitized_with(kernel, number, mutant): the suites, on a
    kernel of SANITIZED. @only: a part of a file's name.
    """
    commit, _ = series.subject()
    tree = series.git("rev-parse", f"{commit}^{{tree}}")
    files = added_lines(commit)
    numbered = every_mutant(files)
    verdicts = Verdicts({key: code for _, key, code in numbered.values()}, tree)
    outdir = paths.OUT / "mutants"
    outdir.mkdir(parents=True, exist_ok=True)
    made = images(commit, files, numbered, verdicts)
    every = {key: (mutant, image, number) for (image, _), chosen in made
             for number, (mutant, key) in chosen.items() if not only or only in mutant.file}
    for (image, _), _ in made:
        todo = [(key, mutant, number) for key, (mutant, its, number) in every.items()
                if its == image and not verdicts.killed(key) and not verdicts.survived(key)]
        ui.note(f"mutants: tree {tree[:16]}, {len(todo)} to do in image {image.parent.name}")
        if todo:
            _suites(image, emulator, todo, verdicts, allows, runs)
    lived = [key for key in every if not verdicts.killed(key)]
    explained = reasons()
    todo = [key for key in lived if key not in explained]
    ui.note(f"mutants: {len(lived)} survive the suites, {len(todo)} of them have no reason "
            "and go through the scenarios")

    def last(what, work):
        """@work(key), which is None or what killed it, for those that have not met @what."""
        def one(key):
            mutant = every[key][0]
            why = work(key)
            verdicts.add(key, why, [*verdicts.known[key].get("more", ()), what])
            ui.note(f"{'killed' if why else 'lives '} {mutant.file}:{mutant.line} {why or key}")

        with ThreadPoolExecutor(max(1, int(paths.jobs()))) as pool:
            list(pool.map(one, [key for key in todo if not verdicts.killed(key)
                                and not verdicts.met(key, what)]))

    last("scenarios",
         lambda key: scenarios_with(every[key][1], every[key][2], every[key][0]))
    todo = [key for key in todo if not verdicts.killed(key)]
    sane = {number: kernel for kernel, chosen in images(
        commit, files, {n: numbered[n] for n in numbered if numbered[n][1] in todo
                        and not verdicts.met(numbered[n][1], "sanitizers")}, verdicts,
        SANITIZED) for number in chosen}
    last("sanitizers",
         lambda key: sanitized_with(sane[every[key][2]], every[key][2], every[key][0]))
    _report(results, verdicts, every, tree, only)


def _suites(image, emulator, todo, verdicts, allows, runs):
    """
    The mutants @todo of an image in front of the suites. @runs(mutant): whether these
    execute its line.
    """
    control, limits = paths.OUT / "mutants" / "control.log", {}
    for suites, slow in {(one, mutant.file in VERY_SLOW) for _, mutant, _ in todo
                         for one in suites_of(mutant.file)}:
        alone = Patience(900, 900)
        why = boot(image, emulator, control, words_for(0, VERY_SLOW[0] if slow else "", suites),
                   alone) or judge(control, allows)
        if why:
            raise ui.Stop(f"the suites fail without a mutant: {why} "
                          f"(log: {ui.shown(control)})")
        limits[suites, slow] = alone.times(TOO_LONG)
    start = time.monotonic()

    def work(item):
        key, mutant, number = item
        log = paths.OUT / "mutants" / f"{number}.log"
        why = None
        for suites in suites_of(mutant.file) if runs(mutant) else []:
            why = boot(image, emulator, log, words_for(number, mutant.file, suites),
                       limits[suites, mutant.file in VERY_SLOW].again()) or judge(log, allows)
            log.unlink()
            if why:
                break
        verdicts.add(key, why)
        return key, mutant, why

    with ThreadPoolExecutor(PER_CPU * max(1, int(paths.jobs()))) as pool:
        for count, (key, mutant, why) in enumerate(pool.map(work, todo), 1):
            if why is None:
                ui.note(f"survives the suites: {mutant.file}:{mutant.line} {key[:150]}")
            elif count % 20 == 0:
                ui.note(f"{count} of {len(todo)}, {(time.monotonic() - start) / 60:.0f} min")


def _report(results, verdicts, every, tree, only):
    why_not = reasons()
    lines, killed, explained = [], 0, 0
    for key, (mutant, _, _) in sorted(every.items()):
        verdict = verdicts.known[key]
        if verdict["killed"]:
            killed += 1
            says = f"killed by {verdict['killed']}"
        elif key in why_not:
            explained += 1
            says = _reason(results, key, why_not[key])
        else:
            says = "SURVIVES"
            results.add(f"mutant.{key}", f"line {mutant.line}: survives every test")
        lines.append(f"{key}\n    line {mutant.line}, tree {verdict['tree'][:12]}: {says}")
    for key in why_not:
        if not only and (key not in every or verdicts.killed(key)):
            results.add(f"mutant.reason.{key}", "bench/mutants.ini: there is no such mutant, or "
                                                "a test kills it")
    judged = {verdicts.known[key]["tree"] for key in every}
    head = [f"tree {tree}" + (f", {len(every)} mutants" if every else ""),
            f"{killed} killed, {explained} explained, {len(every) - killed - explained} survive",
            f"trees whose tests judged: {', '.join(sorted(judged))}"]
    file = paths.OUT / "mutants" / "report.txt"
    file.write_text("".join(f"{line}\n" for line in [*head, "", *lines]), encoding="utf-8")
    results.add("mutants.ran", None if every else "no mutant ran")
    for line in head:
        ui.say(line)
    ui.say(f"report: {ui.shown(file)}")
