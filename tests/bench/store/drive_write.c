/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "tests/bench/store/drive_priv.h"

static uint32_t puts_n(const struct drive *d)
{
	return 3 * d->cfg->depth + drive_ahead(d) + DRIVE_CHAINS_MAX;
}

/* ---- contents ---- */

static void describe(struct drive *d, struct put *p)
{
	const struct drive_config *cfg = d->cfg;
	struct block_addr at = table_addr(d->t, p->range * cfg->blocks);

	p->op.rec = (struct op_rec){.epoch = EPOCH,
				    .volume = at.volume,
				    .extent = at.extent,
				    .chain = drive_chain_of(d, at.extent),
				    .kind = OP_WRITE,
				    .block = at.block,
				    .blocks = cfg->blocks,
				    .data_bytes = cfg->blocks * BLOCK_BYTES,
				    .crcs_n = cfg->blocks,
				    .client = drive_client,
				    .generation = 1};
	p->op.rec.session = d->chain[p->op.rec.chain].session;
}

/* One more write with content and checksums; false when there is no memory for it now. */
static bool make_ready(struct drive *d, void (*done)(struct store_op *op, int res),
		       void (*released)(struct store_op *op))
{
	struct list *it = list_first(&d->puts);
	struct put *p = it ? CONTAINER_OF(it, struct put, link) : NULL;
	uint32_t n = d->cfg->blocks;
	struct buf *data = p ? buf_get(&d->h->bufs, n * BLOCK_BYTES, BUF_NODE) : NULL;

	if (!data)
		return false;
	list_del(it);
	p->range = drive_pick(d);
	for (uint32_t i = 0; i < n; i++) {
		struct block_addr at = table_addr(d->t, p->range * n + i);
		uint8_t *block = data->data + (size_t)i * BLOCK_BYTES;

		table_fill_next(d->t, p->range * n + i, block);
		p->crcs[i] = crc_block(&at, block);
	}
	p->op = (struct store_op){
		.crcs = p->crcs, .data = data, .done = done, .released = released};
	describe(d, p);
	list_add_tail(&d->ready, &p->link);
	d->ready_n++;
	return true;
}

/* ---- appending ---- */

static void put_done(struct store_op *op, int res)
{
	struct put *p = CONTAINER_OF(op, struct put, op);
	struct drive *d = p->d;

	if (res < 0)
		measure_die("write", -res);
	drive_took(d, p->range, p->start_ns);
	for (uint32_t i = 0; i < d->cfg->blocks; i++)
		d->t->version[p->range * d->cfg->blocks + i]++;
	d->chain[op->rec.chain].done = op->rec.seq;
	store_commit(d->h->store, op->rec.chain, op->rec.seq);
	drive_write_more(d);
	if (d->ready_n <= drive_ahead(d) / 2 || d->flying == 0)
		drive_after(d);
}

void drive_write_released(struct put *p)
{
	list_add_tail(&p->d->puts, &p->link);
	p->d->puts_out--;
}

static void put_released(struct store_op *op)
{
	struct put *p = CONTAINER_OF(op, struct put, op);
	struct drive *d = p->d;

	drive_write_released(p);
	if (list_empty(&d->refused))
		drive_write_more(d);
	if (d->puts_out == 0)
		drive_after(d);
}

/* False: refused for now. */
static bool append(struct drive *d, struct put *p)
{
	struct store_op *op = &p->op;
	struct chain_at *c = &d->chain[op->rec.chain];
	struct buf *data = op->data;
	int res;

	op->rec.seq = op->rec.req_no = c->last + 1;
	op->rec.low = c->done + 1;
	op->rec.known = c->done;
	res = store_append(d->h->store, op);
	if (res == -EAGAIN) {
		list_add_tail(&d->refused, &p->link);
		return false;
	}
	if (res < 0)
		measure_die("write", -res);
	c->last++;
	d->puts_out++;
	buf_put(data);
	return true;
}

/* A refused operation is in flight: its client waits. */
void drive_write_more(struct drive *d)
{
	while (d->flying < d->cfg->depth) {
		struct put *p;

		if (!d->ready_n && drive_more(d))
			make_ready(d, put_done, put_released);
		if (!d->ready_n)
			break;
		p = CONTAINER_OF(list_pop(&d->ready), struct put, link);
		d->ready_n--;
		d->flying++;
		p->start_ns = measure_now_ns();
		append(d, p);
	}
	if (d->flying == 0 && drive_more(d))
		measure_die("no buffer for a single write", ENOMEM);
}

void drive_write_ahead(struct drive *d)
{
	while (d->ready_n < drive_ahead(d) && drive_more(d))
		if (!make_ready(d, put_done, put_released))
			return;
	drive_write_more(d);
}

void drive_write_retry(void *arg)
{
	struct drive *d = arg;
	struct list all;

	list_init(&all);
	while (!list_empty(&d->refused))
		list_add_tail(&all, list_pop(&d->refused));
	while (!list_empty(&all))
		append(d, CONTAINER_OF(list_pop(&all), struct put, link));
}

/* ---- memory ---- */

void drive_write_init(struct drive *d)
{
	d->all_puts = calloc(puts_n(d), sizeof(*d->all_puts));
	if (!d->all_puts)
		measure_die("memory", ENOMEM);
	list_init(&d->puts);
	list_init(&d->ready);
	list_init(&d->refused);
	for (uint32_t i = 0; i < puts_n(d); i++) {
		d->all_puts[i].d = d;
		list_add_tail(&d->puts, &d->all_puts[i].link);
	}
}

void drive_write_fini(struct drive *d)
{
	free(d->all_puts);
}
