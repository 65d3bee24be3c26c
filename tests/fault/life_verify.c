/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "tests/fault/life.h"

#define LOOK_BACK 24u       /* requests of a chain that are looked up */
#define BATCHES_UNPROVED 4u /* in flight at once */

/* A disk that gives wrong bytes while the log is read may hit the last batches, which no later
 * header proves yet when the process ended with its store failed: then rot cannot be told from a
 * torn end. That is so for one batch in flight at most LOG_INFLIGHT_MAX deep (DISK.md, "Hole or
 * rot"). */
static bool end_is_in_doubt(const struct life *l)
{
	if (l->end_in_doubt)
		return true;
	return l->plan->armed && l->plan->fired && l->plan->class == FAULT_READ &&
	       (l->plan->kind == FAULT_FLIP || l->plan->kind == FAULT_ROT);
}

static uint64_t newest_lsn(const struct life *l)
{
	uint64_t lsn = 0;

	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		if (l->chain[i].acked)
			lsn = MAX(lsn, l->chain[i].ops[l->chain[i].acked].lsn);
	return lsn;
}

/* J4, and what recovery cut off is forgotten. */
static void take_chain(struct life *l, uint32_t chain, uint64_t newest)
{
	struct life_chain *c = &l->chain[chain];
	struct store_chain_info info = {0};
	bool doubt = end_is_in_doubt(l);

	if (store_chain_info(l->s, chain, &info) && !doubt) {
		CHECK(c->acked == 0);
		CHECK(c->epoch_acked == 0);
	}
	for (uint64_t n = info.last + 1; n <= c->acked; n++) {
		CHECK(doubt); /* an acknowledged op is lost */
		CHECK(c->ops[n].lsn + BATCHES_UNPROVED > newest);
	}
	CHECK(info.last <= c->appended);
	CHECK(info.committed >= c->floor);
	CHECK(info.committed <= c->committed);
	CHECK(info.epoch >= c->epoch_acked || doubt);
	CHECK(info.epoch <= c->epoch_asked);
	CHECK(info.history == info.epoch * 3);
	c->appended = c->acked = info.last;
	c->committed = c->floor = info.committed;
	c->epoch_asked = c->epoch_acked = info.epoch;
}

static void verify_requests(struct life *l, uint32_t chain)
{
	const struct life_chain *c = &l->chain[chain];
	struct id128 client = life_client(chain);
	uint64_t low = c->appended ? c->ops[c->appended].op.rec.low : 1;
	struct store_req_answer a;

	if (c->appended == 0)
		return;
	store_req_lookup(l->s, chain, &client, c->appended, low, 1, OP_WRITE, &a);
	CHECK(a.state == STORE_REQ_NEW);
	CHECK(a.session == 1);
	for (uint64_t n = c->appended > LOOK_BACK + 2 ? c->appended - LOOK_BACK : 2;
	     n <= c->appended; n++) {
		const struct op_rec *rec = &c->ops[n].op.rec;

		store_req_lookup(l->s, chain, &client, rec->req_no, 1, 1, OP_WRITE, &a);
		CHECK(a.state == STORE_REQ_KNOWN);
		CHECK(a.seq == n);
		CHECK(a.result == 0);
	}
}

static void verify_content(struct life *l, uint32_t chain, bool sequenced)
{
	for (uint64_t e = 0; e < LIFE_EXTENTS; e++) {
		uint32_t end = l->blocks_used[chain][e];

		/* One block more than was ever written: absent is zero. */
		end = end && end < EXTENT_BLOCKS ? end + 1 : end;
		for (uint32_t b = 0, n; b < end; b += n) {
			n = MIN(end - b, OP_BLOCKS_MAX);
			life_read(l, chain, e, b, n, sequenced);
		}
	}
	life_reads_done(l);
}

/* Bits that say "present" for zeros: an op of zeros, an UNMAP, or nothing at all. */
static void verify_present(struct life *l, uint32_t chain)
{
	static const uint8_t zeros[BLOCK_BYTES];
	const struct life_chain *c = &l->chain[chain];
	uint8_t bits[128];

	for (uint64_t e = 0; e < LIFE_EXTENTS && !l->over; e++) {
		store_present(l->s, chain, e, bits);
		for (uint32_t b = 0; b < l->blocks_used[chain][e]; b++) {
			bool zero =
				life_block_ok(l, chain, e, b, c->committed, c->committed, zeros);

			CHECK((bits[b / 8] >> b % 8 & 1) == !zero);
		}
	}
}

void life_take(struct life *l)
{
	uint64_t newest = newest_lsn(l);

	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		take_chain(l, i, newest);
}

void life_verify(struct life *l)
{
	if (l->over)
		return;
	store_check(l->s);
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++) {
		const struct life_chain *c = &l->chain[i];

		l->over = l->over || life_failed(l); /* by what a read found */
		if (c->appended == 0 || l->over)
			continue;
		verify_requests(l, i);
		for (uint64_t seq = c->committed + 1; seq <= c->appended && !l->over; seq++)
			life_fetch(l, i, seq);
		verify_content(l, i, false);
		if (c->committed < c->appended)
			verify_content(l, i, true);
		verify_present(l, i);
	}
	life_reads_done(l);
	if (!l->over)
		store_check(l->s);
}
