/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk_make - what `chaind format` does before there is a store: is the place free, and a file is
 * written through once, so that no later write pays for allocation or finds the disk full.
 *
 *	looked at -> space reserved -> zeros, front to back, by direct writes -> fsync, folder too
 *
 *   M1  what lies behind the first mebibyte of a file stays; only what was never written is written
 *   M2  stopped half way there is nothing in it that looks like a store, and the next run goes on:
 *       the file's length, and its holes before that, say what is still to be written
 *
 * Blocking: none of it is for a reactor. Thread: any. */

#ifndef IO_DISK_MAKE_H
#define IO_DISK_MAKE_H

#include "io/reactor.h"

/* 0 when there is nothing at @path, or nothing but zeros in its first mebibyte. -EEXIST or what
 * reading said, with a text in @err. */
MUST_CHECK int disk_make_check_unused(const char *path, char err[IO_ERR_BYTES]);

struct disk_make_progress {
	uint64_t at_bytes;      /* all before it is written */
	uint64_t size_bytes;    /* where it ends */
	uint64_t written_bytes; /* by this run */
};

struct disk_make {
	const char *path;
	uint64_t size_bytes; /* of a file; not looked at for a block device */
	bool force;          /* wipe the first mebibyte first; cut a longer file */
	/* Asked after every few mebibytes; false: stop here. */
	bool (*go_on)(void *arg, const struct disk_make_progress *p);
	void *arg;
};
/* Make the file ready (M1, M2); a block device is only wiped when forced. 0 and *ret_written_bytes;
 * -EINTR when go_on() said so; -EBUSY in use, -EOPNOTSUPP or -EXDEV copied on write (disk_kind.h),
 * -EINVAL no O_DIRECT, -EFBIG longer than asked for, -ENOSPC, ...; with one line in @err. A file
 * that this call made and could not fill is gone again, unless it was told to stop. */
MUST_CHECK int disk_make_file(const struct disk_make *m, uint64_t *ret_written_bytes,
			      char err[IO_ERR_BYTES]);

#endif
