/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/core.h"
#include "client/lane.h"
#include "client/reader.h"
#include "lib/arena.h"

#define TICK_NS 250000000ull
#define STARVED_NS 1000000ull
#define CLOSE_NS 1000000000ull /* how long the chains may take to forget us */
#define BACKOFF_BASE_NS 1000000ull
/* A window drains in milliseconds: who waits longer than this only meets newcomers that took his
 * place, as sequential writing into a full log shows. */
#define BACKOFF_CAP_NS 32000000ull
#define REQ_SHARE 4u /* one request may hold at most this fraction of all parts */

/* ---- turns ---- */

void client_kick(struct client *c)
{
	if (c->state == CLIENT_STOPPED)
		return;
	c->again = true;
	if (!c->in_turn)
		c->env->defer(c->env, &c->turn);
}

void client_starved(struct client *c)
{
	if (!c->starve.armed)
		c->env->timer_arm(c->env, &c->starve, client_now(c) + STARVED_NS);
}

uint64_t client_jitter_ns(struct client *c, uint32_t attempt)
{
	uint64_t most = BACKOFF_BASE_NS << MIN(attempt, 16u);

	most = MIN(most, BACKOFF_CAP_NS);
	return c->env->random_u64(c->env) % (most + 1);
}

/* ---- parts ---- */

static void finish(struct client *c, struct req *r)
{
	CHECK(!r->finished);
	CHECK(list_empty(&r->parts));
	r->finished = true;
	list_del(&r->queue);
	list_add_tail(&c->finished, &r->queue);
	client_kick(c);
}

void client_part_free(struct client *c, struct part *p)
{
	CHECK(p->state != PART_FREE);
	CHECK(list_empty(&p->of_req));
	list_del(&p->link);
	p->state = PART_FREE;
	p->req = NULL;
	p->tag = 0;
	list_add_head(&c->parts_free, &p->link);
	c->parts_free_n++;
	client_kick(c);
}

void client_part_detach(struct part *p, int status)
{
	struct req *r = p->req;

	CHECK(r->parts_n > 0);
	p->req = NULL;
	list_del(&p->of_req);
	r->parts_n--;
	if (status && !r->status)
		r->status = status;
	if (r->status)
		r->cursor_bytes = r->len_bytes; /* what is not split yet is not tried */
	if (r->parts_n == 0 && r->cursor_bytes == r->len_bytes)
		finish(p->lane->client, r);
}

void client_part_done(struct part *p, int status, uint32_t offset_bytes)
{
	struct client *c = p->lane->client;

	if (status == -EILSEQ)
		p->req->r->miscompare_offset = offset_bytes;
	client_part_detach(p, status);
	client_part_free(c, p);
}

void client_part_backoff(struct part *p)
{
	struct client *c = p->lane->client;

	p->state = PART_BACKOFF;
	p->retry_at_ns = client_now(c) + client_jitter_ns(c, p->attempts++);
}

static enum wire_req_kind wire_kind(enum client_kind kind)
{
	switch (kind) {
	case CLIENT_WRITE:
		return REQ_WRITE;
	case CLIENT_UNMAP:
		return REQ_UNMAP;
	case CLIENT_WRITE_SAME:
		return REQ_WRITE_SAME;
	case CLIENT_CAW:
		return REQ_CAW;
	case CLIENT_READ:
	case CLIENT_PRESENT:
		break;
	}
	return REQ_KIND_END;
}

static void issue_part(struct client *c, struct req *r, const struct split_part *range)
{
	struct part *p = CONTAINER_OF(list_pop(&c->parts_free), struct part, link);
	uint64_t pos = (c->identity.base + range->extent) % c->identity.lanes_n;

	c->parts_free_n--;
	*p = (struct part){.req = r, .range = *range, .kind = wire_kind(r->r->kind)};
	p->lane = c->lane_of[pos];
	list_init(&p->link);
	list_add_tail(&r->parts, &p->of_req);
	r->parts_n++;
	if (p->kind == REQ_KIND_END)
		reader_push(p->lane, p);
	else
		lane_push(p->lane, p);
}

/* Split what waits, as far as parts go round. */
static void issue(struct client *c)
{
	uint32_t share = MAX(c->cfg.parts_max / REQ_SHARE, 1u);
	struct split_part range;

	LIST_FOR_EACH_SAFE(it, &c->waiting)
	{
		struct req *r = CONTAINER_OF(it, struct req, queue);
		struct split_range all = {r->r->kind, r->offset_bytes, r->len_bytes};

		while (c->parts_free_n && r->parts_n < share &&
		       split_next(&all, &r->cursor_bytes, &range))
			issue_part(c, r, &range);
		if (r->cursor_bytes == r->len_bytes)
			list_del(&r->queue);
		if (!c->parts_free_n)
			break;
	}
}

/* ---- ends of requests ---- */

static void complete(struct client *c)
{
	struct list *it;

	while ((it = list_pop(&c->finished))) {
		struct req *r = CONTAINER_OF(it, struct req, queue);
		struct client_req *user = r->r;

		list_del(&r->live);
		c->live_n--;
		user->status = r->status;
		r->r = NULL;
		list_add_head(&c->reqs_free, &r->live);
		user->done(user);
	}
}

/* X5 for each of its parts; its completion comes in the next turn. */
static void give_up(struct client *c, struct req *r, int status)
{
	if (!r->status)
		r->status = status;
	r->cursor_bytes = r->len_bytes;
	if (list_empty(&r->parts)) {
		finish(c, r);
		return;
	}
	while (!list_empty(&r->parts)) {
		struct part *p = CONTAINER_OF(list_first(&r->parts), struct part, of_req);

		if (p->kind == REQ_KIND_END)
			reader_abandon(p);
		else
			lane_abandon(p);
	}
	CHECK(r->finished);
}

static void give_up_all(struct client *c, int status, uint64_t until_ns)
{
	LIST_FOR_EACH_SAFE(it, &c->live)
	{
		struct req *r = CONTAINER_OF(it, struct req, live);

		if (r->r->deadline_ns > until_ns)
			break; /* the list is in order */
		if (!r->finished)
			give_up(c, r, status);
	}
}

/* ---- stalls ---- */

static void lane_stalls(struct client *c, struct lane *l, uint64_t now)
{
	char why[160], text[256];

	l->stalled = true;
	lane_explain(l, why, sizeof(why));
	snprintf(text, sizeof(text), "chain %u has not answered for %llu ms: %s", l->rec.id,
		 (unsigned long long)((now - l->progress_ns) / 1000000), why);
	env_logf(c->env, ENV_WARN, "%s", text);
	if (c->stalled_n++ == 0)
		c->cfg.event(c->cfg.arg, CLIENT_EVENT_STALLED, c->size_bytes, text);
}

static void watch_lanes(struct client *c, uint64_t now)
{
	for (uint32_t i = 0; i < c->lanes_n; i++) {
		struct lane *l = &c->lanes[i];
		bool late = now - l->progress_ns > STALL_NS;

		lane_watch(l, now);
		reader_watch(l, now);
		if (!l->stalled && late && !lane_is_idle(l)) {
			lane_stalls(c, l, now);
		} else if (l->stalled && !late) {
			l->stalled = false;
			if (--c->stalled_n == 0)
				c->cfg.event(c->cfg.arg, CLIENT_EVENT_RESUMED, c->size_bytes,
					     "all chains answer again");
		}
	}
}

static void on_clock(struct env_timer *t)
{
	struct client *c = CONTAINER_OF(t, struct client, clock);
	uint64_t now = client_now(c);

	give_up_all(c, -ETIMEDOUT, now);
	watch_lanes(c, now);
	client_kick(c);
}

static void arm_clock(struct client *c)
{
	uint64_t at = client_now(c) + TICK_NS;

	if (list_empty(&c->live) && !c->stalled_n)
		return;
	if (!list_empty(&c->live))
		at = MIN(at, CONTAINER_OF(list_first(&c->live), struct req, live)->r->deadline_ns);
	if (!c->clock.armed || at < c->clock.at_ns)
		c->env->timer_arm(c->env, &c->clock, at);
}

/* ---- closing ---- */

static void stop_now(struct client *c)
{
	c->state = CLIENT_STOPPED;
	c->env->timer_cancel(c->env, &c->clock);
	c->env->timer_cancel(c->env, &c->starve);
	c->env->timer_cancel(c->env, &c->limit);
	link_stop(&c->cfglink.link);
	for (uint32_t i = 0; i < c->links_n; i++)
		link_stop(&c->links[i]);
	for (uint32_t i = 0; i < c->lanes_n; i++)
		lane_fini(&c->lanes[i]);
	c->closed(c->closed_arg);
}

/* True when @c is stopped and may be gone. */
static bool close_step(struct client *c)
{
	bool all = true;

	if (c->state != CLIENT_CLOSING || !list_empty(&c->live))
		return false;
	if (!c->lanes_closing) {
		c->lanes_closing = true;
		c->env->timer_arm(c->env, &c->limit, client_now(c) + CLOSE_NS);
		client_kick(c);
	}
	for (uint32_t i = 0; i < c->lanes_n; i++)
		all &= lane_is_closed(&c->lanes[i]);
	if (!all && !c->close_expired)
		return false;
	stop_now(c);
	return true;
}

static void on_turn(struct env_task *t)
{
	struct client *c = CONTAINER_OF(t, struct client, turn);

	if (c->state == CLIENT_STOPPED)
		return;
	c->in_turn = true;
	do {
		c->again = false;
		if (c->deleted)
			give_up_all(c, -ENOENT, UINT64_MAX);
		complete(c);
		issue(c);
		for (uint32_t i = 0; i < c->lanes_n; i++)
			lane_pump(&c->lanes[i]);
		reader_flush(c);
		c->turn_no++;
		if (close_step(c))
			return;
	} while (c->again);
	c->in_turn = false;
	arm_clock(c);
}

static void on_starve(struct env_timer *t)
{
	client_kick(CONTAINER_OF(t, struct client, starve));
}

/* The end of open's or close's time. */
static void on_limit(struct env_timer *t)
{
	struct client *c = CONTAINER_OF(t, struct client, limit);
	const struct link *l = &c->cfglink.link;
	char why[256];

	if (c->state == CLIENT_CLOSING) {
		c->close_expired = true;
		client_kick(c);
		return;
	}
	if (c->state != CLIENT_OPENING)
		return;
	if (c->cfglink.opened)
		snprintf(why, sizeof(why), "volume %s: its record did not come from %s in time",
			 c->cfg.volume, l->name);
	else
		snprintf(why, sizeof(why),
			 "no configuration service answers (%s): is cfgsvc running there?",
			 l->up ? "it does not answer OPEN" : l->why);
	cfglink_fail_open(c, -ENOTCONN, why);
}

/* ---- the interface ---- */

size_t client_memory(const struct client_config *cfg)
{
	return arena_cost(sizeof(struct client), ARENA_ALIGN) +
	       2 * arena_cost(sizeof(struct chain_map), ARENA_ALIGN) +
	       arena_cost(cfg->reqs_max * sizeof(struct req), ARENA_ALIGN) +
	       arena_cost(cfg->parts_max * sizeof(struct part), ARENA_ALIGN);
}

struct client *client_init(const struct client_config *cfg, struct env *env, struct arena *a)
{
	struct client *c = arena_alloc(a, sizeof(*c), ARENA_ALIGN);

	CHECK(cfg->reqs_max > 0);
	CHECK(cfg->parts_max > 0);
	CHECK(!id128_is_none(&cfg->id));
	memset(c, 0, sizeof(*c));
	c->cfg = *cfg;
	c->env = env;
	c->turn_no = 1;
	c->turn.fn = on_turn;
	c->clock.fn = on_clock;
	c->starve.fn = on_starve;
	c->limit.fn = on_limit;
	c->map = arena_alloc(a, sizeof(*c->map), ARENA_ALIGN);
	c->map_spare = arena_alloc(a, sizeof(*c->map), ARENA_ALIGN);
	c->reqs = arena_alloc(a, cfg->reqs_max * sizeof(*c->reqs), ARENA_ALIGN);
	c->parts = arena_alloc(a, cfg->parts_max * sizeof(*c->parts), ARENA_ALIGN);
	c->parts_free_n = cfg->parts_max;
	list_init(&c->live);
	list_init(&c->waiting);
	list_init(&c->finished);
	list_init(&c->reqs_free);
	list_init(&c->parts_free);
	for (uint32_t i = 0; i < cfg->reqs_max; i++)
		list_add_tail(&c->reqs_free, &c->reqs[i].live);
	for (uint32_t i = 0; i < cfg->parts_max; i++)
		list_add_tail(&c->parts_free, &c->parts[i].link);
	cfglink_init(c);
	return c;
}

void client_start(struct client *c, uint64_t open_deadline_ns)
{
	CHECK(c->state == CLIENT_NEW);
	c->state = CLIENT_OPENING;
	c->env->timer_arm(c->env, &c->limit, open_deadline_ns);
	cfglink_start(c);
}

static bool fits(const struct client_req *r)
{
	uint64_t unit = SECTOR_BYTES, blocks = r->len_bytes / BLOCK_BYTES, room = UINT64_MAX;
	uint64_t in_extent = r->offset_bytes % EXTENT_BYTES;
	uint32_t have = r->data ? r->data->len_bytes : 0;

	switch (r->kind) {
	case CLIENT_READ:
		have = r->data ? r->data->cap_bytes : 0;
		room = MIN(have, OP_BYTES_MAX);
		break;
	case CLIENT_WRITE:
		room = MIN(have, OP_BYTES_MAX);
		break;
	case CLIENT_UNMAP:
		break;
	case CLIENT_WRITE_SAME:
		unit = BLOCK_BYTES;
		room = have == BLOCK_BYTES ? UINT64_MAX : 0;
		break;
	case CLIENT_CAW:
		room = MIN(have / 2, EXTENT_BYTES - in_extent);
		if (r->offset_bytes % BLOCK_BYTES + r->len_bytes > CAW_BLOCKS_MAX * BLOCK_BYTES)
			return false;
		break;
	case CLIENT_PRESENT:
		unit = BLOCK_BYTES;
		room = r->data && (blocks + 7) / 8 <= r->data->cap_bytes ? UINT64_MAX : 0;
		break;
	}
	return (r->offset_bytes | r->len_bytes) % unit == 0 && r->len_bytes > 0 &&
	       r->len_bytes <= room;
}

static void enlist(struct client *c, struct req *r)
{
	struct list *before = c->live.prev;

	while (before != &c->live &&
	       CONTAINER_OF(before, struct req, live)->r->deadline_ns > r->r->deadline_ns)
		before = before->prev;
	list_add_head(before, &r->live);
	c->live_n++;
}

int client_submit(struct client *c, struct client_req *user)
{
	struct req *r;

	if (c->state == CLIENT_NEW || c->state == CLIENT_OPENING)
		return -ENOTCONN;
	if (c->state != CLIENT_OPEN)
		return -ESHUTDOWN;
	if (c->deleted)
		return -ENOENT;
	if (!fits(user))
		return -EINVAL;
	if (user->offset_bytes > c->size_bytes ||
	    user->len_bytes > c->size_bytes - user->offset_bytes)
		return -ENXIO;
	if (list_empty(&c->reqs_free))
		return -EAGAIN;

	r = CONTAINER_OF(list_pop(&c->reqs_free), struct req, live);
	*r = (struct req){
		.r = user, .offset_bytes = user->offset_bytes, .len_bytes = user->len_bytes};
	user->status = 0;
	user->miscompare_offset = 0;
	list_init(&r->live);
	list_init(&r->queue);
	list_init(&r->parts);
	if (user->kind == CLIENT_UNMAP)
		split_whole_blocks(&r->offset_bytes, &r->len_bytes);
	enlist(c, r);
	if (r->len_bytes == 0)
		finish(c, r);
	else
		list_add_tail(&c->waiting, &r->queue);
	client_kick(c);
	return 0;
}

void client_stop(struct client *c, void (*closed)(void *arg), void *arg)
{
	CHECK(c->state != CLIENT_CLOSING);
	CHECK(c->state != CLIENT_STOPPED);
	c->state = CLIENT_CLOSING;
	c->closed = closed;
	c->closed_arg = arg;
	c->env->timer_cancel(c->env, &c->limit);
	client_kick(c);
}

const struct map_volume *client_volume(const struct client *c)
{
	return c->volume;
}

const struct chain_map *client_map(const struct client *c)
{
	return c->map;
}

void client_check(const struct client *c)
{
	uint32_t live_n = 0, parts_n = 0;
	uint64_t last_ns = 0;

	LIST_FOR_EACH(it, &c->live)
	{
		const struct req *r = CONTAINER_OF(it, struct req, live);
		uint32_t n = 0;

		LIST_FOR_EACH(pt, &r->parts)
		{
			CHECK(CONTAINER_OF(pt, struct part, of_req)->req == r);
			n++;
		}
		CHECK(r->parts_n == n);
		CHECK(r->cursor_bytes <= r->len_bytes);
		CHECK(r->r->deadline_ns >= last_ns);
		/* C4: nothing is forgotten: a request is split further, has parts, or is done */
		CHECK(r->finished == (n == 0 && r->cursor_bytes == r->len_bytes));
		last_ns = r->r->deadline_ns;
		parts_n += n;
		live_n++;
	}
	CHECK(live_n == c->live_n);
	for (uint32_t i = 0; i < c->lanes_n; i++) {
		lane_check(&c->lanes[i]);
		LIST_FOR_EACH(it, &c->lanes[i].w_dead)
		parts_n++;
	}
	CHECK(parts_n + c->parts_free_n == c->cfg.parts_max);
	for (uint32_t i = 0; i < c->links_n; i++)
		link_check(&c->links[i]);
	link_check(&c->cfglink.link);
}
