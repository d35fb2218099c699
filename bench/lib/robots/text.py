# SPDX-License-Identifier: GPL-2.0
"""What needs no build: checkpatch with codespell, MAINTAINERS, kernel-doc."""

import re
import subprocess
import tempfile
from pathlib import Path

from .. import paths, series, ui
from . import common, store

TOOLS = ["codespell"]

# checkpatch types that say nothing about a patch here, each with its reason
QUIET = {
    "FILE_PATH_CHANGES": "answered by maintained(): a new file needs an entry "
                         "in MAINTAINERS that covers it",
}


def key(kind, commit):
    """What a verdict on @commit depends on: the whole commit, and the tools in it."""
    tools = series.git("ls-tree", "-r", commit, "--", "scripts/checkpatch.pl",
                       "scripts/spelling.txt", "scripts/const_structs.checkpatch",
                       "scripts/get_maintainer.pl", "MAINTAINERS", "tools/docs/kernel-doc",
                       "tools/lib/python/kdoc")
    return f"{kind} " + store.digest(
        series.git("log", "-1", "--format=%B", commit), common.tree_of(commit),
        common.tree_of(f"{commit}^"), tools, store.version("codespell", "--version"),
        paths.BENCH / "lib/robots/text.py")


def checkpatch(commit, log):
    """The complaints of checkpatch.pl --strict about @commit."""
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        series.git("format-patch", "-q", "-1", commit, "-o", tmp)
        patch = next(Path(tmp).glob("*.patch"))
        _, text = common.shell(
            ["perl", common.WORK / "scripts/checkpatch.pl", "--strict", "--no-signoff",
             "--no-tree", "--terse", "--show-types", "--codespell", "--ignore",
             ",".join(QUIET), f"--root={common.WORK}", patch], log, cwd=common.WORK)
        content = patch.read_text(encoding="utf-8", errors="replace").splitlines()
    if deaf := re.search(r"^No .* will be found.*$", text, re.M):
        raise ui.Stop(f"checkpatch: {deaf[0]}")
    return complaints(text, content)


def complaints(text, patch):
    """The messages of checkpatch, each with the line of the @patch that it is about."""
    found = []
    for line in text.splitlines():
        if match := re.match(r".*?:(\d+): ((?:WARNING|ERROR|CHECK):.*)$", line):
            about = patch[int(match[1]) - 1] if 0 < int(match[1]) <= len(patch) else ""
            found.append(f"{match[2]}: {' '.join(about.split())[:100]}")
    return found


def maintained(files):
    """New files that no entry of MAINTAINERS covers, beyond the whole kernel's."""
    bad = []
    for file in files:
        done = subprocess.run(
            ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback",
             "--nor", "--nom", "--noroles", "-f", file],
            cwd=common.WORK, capture_output=True, text=True, check=False)
        lists = [line for line in done.stdout.split() if line]
        if not [x for x in lists if not x.startswith("linux-kernel@")]:
            bad.append(f"MAINTAINERS: nothing covers {file}")
    return bad


def _doc(commit, files, log):
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        found = set()
        for file in common.extract(commit, files, tmp):
            _, text = common.shell([common.WORK / "scripts/kernel-doc", "-none", "-Wall",
                                    file], log, cwd=tmp)
            found |= {re.sub(r"\d+", "N", line) for line in text.splitlines()
                      if "arning" in line or "rror" in line}
        return found


def kernel_doc(commit, log):
    """What kernel-doc says of the files of @commit that it did not say before."""
    files = [file for file in common.touched(commit) if file.endswith((".c", ".h"))]
    after = _doc(commit, files, log)
    return sorted(after - _doc(f"{commit}^", files, log)) if after else []
