/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cut - what a disk may hold when the power goes after any event of a record.
 *
 * At cut t every write is one of: durable (it ended and was DSYNC, or a flush that began after that
 * has ended), open (begun and not durable), or not begun. The durable ones are there. Of the open
 * ones any subset of their 512-byte sectors is: torn inside a block, in any order. A pick names one
 * subset:
 *
 *	none, all       of the open writes
 *	oneN, butN      the Nth open write alone; all but that
 *	tornN           a random part of each: nothing, all of it, its front, its end, half of its
 *	                sectors, half of its blocks, all but one block that is torn, all but one
 *	sector
 *
 *   C1  where open writes overlap, the one that began later wins if both are picked; either may
 *       be there alone
 *   C2  a sector made durable by a write that began after another had ended is not that other's
 *       any more
 *
 * The record outlives the cut. One thread. */

#ifndef TESTS_CRASH_CUT_H
#define TESTS_CRASH_CUT_H

#include "tests/crash/record.h"

#define CUT_OPEN_MAX 512u

enum pick_kind { PICK_NONE, PICK_ALL, PICK_ONE, PICK_BUT, PICK_TORN, PICK_KIND_END };
struct pick {
	enum pick_kind kind;
	uint32_t n;
};

struct open_write {
	uint32_t index; /* in the record */
	uint8_t *lost;  /* C2: mask of sectors per block; NULL: none */
};

struct cut {
	const struct record *rec;
	struct heap *heap;
	uint32_t at;        /* events that have happened */
	uint32_t mark;      /* marks applied */
	uint32_t processes; /* EVENT_NEW_PROCESS seen */
	struct image durable;
	struct model model; /* as of .at */
	struct open_write open[CUT_OPEN_MAX];
	uint32_t open_n;
};

/* Before the first event. */
void cut_init(struct cut *c, const struct record *rec, struct heap *heap);
/* @at events have happened; not fewer than before. */
void cut_advance(struct cut *c, uint32_t at);
/* The disk as @p leaves it. */
void cut_image(struct cut *c, const struct pick *p, struct image *ret);

/* "none", "but3": at least 16 bytes at @to. */
void pick_print(const struct pick *p, char *to, size_t len_bytes);
/* Reads one at @*s and moves on; false when there is none. */
bool pick_parse(const char **s, struct pick *ret);

#endif
