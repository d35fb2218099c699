# SPDX-License-Identifier: GPL-2.0
"""
`make litmus`: the series' lock-free pairs in the kernel's memory model.

Each bench/litmus/*.litmus says in a comment which result herd7 has to give, in
the words of tools/memory-model/litmus-tests: "Result: Never". For each of them
there is one from which the step that makes the difference is taken out; it has
"Result: Sometimes", and the step in its name.
"""

import re
import subprocess

from . import archive, paths, series, ui

TESTS = paths.BENCH / "litmus"
MODEL = "tools/memory-model"
MODEL_FILES = ("linux-kernel.cfg", "linux-kernel.bell", "linux-kernel.cat",
               "linux-kernel.def", "lock.cat")


def expected(text):
    """The result that a test says it has, or None."""
    match = re.search(r"^ \* Result: (Never|Sometimes|Always)$", text, re.M)
    return match and match[1]


def problem(want, output):
    """None if herd7's @output has the result @want, else what is wrong."""
    match = re.search(r"^Observation \S+ (\w+) ", output, re.M)
    if not match:
        return "herd7: " + (output.strip().splitlines() or ["said nothing"])[-1][:120]
    return None if match[1] == want else f"the result is {match[1]}, not {want}"


def litmus(results):
    """Every test; the memory model is that of the kernel under test."""
    herd = archive.herd7()
    model = paths.OUT / "litmus" / "model"
    model.mkdir(parents=True, exist_ok=True)
    commit, _ = series.subject()
    for name in MODEL_FILES:
        (model / name).write_text(series.git("show", f"{commit}:{MODEL}/{name}") + "\n",
                                  encoding="utf-8")
    files = sorted(TESTS.glob("*.litmus"))
    if not files:
        raise ui.Stop(f"no *.litmus in {ui.shown(TESTS)}")
    for file in files:
        want = expected(file.read_text(encoding="utf-8"))
        done = subprocess.run([*herd, "-conf", "linux-kernel.cfg", file], cwd=model,
                              capture_output=True, text=True, check=False)
        why = problem(want, done.stdout + done.stderr) if want else \
            "no comment \"Result: Never\" (or Sometimes)"
        results.add(f"litmus.{file.stem}", why)
        if why is None:
            ui.note(f"{want:9}  {file.stem}")
