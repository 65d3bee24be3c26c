/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk - a file or block device as struct env_disk: O_DIRECT, exclusive, asynchronous.
 *
 *   K1  one process per store: an exclusive flock is held from open to close
 *   K2  every read and write bypasses the page cache; a file system that cannot is refused
 *   K3  volatile_cache is true unless the caller says the device may be trusted and the kernel
 *       calls its cache "write through": files on any file system have one (disk_kind.h, V1)
 *   K4  no file whose blocks are copied when they are overwritten (disk_kind.h, V2)
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
/* What disk_open() takes. */
size_t disk_bytes(void);
/* Nothing may be in flight. NULL ok. */
void disk_close(struct env_disk *d);

#endif
