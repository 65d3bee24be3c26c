/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* life - one store from format to its last close, with a journal of everything that was asked of it
 * and a disk that may be spoiled (fault_disk.h).
 *
 *	script --> life --> store --> fault_disk --> world (fake, or io_uring and a file)
 *
 * What a life holds a store to, whatever goes wrong below:
 *
 *   J1  every op, read, fetch, epoch, close gets its one callback; nothing comes after the close,
 *       and every buffer is back in the pool by then
 *   J2  reads and fetches give what the journal says, or an error that the fault explains
 *   J3  after a failed write or flush the store says FAILED, refuses everything with -EIO and
 *       writes nothing more
 *   J4  a sound disk opens again: acknowledged <= last <= appended, and all content, pending ops
 *       and request tables are as the journal says; then it takes new ops
 *   J5  an open or format that fails says why in one line: thing, cause, what to do
 *
 * A violation aborts through CHECK: the sweep runs lives in a child process. Calls do nothing once
 * .over is set, so that a script need not look. Volume of chain c is c; each has one client. */

#ifndef TESTS_FAULT_LIFE_H
#define TESTS_FAULT_LIFE_H

#include "lib/arena.h"
#include "lib/buf.h"
#include "store/store.h"
#include "tests/fault/fault_disk.h"

#define LIFE_DISK_BYTES (16u << 20)
#define LIFE_LOG_BYTES (4u << 20)
#define LIFE_CHAINS 3u
#define LIFE_EXTENTS 4u
#define LIFE_OPS 512u /* per chain, from format on */
#define LIFE_READS 16u
#define LIFE_REPAIRS 64u

/* What is below. The fake one is world_fake.h's. */
struct world {
	struct env *env;
	struct env_disk *disk;
	uint64_t salt;    /* of what format makes up: leftovers of other lives are not this one's */
	uint64_t rest_ns; /* after this long everything is in its place */
	/* One turn, waiting for something to happen. False: nothing will any more. */
	bool (*step)(struct world *w);
	bool (*poll)(struct world *w); /* without waiting */
	/* Power goes: keep_permille of what was not durable stays. NULL: cannot be done here. */
	void (*power_cut)(struct world *w, uint32_t keep_permille);
	void (*lose)(struct world *w); /* FAULT_GONE */
	/* Told of every write, if there. */
	void (*wrote)(struct world *w, uint64_t offset_bytes, uint32_t len_bytes);
};

struct life;

struct life_op {
	struct store_op op;
	uint32_t crcs[OP_BLOCKS_MAX];
	struct life *life;
	uint64_t stamp; /* of its content; 0: zeros */
	uint64_t lsn;   /* as it was when it became durable */
	uint32_t done_n, released_n;
	bool ours; /* appended since the latest open: callbacks come */
};

struct life_chain {
	struct life_op *ops; /* seq n at [n] */
	uint64_t appended, acked, committed;
	uint64_t floor; /* committed as of the latest open */
	uint64_t epoch_asked, epoch_acked;
	bool epoch_busy, stuck; /* stuck: committed by explicit calls only */
};

struct life_read {
	struct store_read read;
	struct life *life;
	uint64_t from; /* the content may be that as of any seq from here to now */
	bool busy;
};

struct life_fetch {
	struct store_fetch fetch;
	struct life *life;
	bool busy;
};

struct life_repair { /* an answer to the store, as a neighbour would give it */
	struct store_repair repair;
	struct life *life;
	bool busy;
	uint8_t data[BLOCK_BYTES];
};

struct life {
	struct world *w;
	struct fault_plan *plan; /* what explains errors: own_plan, or the preloaded library's */
	struct fault_plan own_plan;
	struct fault_disk disk;
	struct buf_pool bufs;
	void *bufs_memory, *memory;
	struct store *s;
	struct life_chain chain[LIFE_CHAINS + 1];
	uint32_t blocks_used[LIFE_CHAINS + 1][LIFE_EXTENTS]; /* high-water mark */
	uint64_t stamps, opens, formats, steps;
	struct life_read reads[LIFE_READS];
	struct life_fetch fetch;
	struct life_repair repairs[LIFE_REPAIRS];
	struct store_opened found;
	/* The script's, before it opens: of struct store_config. */
	uint64_t scrub_ns, watch_ns;
	uint32_t cache_slots;
	bool neighbour; /* there is one, and it has everything */
	uint32_t busy;  /* callbacks of reads, fetches, epochs and the cluster that are due */
	bool over;      /* something failed: calls do nothing */
	bool formatted, flag, space;
	bool blocks_lost; /* by a disk that did not give them back when they were moved */
	bool closing;
	bool end_in_doubt; /* what no later header proves may be lost (life_verify.c) */
	bool damaged; /* the medium was changed on purpose: errors of reads and opens are right */
	uint32_t read_errors;    /* of committed content */
	uint32_t pending_errors; /* of pending ops and what they would make */
	uint32_t refused_full, refused_busy;
	uint32_t spoiled_reads; /* those a fault explains */
	uint32_t repaired;
	int res;
	char why[256];
};

void life_init(struct life *l); /* once */
void life_fini(struct life *l);
/* A new life on @w with nothing on its disk. @plan NULL: no fault. */
void life_begin(struct life *l, struct world *w, const struct fault_plan *plan);
/* Count transfers from here on. */
void life_arm(struct life *l);

/* ---- what scripts call ---- */
void life_format(struct life *l);
void life_open(struct life *l);
void life_close(struct life *l); /* with whatever is under way; also of a failed store */
void life_cut(struct life *l, uint32_t keep_permille); /* the process and the power go */
void life_write(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks);
void life_unmap(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks);
void life_same(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks,
	       bool zero);
void life_sync(struct life *l);                                    /* all ops are durable */
void life_commit(struct life *l, uint32_t chain);                  /* what is durable */
void life_commit_some(struct life *l, uint32_t chain, uint64_t n); /* @n more of it */
void life_read(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks,
	       bool sequenced);
void life_fetch(struct life *l, uint32_t chain, uint64_t seq);
void life_reads_done(struct life *l); /* fetches too */
void life_epoch(struct life *l, uint32_t chain);
void life_cluster(struct life *l);
void life_registered(struct life *l);
void life_turns(struct life *l, uint32_t n);
void life_pass(struct life *l, uint64_t ns); /* time, with everything that happens in it */
void life_rest(struct life *l);              /* long enough for everything to be in its place */

/* ---- what the sweep calls ---- */
/* Its process is gone, and with it the store: go on in this one, on @w. */
void life_reborn(struct life *l, struct world *w);
bool life_failed(const struct life *l); /* the store says so */
void life_check_failed(struct life *l); /* J3 */
/* After an open: J2 and J4 for everything. */
void life_verify(struct life *l);
/* Is there a content of (chain, extent, block) as of a seq in [from, to] that equals @data? */
bool life_block_ok(const struct life *l, uint32_t chain, uint64_t extent, uint32_t block,
		   uint64_t from, uint64_t to, const uint8_t *data);

/* ---- between the files of life ---- */
void life_step(struct life *l); /* something must still be going to happen */
void life_wait(struct life *l, const bool *flag);
void life_error(struct life *l, int res); /* an op or a call failed: may it? */
struct id128 life_client(uint32_t chain);
void life_take(struct life *l); /* what open found becomes the journal's truth (J4) */
void life_bad(void *arg, const struct store_bad *bad); /* the neighbour's ear */

/* buf_get() of the store goes through the plan (the linker's --wrap). */
void life_spoil_buffers(struct fault_plan *plan, const struct buf_pool *pool);

#endif
