#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Build the guest of the end-to-end tests: a stock Debian kernel and a small initramfs.

    tools/vm/guest.py            # builds when needed, prints the folder
    tools/vm/guest.py --force    # builds anew

Everything comes out of Debian packages, fetched and unpacked by mmdebstrap without running any of
their scripts; nothing is taken from this machine's own root file system, so the result does not
depend on it. The folder is ${XDG_CACHE_HOME:-~/.cache}/chainblk/guest-HASH, where HASH covers this
file, the files packed into the guest and the package versions that apt would install now. In it:

    vmlinuz       the kernel                     base.cpio   tcmu-runner, targetcli, open-iscsi, ...
    packages      name and version, one a line   fio.cpio    fio and its libraries (a raw disk)

Neither has anything of chainblk in it: vm.py appends that at each start, so a rebuild of our code
never rebuilds the guest.
"""
import argparse
import contextlib
import fcntl
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIBDIR = "usr/lib/x86_64-linux-gnu"

PACKAGES = ("linux-image-cloud-amd64 tcmu-runner libtcmu2 targetcli-fb python3-rtslib-fb dbus kmod "
            "open-iscsi e2fsprogs busybox-static python3 liburing2 libisal2 sg3-utils fio").split()
PROGRAMS = ("busybox kmod tcmu-runner dbus-daemon iscsid iscsiadm mke2fs e2fsck debugfs sg_inq sg_vpd "
            "sg_readcap sg_persist sg_unmap sg_write_same sg_raw").split()
# Libraries nothing in the image names: glibc opens libgcc_s for pthread_cancel(), which
# tcmu-runner uses whenever a device goes (without it: abort); Python opens libudev by name; the
# others are for libchainblk.
LIBRARIES = "libgcc_s.so.1 libudev.so.1 liburing.so.2 libisal.so.2".split()
TREES = ("etc/tcmu etc/dbus-1 etc/iscsi etc/target etc/mke2fs.conf usr/share/dbus-1 "
         "usr/lib/x86_64-linux-gnu/girepository-1.0 usr/share/targetcli*").split()
PYTHON_SKIP = ("__pycache__ test tests lib2to3 idlelib ensurepip pydoc_data unittest distutils "
               "tkinter config-3.* turtledemo *.egg-info *.dist-info setuptools "
               "pkg_resources").split()
MODULES = ("virtio_pci virtio_net virtio_blk virtio_rng configfs uio target_core_mod "
           "target_core_user iscsi_target_mod sd_mod sg iscsi_tcp ext4 crc32c_generic "
           "crct10dif_generic").split()
BOOT_MODULES = ("virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci "
                "failover net_failover virtio_net virtio_rng virtio_blk").split()
GUEST_FILES = {"guest-init": "init", "guest-agent": "chainblk/agent"}
TOOLS = {"mmdebstrap": "mmdebstrap", "cpio": "cpio", "depmod": "kmod", "modinfo": "kmod",
         "readelf": "binutils", "tar": "tar"}
UNUSED_DAYS = 14


class GuestError(Exception):
    """Why there is no guest, and what to do."""


def cache_root():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "chainblk")


def suite():
    """The Debian release of the guest: this machine's own when it is a Debian, so that what is
    compiled here runs there."""
    with contextlib.suppress(OSError):
        with open("/etc/os-release", encoding="utf-8") as f:
            text = f.read()
        if re.search(r"^ID=debian$", text, re.M):
            return re.search(r"^VERSION_CODENAME=(\S+)", text, re.M).group(1)
    return "bookworm"


def candidate_versions():
    """What apt would install, for the cache key. Empty off Debian: then the key is the inputs."""
    try:
        p = subprocess.run(["apt-cache", "policy", *PACKAGES], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True, check=False)
    except FileNotFoundError:
        return []
    return re.findall(r"^(\S+):\n.*\n  Candidate: (\S+)", p.stdout, re.M)


def cache_key():
    h = hashlib.sha256()
    for name in ["guest.py", *GUEST_FILES]:
        with open(os.path.join(HERE, name), "rb") as f:
            h.update(f.read())
    h.update(repr((suite(), candidate_versions())).encode())
    return h.hexdigest()[:16]


def run(*argv, **kw):
    try:
        return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **kw).stdout
    except subprocess.CalledProcessError as e:
        raise GuestError(f"{' '.join(argv[:6])}: exit {e.returncode}\n{e.stderr[-2000:]}") from None


class Image:
    """A tree under construction: copies out of the unpacked packages with all libraries needed."""

    def __init__(self, root, path, have=()):
        self.root, self.path = root, path
        self.done = set(have)
        self.libs = {}
        for d in ("lib/x86_64-linux-gnu", LIBDIR, "lib", "usr/lib", LIBDIR + "/ceph",
                  LIBDIR + "/systemd"):
            for f in glob.glob(f"{root}/{d}/*.so*"):
                self.libs.setdefault(os.path.basename(f), f)
        os.makedirs(f"{path}/{LIBDIR}")
        os.makedirs(f"{path}/usr/bin")

    def real(self, path):
        """Follow links inside the unpacked tree, not on this machine."""
        for _ in range(16):
            if not os.path.islink(path):
                return path
            to = os.readlink(path)
            path = self.root + to if to.startswith("/") else \
                os.path.join(os.path.dirname(path), to)
        raise GuestError(f"{path}: too many links")

    def needs(self, path):
        out = subprocess.run(["readelf", "-d", path], stdout=subprocess.PIPE, check=False,
                             stderr=subprocess.DEVNULL, text=True).stdout
        for name in re.findall(r"NEEDED.*\[(.*)\]", out):
            self.library(name, path)

    def library(self, name, wanted_by="the guest"):
        if name in self.done or name.startswith("ld-linux"):
            return
        if name not in self.libs:
            raise GuestError(f"{name}, which {wanted_by} needs, is in none of the packages")
        self.done.add(name)
        shutil.copy(self.real(self.libs[name]), f"{self.path}/{LIBDIR}/{name}")
        self.needs(self.libs[name])

    def program(self, name):
        for d in ("usr/bin", "bin", "usr/sbin", "sbin"):
            f = self.real(f"{self.root}/{d}/{name}")
            if os.path.isfile(f):
                shutil.copy(f, f"{self.path}/usr/bin/{name}")
                self.needs(f)
                return
        raise GuestError(f"program {name} is in none of the packages")

    def tree(self, pattern, skip=()):
        for f in glob.glob(f"{self.root}/{pattern}"):
            to = f"{self.path}/{os.path.relpath(f, self.root)}"
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if os.path.isdir(f):
                shutil.copytree(f, to, symlinks=True, dirs_exist_ok=True,
                                ignore=shutil.ignore_patterns(*skip))
            else:
                shutil.copy(self.real(f), to)
        for d, _, files in os.walk(self.path):
            for name in files:
                f = os.path.join(d, name)
                if ".so" in name and f not in self.done and not os.path.islink(f):
                    self.done.add(f)
                    self.needs(f)

    def write(self, path, text):
        os.makedirs(os.path.dirname(f"{self.path}/{path}"), exist_ok=True)
        with open(f"{self.path}/{path}", "w", encoding="utf-8") as f:
            f.write(text)

    def pack(self, out):
        with open(out, "wb") as f:
            find = subprocess.Popen(["find", ".", "-print0"], cwd=self.path,
                                    stdout=subprocess.PIPE)
            subprocess.run(["cpio", "-o0", "-H", "newc", "-R", "0:0", "--quiet"], cwd=self.path,
                           stdin=find.stdout, stdout=f, check=True)
            find.wait()
            f.truncate(-(-f.tell() // 512) * 512)


def unpack_packages(work, say):
    say(f"packages of Debian {suite()}: fetch and unpack")
    tar = f"{work}/root.tar"
    mirror = os.environ.get("CHAINBLK_MIRROR")
    # extracting enters no chroot, whoever runs it; only root may leave the mode to mmdebstrap
    mode = "auto" if os.geteuid() == 0 else "chrootless"
    run("mmdebstrap", "--quiet", f"--mode={mode}", "--variant=extract", "--include=" + ",".join(PACKAGES),
        # the versions, before mmdebstrap throws the archives away
        '--extract-hook=for d in "$1"/var/cache/apt/archives/*.deb; do '
        f'[ -e "$d" ] && basename "$d" .deb >> {work}/packages; done; :',
        suite(), tar, *([mirror] if mirror else []))
    os.mkdir(f"{work}/root")
    run("tar", "-C", f"{work}/root", "-xf", tar, "--exclude=./dev/*")
    os.unlink(tar)
    return f"{work}/root"


def add_python(img, root):
    version = os.path.basename(os.path.realpath(f"{root}/usr/bin/python3"))
    if not re.fullmatch(r"python3\.\d+", version):
        raise GuestError(f"{version}: not a name of a Python the builder knows")
    img.program(version)
    os.symlink(version, f"{img.path}/usr/bin/python3")
    img.tree(f"usr/lib/{version}", PYTHON_SKIP)
    img.tree("usr/lib/python3/dist-packages", PYTHON_SKIP)
    shutil.copy(f"{root}/usr/bin/targetcli", f"{img.path}/usr/bin/targetcli")
    # byte-compile with the guest's own Python: importing rtslib from source takes seconds there
    libs = f"{root}/lib/x86_64-linux-gnu:{root}/{LIBDIR}"
    run(f"{img.path}/usr/lib64/ld-linux-x86-64.so.2", "--library-path", libs,
        f"{img.path}/usr/bin/{version}", "-m", "compileall", "-q", "--invalidation-mode",
        "unchecked-hash", "-s", img.path, "-p", "/", f"{img.path}/usr/lib/{version}",
        f"{img.path}/usr/lib/python3/dist-packages",
        env={**os.environ, "PYTHONHOME": f"{root}/usr"})


def add_modules(img, root, release):
    top = f"{root}/lib/modules/{release}"
    found = {}
    for d, _, files in os.walk(f"{top}/kernel"):
        for name in files:
            if ".ko" in name:
                found[name.split(".ko")[0].replace("-", "_")] = os.path.join(d, name)
    order = []

    def want(name):
        name = name.replace("-", "_")
        if name not in found or name in order:  # not found: built into the kernel
            return
        soft = run("modinfo", "-F", "softdep", found[name]).replace("pre:", "")
        hard = run("modinfo", "-F", "depends", found[name]).strip().split(",")
        for other in re.findall(r"[\w-]+", soft) + [h for h in hard if h]:
            want(other)
        order.append(name)

    for name in MODULES:
        want(name)
    to = f"{img.path}/usr/lib/modules/{release}"
    for name in order:
        dest = f"{to}/{os.path.relpath(found[name], top)}"
        os.makedirs(os.path.dirname(dest), exist_ok=True)
        shutil.copy(found[name], dest)
    for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        shutil.copy(f"{top}/{name}", to)
    run("depmod", "-b", img.path, release)
    img.write("chainblk/modules.boot", "".join(
        os.path.relpath(found[n], top) + "\n" for n in order if n in BOOT_MODULES))


def build_base(root, work, release):
    img = Image(root, f"{work}/base")
    for d in ("usr/lib64 usr/lib/x86_64-linux-gnu/tcmu-runner etc proc sys dev run tmp var/log "
              "var/lib/dbus root/.targetcli mnt chainblk").split():
        os.makedirs(f"{img.path}/{d}", exist_ok=True)
    for link, to in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"),
                     ("lib64", "usr/lib64"), ("usr/sbin", "bin"), ("usr/bin/sh", "busybox"),
                     ("usr/bin/mkfs.ext4", "mke2fs"), ("usr/bin/fsck.ext4", "e2fsck")):
        os.symlink(to, f"{img.path}/{link}")
    loader = glob.glob(f"{root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2") + \
        glob.glob(f"{root}/{LIBDIR}/ld-linux-x86-64.so.2")
    shutil.copy(img.real(loader[0]), f"{img.path}/usr/lib64/ld-linux-x86-64.so.2")
    for name in PROGRAMS:
        img.program(name)
    for name in LIBRARIES:
        img.library(name)
    for pattern in TREES:
        img.tree(pattern)
    add_python(img, root)
    img.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n")
    img.write("etc/group", "root:x:0:\nmessagebus:x:100:\n")
    img.write("etc/hosts", "127.0.0.1 localhost\n")
    img.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    img.write("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2025-01.example.chainblk:guest\n")
    add_modules(img, root, release)
    for name, to in GUEST_FILES.items():
        shutil.copy(os.path.join(HERE, name), f"{img.path}/{to}")
        os.chmod(f"{img.path}/{to}", 0o755)
    return img


def build(dest, say):
    missing = sorted({pkg for tool, pkg in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise GuestError(f"missing on this machine: {' '.join(missing)}: run ./dev setup")
    if platform.machine() != "x86_64":
        raise GuestError(f"the guest is built for x86_64 only, this machine is "
                         f"{platform.machine()}")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="building-", dir=os.path.dirname(dest)) as work:
        root = unpack_packages(work, say)
        kernels = glob.glob(f"{root}/boot/vmlinuz-*")
        if len(kernels) != 1:
            raise GuestError(f"expected one kernel in the packages, found {kernels}")
        release = os.path.basename(kernels[0])[len("vmlinuz-"):]
        say(f"kernel {release}, initramfs")
        base = build_base(root, work, release)
        fio = Image(root, f"{work}/fio", {d for d in base.done if "/" not in d})
        fio.program("fio")
        out = f"{work}/out"
        os.mkdir(out)
        shutil.copy(kernels[0], f"{out}/vmlinuz")
        base.pack(f"{out}/base.cpio")
        fio.pack(f"{out}/fio.cpio")
        if os.path.exists(f"{work}/packages"):
            shutil.copy(f"{work}/packages", f"{out}/packages")
        os.rename(out, dest)
    say("guest built in %.0f s: base %d MiB, fio %d MiB" % (
        time.monotonic() - start, os.path.getsize(f"{dest}/base.cpio") >> 20,
        os.path.getsize(f"{dest}/fio.cpio") >> 20))


def forget_old():
    """Guests that nothing has used for long: each takes 150 MiB."""
    for path in glob.glob(os.path.join(cache_root(), "guest-*")):
        if time.time() - os.stat(path).st_mtime > UNUSED_DAYS * 86400:
            shutil.rmtree(path, ignore_errors=True)


def ensure(force=False, say=lambda line: print(f"guest: {line}", file=sys.stderr, flush=True)):
    """The folder of a guest that fits these sources; built first when there is none."""
    os.makedirs(cache_root(), exist_ok=True)
    dest = os.path.join(cache_root(), "guest-" + cache_key())
    with open(os.path.join(cache_root(), "guest.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once: the second finds the first's work
        if force:
            shutil.rmtree(dest, ignore_errors=True)
        if not os.path.isdir(dest):
            build(dest, say)
        os.utime(dest)
        forget_old()
    return dest


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--force", action="store_true", help="build even when it is in the cache")
    p.add_argument("--where", action="store_true", help="only print the folder it would have")
    a = p.parse_args()
    try:
        if a.where:
            print(os.path.join(cache_root(), "guest-" + cache_key()))
        else:
            print(ensure(a.force))
    except GuestError as e:
        print(f"guest: {e}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
