#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""The wire format pulled apart against real daemons: every message truncated at every byte, lengths at
zero and beyond their bounds, wrong checksum, cluster, version and role. Each ends its connection with
a named error and nothing else: the daemon goes on, its memory and descriptors unchanged."""
import os
import pathlib

from common import ROOT, Load, eventually, new_cluster, run_tests
from wire import (ADMIN, CLIENT, DATA_MAX, HEADER, META_MAX, NODE, Peer, connect_frame, pack, unpack)

CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "frame"
ROLES = {"chaind": [CLIENT, NODE], "cfgsvc": [ADMIN, CLIENT, NODE]}


def samples(role, cluster):
    """(name, header, body) of each message @role may send, for this cluster."""
    for path in sorted(CORPUS.iterdir()):
        data = path.read_bytes()
        if data[0] & 0x7F == role or (path.name == "MAP_GET" and role != 0):
            header = unpack(data[1:])
            header["cluster"] = cluster
            yield path.name, header, data[1 + HEADER.size:]


def port_of(daemon):
    return int(daemon.argv[daemon.argv.index("--listen") + 1].rsplit(":", 1)[1])


def state_of(daemon):
    """KiB of memory taken (touched or not: everything is taken at start) and open descriptors."""
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmData:")[1].split()[0]), len(os.listdir(f"/proc/{daemon.pid}/fd"))


def cuts(header, body):
    """Every byte of header and meta; of the payload the borders of what a receiver reads at once."""
    meta = HEADER.size + header["meta_bytes"]
    yield from range(meta)
    yield from range(meta, HEADER.size + len(body), 509)


def truncate_everything(port, role, cluster):
    count = 0
    for name, header, body in samples(role, cluster):
        stream = pack(header, body)
        for cut in cuts(header, body):
            peer = Peer(port, role)
            peer.send(stream[:cut])
            peer.until_closed()  # a socket timeout here is the failure
            count += 1
    frame = connect_frame(role)
    for cut in range(len(frame)):
        peer = Peer(port, None)
        peer.send(frame[:cut])
        peer.until_closed()
        count += 1
    return count


def bad_frames(header, body, cluster):
    """(what is wrong, stream): each must be answered by a named error."""
    yield "magic", pack(dict(header, magic=0x12345678), body)
    yield "version", pack(dict(header, version=header["version"] + 1), body)
    yield "type", pack(dict(header, type=63), body)
    yield "flags", pack(dict(header, flags=0x8000), body)
    yield "reserved", pack(dict(header, reserved=1), body)
    yield "checksum", pack(dict(header, meta_crc=1), body, mend=False)
    yield "cluster", pack(dict(header, cluster=bytes(b ^ 1 for b in cluster)), body)
    for length in (META_MAX + 1, 0xFFFFFFFF):
        yield f"meta_bytes={length}", pack(dict(header, meta_bytes=length), body)
    for length in (DATA_MAX + 1, 0xFFFFFFFF):
        yield f"data_bytes={length}", pack(dict(header, data_bytes=length), body)
    if header["meta_bytes"]:
        yield "meta_bytes=0", pack(dict(header, meta_bytes=0, data_bytes=0), b"")


def refuse_everything(port, role, cluster):
    count, unnamed = 0, []
    for name, header, body in samples(role, cluster):
        for what, stream in bad_frames(header, body, cluster):
            peer = Peer(port, role)
            peer.send(stream, last=False)
            if not peer.until_closed():
                unnamed.append(f"{name} with a wrong {what}")
            count += 1
    assert not unnamed, f"closed without a named error: {', '.join(unnamed[:10])}"
    return count


def test_whatever_arrives_the_daemons_close_the_connection_and_are_unharmed(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "64M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 8")
        for daemon, kind in ((cluster.servers[0], "chaind"), (cluster.cfgsvc, "cfgsvc")):
            port = port_of(daemon)
            cluster_id = Peer(port, ROLES[kind][0]).hello["cluster"]
            memory, files = state_of(daemon)
            count = 0
            for role in ROLES[kind]:
                count += truncate_everything(port, role, cluster_id)
                count += refuse_everything(port, role, cluster_id)
            assert daemon.alive(), f"{kind} did not survive"
            memory_after = state_of(daemon)[0]
            assert memory_after == memory, f"{kind} grew from {memory} to {memory_after} KiB"
            # The last connections may still be closing.
            eventually(lambda: state_of(daemon)[1], lambda open_now: open_now <= files)
            print(f"   {kind}: {count} broken streams")
        load.run("--op read --block 1M --depth 8 --seq --seconds 0 --min-bytes 64M")


def test_a_role_may_send_only_what_is_its_own(folder):
    with new_cluster(folder) as cluster:
        for daemon, kind in ((cluster.servers[0], "chaind"), (cluster.cfgsvc, "cfgsvc")):
            port = port_of(daemon)
            cluster_id = Peer(port, ROLES[kind][0]).hello["cluster"]
            own = {name for name, _, _ in samples(CLIENT, cluster_id)}
            for other in (NODE, ADMIN, 4):
                for name, header, body in samples(other, cluster_id):
                    if name in own or name in ("MAP_GET", "OPEN", "CONNECT"):
                        continue
                    peer = Peer(port, CLIENT)
                    peer.send(pack(header, body), last=False)
                    assert peer.until_closed(), f"{kind} took {name} from a client without an error"
            assert daemon.alive()


run_tests(globals())
