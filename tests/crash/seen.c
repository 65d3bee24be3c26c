/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/seen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLOTS_FIRST 4096u

void seen_init(struct seen *s)
{
	*s = (struct seen){.slots_n = SLOTS_FIRST};
	s->slot = calloc(s->slots_n, sizeof(s->slot[0]));
	s->v = calloc(s->slots_n / 2, sizeof(s->v[0]));
	CHECK(s->slot != NULL);
	CHECK(s->v != NULL);
}

void seen_clear(struct seen *s)
{
	memset(s->slot, 0, s->slots_n * sizeof(s->slot[0]));
	s->n = 0;
}

static uint32_t *slot_of(const struct seen *s, uint64_t sum)
{
	uint32_t at = (uint32_t)(sum * 0x9e3779b97f4a7c15ull >> 32) & (s->slots_n - 1);

	while (s->slot[at] && s->v[s->slot[at] - 1].sum != sum)
		at = (at + 1) & (s->slots_n - 1);
	return &s->slot[at];
}

const struct seen_entry *seen_find(const struct seen *s, uint64_t sum)
{
	uint32_t at = *slot_of(s, sum);

	return at ? &s->v[at - 1] : NULL;
}

static void grow(struct seen *s)
{
	s->slots_n *= 2;
	s->slot = realloc(s->slot, s->slots_n * sizeof(s->slot[0]));
	s->v = realloc(s->v, s->slots_n / 2 * sizeof(s->v[0]));
	CHECK(s->slot != NULL);
	CHECK(s->v != NULL);
	memset(s->slot, 0, s->slots_n * sizeof(s->slot[0]));
	for (uint32_t i = 0; i < s->n; i++)
		*slot_of(s, s->v[i].sum) = i + 1;
}

struct seen_entry *seen_add(struct seen *s, uint64_t sum)
{
	if (s->n == s->slots_n / 2)
		grow(s);
	s->v[s->n] = (struct seen_entry){.sum = sum};
	*slot_of(s, sum) = s->n + 1;
	return &s->v[s->n++];
}

/* ---- across processes ---- */

struct known *known_new(uint64_t slots_n)
{
	size_t bytes = sizeof(struct known) + slots_n * sizeof(atomic_ullong);
	struct known *k = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(k != MAP_FAILED);
	k->slots_n = slots_n;
	return k;
}

bool known_add(struct known *k, uint64_t sum)
{
	uint64_t at = sum * 0x9e3779b97f4a7c15ull >> 20;

	sum |= sum == 0; /* 0 is an empty slot */
	if (atomic_load(&k->used) * 4 > k->slots_n * 3)
		return true;
	for (;; at++) {
		unsigned long long there = 0;

		if (atomic_compare_exchange_strong(&k->slot[at & (k->slots_n - 1)], &there, sum)) {
			atomic_fetch_add(&k->used, 1);
			return true;
		}
		if (there == sum)
			return false;
	}
}
