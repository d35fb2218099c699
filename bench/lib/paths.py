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
OUT = Path(os.environ.get("OUT") or TOP / "out")
LOGS = OUT / "log"
TREE = TOP / "linux"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atc-fence"
# More downloads, read only: a folder with the pinned tarballs.
DOWNLOADS = os.environ.get("DOWNLOADS")

# A cold build needs about this much in the cache.
COLD_GIB = 9


def pins(section):
    """One section of pins.ini."""
    parser = configparser.ConfigParser()
    parser.read(BENCH / "pins.ini")
    return parser[section]


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
