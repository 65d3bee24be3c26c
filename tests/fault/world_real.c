/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/world_real.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/uring.h"

#define HEARTBEAT_NS 1000000ull

/* What main.c of the daemon does when the loop ends with an error: say so and end. */
static void turn(struct world *w, bool block)
{
	struct world_real *rw = CONTAINER_OF(w, struct world_real, w);

	if (uring_turn(rw->r, block) < 0)
		_exit(WORLD_REAL_BROKEN);
}

static void beat(struct env_timer *t)
{
	(void)t;
}

/* A timer that fires within the turn, before it waits, may be all there was to wait for: so no turn
 * waits long. */
static bool step(struct world *w)
{
	struct world_real *rw = CONTAINER_OF(w, struct world_real, w);

	rw->heartbeat.fn = beat;
	w->env->timer_arm(w->env, &rw->heartbeat, w->env->now_ns(w->env) + HEARTBEAT_NS);
	turn(w, true);
	return true;
}

static bool poll_once(struct world *w)
{
	turn(w, false);
	return true;
}

/* The process is another one: everything of it is gone already. */
static void power_cut(struct world *w, uint32_t keep_permille)
{
	(void)w;
	(void)keep_permille;
}

static void quiet(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

int world_real_open(struct world_real *rw, const char *path, char *err)
{
	const struct reactor_config rc = {.log = quiet};
	const struct disk_config dc = {.path = path};
	int res = reactor_open(&rc, &rw->r, err);

	if (res < 0)
		return res;
	/* Transfers of a dead process hold its lock until they are done. */
	do
		res = disk_open(rw->r, &dc, &rw->disk, err);
	while (res == -EBUSY);
	if (res < 0) {
		reactor_close(rw->r);
		return res;
	}
	rw->w = (struct world){.env = reactor_env(rw->r),
			       .disk = rw->disk,
			       .step = step,
			       .poll = poll_once,
			       .power_cut = power_cut};
	return 0;
}

void world_real_region(struct world_real *rw, const struct life *l)
{
	reactor_region(rw->r, l->bufs.region, l->bufs.small_n * BUF_SMALL_BYTES);
}

void world_real_close(struct world_real *rw)
{
	rw->w.env->timer_cancel(rw->w.env, &rw->heartbeat);
	disk_close(rw->disk);
	reactor_close(rw->r);
}
