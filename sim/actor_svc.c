/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The configuration service on a store that lives in memory and survives its kills (A2). */
#include "sim/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/invariants.h"

#define SVC_FRAMES 512u
static const struct buf_pool_config svc_bufs = {
	.small_n = 64, .large_n = 32, .reserve_small = 8, .reserve_large = 4};

/* ---- the store ---- */

static void put_now(struct cfg_call *c)
{
	struct actor_svc *a = c->svc;

	free(a->state);
	a->state = c->bytes;
	a->state_len = c->len;
	a->state_rev = c->rev + 1;
	c->bytes = NULL;
}

static void call_free(struct cfg_call *c)
{
	world_cancel(c->svc->cl->w, &c->ev);
	list_del(&c->link);
	free(c->bytes);
	free(c);
}

static void call_fire(struct sim_event *ev)
{
	struct cfg_call *c = CONTAINER_OF(ev, struct cfg_call, ev);
	struct actor_svc *a = c->svc;
	int res = 0;

	if (proc_hold(&a->proc, ev))
		return;
	if (c->kind == STORE_LOAD) {
		c->loaded(c->arg, 0, a->state, a->state_len, a->state_rev);
	} else {
		if (c->rev != a->state_rev)
			res = -ESTALE;
		else
			put_now(c);
		c->put(c->arg, res);
	}
	call_free(c);
	proc_ran(&a->proc);
}

static struct cfg_call *call_new(struct cfgstore *s, enum store_call kind, void *arg)
{
	struct actor_svc *a = CONTAINER_OF(s, struct actor_svc, store);
	struct cfg_call *c = calloc(1, sizeof(*c));

	CHECK(c);
	c->svc = a;
	c->kind = kind;
	c->arg = arg;
	c->ev.fire = call_fire;
	list_add_tail(&a->calls, &c->link);
	world_at(a->cl->w, &c->ev, a->cl->w->now_ns + rng_skewed(&a->cl->w->rng, 50 * US, 20 * MS));
	return c;
}

static void
store_load(struct cfgstore *s,
	   void (*done)(void *arg, int res, const void *bytes, size_t len, uint64_t rev), void *arg)
{
	call_new(s, STORE_LOAD, arg)->loaded = done;
}

static void store_put(struct cfgstore *s, uint64_t rev, const void *bytes, size_t len,
		      void (*done)(void *arg, int res), void *arg)
{
	struct cfg_call *c = call_new(s, STORE_PUT, arg);

	c->put = done;
	c->rev = rev;
	c->len = len;
	c->bytes = malloc(len);
	CHECK(c->bytes);
	memcpy(c->bytes, bytes, len);
}

/* ---- the service ---- */

static void on_accept(struct proc *p, struct env_conn *c)
{
	svc_accept(CONTAINER_OF(p, struct actor_svc, proc)->svc, c);
}

static void on_ready(void *arg, int res, const char *why)
{
	struct actor_svc *a = arg;

	if (res)
		world_violation(a->cl->w, "cfgsvc can not start: %d %s", res, why);
	a->ready = res == 0;
	a->proc.accept = on_accept;
}

void actor_svc_start(struct actor_svc *a)
{
	struct svc_config cfg = {
		.env = &a->proc.env, .store = &a->store, .src = &a->src, .name = "cfg"};

	world_cancel(a->cl->w, &a->restart_ev);
	if (a->proc.up)
		return;
	proc_start(&a->proc, svc_memory() + frame_pool_bytes(SVC_FRAMES) +
				     buf_pool_bytes(&svc_bufs) + 4 * BLOCK_BYTES);
	world_trace(a->cl->w, &a->proc, "start");
	frame_pool_init(&a->frames, SVC_FRAMES, &a->proc.arena);
	buf_pool_init(&a->bufs, &svc_bufs, &a->proc.arena);
	a->src = (struct frame_source){.frames = &a->frames, .bufs = &a->bufs};
	a->proc.src = &a->src;
	a->svc = svc_init(&cfg, &a->proc.arena);
	svc_start(a->svc, on_ready, a);
}

void actor_svc_kill(struct actor_svc *a)
{
	if (!a->proc.up)
		return;
	world_trace(a->cl->w, &a->proc, "killed");
	net_proc_died(&a->cl->net, &a->proc, false);
	/* A put under way may have become durable; only the next may not overtake it. */
	while (!list_empty(&a->calls)) {
		struct cfg_call *c = CONTAINER_OF(a->calls.next, struct cfg_call, link);

		if (c->kind == STORE_PUT && c->rev == a->state_rev &&
		    rng_chance(&a->cl->w->rng, 500000))
			put_now(c);
		call_free(c);
	}
	a->svc = NULL;
	a->ready = false;
	a->proc.accept = NULL;
	proc_stop(&a->proc);
}

static void restart_fire(struct sim_event *ev)
{
	actor_svc_start(CONTAINER_OF(ev, struct actor_svc, restart_ev));
}

void actor_svc_init(struct actor_svc *a, struct cluster *cl)
{
	memset(a, 0, sizeof(*a));
	a->cl = cl;
	list_init(&a->calls);
	a->restart_ev.fire = restart_fire;
	a->store.load = store_load;
	a->store.put = store_put;
	proc_init(&a->proc, cl->w, "cfg", CFG_ADDR);
}

void actor_svc_fini(struct actor_svc *a)
{
	while (!list_empty(&a->calls))
		call_free(CONTAINER_OF(a->calls.next, struct cfg_call, link));
	proc_fini(&a->proc);
	free(a->state);
	a->state = NULL;
}
