# SPDX-License-Identifier: GPL-2.0
"""
The kernel series as files, as commits, and back.

series/<topic>/ holds one file per patch and the cover letter. In git each
topic starts with an empty commit, "[topic] name: subject", whose body is the
cover letter; so a rebase carries topics and covers along, and `export` needs
nothing but the history to write every file again, byte for byte.
"""

import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import archive, paths, ui

REPO = paths.CACHE / "linux/src"
WHO = {"NAME": "atc-fence", "EMAIL": "atc-fence@example.invalid",
       "DATE": "2026-01-01T00:00:00Z"}
IDENTITY = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
            for key, value in WHO.items()}
MARK = re.compile(r"\[topic\] ([a-z0-9-]+): (.*)")
COVER = "0000-cover-letter.txt"
LIMIT = 15


def git(*args, repo=None, env=None, check=True, data=None):
    """Run git, answer its standard output."""
    done = subprocess.run(["git", "-c", "gc.auto=0", "-C", str(repo or REPO), *args],
                          env=dict(os.environ, **(env or {})), check=False,
                          capture_output=True, input=data)
    if check and done.returncode:
        raise ui.Stop(f"git {' '.join(args[:3])}: "
                      + done.stderr.decode(errors="replace").strip()[-300:])
    return done.stdout.decode(errors="replace").strip()


def _import(tree, message):
    """Commit everything below @tree, with an identity that never changes."""
    git("init", "-q", "-b", "base", repo=tree)
    git("config", "gc.auto", "0", repo=tree)
    for key in ("name", "email"):
        git("config", f"user.{key}", WHO[key.upper()], repo=tree)
    git("add", "-f", "-A", repo=tree)
    git("commit", "-q", "-m", message, repo=tree, env=IDENTITY)


def base():
    """The base commit: LINUX= if given, else Debian's pinned source."""
    own = os.environ.get("LINUX")
    if own and not is_kernel(Path(own)):
        raise ui.Stop(f"LINUX={own}: " + ("no kernel source tree (its Makefile names no "
                                          "VERSION)" if Path(own).is_dir()
                                          else "no such directory"))
    if own or not _have_repo():
        with paths.locked("linux"):
            _pinned_repo()
            if own:
                return _own_base(Path(own).resolve())
    return git("rev-parse", "refs/heads/base")


def _have_repo():
    return (REPO / ".git/refs/heads/base").exists()


def _pinned_repo():
    if _have_repo():
        return
    pin = paths.pins("linux")
    paths.check_space()
    tarball, pinned = archive.linux_tarball()
    tmp = REPO.with_name("src.part")
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.rmtree(REPO, ignore_errors=True)
    tmp.mkdir(parents=True)
    log = paths.LOGS / "linux-source.log"
    ui.run("unpack the kernel", ["tar", "xf", tarball, "-C", tmp, "--no-same-owner",
                                 "--strip-components=1"], log)
    ui.note("commit the kernel as the base of the series")
    _import(tmp, f"{pin['package']} {pin['version'] if pinned else '(unpinned)'}, "
                 "as packaged in Debian")
    tree = git("rev-parse", "HEAD^{tree}", repo=tmp)
    if pinned and tree != pin["tree"]:
        raise ui.Stop(f"the kernel's source tree is {tree}, bench/pins.ini says "
                      f"{pin['tree']}: a full disk or a changed tarball?")
    tmp.rename(REPO)


def is_kernel(folder):
    """VERSION.PATCHLEVEL of a kernel tree, or None."""
    try:
        text = (folder / "Makefile").read_text(encoding="utf-8")
    except OSError:
        return None
    found = [re.search(rf"^{key} = (\d+)$", text, re.M)
             for key in ("VERSION", "PATCHLEVEL")]
    return ".".join(m[1] for m in found) if all(found) else None


def _own_base(folder):
    """The commit that stands for the user's tree; the tree is only read."""
    release = is_kernel(folder)
    if git("rev-parse", "--is-inside-work-tree", repo=folder, check=False) == "true":
        if git("status", "--porcelain", "-uno", repo=folder):
            raise ui.Stop(f"LINUX={folder}: uncommitted changes; commit or stash them")
        commit = git("rev-parse", "HEAD", repo=folder)
        git("fetch", "-q", str(folder), "HEAD")
        tree = git("rev-parse", f"{commit}^{{tree}}")
    else:
        with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
            env = {"GIT_INDEX_FILE": f"{tmp}/index", "GIT_WORK_TREE": str(folder)}
            ui.note(f"reading {folder}")
            git("add", "-f", "-A", ".", repo=folder,
                env=dict(env, GIT_DIR=str(REPO / ".git")))
            tree = git("write-tree", env={"GIT_INDEX_FILE": f"{tmp}/index"})
    commit = git("commit-tree", tree, "-m", f"linux {release}, a tree of the user's",
                 env=IDENTITY)
    git("update-ref", "refs/bench/own", commit)
    ui.note(f"base: linux {release} from {folder} (tree {tree[:12]})")
    return commit


def topics():
    """Topics in order, as series/order names them."""
    lines = (paths.SERIES / "order").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and line[0] != "#"]


def patches(topic):
    """The patch files of @topic in order, without its cover letter."""
    return sorted((paths.SERIES / topic).glob("[0-9]*.patch"))


def _key(commit):
    digest = hashlib.sha256(commit.encode())
    for topic in topics():
        digest.update(topic.encode())
        for file in [paths.SERIES / topic / COVER, *patches(topic)]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:40]


def _touched():
    """Every path that a patch of the series touches."""
    found = set()
    for topic in topics():
        for patch in patches(topic):
            for line in patch.read_text(encoding="utf-8").splitlines():
                if match := re.match(r"diff --git a/(\S+) b/(\S+)$", line):
                    found.update(match.groups())
    return sorted(found)


def _mark(topic, repo):
    text = (paths.SERIES / topic / COVER).read_text(encoding="utf-8")
    subject, _, body = text.partition("\n")
    git("commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-", repo=repo,
        env=IDENTITY, data=f"[topic] {topic}: {subject}\n{body}".encode())


def apply():
    """
    The commit of base + series. The patches are applied by `git am`, without
    fuzz, in a sparse work tree that holds just the files they touch.
    """
    commit = base()
    ref = f"refs/bench/series-{_key(commit)}"
    done = git("rev-parse", "-q", "--verify", ref, check=False)
    if done:
        return done
    with paths.locked("series"), tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        work = Path(tmp) / "work"
        git("worktree", "add", "-q", "--no-checkout", "--detach", str(work), commit)
        try:
            git("sparse-checkout", "set", "--no-cone", "--stdin", repo=work,
                data="".join(f"/{p}\n" for p in ["Makefile", *_touched()]).encode())
            git("checkout", "-q", repo=work)
            count = _am_all(work)
            head = git("rev-parse", "HEAD", repo=work)
        finally:
            git("worktree", "remove", "--force", str(work), check=False)
    git("update-ref", ref, head)
    ui.note(f"series: {count} patches in {len(topics())} topics applied without fuzz "
            f"(tree {git('rev-parse', head + '^{tree}')[:12]})")
    return head


def _am_all(repo, marks=True):
    """Apply the series to the work tree @repo; the number of patches."""
    count = 0
    for topic in topics():
        files = patches(topic)
        if not 0 < len(files) <= LIMIT:
            raise ui.Stop(f"series/{topic} has {len(files)} patches, a topic has 1 "
                          f"to {LIMIT}")
        if marks:
            _mark(topic, repo)
        for patch in files:
            done = subprocess.run(
                ["git", "-c", "gc.auto=0", "-C", str(repo), "am", "-q",
                 "--committer-date-is-author-date", str(patch)],
                env=dict(os.environ, **{k: v for k, v in IDENTITY.items()
                                        if k.startswith("GIT_COMMITTER")}),
                capture_output=True, text=True, check=False)
            if done.returncode:
                git("am", "--abort", repo=repo, check=False)
                failed = re.findall(r"error: (?:patch failed: )?(\S+?):", done.stderr)
                what = f" at {failed[0]}" if failed else ""
                raise ui.Stop(f"{patch.relative_to(paths.TOP)} does not apply{what}: "
                              "the base is not the one it was made for: `make tree`, "
                              "then in linux/ `git fetch DIR HEAD` and `git rebase "
                              "--keep-empty --onto FETCH_HEAD base`")
            count += 1
    return count


def worktree():
    """`make tree`: linux/, one commit per patch, to hack in."""
    if paths.TREE.exists():
        raise ui.Stop("linux/ exists already: hack there and `make export`, or move it "
                      "away first")
    head = apply()
    commit = base()
    part = paths.TREE.with_name("linux.part")
    shutil.rmtree(part, ignore_errors=True)
    ui.note("cloning the base and the series into linux/")
    git("clone", "-q", "--no-checkout", str(REPO), str(part))
    git("fetch", "-q", str(REPO), f"{head}:refs/heads/series",
        f"+{commit}:refs/tags/base", repo=part)
    git("remote", "remove", "origin", repo=part)
    git("checkout", "-q", "series", repo=part)
    # Only the tag stays; the branch is there if the cache had it checked out.
    git("branch", "-q", "-D", "base", repo=part, check=False)
    for key in ("name", "email"):
        git("config", f"user.{key}", WHO[key.upper()], repo=part)
    part.rename(paths.TREE)
    ui.say("linux/ is ready: branch `series`, one commit per patch, tag `base`.\n"
           "Each topic starts with an empty commit that is its cover letter. Reshape "
           "with\n`git rebase -i --keep-empty base`, then `make export`.")


def subject():
    """
    (commit, text): what "the patched kernel" means now. The hack tree linux/
    with all its changes if it differs from the files in series/; else series/.
    """
    head = apply()
    if not (paths.TREE / ".git").exists():
        return head, "series/"
    tree = _snapshot(paths.TREE)
    if tree == git("rev-parse", f"{head}^{{tree}}"):
        return head, "series/"
    commit = git("commit-tree", tree, "-p", base(), "-m", "the work tree linux/",
                 env=IDENTITY)
    git("update-ref", "refs/bench/work", commit)
    files = git("diff-tree", "-r", "--name-only", head, commit).split()
    names = ", ".join(Path(name).name for name in files[:3])
    return commit, (f"the work tree linux/ (tree {tree[:12]}), which differs from "
                    f"series/ in {names}" + (f" and {len(files) - 3} more"
                                             if files[3:] else ""))


def _snapshot(folder):
    """Tree hash of a work tree with its uncommitted changes, in our objects."""
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        env = {"GIT_INDEX_FILE": f"{tmp}/index"}
        index = git("rev-parse", "--git-path", "index", repo=folder)
        shutil.copy2(folder / index, f"{tmp}/index")
        git("add", "-A", repo=folder, env=env)
        tree = git("write-tree", repo=folder, env=env)
        # A parent that both sides have keeps the fetch small.
        commit = git("commit-tree", tree, "-p", "refs/tags/base", "-m", "snapshot",
                     repo=folder, env=IDENTITY)
    git("fetch", "-q", str(folder), commit)
    return tree


FORMAT = ["-c", "diff.algorithm=myers", "-c", "diff.context=3", "-c",
          "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c",
          "diff.renames=true", "-c", "format.signOff=false",
          "-c", "core.quotePath=true", "-c", "format.useAutoBase=false",
          "format-patch", "--no-signature", "--zero-commit", "--full-index", "-N",
          "--no-attach", "--no-thread", "--no-cover-letter", "--stat=80", "-M",
          "--src-prefix=a/", "--dst-prefix=b/", "--no-to", "--no-cc"]


def write_files(repo, start, end, where):
    """Write the series start..end of @repo below @where; the topics' names."""
    names, number = [], 0
    for commit in git("rev-list", "--reverse", f"{start}..{end}", repo=repo).split():
        body = git("log", "-1", "--format=%B", commit, repo=repo)
        first, _, rest = body.partition("\n")
        if re.match(r"(fixup|squash|amend)! ", first):
            raise ui.Stop(f"linux/ has a commit '{first[:40]}': `git rebase -i "
                          "--autosquash --keep-empty base` there first")
        if git("diff-tree", "--no-commit-id", "--name-only", "-r", commit,
               repo=repo) == "":
            match = MARK.match(first)
            if not match:
                raise ui.Stop(f"empty commit {commit[:12]} is no topic: its subject "
                              "is not `[topic] name: subject`")
            names.append(match[1])
            number = 0
            (where / match[1]).mkdir(parents=True)
            (where / match[1] / COVER).write_text(match[2] + "\n" + rest + "\n",
                                                  encoding="utf-8")
            continue
        if not names:
            raise ui.Stop(f"commit {commit[:12]} comes before the first topic")
        number += 1
        git(*FORMAT, "--start-number", str(number), "-o", str(where / names[-1]),
            "-1", commit, repo=repo)
    return names


def by_topic():
    """{topic: (cover's subject, its body, [commits])} of base + series, in order."""
    found, topic = {}, None
    for commit in git("rev-list", "--reverse", f"{base()}..{apply()}").split():
        first, _, rest = git("log", "-1", "--format=%B", commit).partition("\n")
        if match := MARK.match(first):
            topic = match[1]
            found[topic] = (match[2], rest.strip("\n"), [])
        else:
            found[topic][2].append(commit)
    return found


def export():
    """`make export`: linux/ back to the files in series/."""
    if not (paths.TREE / ".git").exists():
        raise ui.Stop("no linux/ here: `make tree` first")
    if git("status", "--porcelain", "-uno", repo=paths.TREE):
        raise ui.Stop("linux/ has uncommitted changes: commit them (or "
                      "`git commit --fixup` and rebase) first")
    with tempfile.TemporaryDirectory(dir=paths.TOP) as tmp:
        new = Path(tmp) / "series"
        new.mkdir()
        names = write_files(paths.TREE, "refs/tags/base", "HEAD", new)
        if not names:
            raise ui.Stop("linux/ has no topics between the tag `base` and HEAD")
        if names != topics():
            raise ui.Stop(f"linux/ has the topics {' '.join(names)}, series/order "
                          f"says {' '.join(topics())}: make them agree")
        changed = 0
        for topic in names:
            old = paths.SERIES / topic
            a = {p.name for p in old.iterdir()} if old.exists() else set()
            b = {p.name for p in (new / topic).iterdir()}
            changed += len(a ^ b) + sum(
                not filecmp.cmp(old / n, new / topic / n, shallow=False) for n in a & b)
            shutil.rmtree(old, ignore_errors=True)
            (new / topic).rename(old)
    ui.say(f"exported {sum(len(patches(t)) for t in names)} patches in {len(names)} "
           f"topics: {changed} file{'' if changed == 1 else 's'} changed")


def round_trip():
    """Are the files what a fresh export would write? A list of what is not."""
    head, bad = apply(), []
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        new = Path(tmp)
        names = write_files(REPO, base(), head, new)
        for topic in names:
            for file in sorted({p.name for p in (new / topic).iterdir()}
                               | {p.name for p in (paths.SERIES / topic).iterdir()}):
                a, b = new / topic / file, paths.SERIES / topic / file
                if not (a.exists() and b.exists()
                        and filecmp.cmp(a, b, shallow=False)):
                    bad.append(f"series/{topic}/{file}")
    return bad


def apply_to(folder):
    """`make apply LINUX=dir`: the series on a new branch of the user's tree."""
    folder = Path(folder).resolve()
    if not is_kernel(folder):
        raise ui.Stop(f"LINUX={folder}: " + ("no kernel source tree" if folder.is_dir()
                                             else "no such directory"))
    if git("rev-parse", "--is-inside-work-tree", repo=folder, check=False) != "true":
        raise ui.Stop(f"LINUX={folder}: no git work tree: `git init`, `git add -f -A` "
                      "and `git commit` there first")
    if git("status", "--porcelain", repo=folder):
        raise ui.Stop(f"LINUX={folder}: not clean: commit or stash first")
    first = re.search(r"^Subject: \[PATCH\] (.*(?:\n .*)*)",
                      patches(topics()[0])[0].read_text(encoding="utf-8"), re.M)[1]
    there = git("log", "-1", "--format=%h", "--fixed-strings",
                f"--grep={' '.join(first.split())}", "-100", repo=folder, check=False)
    if there:
        raise ui.Stop(f"LINUX={folder}: the series is there already (its first patch is "
                      f"{there}); check out the branch without it first")
    before = git("symbolic-ref", "-q", "--short", "HEAD", repo=folder, check=False) \
        or git("rev-parse", "HEAD", repo=folder)
    branch, n = "atc-fence", 1
    while git("rev-parse", "-q", "--verify", f"refs/heads/{branch}", repo=folder,
              check=False):
        n += 1
        branch = f"atc-fence-{n}"
    git("checkout", "-q", "-b", branch, repo=folder)
    try:
        count = _am_all(folder, marks=False)
    except BaseException:
        git("checkout", "-q", "-f", before, repo=folder)
        git("branch", "-q", "-D", branch, repo=folder)
        raise
    ui.say(f"{count} patches applied to {folder} (linux {is_kernel(folder)}), on the new "
           f"branch {branch}, which is\nchecked out; to undo: git checkout {before} && "
           f"git branch -D {branch}")
