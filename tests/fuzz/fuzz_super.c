/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A superblock as read from a disk. Input: one byte (0x80: seal it first), then the block. What is
 * accepted describes a layout that fits the disk. */

#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "tests/fuzz/fuzz.h"

#define SEAL 0x80u

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	const uint64_t disk_bytes = 1ull << 30;
	static struct disk_super sb;
	const char *why = NULL;

	if (len < 1 || len - 1 > sizeof(sb))
		return 0;
	memset(&sb, 0, sizeof(sb));
	memcpy(&sb, input + 1, len - 1);
	if (input[0] & SEAL) {
		sb.magic = SUPER_MAGIC;
		sb.version = STORE_VERSION;
		super_seal(&sb);
	}
	if (super_check(&sb, disk_bytes, &why) < 0) {
		CHECK(why != NULL);
		return 0;
	}
	CHECK(sb.disk_bytes <= disk_bytes);
	CHECK(sb.log_offset_bytes >= SUPER_REGION_BYTES && sb.log_offset_bytes <= disk_bytes);
	CHECK(sb.log_bytes <= disk_bytes - sb.log_offset_bytes);
	CHECK(sb.pages_offset_bytes <= disk_bytes);
	CHECK(sb.pages_n <= (disk_bytes - sb.pages_offset_bytes) / PAGE_BYTES);
	CHECK(sb.ckpt_slot <= 1);
	return 0;
}
