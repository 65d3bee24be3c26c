/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/arena.h"

void arena_init(struct arena *a, void *base, size_t len_bytes)
{
	CHECK(base != NULL);
	*a = (struct arena){.base = base, .len_bytes = len_bytes};
}

void *arena_alloc(struct arena *a, size_t len_bytes, size_t align_bytes)
{
	uintptr_t at = (uintptr_t)a->base + a->used_bytes;
	size_t pad;

	CHECK(align_bytes != 0);
	CHECK((align_bytes & (align_bytes - 1)) == 0);
	pad = (size_t)(-at & (align_bytes - 1));
	CHECK(pad <= a->len_bytes - a->used_bytes);
	CHECK(len_bytes <= a->len_bytes - a->used_bytes - pad);
	a->used_bytes += pad + len_bytes;
	return (void *)(at + pad);
}
