#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Stands in for QEMU in the tests of the harness: opens the sockets that its
command line names and does what `fake=...` in the kernel's command line says.
"""

import json
import re
import socket
import sys
import time


def listen(path):
    """A listening unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


def main():
    """Serve both sockets once, then behave."""
    text = " ".join(sys.argv)
    what = re.search(r"fake=(\w+)", text)[1]
    if what == "refuse":
        print("fake: no such machine", flush=True)
        return 1
    verdict = listen(re.search(r"id=v,path=([^,]+)", text)[1])
    qmp = listen(re.search(r"unix:([^,]+)", text)[1])
    guest = verdict.accept()[0].makefile("rw")
    monitor = qmp.accept()[0].makefile("rw")
    if what == "refuse_late":
        print("fake: no such device", flush=True)
        return 1
    print(json.dumps({"QMP": {}}), file=monitor, flush=True)
    monitor.readline()
    print(json.dumps({"return": {}}), file=monitor, flush=True)
    if what == "hang":
        print("KTAP version 1", file=guest, flush=True)
        time.sleep(600)
    if what == "ask":
        print('@qmp {"execute":"query-status"}', file=guest, flush=True)
        asked = json.loads(monitor.readline())
        print(json.dumps({"event": "RESUME"}), file=monitor)
        print(json.dumps({"return": asked["execute"]}), file=monitor, flush=True)
        print("answer " + guest.readline().strip(), file=guest, flush=True)
    if what == "flood":
        for number in range(50000):
            print(f"# line {number}", file=guest)
        guest.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
