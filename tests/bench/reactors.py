#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""One store, one daemon, no replication: what a second reactor brings.

    tests/bench/reactors.py [--reactors 1,2] [--rounds 3] [--seconds 5] [--loads 2] [--json]

Per round and number of reactors: a cluster of one daemon, --loads volumes filled, then that many load
processes (load.c, which verify what they read) at depth 32 each, 4 KiB random writes, then reads. Numbers
of reactors alternate round by round; printed are the medians, and the daemon's CPU seconds per 100,000
operations. The loads need processors too: the figure is of the machine as a whole.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from cluster import Cluster, ClusterError, default_build  # noqa: E402

VOLUME_SIZE, STORE_SIZE, LOG_SIZE = "256M", "3G", "256M"


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_loads(commands):
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for command in commands]
    reports = []
    for load in running:
        out, err = load.communicate(timeout=600)
        if load.returncode != 0:
            raise ClusterError(f"a load ended with {load.returncode}: {err.strip()}")
        reports.append(json.loads(out))
    return reports


def one_round(reactors, a, folder):
    build = default_build()
    with Cluster(os.path.join(folder, "run"), build, servers=1, store_size=STORE_SIZE, log_size=LOG_SIZE,
                 reactors=reactors) as cluster:
        loads = []
        for i in range(a.loads):
            cluster.volume_create(f"vol{i}", VOLUME_SIZE)
            loads.append([os.path.join(build, "tests", "bench", "load"), "--cfg", cluster.cfg, "--volume",
                          f"vol{i}", "--versions", os.path.join(folder, f"vol{i}.versions")])
        run_loads([[*load, *"--op fill --block 1M --depth 8".split()] for load in loads])
        result = {}
        for op in ("write", "read"):
            before = cpu_s(cluster.servers[0].pid)
            reports = run_loads([[*load, "--op", op, "--block", "4K", "--depth", "32", "--seconds",
                                  str(a.seconds)] for load in loads])
            used = cpu_s(cluster.servers[0].pid) - before
            result[f"{op}_iops"] = sum(report["iops"] for report in reports)
            result[f"{op}_cpu_s_per_100k"] = used / sum(report["ops"] for report in reports) * 1e5
        cluster.stop()
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--reactors", default="1,2", help="numbers of reactors to compare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--loads", type=int, default=2, help="volumes and load processes")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    counts = [int(text) for text in a.reactors.split(",")]
    found = {n: [] for n in counts}
    try:
        for _ in range(a.rounds):
            for n in counts:
                with tempfile.TemporaryDirectory(prefix="chainblk-", dir=os.environ.get("TMPDIR", "/var/tmp")) \
                        as folder:
                    found[n].append(one_round(n, a, folder))
    except ClusterError as error:
        sys.exit(f"reactors: {error}")
    rows = [{"reactors": n, **{key: round(statistics.median(r[key] for r in found[n]), 3)
                               for key in found[n][0]}} for n in counts]
    if a.json:
        print(json.dumps({"processors": os.cpu_count(), "rounds": a.rounds, "loads": a.loads, "rows": rows}))
        return
    for row in rows:
        print(f"{row['reactors']} reactors: {row['write_iops']:.0f} writes/s ({row['write_cpu_s_per_100k']:.2f} CPU s"
              f" per 100,000), {row['read_iops']:.0f} reads/s ({row['read_cpu_s_per_100k']:.2f})")


main()
