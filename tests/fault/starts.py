#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Starts of chaind in which the Nth thing asked of the system is refused: memory, io_uring's set-up and
its buffers, opening, locking, reading, writing; N = 1, 2, 3 ... until a start has no Nth.

A start may do without (and then must stop in order), or end with exit status 1 and one line that
names thing and cause. It may not crash, hang, or harm the store: after each, chaind starts on it
undisturbed. Points are named as in fault_plan.h: starts.py --point run/alloc/enomem/once/3.
"""
import argparse
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("CHAINBLK_BUILD", ROOT / "build")).resolve()
CHAIND, SHIM = BUILD / "chaind" / "chaind", BUILD / "tests" / "fault" / "libfault_shim.so"
HANG_S = 120
ROWS = ["alloc/enomem/once", "alloc/enomem/always", "setup/enosys/once", "setup/eperm/once",
        "setup/enomem/once", "register/enomem/once", "call/eio/once", "call/eio/always"]
NAMED = re.compile(r"^chaind: (\S.*): (\S.*)$", re.MULTILINE)
PLAN = struct.Struct("=IIQ??6x10QQ")  # struct fault_plan: the last number is .fired


class Bad(Exception):
    """What a start did and may not do."""


class Starts:
    def __init__(self, folder):
        self.store = os.path.join(folder, "store")
        self.report = os.path.join(folder, "report")
        self.socket = "unix:" + os.path.join(folder, "listen")
        self.nobody = "unix:" + os.path.join(folder, "nobody")

    def start(self, command, point):
        """Start chaind; return (exit status, what it said). One that came up is told to stop."""
        argv = {"format": ["format", self.store, "--size", "16M", "--log-size", "4M", "--force"],
                "run": ["run", self.store, "--name", "a", "--cfg", self.nobody, "--listen", self.socket]}
        env = dict(os.environ)
        if point:
            env.update(LD_PRELOAD=str(SHIM), FAULT_POINT=point, FAULT_REPORT=self.report)
        process = subprocess.Popen([CHAIND, *argv[command]], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
        hung = threading.Timer(HANG_S, process.kill)
        hung.start()
        said = []
        for line in process.stderr:
            said.append(line)
            if " cfgsvc: " in line:  # the store is open, the network is there: it looks for its cluster
                process.terminate()
        status = process.wait()
        hung.cancel()
        return status, "".join(said)

    def fired(self):
        return PLAN.unpack(pathlib.Path(self.report).read_bytes()[:PLAN.size])[-1] > 0

    def sound(self):
        status, said = self.start("run", None)
        if status != 0 or " cfgsvc: " not in said:
            raise Bad(f"the store does not start afterwards: exit {status}: {said}")

    def point(self, command, point):
        """Whether the fault happened; raises Bad."""
        pathlib.Path(self.report).write_bytes(bytes(4096))
        if command == "format":
            pathlib.Path(self.store).unlink(missing_ok=True)
        status, said = self.start(command, point)
        if status not in (0, 1):
            raise Bad(f"exit {status}: {said}")
        if status == 1 and not NAMED.search(said):
            raise Bad(f"it failed without a word that names thing and cause: {said}")
        if not self.fired() and status != 0:
            raise Bad(f"nothing was refused, and it failed: {said}")
        if command == "format" and status != 0:
            if self.start("format", None)[0] != 0:
                raise Bad("the disk cannot be formatted any more")
        self.sound()
        return self.fired()

    def row(self, command, row, first):
        """(points, bad) of all N."""
        points = bad = 0
        while True:
            name = f"{row}/{points + 1}"
            try:
                if not self.point(command, name):
                    return points, bad
            except Bad as error:
                bad += 1
                print(f"bad: tests/fault/starts.py --point {command}/{name}: {error}", file=sys.stderr)
                if first or bad > 20:
                    return points + 1, bad
            points += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--first", action="store_true", help="end a row at its first bad point")
    parser.add_argument("--point", help="only this one: COMMAND/CLASS/KIND/once|always/N")
    args = parser.parse_args()
    if not SHIM.exists():
        print("no preloaded library in this build (sanitizers?)")
        return 77
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        starts = Starts(folder)
        if starts.start("format", None)[0] != 0:
            print(f"no store can be made in {BUILD}: {starts.start('format', None)[1]}")
            return 77
        if args.point:
            command, _, point = args.point.partition("/")
            print(f"{args.point}: {'good' if starts.point(command, point) else 'no such point'}")
            return 0
        points = bad = 0
        for command in ("format", "run"):
            for row in ROWS:
                more, worse = starts.row(command, row, args.first)
                points, bad = points + more, bad + worse
                if not args.json:
                    print(f"{command} {row}: {more} points")
    print(json.dumps({"points": points, "bad": bad}) if args.json else f"{points} points, {bad} bad")
    return 1 if bad or not points else 0


sys.exit(main())
