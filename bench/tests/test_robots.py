# SPDX-License-Identifier: GPL-2.0
"""The robots of `make check`: what they read, and what they keep."""

import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import check, splat  # noqa: E402
from lib.robots import builds, cocci, docs, kunit, mails, store  # noqa: E402
from lib.robots import text as robots_text  # noqa: E402


class Store(unittest.TestCase):
    """Verdicts outlive the run, and only for what they were found for."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "deep" / "verdicts.json"

    def test_kept(self):
        """Another run finds it; an empty verdict, too."""
        store.Verdicts(self.file).put("a", [])
        self.assertEqual(store.Verdicts(self.file).get("a"), [])
        self.assertIsNone(store.Verdicts(self.file).get("b"))

    def test_torn(self):
        """A file that cannot be read is none."""
        self.file.parent.mkdir()
        self.file.write_text("{", encoding="utf-8")
        self.assertIsNone(store.Verdicts(self.file).get("a"))

    def test_digest(self):
        """Parts do not run into each other, and a file counts by what is in it."""
        self.assertNotEqual(store.digest("ab", "c"), store.digest("a", "bc"))
        self.file.parent.mkdir()
        self.file.write_text("x", encoding="utf-8")
        self.assertEqual(store.digest(self.file), store.digest("x"))


class Heard(unittest.TestCase):
    """What a build says is compared with its parent's, wherever the last one was."""

    SAYS = {"base": {("a.c", "warning: old")},
            "p1": {("a.c", "warning: old"), ("b.c", "warning: first")},
            "p2": {("b.c", "warning: first"), ("c.c", "warning: second")}}
    PARENT = {"p1^": "base", "p2^": "p1"}

    def variant(self):
        """A build without a compiler, at the base."""
        one = builds.Variant.__new__(builds.Variant)
        one.at, one.heard = "base", set(self.SAYS["base"])

        def build(commit):
            one.at = commit
            return self.SAYS[commit], False

        one._compile = build
        return one

    def says(self, *commits):
        """What is new in each of @commits, built in this order."""
        one = self.variant()
        with mock.patch.object(builds.series, "git", lambda *args: self.PARENT[args[-1]]), \
                mock.patch.object(builds.common, "tree_of", str):
            return [one.says(commit) for commit in commits]

    def test_in_order(self):
        """Each message belongs to the patch that brings it."""
        self.assertEqual(self.says("p1", "p2"),
                         [["b.c: warning: first"], ["c.c: warning: second"]])

    def test_one_alone(self):
        """The second alone is not blamed for the first."""
        self.assertEqual(self.says("p2"), [["c.c: warning: second"]])

    def test_no_message_but_failed(self):
        """A build that fails without a word has failed."""
        one = self.variant()
        one._compile = lambda commit: (set(), True)
        one.at = "p1"
        with mock.patch.object(builds.series, "git", lambda *args: self.PARENT[args[-1]]), \
                mock.patch.object(builds.common, "tree_of", str):
            self.assertEqual(one.says("p2"), ["does not build"])


class Cocci(unittest.TestCase):
    """Reports of spatch, and the patch that is to blame."""

    SAYS = """\
/tmp/x/drivers/pci/pci.c:7154:6-10: duplicated argument to && or ||
/tmp/x/drivers/pci/pci.c:7200:6-10: duplicated argument to && or ||
/tmp/x/drivers/pci/quirks.c:16:2-13: ERROR: reference preceded by free on line 15
"""

    def test_normalised(self):
        """Positions go, and what is said twice counts twice."""
        found = cocci.normalised(self.SAYS, "/tmp/x")
        self.assertEqual(found["drivers/pci/pci.c: duplicated argument to && or ||"], 2)
        self.assertEqual(found["drivers/pci/quirks.c: ERROR: reference preceded by free "
                               "on line N"], 1)

    def test_moved(self):
        """A patch above a message is not to blame."""
        self.assertEqual(cocci.normalised(self.SAYS, "/tmp/x"), cocci.normalised(
            self.SAYS.replace(":7154:6-10", ":7160:4-8").replace("15", "99"), "/tmp/x"))

    def test_options(self):
        """As the scripts write them."""
        self.assertEqual(cocci.options("// Copyright: x\n//  Options: --no-includes -a\n"),
                         ["--no-includes", "-a"])
        self.assertEqual(cocci.options("// Keywords: x\n"), [])

    def blamed(self, base, *after):
        """Who is blamed if the file says so many lines at the base and after each patch."""
        line = "a.c: bad"
        robot = cocci.Cocci.__new__(cocci.Cocci)
        counts = {"base": base, "tip": after[-1],
                  **{f"c{n}": count for n, count in enumerate(after)}}
        robot.ask = lambda wanted, commit, files: {
            name: Counter({line: counts[commit]} if counts[commit] else {})
            for name in wanted}
        with mock.patch.object(cocci.series, "git", lambda *args: "a.c"), \
                mock.patch.object(cocci.common, "touched", lambda commit: ["a.c"]):
            found, broken, ran = robot.new(
                "base", "tip", [(f"c{n}", f"p{n}") for n in range(len(after))], ["s.cocci"])
        self.assertEqual((broken, ran), ([], 1))
        return [name for name, lines in found.items() if lines]

    def test_culprit(self):
        """The first patch with one more than the base."""
        self.assertEqual(self.blamed(0, 0, 1, 1), ["p1"])
        self.assertEqual(self.blamed(1, 1, 1, 2), ["p2"])
        self.assertEqual(self.blamed(1, 1, 1, 1), [])

    def test_no_culprit(self):
        """What only several files together say is not lost."""
        robot = cocci.Cocci.__new__(cocci.Cocci)
        robot.ask = lambda wanted, commit, files: {
            name: Counter({"a.c: bad": 1} if commit == "tip" else {}) for name in wanted}
        with mock.patch.object(cocci.series, "git", lambda *args: "a.c"), \
                mock.patch.object(cocci.common, "touched", lambda commit: ["a.c"]):
            found, _, _ = robot.new("base", "tip", [("c", "p"), ("d", "q")], ["s.cocci"])
        self.assertEqual(found, {"p": [], "q": ["a.c: bad (s, by some patch)"]})

    def test_broken_script(self):
        """A script that cannot run is no script that finds nothing."""
        robot = cocci.Cocci.__new__(cocci.Cocci)
        robot.ask = lambda wanted, commit, files: {"s.cocci": "s.cocci: exit status 2"} \
            if wanted else {}
        with mock.patch.object(cocci.series, "git", lambda *args: "a.c"):
            self.assertEqual(robot.new("base", "tip", [("c", "p")], ["s.cocci"]),
                             ({"p": []}, ["s.cocci: exit status 2"], 0))


class Docs(unittest.TestCase):
    """Warnings of Sphinx and of the ABI's parser."""

    LOG = """\
  SPHINX  htmldocs --> file:///x/output
/home/u/.cache/atc-fence/linux/check/Documentation/PCI/a.rst:7: WARNING: Title underline too short.
WARNING: ../include/linux/pci.h:12 struct member 'x' not described in 'y'
[WARNING] Documentation/ABI/testing/x:708: abi_x doesn't have a description
"""

    def test_normalised(self):
        """Paths are those of the tree, numbers go, chatter goes."""
        self.assertEqual(docs.normalised(self.LOG), {
            "Documentation/PCI/a.rst:N: WARNING: Title underline too short.",
            "WARNING: ../include/linux/pci.h:N struct member 'x' not described in 'y'",
            "WARNING: Documentation/ABI/testing/x:N: abi_x doesn't have a description"})

    def test_outside(self):
        """What only a part lacks is no news; what nobody has is."""
        with tempfile.TemporaryDirectory() as tmp:
            for name in ("driver-api/ntb", "PCI/mine"):
                path = Path(tmp) / f"Documentation/{name}.rst"
                path.parent.mkdir(parents=True)
                path.write_text("", encoding="utf-8")
            here = "Documentation/PCI/a.rst:N: WARNING: unknown document: "
            lines = {f"{here}'../driver-api/ntb'", f"{here}'/driver-api/ntb'",
                     f"{here}'nowhere'", f"{here}'mine'"}
            with mock.patch.object(docs.common, "WORK", Path(tmp)):
                self.assertEqual(docs.outside(lines, "PCI"),
                                 {f"{here}'nowhere'", f"{here}'mine'"})

    def test_read(self):
        """A part is built again for a document and for kernel-doc, not for other code."""
        with tempfile.TemporaryDirectory() as tmp:
            def git(*args):
                return subprocess.run(
                    ["git", "-C", tmp, "-c", "user.name=A Tester",
                     "-c", "user.email=tester@example.org", *args],
                    capture_output=True, text=True, check=True).stdout

            def read(commit):
                with mock.patch.object(docs.series, "git", git):
                    # pylint: disable-next=protected-access
                    return docs.Docs._read(docs.Docs, commit)

            git("init", "-q")
            for name, text in (("Documentation/a.rst", ".. kernel-doc:: lib/a.c\n"),
                               ("lib/a.c", "/** a */\n"), ("lib/b.c", "b\n"),
                               ("lib/b.c", "B\n"), ("lib/a.c", "/** A */\n"),
                               ("Documentation/b.rst", "B\n")):
                path = Path(tmp) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
                git("add", ".")
                git("commit", "-q", "-m", name)
            self.assertEqual(read("HEAD^^"), read("HEAD^^^"))
            self.assertNotEqual(read("HEAD^"), read("HEAD^^"))
            self.assertNotEqual(read("HEAD"), read("HEAD^"))


class KUnit(unittest.TestCase):
    """The log of a kernel with suites."""

    GOOD = """\
[    0.1] KTAP version 1
[    0.1] 1..1
[    0.2]     KTAP version 1
[    0.2]     # Subtest: s
[    0.2]     1..2
[    0.2]     ok 1 a
[    0.2]     ok 2 b # SKIP not here
[    0.3] ok 1 s
[    0.4] reboot: Restarting system
"""
    ALLOWS = [splat.Allow("never seen", "a suite of a later patch")]

    def test_good(self):
        """What ran is counted; an allowance of a later suite is not missed."""
        self.assertEqual(kunit.judge(self.GOOD, self.ALLOWS),
                         ([], "1 suites, 2 cases, 1 skipped"))

    def test_bad(self):
        """A failed case, a splat, an early end, an empty log."""
        for text, what in (
                (self.GOOD.replace("ok 1 a", "not ok 1 a"), "not ok: s.a"),
                (self.GOOD + "[ 1.0] WARNING: CPU: 0 at x\n", "WARN"),
                (self.GOOD.split("[    0.2]     ok 2")[0], "KTAP: "),
                ("", "no test ran")):
            self.assertIn(what, "\n".join(kunit.judge(text, ())[0]), text)

    def test_canary(self):
        """The cases are in the array, and their code before it."""
        text = kunit.broken("static void a(void)\n{\n}\n\nstatic struct kunit_case x_cases[] = "
                            "{\n\tKUNIT_CASE(a),\n\t{},\n};\n")
        array = text[text.index("x_cases"):]
        for name in kunit.CANARY_CASES:
            self.assertIn(f"KUNIT_CASE({name})", array)
            self.assertLess(text.index(f"void {name}"), text.index("x_cases"))


class Mails(unittest.TestCase):
    """A damaged mail is damaged where a tree shows it."""

    MAIL = """\
Subject: x

---
diff --git a/f b/f
@@ -1,3 +1,4 @@ int f(void)
 {
 	call();
+
+	another();
 }
"""

    def test_damaged(self):
        """One added line, one line of context."""
        with tempfile.TemporaryDirectory() as tmp:
            mail = Path(tmp) / "mail"
            mail.write_text(self.MAIL, encoding="utf-8")
            made = {what: copy.read_text(encoding="utf-8")
                    for what, copy in mails.damaged(mail, Path(tmp))}
        self.assertEqual(set(made), set(mails.EXPECT))
        self.assertIn("+\tanother();/* canary */\n", made["tree"])
        self.assertIn(" \tcall();/* canary */\n", made["fuzz"])


class Report(unittest.TestCase):
    """The report names each patch, each robot, and what was said."""

    def test_text(self):
        """Aligned cells, then the lines."""
        with mock.patch.object(check.common, "tree_of", lambda commit: commit * 40):
            report = check.Report("b", "t", [("c", "one/1", "x: Do"), ("d", "one/2", "x: Go")])
        report.add("one/1", "build a", [])
        report.add("one/1", "kunit", [], note="4 suites, 9 cases")
        report.add("one/2", "build a", ["a.c: warning: bad"])
        report.add("one/2", "checkpatch", [], [("CHECK:X: y: z", "the file's own style")])
        report.canaries["build"] = True
        text = "\n".join(report.text())
        self.assertIn("  ok ok -   cccccccccccc  one/1  4 suites, 9 cases\n", text)
        self.assertIn("  1  -  ok  dddddddddddd  one/2\n", text)
        self.assertIn("one/2 x: Go\n  build a: a.c: warning: bad", text)
        self.assertIn("  may stay: checkpatch: CHECK:X: y: z (the file's own style)", text)
        self.assertIn("canaries: build seen", text)


class Reasons(unittest.TestCase):
    """What may stay has a reason, and is said."""

    TEXT = """\
[PCI: Do: it]
checkpatch: CHECK:CAMELCASE: Avoid CamelCase: <num_VFs>: + pdev->num_VFs; => the core's name
"""

    def run_with(self, lines):
        """The results of a patch of which checkpatch says @lines."""
        run = check.Check.__new__(check.Check)
        run.reasons, run.used, run.seen = check.reasons(self.TEXT), set(), set()
        run.all = [("c", "one/1", "PCI: Do: it")]
        with mock.patch.object(check.common, "tree_of", lambda commit: commit * 40):
            run.report = check.Report("b", "t", run.all)
        found = {}
        run.results = mock.Mock()
        run.results.add = lambda name, why=None: found.update({name: why})
        run.add("one/1", "checkpatch", lines, kept=True)
        run.stale()
        return found

    def test_said(self):
        """It is allowed, and nothing else is."""
        line = "CHECK:CAMELCASE: Avoid CamelCase: <num_VFs>: + pdev->num_VFs;"
        self.assertEqual(self.run_with([line]), {"check.one/1.checkpatch": None})
        self.assertIn("first: other", self.run_with([line, "other"])["check.one/1.checkpatch"])

    def test_stale(self):
        """A reason for what nobody says is an error."""
        self.assertIn("nobody says", [why for name, why in self.run_with([]).items()
                                      if "reason" in name][0])

    def test_no_reason(self):
        """A reason has words."""
        with self.assertRaises(check.ui.Stop):
            check.reasons("[a]\ncheckpatch: b =>\n")


class Complaints(unittest.TestCase):
    """checkpatch's lines, with what they are about."""

    def test_about(self):
        """The line of the patch, not its number."""
        self.assertEqual(robots_text.complaints(
            "/tmp/0001-x.patch:2: CHECK:X: y\ntotal: 0 errors\n", ["a", "+\tb  c"]),
            ["CHECK:X: y: + b c"])


class Whole(unittest.TestCase):
    """A run from end to end, with robots that need no kernel."""

    PATCHES = [("c1", "one/1", "x: Do"), ("c2", "two/1", "x: Go")]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)
        self.built, self.results = [], {}

    def says(self, commit):
        """A build that complains about the second patch."""
        self.built.append(commit)
        return ["a.c: warning: bad"] if commit == "c2" else []

    def run_it(self, only=None, deaf=""):
        """The results of a run; the robot @deaf sees no canary."""
        variant = mock.Mock(key=lambda commit: f"v {commit}", says=self.says, canary=lambda
                            commit: [] if deaf == "build" else [
                                check.CANARY["build"], check.CANARY["sparse"]])
        variant.name = "v"
        suites = mock.Mock(canary=lambda: ["end"] if deaf == "kunit" else [])
        suites.start = lambda commit, name: kunit.Verdict(lambda: ([], "1 suites, 2 cases"))
        said = {"canary": [check.CANARY["checkpatch"], check.CANARY["codespell"]]}
        results = mock.Mock()
        results.add = lambda name, why=None, skipped=False: self.results.update({name: why})
        with ExitStack() as stack:
            for where, name, what in (
                    (check, "OUT", self.out), (check, "REASONS", self.out / "none"),
                    (check.paths, "LOGS", self.out), (check.paths, "locked",
                                                      lambda name: nullcontext()),
                    (check.series, "base", lambda: "b"), (check.series, "apply", lambda: "t"),
                    (check.series, "topics", lambda: ["one", "two"]),
                    (check, "commits", lambda: self.PATCHES),
                    (check.Check, "prepare", lambda self: None),
                    (check.common, "tree_of", lambda commit: commit * 20),
                    (check.common, "touched", lambda commit, kinds="": []),
                    (check.common, "seeded", lambda base, edits: "canary"),
                    (check.mails, "check", lambda base, only, log: (
                        {"c1": [], "c2": []}, {("one", "b4"): None}, {"mail-tree": True})),
                    (check.docs, "canary", lambda base, verdicts, log: []),
                    (check.docs, "Docs", lambda base, verdicts, log: mock.Mock(
                        says=lambda commits: {"c2": {"PCI": []}})),
                    (check.cocci, "canary", lambda verdicts, log, base: True),
                    (check.cocci, "check", lambda *args: ({"one/1": [], "two/1": []}, [], 3)),
                    (check.builds, "variants", lambda: ["v"]),
                    (check.builds, "Variant", lambda *args: variant),
                    (check.kunit, "Suites", lambda *args: suites),
                    (check.text, "key", lambda kind, commit: f"{kind} {commit}"),
                    (check.text, "maintained", lambda files: []),
                    (check.text, "checkpatch", lambda commit, log: said.get(commit, [])),
                    (check.text, "kernel_doc", lambda commit, log: [
                        check.CANARY["kernel-doc"]] if commit == "canary" else [])):
                stack.enter_context(mock.patch.object(where, name, what))
            for quiet in ("say", "note"):
                stack.enter_context(mock.patch.object(check.ui, quiet))
            check.check(results, only)
        suites.end.assert_called()
        return {name: why for name, why in self.results.items() if why}

    def test_one_bad_patch(self):
        """It is named; the other, the canaries and the topics are fine."""
        self.assertEqual(self.run_it(), {
            "check.two/1.build.v": "1 messages, first: a.c: warning: bad"})
        self.assertIn("check.one/1.kunit", self.results)
        self.assertIn("check.two/1.docs.PCI", self.results)
        self.assertIn("check.one.b4", self.results)
        self.assertIn("two/1 x: Go\n  build v: a.c: warning: bad",
                      (self.out / "report.txt").read_text(encoding="utf-8"))

    def test_second_run(self):
        """Nothing is built again, and the same is bad."""
        first = self.run_it()
        self.assertEqual(self.built, ["c1", "c2"])
        self.results = {}
        self.assertEqual(self.run_it(), first)
        self.assertEqual(self.built, ["c1", "c2"])

    def test_part(self):
        """A topic, a patch, and neither."""
        self.assertEqual(self.run_it("one"), {})
        self.assertNotIn("check.two/1.kunit", self.results)
        self.assertEqual(list(self.run_it("two/1")), ["check.two/1.build.v"])
        with self.assertRaises(check.ui.Stop):
            self.run_it("three")

    def test_deaf(self):
        """A canary that is not seen fails the run."""
        self.assertIn("check.canary.build", self.run_it(deaf="build"))
        self.assertIn("check.canary.kunit-end", self.run_it(deaf="kunit"))


if __name__ == "__main__":
    unittest.main()
