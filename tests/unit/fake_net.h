/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_net - an env of clock, timers, tasks (fake_clock) and connections whose other ends the test
 * plays.
 *
 * Nothing happens by itself: the test accepts connections, takes what was sent, delivers answers,
 * resets, and lets time pass. Keeps rules E1 to E4 of lib/env.h. One thread. */

#ifndef TESTS_UNIT_FAKE_NET_H
#define TESTS_UNIT_FAKE_NET_H

#include "tests/unit/fake_clock.h"
#include "tests/unit/fake_conn.h"

#define FAKE_CONNS_MAX 4096u

struct fake_net {
	struct fake_clock clock;
	struct frame_source src;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct env_conn
		*conns[FAKE_CONNS_MAX];       /* in the order they were made; gone ones are NULL */
	struct env_conn *all[FAKE_CONNS_MAX]; /* gone ones stay readable until fake_fini() */
	uint32_t conns_n;
	const char *refuse; /* addresses with this prefix cannot be connected to */
	void *memory;
};

/* Memory comes from the heap and is given back by fake_fini(), which CHECKs that no frame, buffer
 * or connection leaked (I15). */
struct fake_net *fake_init(uint64_t seed);
void fake_fini(struct fake_net *n);
/* Run what was deferred, until nothing is. */
void fake_run(struct fake_net *n);
/* Let time pass; timers fire in order, tasks run after each. */
void fake_advance(struct fake_net *n, uint64_t ns);
/* The open connection to @addr, or NULL. */
struct env_conn *fake_conn(struct fake_net *n, const char *addr);
void fake_accept(struct env_conn *c);
/* Give @f (consumed) to the client, checked as one from @sender; then run what was deferred. */
void fake_deliver(struct env_conn *c, struct frame *f, enum wire_role sender);
void fake_reset(struct env_conn *c);
uint64_t fake_random(struct fake_net *n);

#endif
