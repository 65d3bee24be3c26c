#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A real daemon on a disk that fails: writes and flushes that say EIO or come short, writes torn as
the daemon dies, reads that say EIO or bring a wrong bit, while it works and while it opens.

A failed write ends the store's service and is never tried again; a wrong byte reaches nobody; and
what was acknowledged is there when the disk is whole again."""
import hashlib
import random
import re
import time

from churn import Churn, OneServer, Shim, start_refused
from common import ClusterError, eventually, run_tests
from cluster import wait_exit, wait_for_text

SUPER = "@0-65536"
LOG = f"@65536-{65536 + (8 << 20)}"
REST = f"@{65536 + (8 << 20)}-99999999999"
OPTIONS = {"store_size": "80M"}
VOLUME = "32M"


def status(cluster):
    return cluster.ctl_json("status")


def all_up(cluster):
    eventually(lambda: status(cluster), lambda answer: answer["chains_up"] == len(answer["chains"]))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def fail_under_load(cluster, churn, folder, rule, dice):
    shim = Shim(folder, rule, armed=False)
    offset = cluster.said_bytes()
    cluster.start_server(0, env=shim.env)
    churn.start(f"--depth 16 --seed {dice.randrange(1 << 30)} --announce {dice.randrange(1, 100)} churn")
    churn.wait_for("acked")
    shim.go_bad()
    error = churn.wait_for("error")[1]
    assert error == "EIO", f"{rule}: the client was told {error}"
    churn.kill()
    # It says so, to people and to cfgsvc, and takes no more.
    failed = [line for line in cluster.said(offset).splitlines() if "store: FAILED: " in line]
    assert failed and "failed" in failed[0], f"{rule}: {cluster.said(offset)}"
    answer = eventually(lambda: status(cluster), lambda answer: answer["chains_up"] == 0)
    assert all("s1 failed" in chain["reason"] for chain in answer["chains"]), answer["chains"][0]
    report = churn.run("--ops 8 --deadline 500 churn")
    assert report["acked"] == 0, f"{rule}: acknowledged by a store that failed: {report}"
    assert cluster.stop_server(0), f"{rule}: it had to be killed"
    hits, later = shim.lines("hit"), shim.lines("later")
    assert hits and not later, f"{rule}: hit {hits}, tried later: {later}"
    print(f"   {rule}: {failed[0]}", flush=True)


def test_a_failed_write_ends_the_service_and_nothing_is_tried_again(folder):
    dice = random.Random(time.time_ns())
    rules = [f"write:1:eio{LOG}", f"write:30+:eio{LOG}", f"write:1:short=3{LOG}", f"write:1:eio{REST}",
             f"write:40+:eio{REST}", f"write:5:short=1{REST}", f"write:1:eio{SUPER}",
             f"write:3+:eio{SUPER}", "flush:1:eio", "flush:4+:eio"]
    with OneServer(folder, **OPTIONS) as cluster:
        cluster.volume_create("vol0", VOLUME)
        cluster.stop_server(0)
        with Churn(cluster, "vol0", folder) as churn:
            for rule in rules:
                fail_under_load(cluster, churn, folder, rule, dice)
                cluster.start_server(0)
                churn.verify()
                churn.run("--ops 50 churn")
                cluster.stop_server(0)


def tear_and_recover(cluster, churn, folder, rule, dice):
    """The daemon dies in the middle of a write: some sectors of it are there, the others are not."""
    shim = Shim(folder, rule, armed=False)
    cluster.start_server(0, env=shim.env)
    churn.start(f"--depth {dice.choice([4, 32])} --seed {dice.randrange(1 << 30)} "
                f"--announce {dice.randrange(1, 100)} churn")
    churn.wait_for("acked")
    shim.go_bad()
    assert wait_exit(cluster.servers[0].pid, 60), f"{rule}: never hit"
    cluster.kill_server(0)
    churn.kill()
    assert shim.lines("hit")[-1][-1] == "torn", shim.lines("hit")
    cluster.wait_unlocked()
    cluster.start_server(0)
    churn.verify()
    assert cluster.stop_server(0), "it had to be killed"


def test_a_daemon_that_dies_in_the_middle_of_a_write_recovers(folder):
    seed = time.time_ns() % (1 << 30)
    dice = random.Random(seed)
    with OneServer(folder, **OPTIONS) as cluster:
        cluster.volume_create("vol0", VOLUME)
        cluster.stop_server(0)
        with Churn(cluster, "vol0", folder) as churn:
            for where in [LOG] * 10 + [REST] * 6 + [SUPER] * 4:
                nth = dice.randrange(1, 5 if where == SUPER else 40)
                rule = f"write:{nth}:torn={dice.randrange(0, 24)}{where}"
                try:
                    tear_and_recover(cluster, churn, folder, rule, dice)
                except (AssertionError, ClusterError) as error:
                    raise AssertionError(f"{rule}, seed {seed}: {error}") from error


def sweep_opening(cluster, folder, op, kind, dice):
    """The first operation of this sort that a start does fails, then the second ... until a start does
    so few. Returns the reasons of those that were refused."""
    reasons, before = [], digest(cluster.store_path(0))
    for nth in range(1, 1000):
        shim = Shim(folder, f"{op}:{nth}:{kind}={dice.randrange(1 << 20)}")
        reason = start_refused(cluster, env=shim.env)
        shim.heal()
        hits = shim.lines("hit")
        if reason is not None:
            assert "store" in reason and hits, reason
            reasons.append(reason.split(": ", 2)[-1])
        if reason is not None and op == "read":
            assert digest(cluster.store_path(0)) == before, f"{op} {nth} {kind}: it wrote: {reason}"
        elif reason is None:
            cluster.stop_server(0)
            before = digest(cluster.store_path(0)) if op == "read" else None
        if not hits:
            break
    assert nth > 2, f"a start has only {nth - 1} of {op}"
    return reasons


def test_whatever_fails_while_it_opens_has_a_name_and_costs_nothing(folder):
    dice = random.Random(time.time_ns())
    with OneServer(folder, **OPTIONS) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", VOLUME)
        churn.run("--ops 400 churn")
        cluster.stop_server(0)
        for op, kind in [("read", "eio"), ("read", "flip"), ("write", "eio"), ("flush", "eio")]:
            reasons = sweep_opening(cluster, folder, op, kind, dice)
            print(f"   {op} {kind}: refused {len(reasons)} times: {sorted(set(reasons))}", flush=True)
            cluster.start_server(0)
            churn.verify()
            churn.run("--ops 50 churn")
            cluster.stop_server(0)


def test_a_daemon_that_opens_slowly_says_how_far_it_is(folder):
    with OneServer(folder, **OPTIONS) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", VOLUME)
        churn.start("--depth 16 --announce 300 churn")
        churn.wait_for("acked")
        cluster.kill_server(0)
        churn.kill()
        cluster.wait_unlocked()
        # Each read of the log takes more than the second after which it says something.
        shim, offset = Shim(folder, f"read:1+:slow=1100{LOG}"), cluster.said_bytes()
        cluster.start_server(0, wait=False, env=shim.env)
        server = cluster.servers[0]
        before_ready = wait_for_text(server.log, offset, ("store: replayed",), server.pid, 60)
        shim.heal()
        server.wait_ready(offset)
        told = [tuple(map(int, found)) for found in
                re.findall(r"store: opening, step (\d+) of 8: [a-z ]+: (\d+) %$", before_ready, re.MULTILINE)]
        assert len(told) >= len(shim.lines("hit")) - 1 > 5, before_ready
        assert told == sorted(told), f"it goes back: {before_ready}"
        ends = {step for step, percent in told if percent == 100}
        assert ends == {step for step, _ in told}, f"a step does not end: {before_ready}"
        # What lies behind the end of the log is looked at, and the log is replayed.
        assert {5, 7} <= ends, before_ready
        churn.verify()


def test_a_read_that_fails_is_an_error_to_its_reader_and_harms_nobody_else(folder):
    with OneServer(folder, **OPTIONS) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", VOLUME)
        churn.run("--ops 300 churn")
        cluster.stop_server(0)
        for rule in ["read:1+:eio", "read:1+:flip=77777", "read:2:flip=123,read:9:flip,read:11:eio"]:
            shim = Shim(folder, rule, armed=False)
            cluster.start_server(0, env=shim.env)
            shim.go_bad()
            report = churn.run("--block 64K --depth 4 verify")
            assert report["errors"] and set(report["errors"]) <= {"EIO", "EBADMSG"}, f"{rule}: {report}"
            hits = shim.lines("hit")
            assert len(hits) >= sum(report["errors"].values()), f"{rule}: {report}"
            assert report["ops"] * (64 << 10) == 32 << 20, report
            shim.heal()
            print(f"   {rule}: {report['errors']} of {report['ops']} reads", flush=True)
            assert status(cluster)["chains_up"] == 4, "a read error stopped a chain"
            churn.verify()
            churn.run("--ops 50 churn")
            churn.verify()
            assert cluster.stop_server(0)


run_tests(globals())
