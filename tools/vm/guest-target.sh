# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
# Sourced by scripts that run on the gateway, in the guest as a rule: what its administrator does.
# Plain sh: busybox in the guest.
CONFIGFS=/sys/kernel/config
CORE=$CONFIGFS/target/core
RUNNER_LOG=/var/log/tcmu-runner.log

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
	local end=$(($(cut -d. -f1 /proc/uptime) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(cut -d. -f1 /proc/uptime)" -lt $end ] || return 1
		sleep 0.02
	done
}

# target_up: kernel modules, D-Bus (targetcli finds the daemon's handlers through it), tcmu-runner
target_up() {
	mkdir -p /etc/target/alua /etc/target/pr /etc/rtslib-fb-target/alua /etc/rtslib-fb-target/pr
	for m in configfs target_core_mod target_core_user iscsi_target_mod; do
		modprobe $m || return 1
	done
	grep -q " $CONFIGFS " /proc/mounts || mount -t configfs configfs $CONFIGFS || return 1
	[ -e /run/dbus/system_bus_socket ] || dbus-daemon --system --fork --nopidfile || return 1
	runner_up
}

runner_up() {
	rm -f $RUNNER_LOG
	tcmu-runner >/var/log/runner.out 2>&1 &
	echo $! > /run/runner.pid
	wait_for 60 grep -qE 'Handler chain is registered|Could not open handler' $RUNNER_LOG
	grep -q 'Handler chain is registered' $RUNNER_LOG && return 0
	cat $RUNNER_LOG /var/log/runner.out
	return 1
}

# initiator_up: the guest's own iSCSI initiator
initiator_up() {
	for m in sd_mod sg iscsi_tcp; do modprobe $m || return 1; done
	mkdir -p /run/lock/iscsi
	pidof iscsid >/dev/null || iscsid || return 1
	wait_for 20 pidof iscsid
}

# disk_of IQN LUN: name of the block device, once it is there
disk_of() {
	local n=0 d
	while [ $n -lt 1000 ]; do
		for d in /sys/class/iscsi_session/session*; do
			[ "$(cat $d/targetname 2>/dev/null)" = "$1" ] || continue
			set -- "$1" "$2" $(ls -d $d/device/target*/*:*:*:$2/block/sd* 2>/dev/null)
			[ -n "$3" ] && [ -b /dev/${3##*/} ] && { echo /dev/${3##*/}; return 0; }
		done
		sleep 0.02
		n=$((n + 1))
	done
	return 1
}

# fio_up: the optional disk with fio on it
fio_up() {
	[ -x /usr/bin/fio ] || (cd / && cpio -idm < /dev/vda) || return 1
}
