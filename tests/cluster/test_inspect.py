#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""chaind inspect and chaind fsck as programs: what they print, in both forms, what they exit with, and that
they leave the store and its daemon alone. What fsck finds is the unit tests' (tests/unit/test_store_fsck*.c)."""
import hashlib
import json
import os
import signal
import subprocess

from common import BUILD, Load, eventually, new_cluster, run, run_tests

CHAIND = str(BUILD / "chaind" / "chaind")
PAGE, BLOCK = 65536, 4096


def chaind(*words):
    return subprocess.run([CHAIND, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


def fsck(store, *options):
    """(exit status, the JSON object); the text for people exits the same and says the same last."""
    done = chaind("fsck", store, "--json", *options)
    report = json.loads(done.stdout)
    people = chaind("fsck", store, *options)
    assert people.returncode == done.returncode, people
    if report["verdict"]:
        assert people.stdout.endswith(f"{store}: {report['verdict']}\n"), people.stdout
        for finding in report["findings"]:
            assert finding["text"] in people.stdout and finding["next"] in people.stdout, people.stdout
    else:
        assert people.stdout == "" and report["error"] in people.stderr, people
    return done.returncode, report


def inspect(store, *what):
    done = chaind("inspect", store, "--json", *what)
    return done.returncode, json.loads(done.stdout)["slices"]


def flip(store, offset):
    with open(store, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def digest(store):
    with open(store, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def filled_store(folder):
    """A store with content in pages and in the log, its daemon killed."""
    with new_cluster(folder, servers=1, store_size="300M", log_size="16M") as cluster:
        cluster.volume_create("vol0", "16M")
        load = Load(cluster, "vol0", folder)
        load.run("--op fill --block 1M --depth 4")
        load.run("--op write --block 4K --depth 8 --seconds 1")
        store = cluster.store_path(0)
        eventually(lambda: inspect(store, "pages")[1][0]["pages"], bool)
        os.rename(store, os.path.join(folder, "filled.store"))
    return os.path.join(folder, "filled.store")


def test_a_new_store_is_clean_and_shown(folder):
    store = os.path.join(folder, "new.store")
    run([CHAIND, "format", store, "--size", "300M"])
    before = digest(store)
    status, report = fsck(store)
    assert status == 0 and report["verdict"] == "clean" and report["findings"] == [], report
    pages = report["slices"][0]["pages"]
    assert pages["free"] == pages["all"] > 0, pages
    for what in ([], ["superblock"], ["checkpoint"], ["log"], ["pages"], ["extent", 1, 0]):
        status, (shown,) = inspect(store, *what)
        assert status == 0 and shown["slice"] == 0, shown
    status, (shown,) = inspect(store)
    assert [copy["state"] for copy in shown["copies"]] == ["in force"] * 4, shown
    assert shown["superblock"]["disk_bytes"] == 300 << 20 and shown["log"]["end"] == "clean", shown
    text = chaind("inspect", store).stdout
    assert f"disk: {shown['superblock']['disk']}" in text and "copy 4  generation 1  state in force" in text
    assert digest(store) == before


def test_each_verdict_has_its_exit_status_and_its_place(folder):
    store = filled_store(folder)
    before = digest(store)
    status, report = fsck(store)
    assert status in (0, 1) and not [f for f in report["findings"] if f["kind"] != "log_torn"], report
    checked = report["slices"][0]
    assert checked["data_blocks"] >= (16 << 20) // BLOCK and checked["log_ops"] > 0, checked
    sound = report["findings"]

    flip(store, 16384 + 100)
    status, report = fsck(store)
    assert status == 1 and report["verdict"] == "repairable", report
    (finding,) = [f for f in report["findings"] if f not in sound]
    assert finding["kind"] == "superblock_copy" and finding["offset_bytes"] == 16384, finding
    flip(store, 16384 + 100)

    _, (shown,) = inspect(store, "superblock")
    layout = shown["superblock"]
    _, (shown,) = inspect(store, "pages")
    page = shown["pages"][0]
    _, (shown,) = inspect(store, "extent", page["volume"], page["extent"])
    assert page in shown["pages"], shown
    assert all(p["extent"] == page["extent"] for p in shown["pages"]), shown
    newer = [op for op in shown["ops"] if op["kind"] == "WRITE"]
    hidden = {block for op in newer for block in range(op["block"], op["block"] + op["blocks"])}
    block = next(b for b in range(16) if page["slot"] * 16 + b not in hidden)
    at = layout["pages_offset_bytes"] + page["page"] * PAGE + block * BLOCK
    flip(store, at + 5)
    status, report = fsck(store)
    (finding,) = [f for f in report["findings"] if f not in sound]
    assert status == 1 and finding["kind"] == "data_block" and finding["offset_bytes"] == at, report
    assert f"in page {page['page']}" in finding["text"], finding
    assert fsck(store, "--quick")[1]["findings"] == sound
    flip(store, at + 5)

    at = layout["ckpt_offset_bytes"] + layout["ckpt_slot"] * layout["ckpt_bytes"]
    flip(store, at + 80)
    status, report = fsck(store)
    assert status == 2 and report["verdict"] == "damaged", report
    assert {"checkpoint", "not_checked"} <= {f["kind"] for f in report["findings"]}, report
    status, (shown,) = inspect(store)
    assert status == 2 and shown["checkpoint"]["damaged"][0]["block"] == 0, shown
    flip(store, at + 80)
    assert digest(store) == before


def test_a_store_in_use_is_not_checked_and_still_shown(folder):
    with new_cluster(folder, servers=1, store_size="300M") as cluster:
        store = cluster.store_path(0)
        status, report = fsck(store)
        assert status == 65 and "a daemon has it open" in report["error"], report
        done = chaind("inspect", store, "superblock")
        assert done.returncode == 0 and "may be changing" in done.stderr, done
        assert "incarnation" in done.stdout, done.stdout
        assert cluster.stop_server(0)
        assert fsck(store)[0] == 0


def test_a_check_keeps_daemons_away_and_can_be_stopped(folder):
    store = filled_store(folder)
    _, (shown,) = inspect(store)
    first, pages = shown["superblock"]["pages_offset_bytes"], shown["superblock"]["pages_n"]
    for page in range(min(pages, 256)):
        for block in range(0, PAGE, BLOCK):
            flip(store, first + page * PAGE + block)

    # It has more to say than a pipe takes, so it waits with the store open.
    with subprocess.Popen([CHAIND, "fsck", store], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as checking:
        first_line = checking.stdout.readline()
        assert "wrong checksum" in first_line, first_line
        done = chaind("run", store, "--name", "a", "--cfg", "127.0.0.1:1", "--listen", "127.0.0.1:0")
        assert done.returncode == 1 and "in use" in done.stderr, done
        assert checking.poll() is None, checking.returncode
        checking.send_signal(signal.SIGTERM)
        found, why = checking.communicate(timeout=60)
    assert checking.returncode == 65 and "stopped before all was seen" in why, why
    assert f"{store}: repairable\n" not in found, found[-300:]
    status, report = fsck(store)
    assert status == 1 and len(report["findings"]) == 1000 and report["findings_left_out"] > 0
    kinds = [finding["kind"] for finding in report["findings"]]
    assert kinds.count("data_block") > 900, kinds[:10]


def test_what_cannot_be_read_has_a_reason_and_no_verdict(folder):
    short, other = os.path.join(folder, "short"), os.path.join(folder, "other")
    with open(short, "wb") as file:
        file.truncate(1000)
    with open(other, "wb") as file:
        file.truncate(64 << 20)
    for store, reason in ((short, "too short"), (other, "not a chainblk store"),
                          (os.path.join(folder, "none"), "not there"), (folder, "neither a file")):
        status, report = fsck(store)
        assert status == 65 and report["verdict"] is None and reason in report["error"], report
        done = chaind("inspect", store)
        assert done.returncode == 65 and reason in done.stderr, done


def test_wrong_words_are_wrong_usage(folder):
    store = os.path.join(folder, "a.store")
    for words in (["fsck"], ["fsck", store, "more"], ["fsck", store, "--force"], ["inspect"],
                  ["inspect", store, "everything"], ["inspect", store, "extent"],
                  ["inspect", store, "extent", "1", "x"], ["inspect", store, "log", "1"],
                  ["inspect", store, "--quick"]):
        done = chaind(*words)
        assert done.returncode == 64 and "usage: chaind " + words[0] in done.stderr, (words, done)
    for command in ("fsck", "inspect"):
        done = chaind(command, "--help")
        assert done.returncode == 0 and "Exit status" in done.stdout, done
    assert "chaind fsck STORE" in chaind("--help").stdout


def test_every_slice_is_looked_at(folder):
    store = os.path.join(folder, "a.store")
    run([CHAIND, "format", store, "--size", "600M", "--reactors", "2"])
    status, report = fsck(store)
    assert status == 0 and [s["slice"] for s in report["slices"]] == [0, 1], report
    status, slices = inspect(store, "superblock")
    assert status == 0 and [s["superblock"]["slice"] for s in slices] == [0, 1], slices
    each = slices[0]["superblock"]["disk_bytes"]
    flip(store, each + 100)
    status, report = fsck(store)
    assert status == 1 and report["findings"][0]["slice"] == 1, report
    assert report["findings"][0]["offset_bytes"] == each, report
    os.truncate(store, each + (1 << 20))
    status, report = fsck(store)
    assert status == 2 and "smaller" in report["findings"][0]["text"], report


run_tests(globals())
