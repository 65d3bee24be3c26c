#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""chaind format: a file is written through once, seen to be, stopped and gone on with; and what must not
be a store is refused, at format and at run."""
import contextlib
import json
import os
import pty
import select
import signal
import subprocess

from common import BUILD, Skip, eventually, need, run, run_tests
from cluster import LIBC

CHAIND = str(BUILD / "chaind" / "chaind")
IN_MODIFY = 0x2
MIB = 1 << 20


def formatted(store, *arguments):
    """What `chaind format --json` says."""
    return json.loads(run([CHAIND, "format", store, "--json", *arguments]))


def refused(command, store, *arguments):
    """The reason `chaind format` or `chaind run` gives for not taking @store."""
    if command == "run":
        arguments = ["--name", "a", "--cfg", "127.0.0.1:1", "--listen", "127.0.0.1:0"]
    done = subprocess.run([CHAIND, command, store, *arguments], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
    assert done.stdout == "", done.stdout
    return done.stderr


@contextlib.contextmanager
def filesystem(folder, kind):
    """A small file system of its own, by the loop device."""
    need(f"mkfs.{kind}", "mount")
    if os.geteuid() != 0:
        raise Skip("only root can mount")
    image, place = os.path.join(folder, "image"), os.path.join(folder, "mounted")
    os.mkdir(place)
    with open(image, "wb") as file:
        file.truncate(640 * MIB)
    run([f"mkfs.{kind}", "-q", image])
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skip(f"no {kind} can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        run(["umount", place])


def test_a_file_is_written_through_and_the_result_is_one_object(folder):
    store = os.path.join(folder, "a.store")
    said = formatted(store, "--size", "300M")
    assert said["store"] == store and said["size_bytes"] == said["written_bytes"] == 300 * MIB, said
    assert len(said["slices"][0]["disk"]) == 32 and said["seconds"] > 0, said
    with open(store, "rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 300 * MIB
    again = formatted(store, "--size", "300M", "--force")
    assert again["written_bytes"] == 0 and again["slices"] != said["slices"], again


def test_a_format_that_was_stopped_leaves_no_store_and_goes_on(folder):
    store = os.path.join(folder, "a.store")
    watch = LIBC.inotify_init1(os.O_CLOEXEC)
    assert LIBC.inotify_add_watch(watch, os.fsencode(folder), IN_MODIFY) >= 0
    running = subprocess.Popen([CHAIND, "format", store, "--size", "3G", "--json"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert select.select([watch], [], [], 60)[0], "nothing was written in a minute"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    os.close(watch)
    assert running.returncode == 1 and out == "" and "goes on from there" in err, err
    so_far = os.path.getsize(store)
    assert 0 < so_far < 3072 * MIB
    text = refused("run", store)
    assert "not a chainblk store" in text or "too short" in text, text
    said = formatted(store, "--size", "3G")
    assert said["written_bytes"] == 3072 * MIB - so_far, (said, so_far)


def test_a_terminal_is_shown_how_far_it_is(folder):
    store = os.path.join(folder, "a.store")
    master, slave = pty.openpty()
    running = subprocess.Popen([CHAIND, "format", store, "--size", "3G"], stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(master, 65536):
            shown += piece
    assert running.wait(60) == 0, shown
    os.close(master)
    lines = [line for line in shown.decode().split("\r") if "written through" in line]
    assert lines and all("%" in line and "MiB/s" in line and "left" in line for line in lines), shown


def test_a_longer_file_is_not_cut_unasked(folder):
    store = os.path.join(folder, "a.store")
    with open(store, "wb") as file:
        file.truncate(400 * MIB)
    assert "--force" in refused("format", store, "--size", "300M")
    assert os.path.getsize(store) == 400 * MIB
    assert formatted(store, "--size", "300M", "--force")["size_bytes"] == 300 * MIB


def test_what_cannot_become_a_store_is_not_written_first(folder):
    store = os.path.join(folder, "a.store")
    for arguments in (["--size", "1K"], ["--size", "64M", "--log-size", "64M"],
                      ["--size", "64M", "--log-size", "1T"], ["--size", "128M", "--reactors", "64"]):
        assert "choose a larger --size" in refused("format", store, *arguments), arguments
        assert not os.path.exists(store), arguments
    with open(store, "wb") as file:
        file.truncate(MIB)
    refused("format", store, "--size", "64M", "--log-size", "64M", "--force")
    there = os.stat(store)
    assert (there.st_size, there.st_blocks) == (MIB, 0), there


def test_what_does_not_fit_takes_no_space(folder):
    """On a file system of its own: one that took it would take it from everybody on the file system."""
    with filesystem(folder, "ext4") as place:
        store = os.path.join(place, "a.store")
        with open(store, "wb") as file:
            file.truncate(MIB)
        said = refused("format", store, "--size", "2G")
        assert "no space for 2048 MiB" in said and "smaller --size" in said, said
        there = os.stat(store)
        assert there.st_size == MIB and there.st_blocks * 512 <= MIB, there
        with open(store, "r+b") as file:
            file.write(b"kept")
            assert "no space" in refused("format", store, "--size", "2G", "--force")
            file.seek(0)
            assert file.read(4) == b"kept", "it was wiped before it was refused"
        formatted(store, "--size", "64M", "--force")
        assert os.stat(store).st_blocks * 512 < 65 * MIB


def test_btrfs_is_taken_only_without_copy_on_write(folder):
    with filesystem(folder, "btrfs") as place:
        plain, quiet = os.path.join(place, "plain"), os.path.join(place, "quiet")
        text = refused("format", plain, "--size", "100M")
        assert "btrfs" in text and "chattr +C" in text, text
        assert not os.path.exists(plain)
        os.mkdir(quiet)
        run(["chattr", "+C", quiet])
        store = os.path.join(quiet, "store")
        formatted(store, "--size", "100M")
        run(["cp", "--reflink=never", store, plain])
        assert "chattr +C" in refused("run", plain)
        run(["cp", "--reflink=always", store, os.path.join(quiet, "copy")])
        assert "reflink" in refused("run", store)


def test_a_file_that_shares_extents_is_refused_until_it_does_not(folder):
    with filesystem(folder, "xfs") as place:
        store, copy = os.path.join(place, "store"), os.path.join(place, "copy")
        formatted(store, "--size", "100M")
        run(["cp", "--reflink=always", store, copy])
        for command in ("run", "format"):
            text = refused(command, store, "--size", "100M", "--force")
            assert "102400 KiB" in text and "cp --reflink=never" in text, text
        os.unlink(copy)  # XFS gives its blocks back in its own time
        again = [CHAIND, "format", store, "--size", "100M", "--force"]
        eventually(lambda: subprocess.run(again, capture_output=True, text=True, timeout=60, check=False),
                   lambda done: done.returncode == 0)


run_tests(globals())
