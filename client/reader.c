/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/reader.h"

#include <errno.h>
#include <string.h>

#include "client/lane.h"

#define ROTTEN_MAX 4u /* V2 */

static void set_state(struct part *p, enum part_state state, struct list *to)
{
	list_del(&p->link);
	p->state = state;
	list_add_tail(to, &p->link);
}

static uint32_t tail_of(const struct lane *l)
{
	return l->rec.in_n - 1;
}

/* R2: no answer without every member's word; so nothing is issued while one cannot be asked. */
static bool members_up(const struct lane *l)
{
	for (uint32_t i = 0; i < l->rec.in_n; i++)
		if (!lane_member(l, i))
			return false;
	return l->rec.in_n > 0;
}

static bool send_read(struct lane *l, struct part *p)
{
	struct client *c = l->client;
	struct link *tail = lane_member(l, tail_of(l));
	struct frame *f = link_frame(tail, WIRE_READ, sizeof(struct wire_read));

	if (!f)
		return false;
	p->tag = ++c->tag_next * c->cfg.parts_max + (uint64_t)(p - c->parts);
	p->epoch = l->rec.epoch;
	p->turn = c->turn_no;
	p->sent_ns = client_now(c);
	p->answered = false;
	*(struct wire_read *)(void *)f->meta = (struct wire_read){
		.volume = c->identity.id,
		.extent = p->range.extent,
		.block = split_block(&p->range),
		.blocks = split_blocks(&p->range),
		.kind = p->req->r->kind == CLIENT_PRESENT ? READ_PRESENT : READ_DATA,
		.generation = c->identity.generation,
	};
	f->hdr.chain = l->rec.id;
	f->hdr.epoch = l->rec.epoch;
	f->hdr.tag = p->tag;
	link_send(tail, f);
	return true;
}

void reader_pump(struct lane *l)
{
	bool issued = false;

	if (l->fencing || list_empty(&l->r_wait) || !members_up(l))
		return;
	while (!list_empty(&l->r_wait)) {
		struct part *p = CONTAINER_OF(list_first(&l->r_wait), struct part, link);

		if (!send_read(l, p))
			break;
		set_state(p, PART_SENT, &l->r_sent);
		issued = true;
	}
	for (uint32_t i = 0; issued && i < tail_of(l); i++)
		l->links[i]->confirm_lanes |= 1u << l->index;
}

static void flush_link(struct client *c, struct link *link)
{
	uint32_t n = (uint32_t)__builtin_popcount(link->confirm_lanes), at = 0;
	struct wire_confirm *ask;
	struct frame *f;

	static_assert(VOLUME_LANES_MAX <= 32, "bits of confirm_lanes");
	static_assert(VOLUME_LANES_MAX <= WIRE_CONFIRMS_MAX, "one frame names every lane");
	f = link_frame(link, WIRE_CONFIRM, n * (uint32_t)sizeof(*ask));
	if (!f)
		return; /* asked in a later turn, which proves the reads of this one too */
	ask = (struct wire_confirm *)(void *)f->meta;
	for (uint32_t i = 0; i < c->lanes_n; i++)
		if (link->confirm_lanes & 1u << i)
			ask[at++] = (struct wire_confirm){.chain = c->lanes[i].rec.id,
							  .epoch = c->lanes[i].rec.epoch};
	CHECK(at == n);
	f->hdr.tag = c->turn_no;
	link->confirm_turn = c->turn_no;
	link->confirm_lanes = 0;
	link_send(link, f);
}

void reader_flush(struct client *c)
{
	for (uint32_t i = 0; i < c->links_n; i++)
		if (c->links[i].up && c->links[i].confirm_lanes)
			flush_link(c, &c->links[i]);
}

static bool proved(const struct lane *l, const struct part *p)
{
	if (p->epoch != l->rec.epoch)
		return false;
	for (uint32_t i = 0; i < tail_of(l); i++)
		if (l->confirmed[i] < p->turn)
			return false;
	return true;
}

static void settle(struct lane *l, struct part *p)
{
	if (!p->answered || !proved(l, p))
		return;
	lane_progress(l);
	client_part_done(p, 0, 0);
}

static void try_later(struct lane *l, struct part *p)
{
	p->tag = 0; /* what still comes for this try means nothing */
	set_state(p, PART_BACKOFF, &l->r_backoff);
	client_part_backoff(p);
	client_kick(l->client);
}

/* Bits of @from, the first @n, to bit @at and on of @to. */
static void copy_bits(uint8_t *to, uint64_t at, const uint8_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, at++) {
		if (from[i / 8] >> (i % 8) & 1)
			to[at / 8] |= (uint8_t)(1u << (at % 8));
		else
			to[at / 8] &= (uint8_t) ~(1u << (at % 8));
	}
}

/* V2. The answer's payload, verified, into the caller's buffer. */
static bool take_payload(const struct lane *l, struct part *p, const struct frame *f)
{
	const struct wire_read_reply *rep = (const struct wire_read_reply *)(const void *)f->meta;
	const uint32_t *crcs = (const uint32_t *)(const void *)(f->meta + sizeof(*rep));
	uint32_t block = split_block(&p->range), blocks = split_blocks(&p->range);
	struct buf *to = part_data(p);

	if (rep->block != block || rep->blocks != blocks)
		return false;
	if (p->req->r->kind == CLIENT_PRESENT) {
		if (f->hdr.data_bytes < (blocks + 7) / 8)
			return false;
		copy_bits(to->data, p->range.at_bytes / BLOCK_BYTES, f->data->data, blocks);
		return true;
	}
	if (rep->crcs_n != blocks || f->hdr.data_bytes != blocks * BLOCK_BYTES)
		return false;
#ifndef PLANT_NO_CLIENT_CRC
	if (wire_blocks_check(f->data->data, crcs, blocks, l->client->identity.id, p->range.extent,
			      block) >= 0)
		return false;
#else
	(void)crcs;
	(void)l;
#endif
	memcpy(to->data + p->range.at_bytes, f->data->data + p->range.offset_bytes % BLOCK_BYTES,
	       p->range.len_bytes);
	return true;
}

static void read_failed(struct lane *l, struct part *p, int status)
{
	switch (status) {
	case -EAGAIN:
	case -ESTALE: /* not its tail in that epoch */
	case -ENOENT: /* its map is older than ours: a volume just made or grown */
	case -ENXIO:
		if (status != -EAGAIN)
			cfglink_refresh(l->client);
		try_later(l, p);
		break;
	case -EBADMSG:
	case -EROFS:
	case -EINVAL:
		client_part_done(p, status, 0);
		break;
	default:
		client_part_done(p, -EIO, 0);
		break;
	}
}

void reader_reply(struct client *c, struct frame *f)
{
	const struct wire_read_reply *rep = (const struct wire_read_reply *)(const void *)f->meta;
	struct part *p = &c->parts[f->hdr.tag % c->cfg.parts_max];
	struct lane *l = p->lane;

	if (!f->hdr.tag || p->state != PART_SENT || p->tag != f->hdr.tag || p->answered)
		return; /* of a try that was given up */
	if (f->hdr.chain != l->rec.id)
		return;
	if (rep->status) {
		read_failed(l, p, rep->status);
		return;
	}
	if (f->hdr.epoch != p->epoch) {
		read_failed(l, p, -ESTALE);
		return;
	}
	if (!f->data && f->hdr.data_bytes) {
		try_later(l, p); /* our pool had no buffer for it */
		return;
	}
	if (!f->data || !take_payload(l, p, f)) {
		if (++p->rotten_n >= ROTTEN_MAX)
			client_part_done(p, -EBADMSG, 0);
		else
			try_later(l, p);
		return;
	}
	p->answered = true;
	settle(l, p);
}

/* A member confirms another epoch, or none: what asked it by then is asked for again later. */
static void denied(struct lane *l, uint64_t turn, uint64_t epoch)
{
	if (epoch > l->rec.epoch)
		cfglink_refresh(l->client);
	LIST_FOR_EACH_SAFE(it, &l->r_sent)
	{
		struct part *p = CONTAINER_OF(it, struct part, link);

		if (p->turn <= turn)
			try_later(l, p);
	}
}

static void confirm_one(struct lane *l, const struct link *link, uint64_t turn, uint64_t epoch)
{
	for (uint32_t i = 0; i < tail_of(l); i++) {
		if (lane_member(l, i) != link)
			continue;
		if (epoch != l->rec.epoch) {
			denied(l, turn, epoch);
			return;
		}
		l->confirmed[i] = MAX(l->confirmed[i], turn);
		LIST_FOR_EACH_SAFE(it, &l->r_sent)
		settle(l, CONTAINER_OF(it, struct part, link));
		return;
	}
}

void reader_confirmed(struct client *c, struct link *link, struct frame *f)
{
	const struct wire_confirm *said = (const struct wire_confirm *)(const void *)f->meta;
	uint32_t n = f->hdr.meta_bytes / (uint32_t)sizeof(*said);

	if (f->hdr.tag > link->confirm_turn) {
		link_fail(link, "it confirms what was not asked");
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct lane *l = servers_lane(c, said[i].chain);

		if (l && l->rec.epoch)
			confirm_one(l, link, f->hdr.tag, said[i].epoch);
	}
}

void reader_push(struct lane *l, struct part *p)
{
	CHECK(p->lane == l);
	lane_wakes(l);
	p->state = PART_WAIT;
	list_add_tail(&l->r_wait, &p->link);
}

void reader_restart(struct lane *l)
{
	LIST_FOR_EACH_SAFE(it, &l->r_sent)
	{
		struct part *p = CONTAINER_OF(it, struct part, link);

		p->tag = 0;
		set_state(p, PART_WAIT, &l->r_wait);
	}
}

void reader_watch(struct lane *l, uint64_t now_ns)
{
	LIST_FOR_EACH_SAFE(it, &l->r_sent)
	{
		struct part *p = CONTAINER_OF(it, struct part, link);

		if (now_ns - p->sent_ns > PATIENCE_NS)
			try_later(l, p);
	}
}

/* A read changes nothing: it is simply forgotten, an answer to come finds no tag. */
void reader_abandon(struct part *p)
{
	client_part_done(p, -ETIMEDOUT, 0);
}

bool reader_is_idle(const struct lane *l)
{
	return list_empty(&l->r_wait) && list_empty(&l->r_sent) && list_empty(&l->r_backoff);
}

void reader_check(const struct lane *l)
{
	LIST_FOR_EACH(it, &l->r_sent)
	{
		const struct part *p = CONTAINER_OF(it, struct part, link);

		CHECK(p->state == PART_SENT);
		CHECK(p->req != NULL);
		CHECK(p->lane == l);
		CHECK(p->epoch == l->rec.epoch);
		CHECK(p->tag % l->client->cfg.parts_max == (uint64_t)(p - l->client->parts));
		if (p->answered)
			CHECK(!proved(l, p)); /* else it would be done */
	}
	LIST_FOR_EACH(it, &l->r_wait)
	CHECK(CONTAINER_OF(it, struct part, link)->state == PART_WAIT);
	for (uint32_t i = 0; i < CHAIN_MEMBERS_MAX; i++)
		CHECK(l->confirmed[i] <= l->client->turn_no);
}
