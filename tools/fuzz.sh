#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
# fuzz - run the fuzzers of tests/fuzz with libFuzzer under the address sanitizer.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${CHAINBLK_BUILD:-$PWD/build}-fuzz

usage() {
	cat <<'END'
./dev fuzz [NAME [SECONDS]]
Build tests/fuzz/fuzz_NAME.c with clang, libFuzzer, the address and undefined-behaviour sanitizers
into build-fuzz/ and run it for SECONDS (default 60) on top of tests/fuzz/corpus/NAME. What it finds
is kept there as crash-* and fails with exit status 1; new inputs stay in build-fuzz/corpus/NAME.
Without NAME: list the fuzzers. The quick tests replay the corpus with every build.
END
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
'')
	for file in tests/fuzz/fuzz_*.c; do
		[ -e "$file" ] && basename "$file" .c | sed 's/^fuzz_//'
	done
	exit 0
	;;
esac
name=$1 seconds=${2:-60}
if [ ! -e "tests/fuzz/fuzz_$name.c" ]; then
	echo "fuzz: no tests/fuzz/fuzz_$name.c: ./dev fuzz lists the names" >&2
	exit 2
fi
[ -f "$BUILD/build.ninja" ] || CC=clang meson setup "$BUILD" -Db_sanitize=address,undefined \
	-Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link >&2
ninja -C "$BUILD" --quiet "tests/fuzz/libfuzz_$name" >&2
mkdir -p "$BUILD/corpus/$name" "tests/fuzz/corpus/$name"
exec "$BUILD/tests/fuzz/libfuzz_$name" -max_total_time="$seconds" -print_final_stats=1 \
	-artifact_prefix="tests/fuzz/corpus/$name/" "$BUILD/corpus/$name" "tests/fuzz/corpus/$name"
