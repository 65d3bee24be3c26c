/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/cmd_slices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/format.h"

/* What a superblock says that was written at format and never changed since: which of its copies it
 * is does not matter. */
struct found {
	uint64_t generation; /* 0: there is none */
	uint64_t each_bytes;
};

static struct found find_super(const struct env_disk *disk, uint64_t at_bytes, uint8_t *region)
{
	struct found best = {0};
	const char *why;

	if (disk_read_now(disk, at_bytes, region, SUPER_REGION_BYTES) < 0)
		return best;
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct disk_super *sb = (const void *)(region + super_offset_bytes(i));

		if (super_check(sb, disk->size_bytes - at_bytes, &why) == 0 &&
		    sb->generation > best.generation)
			best = (struct found){.generation = sb->generation,
					      .each_bytes = sb->disk_bytes};
	}
	return best;
}

/* Equal stores one behind the other. */
static uint32_t count_slices(const struct env_disk *disk, uint64_t each_bytes, uint8_t *region)
{
	uint32_t n = 1;

	while (n < REACTORS_MAX &&
	       find_super(disk, n * each_bytes, region).each_bytes == each_bytes)
		n++;
	return n;
}

int slices_find(const struct env_disk *disk, struct slices *ret, char err[SHARE_ERR_BYTES])
{
	struct slices s = share_disk(disk->size_bytes, 1);
	struct found first;
	void *region;

	if (posix_memalign(&region, BLOCK_BYTES, SUPER_REGION_BYTES)) {
		snprintf(err, SHARE_ERR_BYTES, "no memory to read the superblock");
		return -ENOMEM;
	}
	first = find_super(disk, 0, region);
	if (first.generation > 0)
		s.n = count_slices(disk, first.each_bytes, region);
	if (s.n > 1)
		s.each_bytes = first.each_bytes;
	free(region);
	*ret = s;
	return 0;
}

struct disk_part slices_part(const struct slices *s, uint32_t i)
{
	CHECK(i < s->n);
	return (struct disk_part){.offset_bytes = i * s->each_bytes, .size_bytes = s->each_bytes};
}
