/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Connections others opened to us: who is it, may it say that, and to which file does it go. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct list *bucket(struct node *n, const struct id128 *id)
{
	uint64_t h;

	memcpy(&h, id->b, sizeof(h));
	return &n->session_hash[(h ^ (h >> 32)) % SESSION_HASH];
}

static void forget(struct session *s)
{
	list_del(&s->hash);
	list_del(&s->link);
	frame_put(s->marks);
	s->marks = NULL;
	s->c = NULL;
	s->gen++;
	s->role = ROLE_NONE;
	list_add_head(&s->n->free_sessions, &s->link);
}

void session_close(struct session *s)
{
	s->n->env->close(s->n->env, s->c);
	forget(s);
}

/* A named error, then the end of the connection. */
static void reject(struct session *s, int code, const char *why)
{
	struct node *n = s->n;
	struct frame *f = node_frame(n, WIRE_ERROR, sizeof(struct wire_error));
	struct wire_error *e = f ? (struct wire_error *)(void *)f->meta : NULL;

	env_logf(n->env, ENV_WARN, "chaind %s: connection from %s closed: %s", n->cfg.name,
		 wire_role_name(s->role), why);
	if (e) {
		e->code = code;
		snprintf(e->text, sizeof(e->text), "%s", why);
		node_send(n, s->c, f);
	}
	session_close(s);
}

struct session *session_find(struct node *n, const struct id128 *id, enum wire_role role)
{
	LIST_FOR_EACH(it, bucket(n, id))
	{
		struct session *s = CONTAINER_OF(it, struct session, hash);

		if (s->role == role && id128_eq(&s->peer, id))
			return s;
	}
	return NULL;
}

/* A client has one connection to us, and opens the next one only when it has given up the last. So
 * what it asks is handled in the order it asked: nothing of an old connection comes after something
 * of a newer one (decision 006 needs that). */
static void close_older(struct session *s)
{
	struct session *old;

	while (s->role == ROLE_CLIENT && (old = session_find(s->n, &s->peer, ROLE_CLIENT)))
		session_close(old);
}

static void on_connect(struct session *s, struct frame *f)
{
	const struct wire_connect *req = (const struct wire_connect *)(const void *)f->meta;
	struct node *n = s->n;
	struct wire_connected *rep;
	struct frame *out;

	if (!n->registered || n->stopping) {
		reject(s, -EAGAIN, "this chaind is not serving: it starts or stops; try again");
		return;
	}
	if (!id128_is_none(&f->hdr.cluster) && !id128_eq(&f->hdr.cluster, &n->cluster)) {
		reject(s, -EPERM, "another cluster's: this chaind belongs to a different one");
		return;
	}
	if (id128_is_none(&f->hdr.from)) {
		reject(s, -EPROTO, "CONNECT: no id of the sender");
		return;
	}
	if (!id128_is_none(&f->hdr.to) && !id128_eq(&f->hdr.to, &n->incarnation)) {
		reject(s, -ESTALE, "that incarnation of this chaind is gone: ask cfgsvc again");
		return;
	}
	out = node_frame(n, WIRE_CONNECTED, sizeof(*rep));
	if (!out) {
		session_close(s);
		return;
	}
	s->role = (enum wire_role)req->role;
	s->peer = f->hdr.from;
	close_older(s);
	list_add_head(bucket(n, &s->peer), &s->hash);
	rep = (struct wire_connected *)(void *)out->meta;
	rep->role = ROLE_NODE;
	rep->server_id = n->server_id;
	rep->window_ops = WINDOW_OPS_MAX - WINDOW_OPS_RESERVED;
	rep->window_bytes = WINDOW_BYTES_MAX;
	out->hdr.to = s->peer;
	out->hdr.tag = f->hdr.tag;
	node_send(n, s->c, out);
}

static void dispatch(struct session *s, struct frame *f)
{
	switch ((enum wire_type)f->hdr.type) {
	case WIRE_HELLO:
	case WIRE_FORWARD:
	case WIRE_TOKENS:
	case WIRE_DUP:
		replica_from_pred(s->n, s, f);
		return;
	case WIRE_STALE:
		install_record(s->n, (const struct map_chain *)(const void *)f->meta);
		return;
	case WIRE_REQUEST:
		head_request(s, f);
		return;
	case WIRE_READ:
		reader_read(s, f);
		return;
	case WIRE_CONFIRM:
		reader_confirm(s, f);
		return;
	case WIRE_CONNECT:
	case WIRE_CONNECTED:
	case WIRE_ERROR:
	case WIRE_HELLO_ACK:
	case WIRE_COMMITS:
	case WIRE_NAK:
	case WIRE_REPLY:
	case WIRE_READ_REPLY:
	case WIRE_CONFIRMED:
	case WIRE_REGISTER:
	case WIRE_REGISTERED:
	case WIRE_REPORT:
	case WIRE_MAP_GET:
	case WIRE_MAP:
	case WIRE_OPEN:
	case WIRE_OPENED:
	case WIRE_ADMIN:
	case WIRE_ADMIN_REPLY:
	case WIRE_TYPE_END:
		break;
	}
	reject(s, -EPROTO, "a message that does not belong on a connection to a chaind");
}

static void on_frame(struct env_conn *c, void *owner, struct frame *f)
{
	struct session *s = owner;
	struct node *n = s->n;
	const char *why;
	int rc;

	CHECK(s->c == c);
	rc = wire_frame_check(f, s->role, &why);
	if (rc < 0) {
		reject(s, rc, why);
		return;
	}
	if (s->role == ROLE_NONE) {
		on_connect(s, f);
		return;
	}
	if (!id128_eq(&f->hdr.cluster, &n->cluster)) {
		reject(s, -EPERM, "frame: another cluster's");
		return;
	}
	if (!id128_eq(&f->hdr.from, &s->peer)) {
		reject(s, -EPERM, "frame: not from whom this connection was opened by");
		return;
	}
	/* N1: meant for an earlier life of ours. */
	if (!id128_is_none(&f->hdr.to) && !id128_eq(&f->hdr.to, &n->incarnation))
		return;
	dispatch(s, f);
}

static void on_closed(struct env_conn *c, void *owner, int err, const char *why)
{
	struct session *s = owner;

	CHECK(s->c == c);
	if (err != -ECONNRESET && err != 0)
		env_logf(s->n->env, ENV_INFO, "chaind %s: connection from %s lost: %s",
			 s->n->cfg.name, wire_role_name(s->role), why);
	forget(s);
}

static const struct conn_events events = {.frame = on_frame, .closed = on_closed};

void session_init(struct node *n)
{
	list_init(&n->sessions);
	list_init(&n->free_sessions);
	for (unsigned i = 0; i < SESSION_HASH; i++)
		list_init(&n->session_hash[i]);
	for (unsigned i = 0; i < NODE_CONNS_MAX; i++) {
		n->all_sessions[i].n = n;
		list_init(&n->all_sessions[i].hash);
		list_add_tail(&n->free_sessions, &n->all_sessions[i].link);
	}
}

void node_accept(struct node *n, struct env_conn *c)
{
	struct list *item = n->closed ? NULL : list_pop(&n->free_sessions);
	struct session *s;

	if (!item) {
		n->env->close(n->env, c);
		return;
	}
	s = CONTAINER_OF(item, struct session, link);
	s->c = c;
	s->role = ROLE_NONE;
	s->peer = (struct id128){{0}};
	s->opened_ns = n->env->now_ns(n->env);
	list_add_tail(&n->sessions, &s->link);
	n->env->attach(n->env, c, &events, s);
}

void session_tick(struct node *n, uint64_t now_ns)
{
	LIST_FOR_EACH_SAFE(it, &n->sessions)
	{
		struct session *s = CONTAINER_OF(it, struct session, link);

		if (s->role == ROLE_NONE && now_ns - s->opened_ns > HANDSHAKE_NS)
			reject(s, -ETIMEDOUT, "no CONNECT came within 5 s");
	}
}
