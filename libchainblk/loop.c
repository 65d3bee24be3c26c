/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "libchainblk/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/reactor.h"
#include "io/tcp.h"

static_assert(LOOP_ERR_BYTES >= IO_ERR_BYTES, "io's errors fit");

enum loop_state { LOOP_STARTING, LOOP_READY, LOOP_RUNNING };

struct loop {
	struct loop_config cfg;
	struct reactor *r;
	struct arena arena;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	void *memory;
	size_t memory_bytes;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	pthread_t thread;
	enum loop_state state; /* under lock, loop_spawn() */
	int res;
	char err[LOOP_ERR_BYTES];
};

static struct loop *loop_new(const struct loop_config *cfg, char err[LOOP_ERR_BYTES])
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l) {
		snprintf(err, LOOP_ERR_BYTES, "out of memory");
		return NULL;
	}
	l->cfg = *cfg;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->cond, NULL);
	return l;
}

static void loop_free(struct loop *l)
{
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static int set_up(struct loop *l, char err[LOOP_ERR_BYTES])
{
	const struct loop_config *cfg = &l->cfg;
	struct reactor_config rc = {.log = cfg->log, .log_arg = cfg->arg};
	struct tcp_config tc = {
		.src = &l->src, .conns_max = cfg->conns_max, .insecure_lab = cfg->insecure_lab};
	int res = reactor_open(&rc, &l->r, err);

	if (res < 0)
		return res;
	l->memory_bytes =
		frame_pool_bytes(cfg->frames_n) + buf_pool_bytes(&cfg->bufs) + cfg->arena_bytes;
	l->memory = reactor_memory(l->memory_bytes);
	if (!l->memory) {
		snprintf(err, LOOP_ERR_BYTES, "out of memory for %zu MiB of buffers",
			 l->memory_bytes >> 20);
		res = -ENOMEM;
		goto fail;
	}
	arena_init(&l->arena, l->memory, l->memory_bytes);
	frame_pool_init(&l->frames, cfg->frames_n, &l->arena);
	buf_pool_init(&l->bufs, &cfg->bufs, &l->arena);
	l->src = (struct frame_source){.frames = &l->frames, .bufs = &l->bufs};
	res = tcp_open(l->r, &tc, err);
	if (res < 0)
		goto fail;
	reactor_on_wake(l->r, cfg->wake, cfg->arg);
	return 0;
fail:
	reactor_close(l->r);
	reactor_memory_free(l->memory, l->memory_bytes);
	return res;
}

static void tear_down(struct loop *l)
{
	reactor_close(l->r);
	reactor_memory_free(l->memory, l->memory_bytes);
}

int loop_open(const struct loop_config *cfg, struct loop **ret_l, char err[LOOP_ERR_BYTES])
{
	struct loop *l = loop_new(cfg, err);
	int res;

	if (!l)
		return -ENOMEM;
	res = set_up(l, err);
	if (res < 0) {
		loop_free(l);
		return res;
	}
	l->thread = pthread_self();
	*ret_l = l;
	return 0;
}

int loop_run(struct loop *l)
{
	return reactor_run(l->r);
}

void loop_close(struct loop *l)
{
	if (!l)
		return;
	tear_down(l);
	loop_free(l);
}

static void *thread_main(void *arg)
{
	struct loop *l = arg;
	int res = set_up(l, l->err);

	loop_lock(l);
	l->res = res;
	l->state = LOOP_READY;
	loop_notify(l);
	while (l->state == LOOP_READY) /* until loop_spawn() has handed it out */
		loop_wait(l);
	loop_unlock(l);
	if (res < 0)
		return NULL;
	l->cfg.begin(l->cfg.arg, l);
	res = reactor_run(l->r);
	if (res < 0)
		env_logf(loop_env(l), ENV_ERR, "io_uring failed: %s: this volume does no more I/O",
			 strerror(-res));
	tear_down(l);
	return NULL;
}

int loop_spawn(const struct loop_config *cfg, struct loop **ret_l, char err[LOOP_ERR_BYTES])
{
	struct loop *l = loop_new(cfg, err);
	sigset_t all, before;
	int res;

	if (!l)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	res = -pthread_create(&l->thread, NULL, thread_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (res < 0) {
		snprintf(err, LOOP_ERR_BYTES, "no thread: %s", strerror(-res));
		loop_free(l);
		return res;
	}
	loop_lock(l);
	while (l->state == LOOP_STARTING)
		loop_wait(l);
	res = l->res;
	if (res < 0)
		snprintf(err, LOOP_ERR_BYTES, "%s", l->err);
	else
		*ret_l = l;
	l->state = LOOP_RUNNING;
	loop_notify(l);
	loop_unlock(l);
	if (res < 0)
		loop_join(l);
	return res;
}

void loop_join(struct loop *l)
{
	pthread_join(l->thread, NULL);
	loop_free(l);
}

void loop_stop(struct loop *l)
{
	reactor_stop(l->r);
}

void loop_wake(struct loop *l)
{
	reactor_wake(l->r);
}

bool loop_is_self(const struct loop *l)
{
	return pthread_equal(l->thread, pthread_self()) != 0;
}

void loop_lock(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
}

void loop_unlock(struct loop *l)
{
	pthread_mutex_unlock(&l->lock);
}

void loop_wait(struct loop *l)
{
	pthread_cond_wait(&l->cond, &l->lock);
}

void loop_notify(struct loop *l)
{
	pthread_cond_broadcast(&l->cond);
}

struct env *loop_env(struct loop *l)
{
	return reactor_env(l->r);
}

struct arena *loop_arena(struct loop *l)
{
	return &l->arena;
}

struct frame_source *loop_source(struct loop *l)
{
	return &l->src;
}

size_t loop_memory_bytes(const struct loop *l)
{
	return l->memory_bytes;
}
