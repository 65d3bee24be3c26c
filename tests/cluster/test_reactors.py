#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A daemon with two reactors is two servers that fail together: each has its slice of the store, its port
and its half of the chains, and no chain has both."""
import glob
import os
import signal
import socket
import subprocess

from common import BUILD, Load, Skip, eventually, new_cluster, run, run_tests
from cluster import free_port

CHAIND = str(BUILD / "chaind" / "chaind")


def format_store(store, reactors):
    run([CHAIND, "format", store, "--size", "600M", "--reactors", str(reactors)])


def refused(store, *options, listen="127.0.0.1:0"):
    """The reason `chaind run` gives; nothing listens where the configuration service should be."""
    done = subprocess.run([CHAIND, "run", store, "--name", "a", "--cfg", "127.0.0.1:1", "--listen", listen,
                           *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
    return done.stderr


def all_up(cluster):
    return eventually(lambda: cluster.ctl_json("status"), lambda s: s["chains_up"] == s["chains_total"] == 48)


def test_each_reactor_is_a_server_and_no_chain_has_two_of_one_daemon(folder):
    with new_cluster(folder, reactors=2) as cluster:
        status = all_up(cluster)
        servers = {server["name"]: server for server in status["servers"]}
        assert sorted(servers) == ["s1.0", "s1.1", "s2.0", "s2.1", "s3.0", "s3.1"]
        assert all(server["domain"] == name[:2] for name, server in servers.items()), servers
        for name, server in servers.items():
            places = {place: server[place] for place in ("head", "middle", "tail")}
            assert places == {"head": 8, "middle": 8, "tail": 8}, f"{name}: {places}"
        for chain in status["chains"]:
            assert sorted(name[:2] for name in chain["members"]) == ["s1", "s2", "s3"], chain
        cluster.volume_create("vol0", "192M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        load.run("--op write --block 4K --depth 32 --seconds 2")
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 192M")
        eventually(lambda: cluster.ctl_json("status")["servers"], lambda servers: all(
            server["block_writes"] > 4000 and server["block_reads"] > 4000 for server in servers))


def test_killed_and_started_again_every_slice_has_its_data(folder):
    with new_cluster(folder, reactors=2) as cluster:
        cluster.volume_create("vol0", "192M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        load.run("--op write --block 4K --depth 32 --seconds 2")
        cluster.kill_server(1)
        down = eventually(lambda: cluster.ctl_json("status"), lambda s: s["chains_up"] == 0)
        assert all("s2." in chain["reason"] for chain in down["chains"]), down["chains"][0]
        for number in (0, 2):
            cluster.kill_server(number)
        for number in range(3):
            cluster.start_server(number)
        all_up(cluster)
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 192M")
        load.run("--op write --block 4K --depth 32 --seconds 2")
        load.run("--op read --block 4K --depth 32 --seconds 1")


def test_one_signal_stops_all_reactors_in_order_also_under_load(folder):
    with new_cluster(folder, reactors=2) as cluster:
        cluster.volume_create("vol0", "96M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        before = sum(server["block_writes"] for server in cluster.ctl_json("status")["servers"])
        running = load.start("--op write --block 4K --depth 32 --seconds 60")
        eventually(lambda: sum(server["block_writes"] for server in cluster.ctl_json("status")["servers"]),
                   lambda blocks: blocks > before + 5000)
        for server in cluster.servers:
            server.signal(signal.SIGTERM)
        ends = [server.proc.wait(60) for server in cluster.servers]
        assert ends == [0, 0, 0], ends
        running.kill()
        running.communicate()
        for number in range(3):
            cluster.start_server(number)
        all_up(cluster)
        load.run("--crashed --op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 96M")


def test_another_number_of_reactors_than_it_was_formatted_for_is_refused(folder):
    store = os.path.join(folder, "a.store")
    format_store(store, 2)
    text = refused(store, "--reactors", "3")
    assert "formatted for 2 reactors, not 3" in text and "--reactors out" in text, text
    format_store(single := os.path.join(folder, "b.store"), 1)
    assert "formatted for 1 reactor, not 2" in refused(single, "--reactors", "2")


def test_what_is_not_the_whole_disk_is_named(folder):
    store, other = os.path.join(folder, "a.store"), os.path.join(folder, "b.store")
    format_store(store, 2)
    format_store(other, 3)
    half, third = 300 << 20, 200 << 20
    with open(store, "rb") as disk, open(other, "rb") as donor:
        disk.seek(half)
        second = disk.read(1 << 20)
        donor.seek(third)
        foreign = donor.read(1 << 20)
    with open(os.path.join(folder, "part.store"), "wb") as part:
        part.write(second)
        part.truncate(half)
    assert "this is slice 1 of 2" in refused(os.path.join(folder, "part.store"))
    with open(store, "r+b") as disk:
        disk.seek(half)
        disk.write(foreign)
    assert "slice 1 of 2 is slice 1 of another disk of 3" in refused(store)
    with open(store, "r+b") as disk:
        disk.seek(half)
        disk.write(second)
    os.truncate(store, 500 << 20)
    text = refused(store)
    assert "2 slices of 300 MiB, the disk has 500 MiB now" in text, text


def test_a_reactor_that_cannot_begin_ends_the_daemon_with_its_reason(folder):
    store = os.path.join(folder, "a.store")
    format_store(store, 2)
    port = free_port(2)
    with socket.socket() as second:
        second.bind(("127.0.0.1", port + 1))
        second.listen()
        text = refused(store, listen=f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port + 1}" in text and "another program" in text, text


def test_a_disk_that_has_grown_keeps_its_slices(folder):
    with new_cluster(folder, servers=1, reactors=2) as cluster:
        cluster.volume_create("vol0", "64M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        assert cluster.stop_server(0)
        os.truncate(cluster.store_path(0), 3 << 30)
        cluster.servers[0].argv += ["--reactors", "2"]
        cluster.start_server(0)
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 64M")


def test_reactors_stay_on_the_processors_they_are_given(folder):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("one processor only")
    with new_cluster(folder, servers=1, reactors=2) as cluster:
        assert cluster.stop_server(0)
        cluster.servers[0].argv += ["--pin", f"{cpus[1]},{cpus[0]}"]
        cluster.start_server(0)
        pinned = [os.sched_getaffinity(int(task.rsplit("/", 1)[1]))
                  for task in glob.glob(f"/proc/{cluster.servers[0].pid}/task/*")]
        assert {cpus[0]} in pinned and {cpus[1]} in pinned, pinned


run_tests(globals())
