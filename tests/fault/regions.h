/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* regions - which block of a store's image is what, for tests that damage it: the one place of the
 * damage test that knows the format.
 *
 * A block that is part of nothing that was written is REGION_FREE. One thread. */

#ifndef TESTS_FAULT_REGIONS_H
#define TESTS_FAULT_REGIONS_H

#include "lib/base.h"

enum region {
	REGION_FREE,
	REGION_SUPER,
	REGION_LOG_HEADER, /* of what recovery replays, and of the laps before */
	REGION_LOG_PAYLOAD,
	REGION_CHECKPOINT,     /* the valid one */
	REGION_CHECKPOINT_OLD, /* the one before */
	REGION_RECORDS,        /* of pages, where the valid checkpoint names them */
	REGION_RECORDS_OLD,    /* the other home */
	REGION_PAGE,
	REGIONS
};

struct region_info {
	const char *name;
	bool header;   /* structured: its first bytes are looked at more closely */
	bool harmless; /* one damaged block of it never keeps a store from opening */
	bool silent;   /* and is never noticed at all */
};
extern const struct region_info region_infos[REGIONS];

/* One enum region per block of @image. */
void regions_find(const uint8_t *image, uint64_t disk_bytes, uint8_t *ret_regions);

#endif
