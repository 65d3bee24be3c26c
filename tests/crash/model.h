/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* model - what a store must hold, kept the simple way: the ops since a proven state, in an array.
 *
 * Each chain writes its own volume. The content of a block is named by the stamp of the op that
 * wrote it (0: zeros). "base" is the state as of the highest seq a recovery found committed, which
 * no later one may fall behind; content at a later seq is base plus the ops up to there.
 *
 *   M1  after recovery: acknowledged <= last <= appended, base <= committed <= committed before;
 *       epochs likewise; what was set or registered for the whole store and answered is there
 *   M2  committed content is exactly the ops up to .committed, newest content those up to .last: so
 *       an acknowledged write is there, any other is wholly old or wholly new
 *   M3  the request table answers exactly from the ops up to .last
 *   M4  a model changes by marks only: replaying a record's marks up to a moment gives the model of
 *       that moment
 *
 * Wrong is what CHECK finds, after a line that says what differs. One thread. */

#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include "lib/op.h"
#include "store/store.h"

#define MODEL_CHAINS 3u /* ids 1 to 3 */
#define MODEL_EXTENTS 2u
#define MODEL_CLIENTS 3u
#define MODEL_NO_CLIENT UINT32_MAX
#define MODEL_OPS 2048u     /* per chain, a power of two: base and newest are never further apart */
#define MODEL_LOOK_BACK 64u /* ops before base whose requests are asked for */
#define MODEL_SAME 0x80000000u /* in a stamp: WRITE_SAME, content does not depend on the block */

struct model_op {
	struct op_rec rec;
	uint32_t stamp;
};

struct model_client {
	bool exists;
	uint32_t session;
	uint64_t low, newest; /* request numbers */
};

struct model_chain {
	struct model_op op[MODEL_OPS]; /* seq n at n % MODEL_OPS */
	uint64_t appended, acked, committed;
	uint64_t base_seq;
	uint32_t base[MODEL_EXTENTS][EXTENT_BLOCKS]; /* stamps */
	struct model_client client[MODEL_CLIENTS];   /* as of base */
	uint64_t epoch_asked, epoch_acked;
};

struct model {
	struct model_chain chain[MODEL_CHAINS + 1]; /* by id */
	bool cluster_asked, cluster_acked;
	struct id128 registered; /* newest start the configuration service knows */
	uint32_t starts;         /* since then, this one included */
	uint32_t stamps;         /* given so far: one for each op, never again */
};

enum mark_kind {
	MARK_APPEND,
	MARK_ACK,
	MARK_COMMIT,
	MARK_EPOCH_ASK,
	MARK_EPOCH_ACK,
	MARK_START, /* store_open() was called */
	MARK_OPENED,
	MARK_CLUSTER_ASK,
	MARK_CLUSTER_ACK,
	MARK_REGISTERED
};
struct mark {
	enum mark_kind kind;
	uint32_t chain;
	uint64_t seq;                 /* ACK, COMMIT; EPOCH_ASK, EPOCH_ACK: epoch */
	struct model_op op;           /* APPEND */
	struct store_chain_info info; /* OPENED: what was found */
	struct id128 incarnation;     /* REGISTERED */
};

void model_init(struct model *m);
void model_copy(struct model *to, const struct model *from);
void model_apply(struct model *m, const struct mark *k);

/* M1: may a recovery find this? */
void model_expect_found(const struct model *m, const struct store_chain_info *info);
void model_expect_opened(const struct model *m, const struct store_opened *found);
/* M3 for the latest requests of every client, as of seq @last. */
void model_expect_requests(const struct model_chain *c, const struct store_chain_info *info,
			   const struct store *s);
/* Content as of @seq, base_seq <= seq <= appended. */
void model_content(const struct model_chain *c, uint64_t seq,
		   uint32_t ret[MODEL_EXTENTS][EXTENT_BLOCKS]);
const struct model_op *model_op_at(const struct model_chain *c, uint64_t seq);

struct id128 model_client_id(uint32_t chain, uint32_t i);
/* What client @i is as of @seq. */
struct model_client model_client_at(const struct model_chain *c, uint32_t chain, uint32_t i,
				    uint64_t seq);
/* Where in a block everything of @stamp starts; each next word is one more. */
void model_fill(uint8_t *block, uint32_t stamp, uint32_t index);
/* Is @block what @stamp says? Tells on stderr what it is when it is not. */
bool model_is(const uint8_t *block, uint32_t stamp, uint32_t index);

#endif
