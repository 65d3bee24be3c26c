#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Figures of a three-replica cluster beside what the machine can do, measured in the same run.

Three chaind on three stores on this machine, a volume filled with incompressible stamped data, loads
through libchainblk that verify every block they read (load.c). Limits: three hop processes with one
durable 4 KiB write each (limits/hops.c) and a raw file of the volume's size (limits/rawdisk.c).
Limit and ours alternate, round by round; of the rounds' ratios the median counts, and value and limit
are that round's. Random writes exceed twice the log of a store, so that moving data to its place
is part of the figure.
"""
import argparse
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time

from rows import ROOT, BenchError, add_options, median_pair, print_report, progress, row, run_json

sys.path.insert(0, str(ROOT / "tools"))
from cluster import Cluster, ClusterError  # noqa: E402

VOLUME, VOLUME_BYTES = "bench", 1 << 30
STORE_SIZE, LOG_BYTES = "3G", 128 << 20
HOP_FILE = "512M"
MIN_BYTES_PER_ROUND = 2 * LOG_BYTES  # of random writes at depth 32

# name, unit, then what ours and the limit came to in one round.
ROWS = [
    ("write_4k_qd1_us", "us", lambda o: o["write_qd1"]["mean_us"], lambda m: m["hops_qd1"]["mean_us"]),
    ("write_4k_qd32_iops", "1/s", lambda o: o["write_qd32"]["iops"], lambda m: m["hops_qd32"]["iops"]),
    ("read_4k_qd1_us", "us", lambda o: o["read_qd1"]["mean_us"],
     lambda m: m["raw_read_qd1"]["mean_us"] + m["hop_empty"]["mean_us"]),
    ("read_4k_qd32_iops", "1/s", lambda o: o["read_qd32"]["iops"], lambda m: m["raw_read_qd32"]["iops"]),
    ("write_1m_mbs", "MB/s", lambda o: o["write_1m"]["mbs"], lambda m: m["raw_write_1m"]["mbs"] / 3),
    ("read_1m_mbs", "MB/s", lambda o: o["read_1m"]["mbs"], lambda m: m["raw_read_1m"]["mbs"]),
    ("cpu_s_per_100k_writes", "s", lambda o: o["cpu_s"] / o["write_qd32"]["ops"] * 1e5,
     lambda m: m["hops_qd32"]["hops_cpu_s_per_100k"]),
    ("device_bytes_4k_qd32", "bytes/byte",
     lambda o: o["device_bytes"] / (o["write_qd32"]["ops"] * 4096), lambda m: 3.0),
]
LOADS = [  # name, arguments of load
    ("write_qd1", "--op write --block 4K --depth 1"),
    ("write_qd32", f"--op write --block 4K --depth 32 --min-bytes {MIN_BYTES_PER_ROUND}"),
    ("read_qd1", "--op read --block 4K --depth 1"),
    ("read_qd32", "--op read --block 4K --depth 32"),
    ("write_1m", "--op write --block 1M --depth 8 --seq"),
    ("read_1m", "--op read --block 1M --depth 8 --seq"),
]
LIMITS = {
    "write_qd1": [("hops_qd1", "hops --dir {dir} --depth 1")],
    "write_qd32": [("hops_qd32", "hops --dir {dir} --depth 32")],
    "read_qd1": [("raw_read_qd1", "rawdisk --file {dir}/raw.dat --op read --block 4K --depth 1"),
                 ("hop_empty", "hops --hops 1 --empty --depth 1")],
    "read_qd32": [("raw_read_qd32", "rawdisk --file {dir}/raw.dat --op read --block 4K --depth 32")],
    "write_1m": [("raw_write_1m", "rawdisk --file {dir}/raw.dat --op write --block 1M --depth 8 --seq")],
    "read_1m": [("raw_read_1m", "rawdisk --file {dir}/raw.dat --op read --block 1M --depth 8 --seq")],
}


class Process:
    """What /proc tells of all processes of the cluster together."""

    def __init__(self, pids):
        self.pids = pids

    def cpu_s(self):
        ticks = 0
        for pid in self.pids:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def field(self, file, name):
        total = 0
        for pid in self.pids:
            for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(name + ":"):
                    total += int(line.split()[1])
        return total

    def device_bytes(self):
        return self.field("io", "write_bytes")

    def settle(self, limit_s=15):
        """Until the daemons have written nothing for a moment: what a load left behind is paid for by
        that load, not by the limit or the load after it."""
        end, before = time.monotonic() + limit_s, -1
        while time.monotonic() < end and before != (now := self.device_bytes()):
            before = now
            select.select([], [], [], 0.25)

    def rss_mib(self):
        return self.field("status", "VmRSS") / 1024


class Bench:
    """One cluster, one volume and the limit files, in a folder of their own."""

    def __init__(self, build, folder, seconds):
        self.programs = pathlib.Path(build) / "tests" / "bench"
        self.folder, self.seconds = folder, seconds
        self.cluster = Cluster(os.path.join(folder, "cluster"), build, servers=3,
                               store_size=STORE_SIZE, log_size=f"{LOG_BYTES >> 20}M")
        self.processes = None

    def program(self, command, timeout_s=120):
        name, *arguments = command.format(dir=self.folder).split()
        return run_json([str(self.programs / name), *arguments], timeout_s)

    def load(self, arguments, timeout_s=120):
        return self.program(f"load --cfg {self.cluster.cfg} --volume {VOLUME} "
                            f"--versions {{dir}}/versions {arguments}", timeout_s)

    def prepare(self):
        progress(f"limit files and stores in {self.folder}")
        for hop in (1, 2, 3):
            self.program(f"rawdisk --file {{dir}}/hop{hop}.dat --size {HOP_FILE} --fill")
        self.program(f"rawdisk --file {{dir}}/raw.dat --size {VOLUME_BYTES} --fill")
        self.cluster.start(replicas=3)
        self.processes = Process([daemon.pid for daemon in self.cluster.daemons()])
        self.cluster.volume_create(VOLUME, VOLUME_BYTES)
        progress("filling the volume with stamped data")
        filled = self.load("--op fill --block 1M --depth 8", 180)
        progress(f"filled at {filled['mbs']:.0f} MB/s")

    def round(self):
        """One pass over all loads, the limit of each right before it: (ours, limits)."""
        ours, limits = {}, {}
        for name, arguments in LOADS:
            self.processes.settle()
            for limit, command in LIMITS[name]:
                limits[limit] = self.program(f"{command} --seconds {self.seconds}")
            cpu_s, device = self.processes.cpu_s(), self.processes.device_bytes()
            ours[name] = self.load(f"{arguments} --seconds {self.seconds}")
            if name == "write_qd32":
                self.processes.settle()
                ours["cpu_s"] = self.processes.cpu_s() - cpu_s
                ours["device_bytes"] = self.processes.device_bytes() - device
            progress(f"{name}: {ours[name]['iops']:.0f}/s, mean {ours[name]['mean_us']:.0f} us; limit "
                     + ", ".join(f"{limit} {limits[limit]['iops']:.0f}/s" for limit, _ in LIMITS[name]))
        return ours, limits

    def nbd_rows(self, build):
        """fio's nbd engine through the nbdkit plugin: no limit of their own. Last: fio overwrites."""
        plugin = pathlib.Path(build) / "nbd-plugin" / "nbdkit-chain-plugin.so"
        engines = subprocess.run(["fio", "--enghelp"], capture_output=True, text=True).stdout \
            if shutil.which("fio") else ""
        if not (plugin.exists() and shutil.which("nbdkit") and "nbd" in engines.split()):
            progress("no rows over NBD: the plugin, nbdkit or fio's nbd engine is missing")
            return []
        rows = []
        for name, pattern in (("nbd_write_4k_qd32_iops", "randwrite"), ("nbd_read_4k_qd32_iops", "randread")):
            fio = (f"fio --name={name} --ioengine=nbd --uri=\"$uri\" --rw={pattern} --bs=4k --iodepth=32 "
                   f"--refill_buffers --time_based --runtime={self.seconds} --output-format=json")
            done = subprocess.run(["nbdkit", "-U", "-", str(plugin), f"volume={VOLUME}",
                                   f"cfg={self.cluster.cfg}", "--run", fio], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=self.seconds + 60)
            if done.returncode != 0 or "{" not in done.stdout:
                raise BenchError(f"fio through nbdkit failed: {done.stderr[-1500:]}")
            report = json.loads(done.stdout[done.stdout.index("{"):])
            side = report["jobs"][0]["write" if "write" in name else "read"]
            rows.append(row(name, "1/s", side["iops"]))
            progress(f"{name}: {side['iops']:.0f}/s")
        return rows


def rows_of(rounds):
    return [row(name, unit, *median_pair([(value_of(ours), limit_of(limits)) for ours, limits in rounds]))
            for name, unit, value_of, limit_of in ROWS]


def measure(args, folder):
    bench = Bench(args.build, folder, args.seconds)
    try:
        bench.prepare()
        rounds = []
        for number in range(args.rounds):
            progress(f"round {number + 1} of {args.rounds}")
            rounds.append(bench.round())
        rows = rows_of(rounds) + [row("rss_mib", "MiB", bench.processes.rss_mib())]
        return rows + bench.nbd_rows(args.build)
    finally:
        bench.cluster.stop()


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog="`./dev bench store` is one daemon's store by itself. Exit status: 0 measured and every "
               "read verified, 1 not, 2 wrong usage. Needs about 12 GB in $TMPDIR (default /var/tmp), "
               "which must be a real disk, and up to 8 minutes.")
    add_options(parser, seconds=4, rounds=3)
    args = parser.parse_args()
    return print_report(args, measure, ClusterError)


sys.exit(main())
