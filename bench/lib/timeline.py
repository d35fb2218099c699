# SPDX-License-Identifier: GPL-2.0
"""
One story out of three: the model's events, the guest's marks, the kernel's log.

All are in nanoseconds of QEMU's virtual clock. The guest's counter is that
clock; the log's clock starts later, and the mark "clock", which stands in
both, tells by how much.
"""

import json
from dataclasses import dataclass, field

from . import kernel_says

CLOCK = "clock"
SILENCE = "silence"
RESETS = ("reset", "failing reset")
RECOVERED = "recovered"
# Too frequent to be told of every function
_EVERYDAY = {"sync", "atc-inv", "translated-landed"}


def _number(value):
    return int(value, 0) if isinstance(value, str) else value


@dataclass
class Timeline:
    """
    @events of the model, @marks {name: first t}, @log (t, text).
    @from_boot: the device is silent from the start, so the incident begins there
    """
    events: list = field(default_factory=list)
    mark_lines: list = field(default_factory=list)
    kmsg: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    from_boot: bool = False

    def load_events(self, text):
        """The model's file; only its last line may be cut off."""
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
            except ValueError:
                if number < len(lines):
                    self.errors.append(f"timeline: line {number} is no JSON")
                continue
            if "sid" in event:
                event["sid"] = _number(event["sid"])
            self.events.append(event)

    @property
    def marks(self):
        """{name: time of its first mark}"""
        found = {}
        for mark in self.mark_lines:
            found.setdefault(mark["name"], mark["t"])
        return found

    def log(self):
        """The kernel's log as (t, text), on the common clock."""
        start = self.marks.get(CLOCK)
        here = next((line["us"] for line in self.kmsg
                     if kernel_says.MARK.match(line["text"])
                     and kernel_says.MARK.match(line["text"])[1] == CLOCK), None)
        if start is None or here is None:
            return []
        return [(start + (line["us"] - here) * 1000, line["text"]) for line in self.kmsg]

    def incident(self, until=(RECOVERED,)):
        """The model's events from the silence to the first of the marks @until."""
        begin = 0 if self.from_boot else self.marks.get(SILENCE, float("inf"))
        end = min([self.marks[name] for name in until if name in self.marks],
                  default=float("inf"))
        return [e for e in self.events if begin <= e["t"] <= end]

    def incident_log(self):
        """The kernel's lines from silence to recovery, without the bench's own."""
        inside, lines = self.from_boot, []
        for line in self.kmsg:
            mark = kernel_says.MARK.match(line["text"])
            if mark and mark[1] == SILENCE:
                inside = True
            elif mark and mark[1] == RECOVERED:
                break
            elif inside and kernel_says.about_incident(line["text"]):
                lines.append(line["text"])
        return lines

    def story(self, broken_sids, limit=200):
        """
        What a person wants to read, in order: [{"us", "who", "what"}], us
        since the silence, equal neighbours folded.
        """
        zero = self.marks.get(SILENCE)
        if zero is None:
            return []
        rows = [(mark["t"], "guest", mark["name"]) for mark in self.mark_lines]
        rows += [(t, "kernel", text) for t, text in self.log()
                 if not kernel_says.MARK.match(text)]
        rows += [(e["t"], "model", _describe(e)) for e in self.events
                 if e["ev"] not in ("sync", "mark")
                 and (e["ev"] not in _EVERYDAY or e.get("sid") in broken_sids)]
        end = self.marks.get(RECOVERED, float("inf"))
        rows = sorted(row for row in rows if zero <= row[0] <= end + 1_000_000)
        story = []
        for t, who, what in rows:
            if story and (story[-1]["who"], story[-1]["what"]) == (who, what):
                story[-1]["times"] = story[-1].get("times", 1) + 1
                continue
            story.append({"us": round((t - zero) / 1000), "who": who, "what": what})
        if len(story) > limit:
            half = limit // 2
            left_out = {"us": story[half]["us"], "who": "bench",
                        "what": f"{len(story) - 2 * half} more lines: see timeline.jsonl"}
            story = story[:half] + [left_out] + story[-half:]
        return story


def _describe(event):
    """One line for an event: its name and its fields."""
    words = [event["ev"]]
    for name, value in event.items():
        if name in ("t", "ev"):
            continue
        if name in ("sid", "addr") and isinstance(value, int):
            value = f"{value:#x}"
        words.append(f"{name}={json.dumps(value) if isinstance(value, list) else value}")
    return " ".join(words)
