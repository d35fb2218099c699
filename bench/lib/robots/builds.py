# SPDX-License-Identifier: GPL-2.0
"""
Builds of each patch in several configurations, with W=1 and sparse.

Only what changed is compiled again, so only that is heard. A patch is built
right after its parent, and what is new was not heard from the base nor from
any patch between.
"""

import json
import os
import re
import shutil

from .. import build, paths, series, ui
from . import common, store

FRAGMENTS = paths.BENCH / "kernel/check"
CROSS = {"arm64": build.CROSS, "x86_64": "" if os.uname().machine == "x86_64"
         else "x86_64-linux-gnu-"}
# The kernel switches sparse 0.6.4 off in silence, unless it knows this keyword.
SPARSE = "CF=-D__typeof_unqual__=__typeof__"
TOOLS = ["sparse"] + (["gcc-x86-64-linux-gnu"] if CROSS["x86_64"] else [])

# (path of the message, the message) without what moves
MESSAGE = re.compile(r"^(?:\./|\.\./)*(\S+?\.[chS]):\d+(?::\d+)?:?\s+"
                     r"((?:warning|error|fatal error|Warning|Error):.*)$", re.I)


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


class Variant:
    """The build of one configuration: what was heard, and where it is."""

    def __init__(self, name, base, dirs, log):
        self.name, self.base, self.dirs, self.log = name, base, dirs, log
        self.arch = name.split("-")[0]
        self.folder = common.BUILDS / f"check-{name}"
        self.fragment = FRAGMENTS / f"{name}.config"
        self.at = None          # the commit that was built last
        self.heard = set()      # up to there
        self.tools = store.digest(store.version(f"{CROSS[self.arch]}gcc", "--version"),
                                  store.version("sparse", "--version"),
                                  common.tree_of(base), dirs, self.fragment,
                                  paths.BENCH / "lib/robots/builds.py")

    def key(self, commit):
        """What the verdict on @commit depends on."""
        return f"build {self.name} " + store.digest(
            self.tools, common.tree_of(commit), common.tree_of(f"{commit}^"))

    def _make(self, *args):
        cross = CROSS[self.arch]
        return ["make", "-C", str(common.WORK), f"O={self.folder}", f"ARCH={self.arch}",
                f"CROSS_COMPILE={cross}", f"CC=ccache {cross}gcc", "LOCALVERSION=",
                "-j", paths.jobs(), "-s", *args]

    def _configure(self, commit):
        """
        Symbols that a patch adds are not there before it: a configuration for each
        state of the Kconfig files, and no other work where none of them changed.
        """
        files = series.git("diff-tree", "-r", "--name-only", self.base, commit).split()
        kconfig = [name for name in files if "Kconfig" in name]
        want = store.digest(common.tree_of(self.base), self.fragment, series.git(
            "ls-tree", "-r", commit, "--", *kconfig) if kconfig else "")
        stamp = self.folder / ".bench-config"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == want:
            return
        stamp.unlink(missing_ok=True)
        code, _ = common.shell(self._make("allnoconfig"), self.log, dict(
            common.tools_env(), KCONFIG_ALLCONFIG=str(self.fragment)))
        if code:
            raise ui.Stop(f"check: no configuration {self.name} (log: {ui.shown(self.log)})")
        build.none_dropped(self.folder, re.findall(
            r"^CONFIG_\w+=.*$", self.fragment.read_text(encoding="utf-8"), re.M), self.name,
            "bench/kernel/check/", commit)
        stamp.write_text(want, encoding="utf-8")

    def _compile(self, commit):
        """Build @commit: (messages, failed)."""
        common.go_to(commit)
        self._configure(commit)
        code, text = common.shell(self._make("-k", "W=1", "C=1", SPARSE, *self.dirs), self.log)
        if "sparse is not available" in text:
            raise ui.Stop(f"check: this kernel switches sparse off (log: {ui.shown(self.log)})")
        self.at = commit
        return normalised(text), code != 0

    def begin(self):
        """
        Build the base. A second time next to nothing is compiled and heard, so
        what was heard is kept; without that the build starts anew.
        """
        kept = self.folder / ".bench-heard"
        try:
            known = json.loads(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        if known.get("for") != self.tools:
            shutil.rmtree(self.folder, ignore_errors=True)
            known = {}
        ui.note(f"check: the base in configuration {self.name} (log: {ui.shown(self.log)})")
        heard, failed = self._compile(self.base)
        if failed:
            raise ui.Stop(f"check: the base does not build in {self.name} "
                          f"(log: {ui.shown(self.log)})")
        self.heard = heard | {tuple(pair) for pair in known.get("heard", [])}
        kept.write_text(json.dumps({"for": self.tools, "heard": sorted(self.heard)}),
                        encoding="utf-8")

    def says(self, commit):
        """What is new in the build of @commit."""
        parent = series.git("rev-parse", f"{commit}^")
        if self.at is None:
            self.begin()
        if common.tree_of(self.at) != common.tree_of(parent):
            got, _ = self._compile(parent)
            self.heard |= got
        got, failed = self._compile(commit)
        new = got - self.heard
        self.heard |= got
        lines = sorted(f"{path}: {text}" for path, text in new)
        if failed and not any("error" in text for _, text in new):
            lines.append("does not build")
        return lines

    def canary(self, commit):
        """The same for a canary on the base, which leaves no trace."""
        if self.at is None:
            self.begin()
        got, _ = self._compile(commit)
        new = got - self.heard
        self._compile(self.base)
        return sorted(f"{path}: {text}" for path, text in new)
