/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/crc.h"
#include "store/internal.h"

/* A committed block that cannot be read here, or whose bytes do not have its checksum, is asked
 * for: the owner of the store (chaind) asks the chain's other members and answers with
 * store_repair(). Reads of the block wait for that answer; without one, or without anybody to ask,
 * they end with -EBADMSG (MEDIUM ERROR). Bytes are never voted on: only those with the expected
 * checksum count.
 *
 *	found --> told --> answered --> a job writes the page (destage.c) --> resolved
 *
 * What was bad in the log goes to its page, and the entry ends; what was bad in the page is written
 * over in place. If the block was overwritten meanwhile there is nothing left to repair. */

static bool same_block(const struct store_bad *a, const struct store_bad *b)
{
	return a->volume == b->volume && a->extent == b->extent && a->block == b->block &&
	       a->crc == b->crc;
}

#define TELL_EVERY_NS 1000000000ull

/* A medium error is heard of where the store runs, too, and not by its reader alone. */
void repair_tell_lost(struct store *s, const struct store_bad *bad)
{
	uint64_t now_ns = s->env->now_ns(s->env);

	if (s->lost_told_ns && now_ns < s->lost_told_ns + TELL_EVERY_NS) {
		s->lost_untold++;
		return;
	}
	env_logf(s->env, ENV_ERR,
		 "store: block %u of extent %llu of volume %llu (chain %u) is bad here and nobody "
		 "was "
		 "found to have it: a medium error to its reader until it is written again (%llu "
		 "more "
		 "since the last such line)",
		 bad->block, (unsigned long long)bad->extent, (unsigned long long)bad->volume,
		 bad->chain, (unsigned long long)s->lost_untold);
	s->lost_told_ns = now_ns;
	s->lost_untold = 0;
}

struct repair *repair_want(struct store *s, const struct store_bad *bad)
{
	struct repair *none = NULL;

	for (unsigned i = 0; i < REPAIRS_MAX; i++) {
		struct repair *r = &s->repairs[i];

		if (r->used && same_block(&r->what, bad))
			return r;
		if (!r->used && !none)
			none = r;
	}
	s->stats.bad_blocks++;
	if (!s->on_bad || !none || s->closing || s->failed)
		return NULL;
	*none = (struct repair){.used = true, .what = *bad};
	list_init(&none->readers);
	store_turn(s);
	return none;
}

void repair_wait(struct repair *r, struct store_read *read)
{
	list_add_tail(&r->readers, &read->link);
}

void repair_resolve(struct store *s, struct repair *r, int res)
{
	struct list *it;

	while ((it = list_pop(&r->readers)))
		read_repaired(s, CONTAINER_OF(it, struct store_read, link), res);
	if (res == -EBADMSG)
		repair_tell_lost(s, &r->what);
	if (r->answer) {
		r->answer->res = res;
		list_add_tail(&s->repairs_done, &r->answer->link);
	}
	s->stats.repaired_blocks += res == 0 && r->running;
	r->used = false;
	read_repair_freed(s);
	store_turn(s);
}

void store_on_bad(struct store *s, void (*bad)(void *arg, const struct store_bad *b), void *arg)
{
	s->on_bad = bad;
	s->on_bad_arg = arg;
}

void store_repair(struct store *s, struct store_repair *answer)
{
	for (unsigned i = 0; i < REPAIRS_MAX; i++) {
		struct repair *r = &s->repairs[i];

		if (!r->used || r->answer || !same_block(&r->what, &answer->what))
			continue;
		r->answer = answer;
		store_turn(s);
		return;
	}
	answer->res = -ENOENT;
	list_add_tail(&s->repairs_done, &answer->link);
	store_turn(s);
}

/* A record may hold the unseeded checksum of a WRITE_SAME by which the block was lost on its way to
 * the page, and nothing says so there: either kind will do. */
static bool has_crc(const struct store_bad *b, const void *data)
{
	const struct block_addr at = {b->volume, b->extent, b->block};

	return crc_block(&at, data) == b->crc || crc_block_anywhere(data) == b->crc;
}

static bool is_right(const struct repair *r)
{
	const void *data = r->answer->data;

	return data && has_crc(&r->what, data);
}

static void pump_one(struct store *s, struct repair *r)
{
	if (s->failed || s->closing)
		repair_resolve(s, r, -EIO);
	else if (!r->answer)
		return;
	else if (!is_right(r))
		repair_resolve(s, r, -EBADMSG);
	else
		destage_repair(s, r);
}

void repair_pump(struct store *s)
{
	for (unsigned i = 0; i < REPAIRS_MAX; i++)
		if (s->repairs[i].used && !s->repairs[i].running)
			pump_one(s, &s->repairs[i]);
}

void repair_tell(struct store *s)
{
	struct list *it;

	for (unsigned i = 0; i < REPAIRS_MAX; i++) {
		struct repair *r = &s->repairs[i];

		if (!r->used || r->told)
			continue;
		r->told = true;
		if (s->on_bad)
			s->on_bad(s->on_bad_arg, &r->what);
	}
	while ((it = list_pop(&s->repairs_done))) {
		struct store_repair *answer = CONTAINER_OF(it, struct store_repair, link);

		answer->done(answer, answer->res);
	}
}

/* ---- the neighbour's side ---- */

static bool overlapped(const struct store *s, const struct chain *c, const struct store_bad *b)
{
	for (uint64_t seq = c->committed + 1; seq <= c->appended; seq++) {
		const struct store_op *op = s->failed ? NULL : chain_op(c, seq);

		if (op && op_changes_blocks(&op->rec) && op->rec.volume == b->volume &&
		    op->rec.extent == b->extent && b->block >= op->rec.block &&
		    b->block - op->rec.block < op->rec.blocks)
			return true;
	}
	return false;
}

int repair_vouches(const struct store *s, const struct store_read *r)
{
	const struct chain *c = chain_find(s, r->chain);
	const struct store_bad *b = r->vouch;

	if (!c || c->committed < b->seq || overlapped(s, c, b))
		return -EAGAIN;
	return has_crc(b, r->data->data) ? 0 : -ESTALE;
}

void store_vouch(struct store *s, struct store_read *r, const struct store_bad *bad)
{
	r->vouch = bad;
	r->chain = bad->chain;
	r->volume = bad->volume;
	r->extent = bad->extent;
	r->block = bad->block;
	r->blocks = 1;
	r->sequenced = false;
	store_read_start(s, r);
}
