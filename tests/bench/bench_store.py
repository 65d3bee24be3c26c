#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Figures of one daemon's store, without network, beside what fio gets from the same disk.

store_load (tests/bench/store) drives a store file as chaind does: 24 chains, each write appended, durable,
committed; each read compared with what was written. fio does raw O_DIRECT I/O on a file of the
volume's size that was written once, with io_uring and, for writes, --sync=dsync. Limit and ours
alternate, round by round; of the rounds' ratios the median counts, and value and limit are that
round's.

  store_write_4k_qd1_us        raw 8 KiB writes one after the other: header and block in one write
  store_write_4k_qd32_iops     raw random 4 KiB writes at depth 32
  store_write_1m_mbs           raw sequential 1 MiB writes at depth 8, from huge pages where the kernel
                               gives 16 of them: of scattered 4 KiB pages a device of fewer than 256
                               segments makes two writes, and ours has huge pages, too
  store_read_4k_*              raw random 4 KiB reads; ours only after the log was emptied
  device_bytes_qd1, _qd32      written by the store until the last acknowledgement of a burst that
                               fits into its log, per byte of the client
  device_bytes_seq, _sustained written until nothing was left to be moved, checkpointed or trimmed, per
                               byte; sustained: random 4 KiB at depth 32, three times the log
  open_*_rss_mib               most memory resident while a store full with a volume of that size is
                               opened, then written and read at random at depth 32
"""
import argparse
import contextlib
import pathlib
import shutil
import subprocess
import sys
import time

from rows import BenchError, add_options, median_pair, print_report, progress, row, run_json

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
EMPTY_LOG_BYTES = MIB  # at most, where reads are measured
HUGE_PAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")
HUGE_PAGES_N = 16  # of 2 MiB, fio's at depth 8
EXTENT_BLOCKS = 1024

# name, fio's options for the limit, ours. {burst} and {big}: parts of the log (Sizes).
LOADS = [
    ("write_qd1", "--rw=write --bs=8k --iodepth=1 --sync=dsync",
     "--op write --block 4K --depth 1 --max-bytes {burst1}"),
    ("write_qd32", "--rw=randwrite --bs=4k --iodepth=32 --sync=dsync",
     "--op write --block 4K --depth 32 --max-bytes {burst32}"),
    ("write_1m", "--rw=write --bs=1M --iodepth=8 --sync=dsync",
     "--op write --block 1M --depth 8 --seq --min-bytes {twice}"),
    ("read_qd1", "--rw=randread --bs=4k --iodepth=1", "--op read --block 4K --depth 1"),
    ("read_qd32", "--rw=randread --bs=4k --iodepth=32", "--op read --block 4K --depth 32"),
]
SUSTAINED = ("sustained", "--rw=randwrite --bs=4k --iodepth=32 --sync=dsync",
             "--op write --block 4K --depth 32 --min-bytes {thrice}")


@contextlib.contextmanager
def huge_pages():
    """fio's options for buffers in huge pages, none where there are none to be had. As many as before
    when it ends."""
    before = None
    try:
        count = int(HUGE_PAGES.read_text(encoding="ascii"))
        HUGE_PAGES.write_text(f"{count + HUGE_PAGES_N}\n", encoding="ascii")
        before = count
    except OSError:
        pass  # not root, or a kernel without them
    try:
        got = before is not None and int(HUGE_PAGES.read_text(encoding="ascii")) == before + HUGE_PAGES_N
        if not got:
            progress("no huge pages for fio: the limit of 1 MiB writes is what scattered pages give")
        yield ["--mem=mmaphuge", "--hugepage-size=2m"] if got else []
    finally:
        if before is not None:
            HUGE_PAGES.write_text(f"{before}\n", encoding="ascii")


def burst_bytes(ours):
    return ours["device_bytes"] / ours["client_bytes"]


def all_bytes(ours):
    return ours["settled_device_bytes"] / ours["client_bytes"]


# name, unit, load, value of ours, limit of fio's, which is better, aim of the ratio.
ROWS = [
    ("store_write_4k_qd1_us", "us", "write_qd1", lambda o: o["mean_us"], lambda f: f["mean_us"], "lower", 1.25),
    ("store_write_4k_qd32_iops", "1/s", "write_qd32", lambda o: o["iops"], lambda f: f["iops"], "higher", 0.8),
    ("store_write_1m_mbs", "MB/s", "write_1m", lambda o: o["mbs"], lambda f: f["mbs"], "higher", 0.85),
    ("store_read_4k_qd1_us", "us", "read_qd1", lambda o: o["mean_us"], lambda f: f["mean_us"], "lower", 1.15),
    ("store_read_4k_qd32_iops", "1/s", "read_qd32", lambda o: o["iops"], lambda f: f["iops"], "higher", 0.85),
    ("device_bytes_qd1", "bytes/byte", "write_qd1", burst_bytes, lambda f: 1.0, "lower", 2.1),
    ("device_bytes_qd32", "bytes/byte", "write_qd32", burst_bytes, lambda f: 1.0, "lower", 1.15),
    ("device_bytes_seq", "bytes/byte", "write_1m", all_bytes, lambda f: 1.0, "lower", 1.05),
    ("device_bytes_sustained", "bytes/byte", "sustained", all_bytes, lambda f: 1.0, "lower", 2.2),
    ("store_write_4k_sustained_iops", "1/s", "sustained", lambda o: o["iops"], lambda f: f["iops"],
     "higher", None),
    ("store_write_4k_qd1_p50_us", "us", "write_qd1", lambda o: o["p50_us"], lambda f: f["p50_us"], "lower", None),
    ("store_read_4k_qd1_p50_us", "us", "read_qd1", lambda o: o["p50_us"], lambda f: f["p50_us"], "lower", None),
]
BIG = [  # row, size of the store, aim in MiB
    ("open_1tib", "big", 512),
    ("open_100gib", "middle", 200),
]


class Sizes:
    """How much of everything; tiny is for the test of this program, its figures mean nothing."""

    def __init__(self, tiny):
        self.store, self.volume = (96 * MIB, 24 * MIB) if tiny else (8 * GIB, 2 * GIB)
        self.big, self.middle = (2 * GIB, GIB) if tiny else (TIB, 100 * GIB)


class StoreBench:
    """One store, one raw file of the volume's size, one store at a time that is large."""

    def __init__(self, build, folder, seconds, sizes):
        self.programs = pathlib.Path(build) / "tests" / "bench"
        self.folder, self.seconds, self.sizes = pathlib.Path(folder), seconds, sizes
        self.raw, self.store = self.folder / "raw.dat", self.folder / "store.dat"
        self.log_bytes = 0

    def program(self, name, arguments, timeout_s=240):
        return run_json([str(self.programs / name), *map(str, arguments)], timeout_s)

    def store_load(self, file, volume, arguments, stride=1):
        """One run of store_load on @file."""
        return self.program("store/store_load", [
            "--file", file, "--versions", f"{file}.versions", "--volume", volume, "--stride", stride,
            *arguments.split()])

    def quiet(self, name, arguments):
        """A program that says nothing when all is well."""
        argv = [str(self.programs / name), *map(str, arguments)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(argv)}: {done.stderr[-1500:]}")

    def format(self, file, size, *more):
        self.quiet("store/store_load", ["--file", file, "--format", "--size", size, *more])

    def fio(self, options):
        """The limit: fio with @options on the raw file."""
        large = "--bs=1M" in options
        with huge_pages() if large else contextlib.nullcontext([]) as memory:
            report = self.run_fio([*options.split(), *memory])
        side = report["jobs"][0]["read" if "read" in options else "write"]
        return {"iops": side["iops"], "mean_us": side["lat_ns"]["mean"] / 1000,
                "p50_us": side["lat_ns"]["percentile"]["50.000000"] / 1000, "mbs": side["bw_bytes"] / 1e6}

    def run_fio(self, options):
        return run_json(["fio", "--name=limit", f"--filename={self.raw}", "--ioengine=io_uring", "--direct=1",
                         "--thread", "--norandommap", "--randrepeat=0", "--time_based",
                         "--allow_file_create=0", "--lat_percentiles=1", "--clat_percentiles=0",
                         f"--runtime={self.seconds * 1000:.0f}ms", "--output-format=json", *options],
                        self.seconds + 60)

    def prepare(self):
        progress(f"raw file and store in {self.folder}")
        self.program("rawdisk", ["--file", self.raw, "--size", self.sizes.volume, "--fill"])
        self.format(self.store, self.sizes.store)
        progress("filling the volume with stamped data")
        filled = self.store_load(self.store, self.sizes.volume, "--op fill --block 1M --depth 8")
        self.log_bytes = filled["log_bytes"]
        progress(f"filled at {filled['mbs']:.0f} MB/s; the log is {self.log_bytes >> 20} MiB")

    def empty_log(self):
        """Reads are to come from pages: let the store be idle until its log is empty."""
        for _ in range(5):
            self.store_load(self.store, self.sizes.volume, "--op settle")
            used = self.store_load(self.store, self.sizes.volume, "--op open")["log_used_bytes"]
            if used <= EMPTY_LOG_BYTES:
                return
        raise BenchError(f"the store keeps {used >> 20} MiB in its log however long it is idle")

    def measure(self, name, fio_options, arguments):
        """The limit, then ours."""
        limit = self.fio(fio_options)
        arguments = arguments.format(
            burst1=self.log_bytes * 3 // 16, burst32=self.log_bytes * 3 // 8,
            twice=2 * self.log_bytes, thrice=3 * self.log_bytes)
        ours = self.store_load(self.store, self.sizes.volume, f"{arguments} --ms {self.seconds * 1000:.0f}")
        if name.startswith("read") and ours["log_used_bytes"] > EMPTY_LOG_BYTES:
            raise BenchError("reads were measured on a store whose log was not empty")
        progress(f"{name}: {ours['iops']:.0f}/s, mean {ours['mean_us']:.0f} us, half in {ours['p50_us']:.0f}; "
                 f"fio {limit['iops']:.0f}/s, mean {limit['mean_us']:.0f} us, half in {limit['p50_us']:.0f}")
        return ours, limit

    def round(self):
        results = {}
        for name, fio_options, arguments in LOADS:
            if name == "read_qd1":
                self.empty_log()
            results[name] = self.measure(name, fio_options, arguments)
        return results

    def build_big_store(self, file, volume):
        """A store that holds a volume of that size, every block of it present, on a file that is mostly
        holes (tests/bench/store/big.h)."""
        self.format(file, volume + volume // 64 + 4 * GIB, "--sparse")
        self.quiet("store/store_load", ["--file", file, "--populate", "--volume", volume])

    def open_rows(self, name, volume, aim_mib):
        file = self.folder / "big.dat"
        progress(f"{name}: a full store of {volume // 4 // MIB} extents")
        load = f"--block 4K --depth 32 --ms {self.seconds * 500:.0f} --leave --op"
        try:
            self.build_big_store(file, volume)
            runs = [self.store_load(file, volume, f"{load} {op}", EXTENT_BLOCKS) for op in ("write", "read")]
        finally:
            for path in (file, pathlib.Path(f"{file}.versions")):
                path.unlink(missing_ok=True)
        peak = max(run["peak_mib"] for run in runs)
        progress(f"{name}: open in {runs[0]['open_s']:.2f} s, {peak:.0f} MiB at depth 32")
        return [aimed(row(f"{name}_rss_mib", "MiB", peak), "lower", aim_mib),
                row(f"{name}_s", "s", runs[0]["open_s"])]


def aimed(one, better, aim):
    """The row with its aim, which is about the ratio, or about the value where there is no limit."""
    figure = one["value"] if one["ratio"] is None else one["ratio"]
    met = None if aim is None else figure <= aim if better == "lower" else figure >= aim
    return {**one, "aim": aim, "better": better, "met": met}


def rows_of(rounds):
    rows = []
    for name, unit, load, value_of, limit_of, better, aim in ROWS:
        pairs = [(value_of(ours), limit_of(limit))
                 for ours, limit in (results[load] for results in rounds if load in results)]
        rows.append(aimed(row(name, unit, *median_pair(pairs)), better, aim))
    return rows


def measure(args, folder):
    sizes = Sizes(args.tiny)
    bench = StoreBench(args.build, folder, args.seconds, sizes)
    bench.prepare()
    rounds = []
    start = time.monotonic()
    for number in range(args.rounds):
        if number and time.monotonic() > start + args.budget:
            progress(f"{number} rounds took more than {args.budget} s: no more of them")
            break
        progress(f"round {number + 1} of {args.rounds}")
        rounds.append(bench.round())
    rounds.append({"sustained": bench.measure(*SUSTAINED)})
    rows = rows_of(rounds)
    bench.store.unlink()  # its space is another's now
    for name, size, aim in BIG:
        rows += bench.open_rows(name, getattr(sizes, size), aim)
    return rows


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench store", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog="Exit status: 0 measured and every read verified, missed aims included, 1 not, 2 wrong "
               "usage. Needs about 14 GB in $TMPDIR (default /var/tmp), which must be a real disk, and "
               "up to 4 minutes.")
    add_options(parser, seconds=1.0, rounds=5)
    parser.add_argument("--budget", type=float, default=110,
                        help="begin no other round after so many seconds (default 110)")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rounds < 1 or not 0 < args.seconds < 3600:
        parser.error("at least one round of some length")
    if not shutil.which("fio"):
        progress("failed: fio, which measures the limits, is missing: ./dev setup installs it")
        return 1
    return print_report(args, measure)


if __name__ == "__main__":
    sys.exit(main())
