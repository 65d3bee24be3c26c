/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/image.h"

#include <string.h>

#include "tests/unit/fake_env.h"

/* ---- heap ---- */

void heap_init(struct heap *h, size_t len_bytes)
{
	*h = (struct heap){.base = fake_memory(len_bytes), .len_bytes = len_bytes};
}

void heap_fini(struct heap *h)
{
	fake_memory_free(h->base, h->len_bytes);
}

uint8_t *heap_blocks(struct heap *h, uint32_t n)
{
	uint8_t *p = h->base + h->used_bytes;

	CHECK(h->len_bytes - h->used_bytes >= (size_t)n * BLOCK_BYTES);
	h->used_bytes += (size_t)n * BLOCK_BYTES;
	return p;
}

void heap_release(struct heap *h, size_t mark_bytes)
{
	CHECK(mark_bytes <= h->used_bytes);
	h->used_bytes = mark_bytes;
}

/* ---- sums ---- */

static uint64_t fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Of a sector and its place; 0 for zeros. Four lanes, because a multiplication takes its time. */
static uint64_t sector_sum(uint64_t sector, const uint8_t *data)
{
	uint64_t w[SECTOR_BYTES / 8], lane[4] = {1, 2, 3, 4}, any = 0;

	memcpy(w, data, sizeof(w));
	for (unsigned i = 0; i < ARRAY_LEN(w); i++)
		any |= w[i];
	if (!any)
		return 0;
	for (unsigned i = 0; i < ARRAY_LEN(w); i += 8)
		for (unsigned k = 0; k < 4; k++)
			lane[k] = fold(lane[k] ^ w[i + 2 * k] ^ 0x9e3779b97f4a7c15ull,
				       w[i + 2 * k + 1] ^ 0xd1b54a32d192ed03ull);
	return fold(fold(lane[0] ^ sector, lane[1] ^ 0x8cb92ba72f3d8dd7ull),
		    fold(lane[2] ^ 0xaaaaaaaaaaaaaaabull, lane[3] ^ 0x2545f4914f6cdd1dull) ^
			    sector * 0x9e3779b97f4a7c15ull);
}

uint64_t image_block_sum(uint32_t at, const uint8_t *data)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < BLOCK_SECTORS; i++)
		sum += sector_sum((uint64_t)at * BLOCK_SECTORS + i,
				  data + (size_t)i * SECTOR_BYTES);
	return sum;
}

/* ---- images ---- */

void image_init(struct image *im, uint32_t blocks_n)
{
	CHECK(blocks_n <= IMAGE_BLOCKS_MAX);
	im->blocks_n = blocks_n;
	im->sum = 0;
	memset(im->b, 0, blocks_n * sizeof(im->b[0]));
}

void image_copy(struct image *to, const struct image *from)
{
	to->blocks_n = from->blocks_n;
	to->sum = from->sum;
	memcpy(to->b, from->b, from->blocks_n * sizeof(from->b[0]));
}

void image_set(struct image *im, uint32_t at, const uint8_t *data, uint64_t sum)
{
	struct image_block *b = &im->b[at];

	CHECK(at < im->blocks_n);
	im->sum += sum - b->sum;
	*b = (struct image_block){.data = data, .sum = sum};
}

void image_tear(struct image *im, struct heap *h, uint32_t at, const uint8_t *data, uint8_t mask)
{
	uint8_t *to = heap_blocks(h, 1);

	image_read(im, (uint64_t)at * BLOCK_BYTES, BLOCK_BYTES, to);
	for (uint32_t i = 0; i < BLOCK_SECTORS; i++)
		if (mask >> i & 1)
			memcpy(to + (size_t)i * SECTOR_BYTES, data + (size_t)i * SECTOR_BYTES,
			       SECTOR_BYTES);
	image_set(im, at, to, image_block_sum(at, to));
}

void image_move(struct image *im, struct heap *to)
{
	for (uint32_t i = 0; i < im->blocks_n; i++) {
		uint8_t *data;

		if (!im->b[i].data)
			continue;
		data = heap_blocks(to, 1);
		memcpy(data, im->b[i].data, BLOCK_BYTES);
		im->b[i].data = data;
	}
}

/* How many blocks from @i on lie in the heap one after the other. */
static uint32_t run_length(const struct image_block *b, uint32_t n)
{
	uint32_t k = 1;

	while (k < n && (b->data ? b[k].data == b->data + (size_t)k * BLOCK_BYTES : !b[k].data))
		k++;
	return k;
}

void image_read(const struct image *im, uint64_t offset_bytes, uint32_t len_bytes, uint8_t *to)
{
	uint32_t at = (uint32_t)(offset_bytes / BLOCK_BYTES), left = len_bytes / BLOCK_BYTES;

	CHECK(at + left <= im->blocks_n);
	for (uint32_t n; left > 0; left -= n, at += n, to += (size_t)n * BLOCK_BYTES) {
		const uint8_t *from = im->b[at].data;

		n = run_length(&im->b[at], left);
		if (from)
			memcpy(to, from, (size_t)n * BLOCK_BYTES);
		else
			memset(to, 0, (size_t)n * BLOCK_BYTES);
	}
}
