#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""chaind as a program: what it is given may be anything, and it may be told to stop twice. It ends with
a status and a reason, never with a signal."""
import os
import re
import signal
import socket
import subprocess

from common import BUILD, Load, eventually, new_cluster, run_tests

CHAIND = str(BUILD / "chaind" / "chaind")


def refused(store, cluster, name="other", *options):
    """The reason `chaind run` gives for not taking @store."""
    done = subprocess.run([CHAIND, "run", store, "--name", name, "--cfg", cluster.cfg, "--listen",
                           "127.0.0.1:0", *options], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
    return done.stderr


def test_a_file_that_is_no_store_is_named(folder):
    with new_cluster(folder, servers=1) as cluster:
        for length in (0, 100, 4096, 32768, 4 << 20, 64 << 20):
            store = os.path.join(folder, f"{length}.store")
            with open(store, "wb") as file:
                file.truncate(length)
            text = refused(store, cluster)
            assert store in text and ("too short" in text or "not a chainblk store" in text), text


def test_an_address_that_plaintext_may_not_use_is_refused_at_once(folder):
    store = os.path.join(folder, "a.store")
    subprocess.run([CHAIND, "format", store, "--size", "300M"], check=True, timeout=60)
    done = subprocess.run([CHAIND, "run", store, "--name", "a", "--cfg", "192.0.2.1:7400", "--listen",
                           "127.0.0.1:0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "--insecure-lab" in done.stderr, done.stderr


def test_format_leaves_what_holds_data_as_it_was(folder):
    path = os.path.join(folder, "letter")
    with open(path, "w", encoding="utf-8") as file:
        file.write("dear reader")
    command = [CHAIND, "format", path, "--size", "300M"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "--force" in done.stderr, done.stderr
    with open(path, encoding="utf-8") as file:
        assert file.read() == "dear reader"
    subprocess.run([*command, "--force"], check=True, timeout=60)


def test_a_store_that_was_rolled_back_is_refused(folder):
    with new_cluster(folder, servers=1) as cluster:
        assert cluster.stop_server(0)
        store, old = cluster.store_path(0), os.path.join(folder, "old.store")
        subprocess.run(["cp", "--reflink=never", store, old], check=True)
        cluster.start_server(0)
        assert cluster.stop_server(0)
        assert "rolled-back" in refused(old, cluster, "s1")
        cluster.start_server(0)


def test_a_memory_budget_below_what_the_store_needs_is_refused_with_what_it_needs(folder):
    with new_cluster(folder, servers=1) as cluster:
        assert cluster.stop_server(0)
        text = refused(cluster.store_path(0), cluster, "s1", "--memory", "40M")
        least = re.search(r"give --memory (\d+)M or more", text)
        assert least and "--memory allows 40M" in text, text
        cluster.servers[0].argv += ["--memory", f"{least[1]}M"]
        cluster.start_server(0)
        with open(cluster.servers[0].log, encoding="utf-8") as log:
            said = re.findall(r"memory (\d+)M, taken at start: store \d+M", log.read())
        assert len(said) == 2 and int(said[1]) <= int(least[1]) < int(said[0]), (said, text)


def test_memory_above_the_machines_is_refused_with_what_to_give(folder):
    with new_cluster(folder, servers=1) as cluster:
        assert cluster.stop_server(0)
        text = refused(cluster.store_path(0), cluster, "s1", "--memory", "900T")
        assert re.search(r"--memory 943718400M are more than the \d+M .*: give --memory \d+M to \d+M", text), text


def test_what_is_no_store_is_named_for_what_it_is(folder):
    fifo, sock = os.path.join(folder, "fifo"), os.path.join(folder, "sock")
    os.mkfifo(fifo)
    with new_cluster(folder, servers=1) as cluster, socket.socket(socket.AF_UNIX) as s:
        s.bind(sock)
        for path, kind in (("/dev/null", "a character device"), (folder, "a folder"), (fifo, "a FIFO"),
                           (sock, "a socket")):
            text = refused(path, cluster, "s9")
            assert f"{path}: is {kind}, a store is a file or a block device: give what" in text, text
        assert "not there: make it with: chaind format" in refused(fifo + "x", cluster, "s9")


def test_scrubbing_is_on_unless_it_is_turned_off_and_says_so(folder):
    with new_cluster(folder, servers=1) as cluster:
        server, argv = cluster.servers[0], list(cluster.servers[0].argv)
        said = []
        for options in ([], ["--scrub", "0"], ["--scrub", "1"], ["--scrub", "30"]):
            assert cluster.stop_server(0)
            offset = os.path.getsize(server.log)
            server.argv = argv + options
            cluster.start_server(0)
            with open(server.log, encoding="utf-8") as log:
                log.seek(offset)
                said += re.findall(r"chaind: s1: (scrubbing.*)", log.read())
        once = "scrubbing: all it holds is read and checked once in "
        assert said == [f"{once}14 days", "scrubbing is off (--scrub 0): what rots is found when it is read",
                        f"{once}1 day", f"{once}30 days"], said


def test_a_second_signal_ends_it_at_once(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "128M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        running = load.start("--op write --block 1M --depth 32 --seconds 60")
        eventually(lambda: cluster.ctl_json("status")["servers"][0]["block_writes"],
                   lambda blocks: blocks > 20000)
        for server in cluster.servers:
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGTERM)
        ends = [server.proc.wait(30) for server in cluster.servers]
        assert all(end in (0, 1) for end in ends), ends  # 0: one that saw both signals as one
        running.kill()
        running.communicate()


run_tests(globals())
