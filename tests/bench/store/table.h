/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* table - which version each block of the bench's volume has, kept in a file from run to run.
 *
 * Entry i stands for one block of 4 KiB. With a stride of 1 entries are the volume's blocks in
 * order. With a stride of N there is one entry in N blocks, not always at the same place: so that
 * a few entries touch every extent of a volume that is too large to be written.
 *
 *   T1  version 0: never written, reads as zeros; else measure_fill(entry, version) */

#ifndef BENCH_STORE_TABLE_H
#define BENCH_STORE_TABLE_H

#include "lib/crc.h"
#include "lib/limits.h"
#include "tests/bench/measure.h"

struct table {
	const char *path;
	uint64_t entries, stride;
	uint32_t *version;
};

/* Read it, or begin with zeros where the file is not there or shorter. */
void table_open(struct table *t, const char *path, uint64_t volume_bytes, uint64_t stride);
void table_save(struct table *t);
struct block_addr table_addr(const struct table *t, uint64_t entry);
/* What @entry will hold once it is written once more. */
void table_fill_next(const struct table *t, uint64_t entry, void *block);
bool table_verify(const struct table *t, uint64_t entry, const void *block);

#endif
