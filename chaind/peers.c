/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Connections to successors: one per server, however many chains pass over it. Down it go HELLO,
 * FORWARD, TOKENS and DUP, up it come HELLO_ACK, COMMITS and NAK. Watermarks are gathered while the
 * loop turns and leave in one message per peer when it ends. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

#define RETRY_MIN_NS (20ull * 1000 * 1000)
#define RETRY_MAX_NS (1000ull * 1000 * 1000)
#define CONNECT_NS (5ull * 1000 * 1000 * 1000)

/* The entry of @server, or one to use for it, or NULL: records may name more servers than exist. */
static struct peer *find(struct node *n, uint32_t server)
{
	struct peer *idle = NULL;

	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		if (n->peers[i].server == server)
			return &n->peers[i];
		if (!idle && list_empty(&n->peers[i].replicas))
			idle = &n->peers[i];
	}
	return idle;
}

static void links_down(struct peer *p)
{
	LIST_FOR_EACH(it, &p->replicas)
	{
		struct replica *r = CONTAINER_OF(it, struct replica, down_link);

		if (r->repl.linked)
			replica_event(r, REPL_EV_LINK_DOWN, 0);
	}
	while (list_pop(&p->tokens))
		continue;
}

/* Exponential back-off with jitter: three chains of one broken link must not knock in step. */
static void retry_later(struct peer *p)
{
	struct env *env = p->n->env;
	uint64_t wait = RETRY_MIN_NS << MIN(p->failures, 6u);

	wait = MIN(wait, RETRY_MAX_NS);
	wait = wait / 2 + env->random_u64(env) % (wait / 2 + 1);
	p->failures++;
	p->retry_ns = env->now_ns(env) + wait;
}

static void drop(struct peer *p, bool close)
{
	struct env_conn *c = p->c;

	p->c = NULL;
	p->state = PEER_IDLE;
	if (close && c)
		p->n->env->close(p->n->env, c);
	retry_later(p);
	links_down(p);
}

static void on_opened(struct env_conn *c, void *owner)
{
	struct peer *p = owner;
	struct node *n = p->n;
	struct frame *f = node_frame(n, WIRE_CONNECT, sizeof(struct wire_connect));
	struct wire_connect *hello;

	CHECK(p->c == c);
	if (!f) {
		drop(p, true);
		return;
	}
	hello = (struct wire_connect *)(void *)f->meta;
	hello->role = ROLE_NODE;
	hello->server_id = n->server_id;
	memcpy(hello->name, n->cfg.name, sizeof(hello->name));
	f->hdr.to = p->incarnation;
	p->state = PEER_GREETING;
	node_send(n, c, f);
}

static void come_up(struct peer *p)
{
	p->state = PEER_UP;
	p->failures = 0;
	LIST_FOR_EACH(it, &p->replicas)
	replica_event(CONTAINER_OF(it, struct replica, down_link), REPL_EV_LINK_UP, 0);
}

static void on_frame(struct env_conn *c, void *owner, struct frame *f)
{
	struct peer *p = owner;
	struct node *n = p->n;
	const char *why = "not the chaind we wanted";
	int rc;

	CHECK(p->c == c);
	rc = wire_frame_check(f, ROLE_NODE, &why);
	if (rc == 0 && f->hdr.type == WIRE_ERROR) {
		why = ((const struct wire_error *)(const void *)f->meta)->text;
		rc = -ECONNREFUSED;
	}
	/* Another incarnation answers there: the map that names it is on its way. */
	if (rc == 0 &&
	    (!id128_eq(&f->hdr.from, &p->incarnation) || !id128_eq(&f->hdr.cluster, &n->cluster)))
		rc = -ESTALE;
	if (rc < 0) {
		env_logf(n->env, ENV_INFO, "chaind %s: connection to server %u closed: %s",
			 n->cfg.name, p->server, why);
		drop(p, true);
		return;
	}
	if (p->state == PEER_GREETING) {
		if (f->hdr.type == WIRE_CONNECTED)
			come_up(p);
		else
			drop(p, true);
	} else if (f->hdr.type == WIRE_STALE) {
		install_record(n, (const struct map_chain *)(const void *)f->meta);
	} else if (id128_eq(&f->hdr.to, &n->incarnation)) {
		replica_from_succ(n, c, f);
	}
}

static void on_closed(struct env_conn *c, void *owner, int err, const char *why)
{
	struct peer *p = owner;

	CHECK(p->c == c);
	if (p->failures == 0 || p->state == PEER_UP)
		env_logf(p->n->env, ENV_INFO, "chaind %s: connection to server %u: %s (%d)",
			 p->n->cfg.name, p->server, why, err);
	drop(p, false);
}

static const struct conn_events events = {
	.opened = on_opened, .frame = on_frame, .closed = on_closed};

static void try_connect(struct peer *p)
{
	struct node *n = p->n;
	const struct map_server *s = chain_map_server(n->map, p->server);
	const char *addr = NULL;

	for (unsigned i = 0; s && i < SERVER_ADDRS_MAX && !addr; i++) {
		unsigned at = p->addr++ % SERVER_ADDRS_MAX;

		if (s->addrs[at][0] != '\0')
			addr = s->addrs[at];
	}
	if (!addr) {
		retry_later(p);
		return;
	}
	p->c = n->env->connect(n->env, addr, &events, p);
	if (!p->c) {
		retry_later(p);
		return;
	}
	p->state = PEER_CONNECTING;
	p->since_ns = n->env->now_ns(n->env);
}

void peers_init(struct node *n)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		n->peers[i].n = n;
		list_init(&n->peers[i].replicas);
		list_init(&n->peers[i].tokens);
	}
}

void peers_attach(struct replica *r, const struct map_member *succ)
{
	struct node *n = r->n;
	struct peer *p = find(n, succ->server);

	CHECK(r->down == NULL);
	if (!p) {
		env_logf(n->env, ENV_ERR, "chain %u: no place for one more successor server",
			 r->chain);
		return;
	}
	if (p->server != succ->server || !id128_eq(&p->incarnation, &succ->incarnation)) {
		p->server = succ->server;
		if (p->state != PEER_IDLE)
			drop(p, true);
		p->incarnation = succ->incarnation;
		p->failures = 0;
		p->retry_ns = 0;
		p->addr = 0;
	}
	r->down = p;
	list_add_tail(&p->replicas, &r->down_link);
	if (p->state == PEER_UP)
		replica_event(r, REPL_EV_LINK_UP, 0);
	else if (p->state == PEER_IDLE)
		try_connect(p);
}

void peers_detach(struct replica *r)
{
	list_del(&r->down_link);
	list_del(&r->token_link);
	r->down = NULL;
}

void peers_tick(struct node *n, uint64_t now_ns)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		struct peer *p = &n->peers[i];

		if (p->server == 0 || list_empty(&p->replicas))
			continue;
		if (p->state == PEER_IDLE && now_ns >= p->retry_ns)
			try_connect(p);
		else if ((p->state == PEER_CONNECTING || p->state == PEER_GREETING) &&
			 now_ns - p->since_ns > CONNECT_NS)
			drop(p, true);
		if (p->state != PEER_UP)
			continue;
		LIST_FOR_EACH(it, &p->replicas)
		replica_event(CONTAINER_OF(it, struct replica, down_link), REPL_EV_HELLO_DUE, 0);
	}
}

void peers_close(struct node *n)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		struct peer *p = &n->peers[i];

		if (p->c)
			n->env->close(n->env, p->c);
		p->c = NULL;
		p->state = PEER_IDLE;
	}
}

/* ---- watermarks ---- */

void peers_token(struct replica *r)
{
	if (!r->down || !r->repl.synced)
		return;
	if (list_empty(&r->token_link))
		list_add_tail(&r->down->tokens, &r->token_link);
	r->n->env->defer(r->n->env, &r->n->flush);
}

void peers_commit(struct replica *r)
{
	if (list_empty(&r->commit_link))
		list_add_tail(&r->n->commits, &r->commit_link);
	r->n->env->defer(r->n->env, &r->n->flush);
}

static void add_mark(struct frame *f, const struct wire_mark *m)
{
	CHECK(f->hdr.meta_bytes + sizeof(*m) <= WIRE_META_MAX);
	memcpy(f->meta + f->hdr.meta_bytes, m, sizeof(*m));
	f->hdr.meta_bytes += (uint32_t)sizeof(*m);
}

static bool marks_full(const struct frame *f)
{
	return f->hdr.meta_bytes + sizeof(struct wire_mark) > WIRE_META_MAX;
}

static void flush_tokens(struct peer *p)
{
	struct node *n = p->n;

	while (!list_empty(&p->tokens) && p->state == PEER_UP) {
		struct frame *f = node_frame(n, WIRE_TOKENS, 0);

		if (!f) {
			node_soon(n);
			return;
		}
		f->hdr.to = p->incarnation;
		while (!list_empty(&p->tokens) && !marks_full(f)) {
			struct replica *r =
				CONTAINER_OF(list_pop(&p->tokens), struct replica, token_link);

			add_mark(f, &(struct wire_mark){.chain = r->chain,
							.epoch = r->repl.epoch,
							.seq = r->repl.token,
							.commit = r->repl.commit});
		}
		node_send(n, p->c, f);
	}
}

static void send_marks(struct session *s)
{
	struct frame *f = s->marks;

	s->marks = NULL;
	if (f)
		node_send(s->n, s->c, f);
}

static void flush_commits(struct node *n)
{
	struct list again;

	list_init(&again);
	while (!list_empty(&n->commits)) {
		struct replica *r =
			CONTAINER_OF(list_pop(&n->commits), struct replica, commit_link);
		struct session *s = r->repl.in && !r->repl.is_head
					    ? session_find(n, &r->repl.pred, ROLE_NODE)
					    : NULL;

		if (!s)
			continue; /* its HELLO will have the answer */
		if (!s->marks)
			s->marks = node_frame(n, WIRE_COMMITS, 0);
		if (!s->marks) {
			list_add_tail(&again, &r->commit_link);
			continue;
		}
		s->marks->hdr.to = s->peer;
		r->credit_told = replica_credit(r);
		add_mark(s->marks, &(struct wire_mark){.chain = r->chain,
						       .epoch = r->repl.epoch,
						       .seq = r->repl.commit,
						       .commit = r->credit_told});
		if (marks_full(s->marks))
			send_marks(s);
	}
	LIST_FOR_EACH_SAFE(it, &again)
	{
		list_del(it);
		list_add_tail(&n->commits, it);
		node_soon(n);
	}
	LIST_FOR_EACH(it, &n->sessions)
	send_marks(CONTAINER_OF(it, struct session, link));
}

void peers_flush(struct node *n)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		flush_tokens(&n->peers[i]);
	if (!list_empty(&n->commits))
		flush_commits(n);
}
