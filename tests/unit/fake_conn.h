/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_conn - a connection of a program under test, whose other end the test plays: what is sent on
 * it waits until the test takes it.
 *
 *   N1  each frame is sealed and looked at as its receiver will; a bad one ends the test (abort)
 *   N2  frames are taken in the order they were sent
 *
 * Who makes and drops connections is the fake world; it owns them and the frames that wait. One
 * thread. */

#ifndef TESTS_UNIT_FAKE_CONN_H
#define TESTS_UNIT_FAKE_CONN_H

#include "lib/env.h"
#include "lib/frame.h"

#define FAKE_SENT_MAX 1024u

struct env_conn {
	const struct conn_events *ev;
	void *owner;
	void *world;         /* the fake world's */
	const char *who;     /* is under test; for messages */
	enum wire_role role; /* its role */
	bool called;         /* by it: CONNECT may come, with no role yet */
	bool open;
	bool opened; /* it may send */
	char addr[ADDR_BYTES];
	struct frame *sent[FAKE_SENT_MAX]; /* ring: not yet taken */
	uint32_t head, tail;
};

/* Fill in attach, send and send_queue_bytes of @e; connect and close are the world's. */
void fake_conn_fill_env(struct env *e);
/* The next frame that was sent, the caller's to put; NULL when there is none. */
struct frame *fake_conn_take(struct env_conn *c);
/* Put all that are not taken. */
void fake_conn_forget(struct env_conn *c);
/* Seal @f and look at it as the receiver of one from @sender does: N1. */
void fake_frame_seal(struct frame *f, enum wire_role sender, const char *who);

#endif
