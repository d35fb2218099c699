# SPDX-License-Identifier: GPL-2.0
"""What a person sees: steps with their time and log, and one-line errors."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

START = time.monotonic()
_lock = threading.Lock()


class Stop(Exception):
    """An error that the user can do something about; str() is the one line."""


def clock():
    """Time since the start as m:ss."""
    t = int(time.monotonic() - START)
    return f"{t // 60:3d}:{t % 60:02d}"


def say(text=""):
    """One line for the person, unbroken by other threads."""
    with _lock:
        print(text, flush=True)


def note(text):
    """A line with the time in front."""
    say(f"{clock()}  {text}")


def shown(path):
    """@path as the user would type it: relative, or with ~ for the home."""
    path = Path(path)
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return prefix + str(path.relative_to(base))
        except ValueError:
            continue
    return str(path)


def tail(log, lines=12):
    """The last lines of a log."""
    try:
        text = Path(log).read_text(errors="replace").splitlines()
    except OSError:
        return []
    return text[-lines:]


def no_space(log):
    """Did a step die of a full disk?"""
    return any("No space left on device" in line for line in tail(log, 400))


def run(what, cmd, log, cwd=None, env=None, stdin=None, hint=None):
    """
    Run @cmd as the step @what with its output in @log. Says that it runs,
    where its log is, after each half minute that it still runs, and how long
    it took. Raises Stop with the last words of the log if it fails; @hint is
    what to do then.
    """
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    note(f"{what} ... (log: {shown(log)})")
    begin = time.monotonic()
    with open(log, "ab") as out:
        out.write(f"\n+ {' '.join(map(str, cmd))}\n".encode())
        out.flush()
        proc = subprocess.Popen([str(c) for c in cmd], cwd=cwd, env=env,
                                stdin=stdin or subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT,
                                start_new_session=True)
        try:
            while True:
                try:
                    code = proc.wait(30)
                    break
                except subprocess.TimeoutExpired:
                    last = (tail(log, 1) or [""])[0]
                    # A step that is silent has said nothing but its command.
                    last = "" if last.startswith("+ ") else f", {last.strip()[-60:]}"
                    note(f"  {what}: {int(time.monotonic() - begin)} s{last}")
        except BaseException:
            # Nothing may be left running: the step has a session of its own.
            kill_group(proc)
            raise
    if code == 0:
        note(f"{what}: done in {int(time.monotonic() - begin)} s")
        return
    if no_space(log):
        raise Stop(f"{what}: the disk is full: free some space or set "
                   "XDG_CACHE_HOME to a larger disk, then run again")
    for line in tail(log):
        say(f"    {line}")
    raise Stop(f"{what} failed (log: {shown(log)})"
               + (f": {hint}" if hint else ""))


def kill_group(proc):
    """End @proc and all that it started."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(proc.pid, sig)
        except ProcessLookupError:
            return
        try:
            proc.wait(5)
        except subprocess.TimeoutExpired:
            continue


def main(function):
    """Run @function; a Stop, Ctrl-C or a full disk is one line and exit 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return function()
    except Stop as stop:
        print(f"error: {stop}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nerror: interrupted; the same command goes on from here",
              file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who reads has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise
        print("error: the disk is full: free some space or set XDG_CACHE_HOME "
              "to a larger disk, then run again", file=sys.stderr)
    return 1
