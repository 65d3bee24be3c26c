#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A run of crash_store that could check nothing is wrong usage, not a pass: test_usage.py CRASH_STORE"""

import subprocess
import sys

WRONG = {
    "--minutes": ["-1", "0", "nan", "inf", "soon", "1x", ""],
    "--seconds": ["-1", "0", "nan"],
    "--states": ["-1", "0", "many", "1.5", "99999999999999999999"],
    "--jobs": ["-1", "0", "x"],
    "--length": ["-2", "4", "x"],
    "--lives": ["-1", "x"],
    "--bad": ["-1", "0"],
    "--torn": ["-1", "x", "4294967296"],
}

for option, values in WRONG.items():
    for value in values:
        # Were it taken, the states after it would end the run soon.
        done = subprocess.run([sys.argv[1], option, value, *(["--states", "1"] if option != "--states" else [])],
                              capture_output=True, text=True)
        assert done.returncode == 2, (option, value, done)
        assert f"{option} {value}: no such option or value" in done.stderr, (option, value, done)
done = subprocess.run([sys.argv[1], "--minutes"], capture_output=True, text=True)
assert done.returncode == 2 and "--minutes: " in done.stderr, done
