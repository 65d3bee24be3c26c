/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The client as its user sees it: open, requests, resize, deletion, outages, stop. */
#include <errno.h>

#include "tests/unit/client_test.h"

static void test_client_opens_through_the_second_address_of_each_server(void **state)
{
	struct fake_cluster *k = cluster_open(2); /* the first ones are "elsewhere" */

	(void)state;
	assert_int_equal(client_volume(k->client)->id, FAKE_VOLUME_ID);
	assert_int_equal(client_map(k->client)->hdr.servers_n, 3);
	for (uint32_t i = 0; i <= FAKE_SERVERS_MAX; i++)
		assert_non_null(k->peers[i].conn);
	fake_cluster_fini(k);
}

static void test_client_open_of_an_unknown_volume_says_so(void **state)
{
	struct fake_cluster *k = fake_cluster_init(&(struct fake_cluster_config){.seed = 1});

	(void)state;
	k->map->hdr.volumes_n = 0;
	fake_open(k);
	assert_int_equal(k->opened, -ENOENT);
	assert_string_equal(k->opened_why, "no volume of that name");
	fake_cluster_fini(k);
}

static void test_client_open_without_a_configuration_service_ends_at_its_deadline(void **state)
{
	struct fake_cluster *k = fake_cluster_init(&(struct fake_cluster_config){.seed = 1});

	(void)state;
	k->peers[0].refuse = true;
	fake_open(k);
	assert_int_equal(k->opened, 1);
	fake_pass(k, 5000 * MS);
	assert_int_equal(k->opened, -ENOTCONN);
	assert_non_null(strstr(k->opened_why, "cfg:1: connection reset"));
	fake_cluster_fini(k);
}

static void test_client_open_waits_for_a_service_that_comes_late(void **state)
{
	struct fake_cluster *k = fake_cluster_init(&(struct fake_cluster_config){.seed = 1});

	(void)state;
	k->peers[0].refuse = true;
	fake_open(k);
	fake_pass(k, 2000 * MS);
	k->peers[0].refuse = false;
	fake_pass(k, 1000 * MS);
	assert_int_equal(k->opened, 0);
	fake_cluster_fini(k);
}

static int submit(struct fake_cluster *k, enum client_kind kind, uint64_t offset, uint64_t len,
		  uint64_t buf_len)
{
	struct buf *b = buf_get(&k->net->bufs, (uint32_t)buf_len, BUF_NODE);
	struct client_req r = {.kind = kind, .offset_bytes = offset, .len_bytes = len, .data = b};
	int rc = client_submit(k->client, &r);

	buf_put(b);
	return rc;
}

static void test_client_refuses_what_does_not_fit(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	const uint64_t end = (uint64_t)FAKE_EXTENTS * EXTENT_BYTES;

	(void)state;
	assert_int_equal(submit(k, CLIENT_WRITE, 100, 512, 512), -EINVAL);
	assert_int_equal(submit(k, CLIENT_WRITE, 0, 0, 512), -EINVAL);
	assert_int_equal(submit(k, CLIENT_WRITE, 0, 1024, 512), -EINVAL);
	assert_int_equal(submit(k, CLIENT_WRITE_SAME, 512, 4096, 4096), -EINVAL);
	assert_int_equal(submit(k, CLIENT_CAW, EXTENT_BYTES - 512, 1024, 2048), -EINVAL);
	assert_int_equal(submit(k, CLIENT_CAW, 512, 32768, 65536), -EINVAL);
	assert_int_equal(submit(k, CLIENT_READ, end, 512, 512), -ENXIO);
	assert_int_equal(submit(k, CLIENT_READ, end - 512, 1024, 1024), -ENXIO);
	assert_int_equal(submit(k, CLIENT_UNMAP, 0, UINT64_MAX - 511, 512), -ENXIO);
	fake_cluster_fini(k);
}

static void test_client_refuses_more_requests_than_it_has_room_for(void **state)
{
	struct fake_cluster *k = fake_cluster_init(
		&(struct fake_cluster_config){.seed = 1, .reqs_max = 3, .parts_max = 2});
	struct fake_req *q[4];

	(void)state;
	fake_open(k);
	k->hold_commits = true;
	for (unsigned i = 0; i < 4; i++)
		q[i] = fake_req(k, CLIENT_WRITE, 4096 * i, 4096, 'a');
	for (unsigned i = 0; i < 3; i++)
		fake_submit(q[i]);
	assert_int_equal(client_submit(k->client, &q[3]->r), -EAGAIN);
	k->hold_commits = false;
	fake_settle(k);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(result(q[i]), 0);
	fake_submit(q[3]);
	for (unsigned i = 0; i < 4; i++)
		fake_req_free(q[i]);
	fake_cluster_fini(k);
}

static void test_client_ragged_writes_and_reads_meet(void **state)
{
	struct fake_cluster *k = cluster_open(3);
	uint64_t offset = EXTENT_BYTES - 5 * 512, len = 9 * 4096 + 512;

	(void)state;
	assert_int_equal(run(k, CLIENT_WRITE, offset, len, 'a'), 0);
	assert_true(filled(k->disk + offset, 'a', len));
	assert_true(filled(k->disk, 0, offset));
	assert_true(filled(k->disk + offset + len, 0, EXTENT_BYTES));
	fake_cluster_fini(k);
}

static void test_client_unmap_and_write_same_reach_over_the_volume(void **state)
{
	struct fake_cluster *k = cluster_open(2);
	const uint64_t all = (uint64_t)FAKE_EXTENTS * EXTENT_BYTES;

	(void)state;
	assert_int_equal(run(k, CLIENT_WRITE_SAME, 0, all, 'p'), 0);
	assert_true(filled(k->disk, 'p', all));
	assert_int_equal(run(k, CLIENT_UNMAP, 512, all - 1024, 0), 0);
	assert_true(filled(k->disk, 'p', 4096)); /* ragged ends stay */
	assert_true(filled(k->disk + 4096, 0, all - 8192));
	assert_true(filled(k->disk + all - 4096, 'p', 4096));
	assert_int_equal(run(k, CLIENT_UNMAP, 512, 1024, 0), 0); /* nothing whole inside */
	fake_cluster_fini(k);
}

static void test_client_compare_and_write_reports_where_it_differs(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_CAW, 1024, 1024, 0);

	(void)state;
	memset(q->r.data->data + 1024, 'n', 1024);
	fake_submit(q);
	assert_int_equal(result(q), 0);
	assert_true(filled(k->disk + 1024, 'n', 1024));
	fake_req_free(q);

	q = fake_req(k, CLIENT_CAW, 1024, 1024, 'n');
	q->r.data->data[77] = 0;
	fake_submit(q);
	assert_int_equal(result(q), -EILSEQ);
	assert_int_equal(q->r.miscompare_offset, 77);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_client_goes_on_without_the_configuration_service(void **state)
{
	struct fake_cluster *k = cluster_open(2);

	(void)state;
	k->peers[0].refuse = true;
	fake_cut(k, 0);
	assert_int_equal(run(k, CLIENT_WRITE, 0, 65536, 'a'), 0);
	fake_cut(k, 1);
	fake_pass(k, 1000 * MS);
	assert_int_equal(run(k, CLIENT_READ, 0, 65536, 0), 0);
	fake_cluster_fini(k);
}

static void test_client_hears_of_a_resize_and_uses_it(void **state)
{
	struct fake_cluster *k = cluster_open(1);

	(void)state;
	k->map->volumes[0].size_bytes -= EXTENT_BYTES;
	fake_publish(k);
	assert_int_equal(k->events_n, 1);
	assert_int_equal(k->events[0], CLIENT_EVENT_RESIZED);
	assert_int_equal(submit(k, CLIENT_READ, 3ull * EXTENT_BYTES, 512, 512), -ENXIO);
	k->map->volumes[0].size_bytes += EXTENT_BYTES;
	fake_publish(k);
	assert_int_equal(run(k, CLIENT_WRITE, 3ull * EXTENT_BYTES, 4096, 'a'), 0);
	fake_cluster_fini(k);
}

static void test_client_of_a_deleted_volume_fails_everything(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');

	(void)state;
	k->hold_commits = true;
	fake_submit(q);
	k->map->hdr.volumes_n = 0;
	fake_publish(k);
	assert_int_equal(result(q), -ENOENT);
	assert_int_equal(k->events[0], CLIENT_EVENT_DELETED);
	assert_int_equal(submit(k, CLIENT_READ, 0, 512, 512), -ENOENT);
	k->hold_commits = false;
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_client_tells_of_a_stall_and_of_its_end(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');

	(void)state;
	k->hold_commits = true;
	fake_submit(q);
	fake_pass(k, 900 * MS);
	assert_int_equal(k->events_n, 0);
	fake_pass(k, 600 * MS);
	assert_int_equal(k->events_n, 1);
	assert_int_equal(k->events[0], CLIENT_EVENT_STALLED);
	k->hold_commits = false;
	fake_pass(k, 300 * MS);
	assert_int_equal(result(q), 0);
	assert_int_equal(k->events_n, 2);
	assert_int_equal(k->events[1], CLIENT_EVENT_RESUMED);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_client_waits_for_a_buffer_to_copy_into(void **state)
{
	struct fake_cluster *k = cluster_open(2);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, EXTENT_BYTES - 65536, 131072, 'a');
	struct buf *taken[64];
	uint32_t n = 0;

	(void)state;
	while ((taken[n] = buf_get(&k->net->bufs, OP_BYTES_MAX, BUF_NODE)))
		n++;
	fake_submit(q); /* crosses a border: two copies of 64 KiB */
	fake_pass(k, 100 * MS);
	assert_int_equal(result(q), 1);
	buf_put(taken[--n]);
	fake_pass(k, 100 * MS);
	assert_int_equal(result(q), 0);
	assert_true(filled(k->disk + EXTENT_BYTES - 65536, 'a', 131072));
	while (n)
		buf_put(taken[--n]);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_client_waits_for_frames(void **state)
{
	struct fake_cluster *k = cluster_open(2);
	struct fake_req *w = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');
	struct fake_req *r = fake_req(k, CLIENT_READ, 0, 4096, 'a');
	struct list taken;
	struct frame *f;

	(void)state;
	list_init(&taken);
	while ((f = frame_new(&k->net->frames, WIRE_MAP_GET, 0)))
		list_add_tail(&taken, &f->link);
	assert_int_equal(client_submit(k->client, &w->r), 0);
	assert_int_equal(client_submit(k->client, &r->r), 0);
	fake_run(k->net);
	for (int i = 0; i < 100; i++) {
		fake_advance(k->net, 1 * MS);
		client_check(k->client);
	}
	assert_string_equal(fake_trace(k), "");
	while (!list_empty(&taken))
		frame_put(CONTAINER_OF(list_pop(&taken), struct frame, link));
	fake_pass(k, 100 * MS);
	assert_int_equal(result(w), 0);
	assert_int_equal(result(r), 0);
	fake_req_free(w);
	fake_req_free(r);
	fake_cluster_fini(k);
}

static void test_client_one_huge_request_leaves_parts_for_the_others(void **state)
{
	struct fake_cluster *k = fake_cluster_init(
		&(struct fake_cluster_config){.seed = 1, .chains_n = 2, .parts_max = 4});
	struct fake_req *all, *one;

	(void)state;
	fake_open(k);
	k->hold_commits = true;
	all = fake_req(k, CLIENT_UNMAP, 0, (uint64_t)FAKE_EXTENTS * EXTENT_BYTES, 0);
	one = fake_req(k, CLIENT_READ, EXTENT_BYTES, 4096, 0);
	fake_submit(all);
	fake_submit(one);
	assert_int_equal(result(one), 0);
	assert_int_equal(result(all), 1);
	k->hold_commits = false;
	fake_pass(k, 10 * MS);
	assert_int_equal(result(all), 0);
	fake_req_free(all);
	fake_req_free(one);
	fake_cluster_fini(k);
}

static void test_client_stop_waits_for_requests_then_closes_every_lane(void **state)
{
	struct fake_cluster *k = cluster_open(2);

	(void)state;
	assert_int_equal(run(k, CLIENT_WRITE, EXTENT_BYTES - 4096, 8192, 'a'), 0);
	(void)fake_trace(k);
	for (uint32_t i = 0; i < 2; i++)
		assert_false(k->chains[i].closed);
	fake_cluster_stop(k);
	assert_string_equal(fake_trace(k), " CLOSE 1/3;  CLOSE 1/3; ");
	for (uint32_t i = 0; i < 2; i++)
		assert_true(k->chains[i].closed);
	fake_cluster_fini(k);
}

static void test_client_stop_ends_although_nobody_answers(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');

	(void)state;
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'a'), 0);
	q->r.deadline_ns = k->net->clock.now_ns + 100 * MS;
	for (uint32_t i = 0; i <= FAKE_SERVERS_MAX; i++)
		k->peers[i].refuse = true;
	fake_submit(q);
	fake_cluster_stop(k); /* the request's deadline, then the time for CLOSE */
	assert_int_equal(result(q), -ETIMEDOUT);
	assert_true(k->closed);
	fake_req_free(q);
	fake_cluster_fini(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_opens_through_the_second_address_of_each_server),
		cmocka_unit_test(test_client_open_of_an_unknown_volume_says_so),
		cmocka_unit_test(
			test_client_open_without_a_configuration_service_ends_at_its_deadline),
		cmocka_unit_test(test_client_open_waits_for_a_service_that_comes_late),
		cmocka_unit_test(test_client_refuses_what_does_not_fit),
		cmocka_unit_test(test_client_refuses_more_requests_than_it_has_room_for),
		cmocka_unit_test(test_client_ragged_writes_and_reads_meet),
		cmocka_unit_test(test_client_unmap_and_write_same_reach_over_the_volume),
		cmocka_unit_test(test_client_compare_and_write_reports_where_it_differs),
		cmocka_unit_test(test_client_goes_on_without_the_configuration_service),
		cmocka_unit_test(test_client_hears_of_a_resize_and_uses_it),
		cmocka_unit_test(test_client_of_a_deleted_volume_fails_everything),
		cmocka_unit_test(test_client_tells_of_a_stall_and_of_its_end),
		cmocka_unit_test(test_client_waits_for_a_buffer_to_copy_into),
		cmocka_unit_test(test_client_waits_for_frames),
		cmocka_unit_test(test_client_one_huge_request_leaves_parts_for_the_others),
		cmocka_unit_test(test_client_stop_waits_for_requests_then_closes_every_lane),
		cmocka_unit_test(test_client_stop_ends_although_nobody_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
