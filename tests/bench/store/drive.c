/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/bench/store/drive.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/bench/store/drive_priv.h"

#define BAD_MAX 1000u
#define AHEAD_MIN 16u

const struct id128 drive_client = {{1}};

/* ---- chains ---- */

static void one_open(struct drive *d)
{
	if (--d->opening == 0)
		host_wake(d->h);
}

static void on_epoch(void *arg, int res)
{
	if (res < 0)
		measure_die("noting an epoch", -res);
	one_open(arg);
}

static void session_done(struct store_op *op, int res)
{
	struct drive *d = CONTAINER_OF(op, struct put, op)->d;

	if (res < 0)
		measure_die("opening a session", -res);
	d->chain[op->rec.chain].done = op->rec.seq;
	store_commit(d->h->store, op->rec.chain, op->rec.seq);
}

static void session_released(struct store_op *op)
{
	struct put *p = CONTAINER_OF(op, struct put, op);

	drive_write_released(p);
	one_open(p->d);
}

static void session_open(struct drive *d, uint32_t chain)
{
	struct put *p = CONTAINER_OF(list_pop(&d->puts), struct put, link);
	struct chain_at *c = &d->chain[chain];
	struct store_req_answer now;
	int res;

	store_req_lookup(d->h->store, chain, &drive_client, c->last + 1, 1, 1, OP_SESSION, &now);
	c->session = now.session + 1;
	p->op = (struct store_op){.done = session_done, .released = session_released};
	p->op.rec = (struct op_rec){.seq = ++c->last,
				    .epoch = EPOCH,
				    .chain = chain,
				    .kind = OP_SESSION,
				    .client = drive_client,
				    .generation = 1,
				    .session = c->session,
				    .low = c->done + 1,
				    .known = c->done};
	d->puts_out++;
	d->opening++;
	res = store_append(d->h->store, &p->op);
	if (res < 0)
		measure_die("opening a session", -res);
}

/* What recovery found is committed: there is nobody else to ask. */
static void chains_open(struct drive *d)
{
	struct store *s = d->h->store;

	for (uint32_t i = 1; i <= d->cfg->chains; i++) {
		struct store_chain_info info;

		if (store_chain_add(s, i) < 0 || store_chain_info(s, i, &info) < 0)
			measure_die("the store has no room for the chains", 0);
		store_commit(s, i, info.last);
		d->chain[i].last = d->chain[i].done = info.last;
		if (info.epoch != EPOCH) {
			d->opening++;
			store_set_epoch(s, i, EPOCH, EPOCH, on_epoch, d);
		}
		session_open(d, i);
	}
	host_wait(d->h);
}

/* ---- which range next ---- */

bool drive_more(const struct drive *d)
{
	const struct drive_config *c = d->cfg;

	if (c->nothing)
		return false;
	if (c->fill)
		return d->next < d->ranges;
	if (d->res->bad > BAD_MAX || (c->max_bytes && d->picked_bytes >= c->max_bytes))
		return false;
	return d->picked_bytes < c->min_bytes || measure_now_ns() < d->end_ns;
}

uint64_t drive_pick(struct drive *d)
{
	uint64_t range;

	do
		range = (d->cfg->sequential ? d->next++ : measure_random(&d->random)) % d->ranges;
	while (d->busy[range]);
	d->busy[range] = 1;
	d->picked_bytes += (uint64_t)d->cfg->blocks * BLOCK_BYTES;
	return range;
}

/* ---- the end ---- */

static uint64_t written_bytes(const struct drive *d)
{
	struct store_stats st;

	store_stats(d->h->store, &st);
	return st.written_bytes;
}

/* What counts at the end is noted whenever nothing is in flight: the last time is the end. */
void drive_took(struct drive *d, uint64_t range, uint64_t start_ns)
{
	uint64_t now = measure_now_ns();

	CHECK(d->flying > 0);
	measure_add(&d->res->m, now - start_ns, d->cfg->blocks * BLOCK_BYTES);
	d->busy[range] = 0;
	if (--d->flying > 0)
		return;
	d->res->m.elapsed_ns = now - d->start_ns;
	d->res->device_after = written_bytes(d);
}

/* Whoever may be the last to do something comes by here, through drive_after(). */
static void end_if_over(struct drive *d)
{
	bool idle = d->flying == 0 && d->puts_out == 0 && d->ready_n == 0 &&
		    list_empty(&d->refused) && list_empty(&d->unseen);

	if (idle && !d->soon.queued && !d->after.queued && !drive_more(d))
		host_wake(d->h);
}

/* ---- client's work ---- */

static void on_soon(struct env_task *t)
{
	struct drive *d = CONTAINER_OF(t, struct drive, soon);

	d->h->env->defer(d->h->env, &d->after);
}

static void on_after(struct env_task *t)
{
	struct drive *d = CONTAINER_OF(t, struct drive, after);

	if (d->cfg->write)
		drive_write_ahead(d);
	else
		drive_read_compare(d);
	end_if_over(d);
}

/* A few hundred microseconds of device time hide the work for so many; large ones take buffers. */
uint32_t drive_ahead(const struct drive *d)
{
	bool small = d->cfg->blocks * BLOCK_BYTES <= BUF_SMALL_BYTES;

	return small ? MAX(d->cfg->depth, AHEAD_MIN) : d->cfg->depth;
}

void drive_after(struct drive *d)
{
	d->h->env->defer(d->h->env, &d->soon);
}

/* ---- the run ---- */

static void init(struct drive *d)
{
	d->ranges = d->t->entries / d->cfg->blocks;
	if (d->ranges <= d->cfg->depth + drive_ahead(d)) /* or none would be left to pick */
		measure_die("the volume is too small for this depth", 0);
	d->busy = calloc(d->ranges, 1);
	if (!d->busy)
		measure_die("memory", ENOMEM);
	d->soon.fn = on_soon;
	d->after.fn = on_after;
	d->random = measure_now_ns() | 1u;
	drive_write_init(d);
	drive_read_init(d);
}

void drive_run(const struct drive_config *cfg, struct host *h, struct table *t,
	       struct drive_result *ret)
{
	struct drive d = {.cfg = cfg, .h = h, .t = t, .res = ret};

	*ret = (struct drive_result){0};
	init(&d);
	store_on_space(h->store, drive_write_retry, &d);
	chains_open(&d);
	ret->device_before = ret->device_after = written_bytes(&d);
	ret->kernel_before = host_kernel_bytes();
	ret->cpu_ns = host_cpu_ns();
	d.start_ns = measure_now_ns();
	d.end_ns = d.start_ns + cfg->run_ns;
	if (cfg->write)
		drive_write_more(&d);
	else
		drive_read_start(&d);
	drive_after(&d); /* of a load of nothing this is the end */
	host_wait(h);
	ret->cpu_ns = host_cpu_ns() - ret->cpu_ns;
	store_on_space(h->store, NULL, NULL);
	drive_write_fini(&d);
	drive_read_fini(&d);
	free(d.busy);
}
