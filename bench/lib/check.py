# SPDX-License-Identifier: GPL-2.0
"""
`make check`: what the robots of maintainers do, patch by patch.

Each patch is built on top of its predecessors in several configurations with
W=1 and sparse, and goes through checkpatch and kernel-doc. What the untouched
base says already does not count: messages are compared as lines, without the
line numbers, never as counts.

A canary patch comes first, with one defect of each kind. A checker that does
not see its own defect fails the run.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import archive, build, mbox, paths, series, ui

WORK = paths.CACHE / "linux/check"
BUILDS = paths.CACHE / "linux/build"
FRAGMENTS = paths.BENCH / "kernel/check"
CROSS = {"arm64": build.CROSS, "x86_64": "" if os.uname().machine == "x86_64"
         else "x86_64-linux-gnu-"}
# The kernel switches sparse 0.6.4 off in silence, unless it knows this keyword.
SPARSE = "CF=-D__typeof_unqual__=__typeof__"
TOOLS = ["codespell", "git-email", "sparse"] + (["gcc-x86-64-linux-gnu"] if CROSS["x86_64"] else [])

# (path of the message, the message) without what moves
MESSAGE = re.compile(r"^(?:\./|\.\./)*(\S+?\.[chS]):\d+(?::\d+)?:?\s+"
                     r"((?:warning|error|fatal error|Warning|Error):.*)$", re.I)

# checkpatch types that say nothing about a patch here, each with its reason
QUIET = {
    "FILE_PATH_CHANGES": "answered by _maintained(): a new file needs an entry "
                         "in MAINTAINERS that covers it",
}

CANARY_FILE = "drivers/pci/access.c"
# What each checker must find in it.
CANARY = {
    "build": "variable 'bench_canary_unused' set but not used",
    "sparse": "incorrect type in initializer",
    "checkpatch": "trailing whitespace",
    "kernel-doc": "bench_canary_missing",
    "codespell": "recieve",
}
CANARY_TEXT = """
/**
 * bench_canary() - has one defect of each kind
 * @bench_canary_missing: describes nothing
 *
 * Does not recieve anything.
 */
int bench_canary(int value);
int bench_canary(int value)
{
	__le32 wire = value;\x20
	int bench_canary_unused;

	bench_canary_unused = value;
	return (__force int)wire;
}
"""


def normalised(text):
    """The messages of a compiler's log, as (path, message) without numbers."""
    found = set()
    for line in text.splitlines():
        if match := MESSAGE.match(line.strip()):
            path = re.sub(r"^.*?/linux/check/", "", match[1])
            text = match[2].replace("\u2018", "'").replace("\u2019", "'")
            found.add((path, re.sub(r"\b\d+\b", "N", text)))
    return found


def variants():
    """Names of the configurations, by their fragments."""
    return sorted(p.stem for p in FRAGMENTS.glob("*.config"))


def _make(variant, *args):
    arch = variant.split("-")[0]
    return ["make", "-C", str(WORK), f"O={BUILDS / ('check-' + variant)}",
            f"ARCH={arch}", f"CROSS_COMPILE={CROSS[arch]}",
            f"CC=ccache {CROSS[arch]}gcc", "LOCALVERSION=", "-j", paths.jobs(), *args]


def _shell(cmd, log, env=None, cwd=None):
    """Run quietly; (exit code, output), and the output in @log too."""
    done = subprocess.run([str(c) for c in cmd], capture_output=True, text=True,
                          errors="replace", env=env, cwd=cwd, check=False,
                          stdin=subprocess.DEVNULL)
    text = done.stdout + done.stderr
    with open(log, "a", encoding="utf-8") as out:
        out.write(f"\n+ {' '.join(map(str, cmd))}\n{text}")
    return done.returncode, text


def _configure(variant, log):
    """Symbols that a patch adds are not there before it: olddefconfig each time."""
    frag = FRAGMENTS / f"{variant}.config"
    env = dict(build.ccache_env(), KCONFIG_ALLCONFIG=str(frag))
    code, _ = _shell(_make(variant, "-s", "allnoconfig"), log, env)
    if code:
        raise ui.Stop(f"check: no configuration {variant} (log: {ui.shown(log)})")


def compile_one(variant, dirs, log):
    """
    Build @dirs in @variant with W=1 and sparse: (messages, failed). Only what
    changed is compiled again, so only that is heard.
    """
    _configure(variant, log)
    code, text = _shell(_make(variant, "-s", "-k", "W=1", "C=1", SPARSE, *dirs), log,
                        build.ccache_env())
    if "sparse is not available" in text:
        raise ui.Stop("check: this kernel switches sparse off (log: "
                      f"{ui.shown(log)})")
    return normalised(text), code != 0


def _hear_base(variant, base, dirs, log):
    """
    What the base says in @variant. A second run compiles next to nothing and
    hears as much, so what was heard is kept; without it the build starts anew.
    """
    folder = BUILDS / f"check-{variant}"
    store = folder / ".bench-heard"
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get("base") != base or known.get("dirs") != dirs:
        shutil.rmtree(folder, ignore_errors=True)
        known = {}
    heard, failed = compile_one(variant, dirs, log)
    if failed:
        raise ui.Stop(f"check: the base does not build in {variant} "
                      f"(log: {ui.shown(log)})")
    heard |= {tuple(pair) for pair in known.get("heard", [])}
    store.write_text(json.dumps({"base": base, "dirs": dirs, "heard": sorted(heard)}),
                     encoding="utf-8")
    return heard


def _checkpatch(patch, log):
    cmd = ["perl", WORK / "scripts/checkpatch.pl", "--strict", "--no-signoff",
           "--no-tree", "--terse", "--show-types", "--codespell",
           "--ignore", ",".join(QUIET), f"--root={WORK}", patch]
    _, text = _shell(cmd, log, cwd=WORK)
    return [re.sub(r"^.*?:\d+: ", "", line) for line in text.splitlines()
            if re.search(r": (WARNING|ERROR|CHECK):", line)]


def _maintained(files):
    """New files that no entry of MAINTAINERS covers, beyond the whole kernel's."""
    bad = []
    for file in files:
        done = subprocess.run(
            ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback",
             "--nor", "--nom", "--noroles", "-f", file],
            cwd=WORK, capture_output=True, text=True, check=False)
        lists = [line for line in done.stdout.split() if line]
        if not [x for x in lists if not x.startswith("linux-kernel@")]:
            bad.append(f"MAINTAINERS: nothing covers {file}")
    return bad


def _kernel_doc(files, log):
    found = set()
    for file in files:
        if file.endswith((".c", ".h")) and (WORK / file).exists():
            _, text = _shell([WORK / "scripts/kernel-doc", "-none", "-Wall", file], log,
                             cwd=WORK)
            found |= {re.sub(r"\d+", "N", line) for line in text.splitlines()
                      if "arning" in line or "rror" in line}
    return found


def _touched(commit, kinds="AM"):
    return series.git("diff-tree", "--no-commit-id", "--name-only", "-r",
                      f"--diff-filter={kinds}", commit).split()


def _canary(base):
    """A commit on top of @base with all defects."""
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        file = Path(tmp) / "file"
        file.write_text(series.git("show", f"{base}:{CANARY_FILE}") + "\n"
                        + CANARY_TEXT, encoding="utf-8")
        env = {"GIT_INDEX_FILE": f"{tmp}/index"}
        blob = series.git("hash-object", "-w", str(file))
        series.git("read-tree", base, env=env)
        series.git("update-index", "--cacheinfo", f"100644,{blob},{CANARY_FILE}",
                   env=env)
        tree = series.git("write-tree", env=env)
    return series.git("commit-tree", tree, "-p", base, "-m",
                      "PCI: Add a canary\n\nIt has one defect of each kind.\n\n"
                      "Assisted-by: LLM", env=series.IDENTITY)


def _go_to(commit):
    series.git("checkout", "-q", "-f", "--detach", commit, repo=WORK)


def _prepare(base):
    archive.packages(TOOLS)
    if not (WORK / ".git").exists():
        series.git("worktree", "prune")
        series.git("worktree", "add", "-q", "--no-checkout", "--detach", str(WORK),
                   base)
    _go_to(base)


def _one(commit, dirs, heard, log):
    """What the checkers say of @commit, by checker; @heard grows."""
    _go_to(commit)
    says = {}
    for variant in variants():
        got, failed = compile_one(variant, dirs, log)
        new = got - heard[variant]
        heard[variant] |= got
        says[f"build {variant}"] = sorted(f"{path}: {text}" for path, text in new)
        if failed and not new:
            says[f"build {variant}"].append("does not build")
    files = _touched(commit)
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        series.git("format-patch", "-q", "-1", commit, "-o", tmp)
        patch = next(Path(tmp).glob("*.patch"))
        says["checkpatch"] = _checkpatch(patch, log) + \
            _maintained(_touched(commit, "A"))
    after = _kernel_doc(files, log)
    if after:
        _go_to(f"{commit}^")
        after -= _kernel_doc(files, log)
    says["kernel-doc"] = sorted(after)
    return says


def canary_missed(says):
    """Checkers that did not see their defect."""
    everything = {kind: "\n".join(lines) for kind, lines in says.items()}
    builds = [text for kind, text in everything.items() if kind.startswith("build")
              and not kind.endswith("-off")]
    missed = [kind for kind in ("build", "sparse")
              if not builds or not all(CANARY[kind] in text for text in builds)]
    missed += [kind for kind in ("checkpatch", "kernel-doc")
               if CANARY[kind] not in everything[kind].lower()]
    if CANARY["codespell"] not in everything["checkpatch"]:
        missed.append("codespell")
    return missed


def commits():
    """The patches of the series as (commit, topic/number, subject), in order."""
    return [(commit, f"{topic}/{number}", series.git("log", "-1", "--format=%s", commit))
            for topic, (_, _, members) in series.by_topic().items()
            for number, commit in enumerate(members, 1)]


def check(results, only=None):
    """Check each patch; @only picks a topic. Results by patch and checker."""
    base = series.base()
    patches = commits()
    dirs = sorted({f"{'/'.join(file.split('/')[:2])}/" for commit, _, _ in patches
                   for file in _touched(commit) if file.startswith("drivers/")})
    log = paths.LOGS / "check.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    with paths.locked("check"):
        _prepare(base)
        heard = {}
        for variant in variants():
            ui.note(f"check: the base in configuration {variant} "
                    f"(log: {ui.shown(log)})")
            heard[variant] = _hear_base(variant, base, dirs, log)
        ui.note("check: the canary")
        missed = canary_missed(_one(_canary(base), dirs, heard, log))
        for kind in ("build", "sparse", "checkpatch", "kernel-doc", "codespell"):
            results.add(f"check.canary.{kind}", "did not see the seeded defect"
                        if kind in missed else None)
        for number, (commit, name, subject) in enumerate(patches, 1):
            if only and not name.startswith(f"{only}/"):
                continue
            ui.note(f"check: {number}/{len(patches)} {name} {subject[:50]}")
            for kind, lines in _one(commit, dirs, heard, log).items():
                for line in lines[:8]:
                    ui.note(f"      {kind}: {line}")
                results.add(f"check.{name}.{kind.replace(' ', '.')}",
                            f"{len(lines)} messages, first: {lines[0]}"
                            if lines else None)
        for topic in series.topics():
            if only in (None, topic):
                mbox.mbox(topic, "A Tester <tester@example.org>")
                results.add(f"check.{topic}.send-email",
                            mbox.dry_run(paths.OUT / "mbox" / topic))
