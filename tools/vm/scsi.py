#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""./dev scsi [--json]: libiscsi's iscsi-test-cu, SCSI family, against a LUN of the virtual machine.

tests/e2e/scsi_expected.txt lists the tests that fail today and why. The list is exact both ways: a
test that fails and is not in it is unexpected, one in it that no longer fails is missing. Tests
that are flaky in the kernel itself run and are printed, but are not counted.

With --json one object on standard output, progress on standard error; the exit status then only
tells whether the run itself worked. Without it, exit 1 when anything is unexpected or missing.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from rig import ERRORS, Rig, StepError, Steps, end_on_signals, tool  # noqa: E402

EXPECTED = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests", "e2e",
                        "scsi_expected.txt")
SUITE_S = 180
RUN_S = 540 # on a busy machine; alone it takes two minutes
LUN_SIZE = "256M"
STORE_BYTES = 768 << 20
FAMILY = "SCSI"


def read_expected(path=EXPECTED):
    """{name: reason} of the expected failures and of the flaky tests."""
    failing, flaky = {}, {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            text, _, reason = line.partition("#")
            words = text.split()
            if not words:
                continue
            if len(words) == 1:
                failing[words[0]] = reason.strip()
            elif len(words) == 2 and words[0] == "flaky":
                flaky[words[1]] = reason.strip()
            else:
                raise StepError(f"{path}:{number}: want [flaky] SCSI.Suite.Test [# why]")
    return failing, flaky


def suites():
    found = re.findall(rf"^\s*({FAMILY}\.\w+)\s*$", tool(["iscsi-test-cu", "-l"]), re.M)
    if not found:
        raise StepError("iscsi-test-cu -l lists no suites: another version?")
    return sorted(set(found))


def results(suite, text):
    """[(test, outcome)] out of one suite's output. iscsi-test-cu counts a skipped test as passed;
    here a test that said [SKIPPED] and did not fail is skipped."""
    out = []
    parts = re.split(r"\n  Test: (\w+) \.\.\.", text.split("Run Summary")[0])
    for name, body in zip(parts[1::2], parts[2::2]):
        if re.search(r"(^|\n)FAILED", body):
            outcome = "failed"
        elif "[SKIPPED]" in body:
            outcome = "skipped"
        elif re.search(r"(^|\n)passed", body):
            outcome = "passed"
        else:
            outcome = "unfinished"
        out.append((f"{suite}.{name}", outcome))
    return out


def run_suite(suite, url, log_dir, limit_s):
    """A limit on each: when a command hangs, the run would otherwise never seem to end."""
    path = os.path.join(log_dir, suite + ".txt")
    with open(path, "w", encoding="utf-8") as f:
        p = subprocess.Popen(["iscsi-test-cu", "-d", "-t", suite, url], stdin=subprocess.DEVNULL,
                             stdout=f, stderr=subprocess.STDOUT)
        try:
            p.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()
    with open(path, errors="replace", encoding="utf-8") as f:
        found = results(suite, f.read())
    return found or [(f"{suite}.(nothing ran)", "unfinished")]


def run_all(url, log_dir, say):
    os.makedirs(log_dir, exist_ok=True)
    begin = time.monotonic()
    outcomes = {}
    for suite in suites():
        start = time.monotonic()
        left = RUN_S - (start - begin)
        if left <= 0:
            outcomes[f"{suite}.(no time left)"] = "unfinished"
            continue
        found = run_suite(suite, url, log_dir, min(SUITE_S, left))
        took = time.monotonic() - start
        outcomes.update(found)
        count = {k: sum(o == k for _, o in found) for k in ("passed", "failed", "skipped",
                                                            "unfinished")}
        say("%-28s %5.1f s  %s" % (suite, took, ", ".join(
            f"{n} {k}" for k, n in count.items() if n)))
    return outcomes


def judge(outcomes, failing, flaky):
    """The object that --json prints."""
    counted = {name: o for name, o in outcomes.items() if name not in flaky}
    failed = {name for name, o in counted.items() if o in ("failed", "unfinished")}
    return {
        "passed": sum(o == "passed" for o in counted.values()),
        "failed": len(failed),
        "skipped": sum(o == "skipped" for o in counted.values()),
        "flaky": sorted(name for name in outcomes if name in flaky),
        "unexpected": sorted(failed - set(failing)),
        "missing": sorted(set(failing) - failed),
    }


def report(verdict, outcomes, flaky, say):
    for name in verdict["flaky"]:
        say(f"flaky, not counted: {name}: {outcomes[name]} ({flaky[name]})")
    for name in verdict["unexpected"]:
        say(f"UNEXPECTED: {name}: {outcomes[name]}")
    for name in verdict["missing"]:
        say(f"MISSING: {name} is listed as failing and was {outcomes.get(name, 'not run')}")
    say("{passed} passed, {failed} failed (all expected), {skipped} skipped".format(**verdict)
        if not verdict["unexpected"] and not verdict["missing"] else
        "{passed} passed, {failed} failed, {skipped} skipped; not as listed".format(**verdict))


def run(rig, steps, log_dir):
    """On a rig whose gateway is up. Returns the verdict."""
    failing, flaky = read_expected()
    rig.volume_create("scsi", LUN_SIZE)
    lun = rig.gateway.create_disk("scsi", LUN_SIZE, "scsi")
    outcomes = run_all(rig.gateway.url(lun), log_dir, steps.say)
    rig.check_alive()
    verdict = judge(outcomes, failing, flaky)
    report(verdict, outcomes, flaky, steps.say)
    return verdict


def main():
    p = argparse.ArgumentParser(prog="./dev scsi", description=__doc__.split("\n\n", 1)[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--json", action="store_true", help="the verdict as JSON on standard output")
    p.add_argument("--build", default=None, help="build folder (default: build/)")
    p.add_argument("--logs", default=None, help="keep each suite's output in this folder")
    p.add_argument("--mock", default=None, metavar="LIBRARY",
                   help="libchainblk_mock.so: the kernel side alone, without a cluster")
    a = p.parse_args()
    end_on_signals()
    steps = Steps()
    # what the commands do is looked at here, not what disks do: stores in memory where possible
    rig = Rig(build_dir=a.build, mock=a.mock, say=steps.say, memory_bytes=3 * STORE_BYTES)
    try:
        with steps("cluster"):
            rig.start_cluster(store_size=str(STORE_BYTES))
        with steps("virtual machine and kernel target"):
            rig.start_gateway()
        with steps("iscsi-test-cu, SCSI family"):
            verdict = run(rig, steps, a.logs or os.path.join(rig.run_dir, "scsi"))
    except ERRORS as e:
        print(f"scsi: {e}\n{rig.last_words()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rig.stop()
    if a.json:
        print(json.dumps(verdict))
        return 0
    return 1 if verdict["unexpected"] or verdict["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())
