# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A rig: cluster on this machine, gateway in the guest (or here), steps that are named and timed.

    rig = Rig(run_dir, build_dir)
    steps = Steps()
    try:
        with steps("three storage daemons"): rig.start_cluster()
        with steps("kernel target"): rig.start_gateway()
    finally:
        rig.stop()

Shared by the end-to-end test, the SCSI suite, the demo and the lab. With @mock the gateway's plugin
stands on tests/mock/chainblk_mock.c instead of a cluster: the kernel side alone.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import guest  # noqa: E402
from cluster import Cluster, ClusterError, default_build, tail  # noqa: E402
from gateway import GatewayError, GuestGateway, HostGateway, host_can  # noqa: E402
from vm import VM, VMError, plugin_files  # noqa: E402

MOCK_SIZE = 1 << 30
MEMORY = "/dev/shm"


class StepError(Exception):
    """A step's check did not hold."""


ERRORS = (StepError, ClusterError, VMError, GatewayError, guest.GuestError)


class Steps:
    """Names and times what is done, as it is done, on standard error."""

    def __init__(self, out=None):
        self.out = out or sys.stderr
        self.start = time.monotonic()
        self.done = []
        self.failed = None

    def say(self, line):
        print(f"           {line}", file=self.out, flush=True)

    @contextlib.contextmanager
    def __call__(self, name):
        begin = time.monotonic()
        if self.out.isatty():
            print("[%6.1f s] %s ..." % (begin - self.start, name), file=self.out, flush=True)
        try:
            yield self
        except BaseException:
            self.failed = name
            print("[%6.1f s] FAILED: %s" % (time.monotonic() - self.start, name), file=self.out,
                  flush=True)
            raise
        took = time.monotonic() - begin
        self.done.append((name, took))
        print("[%6.1f s] %s: ok, %.1f s" % (time.monotonic() - self.start, name, took),
              file=self.out, flush=True)

    def total_s(self):
        return time.monotonic() - self.start

    def table(self):
        width = max((len(name) for name, _ in self.done), default=0)
        return "\n".join("%-*s %7.1f s" % (width, name, took) for name, took in self.done)


def memory_folder(need_bytes):
    """A folder in memory for stores, for tests that do not look at disks; None when there is no room
    or the kernel cannot do direct I/O there (before 6.6)."""
    if shutil.disk_usage(MEMORY).free < 2 * need_bytes if os.path.isdir(MEMORY) else True:
        return None
    path = tempfile.mkdtemp(prefix="chainblk-", dir=MEMORY)
    probe = os.path.join(path, "probe")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_RDWR | os.O_DIRECT))
        os.unlink(probe)
    except OSError:
        shutil.rmtree(path)
        return None
    return path


class Rig:
    """Everything that was started here ends in stop(), which may be called at any time."""

    def __init__(self, run_dir=None, build_dir=None, fio=False, mock=None, allow_host=False,
                 say=None, memory_bytes=0):
        self.made_dir = run_dir is None
        run_dir = run_dir or (memory_folder(memory_bytes) if memory_bytes else None) or \
            tempfile.mkdtemp(prefix="chainblk-", dir="/var/tmp")
        self.run_dir = os.path.abspath(run_dir)
        self.build_dir = os.path.abspath(build_dir or default_build())
        self.fio, self.mock, self.allow_host = fio, mock, allow_host
        self.say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.cluster = self.vm = self.gateway = None
        os.makedirs(self.run_dir, exist_ok=True)

    def start_cluster(self, servers=3, store_size="1536M"):
        if self.mock:
            return
        self.cluster = Cluster(os.path.join(self.run_dir, "cluster"), self.build_dir, servers,
                               store_size=store_size, guest=True)
        self.cluster.start()

    def volume_create(self, name, size, sector=512):
        if self.cluster:
            self.cluster.volume_create(name, size, sector)

    def start_gateway(self):
        cfg_port = self.cluster.port if self.cluster else 7400
        if self.allow_host and not self.mock:
            why_not = host_can()
            if why_not is None:
                why_not = self.try_host(cfg_port)
            if why_not is None:
                return
            self.say(f"the kernel target runs in a virtual machine, because of here: {why_not}")
        self.vm = VM(os.path.join(self.run_dir, "guest"),
                     plugin_files(self.build_dir, self.mock), self.fio, say=self.say)
        self.vm.start()
        self.gateway = GuestGateway(self.vm, cfg_port)
        if self.mock:
            self.vm.check(f"export MOCK_SIZE={MOCK_SIZE}; . /chainblk/target.sh; target_up")
        else:
            self.gateway.up()

    def try_host(self, cfg_port):
        """None when this machine's own target is up, else why it did not come up."""
        self.gateway = HostGateway(self.run_dir, self.build_dir, cfg_port)
        try:
            self.gateway.up()
        except (ClusterError, GatewayError, OSError) as e:
            self.gateway.down()
            self.gateway = None
            return f"its tcmu-runner: {e}"
        self.say("using this machine's own kernel target")
        return None

    def check_alive(self):
        """A daemon that died is the cause of whatever else went wrong."""
        dead = self.cluster.dead() if self.cluster else []
        if dead:
            raise StepError(f"ended by itself: {', '.join(dead)}; logs in {self.cluster.run_dir}")

    def last_words(self):
        """The ends of all logs, for a failure's report."""
        out = []
        logs = [d.log for d in self.cluster.daemons()] if self.cluster else []
        for path in logs + ([self.vm.console] if self.vm else []):
            with contextlib.suppress(OSError):
                with open(path, errors="replace", encoding="utf-8") as f:
                    out.append(f"-- {path}:\n{tail(f.read(), 8)}")
        if self.gateway and (not self.vm or self.vm.alive()):
            with contextlib.suppress(Exception):
                out.append("-- tcmu-runner.log:\n" + tail(self.gateway.runner_log(), 15))
        return "\n".join(out)

    def stop(self, keep_dir=False):
        """End everything that was started here. Returns the names of daemons that had to be
        killed."""
        if self.vm:
            self.vm.stop()
        elif self.gateway:
            self.gateway.down()
        killed = self.cluster.stop() if self.cluster else []
        if self.made_dir and not keep_dir:
            shutil.rmtree(self.run_dir, ignore_errors=True)
        return killed


def tool(argv, timeout_s=120):
    """Run a program on this machine; StepError with its words when it fails."""
    try:
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise StepError(f"{argv[0]}: not found: run ./dev setup") from None
    except subprocess.TimeoutExpired:
        raise StepError(f"{' '.join(argv)}: no end in {timeout_s} s") from None
    if p.returncode:
        raise StepError(f"{' '.join(argv)}: exit {p.returncode}\n{tail(p.stdout + p.stderr)}")
    return p.stdout


def end_on_signals():
    """SIGTERM and SIGHUP end this program as Ctrl-C does: through every clean-up. SIGINT too where
    a shell started it in the background, with that signal ignored."""
    def interrupt(signum, frame):
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, interrupt)
