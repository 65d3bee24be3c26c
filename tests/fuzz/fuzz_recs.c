/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A record block as read from its home. Input: one byte (0x80: seal it first), the 8 bytes of
 * disk_ckpt_recs.used, then the block. What is accepted names no page's owner outside its bounds.
 */

#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "tests/fuzz/fuzz.h"

#define SEAL 0x80u

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	const uint64_t secret = 42;
	static struct disk_recs r;
	struct disk_ckpt_recs want = {.index = 5};
	const char *why = NULL;

	if (len < 9 || len - 9 > sizeof(r))
		return 0;
	memset(&r, 0, sizeof(r));
	memcpy(&want.used, input + 1, sizeof(want.used));
	memcpy(&r, input + 9, len - 9);
	if (input[0] & SEAL) {
		r.magic = RECS_MAGIC;
		r.index = want.index;
		recs_seal(&r, secret);
	}
	want.crc = r.crc;
	if (recs_check(&r, secret, &want, &why) < 0) {
		CHECK(why != NULL);
		return 0;
	}
	CHECK(r.magic == RECS_MAGIC && r.index == want.index);
	for (uint32_t i = 0; i < RECS_PAGES; i++) {
		const struct disk_page_rec *rec = &r.rec[i];

		if (want.used >> i & 1)
			CHECK(rec->chain != 0 && rec->present != 0 && rec->slot < EXTENT_PAGES &&
			      rec->extent < EXTENTS_MAX);
	}
	return 0;
}
