/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fresh - memory that is all zero again and again, cheaply.
 *
 * A store's memory is some MiB of which a recovery touches a part. Zeroing all of it, or giving it
 * back to the system and having it zeroed page by page at each touch, is half of a crash state's
 * time. So the pages that are touched are learnt from the first rounds: those are zeroed where they
 * are, the others are given back. */

#ifndef TESTS_CRASH_FRESH_H
#define TESTS_CRASH_FRESH_H

#include "lib/base.h"

struct fresh {
	uint8_t *base;
	size_t len_bytes;
	uint8_t *hot;      /* per page: touched in an early round */
	uint32_t rounds_n; /* learnt from */
};

void fresh_init(struct fresh *f, size_t len_bytes);
void fresh_fini(struct fresh *f);
void fresh_zero(struct fresh *f); /* all of it */

#endif
