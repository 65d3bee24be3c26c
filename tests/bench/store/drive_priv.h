/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* drive_priv - inside of a load: what drive.c, drive_write.c and drive_read.c share.
 *
 *	drive.c        chains and sessions, which range next, the end
 *	drive_write.c  contents made ahead, append, commit      drive_read.c  reads, comparing
 *
 *   V1  busy[r] from the moment range r is picked until its operation called back (D1)
 *   V2  what is a client's work - making and comparing content - is done for several operations at
 *       once, two deferred tasks after the callback that made it due: by then what the callback
 *       issued is with the kernel, and the device works meanwhile
 *
 * One thread, the loop's. */

#ifndef BENCH_STORE_DRIVE_PRIV_H
#define BENCH_STORE_DRIVE_PRIV_H

#include "tests/bench/store/drive.h"

#define EPOCH 1u

struct chain_at {
	uint64_t last, done; /* seq numbered, seq durable */
	uint32_t session;
};

struct put {              /* a write; the store's until it is released, which is later than done */
	struct list link; /* drive.puts, .ready or .refused */
	struct drive *d;
	uint64_t range, start_ns;
	struct store_op op;
	uint32_t crcs[OP_BLOCKS_MAX];
};

struct get { /* a read, again and again */
	struct drive *d;
	uint64_t range, start_ns;
	struct store_read read;
};

struct got {              /* what was read, not yet compared */
	struct list link; /* drive.gots or .unseen */
	struct buf *data;
	uint64_t range;
};

struct drive {
	const struct drive_config *cfg;
	struct host *h;
	struct table *t;
	struct drive_result *res;
	struct chain_at chain[DRIVE_CHAINS_MAX + 1];
	uint8_t *busy; /* V1 */
	uint64_t ranges, next, picked_bytes, start_ns, end_ns, random;
	uint32_t flying;             /* operations of the store's that have not called back */
	uint32_t opening;            /* chains that are not ready */
	struct env_task soon, after; /* V2 */

	struct put *all_puts;
	struct list puts;    /* free */
	struct list ready;   /* with content, oldest first */
	struct list refused; /* by a full log, for now */
	uint32_t ready_n, puts_out;

	struct get *gets;
	struct got *all_gots;
	struct list gots, unseen;
	uint32_t unseen_n;
};

extern const struct id128 drive_client;

/* Is one more operation to be picked? */
bool drive_more(const struct drive *d);
uint64_t drive_pick(struct drive *d);
/* The operation on @range, called at @start_ns, called back. */
void drive_took(struct drive *d, uint64_t range, uint64_t start_ns);
/* How many operations client's work is done for at once. */
uint32_t drive_ahead(const struct drive *d);
/* There is client's work (V2), or it may be the end. */
void drive_after(struct drive *d);
static inline uint32_t drive_chain_of(const struct drive *d, uint64_t extent)
{
	return 1 + (uint32_t)(extent % d->cfg->chains);
}

void drive_write_init(struct drive *d);
void drive_write_more(struct drive *d);   /* issue until the depth is reached */
void drive_write_ahead(struct drive *d);  /* V2 */
void drive_write_retry(void *arg);        /* space came back */
void drive_write_released(struct put *p); /* its memory is ours again */
void drive_write_fini(struct drive *d);

void drive_read_init(struct drive *d);
void drive_read_start(struct drive *d);
void drive_read_compare(struct drive *d); /* V2 */
void drive_read_fini(struct drive *d);

#endif
