/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Failure domains: a chain never has two members of one, however servers are called. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ctrl_test.h"

static struct ctrl_state st;
static struct ctrl_live live;
static struct ctrl_answer ans;

static int fresh(void **state)
{
	const struct id128 cluster = test_id('c', 1);

	(void)state;
	ctrl_new(&st, &cluster);
	memset(&live, 0, sizeof(live));
	live.now_ns = 100ull * 1000 * 1000 * 1000;
	return 0;
}

static void registers(const struct wire_register *r)
{
	ctrl_register(&st, r, &ans);
	assert_int_equal(ans.status, 0);
	live.servers[ctrl_server_index(&st, (uint32_t)ans.value)] =
		(struct ctrl_server_live){.connected = true, .seen_ns = live.now_ns};
}

static void init(uint64_t replicas)
{
	const struct wire_admin req = {.op = ADMIN_CLUSTER_INIT, .arg0 = replicas};

	ctrl_admin(&st, &req, &live, &ans);
	ctrl_check(&st);
}

static void refused(int status, const char *part)
{
	assert_int_equal(ans.status, status);
	if (!strstr(ans.text, part))
		fail_msg("the error says '%s', not '%s'", ans.text, part);
}

/* Server @n is reactor @k of daemon "d@daemon". */
static void reactor_registers(uint8_t n, unsigned daemon, unsigned k)
{
	struct wire_register r = test_registration(n, 1);

	snprintf(r.name, sizeof(r.name), "d%u.%u", daemon, k);
	snprintf(r.domain, sizeof(r.domain), "d%u", daemon);
	registers(&r);
}

static void three_servers(uint64_t replicas)
{
	for (uint8_t n = 1; n <= 3; n++) {
		const struct wire_register r = test_registration(n, 1);

		registers(&r);
	}
	init(replicas);
	assert_int_equal(ans.status, 0);
}

static void test_a_chain_has_one_server_of_a_domain(void **state)
{
	uint32_t held[7] = {0};

	(void)state;
	for (uint8_t n = 0; n < 6; n++)
		reactor_registers(n + 1, n / 2, n % 2);
	assert_string_equal(map_server_domain(&st.map.servers[5]), "d2");
	init(4);
	refused(-EINVAL, "the 6 servers are of 3");
	init(3); /* ctrl_check() looks at the domains */
	assert_int_equal(ans.value, 48);
	for (uint32_t i = 0; i < 48; i++)
		for (uint32_t k = 0; k < 3; k++)
			held[st.map.chains[i].in[k].server]++;
	for (uint32_t server = 1; server <= 6; server++)
		assert_int_equal(held[server], 24);
}

static void test_a_server_cannot_move_into_the_domain_of_one_it_shares_a_chain_with(void **state)
{
	struct wire_register r = test_registration(1, 2);

	(void)state;
	three_servers(2);
	snprintf(r.domain, sizeof(r.domain), "s2");
	ctrl_register(&st, &r, &ans);
	refused(-EEXIST, "domain s2 is that of s2");
	assert_string_equal(map_server_domain(&st.map.servers[0]), "s1");
	snprintf(r.domain, sizeof(r.domain), "rack 7");
	ctrl_register(&st, &r, &ans);
	refused(-EINVAL, "not a valid name");
	snprintf(r.domain, sizeof(r.domain), "rack7");
	ctrl_register(&st, &r, &ans);
	assert_int_equal(ans.status, 0);
	assert_string_equal(map_server_domain(&st.map.servers[0]), "rack7");
}

static void test_a_state_from_before_there_were_domains_is_read(void **state)
{
	static uint8_t now[CTRL_STATE_BYTES_MAX], then[CTRL_STATE_BYTES_MAX];
	static struct ctrl_state back;
	const size_t head = sizeof(struct ctrl_state_hdr) + sizeof(struct chain_map_hdr);
	const size_t one = sizeof(struct map_server);
	const uint8_t *from = now;
	uint8_t *to = then;
	const char *why;
	size_t rest;

	(void)state;
	three_servers(2);
	ctrl_encode(&st, now);
	memcpy(to, from, head);
	((struct ctrl_state_hdr *)(void *)then)->version = 1;
	to += head;
	from += head;
	for (int i = 0; i < 3; i++, from += one, to += MAP_SERVER_V1_BYTES)
		memcpy(to, from, MAP_SERVER_V1_BYTES);
	rest = ctrl_encoded_bytes(&st) - head - 3 * one;
	memcpy(to, from, rest);
	assert_int_equal(ctrl_decode(then, (size_t)(to - then) + rest, &back, &why), 0);
	assert_memory_equal(&back, &st, sizeof(st));
	assert_string_equal(map_server_domain(&back.map.servers[2]), "s3");
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_chain_has_one_server_of_a_domain),
		T(test_a_server_cannot_move_into_the_domain_of_one_it_shares_a_chain_with),
		T(test_a_state_from_before_there_were_domains_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
