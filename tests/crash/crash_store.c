/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* crash_store - the real store over a disk that loses power: random lives of ops, commits, reads
 * and power cuts at any moment; after each the store is opened and everything it says is compared
 * with the model (crash_model.h).
 *
 *	crash_store [--seed S] [--states N] [--seconds T] [--json]
 *
 * One state = one cut followed by a full comparison. Exit status 0: no state was bad. A bad state
 * aborts with the seed of its life on stderr; `--seed S --states 1000000` replays that life first.
 * */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/arena.h"
#include "lib/buf.h"
#include "lib/crc.h"
#include "tests/crash/crash_model.h"
#include "tests/unit/fake_env.h"

#define DISK_BYTES (16u << 20)
#define CUTS_PER_LIFE 60u
#define LIVE_OPS 2048u

struct life_op {
	struct store_op op;
	uint32_t crcs[OP_BLOCKS_MAX];
	struct life *life;
	bool used;
};

struct life {
	struct fake_env fe;
	struct fake_disk disk;
	struct buf_pool bufs;
	void *bufs_memory, *memory;
	struct store *s;
	struct model model;
	struct life_op *ops;
	uint64_t stamps;
	bool flag;
	int res;
	char why[200];
	/* What this life is like: a store that is always busy shows other things than one at rest.
	 * */
	bool big;        /* long ops: the log is always half full */
	bool restless;   /* time hardly passes */
	uint32_t chains; /* in use */
	uint32_t stuck;  /* this chain's ops are hardly ever committed; 0: none */
};

static const struct buf_pool_config pool = {.small_n = 128, .large_n = 24};
static uint64_t current_seed, states, sequences;

/* ---- a life's world ---- */

static uint64_t pick(struct life *l, uint64_t below)
{
	return fake_random(&l->fe, below);
}

static void done_res(void *arg, int res, const char *why)
{
	struct life *l = arg;

	l->flag = true;
	l->res = res;
	snprintf(l->why, sizeof(l->why), "%s", why);
}

static void done_open(void *arg, int res, const char *why, const struct store_opened *found)
{
	(void)found;
	done_res(arg, res, why);
}

static void pool_reset(struct life *l)
{
	struct arena a;

	fake_memory_zero(l->bufs_memory, buf_pool_bytes(&pool));
	arena_init(&a, l->bufs_memory, buf_pool_bytes(&pool));
	buf_pool_init(&l->bufs, &pool, &a);
}

static void format(struct life *l)
{
	const struct store_format f = {
		.disk = {{1, 2, 3}}, .secret = current_seed, .log_bytes = 4u << 20, .force = true};
	void *memory = fake_memory(store_format_memory());
	struct arena a;

	arena_init(&a, memory, store_format_memory());
	l->flag = false;
	store_format_start(&l->fe.env, &l->disk.disk, &f, &a, done_res, l);
	fake_run(&l->fe, &l->flag);
	CHECK(l->res == 0);
	fake_memory_free(memory, store_format_memory());
}

static void start_open(struct life *l)
{
	struct store_config cfg = {.env = &l->fe.env,
				   .disk = &l->disk.disk,
				   .bufs = &l->bufs,
				   .chains_max = MODEL_CHAINS};
	size_t bytes = store_memory(DISK_BYTES, MODEL_CHAINS);
	struct arena a;

	cfg.incarnation.b[0] = (uint8_t)pick(l, 256);
	cfg.incarnation.b[1] = 1;
	fake_memory_zero(l->memory, bytes);
	arena_init(&a, l->memory, bytes);
	l->flag = false;
	l->s = store_open(&cfg, &a, done_open, l);
}

static void cut(struct life *l)
{
	static const uint32_t keep[] = {0, 50, 500, 500, 950, 1000};

	fake_env_crash(&l->fe);
	if (pick(l, 8) == 0)
		fake_disk_kill(&l->disk);
	else
		fake_disk_crash(&l->disk, keep[pick(l, ARRAY_LEN(keep))]);
	for (uint32_t i = 0; i < LIVE_OPS; i++)
		l->ops[i].used = false;
	pool_reset(l);
	l->s = NULL;
}

/* ---- ops ---- */

static void op_done(struct store_op *op, int res)
{
	struct life_op *o = CONTAINER_OF(op, struct life_op, op);
	struct model_chain *c = &o->life->model.chain[op->rec.chain];

	CHECK(res == 0);
	CHECK(op->rec.seq == c->acked + 1);
	c->acked = op->rec.seq;
}

static void op_released(struct store_op *op)
{
	struct life_op *o = CONTAINER_OF(op, struct life_op, op);

	CHECK(o->used);
	CHECK(op->rec.seq <= o->life->model.chain[op->rec.chain].committed);
	o->used = false;
}

static struct life_op *free_op(struct life *l)
{
	for (uint32_t i = 0; i < LIVE_OPS; i++)
		if (!l->ops[i].used)
			return &l->ops[i];
	return NULL;
}

static void choose_range(struct life *l, struct op_rec *rec)
{
	static const uint16_t kinds[] = {OP_WRITE, OP_WRITE, OP_WRITE,      OP_WRITE,      OP_WRITE,
					 OP_WRITE, OP_UNMAP, OP_WRITE_SAME, OP_MISCOMPARE, OP_NOP};

	rec->kind = kinds[pick(l, ARRAY_LEN(kinds))];
	if (!op_changes_blocks(rec))
		return;
	rec->extent = pick(l, MODEL_EXTENTS);
	rec->blocks = 1 + (uint32_t)pick(l, pick(l, 4) && !l->big ? 4 : MODEL_BLOCKS);
	rec->block = (uint32_t)pick(l, MODEL_BLOCKS - rec->blocks + 1);
	rec->crcs_n = rec->kind == OP_WRITE ? rec->blocks : rec->kind == OP_WRITE_SAME;
	rec->data_bytes = rec->crcs_n * BLOCK_BYTES;
}

static void choose_client(struct life *l, struct model_chain *c, struct op_rec *rec)
{
	uint32_t i = (uint32_t)pick(l, MODEL_CLIENTS);
	struct store_req_answer a;

	if (rec->kind == OP_NOP)
		return;
	rec->client = model_client(rec->chain, i);
	rec->generation = 1;
	store_req_lookup(l->s, rec->chain, &rec->client, c->next_req[i], 1, 1, OP_WRITE, &a);
	if (a.state == STORE_REQ_NO_CLIENT || pick(l, 40) == 0) {
		rec->kind = OP_SESSION;
		rec->extent = rec->block = rec->blocks = rec->crcs_n = rec->data_bytes = 0;
		rec->session = a.session + 1;
		rec->low = c->low[i];
		return;
	}
	rec->session = a.session;
	if (pick(l, 3) == 0)
		c->low[i] += pick(l, c->next_req[i] - c->low[i] + 1);
	if (c->next_req[i] - c->low[i] >= REQ_OUTSTANDING_MAX)
		c->low[i] = c->next_req[i];
	rec->low = c->low[i];
	rec->req_no = c->next_req[i];
	rec->result = rec->kind == OP_MISCOMPARE ? -EILSEQ : 0;
	rec->offset_bytes = rec->kind == OP_MISCOMPARE ? 17 : 0;
}

static void fill_payload(struct life_op *o, uint64_t stamp)
{
	struct op_rec *rec = &o->op.rec;
	const struct model_block b = {.stamp = stamp, .same = rec->kind == OP_WRITE_SAME};

	for (uint32_t i = 0; i < rec->crcs_n; i++) {
		const struct block_addr at = {rec->volume, rec->extent, rec->block + i};
		uint8_t *to = o->op.data->data + (size_t)i * BLOCK_BYTES;

		model_fill(to, &b, rec->block + i);
		o->crcs[i] = b.same ? crc_block_anywhere(to) : crc_block(&at, to);
	}
}

static void append(struct life *l)
{
	uint32_t chain = 1 + (uint32_t)pick(l, l->chains);
	struct model_chain *c = &l->model.chain[chain];
	struct life_op *o = free_op(l);
	struct model_op *mo = &c->ops[c->appended + 1];
	uint64_t stamp;
	int res;

	if (!o || c->appended + 2 >= MODEL_OPS)
		return;
	if (chain == l->stuck && c->appended - c->committed >= 24)
		return;
	o->life = l;
	o->op = (struct store_op){.crcs = o->crcs, .done = op_done, .released = op_released};
	o->op.rec = (struct op_rec){
		.chain = chain, .volume = chain, .epoch = 1, .seq = c->appended + 1};
	choose_range(l, &o->op.rec);
	choose_client(l, c, &o->op.rec);
	stamp = o->op.rec.kind == OP_UNMAP || (o->op.rec.kind == OP_WRITE_SAME && pick(l, 3) == 0)
			? 0
			: ++l->stamps;
	if (o->op.rec.data_bytes) {
		o->op.data = buf_get(&l->bufs, o->op.rec.data_bytes, BUF_NODE);
		if (!o->op.data)
			return;
		fill_payload(o, stamp);
	}
	res = store_append(l->s, &o->op);
	if (o->op.data)
		buf_put(o->op.data);
	CHECK(res == 0 || res == -EAGAIN || res == -ENOSPC);
	if (res)
		return;
	o->used = true;
	mo->rec = o->op.rec;
	mo->stamp = stamp;
	memcpy(mo->crcs, o->crcs, o->op.rec.crcs_n * sizeof(uint32_t));
	c->appended++;
	for (uint32_t i = 0; i < MODEL_CLIENTS; i++) {
		struct id128 id = model_client(chain, i);

		if (id128_eq(&id, &mo->rec.client) && mo->rec.req_no)
			c->next_req[i] = mo->rec.req_no + 1;
	}
}

/* ---- looking ---- */

struct reading {
	struct store_read read;
	bool done;
	int res;
};

static void read_done(struct store_read *read, int res)
{
	struct reading *rd = CONTAINER_OF(read, struct reading, read);

	rd->res = res;
	rd->done = true;
}

static void expect_content(struct life *l, uint32_t chain, uint64_t seq, bool sequenced)
{
	static struct model_block want[MODEL_EXTENTS][MODEL_BLOCKS];
	static struct reading rd;

	model_content(&l->model.chain[chain], seq, want);
	for (uint64_t e = 0; e < MODEL_EXTENTS; e++) {
		rd = (struct reading){.read = {.chain = chain,
					       .volume = chain,
					       .extent = e,
					       .blocks = MODEL_BLOCKS,
					       .sequenced = sequenced,
					       .done = read_done}};
		store_read(l->s, &rd.read);
		fake_run(&l->fe, &rd.done);
		if (rd.res == -ENOBUFS)
			return;
		CHECK(rd.res == 0);
		for (uint32_t b = 0; b < MODEL_BLOCKS; b++)
			CHECK(model_is(rd.read.data->data + (size_t)b * BLOCK_BYTES, &want[e][b],
				       b));
		buf_put(rd.read.data);
	}
}

struct fetching {
	struct store_fetch f;
	bool done;
	int res;
};

static void fetched(struct store_fetch *f, int res)
{
	struct fetching *fe = CONTAINER_OF(f, struct fetching, f);

	fe->res = res;
	fe->done = true;
}

static void expect_pending(struct life *l, uint32_t chain, uint64_t seq)
{
	const struct model_op *mo = &l->model.chain[chain].ops[seq];
	static struct fetching fe;
	struct op_rec rec;

	fe = (struct fetching){.f = {.chain = chain, .seq = seq, .done = fetched}};
	store_fetch(l->s, &fe.f);
	fake_run(&l->fe, &fe.done);
	if (fe.res == -ENOBUFS)
		return;
	CHECK(fe.res == 0);
	rec = fe.f.rec;
	rec.known = mo->rec.known;
	CHECK(memcmp(&rec, &mo->rec, sizeof(rec)) == 0);
	CHECK(memcmp(fe.f.crcs, mo->crcs, mo->rec.crcs_n * sizeof(uint32_t)) == 0);
	for (uint32_t i = 0; i < mo->rec.crcs_n; i++) {
		const struct model_block b = {mo->stamp, mo->rec.kind == OP_WRITE_SAME};

		CHECK(model_is(fe.f.data->data + (size_t)i * BLOCK_BYTES, &b, mo->rec.block + i));
	}
	buf_put(fe.f.data);
}

/* ---- a cut and what is there afterwards ---- */

static void recover_and_compare(struct life *l)
{
	struct store_chain_info info;

	start_open(l);
	if (pick(l, 4) == 0) { /* again, in the middle of opening */
		for (uint64_t n = pick(l, 40); n > 0 && !l->flag; n--)
			fake_step(&l->fe);
		cut(l);
		start_open(l);
	}
	fake_run(&l->fe, &l->flag);
	if (l->res) {
		fprintf(stderr, "open: %d %s\n", l->res, l->why);
		abort();
	}
	store_check(l->s);
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++) {
		struct model_chain *c = &l->model.chain[i];

		info = (struct store_chain_info){.chain = i};
		if (store_chain_info(l->s, i, &info))
			CHECK(store_chain_add(l->s, i) == 0);
		model_recovered(c, &info);
		model_check_requests(c, i, l->s);
		for (uint64_t seq = info.committed + 1; seq <= info.last; seq++)
			expect_pending(l, i, seq);
		expect_content(l, i, info.committed, false);
		expect_content(l, i, info.last, true);
		/* Clients know what was lost: they send it again with the same numbers. */
		for (uint32_t k = 0; k < MODEL_CLIENTS; k++) {
			struct id128 id = model_client(i, k);

			c->next_req[k] = c->low[k] = 1;
			for (uint64_t n = 1; n <= c->appended; n++) {
				const struct op_rec *rec = &c->ops[n].rec;

				if (!id128_eq(&rec->client, &id))
					continue;
				if (rec->req_no >= c->next_req[k])
					c->next_req[k] = rec->req_no + 1;
				c->low[k] = MAX(c->low[k], rec->low);
			}
			c->next_req[k] = MAX(c->next_req[k], c->low[k]);
		}
	}
	states++;
}

static void epoch_done(void *arg, int res)
{
	struct model_chain *c = arg;

	CHECK(res == 0);
	c->epoch_acked++;
}

static void act(struct life *l)
{
	uint32_t chain = 1 + (uint32_t)pick(l, MODEL_CHAINS);
	struct model_chain *c = &l->model.chain[chain];
	uint64_t n;

	switch (pick(l, 64)) {
	case 0:
		expect_content(l, chain, c->committed, false);
		break;
	case 1:
		expect_content(l, chain, c->appended, true);
		break;
	case 2:
		if (c->committed < c->appended)
			expect_pending(l, chain,
				       c->committed + 1 + pick(l, c->appended - c->committed));
		break;
	case 3:
		if (c->epoch_asked == c->epoch_acked) {
			c->epoch_asked++;
			store_set_epoch(l->s, chain, c->epoch_asked, c->epoch_asked * 3, epoch_done,
					c);
		}
		break;
	case 4: /* time passes */
		for (n = l->restless ? 0 : pick(l, 60); n > 0; n--)
			fake_step(&l->fe);
		break;
	case 5: /* everything comes to rest */
		if (pick(l, 3) == 0 && !l->restless)
			for (n = 0; n < 3000 && fake_step(&l->fe); n++)
				;
		break;
	case 6:
		store_check(l->s);
		break;
	default:
		if (pick(l, chain == l->stuck ? 900 : 3) == 0 && c->acked > c->committed) {
			c->committed += 1 + pick(l, c->acked - c->committed);
			store_commit(l->s, chain, c->committed);
		} else if (pick(l, 2)) {
			append(l);
		} else {
			fake_step_now(&l->fe);
		}
	}
}

static void live(struct life *l)
{
	l->big = pick(l, 3) == 0;
	l->restless = pick(l, 2);
	l->stuck = pick(l, 2) ? (uint32_t)pick(l, MODEL_CHAINS + 1) : 0;
	l->chains = 1 + (uint32_t)pick(l, MODEL_CHAINS);
	format(l);
	l->s = NULL;
	recover_and_compare(l);
	for (uint32_t i = 0; i < CUTS_PER_LIFE; i++) {
		for (uint64_t n = pick(l, pick(l, l->big ? 2 : 8) ? 50 : 600); n > 0; n--)
			act(l);
		cut(l);
		recover_and_compare(l);
	}
	cut(l);
	sequences++;
}

static void on_abort(int sig)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "crash_store: bad state: --seed %llu\n",
			 (unsigned long long)current_seed);

	(void)sig;
	if (write(2, line, (size_t)n) < 0)
		_exit(3);
	_exit(1);
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run_life(struct life *l, uint64_t seed)
{
	current_seed = seed;
	fake_env_init(&l->fe, seed);
	l->fe.shuffle = true;
	fake_disk_reset(&l->disk, &l->fe);
	pool_reset(l);
	model_reset(&l->model);
	l->stamps = 0;
	live(l);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, states_max = UINT64_MAX;
	double limit = 4, start = seconds_now();
	static struct life l;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && strcmp(argv[i], "--states") == 0)
			states_max = strtoull(argv[++i], NULL, 10), limit = 1e9;
		else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
			limit = strtod(argv[++i], NULL);
		else
			return fprintf(stderr, "usage: crash_store [--seed S] [--states N] "
					       "[--seconds T] [--json]\n"),
			       2;
	}
	signal(SIGABRT, on_abort);
	fake_env_init(&l.fe, seed);
	fake_disk_init(&l.disk, &l.fe, DISK_BYTES);
	l.bufs_memory = fake_memory(buf_pool_bytes(&pool));
	l.memory = fake_memory(store_memory(DISK_BYTES, MODEL_CHAINS));
	l.ops = calloc(LIVE_OPS, sizeof(l.ops[0]));
	model_init(&l.model);
	while (states < states_max && seconds_now() - start < limit)
		run_life(&l, seed++);
	if (json)
		printf("{\"states\": %llu, \"sequences\": %llu, \"bad\": 0}\n",
		       (unsigned long long)states, (unsigned long long)sequences);
	else
		printf("%llu states in %llu lives, %.1f s: all good\n", (unsigned long long)states,
		       (unsigned long long)sequences, seconds_now() - start);
	model_fini(&l.model);
	return 0;
}
