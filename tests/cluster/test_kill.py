#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Daemons die: their chains stop, `chainctl status` names who is missing, nothing acknowledged is lost,
and when they are started again the chains go on by themselves."""
from churn import Churn
from common import Load, eventually, new_cluster, run, run_tests


def chains_of(cluster):
    status = cluster.ctl_json("status")
    return status["chains_up"], status["chains"]


def all_up(cluster):
    eventually(lambda: chains_of(cluster), lambda answer: answer[0] == 24)


def test_a_killed_daemon_is_named_by_every_chain_it_was_in(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "128M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        all_up(cluster)
        cluster.kill_server(1)
        _, chains = eventually(lambda: chains_of(cluster), lambda answer: answer[0] == 0)
        for chain in chains:
            assert "s2" in chain["reason"], f"chain {chain['id']}: {chain['reason']!r}"
        assert "s2" in cluster.ctl("status") and "down" in cluster.ctl("status")
        run(["flock", "-w", "60", cluster.store_path(1), "true"])
        cluster.start_server(1)
        all_up(cluster)
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 128M")
        load.run("--op write --block 4K --depth 32 --seconds 2")


def test_a_stopped_daemon_is_named_too(folder):
    with new_cluster(folder) as cluster:
        all_up(cluster)
        assert cluster.stop_server(2), "s3 had to be killed"
        _, chains = eventually(lambda: chains_of(cluster), lambda answer: answer[0] == 0)
        assert all("s3" in chain["reason"] for chain in chains), chains[0]["reason"]
        cluster.start_server(2)
        all_up(cluster)


def rounds_of_kills(folder, victims):
    """Killed under load and started anew: the client waits, nothing that was acknowledged is lost."""
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "64M")
        with Churn(cluster, "vol0", folder) as churn:
            for killed in victims:
                churn.start("--depth 32 --announce 200 churn")
                churn.wait_for("acked")
                for number in killed:
                    cluster.kill_server(number)
                for number in killed:
                    # The kernel holds the store, and its lock, until a dead daemon's last I/O is done.
                    run(["flock", "-w", "60", cluster.store_path(number), "true"])
                    cluster.start_server(number)
                all_up(cluster)
                report = churn.finish()
                assert report["errors"] == {} and report["acked"] > 200, report
                churn.verify()


def test_one_daemon_killed_under_load_comes_back_into_its_chains(folder):
    """Each is head of some chains, middle and tail of others."""
    rounds_of_kills(folder, [(0,), (1,), (2,), (1,), (0, 2), (2, 1)])


def test_all_killed_at_once_under_load_go_on_wherever_their_logs_end(folder):
    """What one log has and another has not is undone or sent, by nobody's hand."""
    rounds_of_kills(folder, [(0, 1, 2)] * 5)


run_tests(globals())
