/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_source - a store as `chaind inspect` and `chaind fsck` see it: a file or a block device,
 * opened for reading only, one slice of it at a time.
 *
 *   O1  nothing is ever written: the descriptor cannot
 *   O2  a shared lock is held while it is open, so that no daemon starts on it meanwhile; if a
 *       daemon has it, .busy says so
 *   O3  progress goes to stderr, on a terminal as one line, else every few seconds; SIGINT and
 *       SIGTERM stop what is going on (-ECANCELED)
 *
 * Thread: the one that called main(). */

#ifndef CHAIND_CMD_SOURCE_H
#define CHAIND_CMD_SOURCE_H

#include "io/reactor.h"
#include "store/inspect.h"

/* Of inspect and fsck; README and docs/OPERATIONS.md list them. */
enum {
	EXIT_CLEAN = 0,
	EXIT_REPAIRABLE = 1,
	EXIT_DAMAGED = 2,
	EXIT_USAGE = 64,
	EXIT_UNREADABLE = 65
};

struct source {
	const char *path;
	int fd;
	bool busy;
	uint64_t size_bytes; /* of the whole */
	uint64_t base_bytes; /* of the slice */
	struct inspect_disk disk;
	uint64_t shown_ns;
	bool terminal, shown;
};

/* 0 or -errno with one line in @err; afterwards the slice is all of it. */
MUST_CHECK int source_open(struct source *s, const char *path, char err[IO_ERR_BYTES]);
void source_close(struct source *s);
/* How it is divided, from the superblocks of the first slice. What is wrong with those is not said:
 * it is when it is that slice's turn. @mem: of inspect_bytes(), free again afterwards. */
struct inspect_slices source_slices(struct source *s, void *mem);
/* What .disk shows from here on. */
void source_slice(struct source *s, uint64_t base_bytes, uint64_t size_bytes);
/* Was it told to stop? */
bool source_stopped(void);
/* Ends the line of progress, if there is one. */
void source_quiet(struct source *s);
/* One line "chaind: PATH: TEXT" on stderr. */
void source_say(struct source *s, const char *text);

#endif
