#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""What the store does when everything below it fails, one thing at a time: the programs of tests/fault
one after the other, and their sums."""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("CHAINBLK_BUILD", ROOT / "build")).resolve()
HERE = BUILD / "tests" / "fault"
PRELOAD = {"LD_PRELOAD": str(HERE / "libfault_shim.so")}

# What each subject consists of: (what, command, environment).
SUBJECTS = {
    "store": [("on the fake disk", [HERE / "fault_store"], {}),
              ("over io_uring and a file", [HERE / "fault_real", "--dir", HERE], PRELOAD),
              ("starts of chaind", [ROOT / "tests" / "fault" / "starts.py"], {})],
    "damage": [("a closed store", [HERE / "damage"], {})],
}


def run(what, argv, env, as_json):
    """(points, bad) of one program; what it cannot do here counts nothing, and is said."""
    done = subprocess.run([*map(str, argv), "--json"], env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True)
    if done.returncode == 77:
        print(f"{what}: skipped: {done.stdout.strip()}", file=sys.stderr)
        return 0, 0
    if done.returncode not in (0, 1):
        sys.exit(f"faults: {argv[0]}: exit {done.returncode}")
    result = json.loads(done.stdout)
    if not as_json:
        print(f"{what}: {result['points']} points, {result['bad']} bad")
    return result["points"], result["bad"]


def main():
    parser = argparse.ArgumentParser(
        prog="./dev faults", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Let everything below the store fail, one thing at a time, and see that nothing is lost, "
        "hangs or leaks.\n\n"
        "  store   the Nth write, flush, read, submission, buffer, piece of memory, call at start:\n"
        "          N = 1, 2, 3 ... until a run has no Nth, once and from then on\n"
        "  damage  every kind of block of a closed store: bits, zeros, exchanged, stale",
        epilog="A bad point is named with the command that replays it (programs lie in build/tests/fault).\n"
        "Exit status: 0 none was bad, 1 some were, 2 wrong usage.")
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--json", action="store_true", help='{"points": N, "bad": N}')
    args = parser.parse_args()
    points = bad = 0
    for what, argv, env in SUBJECTS[args.subject]:
        more, worse = run(what, argv, env, args.json)
        points, bad = points + more, bad + worse
    print(json.dumps({"points": points, "bad": bad}) if args.json else f"{points} points, {bad} bad")
    return 1 if bad or not points else 0


sys.exit(main())
