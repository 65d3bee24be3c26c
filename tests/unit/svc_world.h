/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* svc_world - the network, clock and store around the one service under test, played by the test.
 *
 * start() makes the service; dial(), deliver() and hang_up() are its peers; pass() lets time go by;
 * w.hold keeps puts waiting for store_finish(). Every frame the service sends is checked as its
 * receiver would. Included by test_svc.c only: it is that file's first half. One thread. */

#ifndef TESTS_UNIT_SVC_WORLD_H
#define TESTS_UNIT_SVC_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cfgsvc/svc.h"
#include "lib/arena.h"
#include "lib/status.h"
#include "tests/unit/ctrl_test.h"
#include "tests/unit/fake_conn.h"

#define SEC (1000ull * 1000 * 1000)
#define CONNS 16u
#define BODY(type, f) ((struct type *)(void *)(f)->meta)

static struct {
	struct env env;
	struct cfgstore store;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	uint64_t now_ns, random;
	struct env_timer *timer; /* svc has one */
	struct env_task *task;   /* and one of these */
	struct env_conn conns[CONNS];
	unsigned conns_n;
	uint8_t kept[1u << 20]; /* what the store holds */
	size_t kept_len;
	uint64_t rev;
	const void *put_bytes; /* a put that waits for store_finish() */
	size_t put_len;
	void (*put_done)(void *arg, int res);
	void *put_arg;
	bool hold; /* puts wait */
	int ready_res;
	bool is_ready;
	void *memory;
} w;
static struct svc *svc;

static uint64_t now_ns(struct env *e)
{
	(void)e;
	return w.now_ns;
}

static uint64_t random_u64(struct env *e)
{
	(void)e;
	return ++w.random * 0x9e3779b97f4a7c15ull;
}

static void timer_arm(struct env *e, struct env_timer *t, uint64_t at_ns)
{
	(void)e;
	assert_true(!w.timer || w.timer == t);
	w.timer = t;
	t->at_ns = at_ns;
	t->armed = true;
}

static void timer_cancel(struct env *e, struct env_timer *t)
{
	(void)e;
	t->armed = false;
	w.timer = NULL;
}

static void defer(struct env *e, struct env_task *t)
{
	(void)e;
	assert_true(!w.task || w.task == t);
	w.task = t;
}

static void log_line(struct env *e, int level, const char *line)
{
	(void)e;
	if (getenv("TEST_LOG"))
		fprintf(stderr, "<%d> %s\n", level, line);
}

static void do_close(struct env *e, struct env_conn *c)
{
	(void)e;
	assert_true(c->open);
	c->open = false;
}

static void run(void)
{
	while (w.task) {
		struct env_task *t = w.task;

		w.task = NULL;
		t->fn(t);
	}
}

static void pass(uint64_t ns)
{
	uint64_t end = w.now_ns + ns;

	while (w.timer && w.timer->at_ns <= end) {
		w.now_ns = w.timer->at_ns;
		w.timer->fn(w.timer);
		run();
	}
	w.now_ns = end;
}

static void
store_load(struct cfgstore *c,
	   void (*done)(void *arg, int res, const void *bytes, size_t len, uint64_t rev), void *arg)
{
	(void)c;
	done(arg, 0, w.kept, w.kept_len, w.rev);
}

static void store_finish(int res)
{
	void (*done)(void *arg, int res) = w.put_done;

	assert_non_null(done);
	if (res == 0) {
		memcpy(w.kept, w.put_bytes, w.put_len);
		w.kept_len = w.put_len;
		w.rev++;
	}
	w.put_done = NULL;
	done(w.put_arg, res);
}

static void store_put(struct cfgstore *c, uint64_t rev, const void *bytes, size_t len,
		      void (*done)(void *arg, int res), void *arg)
{
	(void)c;
	assert_null(w.put_done);
	w.put_bytes = bytes;
	w.put_len = len;
	w.put_done = done;
	w.put_arg = arg;
	if (rev != w.rev)
		store_finish(-ESTALE);
	else if (!w.hold)
		store_finish(0);
}

static void on_ready(void *arg, int res, const char *why)
{
	(void)arg;
	(void)why;
	w.is_ready = true;
	w.ready_res = res;
}

static void start(void)
{
	const struct buf_pool_config bufs = {.small_n = 8, .large_n = 3};
	size_t bytes = svc_memory() + frame_pool_bytes(256) + buf_pool_bytes(&bufs);
	struct arena a;

	free(w.memory);
	w.memory = calloc(1, bytes);
	arena_init(&a, w.memory, bytes);
	frame_pool_init(&w.frames, 256, &a);
	buf_pool_init(&w.bufs, &bufs, &a);
	w.src = (struct frame_source){.frames = &w.frames, .bufs = &w.bufs};
	w.timer = NULL;
	w.task = NULL;
	w.is_ready = false;
	w.conns_n = 0;
	memset(w.conns, 0, sizeof(w.conns));
	svc = svc_init(&(struct svc_config){.env = &w.env, .store = &w.store, .src = &w.src}, &a);
	svc_start(svc, on_ready, NULL);
	run();
}

static int fresh(void **state)
{
	void *memory = w.memory;

	(void)state;
	memset(&w, 0, sizeof(w));
	w.memory = memory;
	w.now_ns = 50 * SEC;
	w.env = (struct env){.now_ns = now_ns,
			     .random_u64 = random_u64,
			     .timer_arm = timer_arm,
			     .timer_cancel = timer_cancel,
			     .defer = defer,
			     .log = log_line,
			     .close = do_close};
	fake_conn_fill_env(&w.env);
	w.store = (struct cfgstore){store_load, store_put};
	start();
	assert_true(w.is_ready);
	assert_int_equal(w.ready_res, 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	svc_check(svc);
	svc_stop(svc);
	/* What was taken as well: tests look at it until the end. */
	for (unsigned i = 0; i < w.conns_n; i++)
		for (uint32_t k = 0; k < w.conns[i].tail; k++)
			frame_put(w.conns[i].sent[k]);
	assert_int_equal(w.frames.free_n, w.frames.made_n);
	buf_pool_check(&w.bufs);
	assert_int_equal(w.bufs.small_free_n, w.bufs.small_n);
	assert_int_equal(w.bufs.large_free_n, w.bufs.large_n);
	return 0;
}

static void deliver(struct env_conn *c, struct frame *f, enum wire_role role)
{
	if (f->hdr.type != WIRE_CONNECT)
		f->hdr.cluster = svc_map(svc)->hdr.cluster;
	fake_frame_seal(f, role, "the test");
	c->ev->frame(c, c->owner, f);
	frame_put(f);
	run();
}

static void expect(struct env_conn *c, enum wire_type type, struct frame **ret)
{
	struct frame *f = fake_conn_take(c);

	assert_non_null(f);
	if (f->hdr.type != type)
		fail_msg("%s came, not %s", wire_type_info(f->hdr.type)->name,
			 wire_type_info(type)->name);
	if (ret)
		*ret = f;
}

/* A connection on which nothing was said yet. */
static struct env_conn *call(void)
{
	struct env_conn *c = &w.conns[w.conns_n++];

	assert_true(w.conns_n <= CONNS);
	c->open = c->opened = true;
	c->who = "svc";
	c->role = ROLE_CFG;
	svc_accept(svc, c);
	return c;
}

static struct env_conn *dial(enum wire_role role, const char *name)
{
	struct env_conn *c = call();
	struct frame *f = frame_new(&w.frames, WIRE_CONNECT, sizeof(struct wire_connect));

	BODY(wire_connect, f)->role = role;
	snprintf(BODY(wire_connect, f)->name, SERVER_NAME_BYTES, "%s", name);
	deliver(c, f, ROLE_NONE);
	expect(c, WIRE_CONNECTED, &f);
	assert_int_equal(BODY(wire_connected, f)->role, ROLE_CFG);
	assert_true(id128_eq(&f->hdr.cluster, &svc_map(svc)->hdr.cluster));
	return c;
}

static void hang_up(struct env_conn *c)
{
	c->open = false;
	c->ev->closed(c, c->owner, -ECONNRESET, "reset");
	run();
}

static void send_register(struct env_conn *c, uint8_t n, uint8_t life, uint64_t last)
{
	struct frame *f = frame_new(&w.frames, WIRE_REGISTER, sizeof(struct wire_register));
	struct buf *b;

	*BODY(wire_register, f) = test_registration(n, life);
	f->hdr.tag = 5;
	if (last != 0) {
		b = buf_get(&w.bufs, 24 * sizeof(struct wire_report), BUF_NODE);
		for (uint32_t i = 0; i < 24; i++)
			((struct wire_report *)(void *)b->data)[i] = (struct wire_report){
				.chain = i + 1, .epoch = 1, .last = last, .known = last};
		frame_set_data(f, b);
	}
	deliver(c, f, ROLE_NODE);
}

static struct env_conn *server(uint8_t n, uint8_t life, uint64_t last)
{
	struct env_conn *c = dial(ROLE_NODE, "some server");
	struct frame *f;

	send_register(c, n, life, last);
	expect(c, WIRE_REGISTERED, &f);
	assert_int_equal(BODY(wire_registered, f)->server_id, n);
	assert_int_equal(f->hdr.tag, 5);
	expect(c, WIRE_MAP, NULL);
	return c;
}

static struct wire_admin_reply *admin(struct env_conn *c, enum wire_admin_op op, const char *name,
				      uint64_t arg0, uint64_t arg1)
{
	struct frame *f = frame_new(&w.frames, WIRE_ADMIN, sizeof(struct wire_admin));

	f->hdr.tag = 77;
	BODY(wire_admin, f)->op = op;
	BODY(wire_admin, f)->arg0 = arg0;
	BODY(wire_admin, f)->arg1 = arg1;
	snprintf(BODY(wire_admin, f)->name, NAME_BYTES, "%s", name);
	deliver(c, f, ROLE_ADMIN);
	if (w.hold)
		return NULL;
	expect(c, WIRE_ADMIN_REPLY, &f);
	assert_int_equal(f->hdr.tag, 77);
	return BODY(wire_admin_reply, f);
}

static void ask_map(struct env_conn *c, enum wire_role role)
{
	struct frame *f = frame_new(&w.frames, WIRE_MAP_GET, 0);

	f->hdr.tag = 9;
	deliver(c, f, role);
}

static struct wire_opened *open_volume(struct env_conn *c, const char *name, uint32_t flags)
{
	struct frame *f = frame_new(&w.frames, WIRE_OPEN, sizeof(struct wire_open));

	snprintf(BODY(wire_open, f)->name, NAME_BYTES, "%s", name);
	BODY(wire_open, f)->flags = flags;
	deliver(c, f, ROLE_CLIENT);
	expect(c, WIRE_OPENED, &f);
	return BODY(wire_opened, f);
}

static void cluster_of_three(struct env_conn *s[3], struct env_conn **ret_ctl)
{
	for (uint8_t n = 1; n <= 3; n++)
		s[n - 1] = server(n, 1, 0);
	*ret_ctl = dial(ROLE_ADMIN, "chainctl");
	assert_int_equal(admin(*ret_ctl, ADMIN_CLUSTER_INIT, "", 3, 0)->value, 24);
	assert_int_equal(admin(*ret_ctl, ADMIN_VOLUME_CREATE, "vol0", 1 << 20, 0)->value, 1);
}

static void drain(struct env_conn *c)
{
	while (fake_conn_take(c))
		;
}

#endif
