# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""What the benches share: running a program that answers in JSON, rows of figures, their
table, options and end."""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class BenchError(Exception):
    """Names the thing that failed, ready to print."""


START = time.monotonic()


def progress(text):
    print(f"bench: {time.monotonic() - START:5.1f} s: {text}", file=sys.stderr, flush=True)


def run_json(argv, timeout_s):
    """Run a program that prints one JSON object; raise BenchError with its last words otherwise."""
    name = os.path.basename(argv[0])
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(argv)}: not done after {timeout_s} s") from None
    if done.returncode != 0:
        raise BenchError(f"{name} exited {done.returncode}: {' '.join(argv)}\n{done.stderr[-1500:]}")
    return json.loads(done.stdout)


def median_pair(pairs):
    """Of the rounds' (value, limit), the one with the median ratio."""
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]


def row(name, unit, value, limit=None):
    return {"name": name, "value": round(value, 2), "unit": unit,
            "limit": None if limit is None else round(limit, 2),
            "ratio": None if limit is None else round(value / limit, 3)}


def print_table(rows):
    aims = any(one.get("aim") is not None for one in rows)
    print(f"{'name':30} {'value':>12} {'limit':>12} {'ratio':>7}  unit" + ("        aim" if aims else ""))
    for one in rows:
        limit = "-" if one["limit"] is None else f"{one['limit']:.2f}"
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.2f}"
        line = f"{one['name']:30} {one['value']:12.2f} {limit:>12} {ratio:>7}  {one['unit']:10}"
        if one.get("aim") is not None:
            sign = "<=" if one["better"] == "lower" else ">="
            line += f"  {sign} {one['aim']:g}{'' if one['met'] else '  missed'}"
        print(line.rstrip())


def add_options(parser, seconds, rounds):
    """What every bench can be told; the defaults differ."""
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")
    parser.add_argument("--seconds", type=type(seconds), default=seconds,
                        help=f"of each measurement (default {seconds})")
    parser.add_argument("--rounds", type=int, default=rounds,
                        help=f"limit and ours alternate N times (default {rounds})")
    parser.add_argument("--build", default=os.environ.get("CHAINBLK_BUILD", str(ROOT / "build")),
                        help=argparse.SUPPRESS)


def print_report(args, measure, *errors):
    """Print the rows of @measure(args, folder), or why there are none: BenchError or one of @errors. The
    folder is there meanwhile. Returns the exit status."""
    start = time.monotonic()
    folder = tempfile.mkdtemp(prefix="chainblk-bench-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    try:
        rows = measure(args, folder)
    except (BenchError, OSError, subprocess.TimeoutExpired, *errors) as error:
        progress(f"failed: {error}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    progress(f"done in {time.monotonic() - start:.0f} s")
    if args.json:
        print(json.dumps({"rows": rows}))
    else:
        print_table(rows)
    return 0
