/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* world_real - io_uring and a file as a life's world (life.h): time is the machine's, and power
 * stays.
 *
 * One thread, the one that opened it. */

#ifndef TESTS_FAULT_WORLD_REAL_H
#define TESTS_FAULT_WORLD_REAL_H

#include "tests/fault/life.h"

#define WORLD_REAL_BROKEN 3 /* exit status of a process whose io_uring failed */

struct reactor;

struct world_real {
	struct world w;
	struct reactor *r;
	struct env_disk *disk;
	struct env_timer heartbeat;
};

/* 0, or -errno with a line in @err (of IO_ERR_BYTES). Waits until a process that ended before has
 * let go of the file. */
MUST_CHECK int world_real_open(struct world_real *rw, const char *path, char *err);
/* Small payload of the pool that life_begin() made is registered, so that both kinds of transfers
 * are seen. */
void world_real_region(struct world_real *rw, const struct life *l);
void world_real_close(struct world_real *rw);

#endif
