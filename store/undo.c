/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/internal.h"

/* A chain's log is cut back on order of its new configuration (PROTOCOL 4, Undo): ops that recovery
 * found, or that were appended since, and that are not everybody's. They leave memory at once; the
 * TRUNCATE that says so goes into the next header, together with a note of the epoch whose end is
 * the answer. A power cut before that is durable brings them back, and the configuration cuts them
 * off once more. */

void store_undo(struct store *s, uint32_t chain, uint64_t to, void (*done)(void *arg, int res),
		void *arg)
{
	struct chain *c = chain_find(s, chain);

	CHECK(c != NULL);
	CHECK(c->undo.done == NULL);
	CHECK(to >= c->committed);
	CHECK(to < c->appended);
	CHECK(c->durable == c->appended);
	c->undo = (struct undo){.to = to, .done = done, .arg = arg};
	s->undos_n++;
	store_turn(s);
}

static void cut(struct store *s, struct chain *c)
{
	const struct undo u = c->undo;

	while (!s->failed && c->appended > u.to) {
		pending_undo(s, c);
	}
	if (!s->failed)
		c->undo_to = MIN(c->undo_to, u.to);
	c->undo = (struct undo){0};
	s->undos_n--;
	store_set_epoch(s, c->id, c->epoch, c->history, u.done, u.arg);
	log_settle(s);
}

void undo_pump(struct store *s)
{
	for (uint32_t i = 0; s->undos_n && i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];

		/* One of its ops may just be under way to the head of the log (again.c). */
		if (c->undo.done && (s->failed || s->again.chain != c))
			cut(s, c);
	}
}
