/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* plant - faults planted between the store and its disk: a flush or a DSYNC that is not one.
 *
 * A plant takes out what the store relies on at one place of its format, as if its author had
 * forgotten it there. Each has to turn the crash states red, or the states are too tame. Where a
 * region lies is the one thing the harness takes from store/format.h.
 *
 * Plants in the store's own lines are a table in tests/crash/meson.build. */

#ifndef TESTS_CRASH_PLANT_H
#define TESTS_CRASH_PLANT_H

#include "lib/base.h"

enum region { REGION_SUPER, REGION_LOG, REGION_CKPT, REGION_RECS, REGION_PAGES, REGION_END };

struct region_map {
	uint64_t end_bytes[REGION_END]; /* ascending: a region ends where the next begins */
};

enum plant_what {
	PLANT_DSYNC,  /* writes there lose their DSYNC */
	PLANT_FLUSH,  /* a flush does nothing while something there awaits it */
	PLANT_FORGET, /* no flush covers what was written there */
};
struct plant {
	const char *name;
	enum plant_what what;
	enum region region;
};

/* Where everything lies on a disk formatted so; -ENOSPC when that is too small for a store. */
MUST_CHECK int region_map_init(struct region_map *m, uint64_t disk_bytes, uint64_t log_bytes);
enum region region_of(const struct region_map *m, uint64_t offset_bytes);
const char *region_name(enum region r);

/* NULL: no plant of that name. */
const struct plant *plant_find(const char *name);
void plant_list(void); /* their names to stdout, one a line */

#endif
