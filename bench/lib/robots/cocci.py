# SPDX-License-Identifier: GPL-2.0
"""
coccicheck: the kernel's semantic patches in report mode, on the files of the series.

Each script runs once over all files, at the tip; if it says something there, at
the base, too. Whatever is new is followed to the patch that brought it.
"""

import re
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import paths, series, ui
from . import common, store

TOOLS = ["coccinelle", "ocaml"]  # some scripts are OCaml in part; it compiles them
SCRIPTS = "scripts/coccinelle"

CANARY_FILE = "drivers/pci/access.c"
CANARY_SCRIPT = f"{SCRIPTS}/free/kfree.cocci"
CANARY = "reference preceded by free"
CANARY_TEXT = """
int bench_canary_free(struct bench_canary *canary)
{
	kfree(canary);
	return canary->value;
}
"""


def normalised(text, root=""):
    """What spatch reports, as a Counter of lines without positions and numbers."""
    found = Counter()
    for line in text.splitlines():
        if line := line.strip().replace(f"{root}/", ""):
            line = re.sub(r"^(\S+?):\d+:\d+-\d+:", r"\1:", line)
            found[re.sub(r"\b\d+\b", "N", line)] += 1
    return found


def scripts(commit):
    """The scripts of the kernel @commit that can report."""
    found = series.git("grep", "-lE", r"^virtual[[:space:]]+report", commit, "--",
                       f"{SCRIPTS}/*.cocci")
    return sorted(line.partition(":")[2] for line in found.splitlines())


def options(text):
    """The options that a script asks for."""
    return [word for line in re.findall(r"^// *Options:(.*)$", text, re.M)
            for word in line.split()]


class Cocci:
    """Runs scripts over files of commits; results are kept."""

    def __init__(self, verdicts, log):
        self.verdicts, self.log = verdicts, log
        self.tools = store.digest(store.version("spatch", "--version"),
                                  paths.BENCH / "lib/robots/cocci.py")
        self.sources = {}

    def _run(self, script, folder):
        """What @script says of the files in @folder: a Counter, or why not, as a text."""
        text = series.git("show", f"HEAD:{script}", repo=common.WORK)
        done = subprocess.run(
            ["spatch", "-D", "report", "--no-show-diff", "--very-quiet", "--cocci-file",
             common.WORK / script, *options(text), "--dir", folder,
             *[word for name in ("include", "arch/arm64/include", "include/uapi")
               for word in ("-I", common.WORK / name)]],
            capture_output=True, text=True, errors="replace", env=common.tools_env(),
            check=False, stdin=subprocess.DEVNULL)
        with open(self.log, "a", encoding="utf-8") as out:
            out.write(f"\n+ {script} on {folder}: {done.returncode}\n"
                      f"{done.stdout}{done.stderr}")
        # Its own parser's warnings are about the script
        bad = [line for line in done.stderr.splitlines()
               if line.strip() and not line.startswith("warning: ")]
        if done.returncode or bad:
            return f"{script}: {(bad or [f'exit status {done.returncode}'])[0][:120]}"
        return normalised(done.stdout, str(folder))

    def _kept(self, script, commit, files):
        blobs = series.git("ls-tree", "-r", commit, "--", script, *files)
        return f"cocci {script} {store.digest(self.tools, blobs)}"

    def ask(self, wanted, commit, files):
        """{script: Counter, or the reason why not} of @files in @commit."""
        found, left = {}, []
        for script in wanted:
            known = self.verdicts.get(self._kept(script, commit, files))
            if known is None:
                left.append(script)
            else:
                found[script] = Counter(known)
        if not left:
            return found
        with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
            common.extract(commit, files, tmp)
            pool = ThreadPoolExecutor(int(paths.jobs()))
            try:
                for script, says in zip(left, pool.map(lambda one: self._run(one, tmp), left)):
                    found[script] = says
                    if not isinstance(says, str):
                        self.verdicts.put(self._kept(script, commit, files), says)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return found

    def new(self, base, tip, patches, wanted=None):
        """
        ({patch: [lines]}, [scripts that could not run], how many ran) of what @tip
        has and @base has not; @patches are (commit, name) in order.
        """
        files = [name for name in series.git("diff-tree", "-r", "--name-only", base,
                                             tip).split() if name.endswith((".c", ".h"))]
        wanted = wanted or scripts(base)
        after = self.ask(wanted, tip, files)
        broken = [says for says in after.values() if isinstance(says, str)]
        speaks = [script for script, says in after.items()
                  if says and not isinstance(says, str)]
        before = self.ask(speaks, base, files)
        found = {name: [] for _, name in patches}
        for script in speaks:
            if isinstance(before[script], str):
                broken.append(before[script])
                continue
            for line, count in (after[script] - before[script]).items():
                name = self._culprit(script, line, before[script][line] + count, patches)
                found[name or patches[-1][1]].append(
                    f"{line} ({Path(script).stem}" + (")" if name else ", by some patch)"))
        return found, broken, len(wanted) - len(broken)

    def _culprit(self, script, line, count, patches):
        """The patch after which @script first says @line @count times, if one does."""
        file = line.partition(":")[0]
        for commit, name in patches:
            if file in common.touched(commit):
                says = self.ask([script], commit, [file])[script]
                if not isinstance(says, str) and says[line] >= count:
                    return name
        return None


def canary(verdicts, log, base):
    """Is the seeded defect seen, and the right patch named?"""
    commit = common.seeded(base, {CANARY_FILE: lambda text: text + CANARY_TEXT})
    found, _, _ = Cocci(verdicts, log).new(
        base, commit, [(base, "innocent"), (commit, "canary")], [CANARY_SCRIPT])
    return any(CANARY in line for line in found["canary"])


def check(base, tip, patches, verdicts, log):
    """As Cocci.new(), on the whole series."""
    ui.note(f"check: coccicheck, {len(scripts(base))} scripts on the files of the series")
    return Cocci(verdicts, log).new(base, tip, patches)
