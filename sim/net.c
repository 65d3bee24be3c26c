/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLOSE_FLUSH_BYTES (256u << 10) /* what env_close() hands to the kernel at most */
#define RX_RETRY_NS (50 * US)          /* the frame pool is empty: reading pauses */

enum packet_kind { PACKET_BYTES, PACKET_OPENED, PACKET_FIN };

struct net_packet {
	struct list link;
	uint64_t at_ns;
	enum packet_kind kind;
	int err;         /* FIN */
	const char *why; /* FIN */
	bool resized;    /* a flip hit a length */
	uint32_t len_bytes;
	uint8_t bytes[];
};

static struct net *net_of(struct env_conn *c)
{
	return c->link->net;
}

static uint64_t blocked_until(struct env_conn *from)
{
	struct proc *a = from->proc, *b = net_peer(from)->proc;

	if (!a || !b)
		return 0;
	return net_of(from)->blocked_until_ns[a->index][b->index];
}

/* ---- ends ---- */

static void maybe_free(struct sim_link *l)
{
	if (!l->end[0].live && !l->end[1].live && !l->syn_ev.pos)
		world_at(l->net->w, &l->free_ev, l->net->w->now_ns);
}

static void drop_sendq(struct env_conn *c)
{
	struct list *it;

	while ((it = list_pop(&c->sendq)))
		frame_put(CONTAINER_OF(it, struct frame, link));
	c->queued_bytes = 0;
}

/* No callback of @c from now on (T3). */
void net_end_dead(struct env_conn *c)
{
	struct world *w = net_of(c)->w;
	struct list *it;

	if (!c->live)
		return;
	c->live = false;
	world_cancel(w, &c->tx_ev);
	world_cancel(w, &c->rx_ev);
	world_cancel(w, &c->break_ev);
	drop_sendq(c);
	while ((it = list_pop(&c->inflight)))
		free(CONTAINER_OF(it, struct net_packet, link));
	list_del(&c->proc_link);
	maybe_free(c->link);
}

static void link_free(struct sim_link *l)
{
	struct world *w = l->net->w;

	for (int i = 0; i < 2; i++)
		net_end_dead(&l->end[i]);
	world_cancel(w, &l->syn_ev);
	world_cancel(w, &l->free_ev);
	list_del(&l->all);
	free(l);
}

static void free_fire(struct sim_event *ev)
{
	link_free(CONTAINER_OF(ev, struct sim_link, free_ev));
}

/* ---- the way of a packet ---- */

uint64_t net_delay(struct net *n)
{
	struct rng *r = &n->w->rng;
	uint64_t d = rng_skewed(r, n->delay_lo_ns, n->delay_hi_ns);

	if (rng_chance(r, n->spike_ppm))
		d += rng_range(r, n->spike_ns / 10, n->spike_ns);
	return d;
}

/* Put @p on its way from @from to the other end. */
static void packet_go(struct env_conn *from, struct net_packet *p)
{
	struct net *n = net_of(from);
	struct env_conn *to = net_peer(from);
	uint64_t start = MAX(n->w->now_ns, blocked_until(from));

	if (!to->live || from->cut) {
		free(p);
		return;
	}
	p->at_ns = MAX(start + net_delay(n), from->last_arrival_ns);
	from->last_arrival_ns = p->at_ns;
	list_add_tail(&to->inflight, &p->link);
	if (!to->rx_ev.pos)
		world_at(n->w, &to->rx_ev, p->at_ns);
}

static struct net_packet *packet_new(enum packet_kind kind, uint32_t len_bytes)
{
	struct net_packet *p = malloc(sizeof(*p) + len_bytes);

	CHECK(p);
	memset(p, 0, sizeof(*p));
	p->kind = kind;
	p->len_bytes = len_bytes;
	return p;
}

void net_send_fin(struct env_conn *from, int err, const char *why)
{
	struct net_packet *p = packet_new(PACKET_FIN, 0);

	p->err = err;
	p->why = why;
	packet_go(from, p);
}

static void flip(struct net *n, struct net_packet *p)
{
	struct rng *r = &n->w->rng;
	struct wire_hdr before, after;
	uint32_t where = rng_chance(r, 500000) ? MIN(p->len_bytes, 256u) : p->len_bytes;
	uint32_t bit = (uint32_t)rng_below(r, 8ull * where);

	memcpy(&before, p->bytes, sizeof(before));
	p->bytes[bit / 8] = (uint8_t)(p->bytes[bit / 8] ^ (1u << (bit % 8)));
	memcpy(&after, p->bytes, sizeof(after));
	p->resized = before.meta_bytes != after.meta_bytes || before.data_bytes != after.data_bytes;
	n->flips++;
}

static struct net_packet *serialise(struct net *n, const struct frame *f)
{
	uint32_t data_bytes = f->hdr.data_bytes;
	uint32_t head = sizeof(f->hdr) + f->hdr.meta_bytes;
	struct net_packet *p = packet_new(PACKET_BYTES, head + data_bytes);

	memcpy(p->bytes, &f->hdr, sizeof(f->hdr));
	memcpy(p->bytes + sizeof(f->hdr), f->meta, f->hdr.meta_bytes);
	if (data_bytes)
		memcpy(p->bytes + head, f->data->data, data_bytes);
	if (n->flip_ppm && rng_chance(&n->w->rng, n->flip_ppm))
		flip(n, p);
	n->frames++;
	n->w->hash = rng_mix(n->w->hash ^ f->hdr.meta_crc);
	return p;
}

static uint32_t frame_bytes(const struct frame *f)
{
	return (uint32_t)sizeof(f->hdr) + f->hdr.meta_bytes + f->hdr.data_bytes;
}

/* Move what the wire can take now from the send queue into flight. */
static void pump(struct env_conn *c)
{
	struct net *n = net_of(c);
	struct world *w = n->w;

	while (!list_empty(&c->sendq) && !c->link->syn_ev.pos) {
		uint64_t free_ns = MAX(c->wire_free_ns, blocked_until(c));
		struct frame *f = CONTAINER_OF(c->sendq.next, struct frame, link);
		uint32_t len = frame_bytes(f);

		if (free_ns > w->now_ns) {
			if (!c->tx_ev.pos)
				world_at(w, &c->tx_ev, free_ns);
			return;
		}
		list_del(&f->link);
		c->queued_bytes -= len;
		c->wire_free_ns = w->now_ns + len * n->ns_per_kib / 1024;
		packet_go(c, serialise(n, f));
		frame_put(f);
	}
}

static void tx_fire(struct sim_event *ev)
{
	pump(CONTAINER_OF(ev, struct env_conn, tx_ev));
}

/* ---- arrival ---- */

/* The receiver gives the connection up: its peer gets a reset. */
static void end_closed(struct env_conn *c, int err, const char *why)
{
	const struct conn_events *ev = c->ev;
	void *owner = c->owner;
	struct proc *p = c->proc;

	world_trace(net_of(c)->w, p, "closed %s: %s",
		    net_peer(c)->proc ? net_peer(c)->proc->name : "?", why);
	net_send_fin(c, -ECONNRESET, "connection reset");
	net_end_dead(c);
	if (ev)
		ev->closed(c, owner, err, why);
	proc_ran(p);
}

/* Who speaks, as far as @h may be sent by it; the rest is wire_frame_check()'s. As io/rx.c. */
static int check_sender(const struct env_conn *c, const struct wire_hdr *h, const char **ret_why)
{
	bool known = c->peer_role != ROLE_NONE, accepted = c->side == 1;

	if (accepted && !known && h->type != WIRE_CONNECT)
		*ret_why = "frame: the first must be CONNECT";
	else if (!accepted && !known && h->type != WIRE_CONNECTED && h->type != WIRE_ERROR)
		*ret_why = "frame: the first answer must be CONNECTED or ERROR";
	else if (h->type == WIRE_CONNECT && known)
		*ret_why = "frame: CONNECT twice";
	else if (h->type == WIRE_CONNECTED && (accepted || known))
		*ret_why = "frame: CONNECTED out of place";
	else if (known && !(wire_type_info(h->type)->senders & (1u << c->peer_role)))
		*ret_why = "frame: the sender's role may not send this type";
	else
		return 0;
	return -EPERM;
}

static enum wire_role stated_role(const struct frame *f)
{
	uint32_t role;

	memcpy(&role, f->meta, sizeof(role));
	return role < ROLE_END ? (enum wire_role)role : ROLE_NONE;
}

static int check_frame(struct env_conn *c, const struct frame *f, const char **ret_why)
{
	enum wire_role sender = c->peer_role;
	int res;

	if (f->hdr.type == WIRE_CONNECTED)
		sender = stated_role(f);
	else if (f->hdr.type == WIRE_ERROR && sender == ROLE_NONE)
		sender = ROLE_NODE; /* refused before it said who it is */
	res = wire_frame_check(f, sender, ret_why);
	if (res < 0)
		return res;
	if (f->hdr.type == WIRE_CONNECT)
		c->peer_role = stated_role(f);
	else if (f->hdr.type == WIRE_CONNECTED)
		c->peer_role = sender;
	return 0;
}

/* The frame in @p, or NULL: *ret_err 0 = no frame free, try later; else close. */
static struct frame *parse(struct env_conn *c, const struct net_packet *p, int *ret_err,
			   const char **ret_why)
{
	struct frame_source *src = c->proc->src;
	struct wire_hdr h;
	struct frame *f;

	memcpy(&h, p->bytes, sizeof(h));
	*ret_err = wire_hdr_check(&h, ret_why);
	if (!*ret_err)
		*ret_err = check_sender(c, &h, ret_why);
	if (*ret_err)
		return NULL;
	f = src->frames->free_n > src->frames->made_n / 8
		    ? frame_new(src->frames, h.type, h.meta_bytes)
		    : NULL;
	if (!f)
		return NULL;
	f->hdr = h;
	memcpy(f->meta, p->bytes + sizeof(h), h.meta_bytes);
	if (h.data_bytes) {
		struct buf *b = buf_get(src->bufs, h.data_bytes,
					h.type == WIRE_REQUEST ? BUF_CLIENT : BUF_NODE);

		if (b) {
			memcpy(b->data, p->bytes + sizeof(h) + h.meta_bytes, h.data_bytes);
			frame_set_data(f, b);
		} else {
			f->flags |= FRAME_DROPPED_DATA;
		}
	}
	*ret_err = check_frame(c, f, ret_why);
	if (*ret_err) {
		frame_put(f);
		return NULL;
	}
	return f;
}

/* As io/conn.c: an acceptor says what it did not like. */
static void protocol_error(struct env_conn *c, int err, const char *why)
{
	struct frame *f = c->side == 1 ? frame_new(c->proc->src->frames, WIRE_ERROR,
						   sizeof(struct wire_error))
				       : NULL;
	struct wire_error *body;

	if (f) {
		body = (struct wire_error *)(void *)f->meta;
		body->code = err;
		memcpy(body->text, why, strnlen(why, sizeof(body->text) - 1));
		wire_frame_seal(f);
		packet_go(c, serialise(net_of(c), f));
		frame_put(f);
	}
	end_closed(c, err, why);
}

/* False when it could not be taken yet. */
static bool receive_bytes(struct env_conn *c, struct net_packet *p)
{
	struct world *w = net_of(c)->w;
	const char *why = "";
	struct frame *f;
	int err = 0;

	if (c->desynced || p->resized) {
		/* The lengths lie: what follows is taken for the rest of this frame, until its CRC
		 * is looked at and fails. */
		if (c->desynced)
			protocol_error(c, -EBADMSG, "header checksum");
		else
			c->desynced = true;
		free(p);
		return true;
	}
	f = parse(c, p, &err, &why);
	if (!f && !err)
		return false;
	free(p);
	if (!f) {
		protocol_error(c, err, why);
		return true;
	}
	if (w->verbose > 1)
		world_trace(w, c->proc, "<- %s %s chain %u epoch %lu seq %lu tok %lu commit %lu",
			    net_peer(c)->proc->name, wire_type_info(f->hdr.type)->name,
			    f->hdr.chain, f->hdr.epoch, f->hdr.seq, f->hdr.token, f->hdr.commit);
	if (c->ev)
		c->ev->frame(c, c->owner, f);
	frame_put(f);
	return true;
}

static void deliver(struct env_conn *c, struct net_packet *p)
{
	struct proc *proc = c->proc;

	switch (p->kind) {
	case PACKET_OPENED:
		free(p);
		if (c->ev->opened)
			c->ev->opened(c, c->owner);
		proc_ran(proc);
		return;
	case PACKET_FIN: {
		int err = p->err;
		const char *why = p->why;

		free(p);
		end_closed(c, err, why);
		return;
	}
	case PACKET_BYTES:
		if (!receive_bytes(c, p)) {
			list_add_head(&c->inflight, &p->link);
			p->at_ns = net_of(c)->w->now_ns + RX_RETRY_NS;
			return;
		}
		proc_ran(proc);
		return;
	}
}

static void rx_fire(struct sim_event *ev)
{
	struct env_conn *c = CONTAINER_OF(ev, struct env_conn, rx_ev);
	struct list *it;

	if (proc_hold(c->proc, ev))
		return;
	it = list_pop(&c->inflight);
	CHECK(it);
	deliver(c, CONTAINER_OF(it, struct net_packet, link));
	/* The link lives at least until the next event: see maybe_free(). */
	if (c->live && !list_empty(&c->inflight))
		world_at(net_of(c)->w, &c->rx_ev,
			 CONTAINER_OF(c->inflight.next, struct net_packet, link)->at_ns);
}

static void break_fire(struct sim_event *ev)
{
	struct env_conn *c = CONTAINER_OF(ev, struct env_conn, break_ev);

	if (proc_hold(c->proc, ev))
		return;
	end_closed(c, c->break_err, c->break_why);
}

/* ---- opening ---- */

static struct proc *listener(struct world *w, const char *addr)
{
	for (uint32_t i = 0; i < w->procs_n; i++)
		if (w->procs[i]->addr[0] && !strcmp(w->procs[i]->addr, addr))
			return w->procs[i];
	return NULL;
}

static void accept_fire(struct sim_event *ev)
{
	struct sim_link *l = CONTAINER_OF(ev, struct sim_link, syn_ev);
	struct env_conn *a = &l->end[0], *b = &l->end[1];
	struct proc *p = listener(l->net->w, l->addr);

	if (!a->live) { /* the opener gave up */
		maybe_free(l);
		return;
	}
	if (!p || !p->up || !p->accept) {
		struct net_packet *fin = packet_new(PACKET_FIN, 0);

		fin->err = -ECONNREFUSED;
		fin->why = "connection refused";
		fin->at_ns = l->net->w->now_ns + net_delay(l->net);
		list_add_tail(&a->inflight, &fin->link);
		world_at(l->net->w, &a->rx_ev, fin->at_ns);
		l->net->refused++;
		return;
	}
	if (proc_hold(p, ev))
		return;
	b->proc = p;
	if (blocked_until(a) > l->net->w->now_ns) {
		b->proc = NULL;
		world_at(l->net->w, ev,
			 l->net->blocked_until_ns[a->proc->index][p->index] + net_delay(l->net));
		return;
	}
	b->live = true;
	list_add_tail(&p->conns, &b->proc_link);
	packet_go(b, packet_new(PACKET_OPENED, 0));
	p->accept(p, b);
	pump(a);
	proc_ran(p);
}

static void end_init(struct env_conn *c, struct sim_link *l, uint32_t side)
{
	c->link = l;
	c->side = side;
	list_init(&c->sendq);
	list_init(&c->inflight);
	list_init(&c->proc_link);
	c->tx_ev.fire = tx_fire;
	c->rx_ev.fire = rx_fire;
	c->break_ev.fire = break_fire;
}

static struct env_conn *env_connect(struct env *e, const char *addr, const struct conn_events *ev,
				    void *owner)
{
	struct proc *p = proc_of(e);
	struct net *n = p->w->net;
	struct sim_link *l = calloc(1, sizeof(*l));

	CHECK(l);
	l->net = n;
	l->syn_ev.fire = accept_fire;
	l->free_ev.fire = free_fire;
	memcpy(l->addr, addr, strnlen(addr, sizeof(l->addr) - 1));
	list_add_tail(&n->links, &l->all);
	end_init(&l->end[0], l, 0);
	end_init(&l->end[1], l, 1);
	l->end[0].proc = p;
	l->end[0].live = true;
	l->end[0].ev = ev;
	l->end[0].owner = owner;
	list_add_tail(&p->conns, &l->end[0].proc_link);
	world_at(n->w, &l->syn_ev, n->w->now_ns + net_delay(n));
	return &l->end[0];
}

static void env_attach(struct env *e, struct env_conn *c, const struct conn_events *ev, void *owner)
{
	CHECK(c->proc == proc_of(e));
	c->ev = ev;
	c->owner = owner;
}

static void env_send(struct env *e, struct env_conn *c, struct frame *f)
{
	struct net *n = net_of(c);

	CHECK(c->proc == proc_of(e));
	if (!c->live)
		return;
	CHECK(!(f->flags & FRAME_DROPPED_DATA));
	CHECK(list_empty(&f->link)); /* in one send queue at a time */
	wire_frame_seal(f);
	if (n->on_send)
		n->on_send(n, c->proc, net_peer(c)->proc, f);
	frame_ref(f);
	list_add_tail(&c->sendq, &f->link);
	c->queued_bytes += frame_bytes(f);
	pump(c);
}

static uint32_t env_send_queue_bytes(struct env *e, struct env_conn *c)
{
	CHECK(c->proc == proc_of(e));
	return c->queued_bytes;
}

static void env_close(struct env *e, struct env_conn *c)
{
	uint32_t flushed = 0;

	CHECK(c->proc == proc_of(e));
	if (!c->live)
		return;
	while (!list_empty(&c->sendq) && flushed < CLOSE_FLUSH_BYTES) {
		struct frame *f = CONTAINER_OF(list_pop(&c->sendq), struct frame, link);

		flushed += frame_bytes(f);
		packet_go(c, serialise(net_of(c), f));
		frame_put(f);
	}
	net_send_fin(c, -ECONNRESET, "peer closed");
	net_end_dead(c);
}

void net_fill_env(struct env *e)
{
	e->connect = env_connect;
	e->attach = env_attach;
	e->send = env_send;
	e->send_queue_bytes = env_send_queue_bytes;
	e->close = env_close;
}

/* ---- life ---- */

void net_init(struct net *n, struct world *w)
{
	memset(n, 0, sizeof(*n));
	n->w = w;
	w->net = n;
	list_init(&n->links);
	n->delay_lo_ns = 20 * US;
	n->delay_hi_ns = 200 * US;
	n->spike_ns = 200 * MS;
	n->ns_per_kib = 1000;
}

void net_fini(struct net *n)
{
	while (!list_empty(&n->links))
		link_free(CONTAINER_OF(n->links.next, struct sim_link, all));
}
