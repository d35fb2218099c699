# SPDX-License-Identifier: GPL-2.0
"""
`make mbox TOPIC=name SIGNOFF="Name <mail>"`: what `git send-email` and b4 take.

The patches in series/ have no Signed-off-by, since only a person can certify
the origin of what is sent. The person who sends them becomes the author here,
and the sign-off is theirs.
"""

import email.utils
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import paths, series, ui

TRAILER = re.compile(r"(Fixes|Link|Closes|Cc|[A-Z][a-z-]+-by): \S")


def sender(signoff):
    """("Name", "mail") of SIGNOFF=."""
    name, mail = email.utils.parseaddr(signoff)
    if not name or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", mail):
        raise ui.Stop(f'SIGNOFF={signoff}: give "Name <mail@domain>"')
    return name, mail


def signed(message, signoff):
    """@message with the sender's sign-off as its last trailer."""
    message = message.rstrip("\n")
    last = message.rsplit("\n\n", 1)[-1].splitlines()
    gap = "\n" if all(TRAILER.match(line) for line in last) else "\n\n"
    return f"{message}{gap}Signed-off-by: {signoff}\n"


def _rewrite(commit, parent, message, who):
    """@commit again, by @who and with @message, on top of @parent."""
    name, mail = who
    env = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
           for key, value in (("NAME", name), ("EMAIL", mail))}
    return series.git("commit-tree", f"{commit}^{{tree}}", "-p", parent, "-F", "-",
                      env=env, data=message.encode())


def recipients(tree, patch):
    """(to, cc) for @patch, as the kernel's get_maintainer.pl says."""
    def ask(*flags):
        done = subprocess.run(
            ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback",
             "--norolestats", *flags, str(patch)], cwd=tree, text=True,
            capture_output=True, check=False)
        if done.returncode:
            raise ui.Stop(f"get_maintainer.pl: {done.stderr.strip()[-200:]}")
        return [line for line in done.stdout.splitlines() if "@" in line]

    return ask("--nol", "--nor"), ask("--nom", "--nor") + ask("--nol", "--nom")


def _unique(lists):
    return list(dict.fromkeys(x for one in lists for x in one))


def _headers(path, to, cc):
    """Put To: and Cc: into the header of the mail @path."""
    text = path.read_text(encoding="utf-8")
    head, gap, body = text.partition("\n\n")
    for key, who in (("To", to), ("Cc", [x for x in cc if x not in to])):
        if who:
            head += f"\n{key}: " + ",\n ".join(who)
    path.write_text(head + gap + body, encoding="utf-8")


def mbox(topic, signoff):
    """Write the mails of @topic to out/mbox/<topic>/."""
    who = sender(signoff)
    found = series.by_topic()
    if topic not in found:
        raise ui.Stop(f"no topic {topic}: there are {', '.join(found)}")
    outdir = paths.OUT / "mbox" / topic
    shutil.rmtree(outdir, ignore_errors=True)
    outdir.mkdir(parents=True)
    subject, text, members = found[topic]
    start = parent = f"{members[0]}^"
    for commit in members:
        message = series.git("log", "-1", "--format=%B", commit)
        parent = _rewrite(commit, series.git("rev-parse", parent),
                          signed(message, signoff), who)
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        tree = Path(tmp) / "tree"
        series.git("worktree", "add", "-q", "--no-checkout", "--detach", str(tree),
                   parent)
        try:
            series.git("sparse-checkout", "set", "--no-cone", "--stdin", repo=tree,
                       data=b"/scripts/get_maintainer.pl\n/MAINTAINERS\n/CREDITS\n"
                            b"/.get_maintainer*\n/Makefile\n/README\n/COPYING\n"
                            b"/Kbuild\n/drivers/iommu/\n/drivers/pci/\n"
                            b"/Documentation/PCI/\n/include/linux/*.h\n/lib/Kconfig\n"
                            b"/arch/Kconfig\n/fs/Kconfig\n/init/Kconfig\n"
                            b"/ipc/Makefile\n/kernel/Makefile\n")
            series.git("checkout", "-q", repo=tree)
            _write(tree, outdir, (start, parent), (subject, text), who)
        finally:
            series.git("worktree", "remove", "--force", str(tree), check=False)
    mails = sorted(outdir.glob("*.patch"))
    ui.say(f"{len(mails)} mails in {ui.shown(outdir)}, from {who[0]} <{who[1]}>\n"
           f"next: git send-email --dry-run {ui.shown(outdir)}/*.patch")
    return 0


def _write(tree, outdir, span, cover, who):
    start, end = span
    subject, text = cover
    base = series.base()
    args = list(series.FORMAT)
    for flag in ("--zero-commit", "--no-cover-letter", "--no-thread", "-N"):
        args.remove(flag)
    env = {"GIT_COMMITTER_NAME": who[0], "GIT_COMMITTER_EMAIL": who[1],
           "GIT_AUTHOR_NAME": who[0], "GIT_AUTHOR_EMAIL": who[1]}
    series.git(*args, "--cover-letter", "--thread=shallow", "-n", f"--base={base}",
               "-o", str(outdir), f"{start}..{end}", env=env)
    mails = sorted(outdir.glob("*.patch"))
    first = mails[0].read_text(encoding="utf-8")
    if "*** SUBJECT HERE ***" not in first or "*** BLURB HERE ***" not in first:
        raise ui.Stop("git format-patch wrote no cover letter to fill in")
    # The marks of topics are empty commits of ours, and so is the pinned base.
    first = re.sub(r"^prerequisite-patch-id: 0+\n", "", first, flags=re.M)
    if not os.environ.get("LINUX"):
        pin = paths.pins("linux")
        first = re.sub(r"^base-commit: \w+\n", f"base: {pin['package']} "
                       f"{pin['version']} of Debian\n", first, flags=re.M)
    mails[0].write_text(first.replace("*** SUBJECT HERE ***", subject)
                        .replace("*** BLURB HERE ***", text), encoding="utf-8")
    people = [recipients(tree, mail) for mail in mails[1:]]
    for mail, (to, cc) in zip(mails[1:], people):
        _headers(mail, to, cc)
    _headers(mails[0], _unique(to for to, _ in people), _unique(cc for _, cc in people))


def dry_run(outdir, signoff):
    """Would `git send-email`, run by the sender, take the mails? None, or why not."""
    name, mail = sender(signoff)
    done = subprocess.run(
        ["git", "-c", f"user.name={name}", "-c", f"user.email={mail}",
         "send-email", "--dry-run", "--quiet", "--confirm=never",
         "--suppress-cc=all", "--smtp-server=/bin/true",
         *map(str, sorted(outdir.glob("*.patch")))], cwd=outdir,
        env=dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null"), capture_output=True,
        text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["it refused"])[-1][-200:]
