/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* uring - inside of the reactor, for reactor.c, tcp.c and disk.c only.
 *
 * To start something: uring_sqe(), io_uring_prep_*(), then io_uring_sqe_set_data(sqe, op). The op
 * must live until its fn was entered without IORING_CQE_F_MORE (U2). uring_ignore takes completions
 * nobody waits for. */

#ifndef IO_URING_H
#define IO_URING_H

#include <liburing.h>

#include "io/reactor.h"

#define REACTOR_REGIONS_MAX 4u
#define REACTOR_TIMERS_MAX (64u << 10)
#define REACTOR_RANDOM_N 32u
#define URING_CQES_PER_ENTRY 8u

struct uring_op {
	void (*fn)(struct uring_op *op, int res, uint32_t cqe_flags);
};

struct tcp;

struct reactor {
	struct env env;
	struct io_uring ring;
	bool defer_taskrun;
	bool stopping;
	bool closing; /* the core is gone: no timers, no tasks */
	uint32_t spin_us;
	bool hot; /* the last block was shorter than spin_us: spinning may pay */
	struct list tasks;
	struct env_timer **heap; /* binary heap by at_ns */
	uint32_t heap_n;
	uint64_t random[REACTOR_RANDOM_N];
	uint32_t random_n; /* unused words left */
	struct iovec regions[REACTOR_REGIONS_MAX];
	uint32_t regions_n;
	bool regions_pinned;
	int wake_fd, signal_fd;
	uint64_t wake_value;
	uint8_t signal_info[128];
	struct uring_op wake_op, signal_op;
	void (*wake_fn)(void *arg);
	void *wake_arg;
	void (*signal_fn)(void *arg, int signo);
	void *signal_arg;
	void (*log)(void *arg, int level, const char *line);
	void *log_arg;
	struct reactor_stats stats;
	struct tcp *tcp;                     /* NULL without a network */
	void (*turn_end)(struct reactor *r); /* tcp's: prepare what was queued to send */
};

extern struct uring_op uring_ignore;

/* io/uring_open.c: set up r->ring and use each of its system calls once. 0 or -errno with @err. */
MUST_CHECK int uring_open(struct reactor *r, uint32_t entries, char err[IO_ERR_BYTES]);
/* What -errno of io_uring means where kernel.io_uring_disabled is @disabled, and what to do. */
void uring_explain(int res, int disabled, char err[IO_ERR_BYTES]);

/* Once so many entries wait, disk I/O does not wait for the end of the turn (U1). */
#define URING_EARLY 2u

/* A cleared submission entry; submits early only when the queue is full. Never NULL. */
struct io_uring_sqe *uring_sqe(struct reactor *r);
/* An entry of disk I/O is complete. */
void uring_disk_ready(struct reactor *r);
/* One turn; @block false: do not wait. 0 or -errno of io_uring itself. */
MUST_CHECK int uring_turn(struct reactor *r, bool block);
/* Index of the registered region that holds the bytes, or -1. */
int uring_region(const struct reactor *r, const void *p, size_t len_bytes);

/* io/timers.c: the heap. */
void timers_arm(struct reactor *r, struct env_timer *t, uint64_t at_ns);
void timers_cancel(struct reactor *r, struct env_timer *t);
struct env_timer *timers_pop_due(struct reactor *r, uint64_t now_ns);

#endif
