/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What an operation's end adds to the history. */
#include "sim/workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_VALUE (1ull << 62) /* | generation: a zero after the first */

static void record(struct workload *l, const struct hist_op *h)
{
	if (l->history_n == l->history_cap) {
		l->history_cap = MAX((size_t)4096, 2 * l->history_cap);
		l->history = realloc(l->history, l->history_cap * sizeof(struct hist_op));
		CHECK(l->history);
	}
	l->history[l->history_n++] = *h;
}

static uint64_t zero_value(const struct workload_reg *r)
{
	return r->zero_gen ? ZERO_VALUE | r->zero_gen : 0;
}

/* Register and sector of @op's range at byte @at. */
static uint32_t reg_at(uint64_t at)
{
	uint32_t block = (uint32_t)(at / BLOCK_BYTES);
	uint32_t sector = (uint32_t)(at % BLOCK_BYTES / SECTOR_BYTES);

	return block * BLOCK_SECTORS + (workload_by_sector(block) ? sector : 0);
}

static uint32_t step_at(uint64_t at)
{
	return workload_by_sector((uint32_t)(at / BLOCK_BYTES)) ? SECTOR_BYTES : BLOCK_BYTES;
}

/* ---- reads ---- */

/* The value of the register at @at in @data, all its sectors the same. */
static uint64_t value_at(struct workload *l, uint64_t at, const uint8_t *data)
{
	uint32_t block = (uint32_t)(at / BLOCK_BYTES);
	uint32_t first = (uint32_t)(at % BLOCK_BYTES / SECTOR_BYTES);
	uint32_t n = workload_by_sector(block) ? 1 : BLOCK_SECTORS;
	uint64_t value = stamp_value(data, block, first);

	for (uint32_t s = 1; s < n; s++)
		if (stamp_value(data + s * SECTOR_BYTES, block, first + s) != value) {
			world_violation(l->w, "I7: block %u was read torn", block);
			return STAMP_BAD;
		}
	if (value == STAMP_BAD)
		world_violation(l->w, "I7: block %u sector %u was read as garbage", block, first);
	else if (value != STAMP_ZERO && !workload_info(l, value))
		world_violation(l->w, "I7: block %u holds operation %lu, which never was", block,
				value);
	return value;
}

static void done_read(struct workload *l, const struct workload_op *op, const uint8_t *data)
{
	uint64_t end = op->offset_bytes + op->len_bytes;

	for (uint64_t at = op->offset_bytes; at < end; at += step_at(at)) {
		struct hist_op h = {
			.inv = op->inv, .ret = l->tick, .kind = HIST_READ, .reg = reg_at(at)};
		struct workload_reg *r = &l->regs[h.reg];

		h.value = value_at(l, at, data + (at - op->offset_bytes));
		if (h.value == STAMP_BAD)
			return;
		r->last = h.value;
		if (h.value == STAMP_ZERO)
			h.value = zero_value(r);
		record(l, &h);
	}
}

static void done_present(struct workload *l, const struct workload_op *op, const uint8_t *data)
{
	uint32_t first = (uint32_t)(op->offset_bytes / BLOCK_BYTES);

	for (uint32_t i = 0; i < op->len_bytes / BLOCK_BYTES; i++) {
		const struct workload_reg *r = &l->regs[(first + i) * BLOCK_SECTORS];

		/* Never unmapped, and written before we asked: it must be there. */
		if (!r->zero_gen && r->write_ret && r->write_ret < op->inv &&
		    !(data[i / 8] >> (i % 8) & 1))
			world_violation(l->w, "I7: block %u is written and said to be absent",
					first + i);
	}
}

/* ---- modifications ---- */

static void done_write(struct workload *l, const struct workload_op *op, bool known)
{
	uint64_t end = op->offset_bytes + op->len_bytes;

	for (uint64_t at = op->offset_bytes; at < end; at += step_at(at)) {
		struct hist_op h = {.inv = op->inv,
				    .ret = known ? l->tick : HIST_NEVER,
				    .kind = HIST_WRITE,
				    .reg = reg_at(at),
				    .value = op->id};
		struct workload_reg *r = &l->regs[h.reg];

		if (op->zeros)
			h.value = zero_value(r);
		record(l, &h);
		if (!known)
			continue;
		if (op->zeros) {
			r->zero_busy = r->written = false;
			r->zero_ret = l->tick;
			r->last = STAMP_ZERO;
			continue;
		}
		r->last = op->id;
		if (!r->write_ret)
			r->write_ret = l->tick;
		if (!r->zero_busy && !r->written && op->inv > r->zero_ret) {
			r->written = true;
			r->write_ret = l->tick;
		}
	}
}

static void done_caw(struct workload *l, const struct workload_op *op, bool known)
{
	uint64_t end = op->offset_bytes + op->len_bytes;

	if (known && op->bogus) {
		world_violation(l->w,
				"I7: a compare-and-write of block %lu against what never was "
				"succeeded",
				op->offset_bytes / BLOCK_BYTES);
		return;
	}
	for (uint64_t at = op->offset_bytes; at < end && !op->bogus; at += step_at(at)) {
		struct hist_op h = {.inv = op->inv,
				    .ret = known ? l->tick : HIST_NEVER,
				    .kind = HIST_RMW,
				    .reg = reg_at(at),
				    .value = op->id};

		h.from = op->expect[(at - op->offset_bytes) / SECTOR_BYTES];
		record(l, &h);
		if (known)
			l->regs[h.reg].last = op->id;
	}
}

/* Differed first at @offset: what lies wholly before it was equal. */
static void done_miscompare(struct workload *l, const struct workload_op *op, uint32_t offset)
{
	uint64_t same_to = op->offset_bytes + offset;

	if (offset >= op->len_bytes) {
		world_violation(l->w, "I7: a miscompare at byte %u of %u", offset, op->len_bytes);
		return;
	}
	for (uint64_t at = op->offset_bytes; at + step_at(at) <= same_to; at += step_at(at)) {
		struct hist_op h = {
			.inv = op->inv, .ret = l->tick, .kind = HIST_READ, .reg = reg_at(at)};

		h.value = op->expect[(at - op->offset_bytes) / SECTOR_BYTES];
		if (!op->bogus)
			record(l, &h);
	}
	if (!op->bogus) {
		struct hist_op h = {.inv = op->inv,
				    .ret = l->tick,
				    .kind = HIST_NOT,
				    .reg = reg_at(same_to),
				    .value = op->expect[offset / SECTOR_BYTES]};

		record(l, &h);
	}
}

/* ---- ends ---- */

static void finish(struct workload *l, struct workload_op *op)
{
	list_del(&op->link);
	list_add_tail(&l->free, &op->link);
}

static void unknown(struct workload *l, struct workload_op *op)
{
	switch (op->kind) {
	case CLIENT_WRITE:
	case CLIENT_UNMAP:
	case CLIENT_WRITE_SAME:
		done_write(l, op, false);
		break;
	case CLIENT_CAW:
		done_caw(l, op, false);
		break;
	case CLIENT_READ:
	case CLIENT_PRESENT:
		break;
	}
}

static void failed(struct workload *l, struct workload_op *op, int status)
{
	bool medium = status == -EBADMSG || status == -EIO;

	l->failed++;
	l->timeouts += status == -ETIMEDOUT;
	if (status != -ETIMEDOUT)
		l->last_failure = status;
	if (medium && !l->cfg.may_rot)
		world_violation(l->w,
				"I14: operation %lu (kind %d, block %lu) failed with %d and no "
				"disk was made to lie",
				op->id, (int)op->kind, op->offset_bytes / BLOCK_BYTES, status);
	else if (!medium && status != -ETIMEDOUT && status != -EAGAIN && status != -ENOSPC &&
		 status != -EUSERS && status != -ESHUTDOWN && status != -ENOTCONN)
		world_violation(l->w, "operation %lu (kind %d, block %lu) failed with %d", op->id,
				(int)op->kind, op->offset_bytes / BLOCK_BYTES, status);
	unknown(l, op);
}

void workload_done(struct workload *l, struct workload_op *op, int status, uint32_t offset_bytes,
		   const uint8_t *data)
{
	l->tick++;
	l->done++;
	if (status == -EILSEQ && op->kind == CLIENT_CAW)
		done_miscompare(l, op, offset_bytes);
	else if (status)
		failed(l, op, status);
	else if (op->kind == CLIENT_READ)
		done_read(l, op, data);
	else if (op->kind == CLIENT_PRESENT)
		done_present(l, op, data);
	else if (op->kind == CLIENT_CAW)
		done_caw(l, op, true);
	else
		done_write(l, op, true);
	finish(l, op);
}

void workload_abandon(struct workload *l, struct workload_op *op)
{
	l->tick++;
	unknown(l, op);
	finish(l, op);
}

void workload_check(struct workload *l)
{
	struct checker_verdict v;

	/* Those still out are unknown. */
	while (!list_empty(&l->inflight))
		workload_abandon(l, CONTAINER_OF(l->inflight.next, struct workload_op, link));
	checker_run(l->history, l->history_n, &v);
	if (v.violations)
		world_violation(l->w, "I7: block %u sector %u is not linearizable: %s",
				v.reg / BLOCK_SECTORS, v.reg % BLOCK_SECTORS, v.text);
}

/* ---- life ---- */

void workload_init(struct workload *l, struct world *w, const struct workload_config *cfg)
{
	struct rng *r = &w->rng;

	memset(l, 0, sizeof(*l));
	l->w = w;
	l->cfg = *cfg;
	l->blocks = (uint32_t)(cfg->volume_bytes / BLOCK_BYTES);
	list_init(&l->inflight);
	list_init(&l->free);
	l->regs = sim_map((size_t)l->blocks * BLOCK_SECTORS * sizeof(struct workload_reg));
	l->touched = sim_map(l->blocks);
	CHECK(cfg->runs_n > 0);
	CHECK(cfg->runs_n <= WORKLOAD_RUNS_MAX);
	for (uint32_t i = 0; i < cfg->runs_n; i++) {
		l->runs[i] = (uint32_t)rng_below(r, l->blocks / RUN_BLOCKS) * RUN_BLOCKS;
		/* Some beside the border of an extent, for operations that cross it. */
		if (i % 4 == 3)
			l->runs[i] = l->runs[i] / EXTENT_BLOCKS * EXTENT_BLOCKS + EXTENT_BLOCKS -
				     RUN_BLOCKS;
	}
}

void workload_fini(struct workload *l)
{
	struct list *it;

	while ((it = list_pop(&l->inflight)) || (it = list_pop(&l->free)))
		free(CONTAINER_OF(it, struct workload_op, link));
	sim_unmap(l->regs, (size_t)l->blocks * BLOCK_SECTORS * sizeof(struct workload_reg));
	sim_unmap(l->touched, l->blocks);
	free(l->infos);
	free(l->history);
	l->regs = NULL;
	l->touched = NULL;
	l->infos = NULL;
	l->history = NULL;
}
