# SPDX-License-Identifier: GPL-2.0
"""BASE=: another base, apart from the usual one, and the patches that it needs."""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import otherbase, paths, series, ui  # noqa: E402

ATC = paths.BENCH / "atc.py"


def atc(*args, **env):
    """What bench/atc.py @args says with the variables @env."""
    env = dict({k: v for k, v in os.environ.items() if k not in ("BASE", "MAKEFLAGS")}, **env)
    return subprocess.run([sys.executable, ATC, *args], env=env, capture_output=True,
                          text=True, check=False)


class Variable(unittest.TestCase):
    """BASE= itself."""

    def where(self, **env):
        """The places that belong to a base, seen by a process of its own."""
        code = ("from lib import build, paths, series; print(paths.LINUX, series.LOCK, "
                "paths.OUT, paths.TREE, series.REPO, build.vmlinux())")
        env = dict({k: v for k, v in os.environ.items() if k not in ("BASE", "OUT")}, **env)
        return subprocess.run([sys.executable, "-c", code], env=env, cwd=paths.BENCH,
                              capture_output=True, text=True, check=True).stdout.split()

    def test_usual_base_is_where_it_was(self):
        """No BASE=, an empty one, and the usual one by its name."""
        usual = self.where()
        self.assertEqual(usual[:2], ["linux", "series"])
        self.assertEqual([Path(p).name for p in usual[2:4]], ["out", "linux"])
        self.assertTrue(usual[4].endswith("/atc-fence/linux/src"))
        self.assertEqual(self.where(BASE=""), usual)
        self.assertEqual(self.where(BASE=paths.pins("linux")["release"]), usual)

    def test_another_base_shares_nothing(self):
        """Neither folder nor lock nor output is the usual one's."""
        usual, other = self.where(), self.where(BASE="7.2")
        self.assertEqual([a for a, b in zip(usual, other) if a == b], [])
        self.assertTrue(other[4].endswith("/atc-fence/linux-7.2/src"))

    def test_unknown_base(self):
        """One line that names those that there are, and nothing else happens."""
        done = atc("kunit", BASE="9.9")
        self.assertEqual(done.returncode, 1)
        self.assertEqual((done.stdout + done.stderr).strip(),
                         "error: no BASE=9.9: there are 7.3, 7.2")

    def test_commands_that_know_one_base(self):
        """They refuse another, also from the environment; the usual one is no news."""
        self.assertIn("takes no BASE=", atc("check", BASE="7.2").stderr)
        self.assertEqual(atc("help", BASE="7.2").returncode, 0)
        self.assertNotIn("BASE=", atc("apply", BASE="7.3").stderr)

    def test_base_and_tree(self):
        """LINUX= is a base, too."""
        with mock.patch.dict(os.environ, LINUX="/nowhere"), \
             mock.patch.object(paths, "SUFFIX", "-7.2"), self.assertRaises(ui.Stop):
            series.base()

    def test_pins(self):
        """Each base is pinned as fully as the usual one, under its own name."""
        found = paths._pins()
        for name in [n for n in found.sections() if n.startswith("linux-")]:
            self.assertEqual(set(found[name]), set(found["linux"]))
            self.assertEqual(name, f"linux-{found[name]['release']}")


class Kept(unittest.TestCase):
    """series/for-*, as it is."""

    def test_nothing_is_stale(self):
        """What is there belongs to a base and fits the patches that series/ has now."""
        for folder in paths.SERIES.glob("for-*"):
            release = folder.name.removeprefix("for-")
            self.assertIn(f"linux-{release}", paths._pins().sections())
            self.assertTrue(list(folder.rglob("*" + series.DIFF)))
            self.assertEqual(series.misfits(release), [])


class Toy(unittest.TestCase):
    """A kernel of two files, a series of two patches, and an older kernel: then, not now."""

    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.top = Path(tmp.name)
        env = {k: v for k, v in os.environ.items() if k not in ("LINUX", "BASE")}
        for patch in (mock.patch.object(paths, "TOP", self.top),
                      mock.patch.object(paths, "CACHE", self.top / "cache"),
                      mock.patch.object(paths, "SERIES", self.top / "series"),
                      mock.patch.object(paths, "TREE", self.top / "linux-7.2"),
                      mock.patch.object(paths, "SUFFIX", "-7.2"),
                      mock.patch.object(ui, "note"), mock.patch.object(ui, "say"),
                      mock.patch.dict(os.environ, env, clear=True)):
            patch.start()
            self.addCleanup(patch.stop)
        (self.top / "cache").mkdir()
        new = self.kernel("new", 3, "now")
        self.commits(new, "now")
        (self.top / "series").mkdir()
        (self.top / "series/order").write_text("one\n", encoding="utf-8")
        series.write_files(new, "base", "HEAD", self.top / "series")
        self.old = self.kernel("old", 2, "then")
        self.names = [p.name for p in series.patches("one")]

    def kernel(self, name, patchlevel, word):
        """A repository with a kernel 7.@patchlevel, in which a line says @word."""
        repo = self.top / name
        repo.mkdir()
        (repo / "Makefile").write_text(f"VERSION = 7\nPATCHLEVEL = {patchlevel}\n",
                                       encoding="utf-8")
        (repo / "a.c").write_text("one\ntwo\nthree\n", encoding="utf-8")
        (repo / "b.c").write_text(f"one\n{word}\nthree\n", encoding="utf-8")
        series._import(repo, "a kernel")
        return repo

    def commits(self, repo, word):
        """The series on @repo: a patch that fits everywhere, and one that needs @word."""
        series.git("checkout", "-q", "-b", "series", repo=repo)
        series.git("commit", "-q", "--allow-empty", "-m", "[topic] one: A topic\n\nWhy.",
                   repo=repo, env=series.IDENTITY)
        for name, before, after in (("a.c", "two", "2"), ("b.c", word, f"not {word}")):
            text = (repo / name).read_text(encoding="utf-8")
            (repo / name).write_text(text.replace(before, after), encoding="utf-8")
            series.git("commit", "-q", "-a", "-m", f"{name}: Change it", repo=repo,
                       env=series.IDENTITY)

    def use(self, repo):
        """Make @repo the one of the cache."""
        patch = mock.patch.object(series, "REPO", repo)
        patch.start()
        self.addCleanup(patch.stop)

    def hack(self):
        """linux-7.2/ with the series as the older kernel needs it, exported."""
        tree = self.top / "linux-7.2"
        series.git("clone", "-q", str(self.old), str(tree))
        for key in ("name", "email"):
            series.git("config", f"user.{key}", "x", repo=tree)
        series.git("tag", "base", repo=tree)
        series.git("checkout", "-q", "--detach", repo=tree)
        series.git("branch", "-q", "-D", "base", repo=tree)
        self.commits(tree, "then")
        self.use(self.old)
        series.export()
        return tree

    def diff(self, change=lambda text: text):
        """The text of what is different in the second patch, after @change."""
        file = self.top / f"series/for-7.2/one/{self.names[1]}.diff"
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
        return file.read_text(encoding="utf-8")

    def explained(self):
        """As hack(), with a reason for the difference."""
        tree = self.hack()
        self.diff(lambda text: "An older word.\n\n" + text)
        return tree

    def original(self, old, new):
        """Change the series' own second patch."""
        file = self.top / "series/one" / self.names[1]
        text = file.read_text(encoding="utf-8")
        changed = re.sub(old, new, text, flags=re.M)
        self.assertNotEqual(changed, text)
        file.write_text(changed, encoding="utf-8")

    def test_export_keeps_what_is_needed(self):
        """Of the patch that fits nothing is kept, of the other one what is different."""
        self.hack()
        kept = sorted(p.name for p in (self.top / "series/for-7.2/one").iterdir())
        self.assertEqual(kept, [self.names[1] + ".diff"])
        changed = [line for line in self.diff().splitlines() if line[0] in "+-"]
        self.assertEqual(changed, ["--now", "-+not now", "+-then", "++not then"])

    def test_a_reason_is_needed(self):
        """The first export has none; the next one keeps what a person wrote."""
        self.hack()
        self.assertRegex(series.misfits("7.2")[0], "does not say why")
        with self.assertRaisesRegex(ui.Stop, "does not say why"):
            series.apply()
        self.diff(lambda text: "An older word.\n\n" + text)
        before = self.diff()
        self.assertEqual(series.misfits("7.2"), [])
        series.export()
        self.assertEqual(self.diff(), before)

    def test_other_patches_are_refused(self):
        """A tree for another base has the series' patches and covers."""
        tree = self.hack()
        series.git("commit", "-q", "--amend", "-m", "b.c: Change it all", repo=tree)
        with self.assertRaisesRegex(ui.Stop, "may be no other patches"):
            series.export()

    def test_apply(self):
        """The older kernel gets what it needs, the newer one the series as it is."""
        self.explained()
        self.assertEqual(series.git("show", f"{series.apply()}:b.c"), "one\nnot then\nthree")
        self.use(self.top / "new")
        self.assertEqual(series.git("show", f"{series.apply()}:b.c"), "one\nnot now\nthree")

    def test_apply_to_a_tree_of_the_users(self):
        """`make apply` looks at the tree's release."""
        self.explained()
        for name, word in (("mine-old", "then"), ("mine-new", "now")):
            tree = self.kernel(name, 2 if word == "then" else 3, word)
            series.apply_to(tree)
            self.assertIn(f"not {word}", (tree / "b.c").read_text(encoding="utf-8"))

    def test_differences_are_needed(self):
        """One without which the patch does the same is an error."""
        self.explained()
        self.use(self.kernel("fits", 2, "now"))
        self.diff(lambda text: "Nothing.\n\n@@ -1,1 +1,1 @@\n"
                  f" {(self.top / 'series/one' / self.names[1]).read_text().splitlines()[0]}\n")
        with self.assertRaisesRegex(ui.Stop, "is not needed"):
            series.apply()

    def test_stale(self):
        """The patch has changed where it is different: nothing goes on."""
        tree = self.explained()
        self.original(r"^\+not now", "+not now!")
        self.assertRegex(series.misfits("7.2")[0], "does not fit the patch any more")
        for command in (series.apply, lambda: series.apply_to(self.kernel("mine", 2, "then"))):
            with self.assertRaisesRegex(ui.Stop, "does not fit the patch any more"):
                command()
        self.diff(lambda text: text.replace("not now", "not now!")
                  .replace("not then", "not then!"))
        self.assertEqual(series.git("show", f"{series.apply()}:b.c"), "one\nnot then!\nthree")
        # Or from a tree, with the reason that was there.
        self.original(r"^\+not now!", "+not now?")
        (tree / "b.c").write_text("one\nnot then?\nthree\n", encoding="utf-8")
        series.git("commit", "-q", "-a", "--amend", "--no-edit", repo=tree)
        series.export()
        self.assertEqual(series.misfits("7.2"), [])
        self.assertEqual(series.git("show", f"{series.apply()}:b.c"), "one\nnot then?\nthree")

    def test_the_rest_may_change(self):
        """Line numbers, blobs, and lines elsewhere: the difference follows the patch."""
        self.explained()
        self.original("^@@ .*@@", "@@ -7,3 +8,3 @@ there")
        self.original("^index [0-9a-f]{4}", "index 0000")
        self.original("^b.c: Change it|^(Subject: .*)", r"\1\n\nFor a reason.")
        self.assertEqual(series.misfits("7.2"), [])
        head = series.apply()
        self.assertEqual(series.git("show", f"{head}:b.c"), "one\nnot then\nthree")
        self.assertIn("For a reason.", series.git("log", "-1", "--format=%B", head))

    def test_new_conflict(self):
        """A patch that fits no more, and nothing is kept for it: where to read on."""
        self.explained()
        (self.top / f"series/for-7.2/one/{self.names[1]}.diff").unlink()
        with self.assertRaisesRegex(ui.Stop, f"one/{self.names[1]} does not apply at b.c.*"
                                             "Another base"):
            series.apply()

    def test_odd_files(self):
        """Each file there belongs to a patch."""
        self.explained()
        folder = self.top / "series/for-7.2/one"
        (folder / self.names[0]).write_text("x\n", encoding="utf-8")
        self.assertRegex(series.misfits("7.2")[0], "belongs to no patch")
        (folder / self.names[0]).unlink()
        (self.top / "series/one" / self.names[1]).unlink()
        self.assertRegex(series.misfits("7.2")[0], "belongs to no patch")

    def test_usual_base_does_not_look(self):
        """What is kept for another base changes nothing for this one, nor its key."""
        key = series._key("0" * 40, "7.3")
        self.hack()
        self.assertEqual(series._key("0" * 40, "7.3"), key)
        self.assertNotEqual(series._key("0" * 40, "7.2"), key)
        self.assertEqual(series.misfits("7.3"), [])


class Difference(unittest.TestCase):
    """Patches in the plain form, and back."""

    OURS = """\
Subject: [PATCH] a: b

Why.
---
 a.c | 5 ++---
 1 file changed, 2 insertions(+), 3 deletions(-)

diff --git a/a.c b/a.c
index 0123..4567 100644
--- a/a.c
+++ b/a.c
@@ -10,3 +10,3 @@ one()
 a
-b
+B
 c
@@ -40,4 +40,3 @@ two()
 d
-e
-f
+E
 g
diff --git a/n.c b/n.c
new file mode 100644
index 0000..89ab
--- /dev/null
+++ b/n.c
@@ -0,0 +1,2 @@
+x
+y
"""

    def heads(self, text):
        """The headings of the hunks of @text."""
        return re.findall("^@@.*", text, re.M)

    def test_there_and_back(self):
        """The lengths are counted, the places those of the patch that it is like."""
        back = otherbase.numbered(otherbase.plain(self.OURS), self.OURS)
        self.assertEqual(self.heads(back), ["@@ -10,3 +10,3 @@", "@@ -40,4 +40,3 @@",
                                            "@@ -0,0 +1,2 @@"])
        self.assertEqual(otherbase.plain(back), otherbase.plain(self.OURS))

    def test_other_hunks(self):
        """One longer, one gone, one new: the others stay where they are."""
        theirs = self.OURS.replace(" a\n-b\n", " 0\n a\n-b\n").replace(
            "@@ -40", "@@ -30,1 +30,2 @@ more()\n m\n+M\n@@ -40").replace("+x\n", "+x\n+z\n")
        diff = otherbase.difference(self.OURS, theirs)
        made = otherbase.changed(self.OURS, diff)
        self.assertEqual(otherbase.plain(made), otherbase.plain(theirs))
        self.assertEqual(self.heads(made)[0], "@@ -10,4 +10,4 @@")
        self.assertEqual(self.heads(made)[2:], ["@@ -40,4 +40,3 @@", "@@ -0,0 +1,3 @@"])
        gone = re.sub(r"diff --git a/n.c.*", "", self.OURS, flags=re.S)
        diff = otherbase.difference(self.OURS, gone)
        self.assertEqual(otherbase.plain(otherbase.changed(self.OURS, diff)),
                         otherbase.plain(gone))

    def test_reason(self):
        """What stands in front is no part of it."""
        diff = "It is so.\n\n" + otherbase.difference(self.OURS, self.OURS.replace("+B", "+b"))
        self.assertEqual(otherbase.reason(diff), "It is so.\n\n")
        self.assertIn("\n+b\n", otherbase.changed(self.OURS, diff))

    def test_does_not_fit(self):
        """Other lines than those it was made for, says None."""
        diff = otherbase.difference(self.OURS, self.OURS.replace("+B", "+b"))
        self.assertIsNone(otherbase.changed(self.OURS.replace("+B", "+BB"), diff))


if __name__ == "__main__":
    unittest.main()
