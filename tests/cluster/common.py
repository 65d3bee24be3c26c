# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""What the cluster tests share: a cluster of real processes, a verified load, honest skips.

Every test file has one or more functions `test_*(folder)` and ends with `run_tests(globals())`: each
gets a folder of its own, its name and time are printed, and the first failure ends the file. Waiting
is done on events (a process ending, a line in a log) or by asking again until an answer changes,
with a limit; nothing relies on a pause being long enough.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from cluster import Cluster, ClusterError, default_build  # noqa: E402

BUILD = pathlib.Path(default_build()).resolve()


class Skip(Exception):
    """This machine cannot run the test: the reason, for the reader of the result."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed: run ./dev setup")


def run(argv, timeout_s=120, **options):
    """Run to the end; raises with the output when the exit status is not 0."""
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout_s, **options)
    assert done.returncode == 0, \
        f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


class Load:
    """The verifying load generator of the bench, on one volume."""

    def __init__(self, cluster, volume, folder):
        self.argv = [str(BUILD / "tests" / "bench" / "load"), "--cfg", cluster.cfg, "--volume", volume,
                     "--versions", os.path.join(folder, f"{volume}.versions")]

    def run(self, arguments, timeout_s=120):
        """Returns the report; a wrong byte or a failed operation is a failure here."""
        return json.loads(run([*self.argv, *arguments.split()], timeout_s))

    def start(self, arguments):
        return subprocess.Popen([*self.argv, *arguments.split()], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def eventually(question, wanted, limit_s=30):
    """Ask until the answer is as wanted; returns it. The last answer is in the failure. A question
    runs a program or waits for something itself: there is no pause in between."""
    end = time.monotonic() + limit_s
    while True:
        answer = question()
        if wanted(answer):
            return answer
        assert time.monotonic() < end, f"after {limit_s} s still: {answer}"


def new_cluster(folder, **options):
    options.setdefault("store_size", "1G")
    options.setdefault("log_size", "64M")
    return Cluster(os.path.join(folder, "cluster"), str(BUILD), **options)


def show_logs(folder):
    for log in sorted(pathlib.Path(folder).rglob("*.log")):
        if log.name == "state.log":  # cfgsvc's state, not for reading
            continue
        lines = log.read_text(errors="replace").splitlines()[-12:]
        print(f"--- {log.name}", *lines, sep="\n    ")


def run_tests(names):
    tests = [(name, test) for name, test in names.items() if name.startswith("test_")]
    chosen = sys.argv[1:]
    ran, reason = 0, None
    for name, test in tests:
        if chosen and name not in chosen:
            continue
        folder = tempfile.mkdtemp(prefix="chainblk-test-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        start = time.monotonic()
        try:
            test(folder)
            ran += 1
            print(f"ok {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Skip as skip:
            reason = str(skip)
            print(f"skip {name}: {reason}", flush=True)
        except (AssertionError, ClusterError, subprocess.TimeoutExpired, OSError) as error:
            print(f"FAILED {name}: {error}", flush=True)
            show_logs(folder)
            sys.exit(1)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if not ran:
        print(reason or f"no test of {chosen}")
        sys.exit(77 if reason else 2)
