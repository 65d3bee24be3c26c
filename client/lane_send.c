/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/lane_send.h"

#include <string.h>

#include "client/reader.h"
#include "lib/crc.h"

/* Until the head names its window: what a chain has at most (W7). */
#define WINDOW_BYTES_DEFAULT WINDOW_BYTES_MAX

static uint32_t payload_bytes(const struct part *p)
{
	switch (p->kind) {
	case REQ_WRITE:
		return p->range.len_bytes;
	case REQ_WRITE_SAME:
		return BLOCK_BYTES;
	case REQ_CAW:
		return 2 * p->range.len_bytes;
	case REQ_UNMAP:
	case REQ_SESSION:
	case REQ_CLOSE:
	case REQ_KIND_END:
		break;
	}
	return 0;
}

/* The payload of @p as one contiguous buffer with a reference for the frame: the caller's own when
 * the part is all of it, else a copy. False when there must be one and no buffer is free. */
static bool payload(const struct part *p, struct buf **ret_data)
{
	struct buf *from = p->req ? part_data(p) : NULL;
	uint32_t len = payload_bytes(p);
	struct buf *copy;

	*ret_data = NULL;
	if (len == 0)
		return true;
	if (from->len_bytes == len && (p->kind != REQ_WRITE || p->range.at_bytes == 0)) {
		*ret_data = buf_ref(from);
		return true;
	}
	/* From the reserve too (B3): every other buffer may be held by requests that wait for this
	 * one, and a copy is given back as soon as it was sent. */
	copy = buf_get(p->lane->client->cfg.src->bufs, len, BUF_NODE);
	if (!copy) {
		client_starved(p->lane->client);
		return false;
	}
	memcpy(copy->data, from->data + (p->kind == REQ_WRITE ? p->range.at_bytes : 0), len);
	*ret_data = copy;
	return true;
}

static uint32_t crcs_n(const struct part *p)
{
	if (p->kind == REQ_WRITE_SAME)
		return 1;
	if (p->kind == REQ_WRITE && split_is_whole(&p->range))
		return p->range.len_bytes / BLOCK_BYTES;
	return 0;
}

static void fill_crcs(const struct part *p, const struct buf *data, uint32_t *crcs)
{
	struct block_addr at = {.volume = p->lane->client->identity.id,
				.extent = p->range.extent,
				.block = split_block(&p->range)};

	if (p->kind == REQ_WRITE_SAME) {
		crcs[0] = crc_block_anywhere(data->data);
		return;
	}
	for (uint32_t i = 0; i < crcs_n(p); i++, at.block++)
		crcs[i] = crc_block(&at, data->data + (size_t)i * BLOCK_BYTES);
}

static void fill_request(struct frame *f, const struct part *p, uint32_t session)
{
	struct wire_request *q = (struct wire_request *)(void *)f->meta;
	const struct lane *l = p->lane;

	*q = (struct wire_request){
		.volume = l->client->identity.id,
		.extent = p->range.extent,
		.kind = (uint16_t)p->kind,
		.offset_bytes = p->range.offset_bytes,
		.len_bytes = p->range.len_bytes,
		.session = session,
		.generation = l->client->identity.generation,
		.req_no = p->req_no,
		.low = l->low,
		.crcs_n = crcs_n(p),
	};
	f->hdr.chain = l->rec.id;
	f->hdr.epoch = l->rec.epoch;
}

/* Send @p, numbering it if it never was. False when a pool is empty: nothing changed. */
static bool send_part(struct lane *l, struct part *p, uint32_t session)
{
	struct link *head = lane_member(l, 0);
	struct buf *data;
	struct frame *f;

	if (!payload(p, &data))
		return false;
	f = link_frame(head, WIRE_REQUEST,
		       (uint32_t)(sizeof(struct wire_request) + crcs_n(p) * sizeof(uint32_t)));
	if (!f) {
		buf_put(data);
		return false;
	}
	if (!p->req_no)
		lane_take_number(l, p);
	fill_request(f, p, session);
	if (data) {
		if (crcs_n(p))
			fill_crcs(p, data,
				  (uint32_t *)(void *)(f->meta + sizeof(struct wire_request)));
		else
			f->hdr.flags |= WIRE_F_DATA_CRC;
		frame_set_data(f, data);
	}
	p->session = session;
	p->sent_ns = client_now(l->client);
	p->sent_bytes = f->hdr.data_bytes;
	p->doubt = true;
	link_send(head, f);
	list_del(&p->link);
	p->state = PART_SENT;
	return true;
}

/* SESSION while none is open and there is something to do, CLOSE at the end. */
static void plan_control(struct lane *l)
{
	struct part *ctl = &l->ctl;
	bool closing = l->client->lanes_closing && l->session > 0 && !l->closed;
	bool idle = lane_writes_idle(l) && !l->fencing; /* reads wait for the end of fencing */

	if (ctl->state != PART_FREE)
		return;
	if (!l->open && (closing || !idle))
		*ctl = (struct part){.kind = REQ_SESSION, .session = l->session + 1};
	else if (closing && lane_writes_idle(l))
		*ctl = (struct part){.kind = REQ_CLOSE, .session = l->session};
	else
		return;
	ctl->lane = l;
	ctl->state = PART_WAIT;
	list_init(&ctl->link);
	list_init(&ctl->of_req);
}

static void pump_control(struct lane *l, uint64_t now)
{
	struct part *ctl = &l->ctl;

	plan_control(l);
	if (ctl->state == PART_BACKOFF && ctl->retry_at_ns <= now)
		ctl->state = PART_RESEND;
	if (ctl->state != PART_WAIT && ctl->state != PART_RESEND)
		return;
	if (ctl->kind == REQ_SESSION && lane_writes_idle(l) && !l->fencing &&
	    !l->client->lanes_closing)
		return; /* those who wanted it are gone: kept for the next one */
	/* Many sessions in a row used up the row of numbers. To bury the dead now is as good as
	 * after the commit: the raised low rides in the SESSION that fences them. */
	if (!ctl->req_no && l->next_no - l->low >= LANE_SESSIONS_END)
		lane_bury_dead(l);
	if (!ctl->req_no && l->next_no - l->low >= LANE_SESSIONS_END)
		return;
	send_part(l, ctl, ctl->session);
}

static bool has_room(const struct lane *l, const struct part *p)
{
	const struct link *head = lane_member(l, 0);
	uint32_t ops = head->window_ops ? MIN(head->window_ops, l->room_ops) : l->room_ops;
	uint32_t bytes = head->window_bytes ? head->window_bytes : WINDOW_BYTES_DEFAULT;

	if (l->sent_n == 0)
		return true;
	return l->sent_n < ops && l->sent_bytes + payload_bytes(p) <= bytes;
}

static void pump_list(struct lane *l, struct list *from)
{
	while (!list_empty(from)) {
		struct part *p = CONTAINER_OF(list_first(from), struct part, link);

		if (!p->req_no && l->next_no - l->low >= LANE_REQUESTS_MAX)
			break;
		if (!has_room(l, p) || !send_part(l, p, l->session))
			break;
		list_add_tail(&l->w_sent, &p->link);
		l->sent_n++;
		l->sent_bytes += p->sent_bytes;
	}
}

/* Move what waited long enough from @from to @to; the earliest of the rest, or @next. */
static uint64_t ripen(struct list *from, struct list *to, enum part_state state, uint64_t now,
		      uint64_t next)
{
	LIST_FOR_EACH_SAFE(it, from)
	{
		struct part *p = CONTAINER_OF(it, struct part, link);

		if (p->retry_at_ns <= now) {
			list_del(&p->link);
			p->state = state;
			list_add_tail(to, &p->link);
		} else {
			next = MIN(next, p->retry_at_ns);
		}
	}
	return next;
}

void lane_pump(struct lane *l)
{
	struct env *e = l->client->env;
	uint64_t now = client_now(l->client), next = UINT64_MAX;

	if (!l->rec.epoch)
		return;
	next = ripen(&l->w_backoff, &l->w_resend, PART_RESEND, now, next);
	next = ripen(&l->r_backoff, &l->r_wait, PART_WAIT, now, next);
	/* The tail answers on its own connection: without it every answer would be lost. */
	if (lane_member(l, 0) && lane_member(l, l->rec.in_n - 1)) {
		pump_control(l, now);
		if (l->open && l->ctl.state == PART_FREE) {
			pump_list(l, &l->w_resend);
			pump_list(l, &l->w_wait);
		}
	}
	if (l->ctl.state == PART_BACKOFF)
		next = MIN(next, l->ctl.retry_at_ns);
	if (next != UINT64_MAX && next > now)
		e->timer_arm(e, &l->timer, next);
	reader_pump(l);
}
