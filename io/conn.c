/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINGER_NS 300000000ull

static_assert(offsetof(struct frame, meta) == offsetof(struct frame, hdr) + sizeof(struct wire_hdr),
	      "header and meta go out as one piece");

static void send_done(struct uring_op *op, int res, uint32_t cqe_flags);

static void linger_timeout(struct env_timer *t)
{
	conn_kill(CONTAINER_OF(t, struct env_conn, timer));
}

struct env_conn *conn_new(struct tcp *t, int fd)
{
	struct list *item = list_pop(&t->free);
	struct env_conn *c;

	if (!item)
		return NULL;
	c = CONTAINER_OF(item, struct env_conn, link);
	memset(c, 0, sizeof(*c));
	c->tcp = t;
	c->fd = fd;
	c->stage = t->stages + (size_t)(c - t->conns) * CONN_STAGE_BYTES;
	list_add_tail(&t->live, &c->link);
	list_init(&c->sendq);
	list_init(&c->held);
	list_init(&c->dirty_link);
	list_init(&c->wait_link);
	c->send_op.fn = send_done;
	c->recv_op.fn = recv_done;
	return c;
}

const char *conn_why(int err)
{
	switch (err) {
	case -ECONNREFUSED:
	case -ENOENT:
		return "connection refused: nobody listens there";
	case -ECONNRESET:
	case -EPIPE:
		return "connection reset by the peer";
	case -ETIMEDOUT:
		return "the peer does not answer";
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return "no route to the peer";
	case -ENOBUFS:
	case -ENOMEM:
		return "the kernel has no memory for the connection";
	default:
		return "the connection failed";
	}
}

/* ---- the end ---- */

static void drop_sendq(struct env_conn *c)
{
	struct list *item;

	while ((item = list_pop(&c->sendq)))
		frame_put(CONTAINER_OF(item, struct frame, link));
	c->sendq_bytes = 0;
}

static void cancel(struct reactor *r, struct uring_op *op)
{
	struct io_uring_sqe *sqe = uring_sqe(r);

	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, &uring_ignore);
}

void conn_kill(struct env_conn *c)
{
	struct tcp *t = c->tcp;

	if (c->state == CONN_DEAD)
		return;
	CHECK(c->state != CONN_FREE);
	c->state = CONN_DEAD;
	c->ev = NULL;
	timers_cancel(t->r, &c->timer);
	if (c->connect_armed)
		cancel(t->r, &c->connect_op);
	if (c->send_armed)
		cancel(t->r, &c->send_op);
	if (c->recv_armed)
		cancel(t->r, &c->recv_op);
	/* Wakes whatever a cancel does not reach, such as a send the kernel retries by itself. */
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	list_del(&c->dirty_link);
	list_del(&c->wait_link);
	recv_drop(c);
	list_del(&c->link);
	list_add_tail(&t->dead, &c->link);
}

void conn_reap(struct env_conn *c)
{
	if (c->state != CONN_DEAD || c->connect_armed || c->send_armed || c->recv_armed)
		return;
	drop_sendq(c);
	frame_put(c->rx);
	c->rx = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = CONN_FREE;
	list_del(&c->link);
	list_add_head(&c->tcp->free, &c->link); /* the next one finds it touched */
}

void conn_linger(struct env_conn *c)
{
	struct env *e = &c->tcp->r->env;

	c->ev = NULL;
	if (c->state != CONN_OPEN || c->end_seen) {
		/* What is queued may still go out if it needs no waiting. */
		if (c->state == CONN_OPEN && !list_empty(&c->sendq) && !c->send_armed)
			goto linger;
		conn_kill(c);
		return;
	}
linger:
	c->state = CONN_LINGER;
	list_del(&c->wait_link);
	c->stalled = false;
	recv_drop(c);
	c->timer.fn = linger_timeout;
	timers_arm(c->tcp->r, &c->timer, e->now_ns(e) + LINGER_NS);
	conn_mark_dirty(c);
}

void conn_fail(struct env_conn *c, int err, const char *why)
{
	const struct conn_events *ev = c->ev;
	void *owner = c->owner;

	if (c->state == CONN_DEAD)
		return;
	conn_kill(c);
	if (ev)
		ev->closed(c, owner, err, why);
}

void conn_protocol_error(struct env_conn *c, int err, const char *why)
{
	struct frame_pool *pool = c->tcp->cfg.src->frames;
	const struct conn_events *ev = c->ev;
	void *owner = c->owner;
	struct wire_error *body;
	struct frame *f;

	if (c->state != CONN_OPEN)
		return;
	env_logf(&c->tcp->r->env, ENV_WARN, "io: connection with %s closed: %s", c->peer, why);
	f = c->accepted ? frame_new(pool, WIRE_ERROR, sizeof(*body)) : NULL;
	if (!f) {
		conn_fail(c, err, why);
		return;
	}
	body = (struct wire_error *)(void *)f->meta;
	body->code = err;
	snprintf(body->text, sizeof(body->text), "%s", why);
	conn_send(c, f);
	frame_put(f);
	conn_linger(c);
	if (ev)
		ev->closed(c, owner, err, why);
}

void conn_end_seen(struct env_conn *c)
{
	c->end_seen = true;
	if (c->state != CONN_LINGER)
		conn_fail(c, -ECONNRESET, "closed by the peer");
	else if (list_empty(&c->sendq))
		conn_kill(c);
}

/* ---- sending ---- */

void conn_mark_dirty(struct env_conn *c)
{
	if (list_empty(&c->dirty_link))
		list_add_tail(&c->tcp->dirty, &c->dirty_link);
}

static uint32_t frame_bytes(const struct frame *f)
{
	return (uint32_t)sizeof(f->hdr) + f->hdr.meta_bytes + f->hdr.data_bytes;
}

void conn_send(struct env_conn *c, struct frame *f)
{
	if (c->state != CONN_OPEN && c->state != CONN_CONNECTING)
		return;
	CHECK(!(f->flags & FRAME_DROPPED_DATA));
	CHECK(list_empty(&f->link)); /* in one send queue at a time */
	wire_frame_seal(f);
	frame_ref(f);
	list_add_tail(&c->sendq, &f->link);
	c->sendq_bytes += frame_bytes(f);
	conn_mark_dirty(c);
}

static void add_iov(struct env_conn *c, void *base, uint32_t len, uint32_t *skip)
{
	if (*skip >= len) {
		*skip -= len;
		return;
	}
	c->iov[c->msg.msg_iovlen++] =
		(struct iovec){.iov_base = (uint8_t *)base + *skip, .iov_len = len - *skip};
	*skip = 0;
}

static void arm_send(struct env_conn *c)
{
	struct io_uring_sqe *sqe;
	uint32_t skip = c->first_sent_bytes, n = 0;

	memset(&c->msg, 0, sizeof(c->msg));
	c->msg.msg_iov = c->iov;
	LIST_FOR_EACH(it, &c->sendq)
	{
		struct frame *f = CONTAINER_OF(it, struct frame, link);

		if (n++ == CONN_SEND_FRAMES_MAX)
			break;
		add_iov(c, &f->hdr, (uint32_t)sizeof(f->hdr) + f->hdr.meta_bytes, &skip);
		if (f->hdr.data_bytes)
			add_iov(c, f->data->data, f->hdr.data_bytes, &skip);
	}
	CHECK(c->msg.msg_iovlen > 0);
	sqe = uring_sqe(c->tcp->r);
	/* WAITALL: the kernel goes on by itself after a partial send. */
	io_uring_prep_sendmsg(sqe, c->fd, &c->msg, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_data(sqe, &c->send_op);
	c->send_armed = true;
}

void conn_flush(struct env_conn *c)
{
	list_del(&c->dirty_link);
	if (c->send_armed || (c->state != CONN_OPEN && c->state != CONN_LINGER))
		return;
	if (!list_empty(&c->sendq)) {
		arm_send(c);
	} else if (c->state == CONN_LINGER && !c->end_sent) {
		c->end_sent = true;
		shutdown(c->fd, SHUT_WR);
		if (c->end_seen)
			conn_kill(c);
		else if (!c->recv_armed)
			recv_arm(c);
	}
}

static void sent(struct env_conn *c, uint32_t len)
{
	CHECK(len <= c->sendq_bytes);
	c->sendq_bytes -= len;
	len += c->first_sent_bytes;
	while (!list_empty(&c->sendq)) {
		struct frame *f = CONTAINER_OF(list_first(&c->sendq), struct frame, link);

		if (len < frame_bytes(f))
			break;
		len -= frame_bytes(f);
		list_del(&f->link);
		frame_put(f);
	}
	c->first_sent_bytes = len;
}

static void send_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct env_conn *c = CONTAINER_OF(op, struct env_conn, send_op);

	(void)cqe_flags;
	c->send_armed = false;
	if (c->state == CONN_DEAD) {
		conn_reap(c);
		return;
	}
	if (res < 0 && res != -EAGAIN && res != -EINTR) {
		conn_fail(c, res == -EPIPE ? -ECONNRESET : res, conn_why(res));
		conn_reap(c);
		return;
	}
	if (res > 0)
		sent(c, (uint32_t)res);
	if (!list_empty(&c->sendq) || c->state == CONN_LINGER)
		conn_mark_dirty(c);
}
