/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* big - a full store of any size on a file that is mostly holes.
 *
 *	host_format (sparse) -> big_populate -> host_open
 *
 * Every page of every extent of the volume is owned, every block of it is present and zero: a hole
 * reads as that. What is written are the record blocks with the checksums of all those zeros, the
 * checkpoint that names them, and the superblock that names the checkpoint; nothing is in the log.
 * Opening it is opening a store that was filled block by block and then closed, and every check of
 * a read is real: checksums are seeded with the block's address. The volume is table.h's.
 *
 * Blocking. What fails ends the process with 1. */

#ifndef BENCH_STORE_BIG_H
#define BENCH_STORE_BIG_H

#include <stdint.h>

struct big_config {
	const char *path;
	uint64_t volume_bytes; /* multiple of EXTENT_BYTES */
	uint32_t chains;       /* extents go round them, as in drive.h */
};

void big_populate(const struct big_config *cfg);

#endif
