/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* crash_model - what a store must hold, kept the simple way: every op of a life in an array.
 *
 * Each chain writes its own volume. Content is named by a stamp (0: absent, zeros). The state as of
 * a committed seq is "base" plus the ops after it; base moves up to what each recovery found
 * committed, which may never go back.
 *
 *   M1  after recovery: acknowledged <= last <= appended, base <= committed <= committed before
 *   M2  committed content is exactly the ops up to .committed, newest-appended content those up to
 *       .last
 *   M3  the request table answers exactly from the ops up to .last
 *
 * One thread; aborts through CHECK with the seed printed by the caller. */

#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include "lib/op.h"
#include "store/store.h"

#define MODEL_CHAINS 3u
#define MODEL_EXTENTS 2u
#define MODEL_BLOCKS 40u /* of each extent are used: two and a half pages */
#define MODEL_CLIENTS 3u
#define MODEL_OPS 20000u /* per chain and life */

struct model_block {
	uint64_t stamp;
	bool same; /* WRITE_SAME: content does not depend on the block */
};

struct model_op {
	struct op_rec rec;
	uint64_t stamp;
	uint32_t crcs[OP_BLOCKS_MAX]; /* of an op in use */
};

struct model_chain {
	struct model_op *ops; /* seq n at [n] */
	uint64_t appended, acked, committed;
	uint64_t base_seq;
	struct model_block base[MODEL_EXTENTS][MODEL_BLOCKS];
	uint64_t epoch_asked, epoch_acked;
	uint64_t next_req[MODEL_CLIENTS]; /* of a client's next request */
	uint64_t low[MODEL_CLIENTS];
};

struct model {
	struct model_chain chain[MODEL_CHAINS + 1]; /* by id */
};

void model_init(struct model *m);
void model_fini(struct model *m);
void model_reset(struct model *m); /* a new life */
struct id128 model_client(uint32_t chain, uint32_t i);
/* Content as of @seq, base_seq <= seq <= appended. */
void model_content(const struct model_chain *c, uint64_t seq,
		   struct model_block ret[MODEL_EXTENTS][MODEL_BLOCKS]);
/* Recovery found this: M1, then ops after .last are forgotten and base moves. */
void model_recovered(struct model_chain *c, const struct store_chain_info *info);
void model_fill(uint8_t *block, const struct model_block *b, uint32_t index);
/* Is @block what @b says? */
bool model_is(const uint8_t *block, const struct model_block *b, uint32_t index);
/* M3 for the latest requests of every client. */
void model_check_requests(const struct model_chain *c, uint32_t chain, const struct store *s);

#endif
