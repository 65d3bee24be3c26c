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
	uint32_t slice, slices_n;
};

static struct found find_super(const struct env_disk *disk, uint64_t at_bytes, uint8_t *region)
{
	struct found best = {0};
	const char *why;

	if (disk_read_now(disk, at_bytes, region, SUPER_REGION_BYTES) < 0)
		return best;
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct disk_super *sb = (const void *)(region + super_offset_bytes(i));

		/* Whether the disk is long enough is looked at for all slices together. */
		if (super_check(sb, UINT64_MAX, &why) == 0 && sb->generation > best.generation)
			best = (struct found){.generation = sb->generation,
					      .each_bytes = sb->disk_bytes,
					      .slice = sb->slice,
					      .slices_n = sb->slices_n};
	}
	return best;
}

/* The others must say the same; one that says nothing is damaged, and store_open() says how. */
static int check_others(const struct env_disk *disk, const struct slices *s, uint8_t *region,
			char err[SHARE_ERR_BYTES])
{
	for (uint32_t i = 1; i < s->n; i++) {
		struct found f = find_super(disk, i * s->each_bytes, region);

		if (f.generation == 0 ||
		    (f.slice == i && f.slices_n == s->n && f.each_bytes == s->each_bytes))
			continue;
		snprintf(err, SHARE_ERR_BYTES,
			 "store: slice %u of %u is slice %u of another disk of %u: use the disk "
			 "that was "
			 "formatted",
			 i, s->n, f.slice, f.slices_n);
		return -EBADMSG;
	}
	return 0;
}

static int check_slices(const struct env_disk *disk, const struct found *first,
			const struct slices *s, uint8_t *region, char err[SHARE_ERR_BYTES])
{
	if (first->slice != 0) {
		snprintf(err, SHARE_ERR_BYTES,
			 "store: this is slice %u of %u, not a whole disk: give the disk it is on",
			 first->slice, first->slices_n);
		return -EBADMSG;
	}
	if (s->each_bytes > disk->size_bytes / s->n) {
		snprintf(err, SHARE_ERR_BYTES,
			 "store: formatted with %u slices of %llu MiB, the disk has %llu MiB now: "
			 "it "
			 "was shrunk, or is another one: use the whole disk",
			 s->n, (unsigned long long)(s->each_bytes >> 20),
			 (unsigned long long)(disk->size_bytes >> 20));
		return -ENOSPC;
	}
	return check_others(disk, s, region, err);
}

int slices_find(const struct env_disk *disk, struct slices *ret, char err[SHARE_ERR_BYTES])
{
	struct slices s = share_disk(disk->size_bytes, 1);
	struct found first;
	void *region;
	int rc = 0;

	if (posix_memalign(&region, BLOCK_BYTES, SUPER_REGION_BYTES)) {
		snprintf(err, SHARE_ERR_BYTES, "store: no memory to read its superblock");
		return -ENOMEM;
	}
	first = find_super(disk, 0, region);
	if (first.generation > 0 && first.slices_n > 1) {
		s = (struct slices){.n = first.slices_n, .each_bytes = first.each_bytes};
		rc = check_slices(disk, &first, &s, region, err);
	}
	free(region);
	if (rc == 0)
		*ret = s;
	return rc;
}

struct disk_part slices_part(const struct slices *s, uint32_t i)
{
	CHECK(i < s->n);
	return (struct disk_part){.offset_bytes = i * s->each_bytes, .size_bytes = s->each_bytes};
}
