/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Reads and their proof (PROTOCOL 3, R1 and R2). */
#include <errno.h>

#include "client/core.h"
#include "tests/unit/client_test.h"

static void test_read_asks_the_tail_and_every_other_member(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_READ, 0, 8192, 'z');

	(void)state;
	memset(k->disk, 'a', 8192);
	fake_submit(q);
	assert_int_equal(result(q), 0);
	assert_true(filled(q->r.data->data, 'a', 8192));
	assert_string_equal(fake_trace(k), " CONFIRM s1 x1;  CONFIRM s2 x1;  READ s3; ");
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_confirms_are_one_message_per_server_and_turn(void **state)
{
	struct fake_cluster *k = cluster_open(3);
	struct fake_req *q[12];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
		q[i] = fake_req(k, CLIENT_READ, (i % 3) * EXTENT_BYTES, 4096, 'z');
		assert_int_equal(client_submit(k->client, &q[i]->r), 0);
	}
	fake_settle(k);
	assert_string_equal(fake_trace(k),
			    " READ s1;  READ s1;  READ s1;  READ s1;  CONFIRM s1 x2; "
			    " READ s2;  READ s2;  READ s2;  READ s2;  CONFIRM s2 x2; "
			    " READ s3;  READ s3;  READ s3;  READ s3;  CONFIRM s3 x2; ");
	for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
		assert_int_equal(result(q[i]), 0);
		fake_req_free(q[i]);
	}
	fake_cluster_fini(k);
}

static void test_read_waits_for_every_confirmation(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_READ, 0, 4096, 'z');

	(void)state;
	k->hold_confirms = true;
	fake_submit(q);
	fake_pass(k, 100 * MS);
	assert_int_equal(result(q), 1);
	k->hold_confirms = false;
	fake_settle(k);
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_is_not_proved_by_a_confirmation_asked_for_earlier(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *a = fake_req(k, CLIENT_READ, 0, 4096, 'z'), *b;

	(void)state;
	k->hold_reads = true;
	fake_submit(a); /* confirmed; its answer is held */
	b = fake_req(k, CLIENT_READ, 0, 4096, 'z');
	k->hold_confirms = true;
	k->hold_reads = false;
	fake_submit(b);
	assert_int_equal(result(a), 0);
	assert_int_equal(result(b), 1);
	k->hold_confirms = false;
	fake_settle(k);
	assert_int_equal(result(b), 0);
	fake_req_free(a);
	fake_req_free(b);
	fake_cluster_fini(k);
}

static void test_read_denied_by_a_member_is_asked_for_again(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_READ, 0, 4096, 'z');

	(void)state;
	k->deny_n = 1;
	fake_submit(q);
	fake_pass(k, 10 * MS);
	assert_int_equal(result(q), 0);
	assert_string_equal(fake_trace(k), " CONFIRM s1 x1;  CONFIRM s2 x1;  READ s3; "
					   " CONFIRM s1 x1;  CONFIRM s2 x1;  READ s3; ");
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_starts_over_under_a_new_record(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_READ, 0, 4096, 'z');

	(void)state;
	k->hold_confirms = true;
	fake_submit(q);
	fake_restart_chain(k, 1);
	k->hold_confirms = false;
	fake_publish(k);
	fake_pass(k, 1500 * MS);
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_is_not_sent_while_a_member_cannot_be_asked(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_READ, 0, 4096, 'z');

	(void)state;
	k->peers[2].refuse = true;
	fake_cut(k, 2);
	fake_submit(q);
	fake_pass(k, 1000 * MS);
	assert_int_equal(result(q), 1);
	assert_string_equal(fake_trace(k), "");
	k->peers[2].refuse = false;
	fake_pass(k, 1500 * MS);
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_again_is_tried_again(void **state)
{
	struct fake_cluster *k = cluster_open(1);

	(void)state;
	k->read_again_n = 3;
	assert_int_equal(run(k, CLIENT_READ, 0, 4096, 0), 0);
	fake_cluster_fini(k);
}

static void test_read_rotten_answer_is_asked_for_again_and_never_handed_out(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_READ, 0, 8192, 'z');

	(void)state;
	k->rot_n = 3;
	fake_submit(q);
	fake_pass(k, 50 * MS);
	assert_int_equal(result(q), 0);
	assert_true(filled(q->r.data->data, 0, 8192));
	fake_req_free(q);

	q = fake_req(k, CLIENT_READ, 0, 8192, 'z');
	k->rot_n = 4;
	fake_submit(q);
	fake_pass(k, 50 * MS);
	assert_int_equal(result(q), -EBADMSG);
	assert_true(filled(q->r.data->data, 'z', 8192));
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_below_a_block_is_cut_out_of_whole_blocks(void **state)
{
	struct fake_cluster *k = cluster_open(2);
	struct fake_req *q = fake_req(k, CLIENT_READ, EXTENT_BYTES - 512, 1024 + 4096, 'z');

	(void)state;
	for (uint32_t i = 0; i < 2 * EXTENT_BYTES / 512; i++)
		memset(k->disk + 512 * (size_t)i, (int)(i % 251), 512);
	fake_submit(q);
	assert_int_equal(result(q), 0);
	assert_memory_equal(q->r.data->data, k->disk + EXTENT_BYTES - 512, 1024 + 4096);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_read_of_a_chain_of_one_needs_no_confirmation(void **state)
{
	struct fake_cluster *k =
		fake_cluster_init(&(struct fake_cluster_config){.seed = 1, .members_n = 1});

	(void)state;
	fake_open(k);
	(void)fake_trace(k);
	assert_int_equal(run(k, CLIENT_READ, 0, 4096, 0), 0);
	assert_string_equal(fake_trace(k), " READ s1; ");
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'a'), 0);
	fake_cluster_fini(k);
}

static void test_read_present_over_several_extents_is_one_bitmap(void **state)
{
	struct fake_cluster *k = cluster_open(2);
	uint64_t first = EXTENT_BLOCKS - 11, blocks = EXTENT_BLOCKS + 40;
	struct fake_req *q = fake_req(k, CLIENT_PRESENT, first * 4096, blocks * 4096, 0xff);

	(void)state;
	for (uint64_t i = 0; i < (uint64_t)FAKE_EXTENTS * EXTENT_BLOCKS; i++)
		k->present[i] = i % 7 == 0 || i % 5 == 0;
	fake_submit(q);
	assert_int_equal(result(q), 0);
	for (uint64_t i = 0; i < blocks; i++)
		assert_int_equal(q->r.data->data[i / 8] >> (i % 8) & 1, k->present[first + i]);
	fake_req_free(q);
	fake_cluster_fini(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_asks_the_tail_and_every_other_member),
		cmocka_unit_test(test_read_confirms_are_one_message_per_server_and_turn),
		cmocka_unit_test(test_read_waits_for_every_confirmation),
		cmocka_unit_test(test_read_is_not_proved_by_a_confirmation_asked_for_earlier),
		cmocka_unit_test(test_read_denied_by_a_member_is_asked_for_again),
		cmocka_unit_test(test_read_starts_over_under_a_new_record),
		cmocka_unit_test(test_read_is_not_sent_while_a_member_cannot_be_asked),
		cmocka_unit_test(test_read_again_is_tried_again),
		cmocka_unit_test(test_read_rotten_answer_is_asked_for_again_and_never_handed_out),
		cmocka_unit_test(test_read_below_a_block_is_cut_out_of_whole_blocks),
		cmocka_unit_test(test_read_of_a_chain_of_one_needs_no_confirmation),
		cmocka_unit_test(test_read_present_over_several_extents_is_one_bitmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
