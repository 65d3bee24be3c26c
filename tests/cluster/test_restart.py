#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""All daemons stopped, or killed at once, and started again: every acknowledged byte is there."""
import signal

from common import Load, new_cluster, run_tests


def start_all(cluster):
    cluster.start_cfgsvc()
    for number in range(3):
        cluster.start_server(number)


def test_after_a_clean_stop_of_everything_the_data_is_there(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "256M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        load.run("--op write --block 4K --depth 32 --seconds 3")
        for daemon in [*cluster.servers, cluster.cfgsvc]:
            assert daemon.stop(), f"{daemon.name} had to be killed"
        start_all(cluster)
        read = load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 256M")
        assert read["bad"] == 0
        load.run("--op write --block 4K --depth 32 --seconds 2")
        load.run("--op read --block 4K --depth 32 --seconds 2")


def test_after_a_clean_stop_repeated_the_log_has_wrapped_and_the_data_is_there(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "128M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        for _ in range(3):
            load.run("--op write --block 4K --depth 32 --seconds 0 --min-bytes 48M", 140)
            for number in range(3):
                assert cluster.stop_server(number), f"s{number + 1} had to be killed"
            for number in range(3):
                cluster.start_server(number)
            load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 128M")


def test_killed_all_at_once_while_idle_the_data_is_there(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "128M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        load.run("--op write --block 4K --depth 32 --seconds 2")
        for daemon in [*cluster.servers, cluster.cfgsvc]:
            daemon.signal(signal.SIGKILL)
        for daemon in [*cluster.servers, cluster.cfgsvc]:
            daemon.stop()
        start_all(cluster)
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 128M")


run_tests(globals())
