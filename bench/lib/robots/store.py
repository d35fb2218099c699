# SPDX-License-Identifier: GPL-2.0
"""
Verdicts that need not be found twice.

A verdict is kept under the hash of all that it depends on: trees, configuration,
tools, and the code of the checker itself. A run that was interrupted, or one
after a patch late in the series has changed, does what is left.
"""

import hashlib
import json
import subprocess
from pathlib import Path


def digest(*parts):
    """The hash of @parts, which may be files, bytes, or anything with a text."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes()
        found.update(part if isinstance(part, bytes) else str(part).encode())
        found.update(b"\0")
    return found.hexdigest()[:24]


def version(*cmd):
    """What a tool says about itself; part of a verdict's key."""
    done = subprocess.run(cmd, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


class Verdicts:
    """The file of all verdicts, written anew after each."""

    def __init__(self, file):
        self.file = Path(file)
        try:
            self.all = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.all = {}

    def get(self, key):
        """The verdict under @key, or None."""
        return self.all.get(key)

    def put(self, key, verdict):
        """Keep @verdict, anything that JSON can hold, under @key."""
        self.all[key] = verdict
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.all, indent=0, sort_keys=True), encoding="utf-8")
        part.rename(self.file)
        return verdict
