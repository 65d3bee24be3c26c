#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Does `./dev bench store` measure what it says? A tiny run answers with every row; a block that is not
what was written, in the table of versions or on the disk, makes store_load fail.

  test_bench_store.py BUILD
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
NAMES = {"store_write_4k_qd1_us", "store_write_4k_qd32_iops", "store_write_1m_mbs", "store_read_4k_qd1_us",
         "store_read_4k_qd32_iops", "device_bytes_qd1", "device_bytes_qd32", "device_bytes_seq",
         "device_bytes_sustained", "open_1tib_rss_mib"}


class Store:
    """A store of 64 MiB and the runs of store_load on it."""

    def __init__(self, build, folder):
        self.program = pathlib.Path(build) / "tests" / "bench" / "store" / "store_load"
        self.file, self.versions = folder / "store.dat", folder / "versions"

    def run(self, *arguments):
        return subprocess.run([str(self.program), "--file", str(self.file), *arguments], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    def load(self, *arguments):
        return self.run("--versions", str(self.versions), "--volume", "16M", *arguments)

    def read_all(self):
        return self.load("--op", "read", "--block", "64K", "--depth", "4", "--seq", "--ms", "0",
                         "--min-bytes", "16M")


def must(what, true):
    if not true:
        print(f"bench_store: {what}")
        sys.exit(1)


def rows_are_complete(build, folder):
    done = subprocess.run([sys.executable, str(HERE / "bench_store.py"), "--build", build, "--tiny", "--json",
                           "--rounds", "1", "--seconds", "0.2"], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=150, env={**os.environ, "TMPDIR": str(folder)})
    must(f"a tiny run ends with {done.returncode}: {done.stderr[-1500:]}", done.returncode == 0)
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    must(f"rows are missing: {NAMES - rows.keys()}", NAMES <= rows.keys())
    for name in sorted(NAMES):
        row = rows[name]
        must(f"{name} came to {row['value']}", row["value"] > 0)
        if name == "open_1tib_rss_mib":
            continue
        must(f"{name}: the ratio {row['ratio']} is not of {row['value']} and {row['limit']}",
             abs(row["ratio"] - row["value"] / row["limit"]) < 0.02 * row["ratio"] + 0.005)
        reached = row["ratio"] <= row["aim"] if row["better"] == "lower" else row["ratio"] >= row["aim"]
        must(f"{name}: met is {row['met']} at a ratio of {row['ratio']}", row["met"] == reached)
        if name.startswith("device_bytes"):
            must(f"{name}: less than one byte per byte", row["value"] >= 1)


def reads_are_compared(build, folder):
    store = Store(build, folder)
    must("format", store.run("--format", "--size", "64M").returncode == 0)
    filled = store.load("--op", "fill", "--block", "64K", "--depth", "4")
    must(f"fill: {filled.stderr}", filled.returncode == 0)
    whole = store.read_all()
    must(f"reading it back: {whole.stderr}", whole.returncode == 0)
    must("it did not read the whole volume", json.loads(whole.stdout)["client_bytes"] >= 16 * MIB)

    versions = bytearray(store.versions.read_bytes())
    versions[4 * 1000] ^= 2
    store.versions.write_bytes(versions)
    wrong = store.read_all()
    must("a block of another version was accepted", wrong.returncode == 1)
    must(f"it does not name block 1000: {wrong.stderr}", "block 1000: not what was written" in wrong.stderr)
    must("more than one block is bad", json.loads(wrong.stdout)["bad"] == 1)
    versions[4 * 1000] ^= 2
    store.versions.write_bytes(versions)
    must("the right table is not accepted again", store.read_all().returncode == 0)

    with open(store.file, "r+b") as file:  # beyond half of the store there is nothing but the volume's data
        for at in range(32 * MIB, 64 * MIB, 4096):
            file.seek(at + 123)
            byte = file.read(1)
            file.seek(at + 123)
            file.write(bytes([byte[0] ^ 1]))
    must("flipped bits on the disk were accepted", store.read_all().returncode == 1)


def main():
    build = sys.argv[1]
    # In the build folder: /tmp may have no O_DIRECT.
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=build) as name:
        folder = pathlib.Path(name)
        reads_are_compared(build, folder)
        if not shutil.which("fio"):
            print("fio is not installed: no limits to measure")
            return 77
        rows_are_complete(build, folder)
    print("rows are complete, reads are compared")
    return 0


sys.exit(main())
