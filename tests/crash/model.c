/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/model.h"

#include <stdio.h>
#include <string.h>

#define SPREAD 0x9e3779b97f4a7c15ull
#define UNSPREAD 0xf1de83e19937733dull /* its inverse modulo 2^64 */

struct id128 model_client_id(uint32_t chain, uint32_t i)
{
	return (struct id128){.b = {0xc1, (uint8_t)chain, (uint8_t)(i + 1)}};
}

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (uint32_t c = 1; c <= MODEL_CHAINS; c++)
		for (uint32_t i = 0; i < MODEL_CLIENTS; i++)
			m->chain[c].client[i].low = 1;
}

static struct model_op *slot(struct model_chain *c, uint64_t seq)
{
	return &c->op[seq % MODEL_OPS];
}

const struct model_op *model_op_at(const struct model_chain *c, uint64_t seq)
{
	return &c->op[seq % MODEL_OPS];
}

static uint64_t oldest_kept(const struct model_chain *c)
{
	return c->base_seq > MODEL_LOOK_BACK ? c->base_seq - MODEL_LOOK_BACK + 1 : 1;
}

static void copy_chain(struct model_chain *to, const struct model_chain *from)
{
	memcpy(&to->appended, &from->appended,
	       sizeof(*to) - offsetof(struct model_chain, appended));
	for (uint64_t seq = oldest_kept(from); seq <= from->appended; seq++)
		*slot(to, seq) = *model_op_at(from, seq);
}

void model_copy(struct model *to, const struct model *from)
{
	for (uint32_t c = 1; c <= MODEL_CHAINS; c++)
		copy_chain(&to->chain[c], &from->chain[c]);
	memcpy(&to->cluster_asked, &from->cluster_asked,
	       sizeof(*to) - offsetof(struct model, cluster_asked));
}

/* ---- ops ---- */

static void apply_blocks(const struct model_op *op, uint32_t to[MODEL_EXTENTS][EXTENT_BLOCKS])
{
	const struct op_rec *rec = &op->rec;

	if (!op_changes_blocks(rec))
		return;
	for (uint32_t b = rec->block; b < rec->block + rec->blocks; b++)
		to[rec->extent][b] = op->stamp;
}

static void apply_client(const struct op_rec *rec, struct model_client *to)
{
	if (rec->kind == OP_SESSION) {
		to->exists = true;
		to->session = rec->session;
	} else if (rec->req_no > to->newest) {
		to->newest = rec->req_no;
	}
	to->low = MAX(to->low, rec->low);
}

static struct model_client *client_of(struct model_chain *c, const struct op_rec *rec)
{
	for (uint32_t i = 0; i < MODEL_CLIENTS; i++) {
		struct id128 id = model_client_id(rec->chain, i);

		if (id128_eq(&rec->client, &id))
			return &c->client[i];
	}
	return NULL;
}

void model_content(const struct model_chain *c, uint64_t seq,
		   uint32_t ret[MODEL_EXTENTS][EXTENT_BLOCKS])
{
	CHECK(seq >= c->base_seq);
	CHECK(seq <= c->appended);
	memcpy(ret, c->base, sizeof(c->base));
	for (uint64_t n = c->base_seq + 1; n <= seq; n++)
		apply_blocks(model_op_at(c, n), ret);
}

struct model_client model_client_at(const struct model_chain *c, uint32_t chain, uint32_t i,
				    uint64_t seq)
{
	struct id128 id = model_client_id(chain, i);
	struct model_client t = c->client[i];

	for (uint64_t n = c->base_seq + 1; n <= seq; n++) {
		const struct op_rec *rec = &model_op_at(c, n)->rec;

		if (id128_eq(&rec->client, &id))
			apply_client(rec, &t);
	}
	return t;
}

/* ---- marks ---- */

static void opened(struct model_chain *c, const struct store_chain_info *info)
{
	while (c->base_seq < info->committed) {
		const struct model_op *op = model_op_at(c, ++c->base_seq);
		struct model_client *client = client_of(c, &op->rec);

		apply_blocks(op, c->base);
		if (client)
			apply_client(&op->rec, client);
	}
	c->appended = c->acked = info->last;
	c->committed = info->committed;
	c->epoch_asked = c->epoch_acked = info->epoch;
}

static void appended(struct model_chain *c, const struct model_op *op)
{
	CHECK(op->rec.seq == c->appended + 1);
	CHECK(op->rec.seq < c->base_seq + MODEL_OPS - MODEL_LOOK_BACK);
	*slot(c, op->rec.seq) = *op;
	c->appended++;
}

void model_apply(struct model *m, const struct mark *k)
{
	struct model_chain *c = &m->chain[k->chain];

	switch (k->kind) {
	case MARK_APPEND:
		appended(c, &k->op);
		m->stamps++;
		break;
	case MARK_ACK:
		CHECK(k->seq == c->acked + 1);
		c->acked = k->seq;
		break;
	case MARK_COMMIT:
		c->committed = k->seq;
		break;
	case MARK_EPOCH_ASK:
		c->epoch_asked = k->seq;
		break;
	case MARK_EPOCH_ACK:
		c->epoch_acked = k->seq;
		break;
	case MARK_START:
		m->starts++;
		break;
	case MARK_OPENED:
		opened(c, &k->info);
		break;
	case MARK_CLUSTER_ASK:
		m->cluster_asked = true;
		break;
	case MARK_CLUSTER_ACK:
		m->cluster_acked = true;
		break;
	case MARK_REGISTERED:
		m->registered = k->incarnation;
		m->starts = 0;
		break;
	}
}

/* ---- M1 ---- */

void model_expect_found(const struct model *m, const struct store_chain_info *info)
{
	const struct model_chain *c = &m->chain[info->chain];
	bool good = info->last >= c->acked && info->last <= c->appended &&
		    info->committed >= c->base_seq && info->committed <= c->committed &&
		    info->epoch >= c->epoch_acked && info->epoch <= c->epoch_asked &&
		    info->history == info->epoch * 3;

	if (!good)
		fprintf(stderr,
			"chain %u: last %llu of [%llu, %llu], committed %llu of [%llu, %llu], "
			"epoch %llu of [%llu, %llu]\n",
			info->chain, (unsigned long long)info->last, (unsigned long long)c->acked,
			(unsigned long long)c->appended, (unsigned long long)info->committed,
			(unsigned long long)c->base_seq, (unsigned long long)c->committed,
			(unsigned long long)info->epoch, (unsigned long long)c->epoch_acked,
			(unsigned long long)c->epoch_asked);
	CHECK(info->last >= c->acked);
	CHECK(info->last <= c->appended);
	CHECK(info->committed >= c->base_seq);
	CHECK(info->committed <= c->committed);
	CHECK(info->epoch >= c->epoch_acked);
	CHECK(info->epoch <= c->epoch_asked);
	CHECK(info->history == info->epoch * 3);
}

void model_expect_opened(const struct model *m, const struct store_opened *found)
{
	bool known = id128_eq(&found->previous, &m->registered);

	CHECK(m->cluster_asked || id128_is_none(&found->cluster));
	CHECK(!m->cluster_acked || !id128_is_none(&found->cluster));
	if (id128_is_none(&m->registered) || m->starts > STORE_DOUBTFUL_MAX)
		return;
	for (unsigned i = 0; i < STORE_DOUBTFUL_MAX; i++)
		known = known || id128_eq(&found->doubtful[i], &m->registered);
	CHECK(known);
}

/* ---- M3 ---- */

static void expect_request(const struct store *s, const struct op_rec *rec,
			   const struct model_client *t)
{
	struct store_req_answer a;

	store_req_lookup(s, rec->chain, &rec->client, rec->req_no, 1, t->session, OP_WRITE, &a);
	CHECK(a.state == (rec->req_no < t->low ? STORE_REQ_BELOW_LOW : STORE_REQ_KNOWN));
	CHECK(a.state != STORE_REQ_KNOWN || a.seq == rec->seq);
	CHECK(a.state != STORE_REQ_KNOWN || a.result == rec->result);
}

void model_expect_requests(const struct model_chain *c, const struct store_chain_info *info,
			   const struct store *s)
{
	for (uint32_t i = 0; i < MODEL_CLIENTS; i++) {
		struct id128 id = model_client_id(info->chain, i);
		struct model_client t = model_client_at(c, info->chain, i, info->last);
		struct store_req_answer a;

		store_req_lookup(s, info->chain, &id, t.newest + 1, t.low, t.session, OP_WRITE, &a);
		CHECK(a.state == (t.exists ? STORE_REQ_NEW : STORE_REQ_NO_CLIENT));
		CHECK(!t.exists || a.session == t.session);
		for (uint64_t n = oldest_kept(c); n <= info->last; n++) {
			const struct op_rec *rec = &model_op_at(c, n)->rec;

			if (id128_eq(&rec->client, &id) && rec->kind != OP_SESSION)
				expect_request(s, rec, &t);
		}
	}
}

/* ---- bytes ---- */

static uint64_t first_word(uint32_t stamp, uint32_t index)
{
	return stamp * SPREAD + (stamp & MODEL_SAME ? 0 : index) * 1024ull;
}

void model_fill(uint8_t *block, uint32_t stamp, uint32_t index)
{
	uint64_t *words = (void *)block;
	uint64_t first = first_word(stamp, index);

	for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
		words[i] = stamp ? first + i : 0;
}

/* Of which stamp are the words from here on, if of any? */
static void tell(const uint64_t *words, uint32_t stamp, uint32_t index)
{
	for (unsigned i = 0; i < BLOCK_BYTES / 8; i += SECTOR_BYTES / 8) {
		uint64_t first = words[i] - i;
		uint64_t as_write = (first - index * 1024ull) * UNSPREAD;
		uint64_t as_same = first * UNSPREAD;
		uint64_t is = as_same <= UINT32_MAX ? as_same : as_write;

		fprintf(stderr, "block %u: sector %u is of stamp 0x%llx%s, not 0x%x\n", index,
			(unsigned)(i * 8 / SECTOR_BYTES), (unsigned long long)is,
			is > UINT32_MAX ? " (nobody's)" : "", stamp);
	}
}

bool model_is(const uint8_t *block, uint32_t stamp, uint32_t index)
{
	const uint64_t *words = (const void *)block;
	uint64_t first = first_word(stamp, index), differ = 0, step = stamp ? 1 : 0;

	if (!stamp)
		first = 0;
	for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
		differ |= words[i] ^ (first + i * step);
	if (differ)
		tell(words, stamp, index);
	return !differ;
}
