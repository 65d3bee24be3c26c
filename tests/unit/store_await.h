/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* store_await - a read and a fetch of the store that remember how they ended, for tests.
 *
 *   A1  .done is false when await_*() returns (E1) and becomes true once, with .res
 *
 * The struct is the caller's and stays where it is until .done, which the caller's own loop waits
 * for; so is the reference to .data afterwards. One thread. */

#ifndef TESTS_UNIT_STORE_AWAIT_H
#define TESTS_UNIT_STORE_AWAIT_H

#include "store/store.h"

struct await_read {
	struct store_read read;
	bool done;
	int res;
};

struct await_fetch {
	struct store_fetch fetch;
	bool done;
	int res;
};

static inline void await_read_done(struct store_read *read, int res)
{
	struct await_read *a = CONTAINER_OF(read, struct await_read, read);

	CHECK(!a->done);
	a->res = res;
	a->done = true;
}

/* Start a->read, of which the caller set what to read. */
static inline void await_read(struct store *s, struct await_read *a)
{
	a->done = false;
	a->read.done = await_read_done;
	store_read(s, &a->read);
	CHECK(!a->done);
}

static inline void await_fetch_done(struct store_fetch *fetch, int res)
{
	struct await_fetch *a = CONTAINER_OF(fetch, struct await_fetch, fetch);

	CHECK(!a->done);
	a->res = res;
	a->done = true;
}

/* Start a->fetch, of which the caller set chain and seq. */
static inline void await_fetch(struct store *s, struct await_fetch *a)
{
	a->done = false;
	a->fetch.done = await_fetch_done;
	store_fetch(s, &a->fetch);
	CHECK(!a->done);
}

#endif
