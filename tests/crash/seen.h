/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* seen - which images were looked at already, and what was found there.
 *
 * struct seen is one record's: an image met again is not recovered again, but what its recovery
 * found has to be allowed at the later cut too. struct known is a hunt's: sums of images in memory
 * shared by its processes, so that none counts twice. */

#ifndef TESTS_CRASH_SEEN_H
#define TESTS_CRASH_SEEN_H

#include <stdatomic.h>

#include "tests/crash/model.h"

struct seen_entry {
	uint64_t sum;
	bool bad; /* nothing was found */
	struct store_chain_info found[MODEL_CHAINS + 1];
};
struct seen {
	struct seen_entry *v;
	uint32_t *slot; /* index + 1; slots_n is a power of two */
	uint32_t n, slots_n;
};

void seen_init(struct seen *s);
void seen_clear(struct seen *s);
const struct seen_entry *seen_find(const struct seen *s, uint64_t sum);
/* The caller fills in what was found. */
struct seen_entry *seen_add(struct seen *s, uint64_t sum);

struct known {
	uint64_t slots_n; /* a power of two */
	atomic_ullong used;
	atomic_ullong slot[];
};
struct known *known_new(uint64_t slots_n); /* shared with the children of this process */
/* False: it was there. When there is no room left everything is new. */
bool known_add(struct known *k, uint64_t sum);

#endif
