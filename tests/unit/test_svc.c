/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The configuration service behind a network and a store the test plays: what it answers, what it
 * keeps to itself until it is durable, and whom it tells. */
#include "tests/unit/svc_world.h"

static void test_a_new_cluster_has_an_id_that_survives_restarts(void **state)
{
	struct id128 cluster = svc_map(svc)->hdr.cluster;

	(void)state;
	assert_false(id128_is_none(&cluster));
	assert_int_equal(w.rev, 1);
	svc_stop(svc);
	start();
	assert_true(w.is_ready);
	assert_true(id128_eq(&svc_map(svc)->hdr.cluster, &cluster));
	assert_int_equal(w.rev, 1);
}

static void test_nobody_is_told_before_it_is_durable(void **state)
{
	struct env_conn *s[3], *ctl, *client;
	uint64_t version;

	(void)state;
	cluster_of_three(s, &ctl);
	client = dial(ROLE_CLIENT, "client");
	ask_map(client, ROLE_CLIENT);
	expect(client, WIRE_MAP, NULL);
	drain(s[0]);
	version = svc_map(svc)->hdr.version;
	w.hold = true;
	admin(ctl, ADMIN_VOLUME_RESIZE, "vol0", 4 << 20, 0);
	pass(2 * SEC);
	assert_null(fake_conn_take(ctl));
	assert_null(fake_conn_take(client));
	assert_null(fake_conn_take(s[0]));
	assert_int_equal(svc_map(svc)->hdr.version, version);
	store_finish(0);
	run();
	expect(ctl, WIRE_ADMIN_REPLY, NULL);
	expect(client, WIRE_MAP, NULL);
	expect(s[0], WIRE_MAP, NULL);
	assert_int_equal(svc_map(svc)->hdr.version, version + 1);
	assert_int_equal(svc_map(svc)->volumes[0].size_bytes, 4 << 20);
	w.hold = false;
}

static void test_a_store_that_fails_changes_nothing(void **state)
{
	struct env_conn *s[3], *ctl;
	struct frame *f;

	(void)state;
	cluster_of_three(s, &ctl);
	w.hold = true;
	admin(ctl, ADMIN_VOLUME_CREATE, "vol1", 4096, 0);
	store_finish(-EIO);
	run();
	expect(ctl, WIRE_ADMIN_REPLY, &f);
	assert_int_equal(BODY(wire_admin_reply, f)->status, -EIO);
	assert_non_null(strstr(BODY(wire_admin_reply, f)->text, "could not be written"));
	assert_int_equal(svc_map(svc)->hdr.volumes_n, 1);
	w.hold = false;
	assert_int_equal(admin(ctl, ADMIN_VOLUME_CREATE, "vol1", 4096, 0)->value, 2);
}

static void
test_another_service_that_wrote_first_is_obeyed_and_the_request_decided_anew(void **state)
{
	static struct ctrl_state other;
	struct env_conn *s[3], *ctl;
	struct wire_admin req = {.op = ADMIN_VOLUME_CREATE, .arg0 = 4096, .name = "vol1"};
	static struct ctrl_live live;
	struct ctrl_answer a;
	const char *why;

	(void)state;
	cluster_of_three(s, &ctl);
	assert_int_equal(ctrl_decode(w.kept, w.kept_len, &other, &why), 0);
	ctrl_admin(&other, &req, &live, &a);
	other.map.hdr.version++;
	ctrl_encode(&other, w.kept);
	w.kept_len = ctrl_encoded_bytes(&other);
	w.rev++;
	assert_int_equal(admin(ctl, ADMIN_VOLUME_CREATE, "vol1", 4096, 0)->status, -EEXIST);
	assert_int_equal(admin(ctl, ADMIN_VOLUME_CREATE, "vol2", 4096, 0)->value, 3);
	assert_int_equal(svc_map(svc)->hdr.volumes_n, 3);
}

static void test_chains_form_again_by_themselves_when_all_servers_restarted(void **state)
{
	struct env_conn *s[3], *ctl;

	(void)state;
	cluster_of_three(s, &ctl);
	for (uint8_t n = 1; n <= 3; n++)
		hang_up(s[n - 1]);
	for (uint8_t n = 1; n <= 3; n++) {
		assert_int_equal(svc_map(svc)->chains[0].epoch, 1);
		s[n - 1] = server(n, 2, 10);
	}
	assert_int_equal(svc_map(svc)->chains[0].epoch, 2);
	assert_int_equal(svc_map(svc)->chains[23].epoch, 2);
	svc_check(svc);
}

static void test_status_tells_servers_and_reasons(void **state)
{
	struct env_conn *s[3], *ctl;
	const struct status_chain *chain;
	struct status_server srv;
	struct status_hdr h;
	struct frame *f;

	(void)state;
	cluster_of_three(s, &ctl);
	hang_up(s[1]);
	w.now_ns += 3 * SEC;
	f = frame_new(&w.frames, WIRE_ADMIN, sizeof(struct wire_admin));
	BODY(wire_admin, f)->op = ADMIN_STATUS;
	deliver(ctl, f, ROLE_ADMIN);
	expect(ctl, WIRE_ADMIN_REPLY, &f);
	assert_int_equal(BODY(wire_admin_reply, f)->status, 0);
	memcpy(&h, f->data->data, sizeof(h));
	assert_int_equal(h.servers_n, 3);
	assert_int_equal(h.chains_n, 24);
	assert_int_equal(h.map_version, svc_map(svc)->hdr.version);
	assert_int_equal(f->data->len_bytes, sizeof(h) + 3 * sizeof(srv) + 24 * sizeof(*chain));
	memcpy(&srv, f->data->data + sizeof(h) + sizeof(srv), sizeof(srv));
	assert_int_equal(srv.connected, 0);
	assert_int_equal(srv.silent_ms, 3000);
	assert_int_equal(srv.report.bytes_total, 10ull << 30);
	chain = (const struct status_chain *)(const void *)(f->data->data + sizeof(h) +
							    3 * sizeof(srv));
	assert_int_equal(chain->up, 0);
	assert_string_equal(chain->reason, "s2 is not connected since 3 s: start it");
}

static void test_a_volume_in_use_is_not_deleted(void **state)
{
	struct env_conn *s[3], *ctl, *client, *deleter;

	(void)state;
	cluster_of_three(s, &ctl);
	client = dial(ROLE_CLIENT, "client");
	assert_int_equal(open_volume(client, "vol0", 0)->status, 0);
	assert_int_equal(admin(ctl, ADMIN_VOLUME_DELETING, "vol0", 0, 0)->status, -EBUSY);
	hang_up(client);
	assert_int_equal(admin(ctl, ADMIN_VOLUME_DELETING, "vol0", 0, 0)->status, 0);
	client = dial(ROLE_CLIENT, "client");
	assert_int_equal(open_volume(client, "vol0", 0)->status, -ENOENT);
	deleter = dial(ROLE_CLIENT, "chainctl");
	assert_int_equal(open_volume(deleter, "vol0", WIRE_OPEN_DELETING)->status, 0);
	assert_int_equal(admin(ctl, ADMIN_VOLUME_DELETE, "vol0", 0, 0)->status, 0);
	assert_int_equal(svc_map(svc)->hdr.volumes_n, 0);
}

static void test_an_open_waits_for_the_deletion_before_it(void **state)
{
	struct env_conn *s[3], *ctl, *client;
	struct frame *f;

	(void)state;
	cluster_of_three(s, &ctl);
	client = dial(ROLE_CLIENT, "client");
	w.hold = true;
	admin(ctl, ADMIN_VOLUME_DELETING, "vol0", 0, 0);
	f = frame_new(&w.frames, WIRE_OPEN, sizeof(struct wire_open));
	snprintf(BODY(wire_open, f)->name, NAME_BYTES, "vol0");
	deliver(client, f, ROLE_CLIENT);
	assert_null(fake_conn_take(client));
	w.hold = false;
	store_finish(0);
	run();
	expect(client, WIRE_OPENED, &f);
	assert_int_equal(BODY(wire_opened, f)->status, -ENOENT);
}

static void test_a_server_that_registers_again_ends_its_old_connection(void **state)
{
	struct env_conn *old = server(1, 1, 0), *now;
	struct frame *f;

	(void)state;
	now = server(1, 1, 0);
	assert_false(old->open);
	expect(old, WIRE_ERROR, &f);
	assert_int_equal(BODY(wire_error, f)->code, -ESTALE);
	assert_true(now->open);
	svc_check(svc);
}

static void test_a_refused_server_is_told_why_and_let_go(void **state)
{
	struct env_conn *c;
	struct frame *f;

	(void)state;
	hang_up(server(1, 1, 0));
	server(1, 2, 0);
	c = dial(ROLE_NODE, "clone");
	send_register(c, 1, 3, 0);
	expect(c, WIRE_ERROR, &f);
	assert_int_equal(BODY(wire_error, f)->code, -EBUSY);
	c = dial(ROLE_NODE, "old copy");
	send_register(c, 1, 4, 0);
	expect(c, WIRE_ERROR, &f);
	assert_non_null(strstr(BODY(wire_error, f)->text, "rolled-back or cloned disk"));
	assert_false(c->open);
	assert_int_equal(svc_map(svc)->servers[0].incarnation.b[1], 2);
}

static void test_what_a_role_may_not_send_ends_the_connection(void **state)
{
	struct env_conn *c = dial(ROLE_CLIENT, "client");
	struct frame *f = frame_new(&w.frames, WIRE_ADMIN, sizeof(struct wire_admin));

	(void)state;
	BODY(wire_admin, f)->op = ADMIN_CLUSTER_INIT;
	deliver(c, f, ROLE_ADMIN);
	expect(c, WIRE_ERROR, &f);
	assert_int_equal(BODY(wire_error, f)->code, -EPERM);
	assert_string_equal(BODY(wire_error, f)->text, "client: a client may not send ADMIN");
	assert_false(c->open);
}

static void test_who_says_nothing_for_five_seconds_is_let_go(void **state)
{
	struct env_conn *c = call();

	(void)state;
	pass(4 * SEC);
	assert_true(c->open);
	pass(2 * SEC);
	assert_false(c->open);
	expect(c, WIRE_ERROR, NULL);
}

static void test_a_connection_lost_during_its_own_transaction_is_answered_to_nobody(void **state)
{
	struct env_conn *s[3], *ctl;

	(void)state;
	cluster_of_three(s, &ctl);
	w.hold = true;
	admin(ctl, ADMIN_VOLUME_CREATE, "vol1", 4096, 0);
	hang_up(ctl);
	w.hold = false;
	store_finish(0);
	run();
	assert_int_equal(svc_map(svc)->hdr.volumes_n, 2);
	svc_check(svc);
}

static void test_a_map_that_finds_no_buffer_is_sent_when_there_is_one(void **state)
{
	struct env_conn *s[3], *ctl, *client;
	struct buf *taken[16];
	unsigned n = 0;

	(void)state;
	cluster_of_three(s, &ctl);
	client = dial(ROLE_CLIENT, "client");
	for (unsigned i = 0; i < 3; i++)
		drain(s[i]);
	while (n < 16 && (taken[n] = buf_get(&w.bufs, 1, BUF_NODE)))
		n++;
	assert_int_equal(admin(ctl, ADMIN_VOLUME_CREATE, "vol1", 4096, 0)->status, 0);
	ask_map(client, ROLE_CLIENT);
	assert_null(fake_conn_take(client));
	while (n > 0)
		buf_put(taken[--n]);
	pass(SEC);
	expect(client, WIRE_MAP, NULL);
	expect(s[2], WIRE_MAP, NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_new_cluster_has_an_id_that_survives_restarts),
		T(test_nobody_is_told_before_it_is_durable),
		T(test_a_store_that_fails_changes_nothing),
		T(test_another_service_that_wrote_first_is_obeyed_and_the_request_decided_anew),
		T(test_chains_form_again_by_themselves_when_all_servers_restarted),
		T(test_status_tells_servers_and_reasons),
		T(test_a_volume_in_use_is_not_deleted),
		T(test_an_open_waits_for_the_deletion_before_it),
		T(test_a_server_that_registers_again_ends_its_old_connection),
		T(test_a_refused_server_is_told_why_and_let_go),
		T(test_what_a_role_may_not_send_ends_the_connection),
		T(test_who_says_nothing_for_five_seconds_is_let_go),
		T(test_a_connection_lost_during_its_own_transaction_is_answered_to_nobody),
		T(test_a_map_that_finds_no_buffer_is_sent_when_there_is_one),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	free(w.memory);
	return rc;
}
