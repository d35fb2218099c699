#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The bench's commands; `make` is their index. See doc/bench.md."""

import argparse
import os
import random
import re
import sys
import textwrap

from lib import paths, ui

VARIABLES = """
variables:
  ONLY=name            one scenario (or several: a,b), KUnit suite, topic (check),
                       or part of a file's name (mutants)
  CONFIG=small|debian  the configuration of `make deb` (default small)
  SAN=asan|kcsan       the kernel of `make sanitize` (default both) or `make stress`
  MINUTES=n SEED=n     how long `make stress` runs (default 5), and its decisions
  VERDICTS=file        the verdicts.json of an earlier `make mutants` to go on from
  SCENARIO=name        the machine of `make shell`
  TOPIC=name           the topic of `make mbox` and `make check`, there also name/number
  SIGNOFF="Name <m@d>" who sends and certifies it (make mbox)
  KERNEL=base|patched  the kernel of `make shell` (default patched)
  LINUX=dir            your own kernel tree as the base (run, test, scenarios, kunit,
                       tree), or the tree that `make apply` works in
  BASE=7.2             another base from Debian's archive than the usual one
  QEMU=dir             your own QEMU source tree instead of Debian's
  DOWNLOADS=dir        a folder that may hold the pinned tarballs (read only)
  JOBS=n               parallel compiler jobs (default: all CPUs)
  XDG_CACHE_HOME=dir   where downloads and builds live (default ~/.cache)
"""


def show_help():
    """`make help`: the commands from the Makefile's own comments."""
    text = (paths.TOP / "Makefile").read_text(encoding="utf-8")
    for name, what in re.findall(r"^([a-z]+):\s+## (.*)$", text, re.M):
        print(f"  make {name:10} {what}")
    print(VARIABLES, end="")
    found = sorted(p.stem for p in (paths.BENCH / "scenarios").glob("*.py"))
    print("\n" + textwrap.fill("scenarios: " + ", ".join(found), 78,
                               subsequent_indent="  ", break_on_hyphens=False))


# The variables that only some commands take
TAKES = {
    "ONLY": ["kunit", "scenarios", "check", "cover", "sanitize", "mutants"],
    "CONFIG": ["deb"], "VERDICTS": ["mutants"],
    "SAN": ["sanitize", "stress"], "MINUTES": ["stress"], "SEED": ["stress"],
    "SCENARIO": ["shell"], "KERNEL": ["shell"],
    "TOPIC": ["mbox", "check"], "SIGNOFF": ["mbox"],
    "PLAN": ["test"],
    "BASE": ["run", "kunit", "scenarios", "bench", "sanitize", "stress", "shell", "tree",
             "export"],
}


def refuse(command):
    """Stop at a variable on make's command line that @command does not take."""
    for name in re.findall(r"(?:^| )([A-Z]+)=", os.environ.get("MAKEFLAGS", "")):
        if command not in TAKES.get(name, [command]):
            own = [key for key, who in TAKES.items() if command in who]
            raise ui.Stop(f"make {command} takes no {name}=" + (
                f", but {'= and '.join(own)}=" if own else ""))
    paths.check_base()
    # Also from the environment: the others know the usual base only.
    if paths.SUFFIX and command not in ["help", *TAKES["BASE"]]:
        raise ui.Stop(f"make {command} takes no BASE=")


def need(variable, choices=None):
    """The value of a variable that the command cannot do without."""
    value = os.environ.get(variable)
    if not value:
        raise ui.Stop(f"give {variable}=" + (f", one of {', '.join(choices())}"
                                             if choices else ": see `make help`"))
    return value


def number(variable, default):
    """The value of a variable that is a number."""
    text = os.environ.get(variable) or str(default)
    if not re.fullmatch(r"\d+(\.\d+)?" if variable == "MINUTES" else r"\d+", text):
        raise ui.Stop(f"{variable}={text}: not a number")
    return text


def main():
    """Dispatch. Modules are loaded late: `help` needs nothing installed."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=VARIABLES,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["help", "run", "test", "kunit", "scenarios", "bench",
                                            "check", "cover", "deb", "litmus", "mutants",
                                            "sanitize", "stress", "shell", "tree", "export",
                                            "apply", "mbox"])
    command = parser.parse_args().command
    refuse(command)
    if command == "help":
        show_help()
        return 0
    from lib import archive, jobs, mbox, scenario, series
    if command == "export":
        return series.export()
    if command == "apply":
        return series.apply_to(need("LINUX"))
    if command == "mbox":
        return mbox.mbox(need("TOPIC", series.topics), need("SIGNOFF"))
    archive.packages()
    if command == "tree":
        return series.worktree()
    only = os.environ.get("ONLY")
    if command == "run":
        return jobs.run()
    if command == "test":
        return jobs.test()
    if command == "kunit":
        return jobs.kunit(only)
    if command == "scenarios":
        return jobs.scenarios(only)
    if command == "bench":
        return jobs.bench()
    if command == "check":
        return jobs.robots(only or os.environ.get("TOPIC"))
    if command == "cover":
        return jobs.covered(only)
    if command == "deb":
        return jobs.packages(os.environ.get("CONFIG") or "small")
    if command == "mutants":
        return jobs.mutations(only, os.environ.get("VERDICTS"))
    if command == "litmus":
        return jobs.litmus_tests()
    if command == "sanitize":
        return jobs.sanitized(only, os.environ.get("SAN"))
    if command == "stress":
        return jobs.stressed(number("MINUTES", 5), number("SEED", random.randrange(1, 1000000)),
                             os.environ.get("SAN"))
    return jobs.shell(need("SCENARIO", scenario.names), os.environ.get("KERNEL", "patched"))


if __name__ == "__main__":
    sys.exit(ui.main(main))
