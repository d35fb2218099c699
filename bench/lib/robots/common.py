# SPDX-License-Identifier: GPL-2.0
"""What the robots share: the work tree, quiet commands, commits for canaries."""

import subprocess
import tempfile
from pathlib import Path

from .. import build, paths, series

WORK = paths.CACHE / "linux/check"
BUILDS = paths.CACHE / "linux/build"


def tools_env():
    """
    The environment of the tools. Debian's own Python comes first: another one in
    the PATH lacks the modules of the packages, and some tools then say nothing.
    """
    env = build.ccache_env()
    env["PATH"] = f"/usr/bin:/bin:{env['PATH']}"
    env["LC_ALL"] = "C.UTF-8"
    return env


def shell(cmd, log, env=None, cwd=None, data=b""):
    """Run quietly, with @data to read; (exit code, output), which goes to @log, too."""
    done = subprocess.run([str(c) for c in cmd], capture_output=True, env=env or tools_env(),
                          cwd=cwd, check=False, input=data)
    text = (done.stdout + done.stderr).decode(errors="replace")
    with open(log, "a", encoding="utf-8") as out:
        out.write(f"\n+ {' '.join(map(str, cmd))}\n{text}")
    return done.returncode, text


def tree_of(commit):
    """The hash of the tree of @commit."""
    return series.git("rev-parse", f"{commit}^{{tree}}")


def go_to(commit):
    """Bring the work tree to @commit; only files that differ are written."""
    series.git("checkout", "-q", "-f", "--detach", commit, repo=WORK)


def touched(commit, kinds="AM"):
    """The files that @commit adds or changes."""
    return series.git("diff-tree", "--no-commit-id", "--name-only", "-r",
                      f"--diff-filter={kinds}", commit).split()


def files_in(there, files):
    """Those of the paths @files that are, or hold, one of @there."""
    return [path for path in files
            if any(name == path or name.startswith(f"{path}/") for name in there)]


def extract(commit, files, folder):
    """Write @files as they are in @commit below @folder, if they are there."""
    there = series.git("ls-tree", "-r", "--name-only", commit, "--", *files).splitlines() \
        if files else []
    if there:
        with tempfile.NamedTemporaryFile(dir=paths.CACHE, suffix=".tar") as tar:
            series.git("archive", "-o", tar.name, commit, "--", *files_in(there, files))
            subprocess.run(["tar", "xf", tar.name, "-C", folder], check=True)
    return there


def seeded(base, edits):
    """A commit on top of @base with a defect: @edits says what becomes of each file."""
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        env = {"GIT_INDEX_FILE": f"{tmp}/index"}
        series.git("read-tree", base, env=env)
        for name, edit in edits.items():
            file = Path(tmp) / "file"
            old = series.git("show", f"{base}:{name}", check=False)
            file.write_text(edit(old + "\n" if old else ""), encoding="utf-8")
            blob = series.git("hash-object", "-w", str(file))
            series.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}",
                       env=env)
        tree = series.git("write-tree", env=env)
    return series.git("commit-tree", tree, "-p", base, "-m",
                      "PCI: Add a canary\n\nIt has one defect of each kind.\n\n"
                      "Assisted-by: LLM", env=series.IDENTITY)
