# SPDX-License-Identifier: GPL-2.0
"""
Packages and sources from Debian's archive.

A private apt configuration reads suites that the machine's own does not name
and checks their signatures with the machine's keyring; the archive's address
is taken from the machine's own apt configuration, and nothing of the system's
is changed but the packages that get installed.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import paths, ui

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What a fresh machine lacks. The cross compiler is left out on arm64 itself.
PACKAGES = """bc bison ccache cpio device-tree-compiler flex gcc kmod libelf-dev
libfdt-dev libglib2.0-dev libssl-dev make ninja-build patch pkg-config
python3-venv xz-utils zlib1g-dev""".split()
CROSS = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]
# Newer than bookworm has them: meson >= 1.5 and pycotap for QEMU 10.2.
NEWER = ["meson", "python3-pycotap"]


def sha256(path):
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as src:
        while chunk := src.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _output(cmd, **kw):
    return subprocess.run(cmd, capture_output=True, text=True, check=False,
                          **kw).stdout


def _installed(names):
    """Those of @names that dpkg has installed."""
    if not shutil.which("dpkg-query"):
        return []
    out = _output(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n",
                   *names])
    return [line.split()[0] for line in out.splitlines()
            if line.endswith(" installed")]


def _root():
    """A prefix that makes a command run as root, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(
            ["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["sudo", "-n"]
    return None


def _version(text):
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])


def _newer_needed():
    """QEMU's configure wants a meson and a pycotap that bookworm lacks."""
    meson = _output(["/usr/bin/meson", "--version"]) \
        if os.path.exists("/usr/bin/meson") else "0.0"
    have = subprocess.run(["/usr/bin/python3", "-c", "import pycotap"],
                          capture_output=True, check=False).returncode == 0
    return _version(meson) < (1, 5) or not have


def packages(more=()):
    """Install what is missing, or name it in one line; @more for some commands."""
    wanted = [*PACKAGES, *more] + ([] if os.uname().machine == "aarch64" else CROSS)
    have = set(_installed(wanted))
    missing = [name for name in wanted if name not in have]
    newer = _newer_needed()
    if not missing and not newer:
        return
    root = _root()
    if not shutil.which("apt-get"):
        raise ui.Stop("no apt-get here: install by hand what Debian calls "
                      + " ".join(missing + NEWER * newer))
    if root is None:
        line = "apt-get install " + " ".join(missing)
        raise ui.Stop(f"missing packages; as root: {line}" +
                      (f"; and {' and '.join(NEWER)} (meson >= 1.5: "
                       "bookworm-backports has them)" if newer else ""))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    log = paths.LOGS / "packages.log"
    if missing:
        ui.run("package lists", root + ["apt-get", "update"], log, env=env,
               hint="is there a network? The machine's apt must work")
        ui.run(f"install {len(missing)} packages",
               root + ["apt-get", "install", "-y", "--no-install-recommends",
                       *missing], log, env=env,
               hint="as root: apt-get install " + " ".join(missing))
    if newer:
        where = paths.CACHE / "download"
        where.mkdir(parents=True, exist_ok=True)
        for old in where.glob("*.deb"):
            old.unlink()
        suite = _codename() + "-backports"
        apt = Apt([suite, _codename()])
        for name in NEWER:
            if not apt.get(["download", f"{name}/{suite}"], where) and \
               not apt.get(["download", name], where):
                raise ui.Stop(f"no {name} in the archive's {suite}: install "
                              "meson >= 1.5 and pycotap by hand")
        debs = sorted(str(p) for p in where.glob("*.deb"))
        ui.run("install meson and pycotap",
               root + ["apt-get", "install", "-y", "--no-install-recommends",
                       *debs], log, env=env)


def _codename():
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=")[1].strip('"')
    return "stable"


def _mirror():
    """The address of Debian's archive, as the machine's own apt knows it."""
    def look():
        for line in _output(["apt-get", "indextargets", "--format",
                             "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
                            ).splitlines():
            label, _, uri = line.partition(" ")
            if label == "Debian":
                return uri.strip()
        return None

    uri = look()
    if not uri and _root() is not None:
        subprocess.run(_root() + ["apt-get", "update"], capture_output=True,
                       check=False)
        uri = look()
    if not uri:
        raise ui.Stop("apt names no Debian archive here: run apt-get update as "
                      "root, or give LINUX= (and QEMU=) trees of your own")
    return uri


class Apt:
    """apt with lists and a cache of its own, for @suites."""

    def __init__(self, suites, arch=None, pinned=False):
        self.arch = arch
        self.pinned = pinned
        self.dir = paths.CACHE / (f"apt-{arch}" if arch else "apt")
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (self.dir / sub).mkdir(parents=True, exist_ok=True)
        if not os.path.exists(KEYRING):
            raise ui.Stop(f"{KEYRING} is missing: install "
                          "debian-archive-keyring, signatures need it")
        mirror = _mirror()
        self.log = paths.LOGS / "archive.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.suites = [s for s in suites if self._update(mirror, [s])]
        if not self.suites:
            raise ui.Stop("the archive could not be read (log: "
                          f"{ui.shown(self.log)}): is there a network? "
                          "LINUX= and QEMU= take trees of your own")
        self._update(mirror, self.suites)

    def _update(self, mirror, suites):
        lines = "".join(f"{kind} [signed-by={KEYRING}] {mirror} {suite} main\n"
                        for suite in suites for kind in ("deb", "deb-src"))
        (self.dir / "sources.list").write_text(lines, encoding="utf-8")
        return self._apt(["update", "--error-on=any"], None)

    def _apt(self, args, cwd):
        opts = {"Dir::Etc::sourcelist": self.dir / "sources.list",
                "Dir::Etc::sourceparts": "/dev/null",
                "Dir::State": self.dir / "state",
                "Dir::State::lists": self.dir / "state/lists",
                "Dir::Cache": self.dir / "cache",
                "APT::Sandbox::User": "root" if os.geteuid() == 0 else ""}
        if self.pinned:
            # A mirror that stands still has an expired, but signed, Release
            # file. What is pinned by version and hash need not be fresh.
            opts["Acquire::Check-Valid-Until"] = "false"
        if self.arch:
            opts.update({"APT::Architecture": self.arch,
                         "APT::Architectures": self.arch})
        cmd = ["apt-get"] + [f"-o{k}={v}" for k, v in opts.items()] + args
        with open(self.log, "ab") as log:
            return subprocess.run(cmd, cwd=cwd, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, check=False).returncode == 0

    def get(self, args, where):
        """apt-get @args in the folder @where; did it work?"""
        return self._apt(args, where)

    def versions(self, package, pattern):
        """Versions of the binary @package that match @pattern, newest first."""
        out = _output(["apt-cache", f"-oDir::Etc::sourcelist={self.dir}/sources.list",
                       "-oDir::Etc::sourceparts=/dev/null",
                       f"-oDir::State={self.dir}/state",
                       f"-oDir::State::lists={self.dir}/state/lists",
                       f"-oDir::Cache={self.dir}/cache", "madison", package])
        found = [line.split("|")[1].strip() for line in out.splitlines()
                 if "Packages" in line]
        return [v for v in found if re.match(pattern, v)]


def _verified(path, digest):
    """@path if it is there and has the hash @digest; a wrong one is removed."""
    if not path.exists():
        return None
    if sha256(path) == digest:
        return path
    return None


def _offered(name, digest):
    """@name from the cache or from the folder DOWNLOADS, verified."""
    for folder in (paths.CACHE / "download", paths.DOWNLOADS):
        if folder and (found := _verified(Path(folder) / name, digest)):
            return found
    return None


def linux_tarball():
    """
    (path, pinned) of the kernel's source tarball: the pinned one, or, said
    loudly, the newest of the same release (7.3.y) that the archive has.
    """
    pin = paths.pins(paths.LINUX)
    if found := _offered(pin["tarball"], pin["sha256"]):
        return found, True
    ui.note(f"fetching {pin['package']} {pin['version']} from Debian's archive")
    where = paths.CACHE / "download"
    where.mkdir(parents=True, exist_ok=True)
    apt = Apt(pin["suites"].split(), pinned=True)
    version, pinned = pin["version"], True
    if not apt.get(["download", f"{pin['package']}={version}"], where):
        others = apt.versions(pin["package"], re.escape(pin["release"]) + r"\.")
        if not others:
            raise ui.Stop(f"the archive has no {pin['package']} any more: unpack "
                          f"linux-{version.split('-')[0]} from the Linux project's "
                          "release (or Debian's snapshots) and give LINUX=dir")
        version, pinned = others[0], False
        ui.say(f"\n*** {pin['package']} {pin['version']} is gone from the archive.\n"
               f"*** Using {version} instead: results speak of THAT kernel.\n")
        if not apt.get(["download", f"{pin['package']}={version}"], where):
            raise ui.Stop(f"{pin['package']} {version} could not be downloaded "
                          f"(log: {ui.shown(apt.log)})")
    debs = sorted(where.glob(f"{pin['package']}_*.deb"))
    unpacked = where / "unpacked"
    subprocess.run(["dpkg-deb", "-x", debs[-1], unpacked], check=True)
    inner = next(unpacked.rglob(pin["tarball"]))
    if pinned and sha256(inner) != pin["sha256"]:
        raise ui.Stop(f"{pin['tarball']} of {version} has the wrong SHA-256: the "
                      "archive or the pin in bench/pins.ini is not what it says")
    final = where / pin["tarball"]
    inner.replace(final)
    shutil.rmtree(unpacked)
    for deb in debs:
        deb.unlink()
    return final, pinned


def qemu_tarballs():
    """[orig tarball, Debian's tarball] of the pinned QEMU."""
    pin = paths.pins("qemu")
    names = [(pin["tarball"], pin["sha256"]), (pin["debian"], pin["debian_sha256"])]
    found = [_offered(*name) for name in names]
    if all(found):
        return found
    ui.note(f"fetching QEMU {pin['version']} from Debian's archive")
    where = paths.CACHE / "download"
    where.mkdir(parents=True, exist_ok=True)
    apt = Apt(pin["suites"].split(), pinned=True)
    if not apt.get(["source", "--download-only",
                    f"{pin['package']}={pin['version']}"], where):
        raise ui.Stop(f"the archive has no QEMU {pin['version']} any more: put its "
                      f"{pin['tarball']} and {pin['debian']} into a folder and "
                      "give DOWNLOADS=dir, or give QEMU=dir with that source")
    for name in names:
        if not _verified(where / name[0], name[1]):
            raise ui.Stop(f"{name[0]} has the wrong SHA-256: the archive or the "
                          "pin in bench/pins.ini is not what it says")
    return [where / name for name, _ in names]


def from_package(package, pattern, name, arch=None, suites=None):
    """
    The file whose path matches @pattern in Debian's @package, as @name in the
    cache; of the machine's own suite, or of the first of @suites that has it.
    """
    where = paths.CACHE / "download"
    final = where / name
    with paths.locked("download"):
        if final.exists():
            return final
        where.mkdir(parents=True, exist_ok=True)
        ui.note(f"fetching {package} from Debian's archive")
        wanted = f"{package}:{arch}" if arch else package
        if not any(Apt([suite], arch=arch, pinned=bool(suites)).get(["download", wanted], where)
                   for suite in suites or [_codename()]):
            raise ui.Stop(f"{package} could not be downloaded "
                          f"(log: {ui.shown(paths.LOGS / 'archive.log')})")
        deb = next(where.glob(f"{package}_*.deb"))
        unpacked = where / f"unpacked-{package}"
        subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
        found = [p for p in unpacked.rglob("*") if p.is_file() and not p.is_symlink()
                 and re.search(pattern, str(p))]
        found[0].replace(final)
        shutil.rmtree(unpacked)
        deb.unlink()
    return final


def busybox():
    """A static arm64 busybox, for a shell in the guest."""
    return from_package("busybox-static", r"/bin/busybox$", "busybox-arm64", "arm64")


def firmware():
    """UEFI firmware, for machines that boot with ACPI."""
    return from_package("qemu-efi-aarch64", r"/qemu-efi-aarch64/QEMU_EFI\.fd$",
                         "QEMU_EFI.fd")


def herd7():
    """
    herd7 as the start of a command: the machine's own, or sid's, which runs in
    the cache with the C library that it was built for.
    """
    if found := shutil.which("herd7"):
        return [found]
    machine = os.uname().machine
    triplet = f"{machine}-linux-gnu"
    loader = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}.get(machine)
    where = paths.CACHE / "herd7"
    with paths.locked("download"):
        if not (where / "usr/bin/herd7").exists():
            ui.note("fetching herdtools7 from Debian's archive")
            part = where.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            apt = Apt(["sid"], pinned=True)
            for name in ("herdtools7", "libc6", "libgmp10"):
                if not apt.get(["download", name], part):
                    raise ui.Stop(f"{name} could not be downloaded (log: "
                                  f"{ui.shown(apt.log)}): put a herd7 into the PATH")
            for deb in sorted(part.glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", deb, part], check=True)
                deb.unlink()
            part.rename(where)
    libraries = where / "usr/lib" / triplet
    return [libraries / loader, "--library-path", libraries, where / "usr/bin/herd7",
            "-set-libdir", where / "usr/share/herdtools7/herd"]
