/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ID 1ull

/* ---- registers ---- */

/* Calls @fn for each register that @op's range covers. */
static bool for_each_reg(struct workload *l, struct workload_op *op,
			 bool (*fn)(struct workload *l, struct workload_op *op, uint32_t reg))
{
	uint64_t end = op->offset_bytes + op->len_bytes;

	for (uint64_t at = op->offset_bytes; at < end;) {
		uint32_t block = (uint32_t)(at / BLOCK_BYTES);
		uint32_t sector = (uint32_t)(at % BLOCK_BYTES / SECTOR_BYTES);
		bool single = workload_by_sector(block);

		if (!fn(l, op, block * BLOCK_SECTORS + (single ? sector : 0)))
			return false;
		at += single ? SECTOR_BYTES : BLOCK_BYTES;
	}
	return true;
}

/* ---- choosing ---- */

static uint64_t run_start(struct workload *l)
{
	return (uint64_t)l->runs[rng_below(&l->w->rng, l->cfg.runs_n)] * BLOCK_BYTES;
}

static void range_in(struct workload *l, struct workload_op *op, uint64_t start, uint32_t unit)
{
	struct rng *r = &l->w->rng;
	uint32_t units = RUN_BLOCKS * BLOCK_BYTES / unit;
	uint32_t first = (uint32_t)rng_below(r, units);
	uint32_t most = rng_chance(r, 500000) ? 1 : units - first;

	op->offset_bytes = start + (uint64_t)first * unit;
	op->len_bytes = (uint32_t)rng_range(r, 1, most) * unit;
}

static void range_large(struct workload *l, struct workload_op *op)
{
	uint64_t start = run_start(l);
	uint64_t most = MIN(l->cfg.volume_bytes - start, (uint64_t)OP_BYTES_MAX);

	op->offset_bytes = start;
	op->len_bytes = (uint32_t)rng_range(&l->w->rng, 1, most / BLOCK_BYTES) * BLOCK_BYTES;
}

static bool zero_allowed(struct workload *l, struct workload_op *op, uint32_t reg)
{
	const struct workload_reg *r = &l->regs[reg];

	(void)op;
	return !r->zero_busy && r->written;
}

/* L1: a read in flight that began before the write after the last zeros returned. */
static bool old_reader(struct workload *l, struct workload_op *op, uint32_t reg)
{
	uint64_t at = (uint64_t)reg * SECTOR_BYTES;

	(void)op;
	LIST_FOR_EACH(it, &l->inflight)
	{
		const struct workload_op *o = CONTAINER_OF(it, struct workload_op, link);

		if (o->kind == CLIENT_READ && o->inv < l->regs[reg].write_ret &&
		    o->offset_bytes < at + BLOCK_BYTES && at < o->offset_bytes + o->len_bytes)
			return false;
	}
	return true;
}

static bool open_zero(struct workload *l, struct workload_op *op, uint32_t reg)
{
	(void)op;
	l->regs[reg].zero_gen++;
	l->regs[reg].zero_busy = true;
	return true;
}

static bool reopen_zero(struct workload *l, struct workload_op *op, uint32_t reg)
{
	(void)op;
	l->regs[reg].zero_gen--;
	l->regs[reg].zero_busy = false;
	return true;
}

static bool choose_zeros(struct workload *l, struct workload_op *op)
{
	range_in(l, op, run_start(l), BLOCK_BYTES);
	if (!for_each_reg(l, op, zero_allowed) || !for_each_reg(l, op, old_reader))
		return false;
	op->zeros = true;
	return true;
}

static bool choose_caw(struct workload *l, struct workload_op *op)
{
	uint64_t start = run_start(l);
	bool by_sector = workload_by_sector((uint32_t)(start / BLOCK_BYTES));

	range_in(l, op, start, by_sector ? SECTOR_BYTES : BLOCK_BYTES);
	for (uint32_t i = 0; i < op->len_bytes / SECTOR_BYTES; i++) {
		uint32_t reg = (uint32_t)(op->offset_bytes / SECTOR_BYTES) + i;

		if (!by_sector)
			reg -= reg % BLOCK_SECTORS;
		op->expect[i] = l->regs[reg].last;
		/* Zeros have no name to compare with (L1). */
		if (op->expect[i] == STAMP_ZERO)
			return false;
	}
	op->bogus = rng_chance(&l->w->rng, 50000);
	return true;
}

static bool choose(struct workload *l, struct workload_op *op, enum workload_kind kind)
{
	switch (kind) {
	case WL_WRITE:
	case WL_READ:
		range_in(l, op, run_start(l), BLOCK_BYTES);
		break;
	case WL_WRITE_LARGE:
	case WL_READ_LARGE:
		range_large(l, op);
		break;
	case WL_WRITE_SECTORS:
	case WL_READ_SECTORS:
		range_in(l, op, run_start(l), SECTOR_BYTES);
		if (!workload_by_sector((uint32_t)(op->offset_bytes / BLOCK_BYTES)))
			return false;
		break;
	case WL_UNMAP:
		return choose_zeros(l, op);
	case WL_WRITE_SAME:
		if (rng_chance(&l->w->rng, 300000))
			return choose_zeros(l, op);
		range_in(l, op, run_start(l), BLOCK_BYTES);
		break;
	case WL_CAW:
		return choose_caw(l, op);
	case WL_PRESENT:
		op->offset_bytes = run_start(l) / EXTENT_BYTES * EXTENT_BYTES;
		op->len_bytes = EXTENT_BYTES;
		break;
	case WL_KINDS:
		return false;
	}
	return true;
}

static const enum client_kind client_kinds[WL_KINDS] = {
	[WL_WRITE] = CLIENT_WRITE,
	[WL_WRITE_LARGE] = CLIENT_WRITE,
	[WL_WRITE_SECTORS] = CLIENT_WRITE,
	[WL_READ] = CLIENT_READ,
	[WL_READ_LARGE] = CLIENT_READ,
	[WL_READ_SECTORS] = CLIENT_READ,
	[WL_UNMAP] = CLIENT_UNMAP,
	[WL_WRITE_SAME] = CLIENT_WRITE_SAME,
	[WL_CAW] = CLIENT_CAW,
	[WL_PRESENT] = CLIENT_PRESENT,
};

static uint32_t data_bytes_of(const struct workload_op *op)
{
	switch (op->kind) {
	case CLIENT_READ:
	case CLIENT_WRITE:
		return op->len_bytes;
	case CLIENT_UNMAP:
		return 0;
	case CLIENT_WRITE_SAME:
		return BLOCK_BYTES;
	case CLIENT_CAW:
		return 2 * op->len_bytes;
	case CLIENT_PRESENT:
		return op->len_bytes / BLOCK_BYTES / 8;
	}
	return 0;
}

static struct workload_op *op_new(struct workload *l)
{
	struct list *it = list_pop(&l->free);
	struct workload_op *op =
		it ? CONTAINER_OF(it, struct workload_op, link) : malloc(sizeof(*op));

	CHECK(op);
	memset(op, 0, sizeof(*op));
	list_init(&op->link);
	return op;
}

static void op_free(struct workload *l, struct workload_op *op)
{
	list_del(&op->link);
	list_add_tail(&l->free, &op->link);
}

static void invoke(struct workload *l, struct workload_op *op)
{
	struct workload_info *info;

	if (l->infos_n == l->infos_cap) {
		l->infos_cap = MAX((uint64_t)1024, 2 * l->infos_cap);
		l->infos = realloc(l->infos, l->infos_cap * sizeof(*l->infos));
		CHECK(l->infos);
	}
	op->data_bytes = data_bytes_of(op);
	op->id = FIRST_ID + l->infos_n;
	op->inv = ++l->tick;
	info = &l->infos[l->infos_n++];
	memset(info, 0, sizeof(*info));
	info->block = (uint32_t)(op->offset_bytes / BLOCK_BYTES);
	info->blocks = (op->len_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
	info->same = op->kind == CLIENT_WRITE_SAME;
	if (op->zeros)
		for_each_reg(l, op, open_zero);
	if (op->kind != CLIENT_READ && op->kind != CLIENT_PRESENT)
		memset(l->touched + info->block, 1, info->blocks);
	list_add_tail(&l->inflight, &op->link);
}

struct workload_op *workload_next(struct workload *l)
{
	struct workload_op *op = op_new(l);
	uint64_t total = 0, pick;
	unsigned kind = 0;

	for (unsigned i = 0; i < WL_KINDS; i++)
		total += l->cfg.weights[i];
	for (;;) {
		memset(op, 0, sizeof(*op));
		list_init(&op->link);
		pick = rng_below(&l->w->rng, total);
		for (kind = 0; pick >= l->cfg.weights[kind]; kind++)
			pick -= l->cfg.weights[kind];
		op->kind = client_kinds[kind];
		if (choose(l, op, (enum workload_kind)kind))
			break;
		l->cfg.weights[WL_READ] |= 1; /* something must always be possible */
		total = 0;
		for (unsigned i = 0; i < WL_KINDS; i++)
			total += l->cfg.weights[i];
	}
	l->by_kind[kind]++;
	invoke(l, op);
	return op;
}

struct workload_op *workload_verify_next(struct workload *l, uint32_t *cursor)
{
	struct workload_op *op;

	while (*cursor < l->blocks && !l->touched[*cursor])
		++*cursor;
	if (*cursor == l->blocks)
		return NULL;
	op = op_new(l);
	op->kind = CLIENT_READ;
	op->offset_bytes = (uint64_t)*cursor * BLOCK_BYTES;
	while (*cursor < l->blocks && l->touched[*cursor] && op->len_bytes < 8 * BLOCK_BYTES) {
		op->len_bytes += BLOCK_BYTES;
		++*cursor;
	}
	invoke(l, op);
	return op;
}

void workload_cancel(struct workload *l, struct workload_op *op)
{
	if (op->zeros)
		for_each_reg(l, op, reopen_zero);
	op_free(l, op);
}

/* ---- content ---- */

static void fill_range(const struct workload_op *op, uint8_t *data)
{
	for (uint32_t i = 0; i < op->len_bytes / SECTOR_BYTES; i++) {
		uint64_t at = op->offset_bytes + i * SECTOR_BYTES;

		stamp_fill(data + i * SECTOR_BYTES, op->id, (uint32_t)(at / BLOCK_BYTES),
			   (uint32_t)(at % BLOCK_BYTES / SECTOR_BYTES));
	}
}

static void fill_compare(struct workload *l, const struct workload_op *op, uint8_t *data)
{
	for (uint32_t i = 0; i < op->len_bytes / SECTOR_BYTES; i++) {
		uint64_t at = op->offset_bytes + i * SECTOR_BYTES;
		uint32_t block = (uint32_t)(at / BLOCK_BYTES);
		const struct workload_info *info = workload_info(l, op->expect[i]);

		stamp_fill(data + i * SECTOR_BYTES, op->expect[i],
			   info && info->same ? STAMP_ANY_BLOCK : block,
			   (uint32_t)(at % BLOCK_BYTES / SECTOR_BYTES));
	}
	if (op->bogus)
		data[rng_below(&l->w->rng, op->len_bytes)] ^= 1;
}

void workload_fill(struct workload *l, const struct workload_op *op, uint8_t *data)
{
	if (op->zeros) {
		memset(data, 0, op->data_bytes);
	} else if (op->kind == CLIENT_WRITE) {
		fill_range(op, data);
	} else if (op->kind == CLIENT_WRITE_SAME) {
		for (uint32_t s = 0; s < BLOCK_SECTORS; s++)
			stamp_fill(data + s * SECTOR_BYTES, op->id, STAMP_ANY_BLOCK, s);
	} else if (op->kind == CLIENT_CAW) {
		fill_compare(l, op, data);
		fill_range(op, data + op->len_bytes);
	}
}

struct workload_info *workload_info(struct workload *l, uint64_t value)
{
	return value >= FIRST_ID && value - FIRST_ID < l->infos_n ? &l->infos[value - FIRST_ID]
								  : NULL;
}
