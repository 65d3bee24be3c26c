#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Line coverage of a build folder after its tests ran: a line per file, a sum per folder.

usage: cov.py BUILD-FOLDER (configured with -Db_coverage=true)
"""
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def lines_of(build):
    """{file: {line: times run}} over all objects; a file compiled twice counts once."""
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    for notes in sorted(build.rglob("*.gcda")):
        report = subprocess.run(["gcov", "--json-format", "--stdout", str(notes.resolve())], cwd=build,
                                capture_output=True, text=True)
        for line in report.stdout.splitlines():
            for file in json.loads(line)["files"]:
                path = (build / file["file"]).resolve()
                if ROOT not in path.parents or path.is_relative_to(ROOT / "tests"):
                    continue
                for entry in file["lines"]:
                    counts[path.relative_to(ROOT)][entry["line_number"]] += entry["count"]
    return counts


def main():
    counts = lines_of(pathlib.Path(sys.argv[1]).resolve())
    if not counts:
        print("cov: no coverage data: run the tests of this build first", file=sys.stderr)
        return 1
    folders = collections.defaultdict(lambda: [0, 0])
    for path, lines in sorted(counts.items()):
        run = sum(1 for count in lines.values() if count)
        folders[path.parts[0]][0] += run
        folders[path.parts[0]][1] += len(lines)
        print(f"{path!s:40} {run:5} of {len(lines):5} lines  {100 * run / len(lines):5.1f} %")
    print()
    for folder, (run, total) in sorted(folders.items()):
        print(f"{folder + '/':40} {run:5} of {total:5} lines  {100 * run / total:5.1f} %")
    return 0


sys.exit(main())
