/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/cmd_worker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/reactor.h"
#include "io/tcp.h"

#define STOP_NS (10ull * 1000 * 1000 * 1000)

/* ---- the crew ---- */

void crew_init(struct crew *c)
{
	CHECK(pthread_mutex_init(&c->lock, NULL) == 0);
	CHECK(pthread_cond_init(&c->moved, NULL) == 0);
}

void crew_fini(struct crew *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		reactor_close(c->workers[i].reactor);
	pthread_cond_destroy(&c->moved);
	pthread_mutex_destroy(&c->lock);
}

static void crew_fail(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->failed = true;
	pthread_mutex_unlock(&c->lock);
}

/* Wait for each other; false when somebody could not open. */
static bool crew_opened(struct crew *c)
{
	bool failed;

	pthread_mutex_lock(&c->lock);
	c->opened++;
	pthread_cond_broadcast(&c->moved);
	while (c->opened < c->n)
		pthread_cond_wait(&c->moved, &c->lock);
	failed = c->failed;
	pthread_mutex_unlock(&c->lock);
	return !failed;
}

static void crew_ready(struct crew *c)
{
	bool all;

	pthread_mutex_lock(&c->lock);
	all = ++c->ready == c->n;
	pthread_mutex_unlock(&c->lock);
	/* The addresses were settled before crew_opened(). */
	for (uint32_t i = 0; all && i < c->n; i++) {
		const struct worker *w = &c->workers[i];

		for (unsigned k = 0; k < SERVER_ADDRS_MAX && w->listen[k][0] != '\0'; k++)
			fprintf(stderr, "chaind: %s ready on %s\n", w->cfg.name, w->listen[k]);
	}
}

void crew_stop(struct crew *c, enum crew_stop how)
{
	int now = atomic_load(&c->stop);

	while (now < (int)how) {
		if (atomic_compare_exchange_weak(&c->stop, &now, (int)how))
			break;
	}
	for (uint32_t i = 0; i < c->n; i++)
		reactor_wake(c->workers[i].reactor);
}

/* The first worker gets the signals: it stays until nobody else is left. */
static bool others_ended(struct crew *c)
{
	bool ended;

	pthread_mutex_lock(&c->lock);
	ended = c->ended + 1 == c->n;
	pthread_mutex_unlock(&c->lock);
	return ended;
}

static bool is_first(const struct worker *w)
{
	return w == &w->crew->workers[0];
}

/* ---- stop ---- */

static void leave_if_over(struct worker *w)
{
	if (w->over && (!is_first(w) || others_ended(w->crew)))
		reactor_stop(w->reactor);
}

static void on_stopped(void *arg)
{
	struct worker *w = arg;

	w->in_order = true;
	w->over = true;
	leave_if_over(w);
}

static void stop_at_once(struct worker *w)
{
	if (!w->over)
		crew_fail(w->crew);
	w->stopping = true;
	reactor_stop(w->reactor);
}

static void stop_in_order(struct worker *w)
{
	struct env *env = reactor_env(w->reactor);

	w->stopping = true;
	tcp_stop_listening(w->reactor);
	node_stop(w->node, env->now_ns(env) + STOP_NS, on_stopped, w);
}

static void on_wake(void *arg)
{
	struct worker *w = arg;
	int how = atomic_load(&w->crew->stop);

	if (how == STOP_AT_ONCE)
		stop_at_once(w);
	else if (how == STOP_IN_ORDER && !w->stopping && !w->over)
		stop_in_order(w);
	else
		leave_if_over(w);
}

/* This one cannot go on: what it has in flight is left to the kernel, which waits for it when the
 * process ends. The others finish what they have. */
static void give_up(struct worker *w)
{
	crew_fail(w->crew);
	w->over = true;
	crew_stop(w->crew, STOP_IN_ORDER);
}

static void on_ready(void *arg, int res, const char *why)
{
	struct worker *w = arg;

	if (res == 0) {
		crew_ready(w->crew);
		return;
	}
	cmd_fail(w->crew->n == 1 ? w->crew->opt->store : w->cfg.name, why);
	give_up(w);
	leave_if_over(w);
}

/* ---- open ---- */

static void on_accept(void *arg, struct env_conn *conn)
{
	struct worker *w = arg;

	node_accept(w->node, conn);
}

/* Port 0 becomes the one the kernel chose, so that it can be registered. */
static void note_port(char addr[ADDR_BYTES], unsigned port)
{
	char *colon = strrchr(addr, ':');

	if (port == 0 || !colon || strcmp(colon, ":0") != 0)
		return;
	snprintf(colon, ADDR_BYTES - (size_t)(colon - addr), ":%u", port);
}

static int listen_all(struct worker *w, char err[IO_ERR_BYTES])
{
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && w->listen[i][0] != '\0'; i++) {
		int rc = tcp_listen(w->reactor, w->listen[i], on_accept, w, err);

		if (rc < 0)
			return rc;
		note_port(w->listen[i], tcp_port(w->reactor));
	}
	if (!w->crew->opt->advertise)
		memcpy(w->cfg.addrs, w->listen, sizeof(w->cfg.addrs));
	return 0;
}

static int stay_on_cpu(const struct worker *w, char err[IO_ERR_BYTES])
{
	cpu_set_t set;

	if (w->cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET((unsigned)w->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return 0;
	snprintf(err, IO_ERR_BYTES, "--pin: processor %d: %s: name one this process may use",
		 w->cpu, strerror(errno));
	return -EINVAL;
}

/* The network wants the frame source, the node wants to know its port: pools first, then the
 * listeners, then start. */
static int open_node(struct worker *w, char err[IO_ERR_BYTES])
{
	struct tcp_config tc = {.insecure_lab = w->crew->opt->insecure_lab};
	struct id128 incarnation;
	struct buf_pool *bufs;
	int rc;

	arena_init(&w->arena, w->mem, w->mem_bytes);
	cmd_random(&incarnation, sizeof(incarnation));
	w->node = node_init(&w->cfg, reactor_env(w->reactor), w->disk, &incarnation, &w->arena);
	bufs = node_bufs(w->node);
	reactor_region(w->reactor, bufs->region, bufs->region_bytes);
	tc.src = node_frames(w->node);
	rc = tcp_open(w->reactor, &tc, err);
	if (rc == 0)
		rc = listen_all(w, err);
	if (rc == 0)
		node_set_addrs(w->node, w->cfg.addrs);
	return rc;
}

static int worker_open(struct worker *w, char err[IO_ERR_BYTES])
{
	int rc = stay_on_cpu(w, err);

	if (rc == 0 && !w->reactor)
		rc = reactor_open(&(struct reactor_config){.spin_us = 0}, &w->reactor, err);
	if (rc == 0)
		rc = disk_open_part(w->reactor, w->crew->disk, &w->part, &w->disk, err);
	if (rc < 0)
		return rc;
	reactor_on_wake(w->reactor, on_wake, w);
	w->mem_bytes = node_memory(&w->cfg);
	w->mem = reactor_memory(w->mem_bytes);
	if (w->mem)
		return open_node(w, err);
	snprintf(err, IO_ERR_BYTES, "%s: no memory: %zu bytes wanted", w->cfg.name, w->mem_bytes);
	return -ENOMEM;
}

/* ---- life ---- */

static void serve(struct worker *w)
{
	int rc;

	node_start(w->node, on_ready, w);
	rc = reactor_run(w->reactor);
	if (rc == 0)
		return;
	fprintf(stderr, "chaind: %s: io_uring failed: %s\n", w->cfg.name, strerror(-rc));
	give_up(w);
}

/* Only what ended in order may be taken apart: else the disk may still write into its memory. */
static void take_apart(struct worker *w)
{
	if (w->in_order) {
		tcp_close(w->reactor);
		disk_close(w->disk);
		reactor_memory_free(w->mem, w->mem_bytes);
	} else if (w->node) {
		tcp_stop_listening(w->reactor);
	}
}

void worker_run(struct worker *w)
{
	struct crew *c = w->crew;
	char err[IO_ERR_BYTES] = "";

	if (worker_open(w, err) < 0) {
		cmd_fail_io(err);
		crew_fail(c);
	}
	if (crew_opened(c))
		serve(w);
	take_apart(w);
	pthread_mutex_lock(&c->lock);
	c->ended++;
	pthread_mutex_unlock(&c->lock);
	if (!is_first(w))
		reactor_wake(c->workers[0].reactor);
}
