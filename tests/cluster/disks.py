# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Disks to put a store on: small file systems and loop devices. Each is a context that takes down
what it made, whatever happens inside."""
import contextlib
import os
import signal
import subprocess
import threading

from common import Skip, need, run
from cluster import wait_exit, wait_for_text

HANG_S = 45  # at most


def need_root_and(*paths):
    if os.geteuid() != 0:
        raise Skip("needs root")
    for path in paths:
        if not os.path.exists(path):
            raise Skip(f"this machine has no {path}")


@contextlib.contextmanager
def tmpfs(point, size):
    need("mount")
    need_root_and()
    os.makedirs(point, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "chainblk-test", point],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f"mount -t tmpfs: {done.stderr.strip()}")
    try:
        yield point
    finally:
        run(["umount", point])


@contextlib.contextmanager
def loop(path, *words):
    """A loop device on the file @path."""
    need("losetup")
    need_root_and("/dev/loop-control")
    done = subprocess.run(["losetup", "--find", "--show", *words, path], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise Skip(f"losetup: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        run(["losetup", "-d", device])


def sparse_file(path, size_bytes):
    with open(path, "wb") as file:
        file.truncate(size_bytes)
    return path


class NbdDisk:
    """A disk that can hang: a file that nbdfuse serves from an NBD server, which can be stopped."""

    def __init__(self, folder, size_bytes):
        need("nbdkit", "nbdfuse", "fusermount3")
        need_root_and("/dev/fuse")
        self.folder, self.backing = folder, sparse_file(os.path.join(folder, "disk"), size_bytes)
        self.mount, self.path = os.path.join(folder, "fuse"), os.path.join(folder, "fuse", "nbd")
        self.server = self.fuse = self.rescue = None

    def _spawn(self, name, words, ready):
        """@ready is a file the program writes its pid to when it serves."""
        with open(os.path.join(self.folder, f"{name}.log"), "ab") as log, open(ready, "w", encoding="ascii"):
            proc = subprocess.Popen([name, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for_text(ready, 0, list("0123456789"), proc.pid, 30)
        except BaseException:
            proc.kill()
            proc.wait()
            raise
        return proc

    def __enter__(self):
        socket, ready = os.path.join(self.folder, "nbd.sock"), os.path.join(self.folder, "ready")
        os.makedirs(self.mount)
        try:
            self.server = self._spawn("nbdkit", ["-f", "-P", f"{ready}.1", "-U", socket, "file",
                                                 f"file={self.backing}"], f"{ready}.1")
            self.fuse = self._spawn("nbdfuse", ["-P", f"{ready}.2", self.mount, "--unix", socket],
                                    f"{ready}.2")
        except BaseException:
            self.__exit__()
            raise
        return self

    def hang(self):
        """Not for ever: who waits for this disk cannot be killed, not by a test that failed either."""
        self.rescue = threading.Timer(HANG_S, self.go_on)
        self.rescue.start()
        self.server.send_signal(signal.SIGSTOP)
        os.waitpid(self.server.pid, os.WUNTRACED)  # it has stopped, all its threads

    def go_on(self):
        if self.rescue:
            self.rescue.cancel()
        self.server.send_signal(signal.SIGCONT)

    def __exit__(self, *exc):
        if self.server:
            self.go_on()  # whoever waits for it could not end otherwise
        subprocess.run(["fusermount3", "-u", "-z", self.mount], capture_output=True, check=False)
        for proc in (self.server, self.fuse):
            if proc:
                proc.terminate()
                if not wait_exit(proc.pid, 10):
                    proc.kill()
                proc.wait()
