/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_store.h"

#include <errno.h>
#include <string.h>

#include "lib/crc.h"

#define OPS_MAX 512u
#define DATA_MAX (16u * BLOCK_BYTES)

struct store {
	struct env *env;
	struct buf_pool *bufs;
	struct env_task task;
	bool validated, claimed, opened, known_chain, registered;
	uint64_t epoch, history, appended, durable, committed;
	void (*opened_fn)(void *arg, int res, const char *why, const struct store_opened *found);
	void (*validated_fn)(void *arg, const struct store_opened *found);
	void *opened_arg;
	void (*noted)(void *arg, int res);
	void *noted_arg;
	void (*cluster_fn)(void *arg, int res);
	void *cluster_arg;
	void (*closed)(void *arg);
	void *closed_arg;
	void (*space)(void *arg);
	void *space_arg;
	struct store_fetch *fetch;
	struct list reads;
	struct store_op *ops[OPS_MAX];
	struct op_rec recs[OPS_MAX];
	uint32_t crcs[OPS_MAX][16];
	uint8_t data[OPS_MAX][DATA_MAX];
};

struct fake_store_knobs fake_store;
static struct store the;

static bool content(uint64_t upto, uint64_t volume, uint64_t extent, uint32_t block, uint8_t *out)
{
	memset(out, 0, BLOCK_BYTES);
	for (uint64_t seq = upto; seq > 0; seq--) {
		const struct op_rec *r = &the.recs[seq];

		if (!op_changes_blocks(r) || r->volume != volume || r->extent != extent ||
		    block < r->block || block >= r->block + r->blocks)
			continue;
		if (r->kind == OP_WRITE)
			memcpy(out, the.data[seq] + (size_t)(block - r->block) * BLOCK_BYTES,
			       BLOCK_BYTES);
		if (r->kind == OP_WRITE_SAME)
			memcpy(out, the.data[seq], BLOCK_BYTES);
		return r->kind != OP_UNMAP;
	}
	return false;
}

static void run_reads(void)
{
	struct list *it;

	while (!fake_store.hold_reads && (it = list_pop(&the.reads))) {
		struct store_read *r = CONTAINER_OF(it, struct store_read, link);

		r->data = buf_get(the.bufs, r->blocks * BLOCK_BYTES, BUF_NODE);
		for (uint32_t i = 0; r->data && i < r->blocks; i++) {
			struct block_addr at = {r->volume, r->extent, r->block + i};
			uint8_t *to = r->data->data + (size_t)i * BLOCK_BYTES;

			content(r->sequenced ? the.appended : the.committed, at.volume, at.extent,
				at.block, to);
			r->crcs[i] = crc_block(&at, to);
		}
		r->done(r, r->data ? 0 : -ENOBUFS);
	}
}

static void run_fetch(void)
{
	struct store_fetch *f = the.fetch;
	int res = fake_store.fetch_result;

	the.fetch = NULL;
	fake_store.fetch_result = 0;
	if (!f)
		return;
	if (res == 0 && (f->seq <= the.committed || f->seq > the.appended))
		res = -ENOENT;
	if (res == 0) {
		f->rec = the.recs[f->seq];
		memcpy(f->crcs, the.crcs[f->seq], f->rec.crcs_n * 4);
		f->data = NULL;
		if (f->rec.data_bytes > 0) {
			f->data = buf_get(the.bufs, f->rec.data_bytes, BUF_NODE);
			memcpy(f->data->data, the.data[f->seq], f->rec.data_bytes);
		}
	}
	f->done(f, res);
}

static void release(uint64_t seq)
{
	struct store_op *op = the.ops[seq];

	if (!op || seq > the.durable || seq > the.committed)
		return;
	the.ops[seq] = NULL;
	op->released(op);
}

static void make_durable(uint64_t seq)
{
	while (the.durable < seq) {
		struct store_op *op = the.ops[++the.durable];

		if (op)
			op->done(op, 0);
	}
}

#define CALL(fn, arg, ...)                                                                         \
	do {                                                                                       \
		__typeof__(fn) call = (fn);                                                        \
		(fn) = NULL;                                                                       \
		if (call)                                                                          \
			call(arg, ##__VA_ARGS__);                                                  \
	} while (0)

static void on_task(struct env_task *t)
{
	const struct store_opened found = {.disk = {{0xd1}},
					   .doubtful = {{{0xe2}}, {{0xe1}}},
					   .previous = {{0xee}},
					   .cluster = {{0xcc}},
					   .bytes_total = 1ull << 30,
					   .bytes_free = 1ull << 29};

	(void)t;
	if (!the.validated) {
		the.validated = true;
		the.validated_fn(the.opened_arg, &found);
	}
	if (the.claimed && !the.opened) {
		the.opened = true;
		CALL(the.opened_fn, the.opened_arg, 0, NULL, &found);
	}
	CALL(the.noted, the.noted_arg, 0);
	CALL(the.cluster_fn, the.cluster_arg, 0);
	if (!fake_store.hold_durable)
		make_durable(the.appended);
	for (uint64_t seq = 1; seq <= the.appended; seq++)
		release(seq);
	run_reads();
	run_fetch();
	CALL(the.closed, the.closed_arg);
}

static void later(void)
{
	the.env->defer(the.env, &the.task);
}

/* ---- what the test does ---- */

void fake_store_reset(struct env *env, uint64_t epoch, uint64_t known, uint64_t last)
{
	CHECK(last < OPS_MAX);
	memset(&the, 0, sizeof(the)); /* too large for a literal on the stack */
	the.env = env;
	the.epoch = epoch;
	the.history = epoch > 0;
	the.known_chain = epoch > 0;
	the.appended = the.durable = last;
	the.committed = known;
	the.task.fn = on_task;
	list_init(&the.reads);
	for (uint64_t seq = 1; seq <= last; seq++)
		the.recs[seq] = (struct op_rec){.seq = seq, .epoch = 1, .chain = 1, .kind = OP_NOP};
	fake_store = (struct fake_store_knobs){.bytes_free = 1ull << 29};
}

void fake_store_durable(uint64_t seq)
{
	make_durable(seq);
	later();
}

void fake_store_write_error(void)
{
	the.ops[the.durable + 1]->done(the.ops[the.durable + 1], -EIO);
}

void fake_store_reads(void)
{
	fake_store.hold_reads = false;
	later();
}

void fake_store_space(void)
{
	the.space(the.space_arg);
}

uint64_t fake_store_appended(void)
{
	return the.appended;
}

uint64_t fake_store_committed(void)
{
	return the.committed;
}

const struct op_rec *fake_store_op(uint64_t seq)
{
	return &the.recs[seq];
}

uint8_t fake_store_byte(uint64_t volume, uint64_t extent, uint32_t block, uint32_t at)
{
	static uint8_t b[BLOCK_BYTES];

	content(the.appended, volume, extent, block, b);
	return b[at];
}

/* ---- store/store.h ---- */

size_t store_memory(uint64_t disk_bytes, uint32_t chains_max)
{
	return disk_bytes == 0 && chains_max == 0 ? 0 : 64;
}

struct store *store_open(const struct store_config *cfg, struct arena *a,
			 void (*done)(void *arg, int res, const char *why,
				      const struct store_opened *found),
			 void *arg)
{
	CHECK(a != NULL);
	the.bufs = cfg->bufs;
	the.opened_fn = done;
	the.validated_fn = cfg->validated;
	the.opened_arg = arg;
	later();
	return &the;
}

void store_close(struct store *s, void (*done)(void *arg), void *arg)
{
	s->closed = done;
	s->closed_arg = arg;
	later();
}

void store_set_cluster(struct store *s, const struct id128 *cluster,
		       void (*done)(void *arg, int res), void *arg)
{
	CHECK(!id128_is_none(cluster));
	s->cluster_fn = done;
	s->cluster_arg = arg;
	later();
}

void store_claim(struct store *s)
{
	CHECK(!s->claimed);
	s->claimed = true;
	later();
}

bool fake_store_claimed(void)
{
	return the.claimed;
}

void store_registered(struct store *s)
{
	s->registered = true;
}

bool fake_store_registered(void)
{
	return the.registered;
}

int store_chain_add(struct store *s, uint32_t chain)
{
	s->known_chain = true;
	return chain == 1 ? 0 : -ENOSPC;
}

unsigned store_chains_n(const struct store *s)
{
	return s->known_chain;
}

void store_chain_at(const struct store *s, unsigned i, struct store_chain_info *ret_info)
{
	CHECK(i == 0);
	*ret_info = (struct store_chain_info){.chain = 1,
					      .epoch = s->epoch,
					      .history = s->history,
					      .last = s->durable,
					      .committed = s->committed};
}

void store_set_epoch(struct store *s, uint32_t chain, uint64_t epoch, uint64_t history,
		     void (*done)(void *arg, int res), void *arg)
{
	CHECK(chain == 1);
	s->epoch = epoch;
	s->history = history;
	s->noted = done;
	s->noted_arg = arg;
	later();
}

void store_undo(struct store *s, uint32_t chain, uint64_t to, void (*done)(void *arg, int res),
		void *arg)
{
	CHECK(chain == 1);
	CHECK(to < s->appended);
	CHECK(to >= s->committed);
	CHECK(s->durable == s->appended);
	for (; s->appended > to; s->appended--) {
		struct store_op *op = s->ops[s->appended];

		s->ops[s->appended] = NULL;
		if (op)
			op->released(op);
	}
	s->durable = to;
	s->noted = done;
	s->noted_arg = arg;
	later();
}

int store_append(struct store *s, struct store_op *op)
{
	const char *why;

	if (fake_store.append_result < 0)
		return fake_store.append_result;
	CHECK(op->rec.seq == s->appended + 1);
	CHECK(op_rec_check(&op->rec, &why) == 0);
	CHECK(op->rec.data_bytes <= DATA_MAX);
	s->appended++;
	s->ops[op->rec.seq] = op;
	s->recs[op->rec.seq] = op->rec;
	memcpy(s->crcs[op->rec.seq], op->crcs, op->rec.crcs_n * 4);
	if (op->data)
		memcpy(s->data[op->rec.seq], op->data->data, op->rec.data_bytes);
	later();
	return 0;
}

void store_commit(struct store *s, uint32_t chain, uint64_t seq)
{
	CHECK(chain == 1);
	CHECK(seq >= s->committed);
	CHECK(seq <= s->durable);
	s->committed = seq;
	later();
}

void store_on_space(struct store *s, void (*space)(void *arg), void *arg)
{
	s->space = space;
	s->space_arg = arg;
}

void store_fetch(struct store *s, struct store_fetch *f)
{
	CHECK(s->fetch == NULL);
	s->fetch = f;
	later();
}

void store_read(struct store *s, struct store_read *r)
{
	list_add_tail(&s->reads, &r->link);
	later();
}

void store_present(struct store *s, uint64_t volume, uint64_t extent, uint8_t ret_present[128])
{
	static uint8_t b[BLOCK_BYTES];

	memset(ret_present, 0, 128);
	for (uint32_t i = 0; i < EXTENT_BLOCKS; i++)
		if (content(s->committed, volume, extent, i, b))
			ret_present[i / 8] |= (uint8_t)(1u << i % 8);
}

void store_req_lookup(const struct store *s, uint32_t chain, const struct id128 *client,
		      uint64_t req_no, uint64_t low, uint32_t session, unsigned kind,
		      struct store_req_answer *ret)
{
	CHECK(chain == 1);
	*ret = (struct store_req_answer){.state = STORE_REQ_NEW};
	for (uint64_t seq = 1; seq <= s->appended; seq++) {
		const struct op_rec *r = &s->recs[seq];

		if (!id128_eq(&r->client, client))
			continue;
		if (r->kind == OP_SESSION)
			ret->session = r->session;
		if (kind == OP_SESSION ? r->kind == OP_SESSION && r->session == session
				       : r->req_no == req_no && r->kind != OP_SESSION) {
			ret->state = STORE_REQ_KNOWN;
			ret->seq = seq;
			ret->result = r->result;
			ret->offset_bytes = r->offset_bytes;
		}
	}
	if (session < ret->session)
		ret->state = STORE_REQ_OLD_SESSION;
	else if (kind != OP_SESSION && session != ret->session)
		ret->state = STORE_REQ_NO_CLIENT;
	else if (kind != OP_SESSION && req_no < low)
		ret->state = STORE_REQ_BELOW_LOW;
}

void store_stats(const struct store *s, struct store_stats *ret)
{
	*ret = (struct store_stats){
		.bytes_total = 1ull << 30, .bytes_free = fake_store.bytes_free, .ops = s->appended};
}

uint32_t store_credit(struct store *s, uint32_t chain)
{
	(void)s;
	(void)chain;
	return (uint32_t)(fake_store.bytes_free / PAGE_BYTES);
}
