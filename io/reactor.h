/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* reactor - the real world behind struct env: one thread, one io_uring.
 *
 *	reactor_open -> tcp_open, disk_open, reactor_region -> init the core with reactor_env()
 *	-> tcp_listen -> reactor_run (until reactor_stop) -> disk_close -> reactor_close
 *
 * One turn of the loop: completions, due timers, deferred tasks, what they queued to send, then one
 * io_uring_enter that submits all of it and waits for the next completion or timer.
 *
 *   U1  nothing is submitted but by the turn's one submit, except when the queue is full, and
 *       except disk I/O: that goes out in pairs while the turn goes on
 *   U2  a uring_op is in flight or not; its fn is entered once per completion, last with no F_MORE
 *   U3  the loop never blocks while a deferred task or a due timer is waiting
 *
 * Memory is allocated at open, nothing later. No SQPOLL: what is submitted passes io_uring_submit*.
 *
 * Thread: everything is the opening thread's, except reactor_wake(). */

#ifndef IO_REACTOR_H
#define IO_REACTOR_H

#include "lib/env.h"

#define IO_ERR_BYTES 256u

struct reactor; /* opaque */

struct reactor_config {
	uint32_t entries; /* submission queue; 0: 512 */
	uint32_t spin_us; /* poll so long before blocking while completions come that fast; 0: never
			   */
	void (*log)(void *arg, int level, const char *line); /* NULL: a line on stderr */
	void *log_arg;
};

/* The calling thread becomes the reactor's. 0, or -errno with one line in @err: io_uring missing or
 * forbidden (-ENOSYS, -EPERM), no memory (-ENOMEM), ... */
MUST_CHECK int reactor_open(const struct reactor_config *cfg, struct reactor **ret_r,
			    char err[IO_ERR_BYTES]);
/* What reactor_open() takes with the default queues. */
size_t reactor_bytes(void);
/* Close connections and listeners (tcp_close is included) and free. Disks must be closed. NULL ok.
 */
void reactor_close(struct reactor *r);

struct env *reactor_env(struct reactor *r);

/* Let the kernel pin [base, base+len) so that disk I/O from there needs no page look-up. Logged and
 * survived when the memory lock limit forbids it. Up to 4 regions, before reactor_run(). */
void reactor_region(struct reactor *r, void *base, size_t len_bytes);

/* SIGTERM and SIGINT, blocked in this process, arrive as fn(arg, signo) on the loop. Call before
 * other threads are started. */
MUST_CHECK int reactor_signals(struct reactor *r, void (*fn)(void *arg, int signo), void *arg,
			       char err[IO_ERR_BYTES]);

/* @fn runs on the loop, once or more, after reactor_wake() was called from any thread. */
void reactor_on_wake(struct reactor *r, void (*fn)(void *arg), void *arg);
void reactor_wake(struct reactor *r);

/* Run until reactor_stop(); may be run again. 0, or -errno when io_uring itself failed. */
MUST_CHECK int reactor_run(struct reactor *r);
/* Make reactor_run() return after the current turn; what was queued to send is submitted first. */
void reactor_stop(struct reactor *r);

/* Anonymous zeroed memory for an arena; pages are taken when first used. NULL when there is none.
 */
void *reactor_memory(size_t len_bytes);
void reactor_memory_free(void *p, size_t len_bytes); /* NULL ok */

/* Turns of the loop and system calls made since open: the tests of U1. */
struct reactor_stats {
	uint64_t turns, submits, sqes, cqes;
};
struct reactor_stats reactor_get_stats(const struct reactor *r);

#endif
