#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Connections reset at any byte, between clients and daemons and between daemons: nothing is lost,
nothing is applied twice, and the load goes on without an error."""
import contextlib
import os
import subprocess

from common import Load, new_cluster, run_tests
from cluster import Cluster, Daemon, find_program, free_port
from proxy import Proxy


class ProxiedCluster(Cluster):
    """Every daemon is reached, by clients and by its peers, through a relay that can be cut."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.proxies = []

    def start_server(self, i, wait=True):
        if len(self.servers) <= i:
            port = free_port()
            self.proxies.append(Proxy(port))
            name = self.server_name(i)
            argv = [find_program(self.build_dir, "chaind", "chaind"), "run", self.store_path(i),
                    "--name", name, "--cfg", self.cfg, "--listen", f"127.0.0.1:{port}",
                    "--advertise", f"127.0.0.1:{self.proxies[i].port}"]
            self.servers.append(Daemon(name, argv, os.path.join(self.run_dir, f"{name}.log")))
        super().start_server(i, wait=wait)


def test_connections_cut_under_load_lose_and_repeat_nothing(folder):
    plain = new_cluster(folder)
    with ProxiedCluster(plain.run_dir, plain.build_dir, store_size="1G", log_size="64M") as cluster:
        cluster.volume_create("vol0", "128M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        for kind in ("--op write --block 4K --depth 32", "--op write --block 64K --depth 8",
                     "--op read --block 16K --depth 16"):
            accepted = sum(proxy.accepted for proxy in cluster.proxies)
            running = load.start(f"{kind} --seconds 4")
            cuts = 0
            while running.poll() is None and cuts < 12:
                cuts += 1
                cluster.proxies[cuts % 3].cut()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(0.25)  # it reconnects and works before the next cut
            _, err = running.communicate(timeout=60)
            assert running.returncode == 0, f"{kind}: {err}"
            assert sum(proxy.accepted for proxy in cluster.proxies) > accepted, "nothing was cut"
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 128M")


run_tests(globals())
