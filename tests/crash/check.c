/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/check.h"

#include <stdio.h>
#include <string.h>

#include "lib/crc.h"
#include "tests/unit/store_await.h"

#define GAP_MAX 4u /* blocks between two that are looked at are read with them */
#define CRC_EVERY 8u

/* ---- scope ---- */

void scope_init(struct scope *sc, uint32_t sample_n)
{
	*sc = (struct scope){.sample_n = sample_n};
}

void scope_content(struct scope *sc, const struct model *m, uint32_t chain)
{
	for (uint32_t e = 0; e < MODEL_EXTENTS; e++)
		for (uint32_t b = 0; b < EXTENT_BLOCKS; b++)
			if (m->chain[chain].base[e][b])
				sc->bits[chain][e][b / 64] |= 1ull << b % 64;
}

static void touched_by(struct scope *sc, const struct model_op *op)
{
	const struct op_rec *rec = &op->rec;

	/* What has no content is in the present map already. */
	if (!op_changes_blocks(rec) || !op->stamp)
		return;
	for (uint32_t b = rec->block; b < rec->block + rec->blocks; b++)
		sc->bits[rec->chain][rec->extent][b / 64] |= 1ull << b % 64;
}

void scope_recent(struct scope *sc, const struct model *m, const struct record *rec)
{
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++) {
		const struct model_chain *c = &m->chain[i];

		for (uint64_t seq = c->base_seq + 1; seq <= c->appended; seq++)
			touched_by(sc, model_op_at(c, seq));
	}
	for (uint32_t i = 0; rec && i < rec->marks_n; i++)
		if (rec->mark[i].kind == MARK_APPEND)
			touched_by(sc, &rec->mark[i].op);
}

/* ---- reading ---- */

struct range {
	uint32_t chain, extent, block, blocks;
	bool sequenced;
};

static void expect_range(struct world *w, const struct range *r, const uint32_t *stamps)
{
	static struct await_read rd;
	bool good = true;

	rd.read = (struct store_read){.chain = r->chain,
				      .volume = r->chain,
				      .extent = r->extent,
				      .block = r->block,
				      .blocks = r->blocks,
				      .sequenced = r->sequenced};
	await_read(w->s, &rd);
	world_run(w, &rd.done);
	if (rd.res)
		fprintf(stderr, "chain %u extent %u blocks %u+%u: read failed: %d\n", r->chain,
			r->extent, r->block, r->blocks, rd.res);
	CHECK(rd.res == 0);
	for (uint32_t i = 0; i < r->blocks; i++) {
		const struct block_addr at = {r->chain, r->extent, r->block + i};
		const uint8_t *data = rd.read.data->data + (size_t)i * BLOCK_BYTES;

		good = model_is(data, stamps[r->block + i], r->block + i) && good;
		if (i % CRC_EVERY == 0)
			CHECK(rd.read.crcs[i] == crc_block(&at, data));
	}
	if (!good)
		fprintf(stderr, "chain %u extent %u, %s content\n", r->chain, r->extent,
			r->sequenced ? "newest" : "committed");
	CHECK(good);
	buf_put(rd.read.data);
}

/* The next set bit from @b on, or EXTENT_BLOCKS. */
static uint32_t next_bit(const uint64_t *bits, uint32_t b)
{
	while (b < EXTENT_BLOCKS) {
		uint64_t word = bits[b / 64] >> b % 64;

		if (word)
			return b + (uint32_t)__builtin_ctzll(word);
		b = (b / 64 + 1) * 64;
	}
	return EXTENT_BLOCKS;
}

static void expect_extent(struct world *w, struct range r, const uint64_t *bits,
			  const uint32_t *stamps)
{
	uint32_t end;

	for (uint32_t b = next_bit(bits, 0); b < EXTENT_BLOCKS; b = next_bit(bits, end)) {
		end = b + 1;
		for (uint32_t next; end - b < OP_BLOCKS_MAX; end = next + 1) {
			next = next_bit(bits, end);
			if (next == EXTENT_BLOCKS || next - end > GAP_MAX ||
			    next - b >= OP_BLOCKS_MAX)
				break;
		}
		r.block = b;
		r.blocks = end - b;
		expect_range(w, &r, stamps);
	}
}

static void expect_present(struct world *w, uint32_t chain, uint32_t extent, const uint32_t *stamps)
{
	uint8_t present[EXTENT_BLOCKS / 8];

	store_present(w->s, chain, extent, present);
	for (uint32_t b = 0; b < EXTENT_BLOCKS; b++) {
		bool is = present[b / 8] >> b % 8 & 1;

		if (is != (stamps[b] != 0))
			fprintf(stderr, "chain %u extent %u block %u: stamp 0x%x, but %s\n", chain,
				extent, b, stamps[b], is ? "present" : "not present");
		CHECK(is == (stamps[b] != 0));
	}
}

/* ---- pending ---- */

static void expect_pending(struct world *w, uint32_t chain, uint64_t seq)
{
	const struct model_op *mo = model_op_at(&w->model.chain[chain], seq);
	static struct await_fetch fe;
	struct op_rec rec;

	fe.fetch = (struct store_fetch){.chain = chain, .seq = seq};
	await_fetch(w->s, &fe);
	world_run(w, &fe.done);
	if (fe.res)
		fprintf(stderr, "chain %u: pending op %llu: %d\n", chain, (unsigned long long)seq,
			fe.res);
	CHECK(fe.res == 0);
	rec = fe.fetch.rec;
	rec.known = mo->rec.known;
	CHECK(memcmp(&rec, &mo->rec, sizeof(rec)) == 0);
	for (uint32_t i = 0; i < rec.crcs_n; i++) {
		const struct block_addr at = {rec.volume, rec.extent, rec.block + i};
		const uint8_t *data = fe.fetch.data->data + (size_t)i * BLOCK_BYTES;

		CHECK(model_is(data, mo->stamp, rec.block + i));
		CHECK(fe.fetch.crcs[i] ==
		      (rec.kind == OP_WRITE ? crc_block(&at, data) : crc_block_anywhere(data)));
	}
	buf_put(fe.fetch.data);
}

/* ---- all of it ---- */

static void add_sample(struct world *w, uint64_t *bits, const uint32_t *stamps, uint32_t n)
{
	while (n-- > 0) {
		uint32_t b = (uint32_t)fake_random(&w->fe, EXTENT_BLOCKS);

		if (stamps[b])
			bits[b / 64] |= 1ull << b % 64;
	}
}

/* What is pending hides committed content there and nowhere else; a few others show that. */
static void add_hidden(uint64_t *bits, const uint32_t *base, const uint32_t *newest)
{
	for (uint32_t b = 0; b < EXTENT_BLOCKS; b++)
		if (base[b] != newest[b])
			bits[b / 64] |= 1ull << b % 64;
}

static void check_chain(struct world *w, uint32_t chain, const struct scope *sc)
{
	static uint32_t committed[MODEL_EXTENTS][EXTENT_BLOCKS];
	static uint32_t newest[MODEL_EXTENTS][EXTENT_BLOCKS];
	const struct model_chain *c = &w->model.chain[chain];
	uint64_t bits[EXTENT_BLOCKS / 64];

	for (uint64_t seq = c->committed + 1; seq <= c->appended; seq++)
		expect_pending(w, chain, seq);
	model_content(c, c->committed, committed);
	model_content(c, c->appended, newest);
	for (uint32_t e = 0; e < MODEL_EXTENTS; e++) {
		struct range r = {.chain = chain, .extent = e};

		memcpy(bits, sc->bits[chain][e], sizeof(bits));
		expect_present(w, chain, e, committed[e]);
		add_sample(w, bits, committed[e], sc->sample_n);
		expect_extent(w, r, bits, committed[e]);
		if (c->appended == c->committed)
			continue;
		memset(bits, 0, sizeof(bits));
		add_hidden(bits, committed[e], newest[e]);
		add_sample(w, bits, newest[e], sc->sample_n);
		r.sequenced = true;
		expect_extent(w, r, bits, newest[e]);
	}
}

void check_store(struct world *w, const struct scope *sc)
{
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++)
		check_chain(w, i, sc);
	store_check(w->s);
	buf_pool_check(&w->bufs);
}
