# SPDX-License-Identifier: GPL-2.0
"""The mutator, and what is kept of the verdicts on its mutants."""

import io
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import jobs, mutants, mutate, splat  # noqa: E402

CODE = """\
int f(int a)
{
	if (a < 3)
		return -EINVAL;
	g(a);
	h(a);
	return 0;
}
"""
LOG = """\
[    1.000000] KTAP version 1
[    1.000000] 1..1
[    1.000000]     KTAP version 1
[    1.000000]     # Subtest: suite
[    1.000000]     1..1
[    1.000000]     {} 1 case
[    1.000000] {} 1 suite
"""


def of(text, lines):
    """The mutants of @lines of @text, as {kind: text with the mutant}."""
    return [(m.kind, text[:m.start] + m.new + text[m.end:])
            for m in mutate.mutants("f.c", text, set(lines))]


class Mutator(unittest.TestCase):
    """mutate.mutants()"""

    def test_each_kind(self):
        kinds = {kind for kind, _ in of(CODE, range(1, 9))}
        self.assertEqual(kinds, {"negate", "bound", "return", "drop", "order"})

    def test_only_the_lines_asked_for(self):
        self.assertEqual({kind for kind, _ in of(CODE, [4])}, {"return"})
        self.assertEqual(of(CODE, [1]), [])

    def test_all_differ(self):
        texts = [text for _, text in of(CODE, range(1, 9))]
        self.assertEqual(len(set(texts)), len(texts))
        self.assertNotIn(CODE, texts)

    def test_unmutated_when_no_number_is_given(self):
        numbered = list(enumerate(mutate.mutants("f.c", CODE, set(range(1, 9))), 1))
        new, left = mutate.apply(CODE, numbered)
        self.assertNotEqual(new, CODE)
        chosen = {n for n, _ in numbered} - {n for n, _ in left}
        for number in chosen:
            self.assertIn(f"bench_mutant({number})", new)
        self.assertEqual(new.count("\n"), CODE.count("\n"))


class Keys(unittest.TestCase):
    """mutants.every_mutant()"""

    @staticmethod
    def codes(text):
        """{key: hash}"""
        lines = set(range(1, text.count("\n") + 1))
        return {key: code for _, key, code in
                mutants.every_mutant({"f.c": (text, lines)}).values()}

    def test_two_functions(self):
        one, two = self.codes(CODE), self.codes(CODE + "\n" + CODE.replace("f(int", "e(int"))
        self.assertEqual(len(two), 2 * len(one))
        self.assertTrue(all(two[key] == code for key, code in one.items()))
        self.assertIn("f.c: e: drop: g(a);", two)

    def test_twice_the_same_line(self):
        self.assertIn("f.c: f: drop: g(a); #2", self.codes(CODE.replace("h(a)", "g(a)")))

    def test_only_its_function_counts(self):
        old = self.codes("\n" + CODE + "\n" + CODE.replace("f(int", "e(int"))
        new = self.codes("\n" + CODE + "\n" + CODE.replace("f(int", "e(int").replace("0", "1"))
        for key, code in old.items():
            if key in new:
                self.assertEqual(new[key] == code, key.startswith("f.c: f:"), key)


class Patience(unittest.TestCase):
    """mutants.Patience, with a clock of its own"""

    def setUp(self):
        patch = mock.patch.object(mutants.time, "monotonic", lambda: self.now)
        patch.start()
        self.addCleanup(patch.stop)
        self.now = 1000

    def _run(self, patience, *steps):
        """What lost() says at last, with (seconds, bytes) after one another."""
        why = None
        for seconds, size in steps:
            self.now += seconds
            why = patience.lost(size)
        return why

    def test_lost(self):
        """Silence and a run without an end are both seen, and nothing else."""
        self.assertIsNone(self._run(mutants.Patience(100, 10), *[(9, i + 1) for i in range(11)]))
        self.assertIn("says nothing", self._run(mutants.Patience(100, 10), (9, 1), (11, 1)))
        self.assertIn("no end", self._run(mutants.Patience(100, 10),
                                          *[(9, i + 1) for i in range(12)]))

    def test_times(self):
        """A multiple of what a run alone took, with a least silence; and from the start."""
        alone = mutants.Patience(900, 900)
        self._run(alone, (5, 1), (30, 2), (5, 3))
        more = alone.times(10)
        self.assertEqual((more.whole_s, more.silent_s), (400, 300))
        quick = mutants.Patience(900, 900)
        self._run(quick, (1, 1), (1, 2))
        self.assertEqual(quick.times(10).silent_s, mutants.LEAST_SILENT_S)
        self.now += 500
        self.assertIsNone(more.again().lost(0))


class Judge(unittest.TestCase):
    """mutants.judge()"""

    def judge(self, ok):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            log.write_text(LOG.format(ok, ok), encoding="utf-8")
            return mutants.judge(log, [splat.Allow("never said", "a test")])

    def test_good(self):
        self.assertIsNone(self.judge("ok"))

    def test_bad_case(self):
        self.assertIn("case", self.judge("not ok"))

    def test_empty(self):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            log.write_text("", encoding="utf-8")
            self.assertIsNotNone(mutants.judge(log, []))


class Verdicts(unittest.TestCase):
    """mutants.Verdicts"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patch = mock.patch.object(mutants.paths, "OUT", Path(folder.name))
        patch.start()
        self.addCleanup(patch.stop)
        verdicts = self.verdicts()
        verdicts.add("a.c: dead", "not ok 1")
        verdicts.add("a.c: alive", None)
        verdicts.add_broken(["a.c: broken"])

    @staticmethod
    def verdicts(code="code", tree="tree"):
        return mutants.Verdicts({f"a.c: {which}": code for which in (
            "dead", "alive", "broken")}, tree)

    def test_same_tree(self):
        again = self.verdicts()
        self.assertEqual(again.killed("a.c: dead"), "not ok 1")
        self.assertTrue(again.survived("a.c: alive"))
        self.assertFalse(again.compiles("a.c: broken"))
        self.assertTrue(again.compiles("a.c: alive"))

    def test_other_tests(self):
        again = self.verdicts(tree="tree with more tests")
        self.assertEqual(again.killed("a.c: dead"), "not ok 1")
        self.assertFalse(again.survived("a.c: alive"))
        self.assertFalse(again.compiles("a.c: broken"))

    def test_met(self):
        self.verdicts().add("a.c: alive", None, ["scenarios"])
        again = self.verdicts()
        self.assertTrue(again.met("a.c: alive", "scenarios"))
        self.assertFalse(again.met("a.c: alive", "sanitizers"))
        self.assertFalse(again.met("a.c: dead", "scenarios"))

    def test_take_over(self):
        """Verdicts of a run elsewhere; nothing is lost by it, and nonsense is refused."""
        store = mutants.Verdicts.store()
        file = store.with_name("elsewhere.json")
        store.rename(file)
        self.assertIsNone(self.verdicts().killed("a.c: dead"))
        mutants.take_over(file)
        self.assertEqual(self.verdicts().killed("a.c: dead"), "not ok 1")
        self.verdicts().add("a.c: dead", "not ok 2")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            mutants.take_over(file)
        self.assertEqual(self.verdicts().killed("a.c: dead"), "not ok 2")
        for text in "", "[]", "{", '{"a": 1}', '{"a": {}}':
            file.write_text(text, encoding="utf-8")
            with self.assertRaises(mutants.ui.Stop):
                mutants.take_over(file)

    def test_other_code(self):
        again = self.verdicts(code="other code")
        self.assertIsNone(again.killed("a.c: dead"))
        self.assertFalse(again.survived("a.c: alive"))
        self.assertTrue(again.compiles("a.c: broken"))


class Reasons(unittest.TestCase):
    """Why a mutant may live"""

    def setUp(self):
        self.results = jobs.Results()

    def bad(self, why):
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            mutants._reason(self.results, "key", why)
        return any(self.results.all.values())

    def test_equivalent(self):
        self.assertFalse(self.bad("it costs nothing but time"))

    def test_litmus(self):
        self.assertFalse(self.bad("litmus: guest-ats-no-mb"))

    def test_litmus_that_is_not_there(self):
        self.assertTrue(self.bad("litmus: nowhere"))

    def test_litmus_that_never_happens(self):
        self.assertTrue(self.bad("litmus: guest-ats"))


if __name__ == "__main__":
    unittest.main()
