/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Arming receives, and the ring of buffers the kernel fills for all connections. A buffer goes back
 * to the ring as soon as its bytes were consumed; only a stalled connection (T3) holds some. */

#include "io/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t ring_bytes(uint32_t bufs_n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bufs_n * sizeof(struct io_uring_buf) + page - 1) / page * page;
}

static uint8_t *ring_buf(const struct tcp *t, const struct rx_held *h)
{
	return t->ring_mem + ring_bytes(t->ring_n) + (size_t)(h - t->ring_held) * CONN_STAGE_BYTES;
}

static void ring_add(struct tcp *t, struct rx_held *h)
{
	io_uring_buf_ring_add(t->ring, ring_buf(t, h), CONN_STAGE_BYTES,
			      (unsigned short)(h - t->ring_held), io_uring_buf_ring_mask(t->ring_n),
			      0);
	io_uring_buf_ring_advance(t->ring, 1);
	t->ring_free_n++;
}

static void give_back(struct tcp *t, struct env_conn *c, struct rx_held *h)
{
	if (h != &c->staged)
		ring_add(t, h);
}

size_t rxring_bytes(uint32_t bufs_n)
{
	return bufs_n * sizeof(struct rx_held) + ring_bytes(bufs_n) +
	       (size_t)bufs_n * CONN_STAGE_BYTES;
}

int rxring_open(struct tcp *t, uint32_t bufs_n)
{
	struct io_uring_buf_reg reg = {.ring_entries = bufs_n, .bgid = RXRING_GROUP};
	size_t bytes = ring_bytes(bufs_n) + (size_t)bufs_n * CONN_STAGE_BYTES;
	int res;

	t->ring_held = reactor_memory(bufs_n * sizeof(struct rx_held));
	t->ring_mem = reactor_memory(bytes);
	if (!t->ring_held || !t->ring_mem) {
		reactor_memory_free(t->ring_held, bufs_n * sizeof(struct rx_held));
		reactor_memory_free(t->ring_mem, bytes);
		t->ring_held = NULL;
		t->ring_mem = NULL;
		return -ENOMEM;
	}
	/* Touched now: the ring goes round, and memory is not to grow with the first traffic. */
	memset(t->ring_mem, 0, bytes);
	t->ring_mem_bytes = bytes;
	t->ring_n = bufs_n;
	t->ring = (struct io_uring_buf_ring *)(void *)t->ring_mem;
	reg.ring_addr = (uintptr_t)t->ring;
	res = io_uring_register_buf_ring(&t->r->ring, &reg, 0);
	if (res < 0) {
		rxring_close(t);
		return res;
	}
	io_uring_buf_ring_init(t->ring);
	for (uint32_t i = 0; i < bufs_n; i++) {
		list_init(&t->ring_held[i].link);
		ring_add(t, &t->ring_held[i]);
	}
	return 0;
}

void rxring_close(struct tcp *t)
{
	if (!t->ring_mem)
		return;
	if (t->ring_free_n)
		io_uring_unregister_buf_ring(&t->r->ring, RXRING_GROUP);
	reactor_memory_free(t->ring_held, t->ring_n * sizeof(struct rx_held));
	reactor_memory_free(t->ring_mem, t->ring_mem_bytes);
	t->ring_mem = NULL;
	t->ring_n = t->ring_free_n = 0;
}

void recv_drop(struct env_conn *c)
{
	struct list *item;

	while ((item = list_pop(&c->held)))
		give_back(c->tcp, c, CONTAINER_OF(item, struct rx_held, link));
}

void recv_arm(struct env_conn *c)
{
	struct tcp *t = c->tcp;
	struct io_uring_sqe *sqe = uring_sqe(t->r);
	uint32_t len = 0;
	uint8_t *direct = c->state == CONN_OPEN ? rx_direct(c, &len) : NULL;

	CHECK(!c->recv_armed);
	CHECK(!c->stalled);
	if (direct) {
		c->recv_kind = RECV_DIRECT;
		io_uring_prep_recv(sqe, c->fd, direct, len, MSG_WAITALL);
	} else if (t->plain) {
		c->recv_kind = RECV_STAGE;
		io_uring_prep_recv(sqe, c->fd, c->stage, CONN_STAGE_BYTES, 0);
	} else if (c->bulk || c->state == CONN_LINGER) {
		/* Little more than the next header, so that its payload can be received directly.
		 */
		c->recv_kind = RECV_SELECT;
		io_uring_prep_recv(sqe, c->fd, NULL, BLOCK_BYTES, 0);
	} else {
		c->recv_kind = RECV_MULTI;
		io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
	}
	if (c->recv_kind == RECV_MULTI || c->recv_kind == RECV_SELECT) {
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = RXRING_GROUP;
	}
	io_uring_sqe_set_data(sqe, &c->recv_op);
	c->recv_armed = true;
	c->recv_cancelled = false;
}

void recv_cancel(struct env_conn *c)
{
	struct io_uring_sqe *sqe;

	if (!c->recv_armed || c->recv_cancelled)
		return;
	sqe = uring_sqe(c->tcp->r);
	io_uring_prep_cancel(sqe, &c->recv_op, 0);
	io_uring_sqe_set_data(sqe, &uring_ignore);
	c->recv_cancelled = true;
}

/* Feed one piece; what a stall leaves of it stays first in line. */
static void feed(struct env_conn *c, struct rx_held *h)
{
	struct tcp *t = c->tcp;
	const uint8_t *bytes = h == &c->staged ? c->stage : ring_buf(t, h);

	h->at += rx_feed(c, bytes + h->at, h->end - h->at);
	if (c->state == CONN_OPEN && c->stalled && h->at < h->end)
		list_add_head(&c->held, &h->link);
	else
		give_back(t, c, h);
}

static void note_stall(struct env_conn *c)
{
	if (c->state != CONN_OPEN || !c->stalled)
		return;
	list_del(&c->wait_link);
	list_add_tail(&c->tcp->stalled, &c->wait_link);
	recv_cancel(c);
}

static void recv_failed(struct env_conn *c, int res)
{
	struct tcp *t = c->tcp;

	if (c->recv_armed)
		return;
	switch (res) {
	case -ENOBUFS:
		if (c->state == CONN_OPEN && !c->stalled)
			list_add_tail(&t->starved, &c->wait_link);
		else if (c->state == CONN_LINGER)
			conn_kill(c);
		return;
	case -EINVAL:
		if (c->recv_kind == RECV_MULTI && !t->plain) {
			env_logf(&t->r->env, ENV_INFO,
				 "io: no multishot receive in this kernel: one at a time");
			t->plain = true;
			return;
		}
		break;
	case -ECANCELED:
	case -EINTR:
	case -EAGAIN:
		return;
	default:
		break;
	}
	conn_fail(c, res == -EPIPE ? -ECONNRESET : res, conn_why(res));
}

static void recv_data(struct env_conn *c, uint32_t len, uint32_t cqe_flags)
{
	struct rx_held *h = &c->staged;

	if (c->recv_kind == RECV_DIRECT) {
		if (c->state == CONN_OPEN)
			rx_direct_got(c, len);
		return;
	}
	if (cqe_flags & IORING_CQE_F_BUFFER)
		h = &c->tcp->ring_held[cqe_flags >> IORING_CQE_BUFFER_SHIFT];
	h->at = 0;
	h->end = len;
	if (c->state == CONN_OPEN && c->stalled)
		list_add_tail(&c->held, &h->link);
	else
		feed(c, h);
}

void recv_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct env_conn *c = CONTAINER_OF(op, struct env_conn, recv_op);
	struct tcp *t = c->tcp;

	if (!(cqe_flags & IORING_CQE_F_MORE))
		c->recv_armed = false;
	if (cqe_flags & IORING_CQE_F_BUFFER)
		t->ring_free_n--;
	if (c->state == CONN_DEAD || res <= 0) {
		if (cqe_flags & IORING_CQE_F_BUFFER)
			give_back(t, c, &t->ring_held[cqe_flags >> IORING_CQE_BUFFER_SHIFT]);
	}
	if (c->state != CONN_DEAD) {
		if (res > 0)
			recv_data(c, (uint32_t)res, cqe_flags);
		else if (res < 0)
			recv_failed(c, res);
		else if (c->state == CONN_OPEN && c->stalled)
			c->end_seen = true; /* after what is held */
		else
			conn_end_seen(c);
	}
	note_stall(c);
	if (c->state == CONN_DEAD) {
		conn_reap(c);
	} else if (c->recv_armed) {
		uint32_t len;

		if (c->state == CONN_OPEN && c->recv_kind == RECV_MULTI && rx_direct(c, &len))
			recv_cancel(c);
	} else if (!c->stalled && !c->end_seen && list_empty(&c->wait_link)) {
		recv_arm(c);
	}
}

static void resume(struct env_conn *c)
{
	struct list *item;

	c->stalled = false;
	if (list_empty(&c->held))
		rx_feed(c, NULL, 0); /* a header may have been all there was */
	while (c->state == CONN_OPEN && !c->stalled && (item = list_pop(&c->held)))
		feed(c, CONTAINER_OF(item, struct rx_held, link));
	note_stall(c);
	if (c->state == CONN_DEAD || c->stalled)
		return;
	if (c->end_seen)
		conn_end_seen(c);
	else if (!c->recv_armed)
		recv_arm(c);
}

void recv_resume(struct tcp *t)
{
	struct list batch, *item;

	if (!list_empty(&t->stalled)) {
		list_init(&batch);
		list_add_tail(&t->stalled, &batch);
		list_del(&t->stalled);
		while ((item = list_first(&batch))) {
			list_del(item);
			if (rx_may_start(t))
				resume(CONTAINER_OF(item, struct env_conn, wait_link));
			else
				list_add_tail(&t->stalled, item);
		}
	}
	while (t->ring_free_n && (item = list_pop(&t->starved)))
		recv_arm(CONTAINER_OF(item, struct env_conn, wait_link));
}
