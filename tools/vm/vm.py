#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Run the guest of guest.py under QEMU (software emulation, user networking).

    with VM(run_dir, plugin_files(build_dir), fio=True) as vm:
        vm.check(". /chainblk/target.sh; target_up")      # a shell script, as root in the guest
        vm.iscsi_port                                     # this host's way to the guest's port 3260

or from a shell, where the machine stays until `stop`:

    tools/vm/vm.py start --dir RUN [--build build] [--fio]
    tools/vm/vm.py sh    --dir RUN 'dmesg | tail'         # script from stdin when left out
    tools/vm/vm.py stop  --dir RUN

The guest reaches this host's loopback as 10.0.2.2. Our plugin and library, and whatever else is in
@files, are packed into a second cpio archive appended to the cached one. Ports are free loopback
ports picked at start. Only the QEMU recorded in RUN/vm.json with the same start time is signalled.
RUN/console.log is the guest's console, RUN/qemu.log QEMU's own complaints.
"""
import argparse
import contextlib
import os
import re
import socket
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import guest  # noqa: E402
from cluster import (ClusterError, Daemon, Running, default_build, free_port,  # noqa: E402
                     wait_for_text)

BOOT_S = 180
START_TRIES = 3
READY = "CHAINBLK-GUEST ready"
KERNEL_ARGS = ("console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0 selinux=0 apparmor=0 "
               "random.trust_cpu=on tsc=reliable net.ifnames=0")
PLUGIN_DIR = "usr/lib/x86_64-linux-gnu/tcmu-runner"
LIB_DIR = "usr/lib/x86_64-linux-gnu"
LAB_PREFIX = "10.0.2."


class VMError(Exception):
    """What went wrong in or around the guest, ready to print."""


def cpio_newc(files):
    """An archive of @files: {path in the guest: bytes}. Folders are made as needed."""
    out, seen, number = [], set(), 0

    def entry(name, mode, data):
        nonlocal number
        number += 1
        raw = name.encode() + b"\0"
        head = "070701" + "".join("%08X" % v for v in (
            number, mode, 0, 0, 2 if mode & 0o040000 else 1, 0, len(data), 0, 0, 0, 0, len(raw), 0))
        for part in (head.encode() + raw, data):
            out.append(part + b"\0" * (-len(part) % 4))

    for name in sorted(files):
        parts = name.strip("/").split("/")
        for i in range(1, len(parts)):
            folder = "/".join(parts[:i])
            if folder not in seen:
                seen.add(folder)
                entry(folder, 0o040755, b"")
        entry("/".join(parts), 0o100755, files[name])
    entry("TRAILER!!!", 0, b"")
    data = b"".join(out)
    return data + b"\0" * (-len(data) % 512)


def read_file(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        raise VMError(f"{path}: not there: build it first (./dev build); handler_chain.so needs "
                      "tcmu-runner's headers (./dev setup)") from None


def plugin_files(build_dir, library=None):
    """Our part of the guest: plugin, library, and leave to speak plaintext to 10.0.2.2."""
    library = library or os.path.join(build_dir, "libchainblk", "libchainblk.so")
    plugin = read_file(os.path.join(build_dir, "tcmu-handler", "handler_chain.so"))
    needed = re.search(rb"\0(libchainblk[\w.]*\.so[\d.]*)\0", plugin)
    if not needed:
        raise VMError("handler_chain.so names no libchainblk among the libraries it needs")
    return {
        f"{PLUGIN_DIR}/handler_chain.so": plugin,
        f"{LIB_DIR}/{needed.group(1).decode()}": read_file(library),
        "etc/chainblk/insecure-lab": LAB_PREFIX.encode() + b"\n",
    }


class VM(Running):
    """One guest. @keep lets it outlive this process."""

    WHAT, FILE, COMMAND, ERROR = "guest", "vm.json", "tools/vm/vm.py", VMError

    def __init__(self, run_dir, files=None, fio=False, mem_mib=None, keep=False, say=None):
        self.run_dir, self.files, self.fio = os.path.abspath(run_dir), files or {}, fio
        self.mem_mib, self.keep = mem_mib or (1024 if fio else 768), keep
        self.say = say or (lambda line: print(f"guest: {line}", file=sys.stderr, flush=True))
        self.qemu = None
        self.agent_port = self.iscsi_port = None

    @property
    def console(self):
        return os.path.join(self.run_dir, "console.log")

    def argv(self, image, initrd):
        accel = os.environ.get("CHAINBLK_VM_ACCEL", "tcg,tb-size=512")
        forward = "".join(",hostfwd=tcp:127.0.0.1:%d-:%d" % pair for pair in (
            (self.iscsi_port, 3260), (self.agent_port, 2222)))
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-machine", "q35", "-accel", accel, "-m", str(self.mem_mib),
                "-smp", "1", "-kernel", os.path.join(image, "vmlinuz"), "-initrd", initrd,
                "-append", KERNEL_ARGS, "-serial", "file:" + self.console,
                "-device", "virtio-rng-pci", "-netdev", "user,id=n0" + forward,
                "-device", "virtio-net-pci,netdev=n0,romfile="]
        if self.fio:
            path = os.path.join(image, "fio.cpio")
            argv += ["-drive", f"file={path},if=none,id=fio,format=raw,readonly=on",
                     "-device", "virtio-blk-pci,drive=fio"]
        return argv

    def start(self):
        os.makedirs(self.run_dir, exist_ok=True)
        image = guest.ensure(say=self.say)
        initrd = os.path.join(self.run_dir, "initrd")
        with open(initrd, "wb") as f:
            f.write(read_file(os.path.join(image, "base.cpio")))
            f.write(cpio_newc({**self.files, "chainblk/target.sh":
                               read_file(os.path.join(HERE, "guest-target.sh"))}))
        for attempt in range(START_TRIES):
            # a port can be taken between our look and QEMU's bind: then QEMU says so and ends
            self.iscsi_port, self.agent_port = free_port(), free_port()
            log = os.path.join(self.run_dir, "qemu.log")
            open(self.console, "w", encoding="utf-8").close()
            self.qemu = Daemon("qemu", self.argv(image, initrd), log)
            self.qemu.start(self.keep, wait=False)
            self.save()
            try:
                wait_for_text(self.console, 0, (READY,), self.qemu.pid, BOOT_S)
                break
            except ClusterError as e:
                said = read_file(log).decode(errors="replace")
                if "hostfwd" not in said and "forwarding" not in said or \
                        attempt == START_TRIES - 1:
                    raise VMError(f"the guest did not come up: {e}\nQEMU says: {said}") from None
        os.unlink(initrd)

    def stop(self):
        if self.qemu is not None:
            self.qemu.stop()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.run_dir, "initrd"))
        self.forget_state()

    def alive(self):
        return self.qemu is not None and self.qemu.alive()

    # -- scripts in the guest --------------------------------------------------------------

    def sh(self, script, timeout_s=120, on_line=None):
        """Run a shell script. Returns (exit status, output)."""
        end = time.monotonic() + timeout_s
        out = b""
        try:
            with socket.create_connection(("127.0.0.1", self.agent_port), timeout=10) as s:
                s.sendall(script.encode() + b"\n")
                s.shutdown(socket.SHUT_WR)
                while True:
                    s.settimeout(max(end - time.monotonic(), 0.1))
                    part = s.recv(65536)
                    if not part:
                        break
                    out += part
                    if on_line:
                        for line in part.decode(errors="replace").splitlines():
                            on_line(line)
        except TimeoutError:
            raise VMError(f"no answer from the guest in {timeout_s} s to:\n{script}\n"
                          f"so far it said:\n{out.decode(errors='replace')}") from None
        except OSError as e:
            raise VMError(f"the guest's agent: {e}; see {self.console}") from None
        text = out.decode(errors="replace")
        body, mark, status = text.rpartition("#rc=")
        if not mark:
            raise VMError(f"the guest broke off; it said:\n{text}\nsee {self.console}")
        return int(status.split()[0]), body

    def check(self, script, timeout_s=120):
        """Run a shell script that must succeed; returns its output."""
        status, out = self.sh(script, timeout_s)
        if status:
            raise VMError(f"in the guest, exit {status}:\n{script.strip()}\n-- it said:\n{out}")
        return out

    # -- state on disk, for the command line -----------------------------------------------

    def save(self):
        self.keep_state({"qemu": self.qemu.state(), "agent_port": self.agent_port,
                         "iscsi_port": self.iscsi_port})

    @classmethod
    def load(cls, run_dir):
        state = cls.kept_state(run_dir)
        vm = cls(run_dir, keep=True)
        vm.qemu = Daemon.load(state["qemu"])
        vm.agent_port, vm.iscsi_port = state["agent_port"], state["iscsi_port"]
        return vm


def command_start(a):
    VM.must_be_new(a.dir)
    files = {} if a.bare else plugin_files(a.build or default_build(), a.library)
    vm = VM(a.dir, files, a.fio, keep=True)
    try:
        vm.start()
    except BaseException:
        vm.stop()
        raise
    print(f"run directory {a.dir}, iSCSI at 127.0.0.1:{vm.iscsi_port}")


def command_sh(a):
    script = a.script if a.script is not None else sys.stdin.read()
    status, out = VM.load(a.dir).sh(script, a.timeout)
    sys.stdout.write(out)
    sys.exit(status)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    sub = p.add_subparsers(dest="command", required=True)
    s = sub.add_parser("start", help="boot the guest, wait until it answers")
    s.add_argument("--dir", default=None, help="run directory (default: a new one in /var/tmp)")
    s.add_argument("--build", default=None, help="build directory (default: build/)")
    s.add_argument("--library", default=None, help="another libchainblk.so, such as the mock")
    s.add_argument("--fio", action="store_true", help="attach the disk that holds fio")
    s.add_argument("--bare", action="store_true", help="without our plugin")
    s.set_defaults(func=command_start)
    s = sub.add_parser("sh", help="run a shell script in the guest")
    s.add_argument("--dir", required=True)
    s.add_argument("--timeout", type=float, default=600)
    s.add_argument("script", nargs="?", help="the script (default: standard input)")
    s.set_defaults(func=command_sh)
    s = sub.add_parser("stop", help="end the guest")
    s.add_argument("--dir", required=True)
    s.set_defaults(func=lambda a: VM.load(a.dir).stop())
    a = p.parse_args()
    if a.dir is None:
        a.dir = tempfile.mkdtemp(prefix="chainblk-vm-", dir="/var/tmp")
    try:
        a.func(a)
    except (VMError, ClusterError, guest.GuestError) as e:
        print(f"vm: {e}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
