/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base.h"

#define SITES_MAX 32u

static _Atomic uint64_t unexpected_n;
static _Atomic(const char *) sites[SITES_MAX]; /* conditions already traced */

void check_failed(const char *cond, const char *file, int line)
{
	fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, cond);
	abort();
}

void unexpected(const char *cond, const char *file, int line)
{
	unexpected_n++;
	/* The text of a condition is one object per place in the code, so its address names the
	 * place. More than SITES_MAX places are counted and not traced. */
	for (unsigned i = 0; i < SITES_MAX; i++) {
		const char *none = NULL;

		if (atomic_compare_exchange_strong(&sites[i], &none, cond)) {
			fprintf(stderr, "%s:%d: unexpected: %s\n", file, line, cond);
			return;
		}
		if (none == cond)
			return;
	}
}

uint64_t unexpected_count(void)
{
	return unexpected_n;
}
