/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* image - the content of a disk as a table of blocks, so that a thousand crash images of one run
 * cost little more than what they differ in.
 *
 *	image.b[i] --> 4096 bytes in the heap, shared by every image that holds that content; NULL:
 *	               never written, zeros
 *
 *   I1  bytes a table points at never change: writing a part of a block makes a new one
 *   I2  image.sum is the sum of its blocks' sums, and two images with the same content have the
 *       same: it names an image. An all-zero sector counts nothing, written or not
 *   I3  the heap only grows; heap_release() gives back what was taken after a mark, together with
 *       every image that points there
 *
 * Blocks set without a sum make the image's meaningless: for a disk nobody cuts. One thread. */

#ifndef TESTS_CRASH_IMAGE_H
#define TESTS_CRASH_IMAGE_H

#include "lib/base.h"
#include "lib/limits.h"

#define IMAGE_BLOCKS_MAX 8192u
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)

struct heap {
	uint8_t *base;
	size_t used_bytes, len_bytes;
};

struct image_block {
	const uint8_t *data; /* BLOCK_BYTES, or NULL: zeros */
	uint64_t sum;        /* of its sectors and their places */
};

struct image {
	uint32_t blocks_n; /* <= IMAGE_BLOCKS_MAX */
	uint64_t sum;
	struct image_block b[IMAGE_BLOCKS_MAX];
};

void heap_init(struct heap *h, size_t len_bytes);
void heap_fini(struct heap *h);
/* @n whole blocks, content undefined; running out is a sizing bug: CHECKed. */
uint8_t *heap_blocks(struct heap *h, uint32_t n);
void heap_release(struct heap *h, size_t mark_bytes); /* back to an earlier .used_bytes */

void image_init(struct image *im, uint32_t blocks_n); /* all zero */
void image_copy(struct image *to, const struct image *from);
/* Sum of a whole block at @at. */
uint64_t image_block_sum(uint32_t at, const uint8_t *data);
/* Block @at is @data from now on, by reference. */
void image_set(struct image *im, uint32_t at, const uint8_t *data, uint64_t sum);
/* The sectors of @mask of block @at become those of @data; a new block is made for it. */
void image_tear(struct image *im, struct heap *h, uint32_t at, const uint8_t *data, uint8_t mask);
/* Everything @im holds is copied to @to. */
void image_move(struct image *im, struct heap *to);
void image_read(const struct image *im, uint64_t offset_bytes, uint32_t len_bytes, uint8_t *to);

#endif
