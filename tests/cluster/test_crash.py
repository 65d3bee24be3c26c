#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A daemon killed under load, over and over: after each restart every acknowledged modification is
there, and of the others each block is wholly old or wholly new.

    tests/cluster/test_crash.py [--rounds N] [--seed S]

A round writes some hundred operations of all kinds and lengths, kills the daemon in the middle of
them and starts it again at once, sometimes to kill it during recovery. In some rounds the client
dies too: what it had in flight stays without an outcome. In the others it lives on, and everything
it has asked for must be done in the end. The log is small, so that destaging and checkpoints are
always under way."""
import argparse
import os
import random
import re
import sys
import time

from churn import Churn, OneServer
from common import ClusterError, run, run_tests
from cluster import wait_for_text

VOLUME_MIB = 64


def wait_unlocked(cluster):
    """The kernel holds the store, and its lock, until the dead daemon's last I/O is done."""
    run(["flock", "-w", "60", cluster.store_path(0), "true"])


def start_again(cluster):
    """Returns how often it was refused because of I/O of the life before."""
    try:
        cluster.start_server(0)
        return 0
    except ClusterError as error:
        if "in use by another daemon" not in str(error):
            raise
    cluster.servers[0].stop()
    wait_unlocked(cluster)
    cluster.start_server(0)
    return 1


def kill_while_it_recovers(cluster):
    """Returns whether it was killed before it was ready."""
    server = cluster.servers[0]
    wait_unlocked(cluster)
    offset = os.path.getsize(server.log)
    cluster.start_server(0, wait=False)
    wait_for_text(server.log, offset, ("taken at start",), server.pid, 60)
    cluster.kill_server(0)
    with open(server.log, encoding="utf-8") as log:
        log.seek(offset)
        return "ready on" not in log.read()


def one_round(cluster, churn, dice, count):
    survives = dice.random() < 0.4
    churn.start(f"--depth {dice.choice([1, 4, 16, 48])} --seed {dice.randrange(1 << 30)} "
                f"--announce {dice.randrange(1, 250)} churn")
    churn.wait_for("acked")
    cluster.kill_server(0)
    if not survives:
        churn.kill()
    if dice.random() < 0.25:
        count["killed in recovery"] += kill_while_it_recovers(cluster)
    count["refused"] += start_again(cluster)
    if survives:
        report = churn.finish()
        assert report["errors"] == {}, f"the client was told of an error: {report}"
    churn.verify()


def replayed_batches(cluster):
    """Of each start, in order."""
    with open(cluster.servers[0].log, encoding="utf-8") as log:
        return [int(n) for n in re.findall(r"replayed (\d+) batches", log.read())]


def test_a_daemon_killed_under_load_over_and_over_loses_nothing(folder):
    dice = random.Random(OPTIONS.seed)
    print(f"   --seed {OPTIONS.seed}", flush=True)
    count = {"killed in recovery": 0, "refused": 0}
    with OneServer(folder) as cluster:
        cluster.volume_create("vol0", f"{VOLUME_MIB}M")
        with Churn(cluster, "vol0", folder) as churn:
            for number in range(OPTIONS.rounds):
                try:
                    one_round(cluster, churn, dice, count)
                except (AssertionError, ClusterError) as error:
                    raise AssertionError(f"round {number} of --seed {OPTIONS.seed}: {error}") from error
        replayed = replayed_batches(cluster)
        assert cluster.stop_server(0), "it had to be killed"
    print(f"   {OPTIONS.rounds} rounds, killed during recovery {count['killed in recovery']} times, "
          f"refused for I/O of a dead daemon {count['refused']} times; batches replayed: "
          f"{min(replayed)} to {max(replayed)}")
    assert len(replayed) >= OPTIONS.rounds, "a start had nothing to replay: was it killed under load?"


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % (1 << 30))
    options, rest = parser.parse_known_args()
    sys.argv[1:] = rest  # names of tests
    return options


OPTIONS = parse()
run_tests(globals())
