/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* workload - what the simulated clients do to one volume, and the history of what they saw.
 *
 *	actor_client.c --workload_next--> op --client_submit--> ... --done--> workload_done -->
 *	history
 *
 * Each block is one register, or (in some runs of blocks, where writes of 512 bytes happen) eight.
 * Every write is stamped, so values are unique; zeros are not, so every unmap of a register opens a
 * new generation of zero, and an unmap is made only when a read of zeros can never belong to two
 * generations:
 *
 *   L1  an unmap of a register begins only after the one before has returned, then a write that was
 *       invoked later has returned, and no read is in flight that was invoked before that
 *   L2  an operation that failed in any way may have happened: it returns at HIST_NEVER
 *   L3  every returned byte is zero or a valid stamp of its place: anything else is a violation
 *
 * Ownership: ops are the workload's; an actor holds one between next and done or abandon. */

#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "client/client.h"
#include "sim/checker.h"
#include "sim/stamp.h"
#include "sim/world.h"

#define WORKLOAD_RUNS_MAX 64u
#define RUN_BLOCKS 8u
#define CAW_SECTORS_MAX (CAW_BLOCKS_MAX * BLOCK_SECTORS)

enum workload_kind {
	WL_WRITE,
	WL_WRITE_LARGE,
	WL_WRITE_SECTORS,
	WL_READ,
	WL_READ_LARGE,
	WL_READ_SECTORS,
	WL_UNMAP,
	WL_WRITE_SAME,
	WL_CAW,
	WL_PRESENT,
	WL_KINDS
};

struct workload_config {
	uint64_t volume_bytes;
	uint32_t runs_n; /* how many runs of blocks are hot */
	uint32_t weights[WL_KINDS];
	bool may_rot; /* reads may fail: a disk was made to lie */
};

struct workload_op {
	struct list link; /* workload.inflight or .free */
	uint64_t id, inv;
	enum client_kind kind;
	bool zeros; /* UNMAP, WRITE_SAME of zeros */
	bool bogus; /* CAW that compares with what never was */
	uint64_t offset_bytes;
	uint32_t len_bytes;               /* of the range */
	uint32_t data_bytes;              /* to carry, or to receive */
	uint64_t expect[CAW_SECTORS_MAX]; /* CAW: value per sector compared with */
};

struct workload_part { /* one extent's part of an op, as a chain numbered it */
	uint32_t chain;
	uint64_t seq;
};

struct workload_info { /* of every op ever made, by id */
	uint32_t block, blocks;
	bool same;
	struct workload_part parts[2]; /* by extent - first extent */
};

struct workload_reg {
	uint64_t last;                /* newest value seen or written: a good guess */
	uint64_t zero_ret, write_ret; /* L1 */
	uint32_t zero_gen;
	bool zero_busy, written; /* written: since the last zero returned (L1) */
};

struct workload {
	struct world *w;
	struct workload_config cfg;
	uint64_t tick; /* total order of invocations and returns */
	uint32_t blocks;
	uint32_t runs[WORKLOAD_RUNS_MAX]; /* first blocks */
	struct workload_reg *regs;        /* blocks * 8; a whole block uses its first */
	uint8_t *touched;                 /* per block: may hold something */
	struct list inflight, free;
	struct workload_info *infos;
	uint64_t infos_n, infos_cap;
	struct hist_op *history;
	size_t history_n, history_cap;
	uint64_t done, failed, timeouts;
	uint64_t by_kind[WL_KINDS];
	int last_failure;
};

void workload_init(struct workload *l, struct world *w, const struct workload_config *cfg);
void workload_fini(struct workload *l);
/* The next thing to do. */
struct workload_op *workload_next(struct workload *l);
/* A read of up to one run of what was touched, from block *@cursor on; NULL at the end. */
struct workload_op *workload_verify_next(struct workload *l, uint32_t *cursor);
/* What @op carries: op->data_bytes at @data. */
void workload_fill(struct workload *l, const struct workload_op *op, uint8_t *data);
/* It was not submitted after all. */
void workload_cancel(struct workload *l, struct workload_op *op);
/* It completed; @data is what a read returned. */
void workload_done(struct workload *l, struct workload_op *op, int status, uint32_t offset_bytes,
		   const uint8_t *data);
/* Its process died: nobody will ever know. */
void workload_abandon(struct workload *l, struct workload_op *op);
/* Check the whole history. */
void workload_check(struct workload *l);

/* Blocks whose sectors are registers of their own. */
static inline bool workload_by_sector(uint32_t block)
{
	return block / RUN_BLOCKS % 4 == 1;
}
/* NULL when @value is no operation of ours. */
struct workload_info *workload_info(struct workload *l, uint64_t value);

#endif
