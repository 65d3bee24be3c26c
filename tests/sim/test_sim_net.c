/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The virtual network: frames as bytes, order, roles, resets, late bytes, flips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sim/net.h"

struct end {
	struct proc p;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	struct env_conn *conn;
	int opened, closed, frames_n, err;
	uint64_t last_tag;
	bool old_after_new;
};

static struct world w;
static struct net net;
static struct end a, b;
static const struct buf_pool_config bufs = {.small_n = 8, .large_n = 2};

static void on_opened(struct env_conn *c, void *owner)
{
	(void)c;
	((struct end *)owner)->opened++;
}

static void on_frame(struct env_conn *c, void *owner, struct frame *f)
{
	struct end *e = owner;

	if (f->hdr.type == WIRE_MAP_GET) {
		assert_int_equal(f->hdr.tag, e->last_tag + 1);
		e->last_tag = f->hdr.tag;
	}
	e->old_after_new |= e->conn && c != e->conn;
	e->frames_n++;
}

static void on_closed(struct env_conn *c, void *owner, int err, const char *why)
{
	struct end *e = owner;

	assert_non_null(why);
	e->closed++;
	e->err = err;
	if (e->conn == c)
		e->conn = NULL;
}

static const struct conn_events events = {on_opened, on_frame, on_closed};

static void on_accept(struct proc *p, struct env_conn *c)
{
	struct end *e = CONTAINER_OF(p, struct end, p);

	e->conn = c;
	e->last_tag = 0;
	p->env.attach(&p->env, c, &events, e);
}

static void end_init(struct end *e, const char *name, const char *addr)
{
	memset(e, 0, sizeof(*e));
	proc_init(&e->p, &w, name, addr);
	proc_start(&e->p, 8 << 20);
	frame_pool_init(&e->frames, 64, &e->p.arena);
	buf_pool_init(&e->bufs, &bufs, &e->p.arena);
	e->src = (struct frame_source){&e->frames, &e->bufs};
	e->p.src = &e->src;
	e->p.accept = addr[0] ? on_accept : NULL;
}

static int setup(void **state)
{
	(void)state;
	world_init(&w, 7, 0);
	net_init(&net, &w);
	end_init(&a, "a", "");
	end_init(&b, "b", "b:1");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	net_fini(&net);
	proc_fini(&a.p);
	proc_fini(&b.p);
	world_fini(&w);
	return 0;
}

static void run_all(void)
{
	while (world_step(&w))
		;
}

static void send(struct end *e, enum wire_type type, uint32_t meta, uint64_t tag)
{
	struct frame *f = frame_new(&e->frames, type, meta);

	assert_non_null(f);
	memset(&f->hdr.cluster, 1, sizeof(f->hdr.cluster));
	memset(&f->hdr.from, 2, sizeof(f->hdr.from));
	f->hdr.tag = tag;
	if (type == WIRE_CONNECT)
		((struct wire_connect *)(void *)f->meta)->role = ROLE_CLIENT;
	e->p.env.send(&e->p.env, e->conn, f);
	frame_put(f);
}

static void dial(void)
{
	a.conn = a.p.env.connect(&a.p.env, "b:1", &events, &a);
	assert_non_null(a.conn);
	assert_int_equal(a.opened + b.frames_n, 0);
	send(&a, WIRE_CONNECT, sizeof(struct wire_connect), 0);
}

static void test_frames_arrive_in_order_after_connect(void **state)
{
	(void)state;
	dial();
	for (uint64_t i = 1; i <= 20; i++)
		send(&a, WIRE_MAP_GET, 0, i);
	run_all();
	assert_int_equal(a.opened, 1);
	assert_int_equal(b.frames_n, 21);
	assert_int_equal(a.frames.free_n, a.frames.made_n);
}

static void test_nobody_there_is_refused(void **state)
{
	(void)state;
	a.conn = a.p.env.connect(&a.p.env, "c:1", &events, &a);
	run_all();
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.err, -111);
}

static void test_first_frame_must_be_connect(void **state)
{
	(void)state;
	a.conn = a.p.env.connect(&a.p.env, "b:1", &events, &a);
	send(&a, WIRE_MAP_GET, 0, 1);
	run_all();
	assert_int_equal(b.frames_n, 0);
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.err, -1);
	assert_int_equal(a.closed, 1);
}

static void test_a_role_may_only_send_its_own_types(void **state)
{
	(void)state;
	dial();
	send(&a, WIRE_HELLO_ACK, 0, 1);
	run_all();
	assert_int_equal(b.frames_n, 1);
	assert_int_equal(b.err, -1);
}

static void test_a_flipped_bit_is_never_delivered(void **state)
{
	(void)state;
	dial();
	run_all();
	net.flip_ppm = 1000000;
	send(&a, WIRE_MAP_GET, 0, 1);
	send(&a, WIRE_MAP_GET, 0, 2);
	run_all();
	assert_int_equal(b.frames_n, 1);
	assert_int_equal(b.closed, 1);
}

static void test_a_closed_connection_is_silent_for_its_owner_and_ends_for_the_peer(void **state)
{
	(void)state;
	dial();
	run_all();
	send(&a, WIRE_MAP_GET, 0, 1);
	a.p.env.close(&a.p.env, a.conn);
	run_all();
	assert_int_equal(a.closed, 0);
	assert_int_equal(b.frames_n, 2);
	assert_int_equal(b.closed, 1);
}

static void test_a_reset_reaches_both_ends_once(void **state)
{
	(void)state;
	dial();
	run_all();
	assert_true(net_reset_random(&net, false));
	run_all();
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
}

static void test_bytes_of_a_broken_connection_arrive_after_the_new_one_is_up(void **state)
{
	bool seen = false;

	for (int i = 0; i < 50 && !seen; i++) {
		dial();
		run_all();
		net.delay_lo_ns = net.delay_hi_ns = 5 * MS;
		send(&a, WIRE_MAP_GET, 0, 1);
		net.delay_lo_ns = net.delay_hi_ns = 10 * US;
		assert_true(net_reset_random(&net, false));
		a.conn = a.p.env.connect(&a.p.env, "b:1", &events, &a);
		run_all();
		seen = b.old_after_new;
		teardown(state);
		setup(state);
	}
	assert_true(seen);
}

static void test_a_block_one_way_delays_and_loses_nothing(void **state)
{
	uint64_t until;

	(void)state;
	dial();
	run_all();
	until = w.now_ns + SEC;
	net_block(&net, &a.p, &b.p, until);
	send(&a, WIRE_MAP_GET, 0, 1);
	assert_int_equal(a.p.env.send_queue_bytes(&a.p.env, a.conn), sizeof(struct wire_hdr));
	run_all();
	assert_int_equal(b.frames_n, 2);
	assert_true(w.now_ns >= until);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_frames_arrive_in_order_after_connect),
		T(test_nobody_there_is_refused),
		T(test_first_frame_must_be_connect),
		T(test_a_role_may_only_send_its_own_types),
		T(test_a_flipped_bit_is_never_delivered),
		T(test_a_closed_connection_is_silent_for_its_owner_and_ends_for_the_peer),
		T(test_a_reset_reaches_both_ends_once),
		T(test_bytes_of_a_broken_connection_arrive_after_the_new_one_is_up),
		T(test_a_block_one_way_delays_and_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
