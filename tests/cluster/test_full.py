#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""No space: on the device below a store, in a store, in one store of a chain.

A device that cannot take a write is a failed one: the store stops with that reason, and goes on where
it was when the device has space again. A full store is no failure: the head refuses what would need
a new page, before it has a number, and everything else goes on."""
import os
import subprocess

from churn import CHAIND, Churn, OneServer, start_refused
from common import BUILD, Cluster, eventually, run, run_tests
from disks import loop, sparse_file, tmpfs

MIB = 1 << 20


def chains_up(cluster):
    answer = cluster.ctl_json("status")
    return answer["chains_up"]


def test_a_device_without_space_fails_the_store_and_loses_nothing(folder):
    with tmpfs(os.path.join(folder, "small"), "96M") as small:
        with loop(sparse_file(os.path.join(small, "disk"), 512 * MIB)) as device:
            with OneServer(folder, store=device) as cluster, Churn(cluster, "vol0", folder) as churn:
                cluster.volume_create("vol0", "256M")
                report = churn.run("--depth 16 --ops 3000 --deadline 5000 fill")
                assert set(report["errors"]) == {"EIO"} and report["acked"] > 20, report
                failed = [line for line in cluster.said().splitlines() if "store: FAILED: " in line]
                assert len(failed) == 1 and "No space left on device" in failed[0], cluster.said()
                print(f"   after {report['acked']} MiB: {failed[0]}")
                eventually(lambda: chains_up(cluster), lambda up: up == 0)
                assert cluster.stop_server(0), "it had to be killed"
                # Still no space: named, or it opens and everything is there.
                reason = start_refused(cluster)
                print(f"   started again without space: {reason or 'ready'}")
                cluster.stop_server(0)
                run(["mount", "-o", "remount,size=600M", small])
                cluster.start_server(0)
                churn.verify()
                assert churn.run("--depth 16 --from 200M fill")["errors"] == {}
                churn.verify()
                cluster.stop()


def test_format_notices_a_device_without_any_space(folder):
    with tmpfs(os.path.join(folder, "small"), "1M") as small:
        disk = sparse_file(os.path.join(small, "disk"), 512 * MIB)
        with open(os.path.join(small, "filler"), "wb") as file:
            try:
                file.write(bytes(2 * MIB))
            except OSError:
                pass
        with loop(disk) as device:
            done = subprocess.run([CHAIND, "format", device], capture_output=True, text=True, timeout=60,
                                  check=False)
            assert done.returncode == 1 and device in done.stderr, done
            print(f"   {done.stderr.splitlines()[-1]}")


def test_a_full_store_refuses_cleanly_and_serves_the_rest(folder):
    with OneServer(folder, store_size="96M") as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", "256M")
        server = cluster.servers[0]
        pid = server.pid
        assert churn.run("--depth 16 --to 48M fill")["errors"] == {}
        report = churn.run("--depth 16 --from 48M fill")
        assert set(report["errors"]) == {"ENOSPC"} and report["acked"] > 8, report
        print(f"   full after {48 + report['acked']} MiB of 96: {report['errors']}")
        churn.verify()
        again = churn.run("--from 200M --ops 32 fill")
        assert again["acked"] == 0 and set(again["errors"]) == {"ENOSPC"}, again
        # Overwrites, over and over more than the log holds, and reads of them.
        report = churn.run(f"--depth 16 --ops 600 --to 48M write")
        assert report["errors"] == {}, report
        churn.verify()
        # Unmap a part, and use that space for something else, twice.
        for where in (128, 192):
            report = churn.run(f"--depth 8 --to 48M unmap")
            assert report["errors"] == {}, report
            eventually(lambda: churn.run(f"--from {where}M --to {where + 40}M --depth 4 fill")["errors"],
                       lambda errors: errors == {})
            churn.verify()
            churn.run(f"--from {where}M --to {where + 48}M unmap")
            eventually(lambda: churn.run(f"--to 48M --depth 4 fill")["errors"],
                       lambda errors: errors == {})
        churn.verify()
        assert server.alive() and server.pid == pid and "FAILED" not in cluster.said()
        assert cluster.stop_server(0)
        cluster.start_server(0)
        churn.verify()



def start_uneven(cluster, sizes):
    cluster.start_cfgsvc()
    for number, size in enumerate(sizes):
        cluster.store_size = size
        cluster.format_server(number)
        cluster.start_server(number)
    cluster.ctl("cluster", "init", "--replicas", "3", "--chains", "6")


def nobody_failed(cluster):
    for server in cluster.servers:
        assert server.alive(), f"{server.name} ended"
        with open(server.log, encoding="utf-8") as log:
            text = log.read()
        assert "FAILED" not in text and "full below" not in text, f"{server.name}: {text[-1500:]}"
    eventually(lambda: chains_up(cluster), lambda up: up == 6)


def test_the_smallest_store_of_a_chain_is_full_and_its_head_refuses(folder):
    cluster = Cluster(os.path.join(folder, "cluster"), str(BUILD), log_size="16M")
    try:
        start_uneven(cluster, ["320M", "128M", "320M"])
        places = {chain["members"].index("s2") for chain in cluster.ctl_json("status")["chains"]}
        assert places == {0, 1, 2}, f"s2 is not head, middle and tail: {places}"
        cluster.volume_create("vol0", "256M")
        with Churn(cluster, "vol0", folder) as churn:
            assert churn.run("--depth 16 --to 40M fill")["errors"] == {}
            report = churn.run("--depth 32 --from 40M fill")
            assert set(report["errors"]) == {"ENOSPC"} and report["acked"] > 4, report
            print(f"   full after {40 + report['acked']} MiB of 128: {report['errors']}")
            nobody_failed(cluster)
            # Small ones, random ones, all at once: what is left is given out to the last page.
            report = churn.run("--depth 48 --from 40M --ops 1500 write")
            assert set(report["errors"]) == {"ENOSPC"}, report
            nobody_failed(cluster)
            report = churn.run("--depth 16 --to 40M --ops 300 write")
            assert report["errors"] == {}, f"overwrites are refused: {report}"
            churn.verify()
            assert churn.run("--to 40M unmap")["errors"] == {}
            eventually(lambda: churn.run("--from 200M --to 232M fill")["errors"], lambda errors: errors == {})
            nobody_failed(cluster)
            churn.verify()
            for number in range(3):
                assert cluster.stop_server(number), f"s{number + 1} had to be killed"
            for number in range(3):
                cluster.start_server(number)
            churn.verify()
    finally:
        cluster.stop()


run_tests(globals())
