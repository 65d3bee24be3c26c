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
	return CONTAINER_OF(e, struct fake_net, env);
}

uint64_t fake_random(struct fake_net *n)
{
	uint64_t z = n->seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t now_ns(struct env *e)
{
	return net_of(e)->now_ns;
}

static uint64_t random_u64(struct env *e)
{
	return fake_random(net_of(e));
}

static void timer_cancel(struct env *e, struct env_timer *t)
{
	(void)e;
	if (t->armed)
		list_del(&t->link);
	t->armed = false;
}

static void timer_arm(struct env *e, struct env_timer *t, uint64_t at_ns)
{
	struct list *before;

	timer_cancel(e, t);
	t->at_ns = at_ns;
	t->armed = true;
	before = net_of(e)->timers.prev;
	while (before != &net_of(e)->timers &&
	       CONTAINER_OF(before, struct env_timer, link)->at_ns > at_ns)
		before = before->prev;
	list_add_head(before, &t->link);
}

static void defer(struct env *e, struct env_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	list_add_tail(&net_of(e)->tasks, &t->link);
}

static void log_line(struct env *e, int level, const char *line)
{
	if (getenv("FAKE_NET_LOG"))
		fprintf(stderr, "%12.6f <%d> %s\n", (double)net_of(e)->now_ns / 1e9, level, line);
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
	c->net = n;
	c->ev = ev;
	c->owner = owner;
	c->open = true;
	snprintf(c->addr, sizeof(c->addr), "%s", addr);
	n->all[n->conns_n] = c;
	n->conns[n->conns_n++] = c;
	return c;
}

static void attach(struct env *e, struct env_conn *c, const struct conn_events *ev, void *owner)
{
	(void)e;
	c->ev = ev;
	c->owner = owner;
}

static void do_send(struct env *e, struct env_conn *c, struct frame *f)
{
	const char *why = "";

	(void)e;
	CHECK(c->open);
	CHECK(c->opened);
	CHECK(c->tail - c->head < FAKE_SENT_MAX);
	wire_frame_seal(f);
	if (wire_frame_check(f, f->hdr.type == WIRE_CONNECT ? ROLE_NONE : ROLE_CLIENT, &why) < 0) {
		fprintf(stderr, "the client sent a bad frame: %s\n", why);
		abort();
	}
	c->sent[c->tail++ % FAKE_SENT_MAX] = frame_ref(f);
}

static uint32_t send_queue_bytes(struct env *e, struct env_conn *c)
{
	(void)e;
	(void)c;
	return 0;
}

static void drop(struct env_conn *c)
{
	struct frame *f;

	for (uint32_t i = 0; i < c->net->conns_n; i++)
		if (c->net->conns[i] == c)
			c->net->conns[i] = NULL;
	while ((f = fake_take(c)))
		frame_put(f);
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
	n->env = (struct env){.now_ns = now_ns,
			      .random_u64 = random_u64,
			      .timer_arm = timer_arm,
			      .timer_cancel = timer_cancel,
			      .defer = defer,
			      .log = log_line,
			      .connect = do_connect,
			      .attach = attach,
			      .send = do_send,
			      .send_queue_bytes = send_queue_bytes,
			      .close = do_close};
	frame_pool_init(&n->frames, FRAMES, &a);
	buf_pool_init(&n->bufs, &bufs, &a);
	n->src = (struct frame_source){.frames = &n->frames, .bufs = &n->bufs};
	n->now_ns = 1000000000ull;
	n->seed = seed;
	list_init(&n->timers);
	list_init(&n->tasks);
	return n;
}

void fake_fini(struct fake_net *n)
{
	CHECK(list_empty(&n->timers));
	CHECK(list_empty(&n->tasks));
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
	struct list *it;

	while ((it = list_pop(&n->tasks))) {
		struct env_task *t = CONTAINER_OF(it, struct env_task, link);

		t->queued = false;
		t->fn(t);
	}
}

uint64_t fake_next_timer(const struct fake_net *n)
{
	return list_empty(&n->timers)
		       ? UINT64_MAX
		       : CONTAINER_OF(list_first(&n->timers), struct env_timer, link)->at_ns;
}

void fake_advance(struct fake_net *n, uint64_t ns)
{
	uint64_t end = n->now_ns + ns;

	fake_run(n);
	while (fake_next_timer(n) <= end) {
		struct env_timer *t = CONTAINER_OF(list_pop(&n->timers), struct env_timer, link);

		n->now_ns = MAX(n->now_ns, t->at_ns);
		t->armed = false;
		t->fn(t);
		fake_run(n);
	}
	n->now_ns = end;
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

struct frame *fake_take(struct env_conn *c)
{
	return c->head == c->tail ? NULL : c->sent[c->head++ % FAKE_SENT_MAX];
}

void fake_deliver(struct env_conn *c, struct frame *f, enum wire_role sender)
{
	struct fake_net *n = c->net;
	const char *why = "";

	CHECK(c->opened);
	wire_frame_seal(f);
	if (wire_frame_check(f, sender, &why) < 0) {
		fprintf(stderr, "the test sent a bad frame: %s\n", why);
		abort();
	}
	c->ev->frame(c, c->owner, f);
	frame_put(f);
	fake_run(n);
}

void fake_reset(struct env_conn *c)
{
	const struct conn_events *ev = c->ev;
	struct fake_net *n = c->net;
	void *owner = c->owner;

	c->open = false;
	ev->closed(c, owner, -ECONNRESET, "connection reset");
	drop(c);
	fake_run(n);
}
