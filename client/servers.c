/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* One link per storage daemon that holds a lane of the volume; frames from them go to their lanes.
 */
#include <errno.h>

#include "client/core.h"
#include "client/lane.h"
#include "client/reader.h"

struct link *servers_link(struct client *c, uint32_t server_id)
{
	for (uint32_t i = 0; i < c->links_n; i++)
		if (c->links[i].server_id == server_id)
			return &c->links[i];
	return NULL;
}

struct lane *servers_lane(struct client *c, uint32_t chain_id)
{
	for (uint32_t i = 0; i < c->lanes_n; i++)
		if (c->lanes[i].rec.id == chain_id)
			return &c->lanes[i];
	return NULL;
}

static void on_reply(struct client *c, const struct frame *f)
{
	struct lane *l = servers_lane(c, f->hdr.chain);

	if (l)
		lane_reply(l, (const struct wire_reply *)(const void *)f->meta);
}

/* STALE carries the sender's record: whoever knows a newer one may deliver it. */
static void on_stale(struct client *c, struct link *link, const struct frame *f)
{
	const struct map_chain *rec = (const struct map_chain *)(const void *)f->meta;
	struct lane *l = servers_lane(c, f->hdr.chain);
	const char *why;

	if (map_chain_check(rec, &why) < 0 || rec->id != f->hdr.chain) {
		link_fail(link, "STALE with a bad record");
		return;
	}
	if (!l)
		return;
	lane_adopt(l, rec);
	cfglink_refresh(c);
}

static void on_frame(struct client *c, struct link *l, struct frame *f)
{
	switch (f->hdr.type) {
	case WIRE_REPLY:
		on_reply(c, f);
		break;
	case WIRE_READ_REPLY:
		reader_reply(c, f);
		break;
	case WIRE_CONFIRMED:
		reader_confirmed(c, l, f);
		break;
	case WIRE_STALE:
		on_stale(c, l, f);
		break;
	default:
		link_fail(l, "a message a storage daemon does not send to a client");
		return;
	}
	client_kick(c);
}

static void on_ready(struct client *c, struct link *l)
{
	env_logf(c->env, ENV_DEBUG, "connected to %s at %s", l->name, l->addrs[l->addr_i]);
	client_kick(c);
}

static void on_down(struct client *c, struct link *l)
{
	env_logf(c->env, ENV_INFO, "lost %s: %s", l->name, l->why);
	for (uint32_t i = 0; i < c->lanes_n; i++)
		lane_link_down(&c->lanes[i], l);
	cfglink_refresh(c);
	client_kick(c);
}

static const struct link_events server_events = {
	.ready = on_ready,
	.frame = on_frame,
	.down = on_down,
};

static void adopt_server(struct client *c, const struct map_server *s)
{
	struct link *l = servers_link(c, s->id);

	if (!l) {
		CHECK(c->links_n < SERVERS_MAX);
		l = &c->links[c->links_n++];
		link_init(l, c,
			  &(struct link_config){.ev = &server_events,
						.role = ROLE_NODE,
						.server_id = s->id,
						.name = s->name,
						.addrs = (const char(*)[ADDR_BYTES])s->addrs});
		l->expect = s->incarnation;
		link_start(l);
		return;
	}
	link_set_addrs(l, (const char(*)[ADDR_BYTES])s->addrs);
	if (id128_eq(&l->expect, &s->incarnation))
		return;
	l->expect = s->incarnation;
	link_hurry(l);
}

/* Volumes may name a chain twice only by mistake; two tables of numbers for one chain would be
 * wrong (X1), so both positions share the lane. */
static void make_lanes(struct client *c)
{
	for (uint32_t i = 0; i < c->identity.lanes_n; i++) {
		struct lane *l = servers_lane(c, c->identity.lanes[i]);

		if (!l) {
			l = &c->lanes[c->lanes_n];
			lane_init(l, c, c->lanes_n++);
			l->rec.id = c->identity.lanes[i];
		}
		c->lane_of[i] = l;
	}
}

void servers_adopt(struct client *c)
{
	if (c->lanes_n == 0)
		make_lanes(c);
	for (uint32_t i = 0; i < c->lanes_n; i++) {
		const struct map_chain *rec = chain_map_chain(c->map, c->lanes[i].rec.id);

		for (uint32_t m = 0; rec && m < rec->in_n; m++) {
			const struct map_server *s = chain_map_server(c->map, rec->in[m].server);

			if (s && (c->links_n < SERVERS_MAX || servers_link(c, s->id)))
				adopt_server(c, s);
		}
		if (rec)
			lane_adopt(&c->lanes[i], rec);
	}
}
