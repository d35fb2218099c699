#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Keep a run's logs for the tests of the harness, without what repeats.

usage: store_log.py RUN_DIRECTORY tests/logs/NAME
"""

import argparse
import json
from pathlib import Path

# Events of the model that a healthy function causes all the time: so many are kept.
EVERYDAY = {"sync": 40, "atc-inv": 40, "translated-landed": 40}
BOOT_LINES = 5


def trim_timeline(text):
    """Drop everyday events, but never those near another event."""
    lines = text.splitlines()
    kinds = [json.loads(line)["ev"] for line in lines]
    keep, left = [], dict(EVERYDAY)
    for number, kind in enumerate(kinds):
        near = any(k not in EVERYDAY for k in kinds[max(0, number - 3):number + 4])
        if kind in left and not near:
            left[kind] -= 1
            if left[kind] < 0:
                continue
        keep.append(lines[number])
    return keep


def trim_channel(text):
    """Drop the kernel's boot messages."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if "atc-bench: clock" in line)
    boot = [line for line in lines[:first] if line.startswith("@kmsg ")]
    return [line for line in lines[:first] if line not in boot[:-BOOT_LINES]] + lines[first:]


def trim_console(text):
    """Drop the kernel's boot messages."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if "Run /init" in line)
    return lines[:BOOT_LINES] + lines[first:]


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, help="output directory of a scenario")
    parser.add_argument("log", type=Path, help="where the test's copy goes")
    args = parser.parse_args()
    args.log.mkdir(parents=True, exist_ok=True)
    for name, trim in (("timeline.jsonl", trim_timeline), ("channel.log", trim_channel),
                       ("console.log", trim_console)):
        text = (args.run / name).read_text(encoding="utf-8", errors="replace")
        (args.log / name).write_text("\n".join(trim(text)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
