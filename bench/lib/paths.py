# SPDX-License-Identifier: GPL-2.0
"""Where things are: the checkout, its output, and the cache outside it."""

import configparser
import fcntl
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

from . import ui

TOP = Path(__file__).resolve().parents[2]
BENCH = TOP / "bench"
SERIES = TOP / "series"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atc-fence"
# More downloads, read only: a folder with the pinned tarballs.
DOWNLOADS = os.environ.get("DOWNLOADS")

# A cold build needs about this much in the cache.
COLD_GIB = 9


def _pins():
    parser = configparser.ConfigParser()
    parser.read(BENCH / "pins.ini")
    return parser


def pins(section):
    """One section of pins.ini."""
    return _pins()[section]


def suffix(base):
    """
    What tells the things of the base @base from those of the usual one: sources
    and builds in the cache, locks, output, and the tree to hack in.
    """
    return "" if base in (None, "", pins("linux")["release"]) else f"-{base}"


SUFFIX = suffix(os.environ.get("BASE"))
# The base's section of pins.ini, its folder in the cache, and its lock
LINUX = "linux" + SUFFIX
OUT = Path(os.environ.get("OUT") or TOP / "out") / (SUFFIX and LINUX)
LOGS = OUT / "log"
TREE = TOP / LINUX


def check_base():
    """Stop if BASE= names no base that is pinned."""
    found = _pins()
    there = [found[name]["release"] for name in found.sections()
             if name == "linux" or name.startswith("linux-")]
    if LINUX not in found.sections():
        raise ui.Stop(f"no BASE={SUFFIX[1:]}: there are {', '.join(there)}")


def jobs():
    """Parallel jobs for make and ninja."""
    own = os.environ.get("JOBS")
    if own and not re.fullmatch(r"[1-9]\d*", own):
        raise ui.Stop(f"JOBS={own}: give a number")
    return own or str(len(os.sched_getaffinity(0)))


def check_space(gib=COLD_GIB):
    """Stop before a long build that cannot end well."""
    CACHE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(CACHE).free / 2**30
    if free < gib:
        raise ui.Stop(f"{ui.shown(CACHE)} has {free:.1f} GiB free, a first "
                      f"build needs {gib}: free some space or set "
                      "XDG_CACHE_HOME to a larger disk")


@contextmanager
def locked(name):
    """One builder at a time: the trees in the cache are shared by checkouts."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ui.note(f"waiting for another command that builds {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
