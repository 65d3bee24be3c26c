# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""A gateway: a Linux kernel iSCSI target with stock tcmu-runner, our plugin and targetcli.

    gw = GuestGateway(vm, cfg_port)            # in the virtual machine of vm.py
    gw = HostGateway(run_dir, build_dir, cfg_port)   # on this machine, where host_can() is true
    gw.up()
    gw.create_disk("disk0", "1G", "vol0")      # a backstore and a LUN of the one target
    gw.url(0)                                  # iscsi:// address of LUN 0 as this machine sees it
    gw.down()

Everything is done as an administrator would do it, by targetcli; gw.log has the commands given.
"""
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from cluster import Daemon, free_port, wait_for_text  # noqa: E402

IQN = "iqn.2025-01.example.chainblk:gateway"
RUNNER_S = 60


class GatewayError(Exception):
    """What the gateway could not do, ready to print."""


class Gateway:
    """What both kinds share: the targetcli commands."""

    def __init__(self, cfg_host, cfg_port):
        # targetcli's library refuses ':' in the string, so '/' stands before the port
        self.cfg = f"{cfg_host}/{cfg_port}"
        self.disks = []
        self.log = []
        self.has_target = False

    def targetcli(self, *lines):
        """Give commands to one targetcli; GatewayError when one of them fails."""
        self.log += lines
        status, out = self.sh("targetcli <<'END'\n" + "\n".join(lines) + "\nEND\n")
        # targetcli answers 0 whatever happened: its complaints are what does not look like news
        said = [line[3:] if line.startswith("/> ") else line for line in out.splitlines()]
        wrong = [line for line in said if re.search(
            r"fail|invalid|not valid|error|cannot|No such|Wrong|Syntax", line, re.I)]
        if status or wrong:
            raise GatewayError("targetcli: " + "; ".join(wrong or said) + "\n" + "\n".join(lines)
                               + "\ntcmu-runner says:\n" + self.runner_log())
        return out

    def portal(self):
        return []

    def create_disk(self, name, size, volume, sector=512):
        """A backstore on @volume, and the next LUN of the target. Returns the LUN's number."""
        return self.create_disks((name, size, volume, sector))[0]

    def create_disks(self, *disks):
        """The same for several (name, size, volume, sector) at once."""
        lines = []
        if not self.has_target:
            lines += [f"/iscsi create {IQN}", *self.portal(),
                      f"/iscsi/{IQN}/tpg1 set attribute generate_node_acls=1 "
                      "cache_dynamic_acls=1 demo_mode_write_protect=0 authentication=0"]
        for name, size, volume, sector in disks:
            lines += [f"/backstores/user:chain create name={name} size={size} "
                      f"cfgstring={volume}@{self.cfg}"
                      + (f" control=hw_block_size={sector}" if sector != 512 else ""),
                      f"/iscsi/{IQN}/tpg1/luns create /backstores/user:chain/{name}"]
        self.targetcli(*lines)
        self.has_target = True
        first = len(self.disks)
        self.disks += [disk[0] for disk in disks]
        return list(range(first, len(self.disks)))

    def runner_log(self):
        return self.sh("tail -n 15 /var/log/tcmu-runner.log")[1]


class GuestGateway(Gateway):
    """In the guest; the daemons are on this machine, which the guest sees as 10.0.2.2."""

    def __init__(self, vm, cfg_port):
        super().__init__("10.0.2.2", cfg_port)
        self.vm = vm

    def sh(self, script):
        return self.vm.sh(script)

    def up(self):
        status, out = self.vm.sh(". /chainblk/target.sh; target_up")
        if status:
            raise GatewayError(f"the guest's target does not start:\n{out}")

    def down(self):
        """Nothing to do: the guest goes as a whole."""

    def portal_url(self):
        return f"iscsi://127.0.0.1:{self.vm.iscsi_port}"

    @staticmethod
    def inner_portal():
        """The portal for an initiator on the gateway itself."""
        return "127.0.0.1:3260"

    def url(self, lun):
        return f"{self.portal_url()}/{IQN}/{lun}"


def host_can():
    """None when this machine can be the gateway itself, else the reason why not."""
    if os.geteuid() != 0:
        return "not root"
    for name in ("tcmu-runner", "targetcli", "iscsiadm", "mkfs.ext4", "modprobe"):
        if not shutil.which(name):
            return f"no {name}"
    for module in ("target_core_user", "iscsi_target_mod"):
        if subprocess.run(["modprobe", module], stderr=subprocess.DEVNULL, check=False).returncode:
            return f"its kernel has no {module}"
    if not os.path.isdir("/sys/kernel/config/target") and not os.path.isdir("/sys/kernel/config"):
        return "no configfs"
    if subprocess.run(["pidof", "tcmu-runner"], stdout=subprocess.DEVNULL,
                      check=False).returncode == 0:
        return "a tcmu-runner is running already, and is left alone"
    return None


class HostGateway(Gateway):
    """On this machine: a tcmu-runner of our own with a folder of our own for the plugin. Only what
    was created here is removed by down()."""

    def __init__(self, run_dir, build_dir, cfg_port):
        super().__init__("127.0.0.1", cfg_port)
        self.run_dir, self.build_dir = run_dir, build_dir
        self.iscsi_port = free_port()
        self.runner = None

    def sh(self, script):
        p = subprocess.run(["sh", "-c", script], stdin=subprocess.DEVNULL, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return p.returncode, p.stdout

    def runner_log(self):
        return self.sh(f"tail -n 15 {self.run_dir}/tcmu-runner.log")[1]

    def up(self):
        handlers = os.path.join(self.run_dir, "handlers")
        os.makedirs(handlers, exist_ok=True)
        shutil.copy(os.path.join(self.build_dir, "tcmu-handler", "handler_chain.so"), handlers)
        self.sh("mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config")
        log = os.path.join(self.run_dir, "tcmu-runner.log")
        self.runner = Daemon("tcmu-runner", [
            "tcmu-runner", "--handler-path", handlers, "--tcmu-log-dir", self.run_dir],
            os.path.join(self.run_dir, "tcmu-runner.out"))
        env = {**os.environ, "LD_LIBRARY_PATH": os.path.join(self.build_dir, "libchainblk")}
        open(log, "a", encoding="utf-8").close()
        self.runner.start(env=env, wait=False)
        wait_for_text(log, 0, ("Handler chain is registered",), self.runner.pid, RUNNER_S)

    def portal(self):
        return [f"/iscsi/{IQN}/tpg1/portals delete 0.0.0.0 3260",
                f"/iscsi/{IQN}/tpg1/portals create 127.0.0.1 {self.iscsi_port}"]

    def down(self):
        """Take away what was made here, in the opposite order; each part may be missing."""
        self.sh(f"umount {self.run_dir}/vol0 {self.run_dir}/vol4k; "
                f"iscsiadm -m node -T {IQN} --logout; iscsiadm -m node -T {IQN} -o delete")
        lines = [f"/iscsi delete {IQN}"] if self.has_target else []
        lines += [f"/backstores/user:chain delete {name}" for name in self.disks]
        if lines:
            self.sh("targetcli <<'END'\n" + "\n".join(lines) + "\nEND\n")
        if self.runner is not None:
            self.runner.stop()

    def portal_url(self):
        return f"iscsi://127.0.0.1:{self.iscsi_port}"

    def inner_portal(self):
        return f"127.0.0.1:{self.iscsi_port}"

    def url(self, lun):
        return f"{self.portal_url()}/{IQN}/{lun}"
