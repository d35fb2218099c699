# SPDX-License-Identifier: GPL-2.0
"""
Builds: QEMU with the bench's model, kernels, the guest's driver, KUnit.

All sources and objects live in the cache. One kernel work tree serves every
kernel: switching it from the base to the series touches only the files that
differ, so the second build is incremental. What was built is kept under the
hash of everything that went into it.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import archive, paths, series, ui

QEMU_SRC = paths.CACHE / "qemu/src"
QEMU_BUILD = paths.CACHE / "qemu/objects"
QEMU_PATCHES = paths.BENCH / "qemu/patches"
QEMU_CONFIGURE = """--python=/usr/bin/python3 --target-list=aarch64-softmmu
--without-default-features --enable-tcg --enable-plugins --enable-fdt=system
--disable-docs --disable-werror --disable-download
--disable-install-blobs""".split()
CROSS = "" if os.uname().machine == "aarch64" else "aarch64-linux-gnu-"
GUEST = paths.BENCH / "guest"


def _digest(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:20]


def ccache_env():
    env = dict(os.environ, CCACHE_DIR=str(paths.CACHE / "ccache"),
               CCACHE_MAXSIZE="8G", CCACHE_NOHASHDIR="1")
    env.pop("MAKEFLAGS", None)
    env.pop("MAKELEVEL", None)
    return env


# --- QEMU ---------------------------------------------------------------

def _qemu_wanted():
    """Names the sources and the patches on them."""
    return _digest(os.environ.get("QEMU"), paths.pins("qemu")["tree"],
                   *[f.read_bytes() for f in sorted(QEMU_PATCHES.glob("*.patch"))])


def _qemu_source():
    """The patched QEMU tree in the cache; its tree hash."""
    own = os.environ.get("QEMU")
    pin = paths.pins("qemu")
    files = sorted(QEMU_PATCHES.glob("*.patch"))
    want = _qemu_wanted()
    stamp = QEMU_SRC / ".git/bench-applied"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == want:
        return series.git("rev-parse", "HEAD^{tree}", repo=QEMU_SRC), want
    if own and not (Path(own) / "VERSION").exists():
        raise ui.Stop(f"QEMU={own}: no QEMU source tree (no file VERSION)")
    if own or not (QEMU_SRC / ".git/refs/heads/base").exists():
        _qemu_unpack(own, pin)
    series.git("checkout", "-q", "-f", "-B", "bench", "base", repo=QEMU_SRC)
    for patch in files:
        done = subprocess.run(
            ["git", "-c", "gc.auto=0", "-C", str(QEMU_SRC), "am", "-q",
             "--committer-date-is-author-date", str(patch)],
            env=dict(os.environ, **{k: v for k, v in series.IDENTITY.items()
                                    if k.startswith("GIT_COMMITTER")}),
            capture_output=True, text=True, check=False)
        if done.returncode:
            series.git("am", "--abort", repo=QEMU_SRC, check=False)
            raise ui.Stop(f"{patch.relative_to(paths.TOP)} does not apply to this "
                          f"QEMU: it is made for {pin['release']}")
    stamp.write_text(want, encoding="utf-8")
    return series.git("rev-parse", "HEAD^{tree}", repo=QEMU_SRC), want


def _qemu_unpack(own, pin):
    shutil.rmtree(QEMU_SRC, ignore_errors=True)
    tmp = QEMU_SRC.with_name("src.part")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    log = paths.LOGS / "qemu-source.log"
    if own:
        shutil.rmtree(tmp)
        shutil.copytree(own, tmp, symlinks=True,
                        ignore=shutil.ignore_patterns(".git", "build"))
    else:
        orig, debian = archive.qemu_tarballs()
        ui.run("unpack QEMU", ["tar", "xf", orig, "-C", tmp, "--no-same-owner",
                               "--strip-components=1"], log)
        ui.run("unpack Debian's patches", ["tar", "xf", debian, "-C", tmp,
                                           "--no-same-owner", "debian/patches"], log)
        for name in pin["debian_patches"].split():
            with open(tmp / "debian/patches" / name, "rb") as patch:
                ui.run(f"Debian's {name}", ["patch", "-p1", "-s"], log, cwd=tmp,
                       stdin=patch)
        shutil.rmtree(tmp / "debian")
    series._import(tmp, "QEMU, as packaged in Debian, without the blobs it lacks")
    tree = series.git("rev-parse", "HEAD^{tree}", repo=tmp)
    if not own and tree != pin["tree"]:
        raise ui.Stop(f"QEMU's source tree is {tree}, bench/pins.ini says "
                      f"{pin['tree']}: a full disk or a changed tarball?")
    tmp.rename(QEMU_SRC)


def vmlinux(config="bench"):
    """Symbols of the kernel that was built last in @config."""
    return paths.CACHE / paths.LINUX / "build" / config / "vmlinux"


def qemu():
    """(path of qemu-system-aarch64 with the bench's model, its tree hash)."""
    out = paths.CACHE / "qemu/out"
    # Which tree these patches make is known since they were built; without a
    # look at the sources, on which somebody else may be at work.
    known = out / f"{_qemu_wanted()}.tree"
    if known.exists() and not os.environ.get("QEMU"):
        tree = known.read_text(encoding="utf-8")
        target = out / f"{tree[:16]}-{_digest(*QEMU_CONFIGURE)[:8]}" / "qemu-system-aarch64"
        if target.exists():
            return target, tree
    with paths.locked("qemu"):
        tree, _ = _qemu_source()
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(tree, encoding="utf-8")
        target = paths.CACHE / "qemu/out" / \
            f"{tree[:16]}-{_digest(*QEMU_CONFIGURE)[:8]}" / "qemu-system-aarch64"
        if target.exists():
            return target, tree
        paths.check_space(4)
        QEMU_BUILD.mkdir(parents=True, exist_ok=True)
        env, log = ccache_env(), paths.LOGS / "qemu-build.log"
        if not (QEMU_BUILD / "build.ninja").exists():
            ui.run("configure QEMU", [QEMU_SRC / "configure", *QEMU_CONFIGURE,
                                      "--cc=ccache gcc", "--host-cc=ccache gcc"],
                   log, cwd=QEMU_BUILD, env=env)
        ui.run("build QEMU (about 2000 objects, 5 to 8 minutes on 2 cores)",
               ["ninja", "-j", paths.jobs(), "qemu-system-aarch64"], log,
               cwd=QEMU_BUILD, env=env)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        shutil.copy2(QEMU_BUILD / "qemu-system-aarch64", part)
        part.rename(target)
    return target, tree


# --- kernels --------------------------------------------------------------

def _fragments(config):
    """The fragments in bench/kernel/ that @config names: "bench" or "bench+64k"."""
    files = [paths.BENCH / "kernel" / f"{part}.config" for part in config.split("+")]
    for path in files:
        if not path.exists():
            raise ui.Stop(f"no kernel configuration {path.stem}: see bench/kernel/")
    return files


def _wanted(config):
    """The lines that @config asks for; a later fragment overrides an earlier one."""
    lines = {}
    for path in _fragments(config):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"(?:# )?(CONFIG_\w+)(?:=| is not set)", line):
                lines[match[1]] = line
    return list(lines.values())


def make(build, *targets):
    """The command that builds @targets of the kernel of the cache in @build."""
    return ["make", "-C", str(series.REPO), f"O={build}", "ARCH=arm64",
            f"CROSS_COMPILE={CROSS}", f"CC=ccache {CROSS}gcc", "LOCALVERSION=",
            "KBUILD_BUILD_USER=bench", "KBUILD_BUILD_HOST=bench",
            "KBUILD_BUILD_TIMESTAMP=2026-01-01", "-j", paths.jobs(), *targets]


def has_symbol(commit, line):
    """Does the kernel @commit know the symbol of @line, a line of a .config?"""
    name = re.match(r"(?:# )?CONFIG_(\w+)", line)[1]
    return bool(series.git("grep", "-l", "-E", f"^(menu)?config {name}$", commit, "--",
                           "*Kconfig*", check=False))


def none_dropped(build, wanted, config, where, commit=None):
    """
    Stop if the .config in @build lacks lines of @wanted, whose dependencies are unmet
    then. @config: its name; @where: the folder with what asks for them; @commit: what
    it has no symbol for does not count.
    """
    have = (build / ".config").read_text(encoding="utf-8").splitlines()
    lost = [line for line in wanted if line not in have and not line.startswith("#")
            and (commit is None or has_symbol(commit, line))]
    if lost:
        raise ui.Stop(f"kernel {config}: the configuration dropped {lost[0]}"
                      + (f" and {len(lost) - 1} more" if lost[1:] else "")
                      + f": mend {where}")


def configure(build, config, commit, which, env, log):
    """Bring @build's .config to what the fragments of @config ask for."""
    wanted = _wanted(config)
    if which == "base":
        # The series brings symbols of its own; the patched kernel has to have them.
        wanted = [line for line in wanted if has_symbol(commit, line)]
    stamp = build / ".bench-config"
    text = "".join(f"{line}\n" for line in wanted)
    build.mkdir(parents=True, exist_ok=True)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == text:
        cmd = make(build, "-s", "olddefconfig")
    else:
        fragment = build / ".bench-fragment"
        fragment.write_text(text, encoding="utf-8")
        cmd = make(build, "-s", "allnoconfig")
        env = dict(env, KCONFIG_ALLCONFIG=str(fragment))
    stamp.unlink(missing_ok=True)
    ui.run(f"configure kernel {config}", cmd, log, env=env)
    none_dropped(build, wanted, config, "bench/kernel/")
    stamp.write_text(text, encoding="utf-8")


def checkout(commit):
    """Bring the kernel work tree of the cache to @commit, touching little."""
    if series.git("rev-parse", "HEAD") != commit:
        series.git("checkout", "-q", "-f", "--detach", commit)


def _module_files():
    """What atctest.ko is made of; the other files there are programs."""
    return [p for p in sorted(GUEST.iterdir())
            if p.name == "Kbuild" or p.name.startswith("atctest")]


def _module_digest():
    files = _module_files()
    return _digest(*[p.name for p in files], *[p.read_bytes() for p in files])


def module_of(build, module, env, log):
    """Build atctest.ko as the file @module for the kernel in @build."""
    module.parent.mkdir(parents=True, exist_ok=True)
    work = paths.CACHE / paths.LINUX / "build/guest"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for file in _module_files():
        shutil.copy2(file, work)
    ui.run("build atctest.ko", make(build, "-s", f"M={work}", "modules"), log, env=env)
    part = module.with_suffix(".part")
    shutil.copy2(work / "atctest.ko", part)
    part.rename(module)


def kernel(which, commit, config="bench"):
    """
    (Image, atctest.ko) of the kernel @commit in configuration @config; @which
    is what a person calls it. Built unless the cache has them.
    """
    tree = series.git("rev-parse", f"{commit}^{{tree}}")
    out = paths.CACHE / paths.LINUX / "out" / \
        f"{tree[:16]}-{_digest(*[p.read_bytes() for p in _fragments(config)])[:8]}"
    module = out / _module_digest() / "atctest.ko"
    if (out / "Image").exists() and module.exists():
        return out / "Image", module
    with paths.locked(paths.LINUX):
        checkout(commit)
        build = paths.CACHE / paths.LINUX / "build" / config
        env, log = ccache_env(), paths.LOGS / f"kernel-{config}-{which}.log"
        log.unlink(missing_ok=True)
        paths.check_space(2)
        configure(build, config, commit, which, env, log)
        ui.run(f"build the {which} kernel ({config})",
               make(build, "-s", "Image", "modules"), log, env=env)
        module_of(build, module, env, log)
        for src, dst in ((build / "System.map", out / "System.map"),
                         (build / "arch/arm64/boot/Image", out / "Image")):
            part = dst.with_suffix(".part")
            shutil.copy2(src, part)
            part.rename(dst)
    return out / "Image", module


def sanitizer_key(san):
    """What else than its tree makes the kernel bench+@san what it is."""
    return _digest(*[p.read_bytes() for p in _fragments(f"bench+{san}")]) + _module_digest()


# --- KUnit ------------------------------------------------------------------

def kunit(commit, configs, filter_glob=None):
    """
    Run the KUnit suites that the files @configs of the kernel tree enable,
    all in one kernel, with kunit.py under QEMU. @filter_glob picks suites.
    Returns the path of the kernel's raw log.
    """
    emulator, _ = qemu()
    log = paths.LOGS / "kunit.log"
    raw = paths.OUT / "kunit" / "kernel.log"
    raw.parent.mkdir(parents=True, exist_ok=True)
    with paths.locked(paths.LINUX):
        checkout(commit)
        build = paths.CACHE / paths.LINUX / "build/kunit"
        build.parent.mkdir(parents=True, exist_ok=True)
        env = ccache_env()
        env["PATH"] = f"{emulator.parent}:{env['PATH']}"
        tool = [series.REPO / "tools/testing/kunit/kunit.py"]
        common = ["--arch=arm64", f"--cross_compile={CROSS}",
                  f"--build_dir={build}"]
        make = ["--make_options", f"CC=ccache {CROSS}gcc", "--jobs", paths.jobs()]
        log.unlink(missing_ok=True)
        # Each step that makes a configuration has to be told: the default of
        # kunit.py is every suite of the kernel.
        which = [f"--kunitconfig={c}" for c in configs]
        ui.run("build the KUnit kernel", tool + ["build", *common, *make, *which], log,
               cwd=series.REPO, env=env, hint="kunit.py's own words are in the log")
        ui.note("KUnit: boot")
        with open(raw, "wb") as out, open(log, "ab") as err:
            subprocess.run([*map(str, tool), "exec", *common[:1], common[1], common[2],
                            "--timeout=300", "--raw_output=all", "--qemu_args=-smp 2",
                            # Some cases say more than the console can take
                            "--kernel_args=log_buf_len=16M",
                            *([filter_glob] if filter_glob else [])], cwd=series.REPO,
                           env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                           check=False)
    return raw
