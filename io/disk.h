/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk - a file or block device as struct env_disk: O_DIRECT, exclusive, asynchronous.
 *
 *   K1  one process per store: an exclusive flock is held from open to close
 *   K2  every read and write bypasses the page cache; a file system that cannot is refused
 *   K3  volatile_cache is true unless the caller says the device may be trusted and the kernel
 *       calls its cache "write through": files on any file system have one
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
 * O_DIRECT), -ENOTBLK (neither file nor block device), ... Logs size and kind of cache. */
MUST_CHECK int disk_open(struct reactor *r, const struct disk_config *cfg,
			 struct env_disk **ret_disk, char err[IO_ERR_BYTES]);
/* Nothing may be in flight. NULL ok. */
void disk_close(struct env_disk *d);

/* Blocking, for `chaind format`: 0 when there is nothing at @path, or nothing but zeros where data
 * begins. -EEXIST or what reading said, with a text in @err. */
MUST_CHECK int disk_check_unused(const char *path, char err[IO_ERR_BYTES]);

/* Blocking, for `chaind format`: make @path a file of @size_bytes of written zeros (so that later
 * writes change no metadata), fsynced with its directory. What an existing file holds is
 * kept, its holes are filled; block devices are left alone. */
MUST_CHECK int disk_create_file(const char *path, uint64_t size_bytes, char err[IO_ERR_BYTES]);

#endif
