# SPDX-License-Identifier: GPL-2.0
"""
`make deb`: installable arm64 packages of the kernel with the series, by the
kernel's own bindeb-pkg, and a test of what is in them.

CONFIG=small (the default) is bench/kernel/deb.config: minutes. CONFIG=debian is
the configuration of Debian's linux-config package for arm64: hours. Either way
an interrupted build goes on where it was. The kernel of the image package, not
the one in the build tree, is then booted with UEFI firmware and ACPI, where ATS
comes from the IORT, and has to pass the main scenario.
"""

import gzip
import lzma
import re
import shutil
import subprocess

from . import archive, build, paths, series, ui

TOOLS = ["debhelper", "dpkg-dev", "libdw-dev", "rsync"]
SUFFIX = "-atc-fence"
# The main story and one with two SMMUs, both in a machine with ACPI
SCENARIOS = ("one-silent", "acpi-two-smmus")
# Nothing that has to be built for the target without being the kernel, and no
# debug symbols: they would need most of the time and of the disk.
PROFILES = "pkg.linux-upstream.nokernelheaders pkg.linux-upstream.nokerneldbg"
TOO_MUCH = ["DEBUG_INFO_BTF", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT", "MODULE_SIG",
            "SYSTEM_TRUSTED_KEYRING"]


def _debian_config(target):
    """Write Debian's arm64 configuration for this kernel to @target."""
    release = paths.pins("linux")["release"]
    suites = paths.pins("linux")["suites"].split()
    file = archive.from_package(f"linux-config-{release}", r"/config\.arm64_none_arm64\.xz$",
                                f"config-{release}-arm64.xz", "arm64", suites)
    target.write_bytes(lzma.decompress(file.read_bytes()))


def _configure(tree, kind, commit, env, log):
    if kind == "small":
        build.configure(tree, "bench+deb", commit, "patched", env, log)
        return
    stamp = tree / ".bench-config"
    if not stamp.exists():
        tree.mkdir(parents=True, exist_ok=True)
        _debian_config(tree / ".config")
        edit = [series.REPO / "scripts/config", "--file", tree / ".config",
                "-e", "DEBUG_INFO_NONE"]
        for name in TOO_MUCH:
            edit += ["-d", name]
        for name in ("IOMMUFD", "ARM_SMMU_V3_SVA", "ARM_SMMU_V3_IOMMUFD"):
            edit += ["-e", name]
        ui.run("take Debian's configuration", edit, log, cwd=series.REPO)
        stamp.write_text("debian\n", encoding="utf-8")
    ui.run("configure", build.make(tree, "-s", "olddefconfig"), log, env=env)


def packages(kind):
    """
    Build the packages of configuration @kind; ([paths in out/deb/], the build
    tree, the tree hash).
    """
    if kind not in ("small", "debian"):
        raise ui.Stop(f"CONFIG={kind}: small or debian")
    archive.packages(TOOLS)
    paths.check_space(6 if kind == "small" else 30)
    commit, text = series.subject()
    tree_hash = series.git("rev-parse", f"{commit}^{{tree}}")
    ui.note(f"packages of {text}, configuration {kind}")
    outdir = paths.OUT / "deb" / kind
    log = paths.LOGS / f"deb-{kind}.log"
    log.unlink(missing_ok=True)
    with paths.locked("linux"):
        build.checkout(commit)
        tree = paths.CACHE / "linux/build" / f"deb-{kind}"
        env = build.ccache_env()
        _configure(tree, kind, commit, env, log)
        ui.run(f"build the kernel ({kind})",
               build.make(tree, f"LOCALVERSION={SUFFIX}", "Image.gz", "modules"), log,
               env=env)
        for old in tree.parent.glob("linux-*.deb"):
            old.unlink()
        env = dict(env, DEB_BUILD_PROFILES=PROFILES, DPKG_FLAGS="-d",
                   KDEB_PKGVERSION=f"1~{tree_hash[:12]}",
                   DEBFULLNAME="bench", DEBEMAIL="bench@localhost")
        ui.run("make the packages",
               build.make(tree, f"LOCALVERSION={SUFFIX}", "bindeb-pkg"), log, env=env)
        shutil.rmtree(outdir, ignore_errors=True)
        outdir.mkdir(parents=True)
        found = sorted(tree.parent.glob("linux-*.deb"))
        if not any(re.match(r"linux-image-", deb.name) for deb in found):
            raise ui.Stop(f"bindeb-pkg made no linux-image package (log: {ui.shown(log)})")
        for deb in found:
            shutil.move(deb, outdir / deb.name)
        for rest in tree.parent.glob("linux-upstream_*"):
            rest.unlink()
        module = outdir / "test" / "atctest.ko"
        build.module_of(tree, module, env, log)
    return sorted(outdir.glob("*.deb")), module, tree_hash


def image(debs, where):
    """The kernel in the image package of @debs, unpacked below @where, for QEMU."""
    deb = next(d for d in debs if d.name.startswith("linux-image-"))
    shutil.rmtree(where, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", deb, where], check=True)
    kernel = next((where / "boot").glob("vmlinuz-*"))
    data = kernel.read_bytes()
    if data[:2] == b"\x1f\x8b":
        # GRUB unpacks it on a server; UEFI itself cannot
        kernel = where / "Image"
        kernel.write_bytes(gzip.decompress(data))
    return kernel
