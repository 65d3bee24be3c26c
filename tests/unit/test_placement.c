/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cfgsvc/placement.h"

/* @domains daemons of @reactors each, numbered as they may come: first reactor of each, second ...
 */
static struct placement domains(uint32_t domains_n, uint32_t reactors, uint32_t replicas_n)
{
	struct placement p = {.servers_n = domains_n * reactors,
			      .domains_n = domains_n,
			      .replicas_n = replicas_n};

	for (uint32_t i = 0; i < p.servers_n; i++)
		p.domain[i] = i % domains_n;
	return p;
}

static struct placement own_domains(uint32_t servers_n, uint32_t replicas_n)
{
	return domains(servers_n, 1, replicas_n);
}

/* How often each (position, server) and each order of members occurs. */
struct tally {
	uint32_t at[CHAIN_MEMBERS_MAX][SERVERS_MAX];
	uint32_t order[512];
	uint32_t orders_n;
};

/* Valid until the next call. */
static const struct tally *count(const struct placement *pp, uint32_t chains)
{
	static struct tally t;
	static uint64_t seen[512];

	const struct placement p = *pp;

	memset(&t, 0, sizeof(t));
	for (uint32_t i = 0; i < chains; i++) {
		uint32_t m[CHAIN_MEMBERS_MAX], k = 0;
		uint64_t key = 1;

		placement_members(&p, i, m);
		for (uint32_t r = 0; r < p.replicas_n; r++) {
			assert_true(m[r] < p.servers_n);
			for (uint32_t q = 0; q < r; q++) /* P4 */
				assert_int_not_equal(p.domain[m[q]], p.domain[m[r]]);
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
	struct placement p = own_domains(3, 3);
	const struct tally *t;

	(void)state;
	assert_int_equal(placement_default_chains(&p), 24);
	t = count(&p, 24);
	for (uint32_t position = 0; position < 3; position++)
		for (uint32_t server = 0; server < 3; server++)
			assert_int_equal(t->at[position][server], 8);
	assert_int_equal(t->orders_n, 6);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(t->order[i], 4);
}

static void test_two_of_three_servers_are_36_chains_each_pair_in_each_order_6_times(void **state)
{
	struct placement p = own_domains(3, 2);
	const struct tally *t;

	(void)state;
	assert_int_equal(placement_default_chains(&p), 36);
	t = count(&p, 36);
	assert_int_equal(t->orders_n, 6);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(t->order[i], 6);
}

static uint32_t all_orders(const struct placement p)
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
			struct placement p = own_domains(servers, replicas);
			uint32_t orders = all_orders(p);
			const struct tally *t = count(&p, orders * 2);

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
			struct placement p = own_domains(servers, replicas);
			uint32_t chains = placement_default_chains(&p);
			const struct tally *t;

			assert_true(chains > 0 && chains <= CHAINS_MAX);
			assert_int_equal(chains % servers, 0);
			t = count(&p, chains);
			for (uint32_t r = 0; r < replicas; r++)
				for (uint32_t s = 0; s < servers; s++)
					assert_int_equal(t->at[r][s], chains / servers);
		}
	}
}

static void test_no_chain_has_two_servers_of_a_domain_and_all_have_every_place_alike(void **state)
{
	(void)state;
	for (uint32_t reactors = 2; reactors <= 8; reactors++) {
		for (uint32_t daemons = 1; daemons * reactors <= SERVERS_MAX; daemons++) {
			for (uint32_t replicas = 1; replicas <= MIN(daemons, 4u); replicas++) {
				struct placement p = domains(daemons, reactors, replicas);
				uint32_t chains = placement_default_chains(&p);
				const struct tally *t = count(&p, chains);

				assert_true(chains > 0);
				for (uint32_t r = 0; r < replicas; r++)
					for (uint32_t s = 0; s < p.servers_n; s++)
						assert_int_equal(t->at[r][s], chains / p.servers_n);
				assert_true(placement_replicas_max(&p, chains) ==
					    chains / p.servers_n * replicas);
			}
		}
	}
}

static void test_reactors_of_one_rank_have_all_orders_and_only_each_other(void **state)
{
	struct placement p = domains(3, 2, 3);
	const struct tally *t;

	(void)state;
	assert_int_equal(placement_default_chains(&p), 48);
	t = count(&p, 48);
	assert_int_equal(t->orders_n, 12); /* 6 orders of each rank */
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(t->order[i], 4);
}

static void test_daemons_of_unlike_size_share_evenly_among_their_own(void **state)
{
	struct placement p = {
		.servers_n = 6, .domains_n = 3, .replicas_n = 2, .domain = {0, 1, 1, 2, 2, 2}};
	const struct tally *t = count(&p, 6 * 36);

	(void)state;
	for (uint32_t r = 0; r < 2; r++)
		for (uint32_t s = 0; s < 6; s++)
			assert_int_equal(t->at[r][s], s == 0 ? 72 : s < 3 ? 36 : 24);
	assert_int_equal(placement_replicas_max(&p, 6 * 36), 144);
}

static void test_many_servers_share_chains_with_about_ten_others(void **state)
{
	struct placement p = own_domains(64, 3);
	bool met[SERVERS_MAX] = {false};
	uint32_t scatter = 0;

	(void)state;
	for (uint32_t i = 0; i < placement_default_chains(&p); i++) {
		uint32_t m[CHAIN_MEMBERS_MAX];

		placement_members(&p, i, m);
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
		cmocka_unit_test(
			test_no_chain_has_two_servers_of_a_domain_and_all_have_every_place_alike),
		cmocka_unit_test(test_reactors_of_one_rank_have_all_orders_and_only_each_other),
		cmocka_unit_test(test_daemons_of_unlike_size_share_evenly_among_their_own),
		cmocka_unit_test(test_many_servers_share_chains_with_about_ten_others),
		cmocka_unit_test(test_defaults_are_two_copies_and_min_in_leaves_one_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
