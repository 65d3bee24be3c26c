#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Run the tests through meson, stage by stage, and end with `N passed, N failed, N skipped`.

A stage is a set of meson suites that may run side by side. Each test of meson's log counts once per
run; a test that exits 77 is skipped and its last line, the reason, is printed.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLOW_SUITES = ["sim", "cluster", "e2e", "soak"]
# Real processes and virtual machines get the machine to themselves: their time limits mean something.
STAGES = {
    "quick": [f"--no-suite={suite}" for suite in SLOW_SUITES],
    "sim": ["--suite=sim"],
    "cluster": ["--suite=cluster", "--num-processes=1"],
    "e2e": ["--suite=e2e", "--num-processes=1"],
    "soak": ["--suite=soak", "--num-processes=1"],
}
DEFAULT_STAGES = ["quick", "sim", "cluster", "e2e"]
BAD = {"FAIL", "TIMEOUT", "INTERRUPT", "ERROR", "UNEXPECTEDPASS"}


def parse_args():
    parser = argparse.ArgumentParser(
        prog="./dev test", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Build, then run the tests: all stages but soak, or those named.\n\n"
                    "  quick    unit, golden, fuzz corpus, tidy, purity: seconds\n"
                    "  sim      the simulator and its planted bugs\n"
                    "  cluster  real processes on loopback\n"
                    "  e2e      the kernel target in the virtual machine\n"
                    "  soak     long runs, never by default",
        epilog="Exit status: 0 all passed or skipped, 1 something failed, 2 wrong usage.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=" ".join(STAGES))
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each test N times")
    parser.add_argument("--slow", type=int, default=2, metavar="K",
                        help="multiply the tests' time limits by K (default 2)")
    parser.add_argument("--only", metavar="NAME", help="only the test of this name")
    parser.add_argument("--build", default=os.environ.get("CHAINBLK_BUILD", str(ROOT / "build")),
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    for stage in args.stages:
        if stage not in STAGES:
            parser.error(f"no stage '{stage}': choose from {' '.join(STAGES)}")
    return args


def run_stage(stage, args):
    """Yield (name, result, output) of each test the stage ran, and fail loudly if meson did."""
    log = pathlib.Path(args.build) / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", args.build, "--no-rebuild", "--print-errorlogs",
               f"--timeout-multiplier={args.slow}", f"--repeat={args.repeat}", *STAGES[stage]]
    if args.only:
        command.append(args.only)
    start = time.monotonic()
    print(f"== {stage}", flush=True)
    status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    results = []
    if log.exists():
        for line in log.read_text(errors="replace").splitlines():
            record = json.loads(line)
            output = record.get("stdout", "") + "\n" + record.get("stderr", "")
            results.append((record["name"], record["result"], output))
    print(f"== {stage}: {len(results)} tests in {time.monotonic() - start:.0f} s", flush=True)
    if status != 0 and not any(result in BAD for _, result, _ in results):
        if results or not args.only:
            results.append((f"meson test, stage {stage}", "ERROR", f"meson exited {status}"))
    return results


def reason_of(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def main():
    args = parse_args()
    results = []
    for stage in args.stages or DEFAULT_STAGES:
        results += run_stage(stage, args)
    failed = [name for name, result, _ in results if result in BAD]
    skipped = [(name, output) for name, result, output in results if result == "SKIP"]
    for name, output in skipped:
        print(f"skipped: {name}: {reason_of(output)}")
    for name in failed:
        print(f"failed: {name}")
    passed = len(results) - len(failed) - len(skipped)
    if not passed and not failed:
        print("failed: no test ran")
        failed = ["nothing"]
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


sys.exit(main())
