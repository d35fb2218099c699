# SPDX-License-Identifier: GPL-2.0
"""
A patch as another base needs it, kept as the difference to the series' own.

Such a difference is made of, and applied to, patches in a plain form: without
what changes with the patches below it (line numbers, blobs, diffstat). So it
stands as long as the lines that it is about, and follows the patch in the rest.
"""

import difflib
import re

HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")
CONTEXT = 3


def _lines(text):
    return text.removesuffix("\n").split("\n")


def plain(text):
    """The patch @text in the plain form."""
    head, mark, rest = text.partition("\n---\n")
    start = re.search(r"^diff --git ", rest, re.M).start()
    diff = re.sub(r"^index [0-9a-f]+\.\..*\n", "", rest[start:], flags=re.M)
    return head + mark + re.sub(r"^@@ .*$", "@@", diff, flags=re.M)


def _hunks(text):
    """[(path, first line or None, lines)] of the hunks of a patch, plain or not."""
    found, path = [], None
    for line in _lines(text):
        if line.startswith("diff --git "):
            path = line.rpartition(" b/")[2]
        elif path and line.startswith("@@"):
            match = HUNK.match(line)
            found.append((path, match and int(match[1]), []))
        elif path and found and found[-1][0] == path:
            found[-1][2].append(line)
    return found


def _starts(wanted, known):
    """Where the hunks @wanted of a file are, from where the similar ones @known are."""
    matcher = difflib.SequenceMatcher(None, [tuple(h[2]) for h in known],
                                      [tuple(h[2]) for h in wanted], autojunk=False)
    found = [1] * len(wanted)
    for _, i1, i2, j1, j2 in matcher.get_opcodes():
        for j in range(j1, j2):
            near = min(i1 + j - j1, max(i2 - 1, i1 - 1))
            found[j] = known[max(near, 0)][1] if known else 1
    return found


def numbered(text, like):
    """
    The plain patch @text as one that `git am` takes. The line numbers are those
    of the patch @like: git finds the lines near by, but does not guess lengths.
    """
    wanted, known = _hunks(text), _hunks(like)
    starts = []
    for path in dict.fromkeys(h[0] for h in wanted):
        starts += _starts([h for h in wanted if h[0] == path],
                          [h for h in known if h[0] == path])
    heads = []
    for (_, _, lines), start in zip(wanted, starts):
        old = sum(line[:1] in (" ", "-") for line in lines)
        new = sum(line[:1] in (" ", "+") for line in lines)
        heads.append(f"@@ -{start if old else 0},{old} +{(start or 1) if new else 0},{new} @@")
    heads = iter(heads)
    head, mark, diff = text.partition("\n---\n")
    return head + mark + re.sub(r"^@@$", lambda _: next(heads), diff, flags=re.M)


def reason(diff):
    """What the text of a difference says in front of its lines."""
    return re.split(r"^@@ ", diff, maxsplit=1, flags=re.M)[0]


def difference(ours, theirs):
    """The lines that make the patch @theirs of the patch @ours."""
    lines = difflib.unified_diff(_lines(plain(ours)), _lines(plain(theirs)),
                                 n=CONTEXT, lineterm="")
    return "".join(f"{line}\n" for line in list(lines)[2:])


def changed(ours, diff):
    """The patch @ours with @diff, the text of a difference; None if it does not fit."""
    lines, end, shift = _lines(plain(ours)), 0, 0
    hunks = re.split(r"^@@ -(\d+).*\n", diff, flags=re.M)[1:]
    for number, body in zip(hunks[::2], hunks[1::2]):
        body = _lines(body)
        old = [line[1:] for line in body if line[0] in " -"]
        new = [line[1:] for line in body if line[0] in " +"]
        wanted = int(number) - 1 + shift
        places = [i for i in range(end, len(lines) - len(old) + 1)
                  if lines[i:i + len(old)] == old]
        if not places:
            return None
        place = min(places, key=lambda i: abs(i - wanted))
        lines[place:place + len(old)] = new
        end = place + len(new)
        shift = place - int(number) + 1 + len(new) - len(old)
    return numbered("".join(f"{line}\n" for line in lines), ours)
