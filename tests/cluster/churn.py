# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""What the tests of a store under faults share: a cluster of one server, churn.c on its volume, and
a bad disk (shim.c) for a daemon."""
import json
import os
import subprocess
import threading

from common import BUILD, Cluster, ClusterError, run
from cluster import wait_exit

CHAIND = str(BUILD / "chaind" / "chaind")
CHAINS = 4  # of one store, so that they share its log
SHIM = BUILD / "tests" / "cluster" / "libshim.so"


class Churn:
    """churn.c on one volume; the contents it is sure of are in a file of the test's folder."""

    def __init__(self, cluster, volume, folder):
        self.argv = [str(BUILD / "tests" / "cluster" / "churn"), "--cfg", cluster.cfg, "--volume", volume,
                     "--state", os.path.join(folder, f"{volume}.state")]
        self.proc = None

    def run(self, words, timeout_s=120):
        """To the end; the report. A wrong byte is a failure here, a failed operation is not."""
        return json.loads(run([*self.argv, *words.split()], timeout_s).splitlines()[-1])

    def verify(self, words="", timeout_s=120):
        """Every block has the content it was acknowledged with, or one without an outcome; all of
        them can be read."""
        report = self.run(f"{words} verify", timeout_s)
        assert report["errors"] == {}, report
        return report

    def start(self, words):
        self.proc = subprocess.Popen([*self.argv, *words.split()], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, word, limit_s=40):
        """The next line: it begins with @word."""
        end = threading.Timer(limit_s, self.proc.kill)
        end.start()
        line = self.proc.stdout.readline()
        end.cancel()
        if not line.startswith(word):
            self.proc.kill()
            rest, wrong = self.proc.communicate()
            raise AssertionError(f"churn: '{word}' did not come but: {line}{rest[-1000:]}{wrong[-1000:]}")
        return line.split()

    def finish(self, timeout_s=60):
        """What is in flight gets its answers; the report."""
        try:
            out, wrong = self.proc.communicate(timeout=timeout_s)
        finally:
            self.kill()
        assert self.proc.returncode == 0, f"churn: exit {self.proc.returncode}: {out[-500:]}{wrong[-2000:]}"
        return json.loads(out.splitlines()[-1])

    def kill(self):
        """What is in flight never gets an answer."""
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
        if self.proc and not self.proc.stdout.closed:
            self.proc.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()


class OneServer(Cluster):
    """A cluster of one server, on @store when given: every write has one copy."""

    def __init__(self, folder, store=None, **options):
        options.setdefault("store_size", "256M")
        options.setdefault("log_size", "8M")
        self.store = store
        super().__init__(os.path.join(folder, "cluster"), str(BUILD), servers=1, **options)

    def store_path(self, i):
        return self.store or super().store_path(i)

    def start(self, init=True, replicas=1, chains=CHAINS):
        super().start(init, replicas, chains)

    def start_server(self, i, wait=True, env=None):
        """With @env in the daemon's environment."""
        mine = dict(os.environ)
        os.environ.update(env or {})
        try:
            super().start_server(i, wait)
        finally:
            for name in env or {}:
                del os.environ[name]
            os.environ.update(mine)

    def wait_unlocked(self):
        """The kernel holds the store, and its lock, until a dead daemon's last I/O is done."""
        run(["flock", "-w", "60", self.store_path(0), "true"])

    def said(self, offset=0):
        """What the daemon printed past @offset."""
        with open(self.servers[0].log, encoding="utf-8") as log:
            log.seek(offset)
            return log.read()

    def said_bytes(self):
        return os.path.getsize(self.servers[0].log)


class Shim:
    """The bad disk of one start of a daemon."""

    def __init__(self, folder, rules, armed=True):
        self.log, self.arm = os.path.join(folder, "shim.hits"), os.path.join(folder, "shim.armed")
        self.env = {"LD_PRELOAD": str(SHIM), "CHAINBLK_SHIM": rules, "CHAINBLK_SHIM_LOG": self.log,
                    "CHAINBLK_SHIM_ARM": self.arm}
        for path in (self.log, self.arm):
            if os.path.exists(path):
                os.unlink(path)
        if armed:
            self.go_bad()

    def go_bad(self):
        with open(self.arm, "w", encoding="utf-8"):
            pass

    def heal(self):
        os.unlink(self.arm)

    def lines(self, word):
        """What was hit, or tried later."""
        with open(self.log, encoding="utf-8") as log:
            return [line.split()[1:] for line in log if line.startswith(word)]


def start_refused(cluster, env=None, limit_s=30):
    """Start server 0. None when it serves, else the reason it gave: it ended with status 1, not with a
    signal."""
    server = cluster.servers[0]
    offset = cluster.said_bytes()
    try:
        cluster.start_server(0, env=env)
        return None
    except ClusterError:
        assert wait_exit(server.pid, limit_s), "neither ready nor ended"
    status = server.proc.wait()
    text = cluster.said(offset)
    assert status == 1, f"exit {status}: {text[-1500:]}"
    return text.splitlines()[-1]


def refused(store, cluster, name="other"):
    """The reason `chaind run` gives for not taking @store."""
    done = subprocess.run([CHAIND, "run", store, "--name", name, "--cfg", cluster.cfg, "--listen",
                           "127.0.0.1:0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
    return done.stderr
