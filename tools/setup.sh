#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
# setup - install what is missing on a Debian 12 machine and fetch tcmu-runner's headers.
#
# tools/packages.txt and tools/vm/packages.txt say what and why. The headers of tcmu-runner are in no
# binary package: they come from its source package, through a list of source mirrors derived from
# this machine's own apt configuration and kept, like the source, in the cache. The configuration
# of apt itself is not touched.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/chainblk
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

usage() {
	cat <<'END'
./dev setup [--check-bare]
Install the packages of tools/packages.txt and tools/vm/packages.txt that are missing (as root, or
through sudo), fetch the headers of tcmu-runner, and say what this machine cannot have. Takes less
than a second when nothing is missing. Needs Debian 12 or a relative, and its package mirror.

  --check-bare   prove it: set-up, build and quick tests inside a minimal Debian root made for it
                 (root only; a few minutes and about 2 GB in $TMPDIR, removed afterwards)
END
}

say() { echo "setup: $*" >&2; }

fail() {
	say "$*"
	exit 1
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo --preserve-env=DEBIAN_FRONTEND "$@"
	else
		fail "not root and no sudo: run as root: $*"
	fi
}

wanted() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$ROOT"/tools/packages.txt "$ROOT"/tools/vm/packages.txt \
		2>/dev/null | awk '{print $1}' | sort -u
}

# Sets changed=yes when something had to be installed.
install_missing() {
	local missing format
	command -v dpkg-query >/dev/null || fail "this is not a Debian system (no dpkg): install by hand \
what tools/packages.txt lists"
	# shellcheck disable=SC2016 # the dollars are dpkg's
	format='${Package} ${db:Status-Status}\n'
	# dpkg-query names what it does not know on stderr only: subtract what it does know.
	missing=$(comm -23 <(wanted) <(wanted | xargs dpkg-query -W -f "$format" 2>/dev/null |
		awk '$2 == "installed" {print $1}' | sort -u) | xargs)
	[ -n "$missing" ] || return 0
	changed=yes
	say "installing $missing"
	as_root apt-get -q update >&2 || say "apt-get update had errors; trying with what it has"
	# shellcheck disable=SC2086 # one word per package
	as_root apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
		-o Dpkg::Use-Pty=0 install $missing >&2 ||
		fail "apt-get install failed (its message is above): mend that and run ./dev setup again"
}

# The machine's own binary mirrors, as source mirrors: one-line and deb822 formats.
source_list() {
	local file
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$file" ] && sed -nE 's/^[[:space:]]*deb(-src)?([[:space:]])/deb-src\2/p' "$file"
	done | sort -u >"$1.list"
	for file in /etc/apt/sources.list.d/*.sources; do
		[ -f "$file" ] && { cat "$file" && echo; }
	done | awk '
		function flush() { if (n && !off) printf "%s\n", text; text = ""; n = off = 0 }
		/^[[:space:]]*$/ { flush(); next }
		/^#/ { next }
		tolower($0) ~ /^types:/ { $0 = "Types: deb-src" }
		tolower($0) ~ /^enabled:[[:space:]]*(no|false|0)/ { off = 1 }
		{ text = text $0 "\n"; n++ }
		END { flush() }' >"$1.sources"
}

tcmu_present() {
	compgen -G "$CACHE/tcmu-[0-9]*/tcmu-runner.h" >/dev/null
}

fetch_tcmu() {
	local work tarball version apt
	work=$(mktemp -d)
	mkdir -p "$work/parts" "$work/lists/partial" "$CACHE"
	source_list "$work/parts/chainblk"
	apt=(apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts"
		-o Dir::State::lists="$work/lists" -o pkgCacheFile= -o srcpkgcache=
		-o Dir::Cache="$work" -o APT::Sandbox::User=)
	say "fetching the source of tcmu-runner for its headers"
	"${apt[@]}" update >"$work/log" 2>&1 || true # one mirror without sources does not matter
	if ! (cd "$work" && "${apt[@]}" source --download-only tcmu) >>"$work/log" 2>&1; then
		tail -n 3 "$work/log" >&2
		rm -rf "$work"
		return 1
	fi
	tarball=$(compgen -G "$work/tcmu_*.orig.tar.*")
	version=${tarball##*/tcmu_}
	version=${version%%.orig.tar.*}
	mkdir "$work/src"
	tar -C "$work/src" --strip-components=1 -xf "$tarball"
	rm -rf "$CACHE/tcmu-$version"
	mv "$work/src" "$CACHE/tcmu-$version"
	rm -rf "$work"
	say "tcmu-runner $version headers are in $CACHE/tcmu-$version"
}

# What no package can give. Told once, when something had to be installed or fetched.
cannot_have() {
	if ! modprobe -n target_core_user 2>/dev/null && [ ! -d /sys/module/target_core_user ]; then
		say "no kernel target here (target_core_user): the kernel side runs in a virtual machine"
	fi
	if [ ! -w /dev/kvm ]; then
		say "no /dev/kvm: the virtual machine is emulated, which is slower but complete"
	fi
	if [ ! -e /dev/fuse ] || [ ! -e /dev/loop-control ]; then
		say "no FUSE or loop devices: tests that mount a volume on the host will be skipped"
	fi
}

quiet=
case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
--check-bare) exec "$ROOT/tools/check-bare.sh" ;;
--quiet) quiet=yes ;; # what ./dev does before every build
'') ;;
*)
	usage >&2
	exit 2
	;;
esac

changed=
install_missing
if ! tcmu_present; then
	changed=yes
	fetch_tcmu || fail "cannot have tcmu-runner's headers: no mirror in apt's configuration offers \
the source package 'tcmu'. handler_chain.so is left out of the build; the rest works"
fi
[ -z "$changed" ] || cannot_have
[ -n "$quiet" ] || say "ready"
