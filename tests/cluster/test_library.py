#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""libchainblk: every call from many threads, in both receive modes; the example program runs."""
import os

from common import BUILD, new_cluster, run, run_tests

LIBRARY = BUILD / "libchainblk" / "library"
HELLO = BUILD / "libchainblk" / "hello"


def test_every_call_of_the_library_does_what_it_says(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "64M")
        print(run([LIBRARY, cluster.cfg, "vol0", "150", "1"]))
        cluster.volume_create("vol1", "64M", sector="4096")
        print(run([HELLO, cluster.cfg, "vol1"]))


def test_it_does_so_where_the_kernel_has_no_multishot(folder):
    os.environ["CHAINBLK_IO_PLAIN"] = "1"  # daemons and library
    try:
        with new_cluster(folder) as cluster:
            cluster.volume_create("vol0", "64M")
            print(run([LIBRARY, cluster.cfg, "vol0", "100", "2"]))
    finally:
        del os.environ["CHAINBLK_IO_PLAIN"]


run_tests(globals())
