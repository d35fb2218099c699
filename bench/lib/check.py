# SPDX-License-Identifier: GPL-2.0
"""
`make check`: what the robots of maintainers do, patch by patch.

What the untouched base says already does not count: messages are compared as
lines, without the numbers, never as counts. Each robot has a canary, a seeded
defect that it must see; else the run fails. Verdicts are kept with the hash of
what they depend on, so an interrupted run goes on where it was.
"""

import configparser
import json

from . import archive, paths, series, ui
from .robots import builds, cocci, common, docs, kunit, mails, store, text

OUT = paths.OUT / "check"
REASONS = paths.BENCH / "check.ini"
TOOLS = builds.TOOLS + text.TOOLS + cocci.TOOLS + docs.TOOLS + mails.TOOLS

CANARY_FILE = "drivers/pci/access.c"
# What each checker must find in it. The misspelt word is in codespell's
# dictionary, and not in the kernel's own list.
CANARY = {
    "build": "variable 'bench_canary_unused' set but not used",
    "sparse": "incorrect type in initializer",
    "checkpatch": "trailing whitespace",
    "kernel-doc": "bench_canary_missing",
    "codespell": "invalidtion",
}
CANARY_TEXT = """
/**
 * bench_canary() - has one defect of each kind
 * @bench_canary_missing: describes nothing
 *
 * Does no invalidtion.
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


def canary_missed(says):
    """Checkers that did not see their defect."""
    everything = {kind: "\n".join(lines) for kind, lines in says.items()}
    heard = [text for kind, text in everything.items() if kind.startswith("build")
             and not kind.endswith("-off")]
    missed = [kind for kind in ("build", "sparse")
              if not heard or not all(CANARY[kind] in text for text in heard)]
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


def reasons(text):
    """{(subject of a patch, "robot: line"): why that line may stay}, from check.ini."""
    parser = configparser.ConfigParser(delimiters=("=>",), interpolation=None,
                                       comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string(text)
    for name in parser.sections():
        for line, why in parser[name].items():
            if not (why or "").strip():
                raise ui.Stop(f"bench/check.ini: no reason for {line}")
    return {(name, line): why for name in parser.sections()
            for line, why in parser[name].items()}


class Report:
    """What each robot said of each patch; out/check/report.txt and .json."""

    def __init__(self, base, tip, patches):
        self.about = {"base": common.tree_of(base), "tip": common.tree_of(tip)}
        self.patches = {name: {"subject": subject, "tree": common.tree_of(commit),
                               "says": {}, "allowed": {}, "notes": {}}
                        for commit, name, subject in patches}
        self.canaries, self.topics = {}, {}

    def add(self, name, kind, lines, allowed=(), note=""):
        """
        @kind of robot has seen the patch @name and said @lines, and @allowed, which
        are pairs of a line and the reason why it may stay.
        """
        self.patches[name]["says"][kind] = list(lines)
        if allowed:
            self.patches[name]["allowed"][kind] = [f"{line} ({why})" for line, why in allowed]
        if note:
            self.patches[name]["notes"][kind] = note

    def text(self):
        """The report for a person, as lines."""
        kinds = []
        for patch in self.patches.values():
            kinds += [kind for kind in patch["says"] if kind not in kinds]
        lines = [f"base {self.about['base']}", f"tip  {self.about['tip']}", "",
                 "ok: nothing to say; a number: so many lines, below; -: nothing to look at", ""]
        for number, kind in enumerate(kinds):
            lines.append("  " + "|  " * number + f"{kind}")
        width = max(len(name) for name in self.patches)
        for name, patch in self.patches.items():
            cells = ["-" if kind not in patch["says"] else
                     str(len(patch["says"][kind]) or "ok") for kind in kinds]
            lines.append("  " + " ".join(f"{cell:2}" for cell in cells)
                         + f"  {patch['tree'][:12]}  {name:{width}}  "
                         f"{patch['notes'].get('kunit', '')}".rstrip())
        lines += ["", "canaries: " + ", ".join(
            f"{name} {'seen' if seen else 'MISSED'}" for name, seen in self.canaries.items())]
        lines += ["", *[f"{name}: {what}" for name, what in self.topics.items()]]
        for name, patch in self.patches.items():
            said = [f"  {kind}: {line}" for kind in patch["says"]
                    for line in patch["says"][kind]]
            said += [f"  may stay: {kind}: {line}" for kind, lines_ in patch["allowed"].items()
                     for line in lines_]
            if said:
                lines += ["", f"{name} {patch['subject']}", *said]
        return [line.rstrip() for line in lines]

    def write(self):
        """Both files, as far as it has come."""
        OUT.mkdir(parents=True, exist_ok=True)
        for name, content in (
                ("report.txt", "".join(f"{line}\n" for line in self.text())),
                ("report.json", json.dumps(dict(
                    self.about, patches=self.patches, topics=self.topics,
                    canaries=self.canaries), indent=1) + "\n")):
            part = OUT / f"{name}.part"
            part.write_text(content, encoding="utf-8")
            part.rename(OUT / name)


class Check:
    """One run: the robots one after the other, over the patches that were asked for."""

    def __init__(self, results, only, suites):
        self.results, self.suites = results, suites
        self.base, self.tip = series.base(), series.apply()
        self.all = commits()
        self.patches = [patch for patch in self.all
                        if only is None or only in (patch[1], patch[1].partition("/")[0])]
        if not self.patches:
            raise ui.Stop(f"no topic {only}: there are {', '.join(series.topics())}; "
                          "topic/number is one patch")
        self.only = only and only.partition("/")[0]
        self.log = paths.LOGS / "check.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self.verdicts = store.Verdicts(OUT / "verdicts.json")
        self.report = Report(self.base, self.tip, self.patches)
        self.reasons = reasons(REASONS.read_text(encoding="utf-8") if REASONS.exists() else "")
        self.used, self.seen = set(), set()

    def add(self, name, kind, lines, note="", kept=False):
        """A robot's verdict on a patch: to the results, the report and the screen."""
        subject = self.report.patches[name]["subject"]
        keys = [(subject, f"{kind}: {line}") for line in lines]
        self.seen.add((subject, kind))
        self.used |= self.reasons.keys() & set(keys)
        allowed = [(line, self.reasons[key]) for line, key in zip(lines, keys)
                   if key in self.reasons]
        lines = [line for line, key in zip(lines, keys) if key not in self.reasons]
        if not kept:
            for line in lines[:8]:
                ui.note(f"      {kind}: {line}")
        self.report.add(name, kind, lines, allowed, note)
        self.results.add(f"check.{name}.{kind.replace(' ', '.')}",
                         f"{len(lines)} messages, first: {lines[0]}" if lines else None)

    def stale(self):
        """Reasons for what nobody says, or for a patch that is not there."""
        subjects = {subject for _, _, subject in self.all}
        for subject, line in sorted(self.reasons.keys() - self.used):
            if subject not in subjects or (subject, line.partition(": ")[0]) in self.seen:
                self.results.add(f"check.reason.{subject}: {line}",
                                 "bench/check.ini: nobody says that of such a patch")

    def canary(self, kind, seen):
        """Has a robot seen its seeded defect?"""
        self.report.canaries[kind] = bool(seen)
        self.results.add(f"check.canary.{kind}",
                         None if seen else "did not see the seeded defect")

    def kept(self, key, find):
        """(the verdict @key, which find() makes if it is not there yet; was it)."""
        known = self.verdicts.get(key)
        return (known, True) if known is not None else (self.verdicts.put(key, find()), False)

    def prepare(self):
        """Packages and the work tree."""
        archive.packages(TOOLS)
        if not (common.WORK / ".git").exists():
            series.git("worktree", "prune")
            series.git("worktree", "add", "-q", "--no-checkout", "--detach",
                       str(common.WORK), self.base)
        common.go_to(self.base)

    def mails(self):
        """Do the mails make what was tested?"""
        wrong, topics, seen = mails.check(self.base, self.only, self.log)
        for kind, was in seen.items():
            self.canary(kind, was)
        for (topic, robot), why in topics.items():
            self.report.topics[f"{topic} {robot}"] = why or "ok"
            self.results.add(f"check.{topic}.{robot}", why)
        for commit, name, _ in self.patches:
            self.add(name, "mail", wrong[commit])

    def cocci(self):
        """coccicheck on the whole series, each message at its patch."""
        self.canary("coccicheck", cocci.canary(self.verdicts, self.log, self.base))
        found, broken, ran = cocci.check(
            self.base, self.tip, [(commit, name) for commit, name, _ in self.all],
            self.verdicts, self.log)
        self.results.add("check.coccicheck-complete",
                         "; ".join(broken[:3]) or (None if ran else "no script ran"))
        for commit, name, _ in self.patches:
            if any(file.endswith((".c", ".h")) for file in common.touched(commit)):
                self.add(name, "coccicheck", found[name])

    def docs(self):
        """The documentation that a patch touches."""
        missed = docs.canary(self.base, self.verdicts, self.log)
        for kind in docs.CANARY:
            self.canary(f"docs-{kind}", kind not in missed)
        found = docs.Docs(self.base, self.verdicts, self.log).says(
            [commit for commit, _, _ in self.all])
        for commit, name, _ in self.patches:
            for part, lines in sorted(found.get(commit, {}).items()):
                self.add(name, f"docs {part.replace('/', '-')}", lines)

    def _canary_builds(self, variants):
        """The commit with a defect for each compiler and for each reader of patches."""
        commit = common.seeded(self.base, {CANARY_FILE: lambda old: old + "\n" + CANARY_TEXT})
        says = {f"build {one.name}": self.kept(one.key(commit), lambda one=one: one.canary(
            commit))[0] for one in variants}
        says["checkpatch"] = text.checkpatch(commit, self.log)
        says["kernel-doc"] = text.kernel_doc(commit, self.log)
        missed = canary_missed(says)
        for kind in CANARY:
            self.canary(kind, kind not in missed)

    def builds(self):
        """Each patch: the readers of patches, the builds, and KUnit behind their backs."""
        dirs = sorted({f"{'/'.join(file.split('/')[:2])}/" for commit, _, _ in self.all
                       for file in common.touched(commit) if file.startswith("drivers/")})
        variants = [builds.Variant(name, self.base, dirs, self.log)
                    for name in builds.variants()]
        files, allows = self.suites
        suites = kunit.Suites(self.base, self.tip, files, allows, self.verdicts, self.log)
        # All builds of the base in a row: going back to it later would touch
        # what the others have built.
        for one in variants:
            if any(self.verdicts.get(one.key(commit)) is None for commit, _, _ in self.patches):
                one.begin()
        self._canary_builds(variants)
        waiting = []
        try:
            ui.note("check: KUnit, the canary")
            missed = suites.canary()
            for kind in kunit.CANARY:
                self.canary(f"kunit-{kind}", kind not in missed)
            for number, (commit, name, subject) in enumerate(self.patches, 1):
                ui.note(f"check: {number}/{len(self.patches)} {name} {subject[:50]}")
                for one in variants:
                    lines, kept = self.kept(one.key(commit), lambda one=one: one.says(commit))
                    self.add(name, f"build {one.name}", lines, kept=kept)
                self._read(commit, name)
                waiting.append((name, suites.start(commit, name)))
                while waiting and waiting[0][1].done():
                    self._kunit(*waiting.pop(0))
                self.report.write()
            for pair in waiting:
                self._kunit(*pair)
        finally:
            suites.end()

    def _read(self, commit, name):
        for kind, robot in (("checkpatch", self._checkpatch), ("kernel-doc", text.kernel_doc)):
            lines, kept = self.kept(text.key(kind, commit), lambda robot=robot: robot(
                commit, self.log))
            self.add(name, kind, lines, kept=kept)

    @staticmethod
    def _checkpatch(commit, log):
        added = common.touched(commit, "A")
        if added:
            common.go_to(commit)
        return text.checkpatch(commit, log) + text.maintained(added)

    def _kunit(self, name, verdict):
        lines, ran, kept = verdict.result()
        self.add(name, "kunit", lines, ran, kept)

    def run(self):
        """All robots, the quick ones first."""
        with paths.locked("check"):
            self.prepare()
            try:
                self.mails()
                self.docs()
                self.cocci()
                self.builds()
                self.stale()
            finally:
                self.report.write()
        ui.say(f"report: {ui.shown(OUT / 'report.txt')}")


def check(results, only=None, suites=((), ())):
    """
    Check each patch; @only picks a topic, or one patch (topic/number). @suites are
    the files that name the KUnit suites and what their logs are allowed to say.
    """
    Check(results, only, suites).run()
