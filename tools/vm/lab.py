#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""./dev lab [--servers N] [--mock]: a cluster and the virtual machine to play with.

Starts the daemons, the guest with tcmu-runner, our plugin and fio, and one volume with its LUN; then
runs a shell in which $CHAINBLK_CFG, $LUN and the functions of this help work. Leaving the shell
ends everything.

  chainctl ...     the build's chainctl
  g 'SCRIPT'       a shell script in the guest
"""
import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from rig import ERRORS, Rig, Steps, end_on_signals  # noqa: E402

RC = """
chainctl() {{ {build}/cli/chainctl "$@"; }}
g() {{ {here}/vm.py sh --dir {run}/guest "$@"; }}
PS1='lab \\w\\$ '
"""


def main():
    p = argparse.ArgumentParser(prog="./dev lab", description=__doc__.split("\n\n", 1)[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--servers", type=int, default=3)
    p.add_argument("--build", default=None, help="build folder (default: build/)")
    p.add_argument("--mock", default=None, metavar="LIBRARY",
                   help="libchainblk_mock.so: the kernel side alone, without a cluster")
    a = p.parse_args()
    end_on_signals()
    steps = Steps()
    rig = Rig(build_dir=a.build, fio=True, mock=a.mock, say=steps.say)
    try:
        with steps("cluster"):
            rig.start_cluster(a.servers)
            rig.volume_create("vol0", "1G")
        with steps("virtual machine and kernel target"):
            rig.start_gateway()
        with steps("LUN"):
            lun = rig.gateway.create_disk("disk0", "1G", "vol0")
        env = {**os.environ, "LUN": rig.gateway.url(lun),
               "CHAINBLK_CFG": rig.cluster.cfg if rig.cluster else ""}
        rc = os.path.join(rig.run_dir, "bashrc")
        with open(rc, "w", encoding="utf-8") as f:
            f.write(RC.format(build=rig.build_dir, here=HERE, run=rig.run_dir))
        steps.say(f"run folder {rig.run_dir}, LUN {env['LUN']}; leave the shell to end")
        return subprocess.run(["bash", "--rcfile", rc, "-i"], env=env, check=False).returncode
    except ERRORS as e:
        print(f"lab: {e}\n{rig.last_words()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rig.stop()


if __name__ == "__main__":
    sys.exit(main())
