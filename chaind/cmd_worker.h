/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_worker - one reactor of a daemon: a thread with its io_uring, its slice of the disk, its
 * listeners and its node, and what it shares with the others.
 *
 *	cmd_run.c: crew_init, a thread for each worker but the first, worker_run(first) on its own
 *
 *	open ... all have opened -> start -> ready ... all are ready -> serve -> stop -> end
 *
 *   CR1 between "all are ready" and "stop" the workers share nothing but the process: no lock, no
 *       memory that two of them write. What is shared (struct crew) is touched at start and at the
 *       end
 *   CR2 "ready on" is printed when every worker is registered, for all of them
 *   CR3 who cannot open, or fails later, stops all others in order; the status is then a failure
 *   CR4 the first worker runs on the thread that gets the signals, and ends last
 *
 * Thread: a worker's functions are its own thread's; crew_* any worker's. */

#ifndef CHAIND_CMD_WORKER_H
#define CHAIND_CMD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "chaind/cmd.h"
#include "chaind/node.h"
#include "io/disk.h"
#include "lib/arena.h"

enum crew_stop { STOP_NOT, STOP_IN_ORDER, STOP_AT_ONCE };

struct crew;

struct worker {
	struct crew *crew;
	/* Set by cmd_run.c: */
	struct node_config cfg;
	char listen[SERVER_ADDRS_MAX][ADDR_BYTES];
	struct disk_part part;
	int cpu; /* to stay on, or -1 */
	pthread_t thread;
	/* The worker's own: */
	struct reactor *reactor; /* the first one's is opened by cmd_run.c */
	struct env_disk *disk;
	void *mem;
	size_t mem_bytes;
	struct arena arena;
	struct node *node;
	bool stopping;
	bool over;     /* nothing is left to do; the first one waits for the others */
	bool in_order; /* the node gave its memory back */
};

struct crew {
	const struct options *opt;
	const struct env_disk *disk;
	struct worker *workers;
	uint32_t n;
	_Atomic int stop; /* enum crew_stop, only grows */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	/* Under the lock: */
	uint32_t opened, ready, ended;
	bool failed;
};

void crew_init(struct crew *c);
/* From any thread whose worker has opened: all workers stop so. */
void crew_stop(struct crew *c, enum crew_stop how);
/* A worker's life, from open to end. Its reactor stays for crew_fini(). */
void worker_run(struct worker *w);
/* After all threads were joined. */
void crew_fini(struct crew *c);

#endif
