#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""clang-format over the C files of the tree."""
import argparse
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(
        prog="./dev fmt", description="Format the C files of the tree with clang-format, in place. "
        "Exit status: 0 done (or nothing to do), 1 --check found something, 2 wrong usage.")
    parser.add_argument("--check", action="store_true", help="change nothing, name what would change")
    parser.add_argument("files", nargs="*", help="only these files or folders (default: all)")
    args = parser.parse_args()
    if not shutil.which("clang-format"):
        print("fmt: clang-format is missing: run ./dev setup", file=sys.stderr)
        return 1
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "*.c", "*.h"],
                            check=True, capture_output=True, text=True).stdout.split("\n")
    files = [ROOT / name for name in listed if name and (ROOT / name).exists()]
    if args.files:
        wanted = [pathlib.Path(name).resolve() for name in args.files]
        files = [path for path in files if any(path == w or w in path.parents for w in wanted)]
    if not files:
        return 0
    if not args.check:
        return subprocess.run(["clang-format", "-i", *map(str, files)]).returncode
    bad = [path for path in files if subprocess.run(
        ["clang-format", "--dry-run", "-Werror", str(path)], capture_output=True).returncode]
    for path in bad:
        print(f"{path.relative_to(ROOT)}: not formatted: ./dev fmt {path.relative_to(ROOT)}")
    return 1 if bad else 0


sys.exit(main())
