/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A client: what libchainblk/loop.c does, driven by the workload. */
#include "sim/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/invariants.h"

#define CLIENT_FRAMES 1024u
#define OPEN_NS (5 * SEC)
#define VERIFY_DEADLINE_NS (60 * SEC)
static const struct buf_pool_config client_bufs = {.small_n = 256, .large_n = 128};

static void slot_think(struct client_slot *s)
{
	struct cluster *cl = s->client->cl;
	uint64_t mean = cl->phase == PHASE_VERIFY ? 100 * US : cl->cfg.think_ns;

	world_at(cl->w, &s->think_ev, cl->w->now_ns + rng_below(&cl->w->rng, 2 * mean + 1));
}

static void on_done(struct client_req *r)
{
	struct client_slot *s = CONTAINER_OF(r, struct client_slot, req);
	struct actor_client *a = s->client;
	struct workload_op *op = s->op;
	bool reading = op->kind == CLIENT_READ || op->kind == CLIENT_PRESENT;

	world_trace(a->cl->w, &a->proc, "op %lu kind %d block %lu+%u: %d", op->id, (int)op->kind,
		    op->offset_bytes / BLOCK_BYTES, op->len_bytes / BLOCK_BYTES, r->status);
	s->op = NULL;
	a->busy--;
	invariants_op_done(a->cl->inv, op, r->status);
	workload_done(&a->cl->work, op, r->status, r->miscompare_offset,
		      reading && r->data ? r->data->data : NULL);
	buf_put(r->data);
	slot_think(s);
}

static bool submit(struct client_slot *s, struct workload_op *op)
{
	struct actor_client *a = s->client;
	struct env *e = &a->proc.env;
	struct client_req *r = &s->req;

	memset(r, 0, sizeof(*r));
	r->kind = op->kind;
	r->offset_bytes = op->offset_bytes;
	r->len_bytes = op->len_bytes;
	r->deadline_ns = e->now_ns(e) + (a->cl->phase == PHASE_VERIFY ? VERIFY_DEADLINE_NS
								      : a->cl->cfg.deadline_ns);
	r->done = on_done;
	if (op->data_bytes) {
		r->data = buf_get(&a->bufs, op->data_bytes, BUF_NODE);
		if (!r->data)
			return false;
		workload_fill(&a->cl->work, op, r->data->data);
	}
	s->op = op;
	if (client_submit(a->client, r) == 0) {
		a->busy++;
		return true;
	}
	s->op = NULL;
	buf_put(r->data);
	return false;
}

static void think_fire(struct sim_event *ev)
{
	struct client_slot *s = CONTAINER_OF(ev, struct client_slot, think_ev);
	struct cluster *cl = s->client->cl;
	struct workload_op *op;

	if (proc_hold(&s->client->proc, ev) || !s->client->open)
		return;
	if (cl->phase == PHASE_QUIET)
		return;
	op = cl->phase == PHASE_WORK ? workload_next(&cl->work)
				     : workload_verify_next(&cl->work, &cl->verify_cursor);
	if (!op)
		return;
	if (!submit(s, op)) {
		if (cl->phase == PHASE_VERIFY)
			cl->verify_cursor = (uint32_t)(op->offset_bytes / BLOCK_BYTES);
		workload_cancel(&cl->work, op);
		slot_think(s);
	}
	proc_ran(&s->client->proc);
}

void actor_client_wake(struct actor_client *a)
{
	if (!a->open)
		return;
	for (uint32_t i = 0; i < a->cl->cfg.depth; i++)
		if (!a->slots[i].op && !a->slots[i].think_ev.pos)
			slot_think(&a->slots[i]);
}

static void on_opened(void *arg, int res, const char *why)
{
	struct actor_client *a = arg;

	world_trace(a->cl->w, &a->proc, "opened %d %s", res, why ? why : "");
	a->open = res == 0;
	if (a->open)
		actor_client_wake(a);
	else
		world_at(a->cl->w, &a->restart_ev, a->cl->w->now_ns + 100 * MS);
}

static void on_event(void *arg, int type, uint64_t size_bytes, const char *text)
{
	struct actor_client *a = arg;

	world_trace(a->cl->w, &a->proc, "event %d size %lu: %s", type, size_bytes, text);
}

static void restart_fire(struct sim_event *ev)
{
	struct actor_client *a = CONTAINER_OF(ev, struct actor_client, restart_ev);

	actor_client_kill(a);
	actor_client_start(a);
}

void actor_client_start(struct actor_client *a)
{
	struct client_config cfg = {.volume = "vol",
				    .reqs_max = DEPTH_MAX,
				    .parts_max = 2 * DEPTH_MAX,
				    .src = &a->src,
				    .opened = on_opened,
				    .event = on_event,
				    .arg = a};
	struct env *e = &a->proc.env;

	if (a->proc.up)
		return;
	world_cancel(a->cl->w, &a->restart_ev);
	snprintf(cfg.cfg_addrs[0], ADDR_BYTES, "%s", CFG_ADDR);
	sim_id(a->cl->w, &cfg.id);
	proc_start(&a->proc, client_memory(&cfg) + frame_pool_bytes(CLIENT_FRAMES) +
				     buf_pool_bytes(&client_bufs) + 4 * BLOCK_BYTES);
	a->starts++;
	world_trace(a->cl->w, &a->proc, "start %u", a->starts);
	frame_pool_init(&a->frames, CLIENT_FRAMES, &a->proc.arena);
	buf_pool_init(&a->bufs, &client_bufs, &a->proc.arena);
	a->src = (struct frame_source){.frames = &a->frames, .bufs = &a->bufs};
	a->proc.src = &a->src;
	a->open = a->closing = false;
	a->busy = 0;
	for (uint32_t i = 0; i < DEPTH_MAX; i++)
		a->slots[i].op = NULL;
	a->client = client_init(&cfg, e, &a->proc.arena);
	client_start(a->client, e->now_ns(e) + OPEN_NS);
}

void actor_client_kill(struct actor_client *a)
{
	world_cancel(a->cl->w, &a->restart_ev);
	if (!a->proc.up)
		return;
	world_trace(a->cl->w, &a->proc, "killed");
	for (uint32_t i = 0; i < DEPTH_MAX; i++) {
		struct client_slot *s = &a->slots[i];

		world_cancel(a->cl->w, &s->think_ev);
		if (s->op)
			workload_abandon(&a->cl->work, s->op);
		s->op = NULL;
	}
	a->open = false;
	a->busy = 0;
	net_proc_died(&a->cl->net, &a->proc, false);
	a->client = NULL;
	proc_stop(&a->proc);
}

void actor_client_init(struct actor_client *a, struct cluster *cl, uint32_t i)
{
	char name[SERVER_NAME_BYTES];

	memset(a, 0, sizeof(*a));
	snprintf(name, sizeof(name), "c%u", i + 1);
	proc_init(&a->proc, cl->w, name, "");
	a->cl = cl;
	a->restart_ev.fire = restart_fire;
	for (uint32_t k = 0; k < DEPTH_MAX; k++) {
		a->slots[k].client = a;
		a->slots[k].think_ev.fire = think_fire;
	}
}

void actor_client_fini(struct actor_client *a)
{
	proc_fini(&a->proc);
}
