/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"

#define FRAMES 8192u

static struct fake_net *net_of(struct env *e)
{
	return CONTAINER_OF(e, struct fake_net, clock.env);
}

uint64_t fake_random(struct fake_net *n)
{
	return fake_clock_random(&n->clock);
}

static void log_line(struct env *e, int level, const char *line)
{
	if (getenv("FAKE_NET_LOG"))
		fprintf(stderr, "%12.6f <%d> %s\n", (double)net_of(e)->clock.now_ns / 1e9, level,
			line);
}

static struct env_conn *do_connect(struct env *e, const char *addr, const struct conn_events *ev,
				   void *owner)
{
	struct fake_net *n = net_of(e);
	struct env_conn *c;

	if (n->refuse && strncmp(addr, n->refuse, strlen(n->refuse)) == 0)
		return NULL;
	CHECK(n->conns_n < FAKE_CONNS_MAX);
	c = calloc(1, sizeof(*c));
	CHECK(c != NULL);
	c->world = n;
	c->who = "the client";
	c->role = ROLE_CLIENT;
	c->called = true;
	c->ev = ev;
	c->owner = owner;
	c->open = true;
	snprintf(c->addr, sizeof(c->addr), "%s", addr);
	n->all[n->conns_n] = c;
	n->conns[n->conns_n++] = c;
	return c;
}

static void drop(struct env_conn *c)
{
	struct fake_net *n = c->world;

	for (uint32_t i = 0; i < n->conns_n; i++)
		if (n->conns[i] == c)
			n->conns[i] = NULL;
	fake_conn_forget(c);
	c->open = false;
}

static void do_close(struct env *e, struct env_conn *c)
{
	(void)e;
	CHECK(c->open);
	drop(c);
}

struct fake_net *fake_init(uint64_t seed)
{
	const struct buf_pool_config bufs = {.small_n = 512, .large_n = 24};
	size_t bytes = frame_pool_bytes(FRAMES) + buf_pool_bytes(&bufs);
	struct fake_net *n = calloc(1, sizeof(*n));
	struct arena a;

	CHECK(n != NULL);
	n->memory = calloc(1, bytes);
	CHECK(n->memory != NULL);
	arena_init(&a, n->memory, bytes);
	fake_clock_init(&n->clock, 1000000000ull, seed);
	n->clock.env.log = log_line;
	n->clock.env.connect = do_connect;
	fake_conn_fill_env(&n->clock.env);
	n->clock.env.close = do_close;
	frame_pool_init(&n->frames, FRAMES, &a);
	buf_pool_init(&n->bufs, &bufs, &a);
	n->src = (struct frame_source){.frames = &n->frames, .bufs = &n->bufs};
	return n;
}

void fake_fini(struct fake_net *n)
{
	CHECK(list_empty(&n->clock.timers));
	CHECK(list_empty(&n->clock.tasks));
	for (uint32_t i = 0; i < n->conns_n; i++) {
		CHECK(n->conns[i] == NULL);
		free(n->all[i]);
	}
	CHECK(n->frames.free_n == n->frames.made_n);
	buf_pool_check(&n->bufs);
	CHECK(n->bufs.small_free_n == n->bufs.small_n);
	CHECK(n->bufs.large_free_n == n->bufs.large_n);
	free(n->memory);
	free(n);
}

void fake_run(struct fake_net *n)
{
	while (fake_clock_tasks(&n->clock))
		;
}

void fake_advance(struct fake_net *n, uint64_t ns)
{
	uint64_t end = n->clock.now_ns + ns;

	fake_run(n);
	while (fake_clock_next_ns(&n->clock) <= end) {
		fake_clock_fire(&n->clock);
		fake_run(n);
	}
	n->clock.now_ns = end;
}

struct env_conn *fake_conn(struct fake_net *n, const char *addr)
{
	for (uint32_t i = n->conns_n; i-- > 0;)
		if (n->conns[i] && strcmp(n->conns[i]->addr, addr) == 0)
			return n->conns[i];
	return NULL;
}

void fake_accept(struct env_conn *c)
{
	CHECK(!c->opened);
	c->opened = true;
	c->ev->opened(c, c->owner);
}

void fake_deliver(struct env_conn *c, struct frame *f, enum wire_role sender)
{
	struct fake_net *n = c->world;

	CHECK(c->opened);
	fake_frame_seal(f, sender, "the test");
	c->ev->frame(c, c->owner, f);
	frame_put(f);
	fake_run(n);
}

void fake_reset(struct env_conn *c)
{
	const struct conn_events *ev = c->ev;
	struct fake_net *n = c->world;
	void *owner = c->owner;

	c->open = false;
	ev->closed(c, owner, -ECONNRESET, "connection reset");
	drop(c);
	fake_run(n);
}
