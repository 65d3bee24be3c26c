/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The operator: `cluster init` and `volume create` as the messages chainctl sends. */
#include "sim/cluster.h"

#include <stdio.h>
#include <string.h>

#define RETRY_NS (200 * MS)
#define PATIENCE_NS (3 * SEC)
#define ADMIN_FRAMES 32u
static const struct buf_pool_config admin_bufs = {.small_n = 8, .large_n = 4};

static struct env *env_of(struct actor_admin *a)
{
	return &a->proc.env;
}

static void retry_later(struct actor_admin *a)
{
	env_of(a)->timer_arm(env_of(a), &a->timer, env_of(a)->now_ns(env_of(a)) + RETRY_NS);
}

static void send_frame(struct actor_admin *a, struct frame *f)
{
	f->hdr.from = a->id;
	f->hdr.cluster = a->cluster;
	env_of(a)->send(env_of(a), a->conn, f);
	frame_put(f);
}

static void ask(struct actor_admin *a)
{
	struct frame *f = frame_new(&a->frames, WIRE_ADMIN, sizeof(struct wire_admin));
	struct wire_admin *body;

	CHECK(f);
	body = (struct wire_admin *)(void *)f->meta;
	if (a->state == ADMIN_INIT) {
		body->op = ADMIN_CLUSTER_INIT;
		body->arg0 = a->cl->cfg.replicas;
		body->arg1 = a->cl->cfg.chains;
	} else {
		body->op = ADMIN_VOLUME_CREATE;
		body->arg0 = a->cl->cfg.work.volume_bytes;
		body->arg1 = SECTOR_BYTES;
		snprintf(body->name, sizeof(body->name), "vol");
	}
	f->hdr.tag = (uint64_t)a->state;
	a->sent_ns = a->cl->w->now_ns;
	send_frame(a, f);
	retry_later(a);
}

static void on_opened(struct env_conn *c, void *owner)
{
	struct actor_admin *a = owner;
	struct frame *f = frame_new(&a->frames, WIRE_CONNECT, sizeof(struct wire_connect));

	(void)c;
	CHECK(f);
	((struct wire_connect *)(void *)f->meta)->role = ROLE_ADMIN;
	send_frame(a, f);
}

static void on_reply(struct actor_admin *a, const struct frame *f)
{
	const struct wire_admin_reply *r = (const struct wire_admin_reply *)(const void *)f->meta;

	if (f->hdr.tag != (uint64_t)a->state)
		return;
	world_trace(a->cl->w, &a->proc, "step %d: %d %s", (int)a->state, r->status, r->text);
	memcpy(a->why, r->text, sizeof(a->why));
	a->sent_ns = 0;
	/* Asked twice because the first answer was late: it exists already. */
	if (r->status == 0 || r->status == -17)
		a->state = a->state == ADMIN_INIT ? ADMIN_VOLUME : ADMIN_DONE;
}

static void on_frame(struct env_conn *c, void *owner, struct frame *f)
{
	struct actor_admin *a = owner;

	(void)c;
	if (f->hdr.type == WIRE_CONNECTED) {
		a->cluster = f->hdr.cluster;
		a->greeted = true;
		ask(a);
	} else if (f->hdr.type == WIRE_ADMIN_REPLY) {
		on_reply(a, f);
	}
}

static void on_closed(struct env_conn *c, void *owner, int err, const char *why)
{
	struct actor_admin *a = owner;

	(void)c;
	(void)err;
	(void)why;
	a->conn = NULL;
	a->greeted = false;
	retry_later(a);
}

static const struct conn_events events = {
	.opened = on_opened, .frame = on_frame, .closed = on_closed};

static void on_timer(struct env_timer *t)
{
	struct actor_admin *a = CONTAINER_OF(t, struct actor_admin, timer);

	if (a->state == ADMIN_DONE) {
		if (a->conn)
			env_of(a)->close(env_of(a), a->conn);
		a->conn = NULL;
		return;
	}
	if (!a->conn)
		a->conn = env_of(a)->connect(env_of(a), CFG_ADDR, &events, a);
	else if (a->greeted && a->cl->w->now_ns - a->sent_ns > PATIENCE_NS)
		ask(a);
	retry_later(a);
}

void actor_admin_start(struct actor_admin *a)
{
	proc_start(&a->proc,
		   frame_pool_bytes(ADMIN_FRAMES) + buf_pool_bytes(&admin_bufs) + 4 * BLOCK_BYTES);
	frame_pool_init(&a->frames, ADMIN_FRAMES, &a->proc.arena);
	buf_pool_init(&a->bufs, &admin_bufs, &a->proc.arena);
	a->src = (struct frame_source){.frames = &a->frames, .bufs = &a->bufs};
	a->proc.src = &a->src;
	sim_id(a->cl->w, &a->id);
	a->state = ADMIN_INIT;
	a->timer.fn = on_timer;
	retry_later(a);
}

void actor_admin_init(struct actor_admin *a, struct cluster *cl)
{
	memset(a, 0, sizeof(*a));
	a->cl = cl;
	proc_init(&a->proc, cl->w, "admin", "");
}

void actor_admin_fini(struct actor_admin *a)
{
	proc_fini(&a->proc);
}
