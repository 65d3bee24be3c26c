#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
# Every command of ./dev answers -h with its own help, at once, and a wrong one exits 2.
set -eu
cd "$1"

commands=$(./dev help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  .*/\1/p')
for command in $commands; do
	text=$(timeout 20 ./dev "$command" -h) || {
		echo "./dev $command -h failed"
		exit 1
	}
	case $text in
	*"$command"*) ;;
	*)
		echo "./dev $command -h does not name itself: $text"
		exit 1
		;;
	esac
done
if ./dev no-such-command 2>/dev/null; then
	echo "a wrong command was accepted"
	exit 1
elif [ $? -ne 2 ]; then
	echo "a wrong command must exit 2"
	exit 1
fi
echo "$(echo "$commands" | wc -w) commands answer"
