/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/crc.h"
#include "tests/fault/life.h"

struct buf *__real_buf_get(struct buf_pool *p, uint32_t len_bytes, enum buf_use use);

/* ---- content: 512 words made from (stamp, block); WRITE_SAME: from the stamp alone ---- */

static uint64_t first_word(const struct life_op *o, uint32_t block)
{
	return o->stamp * 0x9e3779b97f4a7c15ull +
	       (o->op.rec.kind == OP_WRITE_SAME ? 0 : block * 1024ull);
}

static bool is_words(const uint8_t *data, uint64_t first, uint64_t by)
{
	uint64_t bad = 0, word;

	for (unsigned i = 0; i < BLOCK_BYTES / 8; i++, first += by) {
		memcpy(&word, data + i * 8, 8);
		bad |= word ^ first;
	}
	return bad == 0;
}

static bool is_content(const uint8_t *data, const struct life_op *o, uint32_t block)
{
	if (!o || !o->stamp)
		return is_words(data, 0, 0);
	return is_words(data, first_word(o, block), 1);
}

static bool op_covers(const struct op_rec *rec, uint64_t extent, uint32_t block)
{
	return op_changes_blocks(rec) && rec->extent == extent && block >= rec->block &&
	       block - rec->block < rec->blocks;
}

/* The op that made the block what it is as of @seq; NULL: it was never written. */
static const struct life_op *writer(const struct life *l, uint32_t chain, uint64_t extent,
				    uint32_t block, uint64_t seq)
{
	const struct life_op *ops = l->chain[chain].ops;

	for (; seq > 0; seq--)
		if (op_covers(&ops[seq].op.rec, extent, block))
			return &ops[seq];
	return NULL;
}

bool life_block_ok(const struct life *l, uint32_t chain, uint64_t extent, uint32_t block,
		   uint64_t from, uint64_t to, const uint8_t *data)
{
	for (;;) {
		const struct life_op *o = writer(l, chain, extent, block, to);

		if (is_content(data, o, block))
			return true;
		if (!o || o->op.rec.seq <= from)
			return false;
		to = o->op.rec.seq - 1;
	}
}

/* ---- append ---- */

struct id128 life_client(uint32_t chain)
{
	return (struct id128){.b = {0xc1, (uint8_t)chain}};
}

static void op_done(struct store_op *op, int res)
{
	struct life_op *o = CONTAINER_OF(op, struct life_op, op);
	struct life_chain *c = &o->life->chain[op->rec.chain];

	CHECK(o->ours);
	CHECK(o->done_n++ == 0);
	if (res) {
		CHECK(res == -EIO);
		life_error(o->life, res);
		return;
	}
	CHECK(op->rec.seq == c->acked + 1);
	c->acked = op->rec.seq;
	o->lsn = op->lsn;
}

static void op_released(struct store_op *op)
{
	struct life_op *o = CONTAINER_OF(op, struct life_op, op);

	CHECK(o->ours);
	CHECK(o->done_n == 1);
	CHECK(o->released_n++ == 0);
	CHECK(op->rec.seq <= o->life->chain[op->rec.chain].committed);
}

static struct life_op *next_op(struct life *l, uint32_t chain, enum op_kind kind)
{
	struct life_chain *c = &l->chain[chain];
	uint64_t seq = c->appended + 1;
	struct life_op *o = &c->ops[seq];

	CHECK(seq <= LIFE_OPS);
	*o = (struct life_op){.life = l};
	o->op = (struct store_op){.crcs = o->crcs, .done = op_done, .released = op_released};
	o->op.rec = (struct op_rec){.chain = chain,
				    .volume = chain,
				    .epoch = 1,
				    .seq = seq,
				    .kind = (uint16_t)kind,
				    .client = life_client(chain),
				    .generation = 1,
				    .session = 1,
				    .req_no = seq - 1, /* op 1 is the session */
				    .low = seq > 64 ? seq - 64 : 1};
	return o;
}

static void put_words(uint8_t *to, const struct life_op *o, uint32_t block)
{
	uint64_t word = o->stamp ? first_word(o, block) : 0;

	for (unsigned k = 0; k < BLOCK_BYTES / 8; k++, word += o->stamp ? 1 : 0)
		memcpy(to + k * 8, &word, 8);
}

static void fill(struct life_op *o)
{
	const struct op_rec *rec = &o->op.rec;

	for (uint32_t i = 0; i < rec->crcs_n; i++) {
		const struct block_addr at = {rec->volume, rec->extent, rec->block + i};
		uint8_t *block = o->op.data->data + (size_t)i * BLOCK_BYTES;

		put_words(block, o, rec->block + i);
		o->crcs[i] =
			rec->kind == OP_WRITE ? crc_block(&at, block) : crc_block_anywhere(block);
	}
}

/* Somebody was refused for want of space: commit what can be, and wait to be told. */
static void make_space(struct life *l)
{
	l->refused_busy++;
	while (!l->space && !l->over) {
		for (uint32_t c = 1; c <= LIFE_CHAINS; c++)
			if (!l->chain[c].stuck)
				life_commit(l, c);
		life_step(l); /* refused, and never called back */
		if (life_failed(l))
			l->over = true;
	}
}

static void append(struct life *l, struct life_op *o)
{
	struct op_rec *rec = &o->op.rec;
	struct life_chain *c = &l->chain[rec->chain];
	int res;

	rec->crcs_n = rec->kind == OP_WRITE ? rec->blocks : rec->kind == OP_WRITE_SAME;
	rec->data_bytes = rec->crcs_n * BLOCK_BYTES;
	while (rec->data_bytes &&
	       !(o->op.data = __real_buf_get(&l->bufs, rec->data_bytes, BUF_NODE)))
		life_step(l); /* they come back as ops become durable */
	if (rec->data_bytes)
		fill(o);
	o->ours = true;
	for (;;) {
		l->space = false;
		res = store_append(l->s, &o->op);
		CHECK(o->done_n == 0); /* E1 */
		if (res != -EAGAIN)
			break;
		make_space(l);
		if (l->over)
			break;
	}
	buf_put(o->op.data);
	if (res == 0) {
		c->appended++;
		if (rec->blocks)
			l->blocks_used[rec->chain][rec->extent] = MAX(
				l->blocks_used[rec->chain][rec->extent], rec->block + rec->blocks);
		return;
	}
	o->ours = false;
	if (res == -ENOSPC) {
		l->refused_full++;
	} else {
		CHECK(res == -EIO || res == -EAGAIN);
		life_error(l, res);
	}
}

/* The chain is there and has its client? */
static bool ready(struct life *l, uint32_t chain)
{
	struct life_op *o;

	if (l->over)
		return false;
	CHECK(chain >= 1);
	CHECK(chain <= LIFE_CHAINS);
	CHECK(store_chain_add(l->s, chain) == 0);
	if (l->chain[chain].appended == 0) {
		o = next_op(l, chain, OP_SESSION);
		o->op.rec.req_no = 0;
		append(l, o);
	}
	return !l->over;
}

static void range_op(struct life *l, struct op_rec where, enum op_kind kind, bool zero)
{
	struct life_op *o;

	if (!ready(l, where.chain))
		return;
	o = next_op(l, where.chain, kind);
	o->op.rec.extent = where.extent;
	o->op.rec.block = where.block;
	o->op.rec.blocks = where.blocks;
	o->stamp = zero ? 0 : ++l->stamps;
	append(l, o);
}

void life_write(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks)
{
	const struct op_rec at = {
		.chain = chain, .extent = extent, .block = block, .blocks = blocks};

	range_op(l, at, OP_WRITE, false);
}

void life_unmap(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks)
{
	const struct op_rec at = {
		.chain = chain, .extent = extent, .block = block, .blocks = blocks};

	range_op(l, at, OP_UNMAP, true);
}

void life_same(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks,
	       bool zero)
{
	const struct op_rec at = {
		.chain = chain, .extent = extent, .block = block, .blocks = blocks};

	range_op(l, at, OP_WRITE_SAME, zero);
}

void life_sync(struct life *l)
{
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		while (!l->over && l->chain[i].acked < l->chain[i].appended)
			life_step(l); /* an op never ends */
}

/* ---- commit ---- */

static void commit_to(struct life *l, uint32_t chain, uint64_t seq)
{
	struct life_chain *c = &l->chain[chain];

	if (l->over || seq <= c->committed || life_failed(l))
		return;
	c->committed = seq;
	store_commit(l->s, chain, seq);
}

void life_commit(struct life *l, uint32_t chain)
{
	commit_to(l, chain, l->chain[chain].acked);
}

void life_commit_some(struct life *l, uint32_t chain, uint64_t n)
{
	const struct life_chain *c = &l->chain[chain];

	commit_to(l, chain, MIN(c->acked, c->committed + n));
}

/* ---- read ---- */

/* J2: does the fault explain @res? A read of bad bytes says so; that of a failed store -EIO, if it
 * did not begin before. With a neighbour to ask (@may_ask), no read ends for bytes that were bad
 * once. */
static void spoiled_read(struct life *l, int res, bool fetch, bool may_ask)
{
	bool bytes = res == -EBADMSG || (fetch && res == -EIO);

	l->spoiled_reads++;
	if (life_failed(l)) {
		CHECK(res == -EIO || bytes);
		life_error(l, res);
		return;
	}
	if (l->damaged || l->blocks_lost) {
		CHECK(bytes);
		l->read_errors += may_ask;
		l->pending_errors += !may_ask;
		return;
	}
	CHECK(l->plan->fired > 0);
	CHECK(l->plan->class == FAULT_READ || l->plan->class == FAULT_BUFFER);
	CHECK(l->plan->class == FAULT_BUFFER ? res == -ENOBUFS : bytes);
	CHECK(!l->neighbour || !may_ask || !bytes || l->plan->persistent);
}

static void read_done(struct store_read *r, int res)
{
	struct life_read *lr = CONTAINER_OF(r, struct life_read, read);
	struct life *l = lr->life;
	const struct life_chain *c = &l->chain[r->chain];
	uint64_t to = r->sequenced ? c->appended : c->committed;

	CHECK(lr->busy);
	lr->busy = false;
	l->busy--;
	if (res) {
		CHECK(r->data == NULL);
		spoiled_read(l, res, false, !r->sequenced);
		return;
	}
	CHECK(r->data->len_bytes == r->blocks * BLOCK_BYTES);
	for (uint32_t i = 0; i < r->blocks; i++) {
		const struct block_addr at = {r->volume, r->extent, r->block + i};
		const uint8_t *data = r->data->data + (size_t)i * BLOCK_BYTES;

		CHECK(life_block_ok(l, r->chain, r->extent, r->block + i, lr->from, to, data));
		CHECK(crc_block(&at, data) == r->crcs[i]);
	}
	buf_put(r->data);
}

static struct life_read *free_read(struct life *l)
{
	for (;;) {
		for (unsigned i = 0; i < LIFE_READS; i++)
			if (!l->reads[i].busy)
				return &l->reads[i];
		life_step(l); /* a read never ends */
	}
}

void life_read(struct life *l, uint32_t chain, uint64_t extent, uint32_t block, uint32_t blocks,
	       bool sequenced)
{
	struct life_read *lr;

	if (!ready(l, chain))
		return;
	lr = free_read(l);
	if (l->over)
		return;
	*lr = (struct life_read){.life = l, .busy = true};
	lr->from = sequenced ? l->chain[chain].appended : l->chain[chain].committed;
	lr->read = (struct store_read){.chain = chain,
				       .volume = chain,
				       .extent = extent,
				       .block = block,
				       .blocks = blocks,
				       .sequenced = sequenced,
				       .done = read_done};
	l->busy++;
	store_read(l->s, &lr->read);
	CHECK(lr->busy); /* E1 */
}

/* ---- fetch ---- */

static void fetch_done(struct store_fetch *f, int res)
{
	struct life_fetch *lf = CONTAINER_OF(f, struct life_fetch, fetch);
	struct life *l = lf->life;
	const struct life_chain *c = &l->chain[f->chain];
	const struct life_op *o = &c->ops[f->seq];
	struct op_rec rec = f->rec;

	CHECK(lf->busy);
	lf->busy = false;
	l->busy--;
	if (res == -ENOENT && f->seq <= c->committed)
		return; /* it was committed meanwhile */
	if (res) {
		CHECK(f->data == NULL);
		spoiled_read(l, res, true, false);
		return;
	}
	rec.known = o->op.rec.known;
	CHECK(memcmp(&rec, &o->op.rec, sizeof(rec)) == 0);
	CHECK(memcmp(f->crcs, o->crcs, rec.crcs_n * sizeof(uint32_t)) == 0);
	for (uint32_t i = 0; i < rec.crcs_n; i++)
		CHECK(is_content(f->data->data + (size_t)i * BLOCK_BYTES, o, rec.block + i));
	buf_put(f->data);
}

void life_fetch(struct life *l, uint32_t chain, uint64_t seq)
{
	struct life_fetch *lf = &l->fetch;

	while (lf->busy)
		life_step(l); /* a fetch never ends */
	if (l->over || seq <= l->chain[chain].committed || seq > l->chain[chain].appended)
		return;
	lf->life = l;
	lf->busy = true;
	memset(&lf->fetch, 0, sizeof(lf->fetch));
	lf->fetch.chain = chain;
	lf->fetch.seq = seq;
	lf->fetch.done = fetch_done;
	l->busy++;
	store_fetch(l->s, &lf->fetch);
	CHECK(lf->busy); /* E1 */
}

void life_reads_done(struct life *l)
{
	for (unsigned i = 0; i < LIFE_READS; i++)
		while (l->reads[i].busy)
			life_step(l); /* a read never ends */
	while (l->fetch.busy)
		life_step(l); /* a fetch never ends */
}

/* ---- a neighbour ---- */

/* Content of (chain, extent, block) that has what @bad asks for, from the newest op that made one.
 * The checksum of a WRITE_SAME is the unseeded one until it reached its page. */
static const uint8_t *find_content(const struct life *l, const struct store_bad *bad, uint8_t *to)
{
	const struct block_addr at = {bad->volume, bad->extent, bad->block};
	uint64_t seq = l->chain[bad->chain].appended;
	const struct life_op *o;

	while ((o = writer(l, bad->chain, bad->extent, bad->block, seq))) {
		put_words(to, o, bad->block);
		if (crc_block(&at, to) == bad->crc ||
		    (o->op.rec.kind == OP_WRITE_SAME && crc_block_anywhere(to) == bad->crc))
			return to;
		seq = o->op.rec.seq - 1;
	}
	CHECK(0); /* what it asks for was never written */
	return NULL;
}

static void repair_done(struct store_repair *r, int res)
{
	struct life_repair *lr = CONTAINER_OF(r, struct life_repair, repair);

	CHECK(lr->busy);
	CHECK(res == 0 || !r->data || life_failed(lr->life) || lr->life->closing);
	lr->busy = false;
	lr->life->busy--;
	lr->life->repaired++;
}

void life_bad(void *arg, const struct store_bad *bad)
{
	struct life *l = arg;

	for (unsigned i = 0; i < LIFE_REPAIRS; i++) {
		struct life_repair *lr = &l->repairs[i];

		if (lr->busy)
			continue;
		lr->life = l;
		lr->busy = true;
		l->busy++;
		memset(&lr->repair, 0, sizeof(lr->repair));
		lr->repair.what = *bad;
		lr->repair.done = repair_done;
		lr->repair.data = find_content(l, bad, lr->data);
		store_repair(l->s, &lr->repair);
		CHECK(lr->busy); /* E1 */
		return;
	}
	CHECK(l->damaged); /* more at once than one fault can spoil */
}

/* ---- epoch, cluster ---- */

static void epoch_done(void *arg, int res)
{
	struct life *l = arg;

	l->busy--;
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++) {
		struct life_chain *c = &l->chain[i];

		if (!c->epoch_busy)
			continue;
		/* One at a time in the whole life. */
		c->epoch_busy = false;
		if (res == 0)
			c->epoch_acked = c->epoch_asked;
	}
	if (res)
		life_error(l, res);
}

void life_epoch(struct life *l, uint32_t chain)
{
	struct life_chain *c = &l->chain[chain];

	if (!ready(l, chain))
		return;
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		while (l->chain[i].epoch_busy)
			life_step(l); /* an epoch never ends */
	if (l->over)
		return;
	c->epoch_asked++;
	c->epoch_busy = true;
	l->busy++;
	store_set_epoch(l->s, chain, c->epoch_asked, c->epoch_asked * 3, epoch_done, l);
	CHECK(c->epoch_busy); /* E1 */
}

static void cluster_done(void *arg, int res)
{
	struct life *l = arg;

	l->busy--;
	l->flag = true;
	if (res)
		life_error(l, res);
}

void life_cluster(struct life *l)
{
	const struct id128 cluster = {{0xc7}};

	if (l->over)
		return;
	l->flag = false;
	l->busy++;
	store_set_cluster(l->s, &cluster, cluster_done, l);
	CHECK(!l->flag); /* E1 */
	life_wait(l, &l->flag);
}

void life_registered(struct life *l)
{
	if (!l->over)
		store_registered(l->s);
}
