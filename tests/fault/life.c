/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/life.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/runner.h"
#include "tests/unit/fake_env.h"

#define STEPS_MAX 2000000u

static const struct buf_pool_config pool = {.small_n = 64, .large_n = 24};

/* ---- buffers and memory that run out ---- */

struct buf *__real_buf_get(struct buf_pool *p, uint32_t len_bytes, enum buf_use use);
struct buf *__wrap_buf_get(struct buf_pool *p, uint32_t len_bytes, enum buf_use use);

static struct fault_plan *buffers_plan;
static const struct buf_pool *buffers_pool;

void life_spoil_buffers(struct fault_plan *plan, const struct buf_pool *of)
{
	buffers_plan = plan;
	buffers_pool = of;
}

struct buf *__wrap_buf_get(struct buf_pool *p, uint32_t len_bytes, enum buf_use use)
{
	if (buffers_plan && p == buffers_pool && fault_due(buffers_plan, FAULT_BUFFER))
		return NULL;
	return __real_buf_get(p, len_bytes, use);
}

/* ---- errors ---- */

/* Does the fault explain an error at all? */
void life_error(struct life *l, int res)
{
	CHECK(res < 0);
	if (!l->damaged)
		CHECK(l->plan->fired > 0);
	l->over = true;
}

/* J5 */
static void expect_named(struct life *l)
{
	life_error(l, l->res);
	CHECK(l->res == -EIO || l->res == -EBADMSG || l->res == -ENODEV || l->res == -ENOSPC ||
	      l->res == -EPROTONOSUPPORT);
	CHECK(strlen(l->why) >= 16);
	CHECK(strchr(l->why, ':') != NULL);
	CHECK(strchr(l->why, '\n') == NULL);
}

/* ---- time ---- */

void life_step(struct life *l)
{
	CHECK(l->steps++ < STEPS_MAX); /* it hangs, busily */
	CHECK(l->w->step(l->w));       /* it hangs */
}

void life_wait(struct life *l, const bool *flag)
{
	while (!*flag)
		life_step(l);
}

struct alarm {
	struct env_timer t;
	bool rang;
};

static void rang(struct env_timer *t)
{
	CONTAINER_OF(t, struct alarm, t)->rang = true;
}

static void pass(struct life *l, uint64_t ns)
{
	struct env *e = l->w->env;
	struct alarm a = {.t.fn = rang};

	e->timer_arm(e, &a.t, e->now_ns(e) + ns);
	life_wait(l, &a.rang);
}

void life_pass(struct life *l, uint64_t ns)
{
	if (!l->over)
		pass(l, ns);
}

void life_rest(struct life *l)
{
	life_sync(l);
	for (uint32_t c = 1; c <= LIFE_CHAINS; c++)
		if (!l->chain[c].stuck)
			life_commit(l, c);
	life_pass(l, l->w->rest_ns);
}

void life_turns(struct life *l, uint32_t n)
{
	while (n-- && !l->over && l->w->poll(l->w))
		;
}

/* ---- begin ---- */

void life_init(struct life *l)
{
	memset(l, 0, sizeof(*l));
	l->bufs_memory = fake_memory(buf_pool_bytes(&pool));
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		l->chain[i].ops = runner_shared((LIFE_OPS + 1) * sizeof(struct life_op));
}

void life_fini(struct life *l)
{
	fake_memory_free(l->bufs_memory, buf_pool_bytes(&pool));
}

static void pool_init(struct life *l)
{
	struct arena a;

	/* The headers; what payloads hold is nobody's business. */
	if (l->bufs.region)
		memset(l->bufs_memory, 0, (size_t)(l->bufs.region - (uint8_t *)l->bufs_memory));
	arena_init(&a, l->bufs_memory, buf_pool_bytes(&pool));
	buf_pool_init(&l->bufs, &pool, &a);
}

static bool may_write(void *arg)
{
	const struct life *l = arg;

	return !l->s || !life_failed(l);
}

static void lose(void *arg)
{
	struct life *l = arg;

	l->w->lose(l->w);
}

static void wrote(void *arg, uint64_t offset_bytes, uint32_t len_bytes)
{
	struct life *l = arg;

	if (l->w->wrote)
		l->w->wrote(l->w, offset_bytes, len_bytes);
}

static void disk_init(struct life *l)
{
	fault_disk_init(&l->disk, l->w->disk, &l->own_plan);
	l->disk.may_write = may_write;
	l->disk.lose = lose;
	l->disk.wrote = wrote;
	l->disk.arg = l;
}

void life_begin(struct life *l, struct world *w, const struct fault_plan *plan)
{
	void *bufs_memory = l->bufs_memory;
	uint8_t *region = l->bufs.region;
	struct life_op *ops[LIFE_CHAINS + 1];

	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		ops[i] = l->chain[i].ops;
	memset(l, 0, sizeof(*l));
	l->bufs_memory = bufs_memory;
	l->bufs.region = region;
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++)
		l->chain[i].ops = ops[i];
	l->w = w;
	l->plan = &l->own_plan;
	if (plan)
		l->own_plan = *plan;
	disk_init(l);
	pool_init(l);
	life_spoil_buffers(&l->own_plan, &l->bufs);
}

void life_arm(struct life *l)
{
	if (!l->over)
		l->plan->armed = true;
}

/* ---- format, open, close ---- */

static void drain(struct life *l)
{
	pass(l, 0);
	CHECK(l->disk.inflight == 0);
}

static void said(void *arg, int res, const char *why)
{
	struct life *l = arg;

	CHECK(!l->flag);
	l->flag = true;
	l->res = res;
	snprintf(l->why, sizeof(l->why), "%s", why);
}

void life_format(struct life *l)
{
	uint8_t nth = (uint8_t)++l->formats;
	const struct store_format f = {
		.disk = {{0xd1, nth, (uint8_t)l->w->salt, (uint8_t)(l->w->salt >> 8)}},
		.secret = 0x5ec2e7 + nth + (l->w->salt << 16),
		.log_bytes = LIFE_LOG_BYTES,
		.force = nth > 1};
	void *memory;
	struct arena a;

	if (l->over)
		return;
	memory = fake_memory(store_format_memory());
	arena_init(&a, memory, store_format_memory());
	l->flag = false;
	store_format_start(l->w->env, &l->disk.disk, &f, &a, said, l);
	CHECK(!l->flag); /* E1 */
	life_wait(l, &l->flag);
	drain(l);
	fake_memory_free(memory, store_format_memory());
	l->formatted = l->res == 0;
	if (l->res)
		expect_named(l);
}

static void opened(void *arg, int res, const char *why, const struct store_opened *found)
{
	((struct life *)arg)->found = *found;
	said(arg, res, why);
}

static size_t store_bytes(const struct life *l)
{
	return store_memory(l->disk.disk.size_bytes, LIFE_CHAINS);
}

static void space(void *arg)
{
	((struct life *)arg)->space = true;
}

/* Nothing of the dead store may be entered any more: its memory is not there. */
static void bury(struct life *l)
{
	fake_memory_free(l->memory, store_bytes(l));
	l->memory = NULL;
	l->s = NULL;
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++) {
		for (uint64_t n = 1; n <= l->chain[i].appended; n++)
			l->chain[i].ops[n].ours = false;
		l->chain[i].epoch_busy = false;
	}
}

void life_open(struct life *l)
{
	struct store_config cfg = {.env = l->w->env,
				   .disk = &l->disk.disk,
				   .bufs = &l->bufs,
				   .chains_max = LIFE_CHAINS,
				   .scrub_ns = l->scrub_ns,
				   .watch_ns = l->watch_ns,
				   .cache_slots = l->cache_slots,
				   .incarnation = {{0x1c, (uint8_t)++l->opens, 1}}};
	struct store *s;
	struct arena a;

	if (l->over)
		return;
	CHECK(l->s == NULL);
	l->disk.write_failed = false; /* as far as this start knows */
	l->memory = fake_memory(store_bytes(l));
	arena_init(&a, l->memory, store_bytes(l));
	l->flag = false;
	s = store_open(&cfg, &a, opened, l);
	CHECK(!l->flag); /* E1 */
	CHECK(a.used_bytes <= a.len_bytes);
	life_wait(l, &l->flag);
	if (l->res) {
		drain(l);
		bury(l);
		expect_named(l);
		return;
	}
	l->s = s;
	CHECK(!life_failed(l));
	life_take(l);
	store_on_space(l->s, space, l);
	if (l->neighbour)
		store_on_bad(l->s, life_bad, l);
}

static void closed(void *arg)
{
	struct life *l = arg;

	CHECK(!l->flag);
	l->flag = true;
}

/* Everything that was accepted has ended, exactly once (J1). */
static void expect_ended(const struct life *l)
{
	CHECK(l->busy == 0);
	for (uint32_t i = 1; i <= LIFE_CHAINS; i++) {
		const struct life_chain *c = &l->chain[i];

		for (uint64_t n = 1; n <= c->appended; n++) {
			const struct life_op *o = &c->ops[n];

			if (!o->ours)
				continue;
			CHECK(o->done_n == 1);
			CHECK(o->released_n == (n <= c->committed));
		}
	}
}

void life_close(struct life *l)
{
	if (!l->s)
		return;
	l->flag = false;
	l->closing = true;
	store_close(l->s, closed, l);
	CHECK(!l->flag); /* E1 */
	life_wait(l, &l->flag);
	l->closing = false;
	CHECK(l->disk.inflight == 0);
	bury(l);
	expect_ended(l);
	CHECK(l->bufs.small_free_n == l->bufs.small_n);
	CHECK(l->bufs.large_free_n == l->bufs.large_n);
	buf_pool_check(&l->bufs);
	pass(l, l->w->rest_ns); /* whatever is still armed would fault on memory that is gone */
	CHECK(l->disk.inflight == 0);
	CHECK(l->disk.writes_after == 0); /* J3 */
}

void life_reborn(struct life *l, struct world *w)
{
	l->w = w;
	l->memory = NULL;
	disk_init(l);
	pool_init(l);
	l->busy = 0;
	l->steps = 0;
	memset(l->reads, 0, sizeof(l->reads));
	memset(&l->fetch, 0, sizeof(l->fetch));
	memset(l->repairs, 0, sizeof(l->repairs));
	bury(l);
}

void life_cut(struct life *l, uint32_t keep_permille)
{
	void *memory = l->memory;

	if (l->over)
		return;
	CHECK(l->w->power_cut != NULL);
	l->w->power_cut(l->w, keep_permille);
	life_reborn(l, l->w);
	fake_memory_free(memory, store_bytes(l));
}

/* ---- failed ---- */

bool life_failed(const struct life *l)
{
	struct store_stats st;

	store_stats(l->s, &st);
	return st.failed;
}

struct refusals { /* each must come, with -EIO */
	struct store_read read;
	struct store_fetch fetch;
	bool read_came, fetch_came, epoch_came;
};

static void refused_read(struct store_read *r, int res)
{
	CHECK(res == -EIO);
	CHECK(r->data == NULL);
	CONTAINER_OF(r, struct refusals, read)->read_came = true;
}

static void refused_fetch(struct store_fetch *f, int res)
{
	CHECK(res == -EIO);
	CONTAINER_OF(f, struct refusals, fetch)->fetch_came = true;
}

static void refused_epoch(void *arg, int res)
{
	CHECK(res == -EIO);
	((struct refusals *)arg)->epoch_came = true;
}

static void never_done(struct store_op *op, int res)
{
	CHECK(op == NULL || res > 0); /* it was refused */
}

static void never_released(struct store_op *op)
{
	CHECK(op == NULL);
}

void life_check_failed(struct life *l)
{
	struct life_chain *c = &l->chain[1];
	static struct refusals r;
	struct store_chain_info info;
	struct store_op op = {.done = never_done, .released = never_released};

	CHECK(life_failed(l));
	if (store_chain_info(l->s, 1, &info))
		return;
	op.rec = (struct op_rec){.chain = 1,
				 .volume = 1,
				 .epoch = 1,
				 .kind = OP_UNMAP,
				 .seq = c->appended + 1,
				 .blocks = 1};
	CHECK(store_append(l->s, &op) == -EIO);
	store_commit(l->s, 1, c->acked);
	r = (struct refusals){.read = {.chain = 1, .volume = 1, .blocks = 1, .done = refused_read},
			      .fetch = {.chain = 1, .seq = c->appended, .done = refused_fetch},
			      .epoch_came = c->epoch_busy};
	store_read(l->s, &r.read);
	store_fetch(l->s, &r.fetch);
	if (!c->epoch_busy)
		store_set_epoch(l->s, 1, 99, 99, refused_epoch, &r);
	life_wait(l, &r.read_came);
	life_wait(l, &r.fetch_came);
	life_wait(l, &r.epoch_came);
}
