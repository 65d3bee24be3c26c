/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/crc.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>

#include "lib/limits.h"

/* ISA-L's widest code returns with the upper halves of the vector registers in use. Each SSE
 * instruction after that waits for them: a block took three times as long, and whatever ran next
 * was slower, too (Intel's optimization manual: mixing AVX and SSE code). Nothing of ours lives
 * there. */
static inline void leave_wide_registers(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroupper" ::
					 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
					   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
					   "xmm13", "xmm14", "xmm15");
#endif
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes)
{
	uint32_t reg;

	CHECK(len_bytes <= INT_MAX);
	/* ISA-L takes and returns the register as it is; the usual form inverts it at both ends.
	 * It only reads the buffer, in spite of its prototype. */
	reg = crc32_iscsi((unsigned char *)(uintptr_t)data, (int)len_bytes, ~crc);
	leave_wide_registers();
	return ~reg;
}

static uint32_t seed(const struct block_addr *at)
{
	const struct {
		uint64_t volume, extent, block;
	} bytes = {at->volume, at->extent, at->block};

	CHECK(at->block < EXTENT_BLOCKS);
	return crc32c(0, &bytes, sizeof(bytes));
}

/* Two sums of 64-bit words in eight lanes, after Fletcher (1982): the first tells the words, the
 * second their order. Carries make them no linear function over GF(2): see the header. Two lanes to
 * a vector is what every x86-64 has; four chains of additions keep it busy. Variables and not
 * arrays: arrays would live in memory. */
#define SUM_LANES 16u
typedef uint64_t lanes __attribute__((vector_size(16)));

static inline lanes load(const uint8_t *at)
{
	lanes l;

	memcpy(&l, at, sizeof(l));
	return l;
}

static uint32_t crc_with_sums(uint32_t crc, const void *data)
{
	const uint8_t *at = data, *end = at + BLOCK_BYTES;
	lanes a = {0}, b = {0}, c = {0}, d = {0};
	lanes a2 = {0}, b2 = {0}, c2 = {0}, d2 = {0};

	for (; at < end; at += 4 * sizeof(lanes)) {
		a += load(at);
		b += load(at + 16);
		c += load(at + 32);
		d += load(at + 48);
		a2 += a;
		b2 += b;
		c2 += c;
		d2 += d;
	}
	const lanes sums[SUM_LANES / 2] = {a, b, c, d, a2, b2, c2, d2};

#ifdef PLANT_PLAIN_BLOCK_CRC
	return crc32c(crc, data, BLOCK_BYTES);
#endif
	return crc32c(crc32c(crc, data, BLOCK_BYTES), sums, sizeof(sums));
}

uint32_t crc_block(const struct block_addr *at, const void *data)
{
	return crc_with_sums(seed(at), data);
}

uint32_t crc_block_anywhere(const void *data)
{
	return crc_with_sums(0, data);
}

uint32_t crc_block_zero(const struct block_addr *at)
{
	static const uint8_t zeros[BLOCK_BYTES + SUM_LANES * sizeof(uint64_t)]
		__attribute__((aligned(64)));

	/* The sums of zeros are zeros. */
	return crc32c(seed(at), zeros, sizeof(zeros));
}
