/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "cfgsvc/svc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cfgsvc/svc_priv.h"
#include "lib/arena.h"

#define BODY(type, f) ((const struct type *)(const void *)(f)->meta)

size_t svc_memory(void)
{
	return arena_cost(sizeof(struct svc), ARENA_ALIGN) +
	       2 * arena_cost(sizeof(struct ctrl_state), ARENA_ALIGN) +
	       arena_cost(sizeof(struct ctrl_live), ARENA_ALIGN) +
	       arena_cost(CTRL_STATE_BYTES_MAX, ARENA_ALIGN);
}

/* ---- connections ---- */

static void conn_forget(struct svc_conn *c)
{
	struct svc *s = c->svc;

	svc_jobs_forget(c);
	if (c->server >= 0 && s->server_conn[c->server] == c) {
		s->server_conn[c->server] = NULL;
		s->live->servers[c->server].connected = false;
		s->live->servers[c->server].seen_ns = s->env->now_ns(s->env);
		if (!s->stopping)
			env_logf(s->env, ENV_WARN, "server %s: connection lost",
				 s->cur->map.servers[c->server].name);
	}
	list_del(&c->link);
	list_add_head(&s->conns_free, &c->link);
	c->conn = NULL;
}

struct frame *svc_frame(struct svc_conn *c, enum wire_type type, uint32_t meta_bytes, uint64_t tag)
{
	struct svc *s = c->svc;
	struct frame *f = frame_new(s->cfg.src->frames, type, meta_bytes);

	if (!f) {
		env_logf(s->env, ENV_WARN, "%s: out of frames, closing its connection", c->name);
		s->env->close(s->env, c->conn);
		conn_forget(c);
		return NULL;
	}
	f->hdr.cluster = s->cur->map.hdr.cluster;
	f->hdr.to = c->peer;
	f->hdr.tag = tag;
	return f;
}

void svc_send(struct svc_conn *c, struct frame *f)
{
	c->svc->env->send(c->svc->env, c->conn, f);
	frame_put(f);
}

void svc_conn_drop(struct svc_conn *c, int err, const char *fmt, ...)
{
	struct svc *s = c->svc;
	struct frame *f = svc_frame(c, WIRE_ERROR, sizeof(struct wire_error), 0);
	struct wire_error *e;
	va_list ap;

	if (!f)
		return;
	e = (struct wire_error *)(void *)f->meta;
	e->code = err;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	env_logf(s->env, ENV_WARN, "refused %s: %s", c->name, e->text);
	svc_send(c, f);
	s->env->close(s->env, c->conn);
	conn_forget(c);
}

static void send_map(struct svc_conn *c)
{
	struct svc *s = c->svc;
	struct frame *f = svc_frame(c, WIRE_MAP, 0, c->map_tag);

	if (!f)
		return;
	frame_set_data(f, buf_ref(s->map_buf));
	c->map_due = false;
	c->map_tag = 0;
	svc_send(c, f);
}

/* The map is encoded once per version; all connections share the buffer. */
static bool map_buf_ready(struct svc *s)
{
	size_t len = chain_map_encoded_bytes(&s->cur->map);

	if (s->map_buf && s->map_version == s->cur->map.hdr.version)
		return true;
	buf_put(s->map_buf);
	s->map_buf = buf_get(s->cfg.src->bufs, (uint32_t)len, BUF_NODE);
	if (!s->map_buf)
		return false;
	s->map_version = s->cur->map.hdr.version;
	chain_map_encode(&s->cur->map, s->map_buf->data);
	return true;
}

void svc_push_maps(struct svc *s)
{
	LIST_FOR_EACH_SAFE(it, &s->conns)
	{
		struct svc_conn *c = CONTAINER_OF(it, struct svc_conn, link);

		if (!c->subscribed || !c->map_due)
			continue;
		if (s->env->send_queue_bytes(s->env, c->conn) > SVC_QUEUE_BYTES_MAX)
			continue;
		if (!map_buf_ready(s))
			return; /* the next tick tries again */
		send_map(c);
	}
}

/* ---- what comes in ---- */

static void on_connect(struct svc_conn *c, const struct frame *f)
{
	const struct wire_connect *b = BODY(wire_connect, f);
	struct svc *s = c->svc;
	struct wire_connected *answer;
	struct frame *out;

	memcpy(c->name, b->name, sizeof(c->name));
	/* A server is told our id all the same: it stops for good when that is not its own. */
	if (b->role != ROLE_NODE && !id128_is_none(&f->hdr.cluster) &&
	    !id128_eq(&f->hdr.cluster, &s->cur->map.hdr.cluster)) {
		svc_conn_drop(c, -EPROTO,
			      "%s: it belongs to another cluster than this configuration service: "
			      "use that cluster's --cfg",
			      c->name);
		return;
	}
	c->role = (enum wire_role)b->role;
	c->peer = f->hdr.from;
	out = svc_frame(c, WIRE_CONNECTED, sizeof(*answer), f->hdr.tag);
	if (!out)
		return;
	answer = (struct wire_connected *)(void *)out->meta;
	answer->role = ROLE_CFG;
	svc_send(c, out);
}

static void on_report(struct svc_conn *c, const struct frame *f)
{
	struct svc *s = c->svc;
	struct ctrl_server_live *l;

	if (c->server < 0) {
		svc_conn_drop(c, -EPROTO, "%s: a report before it registered: a bug in that daemon",
			      c->name);
		return;
	}
	l = &s->live->servers[c->server];
	l->report = *BODY(wire_server_report, f);
	l->seen_ns = s->env->now_ns(s->env);
	if (f->data)
		ctrl_live_reports(l, (const struct wire_report *)(const void *)f->data->data,
				  f->data->len_bytes / (uint32_t)sizeof(struct wire_report));
	s->reform_due = true;
	svc_kick(s);
}

static void on_map_get(struct svc_conn *c, const struct frame *f)
{
	c->subscribed = true;
	c->map_due = true;
	c->map_tag = f->hdr.tag;
	svc_push_maps(c->svc);
}

static void dispatch(struct svc_conn *c, struct frame *f)
{
	switch (f->hdr.type) {
	case WIRE_REPORT:
		on_report(c, f);
		return;
	case WIRE_MAP_GET:
		on_map_get(c, f);
		return;
	case WIRE_REGISTER:
		if (f->flags & FRAME_DROPPED_DATA) {
			svc_conn_drop(c, -EAGAIN, "%s: out of buffers: try again", c->name);
			return;
		}
		svc_job_add(c, f);
		return;
	case WIRE_OPEN:
	case WIRE_ADMIN:
		svc_job_add(c, f);
		return;
	default:
		svc_conn_drop(c, -EPROTO, "%s: %s is nothing a configuration service answers",
			      c->name, wire_type_info(f->hdr.type)->name);
	}
}

static void on_frame(struct env_conn *conn, void *owner, struct frame *f)
{
	struct svc_conn *c = owner;
	struct svc *s = c->svc;
	const struct wire_type_info *type = wire_type_info(f->hdr.type);

	CHECK(c->conn == conn);
	CHECK(type != NULL);
	if (c->role == ROLE_NONE && f->hdr.type == WIRE_CONNECT) {
		on_connect(c, f);
		return;
	}
	if (!(type->senders & (1u << c->role))) {
		svc_conn_drop(c, -EPERM, "%s: a %s may not send %s", c->name,
			      wire_role_name(c->role), type->name);
		return;
	}
	if (!id128_eq(&f->hdr.cluster, &s->cur->map.hdr.cluster)) {
		svc_conn_drop(c, -EPROTO, "%s: a message for another cluster", c->name);
		return;
	}
	dispatch(c, f);
}

static void on_closed(struct env_conn *conn, void *owner, int err, const char *why)
{
	struct svc_conn *c = owner;

	CHECK(c->conn == conn);
	if (c->role != ROLE_NONE)
		env_logf(c->svc->env, ENV_DEBUG, "%s: connection closed: %s (%d)", c->name, why,
			 err);
	conn_forget(c);
}

static const struct conn_events events = {.frame = on_frame, .closed = on_closed};

void svc_accept(struct svc *s, struct env_conn *conn)
{
	struct list *slot = s->loaded && !s->stopping ? list_pop(&s->conns_free) : NULL;
	struct svc_conn *c;

	if (!slot) {
		env_logf(s->env, ENV_WARN, "connection refused: %s",
			 s->loaded ? "all slots are taken" : "not started yet");
		s->env->close(s->env, conn);
		return;
	}
	c = CONTAINER_OF(slot, struct svc_conn, link);
	*c = (struct svc_conn){.svc = s,
			       .conn = conn,
			       .server = -1,
			       .name = "somebody",
			       .since_ns = s->env->now_ns(s->env)};
	list_add_tail(&s->conns, &c->link);
	s->env->attach(s->env, conn, &events, c);
}

/* ---- life ---- */

static void on_tick(struct env_timer *t)
{
	struct svc *s = CONTAINER_OF(t, struct svc, tick);
	uint64_t now = s->env->now_ns(s->env);

	LIST_FOR_EACH_SAFE(it, &s->conns)
	{
		struct svc_conn *c = CONTAINER_OF(it, struct svc_conn, link);

		if (c->role == ROLE_NONE && now - c->since_ns >= SVC_CONNECT_NS)
			svc_conn_drop(c, -ETIMEDOUT, "a connection that never said who it is");
	}
	svc_push_maps(s);
	s->reform_due = true;
	svc_kick(s);
	s->env->timer_arm(s->env, &s->tick, now + SVC_TICK_NS);
}

struct svc *svc_init(const struct svc_config *cfg, struct arena *a)
{
	struct svc *s = arena_alloc(a, sizeof(*s), ARENA_ALIGN);

	s->cfg = *cfg;
	s->env = cfg->env;
	s->cur = arena_alloc(a, sizeof(*s->cur), ARENA_ALIGN);
	s->next = arena_alloc(a, sizeof(*s->next), ARENA_ALIGN);
	s->live = arena_alloc(a, sizeof(*s->live), ARENA_ALIGN);
	s->bytes = arena_alloc(a, CTRL_STATE_BYTES_MAX, ARENA_ALIGN);
	list_init(&s->conns);
	list_init(&s->conns_free);
	for (uint32_t i = 0; i < SVC_CONNS_MAX; i++)
		list_add_tail(&s->conns_free, &s->conn_slots[i].link);
	svc_txn_init(s);
	s->tick.fn = on_tick;
	return s;
}

void svc_start(struct svc *s, void (*ready)(void *arg, int res, const char *why), void *arg)
{
	CHECK(!s->loaded);
	s->ready = ready;
	s->ready_arg = arg;
	s->env->timer_arm(s->env, &s->tick, s->env->now_ns(s->env) + SVC_TICK_NS);
	svc_load(s);
}

void svc_stop(struct svc *s)
{
	s->stopping = true;
	s->env->timer_cancel(s->env, &s->tick);
	LIST_FOR_EACH_SAFE(it, &s->conns)
	{
		struct svc_conn *c = CONTAINER_OF(it, struct svc_conn, link);

		s->env->close(s->env, c->conn);
		conn_forget(c);
	}
	buf_put(s->map_buf);
	s->map_buf = NULL;
}

const struct chain_map *svc_map(const struct svc *s)
{
	return &s->cur->map;
}

void svc_check(const struct svc *s)
{
	if (!s->loaded)
		return;
	ctrl_check(s->cur);
	for (uint32_t i = 0; i < SERVERS_MAX; i++) {
		if (!s->server_conn[i])
			continue;
		CHECK(s->server_conn[i]->server == (int)i);
		CHECK(s->live->servers[i].connected);
		CHECK(i < s->cur->map.hdr.servers_n);
	}
}
