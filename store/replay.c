/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "store/recover.h"

/* ---- checkpoint ---- */

static int ckpt_recs(struct recovery *r, const struct disk_ckpt_hdr *h)
{
	const struct disk_ckpt_recs *from = (const void *)(h + 1);
	struct recs *to = &r->s->recs;

	for (uint32_t i = 0; i < h->n; i++, from++) {
		if (to->used[from->index])
			return recovery_fail(r, -EBADMSG,
					     "checkpoint: record block %u is there twice",
					     from->index);
		to->used[from->index] = from->used;
		to->crc[from->index] = from->crc;
	}
	return 0;
}

int replay_recs(struct recovery *r, uint32_t block, const struct disk_recs *from)
{
	struct store *s = r->s;
	const struct disk_ckpt_recs want = {
		.index = block, .crc = s->recs.crc[block], .used = s->recs.used[block]};
	const char *why = NULL;
	int res = recs_check(from, s->super.secret, &want, &why);

	if (res)
		return recovery_fail(
			r, res,
			"%s (block %u): damaged; this replica must be copied anew (OPERATIONS.md)",
			why, block);
	for (uint32_t i = 0; i < RECS_PAGES; i++) {
		const struct disk_page_rec *rec = &from->rec[i];
		const struct page_key key = {rec->volume, rec->extent, rec->slot};
		uint32_t id = block * RECS_PAGES + i;
		const struct chain *c;
		struct page *p;

		if (!(want.used >> i & 1))
			continue;
		c = chain_find(s, rec->chain);
		if (!c)
			return recovery_fail(r, -EBADMSG,
					     "page records: page %u is of unknown chain %u", id,
					     rec->chain);
		p = pages_claim(&s->pages, id, &key, c->slot);
		if (!p)
			return recovery_fail(r, -EBADMSG,
					     "page records: page %u has two owners, or there are "
					     "more than %u volumes",
					     id, PAGES_VOLUMES_MAX);
		p->present = rec->present;
	}
	recs_seed(s, block, from);
	return 0;
}

static struct chain *need_chain(struct recovery *r, uint32_t id)
{
	struct chain *c = chain_make(r->s, id);

	if (!c)
		recovery_fail(r, -ENOSPC,
			      "store: holds more than %u chains: start with a higher limit",
			      r->s->chains_max);
	return c;
}

static int ckpt_chain(struct recovery *r, const struct disk_ckpt_hdr *h)
{
	const struct disk_ckpt_chain *from = (const void *)(h + 1);
	struct chain *c;

	if (chain_find(r->s, from->chain))
		return recovery_fail(r, -EBADMSG, "checkpoint: chain %u is there twice",
				     from->chain);
	c = need_chain(r, from->chain);
	if (!c)
		return -ENOSPC;
	c->epoch = from->epoch;
	c->history = from->history;
	c->ckpt_known = c->known = from->known;
	c->base = c->committed = c->durable = c->appended = from->base;
	c->next = from->base + 1;
	r->ckpt_chain = c;
	r->ckpt_clients = from->clients_n;
	return 0;
}

static int ckpt_client(struct recovery *r, const struct disk_ckpt_hdr *h)
{
	const struct req_client *from = (const void *)(h + 1);

	if (r->ckpt_clients == 0 || r->ckpt_chain->id != from->chain)
		return recovery_fail(r, -EBADMSG, "checkpoint: client of another chain");
	r->ckpt_clients--;
	if (reqtab_restore(&r->ckpt_chain->reqs, from))
		return recovery_fail(r, -EBADMSG, "checkpoint: client is there twice");
	return 0;
}

int replay_ckpt(struct recovery *r, const struct disk_ckpt_hdr *h)
{
	if (r->ckpt_clients && h->kind != CKPT_CLIENT)
		return recovery_fail(r, -EBADMSG, "checkpoint: clients are missing");
	switch ((enum ckpt_kind)h->kind) {
	case CKPT_RECS:
		return ckpt_recs(r, h);
	case CKPT_CHAIN:
		return ckpt_chain(r, h);
	case CKPT_CLIENT:
	case CKPT_KIND_END:
		break;
	}
	return ckpt_client(r, h);
}

/* ---- marks ---- */

static struct chain *need_chain(struct recovery *r, uint32_t id);

static int mark_item(struct recovery *r, const struct log_item *it, uint64_t lsn)
{
	uint32_t id = it->op       ? it->op->chain
		      : it->commit ? it->commit->chain
		      : it->epoch  ? it->epoch->chain
				   : it->truncate->chain;
	struct chain *c = need_chain(r, id);

	if (!c)
		return -ENOSPC;
	if (it->op)
		c->marked = MAX(c->marked, it->op->known);
	if (it->commit)
		c->marked = MAX(c->marked, it->commit->seq);
	c->known = MAX(c->known, c->marked);
	if (!it->truncate)
		return 0;
	if (it->truncate->to < c->marked)
		return recovery_fail(r, -EBADMSG, "device log: chain %u undoes committed ops",
				     c->id);
	if (r->cuts_n == RECOVERY_CUTS)
		return recovery_fail(r, -EBADMSG, "device log: more than %u ends cut off",
				     RECOVERY_CUTS);
	r->cuts[r->cuts_n++] =
		(struct recovery_cut){.slot = c->slot, .lsn = lsn, .to = it->truncate->to};
	return 0;
}

int replay_marks(struct recovery *r, const struct disk_log_hdr *h)
{
	struct log_cursor cur;
	struct log_item it;
	const char *why;
	int more, res = 0;

	log_cursor_init(&cur, h);
	while ((more = log_cursor_next(&cur, &it, &why)) == 1 && res == 0)
		res = mark_item(r, &it, h->lsn);
	if (more < 0)
		return recovery_fail(r, -EBADMSG, "%s (batch %" PRIu64 "): the log is damaged", why,
				     h->lsn);
	return res;
}

void replay_forget_marks(struct recovery *r)
{
	r->cuts_n = 0;
	for (uint32_t i = 0; i < r->s->chains_n; i++) {
		r->s->chains[i].known = r->s->chains[i].ckpt_known;
		r->s->chains[i].marked = 0;
	}
}

/* Was the op undone later? Its number may have been used again. */
static bool was_undone(const struct recovery *r, const struct chain *c, uint64_t seq, uint64_t lsn)
{
	for (uint32_t i = 0; i < r->cuts_n; i++)
		if (r->cuts[i].slot == c->slot && r->cuts[i].lsn > lsn && r->cuts[i].to < seq)
			return true;
	return false;
}

/* ---- ops ---- */

/* What is committed at the end of the log is committed where it stands in it: so a page that one
 * chain gave up, and another took after that, changes hands in the same order again. */
static void commit_known(struct store *s, struct chain *c)
{
	while (c->committed < c->known && c->committed < c->appended)
		commit_one(s, c, chain_op(c, c->committed + 1));
}

static uint32_t *keep_crcs(struct chain *c, const struct log_item *it)
{
	uint32_t *to;

	if (it->op->crcs_n > REC_CRCS - c->rec_crcs_at)
		c->rec_crcs_at = 0;
	to = c->rec_crcs + c->rec_crcs_at;
	c->rec_crcs_at += it->op->crcs_n;
	if (it->op->crcs_n)
		memcpy(to, it->crcs, it->op->crcs_n * sizeof(uint32_t));
	return to;
}

static struct store_op *take_op(struct store *s)
{
	struct list *it = list_pop(&s->rec_free);

	if (it)
		return CONTAINER_OF(it, struct store_op, link);
	return s->rec_ops_used < s->rec_ops_n ? &s->rec_ops[s->rec_ops_used++] : NULL;
}

static bool take_pages(struct store *s, struct store_op *op, const uint32_t *pages)
{
	op->pages_n = (uint8_t)op_pages_of(&op->rec).n;
	memcpy(op->pages, pages, op->pages_n * sizeof(uint32_t));
	for (uint32_t i = 0; i < op->pages_n; i++)
		if (op->pages[i] >= s->pages.n)
			return false;
	return true;
}

static int add_op(struct recovery *r, struct chain *c, const struct log_item *it,
		  const struct disk_log_hdr *h, uint32_t ring)
{
	struct store *s = r->s;
	const struct log_ref *ref = &s->log.ring[ring];
	bool zero = it->rec->flags & LOG_F_ZERO;
	struct store_op *op;

	if (c->pend_n == PENDING_SLOTS || c->pend_crcs + it->op->crcs_n > PENDING_CRCS_MAX)
		return recovery_fail(r, -EBADMSG,
				     "device log: chain %u has more pending ops than its window",
				     c->id);
	op = take_op(s);
	if (!op)
		return recovery_fail(r, -EBADMSG, "device log: more pending ops than windows");
	*op = (struct store_op){.rec = *it->op,
				.lsn = h->lsn,
				.durable = true,
				.logged = true,
				.priv = ring | (zero ? OP_PRIV_ZERO : 0)};
	list_init(&op->link);
	if (it->pages && !take_pages(s, op, it->pages))
		return recovery_fail(r, -EBADMSG,
				     "device log: chain %u names a page beyond the end", c->id);
	if (!pending_take_pages(s, op))
		return recovery_fail(r, -ENOSPC, "store: no page for an op of chain %u", c->id);
	op->payload_offset =
		log_block_offset(s, ref->block + h->hdr_blocks + it->rec->payload_block);
	op->crcs = keep_crcs(c, it);
	pending_add(c, op);
	c->durable = c->next = c->appended;
	c->next++;
	log_ref_live(s, ring, 1);
	commit_known(s, c);
	return 0;
}

static int replay_op(struct recovery *r, const struct log_item *it, const struct disk_log_hdr *h,
		     uint32_t ring)
{
	struct store *s = r->s;
	struct chain *c = need_chain(r, it->op->chain);
	uint32_t cost = op_cost(it->op, it->rec->flags & LOG_F_ZERO);

	if (!c)
		return -ENOSPC;
	s->log.ring[ring].cost += cost;
	s->cost += cost;
	if (s->cost > s->index.entries_n)
		return recovery_fail(r, -EBADMSG, "device log: holds more blocks than it has");
	if (was_undone(r, c, it->op->seq, h->lsn))
		return 0;
	if (it->op->seq < c->next) {
		if (it->op->seq > c->base && !(it->rec->flags & LOG_F_AGAIN))
			return recovery_fail(r, -EBADMSG,
					     "device log: chain %u has op %" PRIu64 " twice", c->id,
					     it->op->seq);
		return 0;
	}
	/* The original of an op whose predecessors are trimmed: their copies come, and one of this.
	 * */
	if (it->op->seq > c->next) {
		c->skipped = MAX(c->skipped, it->op->seq);
		return 0;
	}
	return add_op(r, c, it, h, ring);
}

/* Undo (02 C7): what it undoes was left out (was_undone()). What the checkpoint holds was numbered
 * after that, if the numbers are the same. */
static int replay_truncate(struct recovery *r, const struct disk_log_truncate *t)
{
	struct chain *c = chain_find(r->s, t->chain);

	if (c && c->committed > MAX(t->to, c->base))
		return recovery_fail(r, -EBADMSG, "device log: chain %u undoes committed ops",
				     c->id);
	if (c)
		c->skipped = MIN(c->skipped, MAX(t->to, c->base));
	return 0;
}

static int replay_item(struct recovery *r, const struct log_item *it, const struct disk_log_hdr *h,
		       uint32_t ring)
{
	uint32_t id = it->epoch ? it->epoch->chain : it->commit ? it->commit->chain : 0;
	struct chain *c;

	if (it->op)
		return replay_op(r, it, h, ring);
	if (it->truncate)
		return replay_truncate(r, it->truncate);
	c = need_chain(r, id);
	if (!c)
		return -ENOSPC;
	if (it->epoch && it->epoch->epoch >= c->epoch) {
		c->epoch = it->epoch->epoch;
		c->history = it->epoch->history;
	}
	return 0;
}

int replay_batch(struct recovery *r, const struct disk_log_hdr *h, uint32_t ring)
{
	struct log_cursor cur;
	struct log_item it;
	const char *why;
	int more, res = 0;

	log_cursor_init(&cur, h);
	while ((more = log_cursor_next(&cur, &it, &why)) == 1 && res == 0)
		res = replay_item(r, &it, h, ring);
	if (more < 0)
		return recovery_fail(r, -EBADMSG, "%s (batch %" PRIu64 "): the log is damaged", why,
				     h->lsn);
	return res;
}

int replay_finish(struct recovery *r)
{
	struct store *s = r->s;

	for (uint32_t i = 0; i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];

		if (c->appended < c->skipped)
			return recovery_fail(
				r, -EBADMSG,
				"device log: chain %u misses op %" PRIu64
				": damaged; this replica must be copied anew (OPERATIONS.md)",
				c->id, c->next);
		if (c->committed < c->known)
			return recovery_fail(r, -EBADMSG,
					     "device log: chain %u ends at op %" PRIu64
					     ", but %" PRIu64
					     " was committed: damaged; this replica "
					     "must be copied anew (OPERATIONS.md)",
					     c->id, c->appended, c->known);
		c->known_durable = c->known;
	}
	return 0;
}

/* ---- pages of what is pending ---- */

struct store_op *replay_unproven(struct recovery *r)
{
	struct store *s = r->s;

	for (; r->prove_chain < s->chains_n; r->prove_chain++, r->prove_seq = 0) {
		struct chain *c = &s->chains[r->prove_chain];

		r->prove_seq = MAX(r->prove_seq, c->committed + 1);
		for (; r->prove_seq <= c->appended; r->prove_seq++) {
			struct store_op *op = chain_op(c, r->prove_seq);

			if (op->pages_n && op->lsn > r->stable)
				return op;
		}
	}
	return NULL;
}

void replay_disproved(struct recovery *r)
{
	struct chain *c = &r->s->chains[r->prove_chain];

	env_logf(r->s->env, ENV_INFO,
		 "store: chain %u: ops from %" PRIu64 " on were not acknowledged and are cut off",
		 c->id, r->prove_seq);
	while (c->appended >= r->prove_seq)
		pending_undo(r->s, c);
	c->undo_to = c->appended;
}

/* What is pending and proved must have its pages. */
static int pages_held(struct recovery *r, const struct chain *c)
{
	for (uint64_t seq = c->committed + 1; seq <= c->appended; seq++) {
		const struct store_op *op = chain_op(c, seq);

		for (uint32_t i = 0; i < op->pages_n; i++)
			if (!pending_holds(r->s, op, i))
				return recovery_fail(r, -EBADMSG,
						     "device log: page %u of op %" PRIu64
						     " of chain %u belongs to another",
						     op->pages[i], seq, c->id);
	}
	return 0;
}

int replay_end(struct recovery *r)
{
	struct store *s = r->s;

	for (uint32_t i = 0; i < s->chains_n; i++) {
		int res = pages_held(r, &s->chains[i]);

		if (res)
			return res;
	}
	if (pages_replayed(&s->pages))
		return recovery_fail(r, -ENOSPC, "store: more pages in use than the disk has");
	return 0;
}
