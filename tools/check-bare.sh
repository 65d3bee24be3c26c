#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
# check-bare - set-up, build and quick tests of the last commit inside a minimal Debian root.
#
# The root is made for this run from the machine's own apt sources, lives in a mount namespace of
# its own and is removed in every case. It has nothing but Debian's essential packages and apt, so
# that a package some other project left on this machine cannot hide a missing set-up step. The
# machine's apt configuration and name resolution are copied in: they say how packages are reached.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { echo "check-bare: $*" >&2; }

if [ "$(id -u)" -ne 0 ]; then
	say "needs root: it makes and enters a root file system"
	exit 1
fi
if [ "${1:-}" != --in-namespace ]; then
	"$ROOT/tools/setup.sh" # mmdebstrap and unshare
	exec unshare --mount --pid --fork --kill-child --mount-proc "${BASH_SOURCE[0]}" --in-namespace
fi

# From here on every mount ends with this process, and every process with it.
mount --make-rprivate /
bare=$(mktemp -d "${TMPDIR:-/var/tmp}/chainblk-bare.XXXXXX")
clean() {
	umount --lazy "$bare/root/dev" "$bare/root/sys" "$bare/root/proc" 2>/dev/null || true
	# Never across a mount: /dev of the machine was in there.
	rm -rf --one-file-system "$bare"
}
trap clean EXIT
trap 'exit 130' INT TERM

sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
	[ -s "$file" ] && sources+=("$file")
done
# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
say "making a minimal $codename in $bare"
mmdebstrap --mode=root --variant=minbase --quiet "$codename" "$bare/root" "${sources[@]}" ||
	{ say "mmdebstrap failed: see above"; exit 1; }

for file in /etc/resolv.conf /etc/hosts /etc/apt/apt.conf /etc/ssl/certs/ca-certificates.crt; do
	[ -f "$file" ] && install -D -m 644 "$(realpath "$file")" "$bare/root$file"
done
cp -r /etc/apt/apt.conf.d/. "$bare/root/etc/apt/apt.conf.d/"
mount -t proc proc "$bare/root/proc"
mount -t sysfs -o ro sysfs "$bare/root/sys"
mount --rbind /dev "$bare/root/dev"
mount --make-rslave "$bare/root/dev"

mkdir "$bare/root/src"
git -c safe.directory='*' -C "$ROOT" archive HEAD | tar -x -C "$bare/root/src"
say "set-up, build and quick tests of $(git -c safe.directory='*' -C "$ROOT" rev-parse --short HEAD)"
cat >"$bare/root/inside" <<'END'
set -e
cd /src
./dev setup
git init -q . && git add -A # a clone has its index: the tidy test reads it
./dev setup # again: nothing to do now
./dev
END
env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TMPDIR=/tmp \
	${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
	chroot "$bare/root" /bin/bash /inside </dev/null || { say "FAILED"; exit 1; }
say "passed: nothing is missing from the set-up"
