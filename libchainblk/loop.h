/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* loop - a reactor with its pools, driven by a thread of its own or by the caller, and the lock
 * through which other threads talk to it. The wiring file of this folder: the rest knows env only.
 *
 *   W1  env, arena and pools are the loop thread's alone
 *   W2  loop_lock() guards what the user says it guards; it is held for moments, and never while a
 *       callback of the user's user runs
 *
 * Memory is taken at open. The thread blocks all signals: they are for the program around us. */

#ifndef LIBCHAINBLK_LOOP_H
#define LIBCHAINBLK_LOOP_H

#include "lib/arena.h"
#include "lib/env.h"
#include "lib/frame.h"

#define LOOP_ERR_BYTES 256u

struct loop; /* opaque */

struct loop_config {
	const char *insecure_lab; /* kept by reference; may be NULL */
	uint32_t frames_n, conns_max;
	struct buf_pool_config bufs;
	size_t arena_bytes; /* for the user's own */
	void (*log)(void *arg, int level, const char *line);
	void (*begin)(void *arg, struct loop *l); /* on the thread, before it runs (loop_spawn) */
	void (*wake)(void *arg);                  /* on the thread, after loop_wake() */
	void *arg;
};

/* The caller drives it: loop_run() returns after loop_stop(). 0, or -errno with @err. */
MUST_CHECK int loop_open(const struct loop_config *cfg, struct loop **ret_l,
			 char err[LOOP_ERR_BYTES]);
MUST_CHECK int loop_run(struct loop *l);
void loop_close(struct loop *l);

/* A thread drives it; @ret_l is set before begin() is entered. Errors as above. */
MUST_CHECK int loop_spawn(const struct loop_config *cfg, struct loop **ret_l,
			  char err[LOOP_ERR_BYTES]);
/* Wait until the thread ended (loop_stop() is somebody else's business) and free all. */
void loop_join(struct loop *l);

void loop_stop(struct loop *l); /* on the loop's thread */
void loop_wake(struct loop *l); /* any thread */
bool loop_is_self(const struct loop *l);

void loop_lock(struct loop *l);
void loop_unlock(struct loop *l);
void loop_wait(struct loop *l);   /* for a loop_notify(), lock held; may return early */
void loop_notify(struct loop *l); /* wake all waiters, lock held */

struct env *loop_env(struct loop *l);
struct arena *loop_arena(struct loop *l);
struct frame_source *loop_source(struct loop *l);
size_t loop_memory_bytes(const struct loop *l); /* taken at open, io/'s own excluded */

#endif
