#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Whose store is it? Another cluster's, another server's, a clone, an old copy, one cut short, one of a
newer version, something else altogether: each is refused by name, and not a byte of it is changed."""
import contextlib
import hashlib
import os
import shutil
import struct

from churn import CHAIND, Churn, OneServer, refused
from common import BUILD, Cluster, eventually, run_tests
from cluster import Daemon, wait_for_text
from disks import loop, sparse_file
from proxy import Proxy

SMALL = {"store_size": "64M", "log_size": "8M"}
VERSION_AT, CRC_AT, BLOCK = 8, 12, 4096  # of the superblock, docs/DISK.md
COPIES_AT = (0, 16 << 10, 32 << 10, 48 << 10)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def refused_for(store, cluster, name, words):
    reason = refused(store, cluster, name).splitlines()[-1]
    assert store in reason, f"which store? {reason}"
    reason = reason[reason.index(store) + len(store) + 2:]
    assert words in reason, f"expected '{words}': {reason}"
    print(f"   {reason}", flush=True)


def refused_untouched(store, cluster, name, words):
    before = digest(store)
    refused_for(store, cluster, name, words)
    assert digest(store) == before, f"it was written to, and refused ({words})"


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def change_version(path, by):
    with open(path, "r+b") as file:
        for at in COPIES_AT:
            file.seek(at)
            block = bytearray(file.read(BLOCK))
            version, crc = struct.unpack_from("<II", block, VERSION_AT)
            struct.pack_into("<I", block, CRC_AT, 0)
            assert crc32c(block) == crc, "the superblock is not what docs/DISK.md says"
            struct.pack_into("<I", block, VERSION_AT, version + by)
            struct.pack_into("<I", block, CRC_AT, crc32c(block))
            file.seek(at)
            file.write(block)


def copy(cluster, folder, name):
    path = os.path.join(folder, name)
    shutil.copyfile(cluster.store_path(0), path)
    return path


def test_what_no_store_of_this_version_is_has_a_name(folder):
    with OneServer(folder, **SMALL) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", "16M")
        churn.run("--ops 100 churn")
        assert cluster.stop_server(0)
        newer, short, other = (copy(cluster, folder, name) for name in ("newer", "short", "other"))
        change_version(newer, 1)
        refused_untouched(newer, cluster, "s1", "another format version")
        os.truncate(short, 40 << 20)
        refused_untouched(short, cluster, "s1", "smaller")
        with open(other, "r+b") as file:
            file.write(b"a letter to the reader " * 100000)
        refused_untouched(other, cluster, "s1", "not a chainblk store")
        cluster.start_server(0)
        churn.verify()


def test_a_store_of_another_cluster_is_refused(folder):
    for name in ("one", "two"):
        os.makedirs(os.path.join(folder, name))
    with OneServer(os.path.join(folder, "one"), **SMALL) as one:
        with OneServer(os.path.join(folder, "two"), **SMALL) as two:
            assert one.stop_server(0)
            refused_untouched(one.store_path(0), two, "other", "another cluster")
            one.start_server(0)


def test_the_store_of_another_server_is_refused(folder):
    with Cluster(os.path.join(folder, "cluster"), str(BUILD), servers=2, **SMALL) as cluster:
        assert cluster.stop_server(1) and cluster.stop_server(0)
        refused_untouched(cluster.store_path(1), cluster, "s1", "another store is registered under this name")
        for number in range(2):
            cluster.start_server(number)


def test_an_old_copy_is_refused(folder):
    with OneServer(folder, **SMALL) as cluster:
        assert cluster.stop_server(0)
        old = copy(cluster, folder, "old")
        cluster.start_server(0)
        assert cluster.stop_server(0)
        refused_untouched(old, cluster, "s1", "rolled-back or cloned")
        cluster.start_server(0)


def test_a_copy_made_since_the_last_start_is_refused(folder):
    """It knows the registered start: only what was committed since tells it from the original."""
    with OneServer(folder, **SMALL) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", "16M")
        churn.run("--ops 100 churn")
        clone = copy(cluster, folder, "clone")
        churn.run("--ops 100 churn")
        known = [chain["known"] for chain in cluster.ctl_json("status")["chains"]]
        eventually(lambda: [chain["known"] for chain in cluster.ctl_json("status")["chains"]],
                   lambda now: now != known)  # a report of those writes, too
        assert cluster.stop_server(0)
        refused_untouched(clone, cluster, "s1", "rolled-back or cloned")
        cluster.start_server(0)
        churn.verify()


def test_a_clone_is_refused_while_the_original_runs(folder):
    with OneServer(folder, **SMALL) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", "16M")
        churn.run("--ops 100 churn")
        clone = copy(cluster, folder, "clone")
        churn.start("--depth 8 --announce 100 churn")
        churn.wait_for("acked")
        refused_untouched(clone, cluster, "s1", "a running daemon has this store")
        assert churn.finish()["errors"] == {}
        assert cluster.ctl_json("status")["chains_up"] == 4
        churn.verify()


def test_a_second_daemon_on_one_store_is_refused(folder):
    with OneServer(folder, **SMALL) as cluster, Churn(cluster, "vol0", folder) as churn:
        cluster.volume_create("vol0", "16M")
        churn.start("--depth 8 --announce 100 churn")
        churn.wait_for("acked")
        link = os.path.join(folder, "link")
        os.link(cluster.store_path(0), link)
        for store in (cluster.store_path(0), link):
            refused_for(store, cluster, "s1", "in use by another daemon")
        assert churn.finish()["errors"] == {}
        churn.verify()


@contextlib.contextmanager
def two_devices(folder):
    """Two loop devices on one file: the lock of one does not hold for the other."""
    file = sparse_file(os.path.join(folder, "disk"), 64 << 20)
    with loop(file, "--direct-io=on") as one, loop(file, "--direct-io=on") as two:
        yield one, two


def test_seen_through_two_devices_a_second_daemon_is_refused_and_harms_nothing(folder):
    with two_devices(folder) as (one, two):
        with OneServer(folder, store=one, log_size="4M") as cluster, Churn(cluster, "vol0", folder) as churn:
            cluster.volume_create("vol0", "16M")
            churn.start("--depth 32 --announce 300 churn")
            churn.wait_for("acked")
            print(f"   {refused(two, cluster, 's1').splitlines()[-1]}")
            assert churn.finish()["errors"] == {}
            churn.verify()
            assert cluster.stop_server(0) and "FAILED" not in cluster.said()
            cluster.start_server(0)
            churn.verify()


def test_cut_off_from_cfgsvc_the_older_daemon_stops_when_a_newer_one_opens_its_store(folder):
    """cfgsvc does not hear of it any more and takes the next one, which may be on another machine that
    sees the same disk. Nothing is written meanwhile: what the older one might still log, the newer one
    has not read."""
    with two_devices(folder) as (one, two):
        with OneServer(folder, store=one, log_size="8M") as cluster, Churn(cluster, "vol0", folder) as churn:
            cluster.volume_create("vol0", "16M")
            churn.run("--ops 200 churn")
            older, proxy = cluster.servers[0], Proxy(cluster.port)
            assert older.stop()
            older.argv[older.argv.index("--cfg") + 1] = f"127.0.0.1:{proxy.port}"
            cluster.start_server(0)
            churn.verify()
            proxy.target_port = 1
            proxy.cut()
            newer = Daemon("newer", [CHAIND, "run", two, "--name", "s1", "--cfg", cluster.cfg, "--listen",
                                     "127.0.0.1:0"], os.path.join(folder, "newer.log"))
            try:
                newer.start()
                wait_for_text(older.log, 0, ("another daemon has opened this store",), older.pid, 30)
                churn.verify()
                assert churn.run("--ops 100 churn")["errors"] == {}
                older.stop()
                churn.verify()
            finally:
                newer.stop()
                proxy.close()


run_tests(globals())
