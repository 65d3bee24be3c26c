#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Prove with nm that the pure core asks nothing of the operating system.

Every object in the static libraries of the pure folders may reference C library functions that
compute (memcpy, snprintf, strtoull) and those that report a broken invariant (abort, fprintf), and
none that allocate, wait, read a clock, draw randomness, or do I/O.

usage: purity.py BUILD-FOLDER
"""
import pathlib
import re
import subprocess
import sys

PURE = ["lib", "store", "client", "chaind", "cfgsvc", "erasure"]
FORBIDDEN = re.compile(r"""^(
    clock_\w+ | time | gettimeofday | nanosleep | usleep | sleep | timer_\w+ | timerfd_\w+
  | s?rand(om)?(_r)? | [dlm]rand48 | getrandom | getentropy | arc4random\w*
  | malloc | calloc | realloc | free | aligned_alloc | posix_memalign | strdup | strndup
  | v?asprintf | mmap\w* | munmap | brk | sbrk
  | p?(read|write)v?\d*(64)? | open(at)?(64)? | close | fsync | fdatasync | lseek(64)? | ioctl | fallocate
  | fopen(64)? | fread | fwrite_unlocked | getline | mkdir | rename | unlink | stat(64)? | fstat(64)?
  | socket | connect | bind | listen | accept4? | send(to|msg)? | recv(from|msg)? | poll | select
  | epoll_\w+ | eventfd | io_uring_\w+ | getaddrinfo
  | pthread_\w+ | mtx_\w+ | cnd_\w+ | thrd_\w+ | sem_\w+ | fork | v?exec\w+ | kill | signal | sigaction
  | syscall | getenv | getpid | syslog
)(@.*)?$""", re.VERBOSE)


def offences(archive):
    listing = subprocess.run(["nm", "-A", "-u", str(archive)], check=True, capture_output=True,
                             text=True).stdout
    for line in listing.splitlines():
        where, _, symbol = line.rpartition(" U ")
        if "_tests_" in where:
            continue  # a helper of the tests that meson builds beside the product
        if symbol and FORBIDDEN.match(symbol.strip()):
            yield f"{where.strip().rstrip(':')}: calls {symbol.strip()}()"


def main():
    build = pathlib.Path(sys.argv[1])
    archives = [archive for folder in PURE for archive in sorted((build / folder).glob("lib*.a"))]
    if not archives:
        print(f"no static library of {', '.join(PURE)} in {build}: build first")
        return 1
    found = [offence for archive in archives for offence in offences(archive)]
    print("\n".join(found) or f"pure: {len(archives)} libraries")
    return 1 if found else 0


sys.exit(main())
