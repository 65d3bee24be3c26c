/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* check - is what an open store says what its model says?
 *
 *   present maps      of every extent, whole: a block is there if and only if it has content
 *   committed         content of the blocks looked at, and their checksums
 *   newest            the same with what is pending on top
 *   pending           every op after .committed, record and payload
 *
 * Reading everything every time would be most of the work: a scope says where to look, and some
 * other blocks are looked at each time, never the same ones. */

#ifndef TESTS_CRASH_CHECK_H
#define TESTS_CRASH_CHECK_H

#include "tests/crash/record.h"
#include "tests/crash/world.h"

struct scope {
	uint64_t bits[MODEL_CHAINS + 1][MODEL_EXTENTS][EXTENT_BLOCKS / 64];
	uint32_t sample_n; /* others, per extent */
};

void scope_init(struct scope *sc, uint32_t sample_n);
void scope_content(struct scope *sc, const struct model *m, uint32_t chain); /* all of it */
/* What the ops of @m that may be pending touched, and what @rec, unless NULL, appended. */
void scope_recent(struct scope *sc, const struct model *m, const struct record *rec);

/* The open store of @w against its model. The world goes on meanwhile: transfers end, time passes.
 */
void check_store(struct world *w, const struct scope *sc);

#endif
