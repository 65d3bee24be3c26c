/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk_kind - inside of disk: what a store lies on, and what follows from it.
 *
 *	fd -> size, device, its cache (sysfs) -> how writes are made durable
 *	   -> file system, shared extents     -> refused or not
 *
 *   V1  a write is plain (durable only after a flush elsewhere) only on a block device that reports
 *       "write through", and only when the caller says that the report may be believed. Everything
 *       else is written with RWF_DSYNC
 *   V2  a file whose blocks a file system copies on write is no store: each write would allocate,
 *       could fail for want of space after it was promised, and would be two
 *
 * Reads sysfs and asks the file system; no state, any thread. */

#ifndef IO_DISK_KIND_H
#define IO_DISK_KIND_H

#include <sys/types.h>

#include "io/reactor.h"

enum disk_cache {
	CACHE_UNKNOWN, /* the device could not be asked */
	CACHE_NONE,    /* "write through": what is written is on the medium */
	CACHE_FUA,     /* volatile; one write can be made durable alone */
	CACHE_FLUSH,   /* volatile; the kernel flushes after each write that must be durable */
};

struct disk_kind {
	bool is_block;
	uint64_t size_bytes;
	uint32_t sector_bytes;
	enum disk_cache cache; /* of the device, or of the one a file's file system is on */
};

/* 0; -ENOTBLK (neither file nor block device), -EINVAL (sectors too large) or what the system said,
 * with @err. */
MUST_CHECK int disk_kind_look(int fd, const char *path, struct disk_kind *ret,
			      char err[IO_ERR_BYTES]);
/* The cache of device @dev as @sysfs ("/sys") describes it. */
enum disk_cache disk_kind_cache(const char *sysfs, dev_t dev);

/* V1: may a plain write be taken for durable? *ret_text: what was chosen and why, for the log. */
bool disk_kind_plain(const struct disk_kind *k, bool trust_write_through, const char **ret_text);

/* V2: 0, or -EOPNOTSUPP (copy-on-write file system), -EXDEV (extents shared with another file),
 * with
 * @err. Block devices pass. */
MUST_CHECK int disk_kind_check_cow(int fd, const char *path, char err[IO_ERR_BYTES]);
/* The name of a file system that copies a file with @flags (FS_IOC_GETFLAGS) on write, or NULL.
 * *ret_can_turn_off: chattr +C would help. */
const char *disk_kind_cow_name(uint64_t fs_magic, unsigned flags, bool *ret_can_turn_off);

/* What to tell of an flock() that ended with @res: only -EBUSY is another process. */
void disk_lock_explain(int res, const char *path, char err[IO_ERR_BYTES]);

#endif
