#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A disk that answers nothing for a while: the server behind it is stopped and continued.

While it hangs nothing is acknowledged and nothing crashes; the daemon still answers to people and to
cfgsvc. Told to end it ends when the disk answers again. Killed it may stay, and keeps its lock: nobody
else opens the store until the last I/O is done. Nothing that was acknowledged is lost."""
import contextlib
import os
import signal

from churn import Churn, OneServer
from common import eventually, run_tests
from cluster import wait_exit, wait_for_text
from disks import NbdDisk, loop

MIB = 1 << 20


@contextlib.contextmanager
def hanging(folder, on_loop):
    """(disk, cluster, churn on vol0)"""
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(NbdDisk(folder, 48 * MIB))
        path = stack.enter_context(loop(disk.path, "--direct-io=on")) if on_loop else disk.path
        cluster = stack.enter_context(OneServer(folder, store=path, store_size="48M"))
        stack.callback(disk.go_on)
        for volume in ("vol0", "vol1"):
            cluster.volume_create(volume, "8M")
        yield disk, cluster, stack.enter_context(Churn(cluster, "vol0", folder))


def load_and_hang(disk, cluster, churn, folder):
    """Returns another client, on vol1, which has found that nothing is acknowledged: so there are
    writes in flight that the disk has not answered."""
    churn.start("--depth 16 --announce 60 churn")
    churn.wait_for("acked")
    disk.hang()
    other = Churn(cluster, "vol1", folder)
    report = other.run("--depth 8 --ops 8 --deadline 1000 write")
    assert report["acked"] == 0 and set(report["errors"]) == {"ETIMEDOUT"}, report
    return other


def hang_and_go_on(folder, on_loop):
    with hanging(folder, on_loop) as (disk, cluster, churn):
        other = load_and_hang(disk, cluster, churn, folder)
        server = cluster.ctl_json("status")["servers"][0]
        assert server["state"] == "up" and cluster.servers[0].alive(), server
        disk.go_on()
        report = churn.finish()
        assert report["errors"] == {} and report["acked"] > 60, report
        churn.verify()
        other.verify()
        assert "FAILED" not in cluster.said(), cluster.said()
        assert other.run("--ops 50 write")["errors"] == {}
        assert cluster.stop_server(0)


def test_a_file_that_hangs_acknowledges_nothing_and_goes_on(folder):
    hang_and_go_on(folder, on_loop=False)


def test_a_block_device_that_hangs_acknowledges_nothing_and_goes_on(folder):
    hang_and_go_on(folder, on_loop=True)


def test_told_to_end_on_a_hung_disk_it_ends_when_the_disk_answers(folder):
    with hanging(folder, on_loop=True) as (disk, cluster, churn):
        other = load_and_hang(disk, cluster, churn, folder)
        server, offset = cluster.servers[0], cluster.said_bytes()
        server.signal(signal.SIGTERM)
        wait_for_text(server.log, offset, ("SIGTERM",), server.pid, 30)
        assert not wait_exit(server.pid, 1), "it ended with writes in flight"
        disk.go_on()
        assert server.proc.wait(30) == 0, cluster.said(offset)
        cluster.start_server(0)
        assert churn.finish()["errors"] == {}
        churn.verify()
        other.verify()


def test_told_twice_it_ends_at_once_or_with_its_last_write(folder):
    with hanging(folder, on_loop=True) as (disk, cluster, churn):
        other = load_and_hang(disk, cluster, churn, folder)
        server, offset = cluster.servers[0], cluster.said_bytes()
        for words in ("finishing what is in flight", "stopping at once"):
            server.signal(signal.SIGTERM)
            wait_for_text(server.log, offset, (words,), server.pid, 30)
        disk.go_on()
        assert server.proc.wait(30) == 1, cluster.said(offset)
        cluster.wait_unlocked()
        cluster.start_server(0)
        assert churn.finish()["errors"] == {}
        churn.verify()
        other.verify()


def killed(folder, on_loop):
    with hanging(folder, on_loop) as (disk, cluster, churn):
        other = load_and_hang(disk, cluster, churn, folder)
        server = cluster.servers[0]
        server.signal(signal.SIGKILL)
        churn.kill()
        dead, gone = server.pid, wait_exit(server.pid, 1)
        if not gone:
            with open(f"/proc/{dead}/stat", encoding="ascii") as stat:
                assert stat.read().rsplit(")", 1)[1].split()[0] in "DZ", "neither hung nor ended"
        # The next one is refused because of the lock, or waits for the device as the kernel lets nobody
        # open it: it never serves.
        offset = cluster.said_bytes()
        cluster.start_server(0, wait=False)
        ended = wait_exit(server.pid, 1)
        text = cluster.said(offset)
        assert "in use by another daemon" in text if ended else text == "", text
        print(f"   killed with the disk hung: {'gone, but its I/O is not' if gone else 'still there'}; the "
              f"next one {'is refused' if ended else 'waits'}", flush=True)
        disk.go_on()
        assert wait_exit(dead, 30), "it does not end though the disk answers"
        if not ended:
            eventually(lambda: wait_exit(server.pid, 1) or "ready on" in cluster.said(offset), bool)
        if not server.alive():
            server.stop()
            cluster.wait_unlocked()
            cluster.start_server(0)
        churn.verify()
        other.verify()
        assert churn.run("--ops 50 churn")["errors"] == {}


def test_killed_on_a_hung_disk_it_keeps_its_store_until_the_disk_answers(folder):
    for on_loop in (False, True):
        os.makedirs(os.path.join(folder, str(on_loop)))
        killed(os.path.join(folder, str(on_loop)), on_loop)


run_tests(globals())
