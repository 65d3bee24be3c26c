/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Bytes to frames. Nothing here knows how the bytes were received. */

#include "io/conn.h"

#include <errno.h>
#include <string.h>

bool rx_may_start(const struct tcp *t)
{
	return t->cfg.src->frames->free_n > t->frames_reserve;
}

/* Who speaks, as far as @h may be sent by it; the rest is wire_frame_check()'s. */
static int check_sender(const struct env_conn *c, const struct wire_hdr *h, const char **ret_why)
{
	bool known = c->peer_role != ROLE_NONE;

	if (c->accepted && !known && h->type != WIRE_CONNECT)
		*ret_why = "frame: the first must be CONNECT";
	else if (!c->accepted && !known && h->type != WIRE_CONNECTED && h->type != WIRE_ERROR)
		*ret_why = "frame: the first answer must be CONNECTED or ERROR";
	else if (h->type == WIRE_CONNECT && known)
		*ret_why = "frame: CONNECT twice";
	else if (h->type == WIRE_CONNECTED && (c->accepted || known))
		*ret_why = "frame: CONNECTED out of place";
	else if (known && !(wire_type_info(h->type)->senders & (1u << c->peer_role)))
		*ret_why = "frame: the sender's role may not send this type";
	else
		return 0;
	return -EPERM;
}

/* The header is complete: check it, then take a frame and, for payload, a buffer (T1). */
static int start(struct env_conn *c, const char **ret_why)
{
	struct frame_source *src = c->tcp->cfg.src;
	struct wire_hdr *h = &c->hdr;
	int res = wire_hdr_check(h, ret_why);
	struct frame *f;
	struct buf *b;

	if (res == 0)
		res = check_sender(c, h, ret_why);
	if (res < 0)
		return res;
	if (!rx_may_start(c->tcp)) {
		c->stalled = true;
		return 0;
	}
	f = frame_new(src->frames, h->type, h->meta_bytes);
	CHECK(f); /* rx_may_start() */
	f->hdr = *h;
	if (h->data_bytes) {
		b = buf_get(src->bufs, h->data_bytes,
			    h->type == WIRE_REQUEST ? BUF_CLIENT : BUF_NODE);
		if (b)
			frame_set_data(f, b);
		else
			f->flags |= FRAME_DROPPED_DATA;
	}
	c->rx = f;
	c->meta_got = c->data_got = 0;
	return 0;
}

/* The role in CONNECT and CONNECTED is where its body begins; hdr_check made sure it is there. */
static uint32_t stated_role(const struct frame *f)
{
	uint32_t role;

	memcpy(&role, f->meta, sizeof(role));
	return role < ROLE_END ? role : ROLE_NONE;
}

static int check_frame(struct env_conn *c, const struct frame *f, const char **ret_why)
{
	enum wire_role sender = c->peer_role;
	int res;

	if (f->hdr.type == WIRE_CONNECTED)
		sender = (enum wire_role)stated_role(f);
	else if (f->hdr.type == WIRE_ERROR && sender == ROLE_NONE)
		sender = ROLE_NODE; /* refused before it said who it is */
	res = wire_frame_check(f, sender, ret_why);
	if (res < 0)
		return res;
	if (f->hdr.type == WIRE_CONNECT || f->hdr.type == WIRE_CONNECTED)
		c->peer_role = (enum wire_role)stated_role(f);
	if (f->hdr.type == WIRE_CONNECT)
		timers_cancel(c->tcp->r, &c->timer); /* it said who it is */
	return 0;
}

static void deliver(struct env_conn *c)
{
	struct frame *f = c->rx;
	const char *why = "";
	int res = check_frame(c, f, &why);

	c->rx = NULL;
	c->hdr_got = 0;
	c->bulk = f->hdr.data_bytes >= RX_DIRECT_BYTES;
	if (res < 0)
		conn_protocol_error(c, res, why);
	else
		c->ev->frame(c, c->owner, f);
	frame_put(f);
}

static uint32_t take(void *to, uint32_t *got, uint32_t want, const uint8_t *p, uint32_t len)
{
	uint32_t n = MIN(want - *got, len);

	if (n && to)
		memcpy((uint8_t *)to + *got, p, n);
	*got += n;
	return n;
}

uint32_t rx_feed(struct env_conn *c, const uint8_t *p, uint32_t len)
{
	uint32_t used = 0;

	while (c->state == CONN_OPEN) {
		struct frame *f = c->rx;
		const char *why;
		int res;

		if (!f) {
			used += take(&c->hdr, &c->hdr_got, sizeof(c->hdr), p + used, len - used);
			if (c->hdr_got < sizeof(c->hdr))
				return used;
			res = start(c, &why);
			if (res < 0) {
				conn_protocol_error(c, res, why);
				return len;
			}
			if (c->stalled)
				return used;
			f = c->rx;
		}
		used += take(f->meta, &c->meta_got, f->hdr.meta_bytes, p + used, len - used);
		if (c->meta_got < f->hdr.meta_bytes)
			return used;
		used += take(f->data ? f->data->data : NULL, &c->data_got, f->hdr.data_bytes,
			     p + used, len - used);
		if (c->data_got < f->hdr.data_bytes)
			return used;
		deliver(c);
	}
	return len;
}

uint8_t *rx_direct(const struct env_conn *c, uint32_t *ret_len)
{
	const struct frame *f = c->rx;
	uint32_t left;

	if (!f || !f->data || f->hdr.data_bytes < RX_DIRECT_BYTES ||
	    c->meta_got < f->hdr.meta_bytes)
		return NULL;
	left = f->hdr.data_bytes - c->data_got;
	if (left < BLOCK_BYTES) /* not worth a receive of its own */
		return NULL;
	*ret_len = left;
	return f->data->data + c->data_got;
}

void rx_direct_got(struct env_conn *c, uint32_t len)
{
	CHECK(c->rx);
	CHECK(len <= c->rx->hdr.data_bytes - c->data_got);
	c->data_got += len;
	if (c->data_got == c->rx->hdr.data_bytes)
		deliver(c);
}
