#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A small cluster on this machine: one cfgsvc and N chaind in a run directory.

    with Cluster(run_dir, build_dir, servers=3) as c:      # starts, waits for "ready", cluster init
        c.volume_create("vol0", "1G")
        c.ctl("status")
        ...                                                # c.cfg is the --cfg of every client

or from a shell, where the daemons stay until `stop`:

    tools/cluster.py start --dir RUN [--servers 3] [--store-size 2G] [--guest]
    tools/cluster.py ctl   --dir RUN -- status             # chainctl against this cluster
    tools/cluster.py stop  --dir RUN

Facts to rely on: ports are free loopback ports picked at start; a daemon counts as started when it
has printed its "ready" line (waited for with inotify, never by sleeping) and a daemon that dies
first is an error that shows the end of its log; only processes recorded in RUN/cluster.json with
the same start time are ever signalled. The logs are RUN/cfgsvc.log and RUN/<server>.log.

With --guest every daemon also advertises 10.0.2.2, which is this host's loopback for a machine
under QEMU's user network.
"""
import argparse
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUEST_HOST = "10.0.2.2"
READY_S = 60
STOP_S = 20
LIBC = ctypes.CDLL(None, use_errno=True)
IN_MODIFY = 0x2
PR_SET_PDEATHSIG = 1


class ClusterError(Exception):
    """What went wrong, with the daemon's last words, ready to print."""


def free_port(count=1):
    """The first of @count loopback ports in a row nobody listens on at this moment."""
    while True:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            first = 0
            for i in range(count):
                s = held.enter_context(socket.socket())
                s.bind(("127.0.0.1", first + i if first else 0))
                first = first or s.getsockname()[1]
            return first


def find_program(build_dir, name, folder):
    for path in (os.path.join(build_dir, folder, name), os.path.join(build_dir, name)):
        if os.path.isfile(path):
            return path
    found = shutil.which(name)
    if found:
        return found
    raise ClusterError(f"{name}: not found in {build_dir}: build it first (./dev)")


def start_time(pid):
    """Field 22 of /proc/PID/stat: tells a process from a later one with the same number."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def wait_exit(pid, timeout_s):
    """True when the process is gone within the time; works for children and strangers alike."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


def wait_for_text(path, offset, words, pid, timeout_s):
    """Wait until @path holds one of @words past @offset. Returns the new text, or raises
    ClusterError when the process ends or the time runs out."""
    end = time.monotonic() + timeout_s
    ino = LIBC.inotify_init1(os.O_CLOEXEC)
    LIBC.inotify_add_watch(ino, os.fsencode(path), IN_MODIFY)
    pfd = os.pidfd_open(pid)
    try:
        while True:
            with open(path, errors="replace", encoding="utf-8") as f:
                f.seek(offset)
                text = f.read()
            if any(w in text for w in words):
                return text
            left = end - time.monotonic()
            ready = select.select([ino, pfd], [], [], max(left, 0))[0]
            if ino in ready:
                os.read(ino, 65536)
            elif pfd in ready:
                with open(path, errors="replace", encoding="utf-8") as f:
                    raise ClusterError(f"ended before it was ready; {path} ends with:\n"
                                       + tail(f.read()))
            elif left <= 0:
                raise ClusterError(f"not ready after {timeout_s} s; {path} ends with:\n"
                                   + tail(text))
    finally:
        os.close(ino)
        os.close(pfd)


def tail(text, lines=15):
    return "\n".join("    " + line for line in text.splitlines()[-lines:]) or "    (nothing)"


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Daemon:
    """One process: its command, log and identity."""

    def __init__(self, name, argv, log):
        self.name, self.argv, self.log = name, argv, log
        self.pid = self.started = None
        self.proc = None

    def start(self, keep=False, env=None, wait=True):
        offset = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                start_new_session=True, preexec_fn=None if keep else die_with_parent)
        self.pid, self.started = self.proc.pid, start_time(self.proc.pid)
        if wait:
            self.wait_ready(offset)

    def wait_ready(self, offset):
        try:
            wait_for_text(self.log, offset, ("ready on ",), self.pid, READY_S)
        except ClusterError as e:
            raise ClusterError(f"{self.name}: {e}") from None

    def alive(self):
        if self.proc is not None:
            self.proc.poll()
        return self.pid is not None and self.started is not None and \
            start_time(self.pid) == self.started

    def signal(self, signum):
        if self.alive():
            os.kill(self.pid, signum)

    def stop(self, timeout_s=STOP_S):
        """SIGTERM, then SIGKILL when it does not end. Returns False when it had to be killed."""
        clean = True
        if self.alive():
            self.signal(signal.SIGTERM)
            if not wait_exit(self.pid, timeout_s):
                clean = False
                self.signal(signal.SIGKILL)
                wait_exit(self.pid, timeout_s)
        if self.proc is not None:
            self.proc.wait()
        return clean

    def state(self):
        return {"name": self.name, "argv": self.argv, "log": self.log, "pid": self.pid,
                "started": self.started}

    @classmethod
    def load(cls, state):
        d = cls(state["name"], state["argv"], state["log"])
        d.pid, d.started = state["pid"], state["started"]
        return d


class Running:
    """What runs in a run directory, .run_dir: `with` starts and stops it, and how to find it again is kept
    in a file there, for the command line."""

    WHAT = FILE = COMMAND = ""
    ERROR = ClusterError

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc):
        self.stop()

    @classmethod
    def state_path(cls, run_dir):
        return os.path.join(run_dir, cls.FILE)

    @classmethod
    def must_be_new(cls, run_dir):
        if os.path.exists(cls.state_path(run_dir)):
            raise cls.ERROR(f"{run_dir}: a {cls.WHAT} was started here: "
                            f"{cls.COMMAND} stop --dir {run_dir} first")

    def keep_state(self, state):
        path = self.state_path(self.run_dir)
        with open(path + ".tmp", "w", encoding="utf-8") as f:
            json.dump(state, f, indent=1)
        os.rename(path + ".tmp", path)

    @classmethod
    def kept_state(cls, run_dir):
        path = cls.state_path(run_dir)
        try:
            with open(path, encoding="utf-8") as f:
                return json.load(f)
        except FileNotFoundError:
            raise cls.ERROR(f"{path}: no such file: no {cls.WHAT} runs from here; start one with "
                            f"{cls.COMMAND} start --dir {run_dir}") from None

    def forget_state(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.state_path(self.run_dir))


class Cluster(Running):
    """One cfgsvc and @servers chaind. @keep lets the daemons outlive this process."""

    WHAT, FILE, COMMAND = "cluster", "cluster.json", "tools/cluster.py"

    def __init__(self, run_dir, build_dir=None, servers=3, store_size="2G", log_size=None,
                 memory=None, guest=False, keep=False, reactors=1):
        self.run_dir = os.path.abspath(run_dir)
        self.build_dir = os.path.abspath(build_dir or default_build())
        self.servers_n, self.store_size, self.log_size = servers, store_size, log_size
        self.memory, self.guest, self.keep, self.reactors = memory, guest, keep, reactors
        self.cfgsvc = None
        self.servers = []
        self.port = self.cfg = None

    # -- life cycle ------------------------------------------------------------------------

    def start(self, init=True, replicas=None, chains=None):
        """Start everything; with @init also `cluster init`."""
        self.start_cfgsvc()
        for i in range(self.servers_n):
            self.format_server(i)
            self.start_server(i)
        if init:
            argv = ["cluster", "init", "--replicas", str(replicas or min(3, self.servers_n))]
            self.ctl(*argv, *(["--chains", str(chains)] if chains else []))

    def start_cfgsvc(self):
        os.makedirs(self.run_dir, exist_ok=True)
        if self.cfgsvc is None:
            self.port = free_port()
            self.cfg = f"127.0.0.1:{self.port}"
            argv = [find_program(self.build_dir, "cfgsvc", "cfgsvc"),
                    "--dir", os.path.join(self.run_dir, "cfgsvc"), "--listen", self.cfg]
            self.cfgsvc = Daemon("cfgsvc", argv, os.path.join(self.run_dir, "cfgsvc.log"))
        self.cfgsvc.start(self.keep)
        self.save()

    def store_path(self, i):
        return os.path.join(self.run_dir, f"{self.server_name(i)}.store")

    @staticmethod
    def server_name(i):
        return "s%d" % (i + 1)

    def format_server(self, i):
        argv = [find_program(self.build_dir, "chaind", "chaind"), "format", self.store_path(i),
                "--size", self.store_size]
        if self.log_size:
            argv += ["--log-size", self.log_size]
        if self.reactors > 1:
            argv += ["--reactors", str(self.reactors)]
        run(argv)

    def start_server(self, i, wait=True):
        """Start server @i, the first time or again on the same store and port."""
        while len(self.servers) <= i:
            self.servers.append(None)
        if self.servers[i] is None:
            port = free_port(self.reactors)
            addr = f"127.0.0.1:{port}"
            advertise = addr + (f",{GUEST_HOST}:{port}" if self.guest else "")
            argv = [find_program(self.build_dir, "chaind", "chaind"), "run", self.store_path(i),
                    "--name", self.server_name(i), "--cfg", self.cfg, "--listen", addr,
                    "--advertise", advertise]
            if self.memory:
                argv += ["--memory", self.memory]
            log = os.path.join(self.run_dir, f"{self.server_name(i)}.log")
            self.servers[i] = Daemon(self.server_name(i), argv, log)
        self.servers[i].start(self.keep, wait=wait)
        self.save()

    def stop_server(self, i):
        return self.servers[i].stop()

    def kill_server(self, i):
        """kill -9: as if the process had crashed."""
        self.servers[i].signal(signal.SIGKILL)
        self.servers[i].stop()

    def daemons(self):
        return [d for d in [self.cfgsvc, *self.servers] if d is not None]

    def dead(self):
        """Names of daemons that should run and do not."""
        return [d.name for d in self.daemons() if not d.alive()]

    def stop(self):
        """End every daemon of ours. Returns the names of those that had to be killed."""
        killed = [d.name for d in reversed(self.daemons()) if not d.stop()]
        self.forget_state()
        return killed

    def remove(self):
        """Delete the run directory, stores included. Only after stop()."""
        shutil.rmtree(self.run_dir, ignore_errors=True)

    # -- commands --------------------------------------------------------------------------

    def ctl_argv(self, *args):
        return [find_program(self.build_dir, "chainctl", "cli"), "--cfg", self.cfg, *args]

    def ctl(self, *args):
        """Run chainctl, return its stdout; raises ClusterError with its stderr."""
        return run(self.ctl_argv(*args))

    def ctl_json(self, *args):
        return json.loads(self.ctl("--json", *args))

    def volume_create(self, name, size, sector=None):
        self.ctl("volume", "create", name, "--size", str(size),
                 *(["--sector", str(sector)] if sector else []))

    # -- state on disk, for the command line -----------------------------------------------

    def save(self):
        self.keep_state({"port": self.port, "build_dir": self.build_dir, "cfgsvc": self.cfgsvc.state(),
                         "servers": [d and d.state() for d in self.servers]})

    @classmethod
    def load(cls, run_dir):
        state = cls.kept_state(run_dir)
        c = cls(run_dir, state["build_dir"], len(state["servers"]), keep=True)
        c.port, c.cfg = state["port"], "127.0.0.1:%d" % state["port"]
        c.cfgsvc = Daemon.load(state["cfgsvc"])
        c.servers = [d and Daemon.load(d) for d in state["servers"]]
        return c


def default_build():
    return os.environ.get("CHAINBLK_BUILD") or os.path.join(ROOT, "build")


def run(argv, timeout_s=120):
    try:
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(argv)}: no answer in {timeout_s} s") from None
    if p.returncode:
        raise ClusterError(f"{' '.join(argv)}: exit {p.returncode}\n{tail(p.stderr + p.stdout)}")
    return p.stdout


def command_start(a):
    Cluster.must_be_new(a.dir)
    c = Cluster(a.dir, a.build, a.servers, a.store_size, a.log_size, a.memory, a.guest, keep=True,
                reactors=a.reactors)
    try:
        c.start(init=not a.no_init, replicas=a.replicas, chains=a.chains)
    except BaseException:
        c.stop()
        raise
    print(f"export CHAINBLK_CFG={c.cfg}")


def command_stop(a):
    c = Cluster.load(a.dir)
    killed = c.stop()
    if a.remove:
        c.remove()
    if killed:
        raise ClusterError(f"had to be killed: {', '.join(killed)}; see the logs in {a.dir}")


def command_ctl(a):
    c = Cluster.load(a.dir)
    args = a.args[1:] if a.args[:1] == ["--"] else a.args
    sys.exit(subprocess.run(c.ctl_argv(*args), check=False).returncode)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = p.add_subparsers(dest="command", required=True)
    s = sub.add_parser("start", help="start cfgsvc and the servers, make the chains")
    s.add_argument("--dir", default=None, help="run directory (default: a new one in /var/tmp)")
    s.add_argument("--build", default=None, help="build directory (default: build/)")
    s.add_argument("--servers", type=int, default=3)
    s.add_argument("--store-size", default="2G")
    s.add_argument("--log-size", default=None)
    s.add_argument("--memory", default=None)
    s.add_argument("--reactors", type=int, default=1, help="of each chaind")
    s.add_argument("--replicas", type=int, default=None)
    s.add_argument("--chains", type=int, default=None)
    s.add_argument("--guest", action="store_true", help="also advertise 10.0.2.2")
    s.add_argument("--no-init", action="store_true", help="leave out `cluster init`")
    s.set_defaults(func=command_start)
    s = sub.add_parser("stop", help="end the daemons")
    s.add_argument("--dir", required=True)
    s.add_argument("--remove", action="store_true", help="delete the run directory too")
    s.set_defaults(func=command_stop)
    s = sub.add_parser("ctl", help="chainctl against this cluster")
    s.add_argument("--dir", required=True)
    s.add_argument("args", nargs=argparse.REMAINDER)
    s.set_defaults(func=command_ctl)
    a = p.parse_args()
    if a.dir is None:
        a.dir = tempfile.mkdtemp(prefix="chainblk-", dir="/var/tmp")
        print(f"run directory {a.dir}", file=sys.stderr)
    try:
        a.func(a)
    except ClusterError as e:
        print(f"cluster: {e}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
