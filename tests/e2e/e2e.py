#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""End to end: three daemons, a kernel iSCSI target through stock tcmu-runner and targetcli, and
initiators on both sides of it.

Each step is a method of E2E, named in its docstring, and either holds or raises. As a test:

    tests/e2e/e2e.py [--build build] [--mock libchainblk_mock.so]

The demo runs some of the same steps. Where the data of a step lie is told by chainctl.
"""
import argparse
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "vm"))
from gateway import IQN  # noqa: E402
from rig import ERRORS, MOCK_SIZE, Rig, StepError, Steps, end_on_signals, tool  # noqa: E402

MIB = 1 << 20
SIZE = MOCK_SIZE       # of vol0; the mock's volumes are all this large
SIZE_4K = 256 * MIB
GROWN = 320 * MIB
STAMPED = 4 * MIB      # what the host's initiator writes at a time


class E2E:
    """The steps, in order. @fio decides whether the guest has fio."""

    def __init__(self, rig, steps):
        self.rig, self.steps = rig, steps
        self.lun = self.lun_4k = None
        self.device = None  # of LUN 0 in the guest
        self.places = []    # (what, byte offset in vol0) for show_where()
        self.portal = None  # as open-iscsi sees it
        self.mount = "/mnt/vol0"
        self.mount_4k = "/mnt/4k"
        self.sums = "/tmp/sums"

    def initiator(self, *args):
        return tool([os.path.join(self.rig.build_dir, "tests", "e2e", "initiator"), *args])

    def guest(self, script, timeout_s=300):
        """On the gateway, which is the initiator too; with the helpers of guest-target.sh."""
        if self.rig.vm:
            return self.rig.vm.check(". /chainblk/target.sh\n" + script, timeout_s)
        helpers = os.path.join(ROOT, "tools", "vm", "guest-target.sh")
        return tool(["sh", "-c", f". {helpers}\nexec 2>&1\n{script}"], timeout_s)

    # -- the target ------------------------------------------------------------------------

    def start_cluster(self):
        """three storage daemons, a configuration service, 24 chains"""
        self.rig.start_cluster()
        if self.rig.cluster:
            c = self.rig.cluster
            self.steps.say(f"configuration service at {c.cfg}, logs and stores in {c.run_dir}")

    def create_volumes(self):
        """volumes: vol0 with 512-byte sectors, vol4k with 4096-byte sectors"""
        self.rig.volume_create("vol0", SIZE)
        self.rig.volume_create("vol4k", SIZE_4K, 4096)

    def start_gateway(self):
        """kernel target with stock tcmu-runner and handler_chain.so"""
        self.rig.start_gateway()
        self.portal = self.rig.gateway.inner_portal()
        if not self.rig.vm:  # this machine: leave nothing outside the run folder
            self.mount = os.path.join(self.rig.run_dir, "vol0")
            self.mount_4k = os.path.join(self.rig.run_dir, "vol4k")
            self.sums = os.path.join(self.rig.run_dir, "sums")

    def create_luns(self):
        """backstores and LUNs through targetcli"""
        gw = self.rig.gateway
        self.lun, self.lun_4k = gw.create_disks(("disk0", SIZE, "vol0", 512),
                                                ("disk4k", SIZE_4K, "vol4k", 4096))
        for line in gw.log:
            self.steps.say("targetcli " + line)

    def refuse_wrong_configuration(self):
        """targetcli gives the reason for a wrong configuration string"""
        gw = self.rig.gateway
        wrong = {"vol0": "no '@' in 'vol0'", "vol0@host/99999": "port is not 1 to 65535",
                 "@host/1": "name '' is not", "v" * 64 + "@h": "longer than 63"}
        if self.rig.cluster:
            wrong[f"nosuch@{gw.cfg}"] = "nosuch"
        _, out = gw.sh("targetcli <<'END'\n" + "".join(
            f"/backstores/user:chain create name=wrong size=1M cfgstring={string}\n"
            for string in wrong) + "END\n")
        said = re.findall(r"cfgstring invalid: (.*)", out)
        for string, reason, answer in zip(wrong, wrong.values(), said + [""] * len(wrong)):
            if reason not in answer:
                raise StepError(f"cfgstring={string}: '{answer}' does not say '{reason}'")
            self.steps.say(f"{string[:40]}: {answer}")

    # -- the host as initiator -------------------------------------------------------------

    def host_login(self):
        """this host logs in with libiscsi: target, identity, capacity"""
        gw = self.rig.gateway
        if IQN not in tool(["iscsi-ls", gw.portal_url()]):
            raise StepError(f"iscsi-ls does not list {IQN}")
        self.steps.say("INQUIRY: " + self.inquiry(gw.url(self.lun)))
        for lun, want in ((self.lun, f"{SIZE} 512 4096"), (self.lun_4k, f"{SIZE_4K} 4096 4096")):
            got = self.initiator(gw.url(lun), "capacity").strip()
            if got != want:
                raise StepError(f"LUN {lun}: capacity '{got}', want '{want}'")
        block = tool(["iscsi-inq", "-e", "1", "-c", str(0xb1), gw.url(self.lun)])
        if not re.search(r"Rotation Rate:1RPM", block):  # 1 means: does not rotate
            raise StepError(f"not a solid state device: {block}")

    @staticmethod
    def inquiry(url):
        out = tool(["iscsi-inq", url])
        found = re.findall(r"^(?:Vendor|Product|Revision):(.*)$", out, re.M)
        return " ".join(word.strip() for word in found)

    def host_write(self):
        """this host writes and verifies stamped data on both LUNs"""
        for lun in (self.lun, self.lun_4k):
            for offset in (8 * MIB, 30 * MIB + 4096):  # the second crosses an extent's border
                self.host_io("write", lun, offset, lun + 1)
                self.host_io("verify", lun, offset, lun + 1)
        self.places += [("stamped data from this host", 8 * MIB)]

    def host_io(self, verb, lun, offset, seed):
        self.initiator(self.rig.gateway.url(lun), verb, str(offset), str(STAMPED), str(seed))

    # -- the guest as initiator ------------------------------------------------------------

    def guest_login(self):
        """open-iscsi logs in from the guest"""
        self.guest("initiator_up\n"
                   f"iscsiadm -m discovery -t sendtargets -p {self.portal} || exit 1\n"
                   f"iscsiadm -m node -T {IQN} -p {self.portal} --login")
        self.device = self.guest(f"disk_of {IQN} {self.lun}").strip()
        queue = f"/sys/block/{os.path.basename(self.device)}/queue"
        got = self.guest(f"cd {queue}; cat logical_block_size physical_block_size rotational "
                         "write_cache").split("\n")[:4]
        if got != ["512", "4096", "0", "write through"]:
            raise StepError(f"{self.device}: sectors, physical, rotational, cache: {got}")
        self.steps.say(f"LUN {self.lun} is {self.device} in the guest")

    def make_filesystem(self):
        """mkfs.ext4, copy files, checksums, unmount"""
        self.guest(f"mkfs.ext4 -q -F {self.device} && mkdir -p {self.mount} && "
                   f"mount {self.device} {self.mount} && "
                   f"head -c 20000000 /dev/urandom > {self.mount}/random && "
                   f"cp -r /usr/lib/python3*/asyncio {self.mount}/ && cd {self.mount} && "
                   f"find . -type f -exec md5sum {{}} + > {self.sums} && cp {self.sums} sums && "
                   f"cd / && umount {self.mount}")
        self.places = [p for p in self.places if "stamped" not in p[0]]
        out = self.guest(f"debugfs -R 'blocks /random' {self.device} 2>/dev/null")
        blocks = [int(word) for word in out.split()]
        self.places += [("the filesystem's superblock", 1024)]
        for i in sorted({0, len(blocks) // 2, len(blocks) - 1}):
            self.places.append((f"byte {i * 4096} of the file random", blocks[i] * 4096))

    def check_filesystem(self):
        """fstrim, e2fsck, and every file's md5 after the cache is gone"""
        out = self.guest(f"mount {self.device} {self.mount} && fstrim -v {self.mount} && "
                         f"umount {self.mount} && e2fsck -fn {self.device} 2>&1")
        for line in (out.splitlines()[0], out.strip().splitlines()[-1]):
            self.steps.say(line)
        out = self.guest("echo 3 > /proc/sys/vm/drop_caches\n"
                         f"mount {self.device} {self.mount} && cd {self.mount} || exit 1\n"
                         f"md5sum -c {self.sums} | grep -vc ': OK$'; wc -l < {self.sums}; "
                         f"cmp {self.sums} sums; cd / && umount {self.mount}")
        wrong, count = out.split()[:2]
        if wrong != "0" or int(count) < 20 or "cmp" in out:
            raise StepError(f"files differ: {out}")
        self.steps.say(f"{count} files as they were written")

    def mount_again(self):
        """mounted again, for you to look at"""
        self.guest(f"mount {self.device} {self.mount}")

    def run_fio(self):
        """fio in the guest: random writes, verify=crc32c"""
        out = self.guest(
            "fio_up || exit 1\n"
            f"fio --name=verify --filename={self.device} --direct=1 --rw=randwrite --bs=4k "
            "--offset=512m --size=16m --ioengine=libaio --iodepth=16 --verify=crc32c "
            "--do_verify=1 --verify_fatal=1 --output-format=json", 600)
        job = json.loads(out[out.index("{"):])["jobs"][0]
        if job["error"] or job["read"]["total_ios"] < 4096 or job["write"]["total_ios"] < 4096:
            raise StepError(f"fio: error {job['error']}, {job['write']['total_ios']} writes, "
                            f"{job['read']['total_ios']} reads")
        self.steps.say("%d writes at %.0f/s and %d verifying reads at %.0f/s, through emulation" % (
            job["write"]["total_ios"], job["write"]["iops"], job["read"]["total_ios"],
            job["read"]["iops"]))

    def use_4k_sectors(self):
        """the LUN with 4096-byte sectors: ext4, files, fsck"""
        device, mount = self.guest_disk_4k(), self.mount_4k
        out = self.guest(f"cat /sys/block/{os.path.basename(device)}/queue/logical_block_size\n"
                         f"mkfs.ext4 -q -F {device} && mkdir -p {mount} && "
                         f"mount {device} {mount} && "
                         f"cp -r /usr/lib/python3*/json {mount}/ && sync && umount {mount} && "
                         f"e2fsck -fn {device} >/dev/null 2>&1 && mount {device} {mount} && "
                         f"diff -r /usr/lib/python3*/json {mount}/json && umount {mount} && "
                         "echo same")
        if out.split() != ["4096", "same"]:
            raise StepError(f"{device}: {out}")

    def resize(self):
        """resize: the volume grows, the LUN with it, no further than the volume"""
        gw = self.rig.gateway
        attrib = "$(ls -d /sys/kernel/config/target/core/user_*/disk4k)/attrib/dev_size"
        if self.rig.cluster:
            self.rig.cluster.ctl("volume", "resize", "vol4k", "--size", str(GROWN))
            # the event reaches the plugin by itself; the next command acts on it
            self.guest(f"seen() {{ sg_readcap -l {self.guest_disk_4k()} | grep -q "
                       f"-i 'number of logical blocks={GROWN // 4096}'; }}\n"
                       "wait_for 20 seen")
        else:
            self.guest(f"echo {GROWN} > {attrib}")
        got = self.initiator(gw.url(self.lun_4k), "capacity").strip()
        if got != f"{GROWN} 4096 4096":
            raise StepError(f"after the resize the LUN is '{got}'")
        self.guest("iscsiadm -m session --rescan")
        name = os.path.basename(self.guest_disk_4k())
        self.guest(f"grown() {{ [ $(cat /sys/block/{name}/size) = {GROWN // 512} ]; }}\n"
                   "wait_for 20 grown")
        status, _ = gw.sh(f"echo {MOCK_SIZE * 2} > {attrib}")
        if status == 0:
            raise StepError("the LUN was made larger than its volume")
        if "more than volume vol4k has" not in gw.runner_log():
            raise StepError("no reason in the daemon's log: " + gw.runner_log())
        self.host_io("verify", self.lun_4k, 30 * MIB + 4096, self.lun_4k + 1)

    def guest_disk_4k(self):
        return self.guest(f"disk_of {IQN} {self.lun_4k}").strip()

    def guest_logout(self):
        """open-iscsi logs out"""
        self.guest(f"iscsiadm -m node -T {IQN} -p {self.portal} --logout")

    # -- where the data are ----------------------------------------------------------------

    def show_where(self):
        """where that is: chain, head and tail"""
        if not self.rig.cluster:
            return
        for what, offset in self.places:
            line = " ".join(self.rig.cluster.ctl("where", "vol0", str(offset)).split())
            self.steps.say(f"{what} (byte {offset} of vol0): {line}")

    def check_healthy(self):
        """every daemon still runs"""
        self.rig.check_alive()


TEST = ["start_cluster", "create_volumes", "start_gateway", "create_luns",
        "refuse_wrong_configuration", "host_login", "host_write", "guest_login", "make_filesystem",
        "show_where", "check_filesystem", "run_fio", "resize", "use_4k_sectors", "guest_logout",
        "check_healthy"]


def run_steps(e2e, names):
    for name in names:
        method = getattr(e2e, name)
        with e2e.steps(method.__doc__):
            method()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--build", default=None, help="build folder (default: build/)")
    p.add_argument("--mock", default=None, metavar="LIBRARY",
                   help="libchainblk_mock.so: the kernel side alone, without a cluster")
    a = p.parse_args()
    end_on_signals()
    steps = Steps()
    rig = Rig(build_dir=a.build, fio=True, mock=a.mock, say=steps.say)
    status = 1
    try:
        run_steps(E2E(rig, steps), TEST)
        status = 0
    except ERRORS as e:
        print(f"e2e: {steps.failed}: {e}\n{rig.last_words()}", file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    finally:
        killed = rig.stop()
    if killed:
        print(f"e2e: had to be killed: {', '.join(killed)}", file=sys.stderr)
        status = status or 1
    count = len(steps.done)
    print(f"{count} passed, {0 if status == 0 else 1} failed")
    return status


if __name__ == "__main__":
    sys.exit(main())
