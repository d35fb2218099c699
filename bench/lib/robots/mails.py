# SPDX-License-Identifier: GPL-2.0
"""
What is sent is what was tested: the mails of each topic, applied by `git am` to a
fresh clone of the base, give the tested tree after each patch. b4 reads them, too.
"""

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .. import archive, mbox, paths, series, ui
from . import common

TOOLS = ["git-email", "libmailtools-perl"]
SENDER = "A Tester <tester@example.org>"
# What has to be said of a damaged mail
EXPECT = {"tree": "the mail gives tree", "fuzz": "git am: "}


@contextmanager
def clone(base):
    """A fresh clone of the base, with the files that the series touches."""
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        repo = Path(tmp) / "clone"
        repo.mkdir()
        series.git("init", "-q", repo=repo)
        (repo / ".git/objects/info/alternates").write_text(
            f"{series.REPO / '.git/objects'}\n", encoding="utf-8")
        touched = series.git("diff", "--no-renames", "--name-only", base, series.apply())
        series.git("sparse-checkout", "set", "--no-cone", "--stdin", repo=repo,
                   data="".join(f"/{name}\n" for name in
                                ["Makefile", *touched.split()]).encode())
        series.git("checkout", "-q", "--detach", base, repo=repo)
        yield repo


def apply(repo, mail):
    """
    `git am` of a mail or an mbox to @repo: (trees after each patch, why it stopped).
    """
    start = series.git("rev-parse", "HEAD", repo=repo)
    name, address = mbox.sender(SENDER)
    done = subprocess.run(
        ["git", "-c", "gc.auto=0", "-c", f"user.name={name}", "-c", f"user.email={address}",
         "-C", str(repo), "am", "-q", "--no-3way", str(mail)],
        env=dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1"),
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        series.git("am", "--abort", repo=repo, check=False)
        return [], (done.stderr.strip().splitlines() or ["git am failed"])[0][:150]
    return series.git("log", "--reverse", "--format=%T", f"{start}..HEAD",
                      repo=repo).split(), None


def differs(repo, mail, commit):
    """What is wrong with a mail that should make the tree of @commit, as lines."""
    trees, why = apply(repo, mail)
    if why:
        return [f"git am: {why}"]
    if trees != [common.tree_of(commit)]:
        return [f"the mail gives tree {' '.join(trees)[:12]}, tested was "
                f"{common.tree_of(commit)[:12]}"]
    message = series.git("log", "-1", "--format=%B", repo=repo)
    wanted = mbox.signed(series.git("log", "-1", "--format=%B", commit), SENDER).strip()
    return [] if message == wanted else ["the mail gives another message"]


def b4_am(topic, folder, members, repo, log):
    """
    What is wrong with the mails of @topic, read by b4 as one mailbox and applied
    to @repo, where the topic begins; one line or None.
    """
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        tmp = Path(tmp)
        # Out of order, as mails come; and not as a file: b4 0.12 stumbles over long
        # subjects in those.
        mails = sorted(folder.glob("*.patch"), reverse=True)
        (tmp / "out").mkdir()
        (tmp / "config").write_text("[b4]\n\tattestation-policy = off\n"
                                    "[user]\n\tname = A Tester\n"
                                    "\temail = tester@example.org\n", encoding="utf-8")
        env = dict(common.tools_env(), HOME=str(tmp), XDG_CACHE_HOME=str(tmp / "cache"),
                   XDG_DATA_HOME=str(tmp / "data"), XDG_CONFIG_HOME=str(tmp / "etc"),
                   GIT_CONFIG_GLOBAL=str(tmp / "config"))
        code, text = common.shell(["b4", "--offline-mode", "am", "-C", "-m", "-", "-o",
                                   tmp / "out", "-n", topic], log, env, repo,
                                  b"\n".join(mail.read_bytes() for mail in mails))
        found = sorted((tmp / "out").glob("*.mbx"))
        if code or len(found) != 1:
            return f"b4 am: {(text.strip().splitlines() or ['no mailbox'])[-1][:150]}"
        trees, why = apply(repo, found[0])
    if why:
        return f"git am of what b4 makes: {why}"
    if trees != [common.tree_of(commit) for commit in members]:
        return "what b4 makes gives other trees"
    return None


def damaged(mail, folder):
    """Two copies of @mail: one changes another line, one no longer fits."""
    lines = mail.read_text(encoding="utf-8").split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith("@@ "))
    made = []
    for what, mark in (("tree", "+"), ("fuzz", " ")):
        at = next(n for n in range(start + 1, len(lines))
                  if lines[n].startswith(mark) and lines[n].strip(" +\t{}"))
        copy = folder / f"{what}.patch"
        copy.write_text("\n".join(lines[:at] + [lines[at] + "/* canary */"] + lines[at + 1:]),
                        encoding="utf-8")
        made.append((what, copy))
    return made


def b4_there():
    """Has this machine b4, or its archive? It is installed then."""
    if shutil.which("b4", path=common.tools_env()["PATH"]):
        return True
    done = subprocess.run(["apt-cache", "show", "b4"], capture_output=True, text=True,
                          check=False)
    if "Package: b4" not in done.stdout:
        return False
    archive.packages(["b4"])
    return True


def canaries(repo, folder, members, b4, log):
    """{kind: was it seen} of damaged mails of @members, the first topic's patches."""
    seen = {}
    mails = sorted(folder.glob("[0-9]*.patch"))
    start = series.git("rev-parse", "HEAD", repo=repo)
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        for what, copy in damaged(mails[1], Path(tmp)):
            says = differs(repo, copy, members[0])
            seen[f"mail-{what}"] = any(EXPECT[what] in line for line in says)
            series.git("checkout", "-q", "-f", "--detach", start, repo=repo)
        less = Path(tmp) / "less"
        less.mkdir()
        (less / "1.patch").write_text(re.sub(
            r"^Subject: .*(\n .*)*", "Subject: *** SUBJECT HERE ***",
            mails[1].read_text(encoding="utf-8"), count=1, flags=re.M), encoding="utf-8")
        seen["send-email"] = mbox.dry_run(less, SENDER) is not None
        if b4:
            for mail in [*mails[:1], *mails[2:]]:
                shutil.copy2(mail, less / mail.name)
            (less / "1.patch").unlink()
            seen["b4"] = b4_am("canary", less, members, repo, log) is not None
            series.git("checkout", "-q", "-f", "--detach", start, repo=repo)
    return seen


def check(base, only, log):
    """
    ({commit: what is wrong with its mail}, {(topic, robot): why not}, canaries).
    """
    ui.note("check: the mails of each topic, on a fresh clone of the base")
    found, wrong, topics, seen = series.by_topic(), {}, {}, {}
    b4 = b4_there()
    if not b4:
        ui.note("check: no b4 in this machine's archive: mails are not read by it")
    with clone(base) as repo:
        for topic, (_, _, members) in found.items():
            if only in (None, topic):
                folder = paths.OUT / "mbox" / topic
                mbox.mbox(topic, SENDER)
                start = series.git("rev-parse", "HEAD", repo=repo)
                mails = sorted(folder.glob("[0-9]*.patch"))[1:]
                if not seen:
                    seen = canaries(repo, folder, members, b4, log)
                topics[(topic, "mails")] = None if len(mails) == len(members) else \
                    f"{len(mails)} mails for {len(members)} patches"
                for mail, commit in zip(mails, members):
                    wrong[commit] = differs(repo, mail, commit)
                    if wrong[commit]:
                        # The next mail is judged by itself.
                        series.git("checkout", "-q", "-f", "--detach", commit, repo=repo)
                topics[(topic, "send-email")] = mbox.dry_run(folder, SENDER)
                series.git("checkout", "-q", "-f", "--detach", start, repo=repo)
                if b4:
                    topics[(topic, "b4")] = b4_am(topic, folder, members, repo, log)
            series.git("checkout", "-q", "-f", "--detach", members[-1], repo=repo)
    return wrong, topics, seen
