/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cfgsvc/placement.h"

/* How often each (position, server) and each order of members occurs. */
struct tally {
	uint32_t at[CHAIN_MEMBERS_MAX][SERVERS_MAX];
	uint32_t order[512];
	uint32_t orders_n;
};

/* Valid until the next call. */
static const struct tally *count(struct placement p, uint32_t chains)
{
	static struct tally t;
	static uint64_t seen[512];

	memset(&t, 0, sizeof(t));
	for (uint32_t i = 0; i < chains; i++) {
		uint32_t m[CHAIN_MEMBERS_MAX], k = 0;
		uint64_t key = 1;

		placement_members(p, i, m);
		for (uint32_t r = 0; r < p.replicas_n; r++) {
			assert_true(m[r] < p.servers_n);
			for (uint32_t q = 0; q < r; q++)
				assert_int_not_equal(m[q], m[r]);
			t.at[r][m[r]]++;
			key = key * SERVERS_MAX + m[r];
		}
		while (k < t.orders_n && seen[k] != key)
			k++;
		if (k == t.orders_n)
			seen[t.orders_n++] = key;
		t.order[k]++;
	}
	return &t;
}

static void test_three_servers_are_24_chains_each_server_head_middle_tail_of_8(void **state)
{
	struct placement p = {.servers_n = 3, .replicas_n = 3};
	const struct tally *t;

	(void)state;
	assert_int_equal(placement_default_chains(p), 24);
	t = count(p, 24);
	for (uint32_t position = 0; position < 3; position++)
		for (uint32_t server = 0; server < 3; server++)
			assert_int_equal(t->at[position][server], 8);
	assert_int_equal(t->orders_n, 6);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(t->order[i], 4);
}

static void test_two_of_three_servers_are_36_chains_each_pair_in_each_order_6_times(void **state)
{
	struct placement p = {.servers_n = 3, .replicas_n = 2};
	const struct tally *t;

	(void)state;
	assert_int_equal(placement_default_chains(p), 36);
	t = count(p, 36);
	assert_int_equal(t->orders_n, 6);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(t->order[i], 6);
}

static uint32_t all_orders(struct placement p)
{
	uint32_t n = 1;

	for (uint32_t i = 0; i < p.replicas_n; i++)
		n *= p.servers_n - i;
	return n;
}

static void test_up_to_six_servers_every_order_occurs_equally_often_when_it_can(void **state)
{
	(void)state;
	for (uint32_t servers = 1; servers <= 6; servers++) {
		for (uint32_t replicas = 1; replicas <= MIN(servers, 3u); replicas++) {
			struct placement p = {.servers_n = servers, .replicas_n = replicas};
			uint32_t orders = all_orders(p);
			const struct tally *t = count(p, orders * 2);

			assert_int_equal(t->orders_n, orders);
			for (uint32_t i = 0; i < orders; i++)
				assert_int_equal(t->order[i], 2);
		}
	}
}

static void test_default_chains_give_every_server_every_position_equally_often(void **state)
{
	(void)state;
	for (uint32_t servers = 1; servers <= SERVERS_MAX; servers++) {
		for (uint32_t replicas = 1; replicas <= MIN(servers, 4u); replicas++) {
			struct placement p = {.servers_n = servers, .replicas_n = replicas};
			uint32_t chains = placement_default_chains(p);
			const struct tally *t;

			assert_true(chains > 0 && chains <= CHAINS_MAX);
			assert_int_equal(chains % servers, 0);
			t = count(p, chains);
			for (uint32_t r = 0; r < replicas; r++)
				for (uint32_t s = 0; s < servers; s++)
					assert_int_equal(t->at[r][s], chains / servers);
		}
	}
}

static void test_many_servers_share_chains_with_about_ten_others(void **state)
{
	struct placement p = {.servers_n = 64, .replicas_n = 3};
	bool met[SERVERS_MAX] = {false};
	uint32_t scatter = 0;

	(void)state;
	for (uint32_t i = 0; i < placement_default_chains(p); i++) {
		uint32_t m[CHAIN_MEMBERS_MAX];

		placement_members(p, i, m);
		if (m[0] != 20 && m[1] != 20 && m[2] != 20)
			continue;
		for (uint32_t r = 0; r < 3; r++)
			met[m[r]] = true;
	}
	for (uint32_t s = 0; s < SERVERS_MAX; s++)
		scatter += met[s] && s != 20;
	assert_in_range(scatter, 6, 14);
}

static void test_defaults_are_two_copies_and_min_in_leaves_one_failure(void **state)
{
	(void)state;
	assert_int_equal(placement_default_replicas(1), 1);
	assert_int_equal(placement_default_replicas(3), 2);
	assert_int_equal(placement_default_replicas(64), 2);
	assert_int_equal(placement_min_in(1), 1);
	assert_int_equal(placement_min_in(2), 1);
	assert_int_equal(placement_min_in(3), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_three_servers_are_24_chains_each_server_head_middle_tail_of_8),
		cmocka_unit_test(
			test_two_of_three_servers_are_36_chains_each_pair_in_each_order_6_times),
		cmocka_unit_test(
			test_up_to_six_servers_every_order_occurs_equally_often_when_it_can),
		cmocka_unit_test(
			test_default_chains_give_every_server_every_position_equally_often),
		cmocka_unit_test(test_many_servers_share_chains_with_about_ten_others),
		cmocka_unit_test(test_defaults_are_two_copies_and_min_in_leaves_one_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
