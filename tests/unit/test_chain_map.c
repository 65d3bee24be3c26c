/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/chain_map.h"

static struct chain_map map, back;
static uint8_t bytes[sizeof(struct chain_map) + 8];

static struct id128 id(uint8_t a, uint8_t b)
{
	return (struct id128){{a, b}};
}

/* Three servers, two chains, one volume on both. */
static int fresh(void **state)
{
	(void)state;
	memset(&map, 0, sizeof(map));
	map.hdr = (struct chain_map_hdr){
		.cluster = id(9, 9), .version = 4, .servers_n = 3, .chains_n = 2, .volumes_n = 1};
	for (uint8_t i = 0; i < 3; i++) {
		struct map_server *s = &map.servers[i];

		s->id = i + 1u;
		s->disk = id('d', i);
		s->incarnation = id('i', i);
		snprintf(s->name, sizeof(s->name), "s%u", i + 1u);
		snprintf(s->addrs[0], ADDR_BYTES, "127.0.0.1:%u", 7401u + i);
	}
	for (uint8_t i = 0; i < 2; i++) {
		struct map_chain *c = &map.chains[i];

		c->id = i + 1u;
		c->epoch = 5;
		c->history = 1;
		c->in_n = 2;
		c->target_n = 2;
		for (uint8_t k = 0; k < 2; k++) {
			c->in[k].server = (i + k) % 3 + 1u;
			c->in[k].incarnation = id('i', (uint8_t)((i + k) % 3));
		}
	}
	map.volumes[0] = (struct map_volume){.id = 1,
					     .size_bytes = 1u << 30,
					     .generation = 1,
					     .state = VOLUME_NORMAL,
					     .sector_bytes = 512,
					     .base = 1,
					     .lanes_n = 2,
					     .lanes = {1, 2},
					     .min_in = 1,
					     .name = "vol0"};
	return 0;
}

static const char *wrong(void)
{
	const char *why = "";
	size_t len = chain_map_encoded_bytes(&map);

	if (len > sizeof(bytes) || map.hdr.servers_n > SERVERS_MAX ||
	    map.hdr.chains_n > CHAINS_MAX || map.hdr.volumes_n > VOLUMES_MAX)
		fail_msg("the test's map is too large to encode");
	chain_map_encode(&map, bytes);
	if (chain_map_decode(bytes, len, &back, &why) == 0)
		assert_string_equal(why, "");
	return why;
}

static void test_a_map_survives_encoding(void **state)
{
	(void)state;
	memset(&back, 0, sizeof(back));
	assert_string_equal(wrong(), "");
	assert_memory_equal(&back, &map, sizeof(map));
	assert_int_equal(chain_map_encoded_bytes(&map),
			 sizeof(map.hdr) + 3 * sizeof(map.servers[0]) + 2 * sizeof(map.chains[0]) +
				 sizeof(map.volumes[0]));
}

static void test_a_map_cut_anywhere_or_longer_is_refused(void **state)
{
	size_t len = chain_map_encoded_bytes(&map);
	const char *why;

	(void)state;
	chain_map_encode(&map, bytes);
	for (size_t cut = 0; cut <= len + 1; cut++) {
		why = NULL;
		assert_int_equal(chain_map_decode(bytes, cut, &back, &why),
				 cut == len ? 0 : -EPROTO);
		assert_int_equal(why == NULL, cut == len);
	}
}

static void test_counts_beyond_the_limits_are_refused_before_anything_is_copied(void **state)
{
	struct chain_map_hdr h = map.hdr;
	const char *why;

	(void)state;
	h.servers_n = SERVERS_MAX + 1;
	memcpy(bytes, &h, sizeof(h));
	assert_int_equal(chain_map_decode(bytes, sizeof(bytes), &back, &why), -EPROTO);
	assert_string_equal(why, "map: more entries than the limits allow");
	h.servers_n = 3;
	h.chains_n = UINT32_MAX;
	memcpy(bytes, &h, sizeof(h));
	assert_int_equal(chain_map_decode(bytes, sizeof(bytes), &back, &why), -EPROTO);
	h.chains_n = 2;
	h.volumes_n = VOLUMES_MAX + 1;
	memcpy(bytes, &h, sizeof(h));
	assert_int_equal(chain_map_decode(bytes, sizeof(bytes), &back, &why), -EPROTO);
}

static void test_every_wrong_field_has_its_own_reason(void **state)
{
#define WRONG(assignment, reason)                                                                  \
	do {                                                                                       \
		fresh(NULL);                                                                       \
		assignment;                                                                        \
		assert_string_equal(wrong(), reason);                                              \
	} while (0)
	(void)state;
	WRONG(map.hdr.version = 0, "map: no cluster, version 0, or reserved bits are set");
	WRONG(map.hdr.cluster = id(0, 0), "map: no cluster, version 0, or reserved bits are set");
	WRONG(map.servers[1].id = 1, "server: id used twice");
	WRONG(map.servers[1].id = 0, "server: id is 0 or reserved bits are set");
	WRONG(map.servers[1].disk = id('d', 0), "server: disk used twice");
	WRONG(map.servers[1].incarnation = id(0, 0), "server: no disk or no incarnation");
	WRONG(map.servers[1].name[1] = '1', "server: name used twice");
	WRONG(map.servers[1].name[1] = '\n', "server: name is not valid");
	WRONG(map.servers[1].name[0] = '.', "server: name is not valid");
	WRONG(map.servers[1].name[31] = 'x', "server: name is not valid");
	WRONG(map.servers[1].addrs[0][63] = 'x', "server: address does not end");
	WRONG(map.servers[1].addrs[2][0] = 'x', "server: a gap between its addresses");
	WRONG(map.chains[1].id = 1, "chain: id used twice");
	WRONG(map.chains[0].epoch = 0, "chain: id or epoch is 0");
	WRONG(map.chains[0].in_n = 9, "chain: number of members out of bounds");
	WRONG(map.chains[0].in[1].server = 1, "chain: a server is a member twice");
	WRONG(map.chains[0].in[1].server = 4, "chain: a member is no known server");
	WRONG(map.chains[0].in[1].server = 0, "chain: a member without server or incarnation");
	WRONG(memset(map.servers[1].domain, 'x', SERVER_NAME_BYTES), "server: domain is not valid");
	WRONG(snprintf(map.servers[1].domain, SERVER_NAME_BYTES, "-x"),
	      "server: domain is not valid");
	WRONG(snprintf(map.servers[1].domain, SERVER_NAME_BYTES, "s1"),
	      "chain: two members in one failure domain");
	WRONG(map.chains[0].in[2].reserved = 1, "chain: bytes behind the last member");
	WRONG(map.chains[0].target_n = 9, "chain: wanted number of members out of bounds");
	WRONG(map.chains[0].sync.server = 1, "chain: the joiner is half filled in");
	WRONG((map.chains[0].sync = map.chains[0].in[0]), "chain: a member is also the joiner");
	WRONG((map.chains[0].sync = (struct map_member){.server = 4, .incarnation = id(1, 1)}),
	      "chain: the joiner is no known server");
	WRONG(map.volumes[0].id = 0, "volume: id or generation is 0, or reserved bits are set");
	WRONG(map.volumes[0].size_bytes = 0, "volume: size out of bounds or not whole blocks");
	WRONG(map.volumes[0].size_bytes = 4097, "volume: size out of bounds or not whole blocks");
	WRONG(map.volumes[0].size_bytes = VOLUME_BYTES_MAX + 4096,
	      "volume: size out of bounds or not whole blocks");
	WRONG(map.volumes[0].state = 3, "volume: unknown state");
	WRONG(map.volumes[0].sector_bytes = 1024, "volume: sector size is neither 512 nor 4096");
	WRONG(map.volumes[0].lanes_n = 0, "volume: number of lanes or base out of bounds");
	WRONG(map.volumes[0].lanes_n = 33, "volume: number of lanes or base out of bounds");
	WRONG(map.volumes[0].base = 2, "volume: number of lanes or base out of bounds");
	WRONG(map.volumes[0].lanes[1] = 3, "volume: a lane is no known chain");
	WRONG(map.volumes[0].lanes[2] = 1, "volume: a lane is no known chain");
	WRONG(map.volumes[0].min_in = 0, "volume: min_in out of bounds");
	WRONG(map.volumes[0].name[0] = '-', "volume: name is not valid");
	WRONG((map.hdr.volumes_n = 2, map.volumes[1] = map.volumes[0]), "volume: id used twice");
	WRONG((map.hdr.volumes_n = 2, map.volumes[1] = map.volumes[0], map.volumes[1].id = 2),
	      "volume: name used twice");
}

static void test_things_are_found_by_id_and_name(void **state)
{
	(void)state;
	assert_ptr_equal(chain_map_server(&map, 2), &map.servers[1]);
	assert_null(chain_map_server(&map, 4));
	assert_ptr_equal(chain_map_chain(&map, 2), &map.chains[1]);
	assert_null(chain_map_chain(&map, 0));
	assert_null(chain_map_chain(&map, 3));
	map.chains[0].id = 77; /* not in its usual place */
	assert_ptr_equal(chain_map_chain(&map, 77), &map.chains[0]);
	assert_null(chain_map_chain(&map, 1));
	assert_ptr_equal(chain_map_volume(&map, 1), &map.volumes[0]);
	assert_null(chain_map_volume(&map, 2));
	assert_ptr_equal(chain_map_volume_named(&map, "vol0"), &map.volumes[0]);
	assert_null(chain_map_volume_named(&map, "vol"));
	assert_null(chain_map_volume_named(&map, ""));
}

static void test_extents_walk_the_lanes_from_the_base(void **state)
{
	const struct map_volume v = {.base = 2, .lanes_n = 3, .lanes = {10, 20, 30}};

	(void)state;
	assert_int_equal(map_volume_lane(&v, 0), 30);
	assert_int_equal(map_volume_lane(&v, 1), 10);
	assert_int_equal(map_volume_lane(&v, 2), 20);
	assert_int_equal(map_volume_lane(&v, 3), 30);
	assert_int_equal(map_volume_lane(&v, (1ull << 28) - 1), 30);
}

static void test_a_server_with_another_incarnation_has_no_position(void **state)
{
	struct id128 now = id('i', 1), old = id('i', 9);

	(void)state;
	assert_int_equal(map_chain_position(&map.chains[0], 2, &now), 1);
	assert_int_equal(map_chain_position(&map.chains[0], 2, &old), -1);
	assert_int_equal(map_chain_position(&map.chains[0], 3, &now), -1);
}

static void test_names_are_of_few_characters(void **state)
{
	(void)state;
	assert_true(name_is_valid("a", 64));
	assert_true(name_is_valid("Vol_1.2-x", 64));
	assert_false(name_is_valid("", 64));
	assert_false(name_is_valid("..", 64));
	assert_false(name_is_valid("-x", 64));
	assert_false(name_is_valid("a/b", 64));
	assert_false(name_is_valid("a b", 64));
	assert_false(name_is_valid("a\nb", 64));
	assert_false(name_is_valid("\xc3\xa4", 64));
	assert_true(name_is_valid("abc", 4));
	assert_false(name_is_valid("abcd", 4));
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_map_survives_encoding),
		T(test_a_map_cut_anywhere_or_longer_is_refused),
		T(test_counts_beyond_the_limits_are_refused_before_anything_is_copied),
		T(test_every_wrong_field_has_its_own_reason),
		T(test_things_are_found_by_id_and_name),
		T(test_extents_walk_the_lanes_from_the_base),
		T(test_a_server_with_another_incarnation_has_no_position),
		T(test_names_are_of_few_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
