/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The loop. Deferred task running (kernel 6.1) is asked for first: completions then run only when
 * we enter the kernel anyway, which is once per turn; older kernels and odd sandboxes get less. */

#include "io/uring.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "io/tcp.h"

#define ENTRIES_DEFAULT 512u
#define CQES_PER_ROUND 64u
#define NS_PER_S 1000000000ull

static void ignore_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	(void)op;
	(void)res;
	(void)cqe_flags;
}

struct uring_op uring_ignore = {.fn = ignore_done};

static struct reactor *of_env(struct env *e)
{
	return CONTAINER_OF(e, struct reactor, env);
}

/* ---- env ---- */

static uint64_t env_now_ns(struct env *e)
{
	struct timespec ts;

	(void)e;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec + 1;
}

static uint64_t env_random_u64(struct env *e)
{
	struct reactor *r = of_env(e);

	if (!r->random_n) {
		size_t want = sizeof(r->random), got = 0;

		while (got < want) {
			ssize_t n = getrandom((uint8_t *)r->random + got, want - got, 0);

			CHECK(n > 0 || errno == EINTR);
			got += n > 0 ? (size_t)n : 0;
		}
		r->random_n = REACTOR_RANDOM_N;
	}
	return r->random[--r->random_n];
}

static void env_timer_arm(struct env *e, struct env_timer *t, uint64_t at_ns)
{
	timers_arm(of_env(e), t, at_ns);
}

static void env_timer_cancel(struct env *e, struct env_timer *t)
{
	timers_cancel(of_env(e), t);
}

static void env_defer(struct env *e, struct env_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	list_add_tail(&of_env(e)->tasks, &t->link);
}

static void env_log(struct env *e, int level, const char *line)
{
	struct reactor *r = of_env(e);

	if (r->log)
		r->log(r->log_arg, level, line);
	else if (level <= ENV_INFO)
		fprintf(stderr, "%s\n", line);
}

/* ---- the ring ---- */

struct io_uring_sqe *uring_sqe(struct reactor *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	for (int tries = 0; !sqe; tries++) {
		/* -EBUSY and -EAGAIN pass as soon as the kernel has taken some; it is ours when a
		 * thousand entries in a row are refused. */
		CHECK(tries < 1000);
		io_uring_submit(&r->ring);
		r->stats.submits++;
		sqe = io_uring_get_sqe(&r->ring);
	}
	r->stats.sqes++;
	return sqe;
}

/* Completions come in bunches, and a bunch takes time: to check what was read, to answer, to issue
 * what comes next. A device that was given nothing meanwhile would be idle. What cannot be
 * submitted now is at the end of the turn, where errors are looked at. */
void uring_disk_ready(struct reactor *r)
{
	if (io_uring_sq_ready(&r->ring) < URING_EARLY)
		return;
	r->stats.submits++;
	io_uring_submit(&r->ring);
}

static void reap(struct reactor *r)
{
	struct io_uring_cqe *cqes[CQES_PER_ROUND];
	struct {
		struct uring_op *op;
		int res;
		uint32_t flags;
	} got[CQES_PER_ROUND];
	unsigned left = io_uring_cq_ready(&r->ring);

	/* Copied out first: a callback may need the queues. */
	while (left) {
		unsigned n = io_uring_peek_batch_cqe(&r->ring, cqes, MIN(left, CQES_PER_ROUND));

		if (!n)
			return;
		for (unsigned i = 0; i < n; i++) {
			got[i].op = io_uring_cqe_get_data(cqes[i]);
			got[i].res = cqes[i]->res;
			got[i].flags = cqes[i]->flags;
		}
		io_uring_cq_advance(&r->ring, n);
		r->stats.cqes += n;
		left -= n;
		for (unsigned i = 0; i < n; i++)
			got[i].op->fn(got[i].op, got[i].res, got[i].flags);
	}
}

static void run_timers(struct reactor *r)
{
	struct env_timer *t;
	uint64_t now_ns;

	if (!r->heap_n)
		return;
	now_ns = env_now_ns(&r->env);
	while ((t = timers_pop_due(r, now_ns)))
		t->fn(t);
}

/* Tasks queued by a task run in the next turn, so that two that wake each other cannot stop I/O. */
static void run_tasks(struct reactor *r)
{
	struct list batch, *item;

	if (list_empty(&r->tasks))
		return;
	list_init(&batch);
	list_add_tail(&r->tasks, &batch);
	list_del(&r->tasks);
	while ((item = list_pop(&batch))) {
		struct env_task *t = CONTAINER_OF(item, struct env_task, link);

		t->queued = false;
		t->fn(t);
	}
}

static int submit_only(struct reactor *r)
{
	r->stats.submits++;
	return r->defer_taskrun ? io_uring_submit_and_get_events(&r->ring)
				: io_uring_submit(&r->ring);
}

/* Polls while completions have been coming faster than blocking would pay. */
static bool spin(struct reactor *r)
{
	uint64_t end_ns = env_now_ns(&r->env) + r->spin_us * 1000ull;

	while (env_now_ns(&r->env) < end_ns) {
		if (submit_only(r) < 0 || io_uring_cq_ready(&r->ring))
			return true;
	}
	r->hot = false;
	return false;
}

static int submit_and_wait(struct reactor *r)
{
	struct io_uring_cqe *cqe;
	uint64_t before_ns = 0;
	int res;

	if (io_uring_cq_ready(&r->ring))
		return io_uring_sq_ready(&r->ring) ? submit_only(r) : 0;
	if (r->spin_us) {
		if (r->hot && spin(r))
			return 0;
		before_ns = env_now_ns(&r->env);
	}
	r->stats.submits++;
	if (r->heap_n) {
		uint64_t now_ns = env_now_ns(&r->env);
		uint64_t at_ns = r->heap[0]->at_ns;
		uint64_t left_ns = at_ns > now_ns ? at_ns - now_ns : 0;
		struct __kernel_timespec ts = {.tv_sec = (long long)(left_ns / NS_PER_S),
					       .tv_nsec = (long long)(left_ns % NS_PER_S)};

		res = io_uring_submit_and_wait_timeout(&r->ring, &cqe, 1, &ts, NULL);
	} else {
		res = io_uring_submit_and_wait(&r->ring, 1);
	}
	if (r->spin_us && env_now_ns(&r->env) - before_ns < r->spin_us * 1000ull)
		r->hot = true;
	return res;
}

int uring_turn(struct reactor *r, bool block)
{
	int res;

	r->stats.turns++;
	if (!r->closing) {
		run_timers(r);
		run_tasks(r);
	}
	if (r->turn_end)
		r->turn_end(r);
	if (!r->closing && (r->stopping || !list_empty(&r->tasks)))
		block = false;
	if (!block)
		res = submit_only(r);
	else
		res = submit_and_wait(r);
	if (res < 0 && res != -ETIME && res != -EINTR && res != -EAGAIN && res != -EBUSY)
		return res;
	reap(r);
	return 0;
}

int reactor_run(struct reactor *r)
{
	int res = 0;

	r->stopping = false;
	while (!r->stopping && res == 0)
		res = uring_turn(r, true);
	if (res == 0)
		res = uring_turn(r, false);
	return res;
}

void reactor_stop(struct reactor *r)
{
	r->stopping = true;
}

/* ---- wake-up and signals ---- */

static void arm_read(struct reactor *r, int fd, void *buf, unsigned len, struct uring_op *op)
{
	struct io_uring_sqe *sqe = uring_sqe(r);

	io_uring_prep_read(sqe, fd, buf, len, 0);
	io_uring_sqe_set_data(sqe, op);
}

static void wake_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct reactor *r = CONTAINER_OF(op, struct reactor, wake_op);

	(void)cqe_flags;
	if (res == -ECANCELED)
		return;
	arm_read(r, r->wake_fd, &r->wake_value, sizeof(r->wake_value), op);
	if (r->wake_fn)
		r->wake_fn(r->wake_arg);
}

void reactor_on_wake(struct reactor *r, void (*fn)(void *arg), void *arg)
{
	r->wake_fn = fn;
	r->wake_arg = arg;
}

void reactor_wake(struct reactor *r)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: then a wake-up is already on its way. */
	if (write(r->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void signal_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct reactor *r = CONTAINER_OF(op, struct reactor, signal_op);
	struct signalfd_siginfo info;

	(void)cqe_flags;
	if (res == -ECANCELED)
		return;
	memcpy(&info, r->signal_info, sizeof(info));
	arm_read(r, r->signal_fd, r->signal_info, sizeof(r->signal_info), op);
	if (res == (int)sizeof(info))
		r->signal_fn(r->signal_arg, (int)info.ssi_signo);
}

int reactor_signals(struct reactor *r, void (*fn)(void *arg, int signo), void *arg,
		    char err[IO_ERR_BYTES])
{
	sigset_t set;

	static_assert(sizeof(struct signalfd_siginfo) == sizeof(((struct reactor *)0)->signal_info),
		      "signal_info holds one signalfd_siginfo");
	CHECK(r->signal_fd < 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	    (r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC)) < 0) {
		int res = -errno;

		snprintf(err, IO_ERR_BYTES, "signals: cannot be received as events: %s",
			 strerror(-res));
		return res;
	}
	r->signal_fn = fn;
	r->signal_arg = arg;
	r->signal_op.fn = signal_done;
	arm_read(r, r->signal_fd, r->signal_info, sizeof(r->signal_info), &r->signal_op);
	return 0;
}

/* ---- memory ---- */

void *reactor_memory(size_t len_bytes)
{
	void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void reactor_memory_free(void *p, size_t len_bytes)
{
	if (p)
		munmap(p, len_bytes);
}

int uring_region(const struct reactor *r, const void *p, size_t len_bytes)
{
	uintptr_t at = (uintptr_t)p;

	if (!r->regions_pinned)
		return -1;
	for (uint32_t i = 0; i < r->regions_n; i++) {
		uintptr_t base = (uintptr_t)r->regions[i].iov_base;

		if (at >= base && at + len_bytes <= base + r->regions[i].iov_len)
			return (int)i;
	}
	return -1;
}

/* ---- open and close ---- */

static void env_init(struct reactor *r)
{
	r->env.now_ns = env_now_ns;
	r->env.random_u64 = env_random_u64;
	r->env.timer_arm = env_timer_arm;
	r->env.timer_cancel = env_timer_cancel;
	r->env.defer = env_defer;
	r->env.log = env_log;
}

int reactor_open(const struct reactor_config *cfg, struct reactor **ret_r, char err[IO_ERR_BYTES])
{
	struct reactor *r = calloc(1, sizeof(*r));
	int res = -ENOMEM;

	if (!r)
		goto no_memory;
	r->wake_fd = r->signal_fd = -1;
	r->heap = calloc(REACTOR_TIMERS_MAX, sizeof(struct env_timer *));
	if (!r->heap)
		goto no_memory;
	res = uring_open(r, cfg->entries ? cfg->entries : ENTRIES_DEFAULT, err);
	if (res < 0)
		goto out;
	list_init(&r->tasks);
	env_init(r);
	r->log = cfg->log;
	r->log_arg = cfg->log_arg;
	r->spin_us = cfg->spin_us;
	r->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (r->wake_fd < 0) {
		res = -errno;
		snprintf(err, IO_ERR_BYTES,
			 "eventfd: %s: raise the limit of open files (ulimit -n)", strerror(-res));
		io_uring_queue_exit(&r->ring);
		goto out;
	}
	r->wake_op.fn = wake_done;
	arm_read(r, r->wake_fd, &r->wake_value, sizeof(r->wake_value), &r->wake_op);
	*ret_r = r;
	return 0;
no_memory:
	snprintf(err, IO_ERR_BYTES, "reactor: out of memory");
out:
	if (r)
		free(r->heap);
	free(r);
	return res;
}

size_t reactor_bytes(void)
{
	return sizeof(struct reactor) + REACTOR_TIMERS_MAX * sizeof(struct env_timer *) +
	       ENTRIES_DEFAULT * sizeof(struct io_uring_sqe) +
	       ENTRIES_DEFAULT * URING_CQES_PER_ENTRY * sizeof(struct io_uring_cqe);
}

void reactor_close(struct reactor *r)
{
	if (!r)
		return;
	tcp_close(r);
	io_uring_queue_exit(&r->ring);
	close(r->wake_fd);
	if (r->signal_fd >= 0)
		close(r->signal_fd);
	free(r->heap);
	free(r);
}

struct env *reactor_env(struct reactor *r)
{
	return &r->env;
}

struct reactor_stats reactor_get_stats(const struct reactor *r)
{
	return r->stats;
}
