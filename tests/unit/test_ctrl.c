/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ctrl_fixture.h"

static void refused(int status, const char *part)
{
	assert_int_equal(ans.status, status);
	assert_false(ans.changed);
	if (!strstr(ans.text, part))
		fail_msg("the error says '%s', not '%s'", ans.text, part);
}

static void test_a_server_gets_an_id_once_and_keeps_it_over_restarts(void **state)
{
	struct wire_register r = test_registration(1, 1);

	(void)state;
	ctrl_register(&st, &r, &ans);
	assert_int_equal(ans.status, 0);
	assert_true(ans.changed);
	assert_int_equal(ans.value, 1);
	ctrl_register(&st, &r, &ans); /* its connection was lost */
	assert_int_equal(ans.value, 1);
	assert_false(ans.changed);
	r = test_registration(1, 2);
	ctrl_register(&st, &r, &ans);
	assert_int_equal(ans.value, 1);
	assert_true(ans.changed);
	assert_true(id128_eq(&st.map.servers[0].incarnation, &r.incarnation));
	registers(2, 1);
	assert_int_equal(ans.value, 2);
	assert_string_equal(st.map.servers[1].addrs[0], "127.0.0.1:7402");
}

static void test_a_rolled_back_disk_is_refused(void **state)
{
	struct wire_register r;

	(void)state;
	registers(1, 1);
	registers(1, 2);
	registers(1, 3);
	r = test_registration(1, 2); /* the disk as it was before its last start: next life again */
	r.incarnation = test_id('x', 9);
	ctrl_register(&st, &r, &ans);
	refused(-ESTALE, "rolled-back or cloned disk");
	assert_int_equal(st.map.hdr.servers_n, 1);
}

static void test_a_cloned_disk_lets_only_one_of_the_two_go_on(void **state)
{
	struct wire_register clone, original = test_registration(1, 1);

	(void)state;
	registers(1, 1);
	clone = test_registration(1, 2);
	ctrl_register(&st, &clone, &ans);
	assert_int_equal(ans.status, 0);
	ctrl_register(&st, &original, &ans);
	refused(-ESTALE, "cloned disk");
}

static void registers_live(uint8_t n, uint8_t life, uint64_t last)
{
	const struct wire_register r = test_registration(n, life);
	const struct wire_report rep = {.chain = 1, .last = last};
	static struct ctrl_state next;

	next = st;
	ctrl_register(&next, &r, &ans);
	assert_int_equal(ans.status, 0);
	ctrl_register_live(&st, &live, &r, &rep, 1, &ans);
}

static void test_a_store_that_a_running_daemon_has_is_not_given_to_another(void **state)
{
	(void)state;
	registers(1, 1);
	live.now_ns += CTRL_SILENT_NS - 1;
	registers_live(1, 2, 0);
	refused(-EBUSY, "a running daemon has this store");
	registers_live(1, 1, 0); /* itself, over another connection */
	assert_int_equal(ans.status, 0);
	live.now_ns++; /* silent for too long: its machine may be gone */
	registers_live(1, 2, 0);
	assert_int_equal(ans.status, 0);
	live.now_ns--;
	live.servers[0].connected = false;
	registers_live(1, 2, 0);
	assert_int_equal(ans.status, 0);
}

static void test_a_copy_made_since_the_last_start_is_refused(void **state)
{
	const struct wire_report seen = {.chain = 1, .last = 90, .known = 70};

	(void)state;
	registers(1, 1);
	ctrl_live_reports(&live.servers[0], &seen, 1);
	live.servers[0].connected = false;
	registers_live(1, 2, 69);
	refused(-ESTALE, "rolled-back or cloned disk: its log of chain 1 ends at 69");
	registers_live(1, 2, 70); /* what was not committed may be lost */
	assert_int_equal(ans.status, 0);
}

static void test_a_taken_or_wrong_name_and_a_wrong_address_are_refused(void **state)
{
	struct wire_register r = test_registration(2, 1);

	(void)state;
	registers(1, 1);
	snprintf(r.name, sizeof(r.name), "s1");
	ctrl_register(&st, &r, &ans);
	refused(-EEXIST, "another store is registered under this name");
	snprintf(r.name, sizeof(r.name), "../s2");
	ctrl_register(&st, &r, &ans);
	refused(-EINVAL, "not a valid name");
	r = test_registration(2, 1);
	snprintf(r.addrs[0], ADDR_BYTES, "nowhere");
	ctrl_register(&st, &r, &ans);
	refused(-EINVAL, "nowhere");
}

static void test_cluster_init_needs_servers_that_are_there(void **state)
{
	(void)state;
	admin(ADMIN_CLUSTER_INIT, "", 0, 0);
	refused(-ENOTCONN, "no server has registered");
	registers(1, 1);
	registers(2, 1);
	admin(ADMIN_CLUSTER_INIT, "", 3, 0);
	refused(-EINVAL, "3 replicas need as many servers, 2 are registered");
	live.servers[1].connected = false;
	admin(ADMIN_CLUSTER_INIT, "", 0, 0);
	refused(-ENOTCONN, "server s2 is registered and not connected");
}

static void test_cluster_init_makes_two_copies_by_default_and_only_once(void **state)
{
	(void)state;
	three_servers(0);
	assert_int_equal(ans.value, 36);
	assert_int_equal(st.map.hdr.chains_n, 36);
	assert_int_equal(st.map.chains[0].in_n, 2);
	assert_int_equal(st.map.chains[35].id, 36);
	assert_int_equal(st.map.chains[0].epoch, 1);
	admin(ADMIN_CLUSTER_INIT, "", 0, 0);
	refused(-EEXIST, "36 chains already");
}

static void test_cluster_init_refuses_more_replicas_than_a_server_can_hold(void **state)
{
	(void)state;
	registers(1, 1);
	admin(ADMIN_CLUSTER_INIT, "", 1, 300);
	refused(-EINVAL, "a server can hold 256 replicas");
	admin(ADMIN_CLUSTER_INIT, "", 1, 513);
	refused(-EINVAL, "at most 512");
	admin(ADMIN_CLUSTER_INIT, "", 1, 5);
	assert_int_equal(ans.status, 0);
	assert_int_equal(st.map.hdr.chains_n, 5);
}

static void test_a_volume_gets_lanes_over_all_chains_and_whole_blocks(void **state)
{
	const struct map_volume *v;
	uint32_t seen[25] = {0};

	(void)state;
	three_servers(3);
	admin(ADMIN_VOLUME_CREATE, "vol0", 10001, 0);
	assert_int_equal(ans.status, 0);
	assert_non_null(strstr(ans.text, "rounded up to 12288"));
	v = chain_map_volume_named(&st.map, "vol0");
	assert_non_null(v);
	assert_int_equal(v->id, 1);
	assert_int_equal(v->size_bytes, 12288);
	assert_int_equal(v->sector_bytes, 512);
	assert_int_equal(v->lanes_n, 24);
	assert_int_equal(v->min_in, 2);
	for (uint64_t x = 0; x < 24; x++)
		seen[map_volume_lane(v, x)]++;
	for (uint32_t i = 1; i <= 24; i++)
		assert_int_equal(seen[i], 1);
}

static void test_volumes_of_a_cluster_with_many_chains_use_them_all(void **state)
{
	uint32_t seen[37] = {0};

	(void)state;
	three_servers(2);
	for (unsigned i = 0; i < 9; i++) {
		char name[8];

		snprintf(name, sizeof(name), "v%u", i);
		admin(ADMIN_VOLUME_CREATE, name, 1 << 20, 4096);
		assert_int_equal(ans.status, 0);
		assert_int_equal(st.map.volumes[i].lanes_n, 32);
		for (uint32_t l = 0; l < 32; l++)
			seen[st.map.volumes[i].lanes[l]]++;
	}
	for (uint32_t c = 1; c <= 36; c++)
		assert_int_equal(seen[c], 8);
}

static void test_wrong_volumes_are_refused_and_change_nothing(void **state)
{
	(void)state;
	admin(ADMIN_VOLUME_CREATE, "vol0", 4096, 0);
	refused(-ENOTCONN, "cluster init");
	three_servers(3);
	admin(ADMIN_VOLUME_CREATE, "../x", 4096, 0);
	refused(-EINVAL, "not a valid name");
	admin(ADMIN_VOLUME_CREATE, "", 4096, 0);
	refused(-EINVAL, "not a valid name");
	admin(ADMIN_VOLUME_CREATE, "vol0", 0, 0);
	refused(-EINVAL, "size");
	admin(ADMIN_VOLUME_CREATE, "vol0", VOLUME_BYTES_MAX + 1, 0);
	refused(-EINVAL, "size");
	admin(ADMIN_VOLUME_CREATE, "vol0", 4096, 1024);
	refused(-EINVAL, "512 or 4096");
	assert_int_equal(st.map.hdr.volumes_n, 0);
	admin(ADMIN_VOLUME_CREATE, "vol0", VOLUME_BYTES_MAX, 4096);
	assert_int_equal(ans.status, 0);
	admin(ADMIN_VOLUME_CREATE, "vol0", 4096, 0);
	refused(-EEXIST, "taken");
}

static void test_the_257th_volume_is_refused(void **state)
{
	char name[16];

	(void)state;
	three_servers(3);
	for (unsigned i = 0; i < VOLUMES_MAX; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		admin(ADMIN_VOLUME_CREATE, name, 4096, 0);
		assert_int_equal(ans.status, 0);
	}
	admin(ADMIN_VOLUME_CREATE, "onemore", 4096, 0);
	refused(-ENOSPC, "256 volumes");
}

static void test_resize_grows_only(void **state)
{
	(void)state;
	three_servers(3);
	admin(ADMIN_VOLUME_CREATE, "vol0", 8192, 0);
	admin(ADMIN_VOLUME_RESIZE, "vol0", 20000, 0);
	assert_int_equal(ans.status, 0);
	assert_true(ans.changed);
	assert_int_equal(st.map.volumes[0].size_bytes, 20480);
	admin(ADMIN_VOLUME_RESIZE, "vol0", 20480, 0);
	assert_int_equal(ans.status, 0);
	assert_false(ans.changed);
	admin(ADMIN_VOLUME_RESIZE, "vol0", 4096, 0);
	refused(-EINVAL, "cannot shrink");
	admin(ADMIN_VOLUME_RESIZE, "vol0", UINT64_MAX, 0);
	refused(-EINVAL, "1024T");
	admin(ADMIN_VOLUME_RESIZE, "none", 4096, 0);
	refused(-ENOENT, "none of this name");
	assert_int_equal(st.map.volumes[0].size_bytes, 20480);
}

static void test_deleting_is_refused_while_in_use_and_needs_the_mark_first(void **state)
{
	(void)state;
	three_servers(3);
	admin(ADMIN_VOLUME_CREATE, "vol0", 8192, 0);
	admin(ADMIN_VOLUME_CREATE, "vol1", 8192, 0);
	admin(ADMIN_VOLUME_DELETE, "vol0", 0, 0);
	refused(-EINVAL, "not marked");
	live.opens = 2;
	admin(ADMIN_VOLUME_DELETING, "vol0", 0, 0);
	refused(-EBUSY, "2 clients have it open");
	live.opens = 0;
	live.started_ns = live.now_ns - SEC;
	admin(ADMIN_VOLUME_DELETING, "vol0", 0, 0);
	refused(-EAGAIN, "just started");
	live.started_ns = 0;
	admin(ADMIN_VOLUME_DELETING, "vol0", 0, 0);
	assert_true(ans.changed);
	admin(ADMIN_VOLUME_DELETING, "vol0", 0, 0); /* the same command again */
	assert_int_equal(ans.status, 0);
	admin(ADMIN_VOLUME_RESIZE, "vol0", 1 << 20, 0);
	refused(-ENOENT, "being deleted");
	admin(ADMIN_VOLUME_DELETE, "vol0", 0, 0);
	assert_true(ans.changed);
	assert_int_equal(st.map.hdr.volumes_n, 1);
	assert_string_equal(st.map.volumes[0].name, "vol1");
	admin(ADMIN_VOLUME_CREATE, "vol0", 8192, 0);
	assert_int_equal(ans.value, 3); /* ids are never used again */
}

static void open_volume(const char *name, uint32_t flags)
{
	struct wire_open req = {.flags = flags};

	snprintf(req.name, sizeof(req.name), "%s", name);
	ctrl_open(&st, &req, &ans);
}

static void test_open_finds_normal_volumes_and_deleters_find_marked_ones(void **state)
{
	(void)state;
	three_servers(3);
	admin(ADMIN_VOLUME_CREATE, "vol0", 8192, 0);
	open_volume("vol0", 0);
	assert_int_equal(ans.status, 0);
	assert_int_equal(ans.value, 1);
	open_volume("vol0", WIRE_OPEN_DELETING);
	refused(-EINVAL, "not being deleted");
	open_volume("vol1", 0);
	refused(-ENOENT, "none of this name");
	admin(ADMIN_VOLUME_DELETING, "vol0", 0, 0);
	open_volume("vol0", 0);
	refused(-ENOENT, "being deleted");
	open_volume("vol0", WIRE_OPEN_DELETING);
	assert_int_equal(ans.status, 0);
}

static void test_state_survives_encoding_and_wrong_states_are_named(void **state)
{
	static struct ctrl_state back;
	static uint8_t bytes[CTRL_STATE_BYTES_MAX + 1];
	const char *why = NULL;
	size_t len;

	(void)state;
	three_servers(2);
	admin(ADMIN_VOLUME_CREATE, "vol0", 1 << 20, 0);
	len = ctrl_encoded_bytes(&st);
	ctrl_encode(&st, bytes);
	assert_int_equal(ctrl_decode(bytes, len, &back, &why), 0);
	assert_memory_equal(&back, &st, sizeof(st));
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(ctrl_decode(bytes, cut, &back, &why), -EPROTO);
	assert_int_equal(ctrl_decode(bytes, len + 1, &back, &why), -EPROTO);
	((struct ctrl_state_hdr *)(void *)bytes)->next_volume = 1;
	assert_int_equal(ctrl_decode(bytes, len, &back, &why), -EPROTO);
	assert_string_equal(why, "configuration: a volume id beyond its counter");
	((struct ctrl_state_hdr *)(void *)bytes)->version = 3;
	assert_int_equal(ctrl_decode(bytes, len, &back, &why), -EPROTONOSUPPORT);
}

static void test_the_first_state_has_the_bytes_it_always_had(void **state)
{
	static const uint8_t golden[72] = {
		'C', 'F', 'G', 'S', 2, 0, 0, 0, 1,   0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
		0,   0,   0,   0,   0, 0, 0, 0, 'c', 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1,   0,   0,   0,   0, 0, 0, 0, 0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	};
	uint8_t bytes[72];

	(void)state;
	assert_int_equal(ctrl_encoded_bytes(&st), sizeof(golden));
	ctrl_encode(&st, bytes);
	assert_memory_equal(bytes, golden, sizeof(golden));
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_server_gets_an_id_once_and_keeps_it_over_restarts),
		T(test_a_rolled_back_disk_is_refused),
		T(test_a_cloned_disk_lets_only_one_of_the_two_go_on),
		T(test_a_store_that_a_running_daemon_has_is_not_given_to_another),
		T(test_a_copy_made_since_the_last_start_is_refused),
		T(test_a_taken_or_wrong_name_and_a_wrong_address_are_refused),
		T(test_cluster_init_needs_servers_that_are_there),
		T(test_cluster_init_makes_two_copies_by_default_and_only_once),
		T(test_cluster_init_refuses_more_replicas_than_a_server_can_hold),
		T(test_a_volume_gets_lanes_over_all_chains_and_whole_blocks),
		T(test_volumes_of_a_cluster_with_many_chains_use_them_all),
		T(test_wrong_volumes_are_refused_and_change_nothing),
		T(test_the_257th_volume_is_refused),
		T(test_resize_grows_only),
		T(test_deleting_is_refused_while_in_use_and_needs_the_mark_first),
		T(test_open_finds_normal_volumes_and_deleters_find_marked_ones),
		T(test_state_survives_encoding_and_wrong_states_are_named),
		T(test_the_first_state_has_the_bytes_it_always_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
