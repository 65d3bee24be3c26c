/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/stamp.h"

#include <string.h>

#include "lib/crc.h"
#include "sim/rng.h"

#define STAMP_MAGIC 0x706d61747373696dull

void stamp_fill(void *sector, uint64_t op, uint32_t block, uint32_t index)
{
	struct stamp s = {.magic = STAMP_MAGIC, .op = op, .block = block, .sector = index};
	uint64_t x = rng_mix(op ^ ((uint64_t)block << 32) ^ index);

	for (size_t i = 0; i < ARRAY_LEN(s.fill); i++)
		s.fill[i] = x += 0x9e3779b97f4a7c15ull;
	s.crc = crc32c(0, &s, offsetof(struct stamp, crc));
	memcpy(sector, &s, sizeof(s));
}

uint64_t stamp_value(const void *sector, uint32_t block, uint32_t index)
{
	static const uint8_t zeros[SECTOR_BYTES];
	struct stamp s;

	memcpy(&s, sector, sizeof(s));
	if (s.magic == 0 && memcmp(sector, zeros, sizeof(zeros)) == 0)
		return STAMP_ZERO;
	if (s.magic != STAMP_MAGIC || s.crc != crc32c(0, &s, offsetof(struct stamp, crc)) ||
	    s.sector != index || (s.block != block && s.block != STAMP_ANY_BLOCK))
		return STAMP_BAD;
	return s.op;
}

bool stamp_peek(const void *sector, uint64_t *ret_op, uint32_t *ret_block)
{
	struct stamp s;

	memcpy(&s, sector, offsetof(struct stamp, fill));
	if (s.magic != STAMP_MAGIC)
		return false;
	*ret_op = s.op;
	*ret_block = s.block;
	return true;
}
