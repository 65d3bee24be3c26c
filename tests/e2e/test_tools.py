#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Quick tests of the tools that start daemons and machines, without either."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools"), os.path.join(ROOT, "tools", "vm")]
import cluster  # noqa: E402
import guest  # noqa: E402
import scsi  # noqa: E402
import vm  # noqa: E402

READY = "echo 'chaind: s1 ready on x' >&2; exec sleep 600"


class Daemons(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.log = os.path.join(self.dir.name, "log")

    def tearDown(self):
        self.dir.cleanup()

    def daemon(self, script):
        return cluster.Daemon("s1", ["sh", "-c", script], self.log)

    def test_a_daemon_is_started_when_it_said_ready_and_stopped_by_its_pid(self):
        d = self.daemon(READY)
        d.start()
        self.assertTrue(d.alive())
        self.assertTrue(d.stop())
        self.assertFalse(d.alive())

    def test_the_ready_line_of_an_earlier_life_does_not_count(self):
        d = self.daemon(READY)
        d.start()
        d.stop()
        d.argv = ["sh", "-c", "exit 3"]
        with self.assertRaises(cluster.ClusterError):
            d.start()

    def test_one_that_dies_first_is_an_error_with_its_last_words(self):
        d = self.daemon("echo no disk here >&2; exit 1")
        with self.assertRaisesRegex(cluster.ClusterError, "no disk here"):
            d.start()

    def test_one_that_ignores_the_request_is_killed_and_told(self):
        d = self.daemon("trap '' TERM; echo ready on x; exec sleep 600")
        d.start()
        self.assertFalse(d.stop(timeout_s=0.2))
        self.assertFalse(d.alive())

    def test_a_stranger_with_the_same_number_is_not_ours(self):
        d = self.daemon(READY)
        d.start()
        other = cluster.Daemon.load({**d.state(), "started": d.started + 1})
        self.assertFalse(other.alive())
        other.stop()
        self.assertTrue(d.alive())
        d.stop()


class Archive(unittest.TestCase):
    def test_cpio_reads_what_was_packed(self):
        files = {"etc/a/b": b"one\n", "etc/c": b"", "top": bytes(range(256)) * 5}
        with tempfile.TemporaryDirectory() as d:
            subprocess.run(["cpio", "-idm", "--quiet"], cwd=d, check=True,
                           input=vm.cpio_newc(files))
            for name, data in files.items():
                with open(os.path.join(d, name), "rb") as f:
                    self.assertEqual(f.read(), data)


class Guest(unittest.TestCase):
    def test_the_key_of_the_cache_is_stable_and_names_a_folder(self):
        self.assertEqual(guest.cache_key(), guest.cache_key())
        self.assertRegex(guest.cache_key(), "^[0-9a-f]{16}$")


OUTPUT = """
Suite: Read10
  Test: Simple ...    some words
passed
  Test: Beyond ...    [SKIPPED] no such thing
passed
  Test: Protect ...    [FAILED] wrong
FAILED
    1. test.c:44  - CU_ASSERT_EQUAL(_r,0)
  Test: Hung ...    Send
"""


class Scsi(unittest.TestCase):
    def test_outcomes_are_read_as_they_are_meant(self):
        self.assertEqual(dict(scsi.results("SCSI.Read10", OUTPUT)), {
            "SCSI.Read10.Simple": "passed", "SCSI.Read10.Beyond": "skipped",
            "SCSI.Read10.Protect": "failed", "SCSI.Read10.Hung": "unfinished"})

    def test_the_list_is_exact_both_ways_and_flaky_tests_do_not_count(self):
        outcomes = {"a": "passed", "b": "failed", "c": "unfinished", "d": "passed",
                    "e": "skipped", "f": "failed"}
        self.assertEqual(scsi.judge(outcomes, {"b": "", "d": "", "gone": ""}, {"f": ""}), {
            "passed": 2, "failed": 2, "skipped": 1, "flaky": ["f"], "unexpected": ["c"],
            "missing": ["d", "gone"]})

    def test_the_list_in_the_tree_can_be_read(self):
        failing, flaky = scsi.read_expected()
        self.assertTrue(all(name.startswith("SCSI.") for name in [*failing, *flaky]))
        self.assertFalse(set(failing) & set(flaky))


if __name__ == "__main__":
    unittest.main()
