/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/store_rig.h"

#include <stdio.h>

#include "tests/unit/store_await.h"

static const struct buf_pool_config pool_config = {.small_n = 64, .large_n = 40};

/* ---- life ---- */

static void drop_memory(struct rig *r)
{
	fake_memory_free(r->memory, store_memory(r->disk_bytes, RIG_CHAINS));
	r->memory = NULL;
}

static void remake_pool(struct rig *r)
{
	size_t bytes = buf_pool_bytes(&pool_config);
	struct arena a;

	fake_memory_zero(r->bufs_memory, bytes);
	arena_init(&a, r->bufs_memory, bytes);
	buf_pool_init(&r->bufs, &pool_config, &a);
}

static void formatted(void *arg, int res, const char *why)
{
	struct rig *r = arg;

	r->open_res = res;
	r->open_done = true;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

int rig_format(struct rig *r, bool force)
{
	void *memory = fake_memory(store_format_memory());
	struct store_format f = {
		.log_bytes = r->log_bytes, .secret = fake_random(&r->fe, 0), .force = force};
	struct arena a;

	for (unsigned i = 0; i < 16; i++)
		f.disk.b[i] = (uint8_t)fake_random(&r->fe, 256);
	f.disk.b[0] |= 1;
	arena_init(&a, memory, store_format_memory());
	r->open_done = false;
	store_format_start(&r->fe.clock.env, &r->disk.disk, &f, &a, formatted, r);
	fake_run(&r->fe, &r->open_done);
	fake_memory_free(memory, store_format_memory());
	return r->open_res;
}

struct rig *rig_new_sized(uint64_t seed, uint64_t disk_bytes, uint64_t log_bytes)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->disk_bytes = disk_bytes;
	r->log_bytes = log_bytes;
	fake_env_init(&r->fe, seed);
	r->fe.shuffle = true;
	fake_disk_init(&r->disk, &r->fe, disk_bytes);
	r->bufs_memory = fake_memory(buf_pool_bytes(&pool_config));
	remake_pool(r);
	assert_int_equal(rig_format(r, false), 0);
	return r;
}

struct rig *rig_new(void *unused, uint64_t seed)
{
	(void)unused;
	return rig_new_sized(seed, RIG_DISK_BYTES, 0);
}

void rig_free(struct rig *r)
{
	if (r->s)
		rig_crash(r, 0);
	for (unsigned i = 0; i < r->ops_n; i++)
		free(r->ops[i]);
	fake_disk_fini(&r->disk);
	fake_memory_free(r->bufs_memory, buf_pool_bytes(&pool_config));
	drop_memory(r);
	free(r);
}

static void opened(void *arg, int res, const char *why, const struct store_opened *found)
{
	struct rig *r = arg;

	r->open_res = res;
	r->open_done = true;
	r->found = *found;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

static void space(void *arg)
{
	((struct rig *)arg)->space_called = true;
}

static void bad_found(void *arg, const struct store_bad *bad)
{
	struct rig *r = arg;

	r->bad = *bad;
	r->asked++;
}

void rig_open_start(struct rig *r)
{
	struct store_config cfg = {.env = &r->fe.clock.env,
				   .disk = &r->disk.disk,
				   .bufs = &r->bufs,
				   .chains_max = RIG_CHAINS,
				   .scrub_ns = r->scrub_ns,
				   .watch_ns = r->watch_ns,
				   .validated = r->validated,
				   .cache_slots = r->cache_slots};
	size_t bytes = store_memory(r->disk_bytes, RIG_CHAINS);
	struct arena a;

	for (unsigned i = 0; i < 16; i++)
		r->incarnation.b[i] = (uint8_t)fake_random(&r->fe, 256);
	cfg.incarnation = r->incarnation;
	drop_memory(r);
	r->memory = fake_memory(bytes);
	arena_init(&a, r->memory, bytes);
	r->open_done = false;
	r->s = store_open(&cfg, &a, opened, r);
}

int rig_open(struct rig *r)
{
	struct store_chain_info info;

	rig_open_start(r);
	fake_run(&r->fe, &r->open_done);
	if (r->open_res) {
		r->s = NULL;
		return r->open_res;
	}
	memset(r->last, 0, sizeof(r->last));
	for (unsigned i = 0; i < store_chains_n(r->s); i++) {
		store_chain_at(r->s, i, &info);
		if (info.chain < ARRAY_LEN(r->last))
			r->last[info.chain] = info.last;
	}
	store_on_space(r->s, space, r);
	if (r->ask)
		store_on_bad(r->s, bad_found, r);
	return 0;
}

static void closed(void *arg)
{
	((struct rig *)arg)->closed = true;
}

void rig_close(struct rig *r)
{
	r->closed = false;
	store_close(r->s, closed, r);
	fake_run(&r->fe, &r->closed);
	assert_true(list_empty(&r->fe.clock.tasks));
	assert_true(list_empty(&r->fe.clock.timers));
	drop_memory(r);
	r->s = NULL;
}

static void dead(struct rig *r)
{
	drop_memory(r);
	r->s = NULL;
	remake_pool(r); /* the dead process still held some */
}

void rig_crash(struct rig *r, uint32_t keep_permille)
{
	fake_env_crash(&r->fe);
	fake_disk_crash(&r->disk, keep_permille);
	dead(r);
}

void rig_kill(struct rig *r)
{
	fake_env_crash(&r->fe);
	fake_disk_kill(&r->disk);
	dead(r);
}

void rig_wait(struct rig *r, const bool *flag)
{
	fake_run(&r->fe, flag);
}

void rig_settle(struct rig *r)
{
	for (unsigned n = 0; fake_step(&r->fe); n++)
		assert_true(n < 1000000);
}

void rig_chain(struct rig *r, uint32_t chain)
{
	assert_int_equal(store_chain_add(r->s, chain), 0);
}

static void flagged(void *arg, int res)
{
	struct rig *r = arg;

	r->open_res = res;
	r->flag = true;
}

void rig_set_epoch(struct rig *r, uint32_t chain, uint64_t epoch, uint64_t history)
{
	r->flag = false;
	store_set_epoch(r->s, chain, epoch, history, flagged, r);
	assert_false(r->flag);
	fake_run(&r->fe, &r->flag);
	assert_int_equal(r->open_res, 0);
}

int rig_set_cluster(struct rig *r, const struct id128 *cluster)
{
	r->flag = false;
	store_set_cluster(r->s, cluster, flagged, r);
	assert_false(r->flag);
	fake_run(&r->fe, &r->flag);
	return r->open_res;
}

/* ---- ops ---- */

void rig_fill(uint8_t *block, uint64_t stamp, uint32_t index)
{
	uint64_t *words = (void *)block;

	for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
		words[i] = stamp ? stamp * 0x9e3779b97f4a7c15ull + index * 1024ull + i : 0;
}

static void op_done(struct store_op *op, int res)
{
	struct rig_op *o = CONTAINER_OF(op, struct rig_op, op);

	assert_false(o->is_done);
	o->is_done = true;
	o->res = res;
}

static void op_released(struct store_op *op)
{
	struct rig_op *o = CONTAINER_OF(op, struct rig_op, op);

	assert_true(o->is_done);
	assert_false(o->is_released);
	o->is_released = true;
}

struct rig_op *rig_op(struct rig *r, uint32_t chain, enum op_kind kind, uint64_t extent)
{
	struct rig_op *o = calloc(1, sizeof(*o));

	assert_true(r->ops_n < RIG_OPS);
	r->ops[r->ops_n++] = o;
	o->stamp = r->ops_n;
	o->op = (struct store_op){.crcs = o->crcs, .done = op_done, .released = op_released};
	o->op.rec = (struct op_rec){.epoch = 1,
				    .chain = chain,
				    .volume = chain,
				    .extent = extent,
				    .kind = (uint16_t)kind};
	return o;
}

int rig_append(struct rig *r, struct rig_op *o)
{
	struct op_rec *rec = &o->op.rec;
	int res;

	rec->seq = r->last[rec->chain] + 1;
	if (rec->kind == OP_WRITE)
		rec->crcs_n = rec->blocks;
	if (rec->kind == OP_WRITE_SAME)
		rec->crcs_n = 1;
	rec->data_bytes = rec->crcs_n * BLOCK_BYTES;
	if (rec->data_bytes) {
		o->op.data = buf_get(&r->bufs, rec->data_bytes, BUF_NODE);
		assert_non_null(o->op.data);
	}
	for (uint32_t i = 0; i < rec->crcs_n; i++) {
		const struct block_addr at = {rec->volume, rec->extent, rec->block + i};
		uint8_t *block = o->op.data->data + (size_t)i * BLOCK_BYTES;

		rig_fill(block, o->stamp, rec->kind == OP_WRITE ? rec->block + i : 0);
		o->crcs[i] =
			rec->kind == OP_WRITE ? crc_block(&at, block) : crc_block_anywhere(block);
	}
	res = store_append(r->s, &o->op);
	if (o->op.data)
		buf_put(o->op.data);
	assert_false(o->is_done);
	if (res)
		return res;
	r->last[rec->chain]++;
	for (uint32_t i = 0; i < rec->blocks && rec->extent == 0; i++)
		r->ops_of_last[rec->chain][rec->block + i] = o;
	return 0;
}

int rig_try_write(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		  struct rig_op **ret)
{
	struct rig_op *o = rig_op(r, chain, OP_WRITE, extent);

	o->op.rec.block = block;
	o->op.rec.blocks = n;
	*ret = o;
	return rig_append(r, o);
}

struct rig_op *rig_write(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n)
{
	struct rig_op *o;

	assert_int_equal(rig_try_write(r, chain, extent, block, n, &o), 0);
	return o;
}

struct rig_op *rig_write_retry(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			       uint32_t n)
{
	struct rig_op *o;
	int res;

	r->space_called = false;
	res = rig_try_write(r, chain, extent, block, n, &o);
	while (res == -EAGAIN) {
		rig_wait(r, &r->space_called);
		r->space_called = false;
		res = rig_append(r, o);
	}
	assert_int_equal(res, 0);
	return o;
}

struct rig_op *rig_unmap(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n)
{
	struct rig_op *o = rig_op(r, chain, OP_UNMAP, extent);

	o->stamp = 0;
	o->op.rec.block = block;
	o->op.rec.blocks = n;
	assert_int_equal(rig_append(r, o), 0);
	return o;
}

struct rig_op *rig_write_same(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			      uint32_t n, uint64_t stamp)
{
	struct rig_op *o = rig_op(r, chain, OP_WRITE_SAME, extent);

	o->stamp = stamp;
	o->op.rec.block = block;
	o->op.rec.blocks = n;
	assert_int_equal(rig_append(r, o), 0);
	return o;
}

/* ---- looking ---- */

int rig_read(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
	     bool sequenced, uint8_t *out)
{
	struct await_read rd = {.read = {.chain = chain,
					 .volume = chain,
					 .extent = extent,
					 .block = block,
					 .blocks = n,
					 .sequenced = sequenced}};

	await_read(r->s, &rd);
	fake_run(&r->fe, &rd.done);
	if (rd.res) {
		assert_null(rd.read.data);
		return rd.res;
	}
	assert_int_equal(rd.read.data->len_bytes, n * BLOCK_BYTES);
	memcpy(out, rd.read.data->data, n * BLOCK_BYTES);
	buf_put(rd.read.data);
	for (uint32_t i = 0; rd.res == 0 && i < n; i++) {
		const struct block_addr at = {chain, extent, block + i};

		assert_int_equal(crc_block(&at, out + (size_t)i * BLOCK_BYTES), rd.read.crcs[i]);
	}
	return rd.res;
}

static void expect(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		   bool sequenced, uint64_t stamp, bool same)
{
	static uint8_t got[OP_BYTES_MAX], want[BLOCK_BYTES];

	assert_int_equal(rig_read(r, chain, extent, block, n, sequenced, got), 0);
	for (uint32_t i = 0; i < n; i++) {
		rig_fill(want, stamp, same ? 0 : block + i);
		if (memcmp(got + (size_t)i * BLOCK_BYTES, want, BLOCK_BYTES) != 0)
			fail_msg("chain %u extent %llu block %u is not of stamp %llu", chain,
				 (unsigned long long)extent, block + i, (unsigned long long)stamp);
	}
}

void rig_expect(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		bool sequenced, const struct rig_op *op)
{
	expect(r, chain, extent, block, n, sequenced, op->stamp, op->op.rec.kind == OP_WRITE_SAME);
}

void rig_expect_part(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		     const struct rig_op *op)
{
	rig_expect(r, chain, extent, block, n, false, op);
}

void rig_expect_block(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
		      const struct rig_op *op)
{
	rig_expect(r, chain, extent, block, 1, false, op);
}

void rig_expect_zero(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		     bool sequenced)
{
	expect(r, chain, extent, block, n, sequenced, 0, true);
}

void rig_expect_fetch(struct rig *r, uint32_t chain, uint64_t seq, const struct rig_op *op)
{
	struct await_fetch fe = {.fetch = {.chain = chain, .seq = seq}};
	static uint8_t want[BLOCK_BYTES];

	await_fetch(r->s, &fe);
	fake_run(&r->fe, &fe.done);
	assert_int_equal(fe.res, 0);
	assert_int_equal(fe.fetch.rec.seq, seq);
	assert_int_equal(fe.fetch.rec.kind, op->op.rec.kind);
	assert_memory_equal(fe.fetch.crcs, op->crcs, op->op.rec.crcs_n * sizeof(uint32_t));
	for (uint32_t i = 0; i < op->op.rec.crcs_n; i++) {
		rig_fill(want, op->stamp, op->op.rec.kind == OP_WRITE ? op->op.rec.block + i : 0);
		assert_memory_equal(fe.fetch.data->data + (size_t)i * BLOCK_BYTES, want,
				    BLOCK_BYTES);
	}
	buf_put(fe.fetch.data);
}
