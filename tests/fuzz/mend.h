/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* mend - make the checksums of a store's image right again after its bytes were changed: without
 * that a CRC stops every mutation at the door. One function for each structure; whoever changes the
 * format changes this file. What the checksums do not cover is left as it was changed.
 *
 * Pure, but for the image. */

#ifndef FUZZ_MEND_H
#define FUZZ_MEND_H

#include "lib/base.h"

#define MEND_HEADERS_MAX 64u
#define MEND_BLOCKS_MAX 256u

/* Where a sound image has its structures: found before anything is changed. Offsets in bytes. */
struct mend_places {
	uint64_t disk_bytes;
	uint64_t headers[MEND_HEADERS_MAX]; /* of the log, in order from where replay starts */
	uint32_t headers_n;
	uint64_t ckpt[MEND_BLOCKS_MAX]; /* blocks of the valid checkpoint */
	uint32_t ckpt_n;
	uint64_t recs[MEND_BLOCKS_MAX]; /* record blocks it names */
	uint32_t recs_n;
};

void mend_find(const uint8_t *image, uint64_t disk_bytes, struct mend_places *ret);

/* In this order: checkpoints hold the checksums of record blocks; seeds are the superblock's. */
void mend_records(uint8_t *image, const struct mend_places *p);
void mend_checkpoint(uint8_t *image, const struct mend_places *p);
void mend_log(uint8_t *image, const struct mend_places *p);
void mend_super(uint8_t *image); /* copy 1, which becomes all of them */
#define MEND_SUPER_COPIES 4u
uint64_t mend_super_offset(uint32_t copy);

#endif
