#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""./dev demo [--check]: from nothing to an iSCSI disk whose every write is on three stores.

Starts three storage daemons and a configuration service on this machine, and a kernel iSCSI target
with the stock tcmu-runner and targetcli: this machine's own if its kernel has one, else a stock
Debian kernel in QEMU. Logs in as an initiator, makes a filesystem, writes and verifies files, and
shows which chain of servers each of them is on. Then everything stays up, with commands to try,
until Ctrl-C.

With --check the same runs unattended and everything is taken down again: exit 0 only when every
step was verified; the last line is the verdict.
"""
import argparse
import os
import select
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tools", "vm"), os.path.join(ROOT, "tests", "e2e")]
from e2e import E2E, IQN, run_steps  # noqa: E402
from rig import ERRORS, Rig, Steps, end_on_signals  # noqa: E402

STEPS = ["start_cluster", "create_volumes", "start_gateway", "create_luns", "host_login",
         "host_write", "show_where", "guest_login", "make_filesystem", "show_where",
         "check_filesystem", "use_4k_sectors", "check_healthy"]
LEAVE = ["mount_again"]


def try_next(e2e, run_dir):
    rig = e2e.rig
    ctl = os.path.join(rig.build_dir, "cli", "chainctl")
    nbd = os.path.join(rig.build_dir, "nbd-plugin", "nbdkit-chain-plugin.so")
    cfg = rig.cluster.cfg
    inside = os.path.join(ROOT, "tools", "vm", "vm.py") + f" sh --dir {run_dir}/guest"
    lines = ["Everything is up. Things to try in another terminal:", "",
             f"  export CHAINBLK_CFG={cfg}",
             f"  {ctl} status                    # servers and chains",
             f"  {ctl} where vol0 8M             # who holds that byte",
             f"  {ctl} volume create mine --size 512M",
             f"  iscsi-inq {rig.gateway.url(e2e.lun)}"]
    if rig.vm:
        lines += [f"  {inside} 'ls -l {e2e.mount}; targetcli ls'"]
    else:
        lines += [f"  ls -l {e2e.mount}; targetcli ls"]
    lines += [f"  nbdkit {nbd} volume=mine cfg={cfg}", "",
              "and from this machine's own kernel, if it has open-iscsi:", "",
              f"  iscsiadm -m node -o new -T {IQN} -p {rig.gateway.portal_url()[8:]}",
              f"  iscsiadm -m node -T {IQN} -p {rig.gateway.portal_url()[8:]} --login", "",
              f"Logs and stores are in {run_dir}. Ctrl-C ends everything and removes it."]
    print("\n".join(lines), flush=True)


def wait_for_end(rig):
    """Until Ctrl-C; meanwhile say so when a daemon ends."""
    watched = {}
    daemons = rig.cluster.daemons() + ([rig.vm.qemu] if rig.vm else [])
    for d in daemons:
        if d.alive():
            watched[os.pidfd_open(d.pid)] = d
    while watched:
        for fd in select.select(list(watched), [], [])[0]:
            print(f"demo: {watched.pop(fd).name} ended", file=sys.stderr, flush=True)
            os.close(fd)
    print("demo: nothing is left running", file=sys.stderr)


def run(a, rig, steps):
    """Returns None, or what failed in one line."""
    e2e = E2E(rig, steps)
    try:
        run_steps(e2e, STEPS)
        if not a.check:
            run_steps(e2e, LEAVE)
            try_next(e2e, rig.run_dir)
            wait_for_end(rig)
    except ERRORS as e:
        print(f"demo: {e}\n{rig.last_words()}", file=sys.stderr)
        return f"{steps.failed}: {str(e).splitlines()[0]}"
    return None


def main():
    p = argparse.ArgumentParser(prog="./dev demo", description=__doc__.split("\n\n", 1)[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true", help="unattended: verify, clean up, verdict")
    p.add_argument("--build", default=None, help="build folder (default: build/)")
    p.add_argument("--vm", action="store_true", help="the virtual machine even if this kernel could")
    p.add_argument("--keep", action="store_true", help="leave the run folder with logs and stores")
    a = p.parse_args()
    end_on_signals()
    steps = Steps(sys.stdout if a.check else sys.stderr)
    rig = Rig(build_dir=a.build, allow_host=not a.vm, say=steps.say)
    failed, interrupted, killed = None, False, []
    try:
        failed = run(a, rig, steps)
    except KeyboardInterrupt:
        interrupted = True
        print("\ndemo: cleaning up", file=sys.stderr, flush=True)
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        killed = rig.stop(keep_dir=a.keep)
    if killed and not failed:
        failed = f"stop: had to be killed: {', '.join(killed)}"
    if interrupted:
        if a.check:
            print("demo: INTERRUPTED")
        return 130 if a.check or steps.failed else 0  # after the last step it is how one leaves
    if a.check:
        print(steps.table())
    if failed:
        print(f"demo: FAILED: {failed}")
        return 1
    if a.check:
        print(f"demo: PASSED: {len(steps.done)} steps verified in {steps.total_s():.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
