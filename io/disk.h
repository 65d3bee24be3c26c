/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk - a file or block device as struct env_disk: O_DIRECT, exclusive, asynchronous.
 *
 *   K1  one process per store: an exclusive flock is held from open to close
 *   K2  every read and write bypasses the page cache; a file system that cannot is refused
 *   K3  volatile_cache is true unless the caller says the device may be trusted and the kernel
 *       calls its cache "write through": files on any file system have one (disk_kind.h, V1)
 *   K4  no file whose blocks are copied when they are overwritten (disk_kind.h, V2)
 *
 *   K5  a part is a disk of its own: nothing submitted to it reaches beyond it
 *
 * Thread: the reactor's. */

#ifndef IO_DISK_H
#define IO_DISK_H

#include "io/reactor.h"

struct disk_config {
	const char *path;
	bool trust_write_through; /* K3: believe the block device's queue/write_cache */
};

/* 0, or -errno with one line in @err: -EBUSY (locked by another daemon), -ENOENT, -EINVAL (no
 * O_DIRECT), -ENOTBLK (neither file nor block device), -EOPNOTSUPP and -EXDEV (K4), ... Logs size,
 * kind and how writes are made durable. */
MUST_CHECK int disk_open(struct reactor *r, const struct disk_config *cfg,
			 struct env_disk **ret_disk, char err[IO_ERR_BYTES]);
struct disk_part {
	uint64_t offset_bytes, size_bytes; /* multiples of BLOCK_BYTES */
};
/* Part of an open disk as a disk of its own, for reactor @r and its thread: @whole may belong to
 * another one. The lock (K1) is held until the last of them is closed. 0, or -errno with @err. */
MUST_CHECK int disk_open_part(struct reactor *r, const struct env_disk *whole,
			      const struct disk_part *part, struct env_disk **ret_disk,
			      char err[IO_ERR_BYTES]);
/* Read without a reactor, waiting for it: before one runs. @buf is BLOCK_BYTES aligned. 0, or
 * -errno; what lies behind the end is -EIO. */
MUST_CHECK int disk_read_now(const struct env_disk *d, uint64_t offset_bytes, void *buf,
			     size_t len_bytes);
/* What disk_open() or disk_open_part() takes. */
size_t disk_bytes(void);
/* Nothing may be in flight. NULL ok. */
void disk_close(struct env_disk *d);

#endif
