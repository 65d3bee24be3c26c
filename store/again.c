/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "store/internal.h"

/* A stuck chain pins nothing (03-storage): when the oldest pending op lies too close to the log's
 * tail, all pending ops of its chain are written again, unchanged and in order, and from then on
 * lie at the head. All of them and not only the oldest, so that within a chain LSN order stays seq
 * order (L3); for that the chain takes no new op meanwhile (-EAGAIN).
 *
 * Places change once the last copy is durable. What was committed meanwhile keeps its old place,
 * which lies before all new ones. Replay ignores a copy of an op it has, and an original whose
 * predecessors it has not seen yet (they were trimmed: the copies follow).
 *
 * One chain at a time, one op at a time: it takes a chain without a peer to get here. */

/* Copying starts when the oldest pending op is this many eighths of the log behind the head. */
#define AGAIN_EIGHTHS 5u

static void next_op(struct store *s);

static void drop_copies(struct store *s)
{
	struct again *g = &s->again;

	for (uint64_t seq = g->first; seq < g->next; seq++)
		log_ref_live(s, g->at[seq % PENDING_SLOTS].priv & OP_PRIV_RING, -1);
	g->next = g->first;
}

/* Copies written so far become the ops' places, or are dead. */
static void end(struct store *s, bool take)
{
	struct again *g = &s->again;

	for (uint64_t seq = g->first; seq < g->next; seq++) {
		const struct again_place *at = &g->at[seq % PENDING_SLOTS];
		struct store_op *op = take ? chain_op(g->chain, seq) : NULL;

		if (!op) {
			log_ref_live(s, at->priv & OP_PRIV_RING, -1);
			continue;
		}
		log_ref_live(s, op_ring(op), -1);
		op->lsn = at->lsn;
		op->payload_offset = at->payload_offset;
		op->priv = (op->priv & OP_PRIV_ZERO) | (at->priv & OP_PRIV_RING);
	}
	g->state = AGAIN_IDLE;
	g->chain = NULL;
	log_settle(s);
	store_space_back(s);
	store_turn(s);
}

static void copy_done(struct store_op *op, int res)
{
	struct again *g = CONTAINER_OF(op, struct again, shadow);
	struct store *s = CONTAINER_OF(g, struct store, again);

	if (res) {
		g->state = AGAIN_IDLE; /* the store has failed */
		return;
	}
	g->at[g->next % PENDING_SLOTS] = (struct again_place){
		.lsn = op->lsn, .payload_offset = op->payload_offset, .priv = op->priv};
	g->next++;
	next_op(s);
}

static void write_copy(struct store *s)
{
	struct again *g = &s->again;

	g->state = AGAIN_WRITE;
	g->shadow.done = copy_done;
	g->shadow.data = &g->buf;
	g->shadow.lsn = 0;
	s->cost += op_cost(&g->shadow.rec, g->shadow.priv & OP_PRIV_ZERO);
	log_queue(s, &g->shadow);
}

static bool payload_ok(const struct again *g)
{
	const struct disk_log_rec rec = {.kind = LOG_OP,
					 .flags = g->shadow.pages_n ? LOG_F_PAGES : 0};
	const struct log_item item = {.rec = &rec, .op = &g->shadow.rec, .crcs = g->shadow.crcs};

	return log_item_payload_ok(&item, g->buf.data);
}

static void read_original(struct store *s);

/* What came may have been wrong just this once, and other chains are not to stop for it: once more.
 * An op that was committed meanwhile needs no copy. */
static void original_read(struct disk_io *io, int res)
{
	struct again *g = CONTAINER_OF(io, struct again, io);
	struct store *s = CONTAINER_OF(g, struct store, again);

	s->ios--;
	s->log.ring[g->ring].pins--;
	if (res == 0 && !s->failed && !payload_ok(g))
		res = -EBADMSG;
	if (res && !s->failed && g->next <= g->chain->committed) {
		next_op(s);
		return;
	}
	if (res && !s->failed && !g->reread) {
		g->reread = true;
		read_original(s);
		return;
	}
	if (res)
		store_fail(s, "device log: a pending op cannot be read", res);
	if (s->failed) {
		g->state = AGAIN_IDLE;
		store_turn(s); /* this may be the last transfer that a close waits for */
	} else {
		write_copy(s);
	}
}

static void read_original(struct store *s)
{
	struct again *g = &s->again;
	const struct store_op *op = &g->shadow;

	g->state = AGAIN_READ;
	s->log.ring[g->ring].pins++;
	g->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes = op->payload_offset,
				 .len_bytes = op_log_blocks(op) * BLOCK_BYTES,
				 .data = g->buf.data,
				 .done = original_read};
	store_submit(s, &g->io);
}

static void next_op(struct store *s)
{
	struct again *g = &s->again;
	const struct store_op *op;

	if (s->closing) {
		end(s, false);
		return;
	}
	/* Overtaken by commits: those need no copy, and their index entries stay where they are. */
	if (g->next <= g->chain->committed) {
		drop_copies(s);
		g->first = g->next = g->chain->committed + 1;
	}
	op = chain_op(g->chain, g->next);
	if (!op) {
		end(s, true);
		return;
	}
	g->shadow = *op;
	list_init(&g->shadow.link);
	g->shadow.priv = (op->priv & OP_PRIV_ZERO) | OP_PRIV_AGAIN;
	g->shadow.crcs = g->crcs;
	if (op->rec.crcs_n)
		memcpy(g->crcs, op->crcs, op->rec.crcs_n * sizeof(uint32_t));
	g->copies++;
	if (op_log_blocks(op) == 0) {
		write_copy(s);
		return;
	}
	g->ring = op_ring(op);
	g->reread = false;
	read_original(s);
}

/* Blocks between @op and the head. */
static uint32_t behind(const struct store *s, const struct store_op *op)
{
	const struct log *l = &s->log;
	uint32_t block = l->ring[op_ring(op)].block;

	return l->head > block ? l->head - block : l->head + l->blocks - block;
}

uint32_t again_blocks(const struct chain *c)
{
	return c->pend_blocks + c->pend_n;
}

/* All or nothing: half of it would only fill the log. */
static bool fits(const struct store *s, const struct chain *c)
{
	return log_has_room_again(s, again_blocks(c)) &&
	       s->cost + c->pend_cost <= s->index.entries_n;
}

/* Is @c to be copied? Its oldest op is far behind the head; or somebody was refused, it is this
 * chain that pins the tail, and copying gains something. */
static bool lags(const struct store *s, const struct chain *c)
{
	const struct log *l = &s->log;
	const struct store_op *op = chain_op(c, c->committed + 1);
	uint64_t blocks = behind(s, op);

	if (blocks * 8 > (uint64_t)l->blocks * AGAIN_EIGHTHS)
		return true;
	if (!s->refused_log || l->live_at == l->count ||
	    op_ring(op) != (l->first + l->live_at) % l->ring_n)
		return false;
	/* Blocks of the log, or entries that a replay from there would need. */
	return blocks > l->blocks / 4 + again_blocks(c) ||
	       s->cost - l->dead_cost > s->index.entries_n / 4 + c->pend_cost;
}

void again_pump(struct store *s)
{
	struct again *g = &s->again;

	if (s->failed || s->closing || g->state != AGAIN_IDLE)
		return;
	for (uint32_t i = 0; i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];

		if (c->pend_n == 0 || c->durable != c->appended || !lags(s, c) || !fits(s, c))
			continue;
		g->chain = c;
		g->first = g->next = c->committed + 1;
		next_op(s);
		return;
	}
}

/* Copies whose place counts as live, and whether one waits in the queue: for store_check(). */
uint32_t again_held(const struct store *s, uint32_t *ret_queued)
{
	const struct again *g = &s->again;
	bool writing = g->state == AGAIN_WRITE;

	*ret_queued = writing && g->shadow.lsn == 0;
	if (g->state == AGAIN_IDLE)
		return 0;
	return (uint32_t)(g->next - g->first) + (writing && g->shadow.lsn != 0);
}

void again_init(struct store *s, struct arena *a)
{
	s->again.buf.data = arena_alloc(a, OP_BYTES_MAX, BLOCK_BYTES);
	s->again.buf.cap_bytes = OP_BYTES_MAX;
}

size_t again_bytes(void)
{
	return arena_cost(OP_BYTES_MAX, BLOCK_BYTES);
}
