#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""24 chains over three servers: each server is head, middle and tail of a third, and all of them work."""
import collections
import itertools

from common import Load, eventually, new_cluster, run_tests

EXTENT = 4 << 20


def test_each_server_is_head_middle_and_tail_of_eight_chains(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "256M")
        status = eventually(lambda: cluster.ctl_json("status"), lambda s: s["chains_up"] == 24)
        assert status["chains_total"] == 24 and len(status["chains"]) == 24
        for server in status["servers"]:
            places = {place: server[place] for place in ("head", "middle", "tail")}
            assert places == {"head": 8, "middle": 8, "tail": 8}, f"{server['name']}: {places}"
        orders = collections.Counter(tuple(chain["members"]) for chain in status["chains"])
        assert orders == {order: 4 for order in itertools.permutations(("s1", "s2", "s3"))}, orders
        table = cluster.ctl("status")
        assert "24 of 3 members, all up" in table, table


def test_a_volume_uses_all_chains_and_every_server_reads_and_writes(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "256M")
        chains = {cluster.ctl_json("where", "vol0", str(extent * EXTENT))["chain"]
                  for extent in range(64)}
        assert chains == set(range(1, 25)), f"64 extents lie on chains {sorted(chains)}"
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        load.run("--op write --block 4K --depth 32 --seconds 2")
        load.run("--op read --block 4K --depth 32 --seconds 2")
        load.run("--op write --block 1M --depth 8 --seq --seconds 2")
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 256M")
        working = eventually(lambda: cluster.ctl_json("status")["servers"], lambda servers: all(
            server["block_writes"] > 12000 and server["block_reads"] > 12000 for server in servers))
        assert len(working) == 3


run_tests(globals())
