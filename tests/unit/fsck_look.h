/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck_look - fsck of a disk image in memory, for unit and crash tests: findings are kept as text.
 *
 * One image at a time, given by its bytes; fsck_look() may be called again. Memory comes from
 * fake_memory() and is given back before it returns. */

#ifndef TESTS_UNIT_FSCK_LOOK_H
#define TESTS_UNIT_FSCK_LOOK_H

#include "store/fsck.h"

#define FSCK_LOOK_FINDINGS 64u

struct fsck_look {
	const uint8_t *image;
	uint64_t image_bytes;
	bool quick;
	uint64_t bad_block; /* reads that touch the block at this offset fail; 0: none */
	uint64_t stop_at;   /* call of progress that says stop; 0: none */
	/* What came out. */
	int res; /* of fsck_begin(), then fsck_run() */
	const char *why;
	struct fsck_result result;
	uint64_t progress_n, reads_n;
	unsigned findings_n; /* may be more than are kept */
	struct fsck_look_finding {
		enum fsck_verdict verdict;
		char kind[32], text[256];
		uint64_t offset_bytes;
	} finding[FSCK_LOOK_FINDINGS];
};

/* Returns l->result.verdict. */
enum fsck_verdict fsck_look(struct fsck_look *l);
/* The first finding of @kind, or NULL. */
const struct fsck_look_finding *fsck_look_for(const struct fsck_look *l, const char *kind);
/* All findings, on stderr. */
void fsck_look_print(const struct fsck_look *l);

#endif
