/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Random orders: connections reset, old bytes arriving late, BUSY, deadlines. Slots write and read
 * one sector each, one request at a time, so that exactness is simple to say:
 *
 *   a read returns a stamp >= the last acknowledged and >= the last read, and one that was written
 *
 * which is linearizability for a single writer whose timed-out writes may have happened: X5 demands
 * that such a write is decided before the next request of its lane is sent. */
#include <errno.h>

#include "tests/unit/client_test.h"

#define SLOTS 24u
#define STEPS 60000u

struct slot {
	struct fake_cluster *k;
	uint64_t offset_bytes;
	uint64_t written; /* highest stamp submitted */
	uint64_t floor;   /* acknowledged or seen */
	uint32_t done_n, late_n;
	bool busy, stop;
};

static struct slot slots[SLOTS];

static void start(struct slot *s);

static void on_done(struct fake_req *q)
{
	struct slot *s = &slots[q->slot];
	uint64_t got;

	s->busy = false;
	s->done_n++;
	if (q->r.status == -ETIMEDOUT) {
		s->late_n++;
	} else if (q->r.kind == CLIENT_READ) {
		assert_int_equal(q->r.status, 0);
		memcpy(&got, q->r.data->data, sizeof(got));
		assert_true(got >= s->floor);
		assert_true(got <= s->written);
		s->floor = got;
	} else {
		assert_int_equal(q->r.status, 0);
		s->floor = q->stamp;
	}
	fake_req_free(q);
	if (!s->stop)
		start(s);
}

static void start(struct slot *s)
{
	uint64_t r = fake_random(s->k->net);
	bool read = r % 3 == 0;
	struct fake_req *q = fake_req(s->k, read ? CLIENT_READ : CLIENT_WRITE, s->offset_bytes,
				      r % 2 ? 4096 : 512, 0);

	/* now and then a deadline that chaos will miss */
	q->r.deadline_ns = s->k->net->clock.now_ns + (r / 7 % 8 ? 20000 * MS : 30 * MS);
	q->slot = (uint32_t)(s - slots);
	q->then = on_done;
	if (!read) {
		q->stamp = ++s->written;
		memcpy(q->r.data->data, &q->stamp, sizeof(q->stamp));
	}
	s->busy = true;
	assert_int_equal(client_submit(s->k->client, &q->r), 0);
}

static void run_seed(uint64_t seed, uint32_t reset_percent, uint32_t drop_percent,
		     uint32_t forget_tenths)
{
	struct fake_cluster *k = fake_cluster_init(
		&(struct fake_cluster_config){.seed = seed,
					      .members_n = 1 + (uint32_t)seed % 3,
					      .chains_n = 1 + (uint32_t)seed % 2});
	uint32_t done_n = 0, left = 1;

	fake_open(k);
	assert_int_equal(k->opened, 0);
	for (uint32_t i = 0; i < SLOTS; i++) {
		slots[i] =
			(struct slot){.k = k, .offset_bytes = i % 2 * EXTENT_BYTES + i * 4096ull};
		start(&slots[i]);
	}
	k->busy_percent = 10;
	k->reset_percent = reset_percent;
	k->drop_percent = drop_percent;
	k->forget_tenths = forget_tenths;
	for (uint32_t step = 0; step < STEPS; step++) {
		fake_chaos(k);
		if (step % 64 == 0)
			client_check(k->client);
	}
	/* faults stop: everything completes (I16) */
	k->busy_percent = k->reset_percent = k->drop_percent = k->forget_tenths = 0;
	for (uint32_t i = 0; i < SLOTS; i++)
		slots[i].stop = true;
	for (uint32_t i = 0; left && i < 3000; i++) {
		fake_pass(k, 10 * MS);
		left = 0;
		for (uint32_t j = 0; j < SLOTS; j++)
			left += slots[j].busy;
	}
	assert_int_equal(left, 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		done_n += slots[i].done_n;
	assert_true(done_n > SLOTS * 4);
	if (getenv("FAKE_NET_LOG"))
		fprintf(stderr, "seed %llu: %u done\n", (unsigned long long)seed, done_n);
	fake_cluster_fini(k);
}

static void test_client_is_linearizable_in_any_order_of_events(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		run_seed(seed, 0, 0, 0);
}

static void test_client_is_linearizable_while_connections_break(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++)
		run_seed(seed, 1 + (uint32_t)seed % 4, 0, 0);
}

/* What a daemon without a free frame does. */
static void test_client_is_linearizable_while_answers_are_lost(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++)
		run_seed(seed, (uint32_t)seed % 3, 2, 0);
}

/* X6: others take its entry over and over. */
static void test_client_is_linearizable_while_it_is_forgotten(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++)
		run_seed(seed, (uint32_t)seed % 3, (uint32_t)seed % 2, 1 + (uint32_t)seed % 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_is_linearizable_in_any_order_of_events),
		cmocka_unit_test(test_client_is_linearizable_while_connections_break),
		cmocka_unit_test(test_client_is_linearizable_while_answers_are_lost),
		cmocka_unit_test(test_client_is_linearizable_while_it_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
