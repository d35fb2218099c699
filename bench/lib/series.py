# SPDX-License-Identifier: GPL-2.0
"""
The kernel series as files, as commits, and back.

series/<topic>/ holds one file per patch and the cover letter. In git each
topic starts with an empty commit, "[topic] name: subject", whose body is the
cover letter; so a rebase carries topics and covers along, and `export` needs
nothing but the history to write every file again, byte for byte.

series/for-<release>/ holds what is different in the patches that do not fit
another release of the kernel (see otherbase.py).
"""

import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from . import archive, otherbase, paths, ui

REPO = paths.CACHE / paths.LINUX / "src"
LOCK = "series" + paths.SUFFIX
WHO = {"NAME": "atc-fence", "EMAIL": "atc-fence@example.invalid",
       "DATE": "2026-01-01T00:00:00Z"}
IDENTITY = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
            for key, value in WHO.items()}
MARK = re.compile(r"\[topic\] ([a-z0-9-]+): (.*)")
COVER = "0000-cover-letter.txt"
DIFF = ".diff"
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
    """The base commit: LINUX= if given, else Debian's pinned source of BASE=."""
    own = os.environ.get("LINUX")
    if own and paths.SUFFIX:
        raise ui.Stop("give LINUX= or BASE=, not both")
    if own and not is_kernel(Path(own)):
        raise ui.Stop(f"LINUX={own}: " + ("no kernel source tree (its Makefile names no "
                                          "VERSION)" if Path(own).is_dir()
                                          else "no such directory"))
    if own or not _have_repo():
        with paths.locked(paths.LINUX):
            _pinned_repo()
            if own:
                return _own_base(Path(own).resolve())
    return git("rev-parse", "refs/heads/base")


def _have_repo():
    return (REPO / ".git/refs/heads/base").exists()


def _pinned_repo():
    if _have_repo():
        return
    pin = paths.pins(paths.LINUX)
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


def release_of(commit):
    """VERSION.PATCHLEVEL of the kernel @commit."""
    text = git("show", f"{commit}:Makefile")
    return ".".join(re.search(rf"^{key} = (\d+)$", text, re.M)[1]
                    for key in ("VERSION", "PATCHLEVEL"))


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


def _name(patch):
    return f"{patch.parent.name}/{patch.name}"


def _difference(patch, release):
    """The file with what is different in @patch on a kernel @release, if there is one."""
    return paths.SERIES / f"for-{release}" / f"{_name(patch)}{DIFF}"


def fitting(patch, release):
    """@patch as bytes; the way a kernel @release needs it."""
    file = _difference(patch, release)
    if not file.exists():
        return patch.read_bytes()
    text = otherbase.changed(patch.read_text(encoding="utf-8"), file.read_text(encoding="utf-8"))
    if text is None:
        raise ui.Stop(f"{file.relative_to(paths.TOP)} does not fit {_name(patch)} any more: mend "
                      "it, see \"Another base\" in doc/bench.md")
    return text.encode()


def misfits(release):
    """What is wrong with series/for-<release>/: a list of lines."""
    bad, where = [], paths.SERIES / f"for-{release}"
    for file in sorted(p for p in where.rglob("*") if not p.is_dir()):
        name = file.relative_to(where)
        patch = paths.SERIES / str(name).removesuffix(DIFF)
        text = file.read_text(encoding="utf-8")
        if file.suffix != DIFF or not patch.exists():
            bad.append(f"{where.name}/{name} belongs to no patch")
        elif otherbase.changed(patch.read_text(encoding="utf-8"), text) is None:
            bad.append(f"{where.name}/{name} does not fit the patch any more")
        elif not otherbase.reason(text).strip():
            bad.append(f"{where.name}/{name} does not say why it is needed")
    return bad


def _key(commit, release):
    digest = hashlib.sha256(commit.encode())
    for topic in topics():
        digest.update(topic.encode())
        for file in [paths.SERIES / topic / COVER, *patches(topic)]:
            digest.update(file.name.encode() + b"\0" + (
                fitting(file, release) if file.name != COVER else file.read_bytes()))
    return digest.hexdigest()[:40]


def _all():
    return [patch for topic in topics() for patch in patches(topic)]


def _touched(texts):
    """Every path that a patch of @texts touches."""
    found = set()
    for text in texts:
        for line in text.decode().splitlines():
            if match := re.match(r"diff --git a/(\S+) b/(\S+)$", line):
                found.update(match.groups())
    return sorted(found)


def _mark(topic, repo):
    text = (paths.SERIES / topic / COVER).read_text(encoding="utf-8")
    subject, _, body = text.partition("\n")
    git("commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-", repo=repo,
        env=IDENTITY, data=f"[topic] {topic}: {subject}\n{body}".encode())


@contextmanager
def _workplace(commit, texts):
    """A sparse work tree of @commit that holds just what the patches @texts touch."""
    with paths.locked(LOCK), tempfile.TemporaryDirectory(dir=paths.CACHE) as tmp:
        work = Path(tmp) / "work"
        git("worktree", "add", "-q", "--no-checkout", "--detach", str(work), commit)
        try:
            git("sparse-checkout", "set", "--no-cone", "--stdin", repo=work,
                data="".join(f"/{p}\n" for p in ["Makefile", *_touched(texts)]).encode())
            git("checkout", "-q", repo=work)
            yield work
        finally:
            git("worktree", "remove", "--force", str(work), check=False)


def apply():
    """The commit of base + series. The patches are applied by `git am`, without fuzz."""
    commit = base()
    release = release_of(commit)
    _stop_at_misfits(release)
    ref = f"refs/bench/series-{_key(commit, release)}"
    done = git("rev-parse", "-q", "--verify", ref, check=False)
    if done:
        return done
    texts = [p.read_bytes() for p in _all()] + [fitting(p, release) for p in _all()]
    with _workplace(commit, texts) as work:
        # Another command may have done it while this one waited for the place.
        if done := git("rev-parse", "-q", "--verify", ref, check=False):
            return done
        count = _am_all(work, release)
        head = git("rev-parse", "HEAD", repo=work)
    git("update-ref", ref, head)
    ui.note(f"series: {count} patches in {len(topics())} topics applied without fuzz "
            f"(tree {git('rev-parse', head + '^{tree}')[:12]})")
    return head


def _stop_at_misfits(release):
    """Stop at differences for @release that do not fit the series."""
    if bad := misfits(release):
        raise ui.Stop(f"series/{bad[0]}: see \"Another base\" in doc/bench.md")


def _am(repo, patch):
    """`git am` of @patch, bytes, in @repo; None, or what git says."""
    done = subprocess.run(
        ["git", "-c", "gc.auto=0", "-C", str(repo), "am", "-q",
         "--committer-date-is-author-date"], input=patch,
        env=dict(os.environ, **{k: v for k, v in IDENTITY.items()
                                if k.startswith("GIT_COMMITTER")}),
        capture_output=True, check=False)
    if done.returncode == 0:
        return None
    git("am", "--abort", repo=repo, check=False)
    return done.stderr.decode(errors="replace")


def _tree_with(repo, patch):
    """The tree that @patch makes of the work tree @repo, which stays as it is; or None."""
    if _am(repo, patch):
        return None
    tree = git("rev-parse", "HEAD^{tree}", repo=repo)
    git("reset", "-q", "--hard", "HEAD^", repo=repo)
    return tree


def _am_all(repo, release, marks=True):
    """Apply the series to the work tree @repo, a kernel @release; the number of patches."""
    count = 0
    for topic in topics():
        files = patches(topic)
        if not 0 < len(files) <= LIMIT:
            raise ui.Stop(f"series/{topic} has {len(files)} patches, a topic has 1 "
                          f"to {LIMIT}")
        if marks:
            _mark(topic, repo)
        for patch in files:
            text = fitting(patch, release)
            # Of a tree of the user's nobody knows.
            unneeded = _difference(patch, release).exists() and marks \
                and not os.environ.get("LINUX") and _tree_with(repo, patch.read_bytes())
            error = _am(repo, text)
            if unneeded and unneeded == git("rev-parse", "HEAD^{tree}", repo=repo):
                raise ui.Stop(f"{_difference(patch, release).relative_to(paths.TOP)} is not "
                              "needed: the patch itself does the same")
            if error:
                failed = re.findall(r"error: (?:patch failed: )?(\S+?):", error)
                what = f" at {failed[0]}" if failed else ""
                how = "see \"Another base\" in doc/bench.md" if paths.SUFFIX else \
                    "`make tree`, then in linux/ `git fetch DIR HEAD` and `git rebase " \
                    "--keep-empty --onto FETCH_HEAD base`"
                raise ui.Stop(f"{patch.relative_to(paths.TOP)} does not apply{what}: "
                              f"the base is not the one it was made for: {how}")
            count += 1
    return count


def worktree():
    """`make tree`: linux/ (linux-7.2/), one commit per patch, to hack in."""
    name = paths.TREE.name
    if paths.TREE.exists():
        raise ui.Stop(f"{name}/ exists already: hack there and `{_make('export')}`, or "
                      "move it away first")
    head = apply()
    commit = base()
    part = paths.TREE.with_name(f"{name}.part")
    shutil.rmtree(part, ignore_errors=True)
    ui.note(f"cloning the base and the series into {name}/")
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
    ui.say(f"{name}/ is ready: branch `series`, one commit per patch, tag `base`.\n"
           "Each topic starts with an empty commit that is its cover letter. Reshape "
           f"with\n`git rebase -i --keep-empty base`, then `{_make('export')}`.")


def _make(command):
    """The command line of @command for the base in use."""
    return f"make {command}" + (f" BASE={paths.SUFFIX[1:]}" if paths.SUFFIX else "")


def subject():
    """
    (commit, text): what "the patched kernel" means now. The hack tree linux/
    with all its changes if it differs from the files in series/; else series/.
    """
    head = apply()
    text = "series/" + (f" on linux {paths.SUFFIX[1:]}" if paths.SUFFIX else "")
    if not (paths.TREE / ".git").exists():
        return head, text
    tree = _snapshot(paths.TREE)
    if tree == git("rev-parse", f"{head}^{{tree}}"):
        return head, text
    commit = git("commit-tree", tree, "-p", base(), "-m",
                 f"the work tree {paths.TREE.name}/", env=IDENTITY)
    git("update-ref", "refs/bench/work", commit)
    files = git("diff-tree", "-r", "--name-only", head, commit).split()
    names = ", ".join(Path(name).name for name in files[:3])
    return commit, (f"the work tree {paths.TREE.name}/ (tree {tree[:12]}), which differs from "
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
            raise ui.Stop(f"{paths.TREE.name}/ has a commit '{first[:40]}': `git rebase -i "
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
    """`make export`: linux/ back to the files in series/; linux-7.2/ to for-7.2/ there."""
    linux = paths.TREE.name
    if not (paths.TREE / ".git").exists():
        raise ui.Stop(f"no {linux}/ here: `{_make('tree')}` first")
    if git("status", "--porcelain", "-uno", repo=paths.TREE):
        raise ui.Stop(f"{linux}/ has uncommitted changes: commit them (or "
                      "`git commit --fixup` and rebase) first")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=paths.TOP) as tmp:
        new = Path(tmp) / "series"
        new.mkdir()
        names = write_files(paths.TREE, "refs/tags/base", "HEAD", new)
        if not names:
            raise ui.Stop(f"{linux}/ has no topics between the tag `base` and HEAD")
        if names != topics():
            raise ui.Stop(f"{linux}/ has the topics {' '.join(names)}, series/order "
                          f"says {' '.join(topics())}: make them agree")
        if paths.SUFFIX:
            return _export_replaced(new)
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


def _export_replaced(new):
    """
    Keep, of the exported series @new, what the series itself does not make of
    this base: what it takes is left out.
    """
    commit = base()
    release = release_of(commit)
    where = paths.SERIES / f"for-{release}"
    for topic in topics():
        ours = {p.name for p in patches(topic)}
        theirs = {p.name for p in (new / topic).glob("[0-9]*.patch")}
        if ours != theirs or not filecmp.cmp(paths.SERIES / topic / COVER, new / topic / COVER,
                                             shallow=False):
            odd = sorted(ours ^ theirs) or [COVER]
            raise ui.Stop(f"{paths.TREE.name}/ and series/ differ in {topic}/{odd[0]}: there "
                          "may be no other patches, subjects and cover letters for "
                          f"linux {release}")
    kept = {}
    texts = [p.read_bytes() for patch in _all() for p in (patch, new / _name(patch))]
    with _workplace(commit, texts) as work:
        for patch in _all():
            ours, theirs = (p.read_text(encoding="utf-8") for p in (patch, new / _name(patch)))
            want = _tree_with(work, theirs.encode())
            if want is None:
                raise ui.Stop(f"{paths.TREE.name}/: {_name(patch)} does not apply to what is "
                              "below it")
            text = ours
            if _tree_with(work, ours.encode()) != want:
                diff, file = otherbase.difference(ours, theirs), _difference(patch, release)
                kept[file] = (otherbase.reason(file.read_text(encoding="utf-8"))
                              if file.exists() else "") + diff
                text = otherbase.changed(ours, diff)
            _am(work, text.encode())
            if git("rev-parse", "HEAD^{tree}", repo=work) != want:
                raise ui.Stop(f"{_name(patch)} with its difference does not make the tree of "
                              f"{paths.TREE.name}/")
    ui.say(f"exported what is different in {len(kept)} patches to series/{where.name}/; the "
           f"other {len(_all()) - len(kept)} are those of series/")
    shutil.rmtree(where, ignore_errors=True)
    for file, text in kept.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for line in misfits(release):
        ui.say(line)
    return 0


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
    release = is_kernel(folder)
    _stop_at_misfits(release)
    before = git("symbolic-ref", "-q", "--short", "HEAD", repo=folder, check=False) \
        or git("rev-parse", "HEAD", repo=folder)
    branch, n = "atc-fence", 1
    while git("rev-parse", "-q", "--verify", f"refs/heads/{branch}", repo=folder,
              check=False):
        n += 1
        branch = f"atc-fence-{n}"
    git("checkout", "-q", "-b", branch, repo=folder)
    try:
        count = _am_all(folder, release, marks=False)
    except BaseException:
        git("checkout", "-q", "-f", before, repo=folder)
        git("branch", "-q", "-D", branch, repo=folder)
        raise
    ui.say(f"{count} patches applied to {folder} (linux {is_kernel(folder)}), on the new "
           f"branch {branch}, which is\nchecked out; to undo: git checkout {before} && "
           f"git branch -D {branch}")
