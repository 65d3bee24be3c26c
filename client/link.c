/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/core.h"

/* Patience with one address, from connect to CONNECTED: a packet filter that drops would otherwise
 * hold us for the kernel's two minutes. */
#define HANDSHAKE_NS 2000000000ull
/* A connection that held this long was good: the back-off starts over. */
#define STEADY_NS 1000000000ull
#define ROUND_BASE 3u /* client_jitter_ns() exponent of the first wait */

static struct env *env_of(const struct link *l)
{
	return l->client->env;
}

static uint32_t addrs_n(const struct link *l)
{
	uint32_t n = 0;

	while (n < SERVER_ADDRS_MAX && l->addrs[n][0])
		n++;
	return n;
}

static void note(struct link *l, const char *why)
{
	snprintf(l->why, sizeof(l->why), "%s: %s", addrs_n(l) ? l->addrs[l->addr_i] : "no address",
		 why);
}

/* The connection is gone (conn is NULL): tell the owner, plan the next try. */
static void lost(struct link *l, const char *why)
{
	uint64_t now = client_now(l->client), wait_ns = 0;
	bool was_up = l->up;

	CHECK(l->conn == NULL);
	note(l, why);
	l->up = false;
	if (was_up) {
		if (now - l->up_at_ns > STEADY_NS)
			l->rounds = 0;
		l->tried_n = 0;
		wait_ns = client_jitter_ns(l->client, ROUND_BASE + l->rounds++);
	} else if (++l->tried_n < addrs_n(l)) {
		l->addr_i = (l->addr_i + 1) % addrs_n(l);
	} else {
		l->addr_i = addrs_n(l) ? (l->addr_i + 1) % addrs_n(l) : 0;
		l->tried_n = 0;
		wait_ns = client_jitter_ns(l->client, ROUND_BASE + l->rounds++);
	}
	env_of(l)->timer_arm(env_of(l), &l->timer, now + wait_ns);
	if (was_up)
		l->ev->down(l->client, l);
}

void link_fail(struct link *l, const char *why)
{
	struct env_conn *conn = l->conn;

	CHECK(l->started);
	CHECK(conn != NULL);
	env_logf(env_of(l), ENV_WARN, "%s at %s: %s: connection closed", l->name,
		 l->addrs[l->addr_i], why);
	l->conn = NULL;
	env_of(l)->close(env_of(l), conn);
	lost(l, why);
}

static void on_opened(struct env_conn *conn, void *owner)
{
	struct link *l = owner;
	struct frame *f;
	struct wire_connect *body;

	CHECK(conn == l->conn);
	f = frame_new(l->client->cfg.src->frames, WIRE_CONNECT, sizeof(*body));
	if (!f) {
		link_fail(l, "no frame buffer free");
		return;
	}
	body = (struct wire_connect *)(void *)f->meta;
	body->role = ROLE_CLIENT;
	snprintf(body->name, sizeof(body->name), "client");
	f->hdr.cluster = l->client->cluster;
	f->hdr.from = l->client->cfg.id;
	f->hdr.to = l->expect;
	env_of(l)->send(env_of(l), conn, f);
	frame_put(f);
}

/* K2. NULL, or why this is not the peer we look for. */
static const char *stranger(const struct link *l, const struct wire_hdr *h,
			    const struct wire_connected *body)
{
	const struct id128 *cluster = &l->client->cluster;

	if (body->role != l->role)
		return "another kind of program answers there";
	if (l->role == ROLE_NODE && body->server_id != l->server_id)
		return "another server answers there";
	if (l->role == ROLE_NODE && id128_is_none(&h->from))
		return "it names no incarnation";
	if (!id128_is_none(cluster) && !id128_is_none(&h->cluster) &&
	    !id128_eq(cluster, &h->cluster))
		return "it belongs to another cluster";
	if (l->role == ROLE_CFG && id128_is_none(cluster) && id128_is_none(&h->cluster))
		return "it has no cluster yet";
	return NULL;
}

static void on_connected(struct link *l, const struct frame *f)
{
	const struct wire_connected *body = (const struct wire_connected *)(const void *)f->meta;
	const char *why = stranger(l, &f->hdr, body);

	if (why) {
		link_fail(l, why);
		return;
	}
	if (l->role == ROLE_CFG && id128_is_none(&l->client->cluster))
		l->client->cluster = f->hdr.cluster;
	env_of(l)->timer_cancel(env_of(l), &l->timer);
	l->incarnation = f->hdr.from;
	l->window_ops = body->window_ops;
	l->window_bytes = body->window_bytes;
	l->confirm_turn = 0;
	l->confirm_lanes = 0;
	l->tried_n = 0;
	l->up = true;
	l->up_at_ns = client_now(l->client);
	l->why[0] = 0;
	l->ev->ready(l->client, l);
}

static void on_frame(struct env_conn *conn, void *owner, struct frame *f)
{
	struct link *l = owner;
	const struct wire_error *err = (const struct wire_error *)(const void *)f->meta;

	CHECK(conn == l->conn);
	if (f->hdr.type == WIRE_ERROR)
		link_fail(l, err->text);
	else if (l->up)
		l->ev->frame(l->client, l, f);
	else if (f->hdr.type == WIRE_CONNECTED)
		on_connected(l, f);
	else
		link_fail(l, "it spoke before CONNECTED");
}

static void on_closed(struct env_conn *conn, void *owner, int err, const char *why)
{
	struct link *l = owner;

	(void)err;
	CHECK(conn == l->conn);
	l->conn = NULL;
	lost(l, why ? why : "connection closed");
}

static const struct conn_events conn_events = {
	.opened = on_opened,
	.frame = on_frame,
	.closed = on_closed,
};

static void on_timer(struct env_timer *t)
{
	struct link *l = CONTAINER_OF(t, struct link, timer);
	struct env *e = env_of(l);

	if (!l->started)
		return;
	if (l->conn) {
		link_fail(l, "no answer to CONNECT");
		return;
	}
	if (l->addr_i >= addrs_n(l))
		l->addr_i = 0;
	if (addrs_n(l))
		l->conn = e->connect(e, l->addrs[l->addr_i], &conn_events, l);
	if (!l->conn) {
		lost(l, "cannot connect to this address");
		return;
	}
	e->timer_arm(e, &l->timer, client_now(l->client) + HANDSHAKE_NS);
}

void link_init(struct link *l, struct client *c, const struct link_config *cfg)
{
	*l = (struct link){
		.client = c, .ev = cfg->ev, .role = cfg->role, .server_id = cfg->server_id};
	l->timer.fn = on_timer;
	snprintf(l->name, sizeof(l->name), "%s", cfg->name);
	link_set_addrs(l, cfg->addrs);
	note(l, "not connected yet");
}

void link_set_addrs(struct link *l, const char (*addrs)[ADDR_BYTES])
{
	memcpy(l->addrs, addrs, sizeof(l->addrs));
	if (l->addr_i >= addrs_n(l))
		l->addr_i = 0;
}

void link_start(struct link *l)
{
	CHECK(!l->started);
	l->started = true;
	env_of(l)->timer_arm(env_of(l), &l->timer, client_now(l->client));
}

void link_hurry(struct link *l)
{
	if (!l->started || l->conn)
		return;
	l->rounds = 0;
	env_of(l)->timer_arm(env_of(l), &l->timer, client_now(l->client));
}

void link_stop(struct link *l)
{
	struct env_conn *conn = l->conn;

	env_of(l)->timer_cancel(env_of(l), &l->timer);
	l->started = l->up = false;
	l->conn = NULL;
	if (conn)
		env_of(l)->close(env_of(l), conn);
}

struct frame *link_frame(struct link *l, enum wire_type type, uint32_t meta_bytes)
{
	struct frame *f = frame_new(l->client->cfg.src->frames, type, meta_bytes);

	CHECK(l->up);
	if (!f) {
		client_starved(l->client);
		return NULL;
	}
	f->hdr.cluster = l->client->cluster;
	f->hdr.from = l->client->cfg.id;
	f->hdr.to = l->incarnation;
	return f;
}

void link_send(struct link *l, struct frame *f)
{
	CHECK(l->up);
	env_of(l)->send(env_of(l), l->conn, f);
	frame_put(f);
}

void link_check(const struct link *l)
{
	if (l->up) {
		CHECK(l->started);
		CHECK(l->conn != NULL);
		CHECK(!id128_is_none(&l->incarnation) || l->role == ROLE_CFG);
	}
	if (l->conn)
		CHECK(l->started);
}
