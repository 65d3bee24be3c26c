/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* world - one store in one virtual process on one disk, and the model of it.
 *
 *	ops, commits, epochs --> world --> store --> disk --> image, record
 *	                           |
 *	                           +--> model (and the record's marks)
 *
 *   W1  everything asked of the store or told by it goes through here, so that model and record
 *       miss nothing
 *   W2  world_boot() begins at an image and a model; nothing else of an earlier process is left
 *   W3  same seed, same calls: same bytes on the disk
 *
 * There is one world; its memory is reused for thousands of stores, one after the other. What a
 * store does wrong is found by CHECK (fault.h). */

#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include "lib/buf.h"
#include "tests/crash/disk.h"
#include "tests/crash/fresh.h"

#define WORLD_OPS 1024u
#define WORLD_REQTAB_CLIENTS 4u

struct world_disk { /* what to format */
	uint64_t disk_bytes, log_bytes, secret;
	bool write_through;
	uint32_t cache_slots; /* of stores on it: store_config */
	uint64_t scrub_ns;
};

struct world;
struct world_op {
	struct store_op op;
	uint32_t crcs[OP_BLOCKS_MAX];
	struct world *w;
	bool used;
};

struct world_epoch {
	struct world *w;
	uint32_t chain;
};

struct world {
	struct fake_env fe;
	struct heap heap;
	struct disk disk;
	struct model model;
	struct world_disk what; /* was formatted */
	struct buf_pool bufs;
	void *bufs_memory;
	struct fresh memory;
	struct store *s; /* NULL: not open */
	struct world_op op[WORLD_OPS];
	struct world_epoch epoch[MODEL_CHAINS + 1];
	uint32_t op_next; /* where to look for a free one */
	uint32_t op_high; /* none from here on was used by this process */
	struct id128 incarnation;
	bool flag, spaced;
	int res;
	char why[200];
	struct store_opened found;
};

struct world_want { /* an op to append */
	uint32_t chain;
	enum op_kind kind;
	uint32_t extent, block, blocks;
	bool zero;       /* WRITE_SAME of zeros */
	uint32_t client; /* or MODEL_NO_CLIENT */
};

void world_init(struct world *w, uint64_t disk_bytes_max);
void world_fini(struct world *w);
/* A formatted disk at rest in .disk.now; -ENOSPC when @d is too small for a store. */
MUST_CHECK int world_format(struct world *w, const struct world_disk *d);
/* What @d says is on the disk already. */
void world_set_disk(struct world *w, const struct world_disk *d);
/* A new process on @image (NULL: on what is there). Everything it does is recorded in @rec, unless
 * NULL. */
void world_boot(struct world *w, const struct image *image, const struct model *model,
		struct record *rec, uint64_t seed);
/* Open the store: it must open, and what it finds must be what the model allows; the model then
 * goes on from there. */
void world_open(struct world *w);
void world_open_start(struct world *w); /* the same in two steps */
void world_open_end(struct world *w);
void world_close(struct world *w);
void world_kill(struct world *w); /* the process dies, the power stays */

/* The model and the record are told. */
void world_note(struct world *w, const struct mark *k);

/* One turn of the loop that takes no time; false when there is nothing to do. */
bool world_step(struct world *w);
void world_quiet(struct world *w);                 /* until nothing is under way */
void world_pass(struct world *w, uint64_t ns);     /* time passes */
void world_run(struct world *w, const bool *flag); /* until *@flag, time passing as it must */

/* Append. 0, or what the store said. */
MUST_CHECK int world_append(struct world *w, const struct world_want *want);
/* The same, waiting for room: false when it is refused at rest too. */
bool world_append_patiently(struct world *w, const struct world_want *want);
void world_commit(struct world *w, uint32_t chain, uint64_t seq);
void world_commit_acked(struct world *w);          /* all chains */
bool world_epoch(struct world *w, uint32_t chain); /* false: one is under way */
void world_registered(struct world *w);
void world_set_cluster(struct world *w);

#endif
