#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Volumes over NBD: fio's verify through the nbdkit plugin, and a file system on a volume."""
import contextlib
import hashlib
import os
import pathlib
import subprocess

from common import BUILD, Skip, need, new_cluster, run, run_tests
from cluster import wait_exit, wait_for_text

PLUGIN = BUILD / "nbd-plugin" / "nbdkit-chain-plugin.so"


def plugin_words(cluster, volume):
    need("nbdkit")
    if not PLUGIN.exists():
        raise Skip(f"{PLUGIN} is not built")
    return [str(PLUGIN), f"volume={volume}", f"cfg={cluster.cfg}"]


def fio_verify(cluster, volume, arguments):
    need("fio")
    if "nbd" not in run(["fio", "--enghelp"]).split():
        raise Skip("this fio has no nbd engine")
    command = ("fio --name=verify --ioengine=nbd --uri=\"$uri\" --verify=crc32c --verify_fatal=1 "
               f"--do_verify=1 --randrepeat=0 {arguments}")
    run(["nbdkit", "-U", "-", *plugin_words(cluster, volume), "--run", command], 140)


def test_fio_verifies_every_block_it_wrote(folder):
    with new_cluster(folder) as cluster:
        cluster.volume_create("vol0", "256M")
        fio_verify(cluster, "vol0", "--rw=randwrite --bs=4k --iodepth=32 --size=96M")
        fio_verify(cluster, "vol0", "--rw=write --bs=1M --iodepth=8 --size=192M")
        fio_verify(cluster, "vol0", "--rw=randwrite --bsrange=512-128k --bs_unaligned=0 "
                   "--blockalign=512 --iodepth=16 --size=64M")


@contextlib.contextmanager
def device_of(cluster, volume, folder):
    """The volume as a loop device: NBD plugin, nbdfuse, losetup with direct I/O."""
    need("nbdfuse", "losetup", "fusermount3")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        raise Skip("needs root, FUSE and loop devices")
    mount, ready = pathlib.Path(folder) / "fuse", pathlib.Path(folder) / "nbdfuse.pid"
    mount.mkdir(exist_ok=True)
    ready.write_text("")
    with open(os.path.join(folder, "nbdfuse.log"), "ab") as log:
        fuse = subprocess.Popen(["nbdfuse", "-P", str(ready), str(mount), "[", "nbdkit",
                                 *plugin_words(cluster, volume), "]"],
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for_text(str(ready), 0, list("0123456789"), fuse.pid, 30)  # its pid: mounted
        device = run(["losetup", "--find", "--show", "--direct-io=on", mount / "nbd"]).strip()
        try:
            yield device
        finally:
            run(["losetup", "-d", device])
    finally:
        subprocess.run(["fusermount3", "-u", str(mount)], capture_output=True)
        if not wait_exit(fuse.pid, 20):
            fuse.kill()
        fuse.wait()


@contextlib.contextmanager
def mounted(device, folder):
    point = pathlib.Path(folder) / "mnt"
    point.mkdir(exist_ok=True)
    run(["mount", device, point])
    try:
        yield point
    finally:
        run(["umount", point])


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_an_ext4_on_a_volume_is_whole_after_everything_was_unmounted_and_restarted(folder):
    need("mkfs.ext4", "e2fsck", "mount")
    with new_cluster(folder) as cluster:
        cluster.volume_create("disk", "512M")
        wrote = {}
        with device_of(cluster, "disk", folder) as device:
            run(["mkfs.ext4", "-q", device])
            with mounted(device, folder) as point:
                for number in range(40):
                    path = point / f"dir{number % 7}" / f"file{number}"
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(os.urandom(1000 + number * 50021))
                    wrote[path.relative_to(point)] = digest(path)
            run(["e2fsck", "-fn", device])
        for number in range(3):
            assert cluster.stop_server(number), f"s{number + 1} did not stop on SIGTERM"
        for number in range(3):
            cluster.start_server(number)
        with device_of(cluster, "disk", folder) as device:
            run(["e2fsck", "-fn", device])
            with mounted(device, folder) as point:
                assert {name: digest(point / name) for name in wrote} == wrote


run_tests(globals())
