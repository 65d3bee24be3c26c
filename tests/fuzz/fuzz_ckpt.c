/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A block of a checkpoint as read from a disk. Input: one byte (0x80: seal it first), then the
 * block. What is accepted names no record block, page or client outside its bounds. */

#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "tests/fuzz/fuzz.h"

#define SEAL 0x80u

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	const uint64_t secret = 42, generation = 3, index = 1, pages_n = 1000;
	static uint64_t block[BLOCK_BYTES / 8];
	struct disk_ckpt_hdr *h = (struct disk_ckpt_hdr *)block;
	const struct disk_ckpt_recs *recs = (const struct disk_ckpt_recs *)(h + 1);
	const char *why = NULL;

	if (len < 1 || len - 1 > sizeof(block))
		return 0;
	memset(block, 0, sizeof(block));
	memcpy(block, input + 1, len - 1);
	if (input[0] & SEAL) {
		h->magic = CKPT_MAGIC;
		h->generation = generation;
		h->index = index;
		ckpt_seal(h, secret);
	}
	if (ckpt_check(h, secret, generation, index, pages_n, &why) < 0) {
		CHECK(why != NULL);
		return 0;
	}
	CHECK(h->kind > 0 && h->kind < CKPT_KIND_END);
	CHECK(h->kind == CKPT_RECS ? h->n <= CKPT_RECS_PER_BLOCK : h->n == 1);
	for (uint32_t i = 0; h->kind == CKPT_RECS && i < h->n; i++) {
		uint64_t used = recs[i].used & ~RECS_HOME_B;

		/* The highest page in use is one of the disk's. */
		CHECK(used != 0 && used < 1ull << RECS_PAGES);
		CHECK((uint64_t)recs[i].index * RECS_PAGES + 63 - (uint64_t)__builtin_clzll(used) <
		      pages_n);
	}
	return 0;
}
