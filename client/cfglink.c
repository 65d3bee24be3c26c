/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The configuration service as the client sees it: asked once for the volume, then heard for maps.
 * Its absence stops nothing but the opening: records in hand never expire (PROTOCOL 4). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/core.h"

#define REFRESH_NS 100000000ull

static void ask_map(struct client *c)
{
	struct frame *f = link_frame(&c->cfglink.link, WIRE_MAP_GET, 0);

	if (!f) {
		link_fail(&c->cfglink.link, "no frame buffer free");
		return;
	}
	c->cfglink.asked_ns = client_now(c);
	link_send(&c->cfglink.link, f);
}

void cfglink_refresh(struct client *c)
{
	if (c->cfglink.link.up && client_now(c) - c->cfglink.asked_ns >= REFRESH_NS)
		ask_map(c);
}

static void send_open(struct client *c, struct link *l)
{
	struct frame *f = link_frame(l, WIRE_OPEN, sizeof(struct wire_open));
	struct wire_open *body;

	if (!f) {
		link_fail(l, "no frame buffer free");
		return;
	}
	body = (struct wire_open *)(void *)f->meta;
	snprintf(body->name, sizeof(body->name), "%s", c->cfg.volume);
	body->flags = c->cfg.deleting ? WIRE_OPEN_DELETING : 0;
	f->hdr.tag = ++c->cfglink.open_tag;
	link_send(l, f);
}

static void on_ready(struct client *c, struct link *l)
{
	/* Also after a reconnect: a restarted service must know that the volume is in use. */
	send_open(c, l);
	if (l->up)
		ask_map(c);
}

void cfglink_fail_open(struct client *c, int res, const char *why)
{
	CHECK(c->state == CLIENT_OPENING);
	CHECK(res < 0);
	c->state = CLIENT_FAILED;
	c->env->timer_cancel(c->env, &c->limit);
	link_stop(&c->cfglink.link);
	for (uint32_t i = 0; i < c->links_n; i++)
		link_stop(&c->links[i]);
	c->cfg.opened(c->cfg.arg, res, why);
}

/* Both answers are in: the id from OPENED, its record from a map. */
static void try_open(struct client *c)
{
	if (c->state != CLIENT_OPENING || !c->cfglink.opened || !c->volume)
		return;
	c->state = CLIENT_OPEN;
	c->env->timer_cancel(c->env, &c->limit);
	client_kick(c);
	c->cfg.opened(c->cfg.arg, 0, "");
}

static void volume_gone(struct client *c)
{
	char text[NAME_BYTES + 64];

	if (c->deleted)
		return;
	c->deleted = true;
	client_kick(c); /* fails what is in flight */
	snprintf(text, sizeof(text), "volume %s was deleted", c->cfg.volume);
	c->cfg.event(c->cfg.arg, CLIENT_EVENT_DELETED, c->size_bytes, text);
}

/* The volume's record in the new map. Its lanes, base and generation are frozen at the first look:
 * M3, and a generation that grew means that we were fenced, which the heads tell (-EROFS). */
static void adopt_volume(struct client *c)
{
	const struct map_volume *v = chain_map_volume(c->map, c->identity.id);
	bool first = c->volume == NULL;
	char text[NAME_BYTES + 64];

	if (!v && first)
		return; /* a newer map names it, or the open times out */
	c->volume = v ? v : &c->identity;
	if (!v || (v->state == VOLUME_DELETING && !c->cfg.deleting)) {
		volume_gone(c);
		return;
	}
	if (first) {
		c->identity = *v;
		c->size_bytes = v->size_bytes;
	}
	servers_adopt(c);
	if (v->size_bytes == c->size_bytes)
		return;
	c->size_bytes = v->size_bytes;
	snprintf(text, sizeof(text), "volume %s was resized", c->cfg.volume);
	c->cfg.event(c->cfg.arg, CLIENT_EVENT_RESIZED, c->size_bytes, text);
}

static void on_map(struct client *c, struct link *l, const struct frame *f)
{
	struct chain_map *fresh = c->map_spare;
	const char *why;

	if (!f->data) { /* connecting again asks again, after a back-off */
		link_fail(l, "no buffer free for its map");
		return;
	}
	if (chain_map_decode(f->data->data, f->hdr.data_bytes, fresh, &why) < 0) {
		link_fail(l, why);
		return;
	}
	if (!id128_eq(&fresh->hdr.cluster, &c->cluster)) {
		link_fail(l, "a map of another cluster");
		return;
	}
	if (fresh->hdr.version <= c->map->hdr.version)
		return;
	c->map_spare = c->map;
	c->map = fresh;
	if (c->cfglink.opened)
		adopt_volume(c);
	client_kick(c);
	try_open(c);
}

static void on_opened(struct client *c, const struct frame *f)
{
	const struct wire_opened *body = (const struct wire_opened *)(const void *)f->meta;

	if (f->hdr.tag != c->cfglink.open_tag || c->state != CLIENT_OPENING || c->cfglink.opened)
		return;
	if (body->status == -EAGAIN)
		return; /* the open's own deadline decides */
	if (body->status < 0) {
		cfglink_fail_open(c, body->status, body->text);
		return;
	}
	c->cfglink.opened = true;
	c->identity.id = body->volume;
	if (c->map->hdr.version)
		adopt_volume(c);
	try_open(c);
}

static void on_frame(struct client *c, struct link *l, struct frame *f)
{
	if (f->hdr.type == WIRE_MAP)
		on_map(c, l, f);
	else if (f->hdr.type == WIRE_OPENED)
		on_opened(c, f);
	else
		link_fail(l, "a message a configuration service does not send");
}

static void on_down(struct client *c, struct link *l)
{
	env_logf(c->env, ENV_WARN, "configuration service lost (%s); I/O goes on", l->why);
}

static const struct link_events cfg_events = {
	.ready = on_ready,
	.frame = on_frame,
	.down = on_down,
};

void cfglink_init(struct client *c)
{
	link_init(&c->cfglink.link, c,
		  &(struct link_config){.ev = &cfg_events,
					.role = ROLE_CFG,
					.name = "configuration service",
					.addrs = (const char(*)[ADDR_BYTES])c->cfg.cfg_addrs});
}

void cfglink_start(struct client *c)
{
	link_start(&c->cfglink.link);
}
