/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A binary heap of timers: arming and cancelling cost log n, looking at the first costs nothing. */

#include "io/uring.h"

static void place(struct reactor *r, uint32_t pos, struct env_timer *t)
{
	r->heap[pos] = t;
	t->heap_pos = pos;
}

static void sift_up(struct reactor *r, uint32_t pos, struct env_timer *t)
{
	while (pos > 0) {
		uint32_t parent = (pos - 1) / 2;

		if (r->heap[parent]->at_ns <= t->at_ns)
			break;
		place(r, pos, r->heap[parent]);
		pos = parent;
	}
	place(r, pos, t);
}

static void sift_down(struct reactor *r, uint32_t pos, struct env_timer *t)
{
	for (;;) {
		uint32_t child = 2 * pos + 1;

		if (child >= r->heap_n)
			break;
		if (child + 1 < r->heap_n && r->heap[child + 1]->at_ns < r->heap[child]->at_ns)
			child++;
		if (t->at_ns <= r->heap[child]->at_ns)
			break;
		place(r, pos, r->heap[child]);
		pos = child;
	}
	place(r, pos, t);
}

void timers_cancel(struct reactor *r, struct env_timer *t)
{
	uint32_t pos = t->heap_pos;
	struct env_timer *last;

	if (!t->armed)
		return;
	CHECK(pos < r->heap_n);
	CHECK(r->heap[pos] == t);
	t->armed = false;
	last = r->heap[--r->heap_n];
	if (last == t)
		return;
	if (pos > 0 && r->heap[(pos - 1) / 2]->at_ns > last->at_ns)
		sift_up(r, pos, last);
	else
		sift_down(r, pos, last);
}

void timers_arm(struct reactor *r, struct env_timer *t, uint64_t at_ns)
{
	timers_cancel(r, t);
	CHECK(r->heap_n < REACTOR_TIMERS_MAX);
	t->at_ns = at_ns;
	t->armed = true;
	sift_up(r, r->heap_n++, t);
}

struct env_timer *timers_pop_due(struct reactor *r, uint64_t now_ns)
{
	struct env_timer *t = r->heap_n ? r->heap[0] : NULL;

	if (!t || t->at_ns > now_ns)
		return NULL;
	timers_cancel(r, t);
	return t;
}
