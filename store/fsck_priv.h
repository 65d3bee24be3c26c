/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck_priv - struct fsck and what its files ask of each other. Included by fsck*.c only.
 *
 *   fsck.c       superblocks, checkpoint, record blocks; the order of it all
 *   fsck_log.c   the log, replayed
 *   fsck_data.c  who owns which page in the end; the data
 *
 * The end state of replay, which is what is checked:
 *
 *   E1  index has an entry for each block whose newest committed version came with an op of the
 *       log: in the log, or in a page the op named (INDEX_PAGE). An unmapped block has none
 *   E2  pages.v[i].present, of a page the checkpoint owns, has a bit for each block that no op of
 * the log wrote whole pages over or unmapped; those that have an entry in the index are hidden E3
 * ops above a chain's committed are pending, in order, at seq % PENDING_SLOTS */

#ifndef STORE_FSCK_PRIV_H
#define STORE_FSCK_PRIV_H

#include "lib/arena.h"
#include "store/fsck.h"
#include "store/internal.h"

struct fsck_op { /* pending */
	struct op_rec rec;
	uint64_t lsn;
	const uint32_t *crcs; /* in fsck_chain.crcs */
	uint32_t log_block;   /* its first payload block, in the region */
	uint32_t pages[OP_BLOCKS_MAX / PAGE_BLOCKS];
	uint8_t pages_n;
	bool zero;
};

struct fsck_chain {
	uint32_t id, slot;
	uint64_t base, ckpt_known; /* of the checkpoint */
	uint64_t committed, appended;
	uint64_t known, skipped; /* as in struct chain */
	uint32_t pend_crcs, crcs_at;
	struct fsck_op *pend; /* PENDING_SLOTS */
	uint32_t *crcs;       /* REC_CRCS */
};

struct fsck {
	struct fsck_config cfg;
	struct inspect in;
	struct inspect_supers supers;
	struct fsck_result result;
	bool blind; /* F4: what lies where cannot be told any more */
	struct pages pages;
	struct index index; /* E1 */
	struct index_fifo entries;
	bool index_full;
	struct fsck_chain *chains;
	uint32_t chains_n;
	struct inspect_log log;
	uint64_t *bad_log; /* bit per block of the region: its payload is not what its op says */
	uint64_t bad_log_n;
	/* checkpoint, as far as it was looked at */
	uint64_t recs_next; /* the next record block is this one or a later one */
	struct fsck_chain *clients_of;
	uint32_t clients_due, clients_n;
	struct id128 clients[REQTAB_CLIENTS_MAX];
};

void fsck_found(struct fsck *f, const struct fsck_finding *what, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
struct fsck_chain *fsck_chain_find(struct fsck *f, uint32_t id);
/* NULL: more than the superblock allows; told. */
struct fsck_chain *fsck_chain_make(struct fsck *f, uint32_t id);
static inline struct fsck_op *fsck_op_at(struct fsck_chain *c, uint64_t seq)
{
	return &c->pend[seq % PENDING_SLOTS];
}
static inline bool fsck_log_is_bad(const struct fsck *f, uint32_t block)
{
	return f->bad_log[block / 64] >> block % 64 & 1;
}

/* Each: 0 or -ECANCELED. */
MUST_CHECK int fsck_log(struct fsck *f);
MUST_CHECK int fsck_owners(struct fsck *f);
MUST_CHECK int fsck_data(struct fsck *f);

#define FSCK_NEXT_COPY                                                                             \
	"this replica must be copied anew; chains do not heal yet: keep it, do not format it; "    \
	"see \"A replica that must be copied anew\" in docs/OPERATIONS.md"
#define FSCK_NEXT_NEIGHBOUR                                                                        \
	"a read or the next scrub mends it with a neighbour's copy; look at the device if it "     \
	"happens again"
#define FSCK_NEXT_NOTHING "nothing: the next start sees to it"

#endif
