/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_conn.h"

#include <stdio.h>
#include <stdlib.h>

void fake_frame_seal(struct frame *f, enum wire_role sender, const char *who)
{
	const char *why = "";

	wire_frame_seal(f);
	if (wire_frame_check(f, sender, &why) < 0) {
		fprintf(stderr, "%s sent a bad frame: %s\n", who, why);
		abort();
	}
}

static void attach(struct env *e, struct env_conn *c, const struct conn_events *ev, void *owner)
{
	(void)e;
	c->ev = ev;
	c->owner = owner;
}

static void do_send(struct env *e, struct env_conn *c, struct frame *f)
{
	bool hello = c->called && f->hdr.type == WIRE_CONNECT;

	(void)e;
	CHECK(c->open);
	CHECK(c->opened);
	CHECK(c->tail - c->head < FAKE_SENT_MAX);
	fake_frame_seal(f, hello ? ROLE_NONE : c->role, c->who);
	c->sent[c->tail++ % FAKE_SENT_MAX] = frame_ref(f);
}

static uint32_t send_queue_bytes(struct env *e, struct env_conn *c)
{
	(void)e;
	CHECK(c->open);
	return 0;
}

void fake_conn_fill_env(struct env *e)
{
	e->attach = attach;
	e->send = do_send;
	e->send_queue_bytes = send_queue_bytes;
}

struct frame *fake_conn_take(struct env_conn *c)
{
	return c->head == c->tail ? NULL : c->sent[c->head++ % FAKE_SENT_MAX];
}

void fake_conn_forget(struct env_conn *c)
{
	struct frame *f;

	while ((f = fake_conn_take(c)))
		frame_put(f);
}
