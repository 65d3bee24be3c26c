#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""./dev sim: the whole cluster in one deterministic thread (sim/), and its planted bugs.

Everything but --plants goes to chain-sim as it is. A planted bug is a line under `#ifdef PLANT_NAME`
in the product; each is compiled alone, into build-plant-NAME, and the simulator has to find it. Those in
store/ may also be found by the power cuts of tests/crash, which see more of one disk.
"""
import argparse
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("CHAINBLK_BUILD", str(ROOT / "build")))
FOLDERS = ["lib", "store", "client", "chaind", "cfgsvc"]
# The first version's five; the others are printed and counted all the same.
FIRST = ["commit_on_tail_durable", "ack_on_receipt", "accept_wrong_seq", "tail_serves_uncommitted",
         "retry_renumbered"]


def progress(text):
    print(f"sim: {text}", file=sys.stderr, flush=True)


def planted():
    """Names of all plants in the product, those of the first version in front."""
    names = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).glob("*.[ch]"):
            names |= set(re.findall(r"\bPLANT_([A-Z0-9_]+)", path.read_text()))
    names = {name.lower() for name in names}
    return [name for name in FIRST if name in names] + sorted(names - set(FIRST))


def in_store(name):
    return any(f"PLANT_{name.upper()}" in path.read_text() for path in (ROOT / "store").glob("*.[ch]"))


def build_plant(name, targets):
    """The hunters with this one bug in them; only what they link is compiled."""
    folder = BUILD.with_name(f"{BUILD.name}-plant-{name}")
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(folder), f"-Dplant={name}"], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL, stderr=sys.stderr)
    subprocess.run(["ninja", "-C", str(folder), "--quiet", *targets], check=True, stdout=sys.stderr)
    return folder


def hunt(name, minutes):
    """Run the hunters of a plant until one finds something or the time is over."""
    hunters = {"sim/chain-sim": ["--minutes", str(minutes), "--first", "1"]}
    if in_store(name):
        hunters["tests/crash/crash_store"] = ["--jobs", "1", "--bad", "1", "--minutes", str(minutes)]
    folder = build_plant(name, hunters)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = None
    for hunter, arguments in hunters.items():
        done = subprocess.run([str(folder / hunter), *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=minutes * 60 * 4 + 60)
        if done.returncode not in (0, 1, -signal.SIGABRT):  # a CHECK that failed has found it too
            raise RuntimeError(f"{hunter} with plant {name} exited {done.returncode}: "
                               f"{done.stderr[-800:]}")
        if done.returncode:
            found = pathlib.Path(hunter).name
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"name": name, "found": bool(found), "cpu_seconds": round(cpu_s, 2), "by": found}


def plants(args):
    names = args.names or planted()
    results = []
    for number, name in enumerate(names, 1):
        result = hunt(name, args.minutes)
        results.append(result)
        progress(f"plant {number} of {len(names)}, {name}: "
                 f"{'found by ' + result['by'] if result['found'] else 'NOT FOUND'} in "
                 f"{result['cpu_seconds']} CPU s")
    found = sum(result["found"] for result in results)
    if args.json:
        print(json.dumps({"plants": results}))
    else:
        print(f"{found} of {len(results)} planted bugs found")
    missed = [result["name"] for result in results if not result["found"]]
    if missed:
        progress(f"a simulator that misses a plant is broken: {', '.join(missed)}")
    return 1 if missed else 0


def main():
    if "--plants" not in sys.argv[1:]:
        simulator = BUILD / "sim" / "chain-sim"
        if not simulator.exists() and {"-h", "--help"} & set(sys.argv[1:]):
            print("usage: ./dev sim [chain-sim's options] | --plants: build first for all of the help")
            return 0
        os.execv(simulator, [str(simulator), *sys.argv[1:]])
    parser = argparse.ArgumentParser(prog="./dev sim --plants", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plants", action="store_true", help="compile each planted bug, find it")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")
    parser.add_argument("--minutes", type=float, default=2, help="CPU minutes per plant (default 2)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these plants")
    try:
        return plants(parser.parse_args())
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        progress(f"failed: {error}")
        return 1


sys.exit(main())
