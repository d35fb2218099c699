# SPDX-License-Identifier: GPL-2.0
"""
Documentation: each part of it that a patch touches is built by Sphinx, and the
files of Documentation/ABI go through the kernel's own parser.

A part is touched by a change of its files, or of a source file whose kernel-doc it
includes. Only documents that changed are read again, so what is new was not heard
from the base nor from any patch between.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from .. import paths, series, ui
from . import common, store

TOOLS = ["python3-sphinx", "python3-yaml", "graphviz"]
ABI = "Documentation/ABI"
# Where Documentation/ABI is shown
ABI_PART = "admin-guide"

CANARY_DOC = "Documentation/PCI/acpi-info.rst"
CANARY_DOC_TEXT = """

Bench canary with a heading
==========

See :doc:`bench-canary-nowhere`.
"""
CANARY_ABI = f"{ABI}/testing/sysfs-bus-pci"
CANARY_ABI_TEXT = """
What:		/sys/bus/pci/bench_canary
Date:		November 2026
"""
CANARY = {"heading": "title underline too short", "reference": "bench-canary-nowhere",
          "abi": "bench_canary doesn't have a description"}


def normalised(text):
    """The warnings in the log of a build, without what moves."""
    found = set()
    for line in text.splitlines():
        if re.search(r"\b(warning|error|critical|severe)\b", line, re.I):
            line = re.sub(r"\S*/linux/check/", "", line.strip())
            line = re.sub(r"\x1b\[[0-9;]*m", "", line)
            found.add(re.sub(r"\d+", "N", re.sub(r"^\[WARNING\] ", "WARNING: ", line)))
    return found


def _exists(target, part, line):
    """Is there the document @target, which is none of @part's?"""
    doc = Path("Documentation")
    here = Path(line.partition(":")[0]).parent
    for folder in (doc, here):
        path = os.path.normpath(folder / f"{target.lstrip('/')}.rst")
        if (common.WORK / path).exists() and not path.startswith(f"Documentation/{part}/"):
            return True
    return False


def outside(lines, part):
    """@lines without references to documents that only the build of a part lacks."""
    kept = set()
    for line in lines:
        match = re.search(r"(?:unknown|nonexisting) document:? '([^']+)'", line)
        if not (match and _exists(match[1], part, line)):
            kept.add(line)
    return kept


class Docs:
    """The builds of the parts."""

    def __init__(self, base, verdicts, log):
        self.base, self.verdicts, self.log = base, verdicts, log
        self.folder = common.BUILDS / "check-docs"
        self.tools = store.digest(store.version("sphinx-build", "--version"),
                                  common.tree_of(base), paths.BENCH / "lib/robots/docs.py")
        self.includes = self._includes(base)

    @staticmethod
    def _includes(commit):
        """{source file: the documents of @commit that include its kernel-doc}."""
        includes = {}
        found = series.git("grep", "-E", r"^\.\. kernel-doc::", commit, "--",
                           "Documentation/*.rst")
        for line in found.splitlines():
            document, source = re.match(r"[^:]+:([^:]+):\.\. kernel-doc:: *(\S+)", line).groups()
            includes.setdefault(source, set()).add(document)
        return includes

    def _read(self, commit):
        """Which of @commit's files a build can read."""
        return series.git("ls-tree", commit, "--", "Documentation", "MAINTAINERS", "Makefile",
                          "include/uapi", "scripts", "tools/docs", "tools/lib/python",
                          *sorted(self._includes(commit)))

    def _part(self, document):
        """The part of a document: the innermost folder that builds alone."""
        for folder in Path(document).relative_to("Documentation").parents:
            if str(folder) != "." and (common.WORK / "Documentation" / folder
                                       / "index.rst").exists():
                return str(folder)
        return "."

    def parts(self, commit):
        """The parts that @commit touches, "ABI" among them."""
        found = set()
        for file in common.touched(commit, "AMDR"):
            if file.startswith(f"{ABI}/"):
                found |= {"ABI", ABI_PART}
            elif file.startswith("Documentation/"):
                found.add(self._part(file))
            found |= {self._part(document) for document in self.includes.get(file, ())}
        return found

    def _abi(self, commit):
        """What the kernel's parser says of the ABI files of @commit."""
        with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
            common.extract(commit, [ABI], tmp)
            code, text = common.shell(
                ["python3", common.WORK / "tools/docs/get_abi.py", "--dir", ABI, "validate"],
                self.log, cwd=tmp)
        if code:
            raise ui.Stop(f"check: get_abi.py failed (log: {ui.shown(self.log)})")
        return normalised(text)

    def _build(self, part, commit):
        """What the build of @part says at @commit, as far as it is read again."""
        if part == "ABI":
            return self._abi(commit)
        common.go_to(commit)
        code, text = common.shell(
            ["make", "-C", common.WORK, f"O={self.folder / part.replace('/', '-')}",
             f"SPHINXDIRS={part}", "htmldocs"], self.log)
        lines = outside(normalised(text), part)
        return lines | ({f"{part}: does not build"} if code else set())

    def says(self, commits):
        """{commit: {part: [new lines]}} for @commits, all patches in order."""
        by_part, found = {}, {}
        for commit in commits:
            for part in self.parts(commit):
                by_part.setdefault(part, []).append(commit)
        for part, members in sorted(by_part.items()):
            keys = {commit: f"docs {part} " + store.digest(
                self.tools, self._read(commit), self._read(f"{commit}^"))
                for commit in members}
            left = [commit for commit in members if self.verdicts.get(keys[commit]) is None]
            if left:
                ui.note(f"check: documentation {part}, the base and {len(members)} patches")
                shutil.rmtree(self.folder / part.replace("/", "-"), ignore_errors=True)
                heard = self._build(part, self.base)
                if any("does not build" in line for line in heard):
                    raise ui.Stop(f"check: the base's documentation {part} does not build "
                                  f"(log: {ui.shown(self.log)})")
                for commit in members[:members.index(left[-1]) + 1]:
                    got = self._build(part, commit)
                    self.verdicts.put(keys[commit], sorted(got - heard))
                    heard |= got
            for commit in members:
                found.setdefault(commit, {})[part] = self.verdicts.get(keys[commit])
        return found


def canary(base, verdicts, log):
    """Which of the seeded defects are not seen."""
    commit = common.seeded(base, {CANARY_DOC: lambda text: text + CANARY_DOC_TEXT,
                                  CANARY_ABI: lambda text: text + CANARY_ABI_TEXT})
    docs = Docs(base, verdicts, log)
    docs.parts = lambda commit: {"PCI", "ABI"}
    lines = [line for part in docs.says([commit])[commit].values() for line in part]
    text = "\n".join(lines).lower()
    return sorted(kind for kind, what in CANARY.items() if what.lower() not in text)
