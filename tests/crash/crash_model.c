/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/crash_model.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_BACK 300u

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++) {
		m->chain[i].ops = calloc(MODEL_OPS, sizeof(struct model_op));
		CHECK(m->chain[i].ops != NULL);
	}
	model_reset(m);
}

void model_fini(struct model *m)
{
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++)
		free(m->chain[i].ops);
}

void model_reset(struct model *m)
{
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++) {
		struct model_op *ops = m->chain[i].ops;

		m->chain[i] = (struct model_chain){.ops = ops};
		for (uint32_t k = 0; k < MODEL_CLIENTS; k++)
			m->chain[i].next_req[k] = m->chain[i].low[k] = 1;
	}
}

struct id128 model_client(uint32_t chain, uint32_t i)
{
	return (struct id128){.b = {0xc1, (uint8_t)chain, (uint8_t)(i + 1)}};
}

static void apply(const struct model_op *op, struct model_block to[MODEL_EXTENTS][MODEL_BLOCKS])
{
	const struct op_rec *rec = &op->rec;

	if (!op_changes_blocks(rec))
		return;
	for (uint32_t b = rec->block; b < rec->block + rec->blocks; b++)
		to[rec->extent][b] = (struct model_block){.stamp = op->stamp,
							  .same = rec->kind == OP_WRITE_SAME};
}

void model_content(const struct model_chain *c, uint64_t seq,
		   struct model_block ret[MODEL_EXTENTS][MODEL_BLOCKS])
{
	CHECK(seq >= c->base_seq);
	CHECK(seq <= c->appended);
	memcpy(ret, c->base, sizeof(c->base));
	for (uint64_t n = c->base_seq + 1; n <= seq; n++)
		apply(&c->ops[n], ret);
}

void model_recovered(struct model_chain *c, const struct store_chain_info *info)
{
	CHECK(info->last >= c->acked);
	CHECK(info->last <= c->appended);
	CHECK(info->committed >= c->base_seq);
	CHECK(info->committed <= c->committed);
	CHECK(info->epoch >= c->epoch_acked);
	CHECK(info->epoch <= c->epoch_asked);
	CHECK(info->history == info->epoch * 3);
	for (; c->base_seq < info->committed; c->base_seq++)
		apply(&c->ops[c->base_seq + 1], c->base);
	c->appended = c->acked = info->last;
	c->committed = info->committed;
	c->epoch_asked = c->epoch_acked = info->epoch;
}

void model_fill(uint8_t *block, const struct model_block *b, uint32_t index)
{
	uint64_t *words = (void *)block;
	uint64_t first = b->stamp * 0x9e3779b97f4a7c15ull + (b->same ? 0 : index) * 1024ull;

	for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
		words[i] = b->stamp ? first + i : 0;
}

bool model_is(const uint8_t *block, const struct model_block *b, uint32_t index)
{
	static uint8_t want[BLOCK_BYTES] __attribute__((aligned(8)));

	model_fill(want, b, index);
	return memcmp(want, block, BLOCK_BYTES) == 0;
}

/* Everything the ops up to .appended say about one client. */
struct client_truth {
	bool exists;
	uint32_t session;
	uint64_t low, newest;
};

static struct client_truth truth_of(const struct model_chain *c, const struct id128 *client)
{
	struct client_truth t = {.low = 1};

	for (uint64_t n = 1; n <= c->appended; n++) {
		const struct op_rec *rec = &c->ops[n].rec;

		if (!id128_eq(&rec->client, client))
			continue;
		if (rec->kind == OP_SESSION) {
			t.exists = true;
			t.session = rec->session;
		}
		t.low = rec->low > t.low ? rec->low : t.low;
		if (rec->kind != OP_SESSION && rec->req_no > t.newest)
			t.newest = rec->req_no;
	}
	return t;
}

void model_check_requests(const struct model_chain *c, uint32_t chain, const struct store *s)
{
	for (uint32_t i = 0; i < MODEL_CLIENTS; i++) {
		struct id128 client = model_client(chain, i);
		struct client_truth t = truth_of(c, &client);
		struct store_req_answer a;
		uint64_t from = c->appended > LOOK_BACK ? c->appended - LOOK_BACK : 1;

		store_req_lookup(s, chain, &client, t.newest + 1, t.low, t.session, OP_WRITE, &a);
		CHECK(a.state == (t.exists ? STORE_REQ_NEW : STORE_REQ_NO_CLIENT));
		CHECK(!t.exists || a.session == t.session);
		for (uint64_t n = from; n <= c->appended; n++) {
			const struct op_rec *rec = &c->ops[n].rec;

			if (!id128_eq(&rec->client, &client) || rec->kind == OP_SESSION)
				continue;
			store_req_lookup(s, chain, &client, rec->req_no, 1, t.session, OP_WRITE,
					 &a);
			CHECK(a.state ==
			      (rec->req_no < t.low ? STORE_REQ_BELOW_LOW : STORE_REQ_KNOWN));
			CHECK(a.state != STORE_REQ_KNOWN || a.seq == rec->seq);
			CHECK(a.state != STORE_REQ_KNOWN || a.result == rec->result);
		}
	}
}
