/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/fresh.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/fake_env.h"

#define PAGE 4096u
#define ROUNDS 4u

void fresh_init(struct fresh *f, size_t len_bytes)
{
	len_bytes = (len_bytes + PAGE - 1) / PAGE * PAGE;
	*f = (struct fresh){.base = fake_memory(len_bytes), .len_bytes = len_bytes};
	f->hot = calloc(len_bytes / PAGE, 1);
	CHECK(f->hot != NULL);
}

void fresh_fini(struct fresh *f)
{
	fake_memory_free(f->base, f->len_bytes);
	free(f->hot);
}

/* What is resident now was touched since the last round. */
static void learn(struct fresh *f)
{
	size_t pages = f->len_bytes / PAGE;
	unsigned char *there = malloc(pages);

	CHECK(there != NULL);
	CHECK(mincore(f->base, f->len_bytes, there) == 0);
	for (size_t i = 0; i < pages; i++)
		f->hot[i] |= there[i] & 1;
	free(there);
	f->rounds_n++;
}

void fresh_zero(struct fresh *f)
{
	size_t pages = f->len_bytes / PAGE, n;

	if (f->rounds_n < ROUNDS) {
		learn(f);
		fake_memory_zero(f->base, f->len_bytes);
		return;
	}
	for (size_t i = 0; i < pages; i += n) {
		n = 1;
		while (i + n < pages && f->hot[i + n] == f->hot[i])
			n++;
		if (f->hot[i])
			memset(f->base + i * PAGE, 0, n * PAGE);
		else
			fake_memory_zero(f->base + i * PAGE, n * PAGE);
	}
}
