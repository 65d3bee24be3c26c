/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/bench/store/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME 1u
#define SPREAD 2654435761u /* odd */

void table_open(struct table *t, const char *path, uint64_t volume_bytes, uint64_t stride)
{
	FILE *f = fopen(path, "re");

	*t = (struct table){
		.path = path, .stride = stride, .entries = volume_bytes / BLOCK_BYTES / stride};
	t->version = calloc(t->entries, sizeof(*t->version));
	if (!t->version)
		measure_die("memory", ENOMEM);
	if (!f && errno != ENOENT)
		measure_die(path, errno);
	if (f && fread(t->version, sizeof(*t->version), t->entries, f) < t->entries && ferror(f))
		measure_die(path, EIO);
	if (f)
		fclose(f);
}

void table_save(struct table *t)
{
	FILE *f = fopen(t->path, "we");

	if (!f || fwrite(t->version, sizeof(*t->version), t->entries, f) != t->entries ||
	    fclose(f) != 0)
		measure_die(t->path, errno);
	free(t->version);
}

struct block_addr table_addr(const struct table *t, uint64_t entry)
{
	uint64_t block = entry * t->stride + entry * SPREAD % t->stride;

	return (struct block_addr){.volume = VOLUME,
				   .extent = block / EXTENT_BLOCKS,
				   .block = (uint32_t)(block % EXTENT_BLOCKS)};
}

void table_fill_next(const struct table *t, uint64_t entry, void *block)
{
	measure_fill(block, (struct block_stamp){.block = entry, .version = t->version[entry] + 1});
}

bool table_verify(const struct table *t, uint64_t entry, const void *block)
{
	static const uint8_t zeros[BLOCK_BYTES];

	if (!t->version[entry])
		return memcmp(block, zeros, BLOCK_BYTES) == 0;
	return measure_verify(block,
			      (struct block_stamp){.block = entry, .version = t->version[entry]});
}
