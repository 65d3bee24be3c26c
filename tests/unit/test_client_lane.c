/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Modifications: sessions, request numbers, BUSY, deadlines (PROTOCOL 2, X1 to X3, X5). The traces
 * name kind, session and number of what the heads received. */
#include <errno.h>

#include "client/core.h"
#include "tests/unit/client_test.h"

/* A chain with an open client that wrote this block. */
static struct fake_cluster *cluster_written(uint64_t offset_bytes, int byte)
{
	struct fake_cluster *k = cluster_open(1);

	assert_int_equal(run(k, CLIENT_WRITE, offset_bytes, 4096, byte), 0);
	assert_string_equal(fake_trace(k), " SESSION 1/1;  WRITE 1/2; ");
	return k;
}

static void test_lane_opens_a_session_before_its_first_write(void **state)
{
	struct fake_cluster *k = cluster_open(1);

	(void)state;
	assert_int_equal(run(k, CLIENT_WRITE, 4096, 4096, 'a'), 0);
	assert_string_equal(fake_trace(k), " SESSION 1/1;  WRITE 1/2; ");
	assert_true(filled(k->disk + 4096, 'a', 4096));
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'b'), 0);
	assert_string_equal(fake_trace(k), " WRITE 1/3; ");
	fake_cluster_fini(k);
}

static void test_lane_takes_a_session_after_a_lost_connection_before_it_resends(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');

	(void)state;
	fake_submit(q);
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	(void)fake_trace(k);

	q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');
	k->hold_commits = true;
	fake_submit(q);
	assert_string_equal(fake_trace(k), " WRITE 1/3; ");
	fake_cut(k, 1); /* the head */
	fake_pass(k, 600 * MS);
	assert_string_equal(fake_trace(k), " SESSION 2/4; ");
	assert_int_equal(result(q), 1);
	k->hold_commits = false;
	fake_settle(k);
	/* the tail answers the write on its new connection before the session: nothing is resent */
	assert_string_equal(fake_trace(k), "");
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_resends_what_was_lost_on_the_way(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');

	(void)state;
	assert_int_equal(client_submit(k->client, &q->r), 0);
	fake_run(k->net); /* sent, not received */
	fake_cut(k, 1);
	fake_pass(k, 600 * MS);
	assert_string_equal(fake_trace(k), " SESSION 2/4;  WRITE 2/3; ");
	assert_int_equal(result(q), 0);
	assert_true(filled(k->disk, 'b', 4096));
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_loss_of_the_tail_needs_a_session_too(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');

	(void)state;
	k->hold_commits = true;
	fake_submit(q);
	fake_cut(k, 3); /* the tail: its answer will be lost */
	k->hold_commits = false;
	fake_settle(k);
	fake_pass(k, 600 * MS);
	assert_string_equal(fake_trace(k), " WRITE 1/3;  SESSION 2/4;  WRITE 2/3; ");
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_loss_of_an_idle_connection_needs_none(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');

	(void)state;
	fake_cut(k, 1);
	fake_cut(k, 3);
	fake_pass(k, 600 * MS);
	(void)fake_trace(k);
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'b'), 0);
	assert_string_equal(fake_trace(k), " WRITE 1/3; ");
	fake_cluster_fini(k);
}

static void test_lane_a_session_sent_twice_keeps_its_number(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');

	(void)state;
	k->hold_commits = true;
	fake_submit(q);
	fake_cut(k, 1);
	fake_pass(k, 600 * MS);
	fake_cut(k, 3);
	fake_pass(k, 600 * MS);
	assert_string_equal(fake_trace(k), " SESSION 1/1;  SESSION 1/1;  SESSION 1/1; ");
	k->hold_commits = false;
	fake_pass(k, 1 * MS);
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_busy_is_sent_again_with_the_same_number_after_a_growing_wait(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');
	uint64_t start_ns = k->net->clock.now_ns;

	(void)state;
	k->busy_n = 4;
	fake_submit(q);
	assert_string_equal(fake_trace(k), " WRITE 1/3; ");
	for (int i = 0; i < 100 && !q->done_n; i++)
		fake_pass(k, 1 * MS);
	assert_string_equal(fake_trace(k), " WRITE 1/3;  WRITE 1/3;  WRITE 1/3;  WRITE 1/3; ");
	assert_int_equal(result(q), 0);
	/* 1 + 2 + 4 + 8 ms at most, whatever the jitter */
	assert_true(k->net->clock.now_ns - start_ns < 1 * MS + 20 * MS);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_back_off_is_uniform_between_nothing_and_a_bounded_power_of_two(void **state)
{
	struct fake_cluster *k = cluster_open(1);

	(void)state;
	for (uint32_t attempt = 0; attempt < 40; attempt++) {
		uint64_t most = MIN(1 * MS << MIN(attempt, 20u), 32 * MS), low = UINT64_MAX,
			 high = 0;

		for (int i = 0; i < 1000; i++) {
			uint64_t ns = client_jitter_ns(k->client, attempt);

			low = MIN(low, ns);
			high = MAX(high, ns);
		}
		assert_true(high <= most);
		assert_true(high > most / 10 * 9);
		assert_true(low < most / 10);
	}
	fake_cluster_fini(k);
}

static void test_lane_outstanding_requests_stay_within_their_row_of_numbers(void **state)
{
	struct fake_cluster *k = fake_cluster_init(&(struct fake_cluster_config){
		.seed = 1, .chains_n = 1, .reqs_max = 400, .parts_max = 400});
	struct fake_req *q[250];
	uint32_t done_n = 0;

	(void)state;
	fake_open(k);
	for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
		q[i] = fake_req(k, CLIENT_WRITE, 4096 * i, 4096, 'a');
		assert_int_equal(client_submit(k->client, &q[i]->r), 0);
	}
	fake_settle(k); /* SESSION */
	k->hold_commits = true;
	fake_settle(k);
	k->hold_commits = false;
	fake_pass(k, 100 * MS);
	for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
		done_n += result(q[i]) == 0;
		fake_req_free(q[i]);
	}
	assert_int_equal(done_n, ARRAY_LEN(q));
	fake_cluster_fini(k);
}

static void test_lane_keeps_to_the_window_the_head_names(void **state)
{
	struct fake_cluster *k = fake_cluster_init(&(struct fake_cluster_config){.seed = 1});
	struct fake_req *q[8];

	(void)state;
	k->window_ops = 2;
	fake_open(k);
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'a'), 0);
	(void)fake_trace(k);
	k->hold_commits = true;
	for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
		q[i] = fake_req(k, CLIENT_WRITE, 4096 * i, 4096, 'a');
		fake_submit(q[i]);
	}
	assert_string_equal(fake_trace(k), " WRITE 1/3;  WRITE 1/4; ");
	k->hold_commits = false;
	fake_pass(k, 1 * MS);
	for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
		assert_int_equal(result(q[i]), 0);
		fake_req_free(q[i]);
	}
	fake_cluster_fini(k);
}

/* X5. */
static void test_lane_deadline_ends_the_request_at_once_and_fences_the_lane(void **state)
{
	struct fake_cluster *k = cluster_written(4096, 'x');
	struct fake_req *late = fake_req(k, CLIENT_WRITE, 0, 4096, 'a'), *next, *read;

	(void)state;
	k->hold_commits = true;
	late->r.deadline_ns = k->net->clock.now_ns + 50 * MS;
	fake_submit(late);
	fake_pass(k, 49 * MS);
	assert_int_equal(result(late), 1);
	fake_pass(k, 2 * MS);
	assert_int_equal(result(late), -ETIMEDOUT);
	assert_string_equal(fake_trace(k), " WRITE 1/3;  SESSION 2/4; ");

	/* nothing new, reads included, before the session committed */
	next = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');
	read = fake_req(k, CLIENT_READ, 0, 4096, 0);
	fake_submit(next);
	fake_submit(read);
	fake_pass(k, 100 * MS);
	assert_string_equal(fake_trace(k), "");

	k->hold_commits = false;
	fake_pass(k, 10 * MS);
	assert_int_equal(result(next), 0);
	assert_int_equal(result(read), 0);
	assert_non_null(strstr(fake_trace(k), " WRITE 2/5; "));
	/* the number of the late one was given up with the session, not before */
	assert_int_equal(k->chains[0].low, 5);
	assert_true(filled(k->disk, 'b', 4096));
	fake_req_free(late);
	fake_req_free(next);
	fake_req_free(read);
	fake_cluster_fini(k);
}

static void test_lane_fence_ends_although_the_late_answer_came_before_the_session(void **state)
{
	struct fake_cluster *k = cluster_written(4096, 'x');
	struct fake_req *late = fake_req(k, CLIENT_WRITE, 0, 4096, 'a'), *read;

	(void)state;
	k->hold_commits = true;
	late->r.deadline_ns = k->net->clock.now_ns + 50 * MS;
	fake_submit(late);
	k->peers[1].refuse = true; /* no way to the head for a session */
	fake_cut(k, 1);
	fake_pass(k, 100 * MS);
	assert_int_equal(result(late), -ETIMEDOUT);
	k->hold_commits = false;
	fake_settle(k); /* the tail answers what nobody waits for any more */
	read = fake_req(k, CLIENT_READ, 0, 4096, 0);
	k->peers[1].refuse = false;
	fake_submit(read);
	fake_pass(k, 1000 * MS);
	assert_int_equal(result(read), 0);
	assert_true(filled(read->r.data->data, 'a', 4096));
	fake_req_free(late);
	fake_req_free(read);
	fake_cluster_fini(k);
}

static void test_lane_request_that_was_only_ever_busy_dies_without_a_fence(void **state)
{
	struct fake_cluster *k = cluster_written(4096, 'x');
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');

	(void)state;
	k->busy_n = 1000;
	q->r.deadline_ns = k->net->clock.now_ns + 300 * MS;
	fake_submit(q);
	fake_pass(k, 301 * MS);
	assert_int_equal(result(q), -ETIMEDOUT);
	k->busy_n = 0;
	(void)fake_trace(k);
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'b'), 0);
	assert_string_equal(fake_trace(k), " WRITE 1/4; ");
	assert_int_equal(k->chains[0].low, 4);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_takes_a_session_to_the_head_of_a_new_record(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');

	(void)state;
	assert_int_equal(client_submit(k->client, &q->r), 0);
	fake_run(k->net); /* sent, not received */
	k->peers[0].refuse = true;
	fake_cut(k, 0);
	fake_restart_chain(k, 1);
	fake_pass(k, 600 * MS);
	/* every member restarted; until the record names them nothing can be sent */
	assert_string_equal(fake_trace(k), "");
	k->peers[0].refuse = false;
	fake_pass(k, 1500 * MS);
	assert_int_equal(result(q), 0);
	assert_string_equal(fake_trace(k), " SESSION 2/4;  WRITE 2/3; ");
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_takes_an_overdue_answer_for_lost(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');

	(void)state;
	k->drop_percent = 100;
	fake_submit(q);
	fake_pass(k, 1900 * MS);
	assert_string_equal(fake_trace(k), " WRITE 1/3; ");
	k->drop_percent = 0;
	fake_pass(k, 500 * MS);
	assert_string_equal(fake_trace(k), " SESSION 2/4;  WRITE 2/3; ");
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_of_a_client_that_was_forgotten_begins_again(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');

	(void)state;
	fake_forget(k, 1);
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'b'), 0);
	assert_string_equal(fake_trace(k), " WRITE 1/3;  SESSION 2/4;  SESSION 1/5;  WRITE 1/6; ");
	assert_true(filled(k->disk, 'b', 4096));
	fake_cluster_fini(k);
}

/* The write may have happened and nobody can say: it is not sent again. */
static void test_lane_of_a_forgotten_client_gives_up_what_may_have_been_numbered(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *lost = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');
	struct fake_req *next = fake_req(k, CLIENT_WRITE, 4096, 4096, 'c');

	(void)state;
	k->hold_commits = true;
	fake_submit(lost);
	fake_cut(k, 3); /* the tail: its answer will be lost */
	k->hold_commits = false;
	fake_settle(k);
	fake_forget(k, 1);
	fake_submit(next);
	fake_pass(k, 1500 * MS);
	assert_int_equal(result(lost), 1); /* an answer may be under way still */
	fake_pass(k, 2500 * MS);
	assert_int_equal(result(lost), -ETIMEDOUT);
	assert_int_equal(result(next), 0);
	assert_null(strstr(fake_trace(k), "WRITE 2/"));
	assert_true(filled(k->disk, 'b', 4096));
	assert_true(filled(k->disk + 4096, 'c', 4096));
	fake_req_free(lost);
	fake_req_free(next);
	fake_cluster_fini(k);
}

static void test_lane_of_a_forgotten_client_waits_for_answers_that_are_under_way(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');
	struct fake_req *first = fake_req(k, CLIENT_WRITE, 0, 4096, 'b');
	struct fake_req *next = fake_req(k, CLIENT_WRITE, 4096, 4096, 'c');

	(void)state;
	k->hold_commits = true;
	fake_submit(first);
	fake_forget(k, 1);
	fake_submit(next);
	fake_pass(k, 100 * MS);
	assert_int_equal(result(first), 1);
	k->hold_commits = false;
	fake_pass(k, 1500 * MS);
	assert_int_equal(result(first), 0);
	assert_int_equal(result(next), 0);
	fake_req_free(first);
	fake_req_free(next);
	fake_cluster_fini(k);
}

static void test_lane_of_a_client_that_was_forgotten_is_closed(void **state)
{
	struct fake_cluster *k = cluster_written(0, 'a');

	(void)state;
	fake_forget(k, 1);
	fake_cluster_stop(k);
	assert_string_equal(fake_trace(k), " CLOSE 1/3; ");
	fake_cluster_fini(k);
}

static void test_lane_sends_whole_blocks_again_that_were_damaged_on_the_way(void **state)
{
	struct fake_cluster *k = cluster_open(1);
	struct fake_req *q = fake_req(k, CLIENT_WRITE, 0, 4096, 'a');

	(void)state;
	k->fail_status = -EBADMSG;
	fake_submit(q);
	assert_int_equal(result(q), 1);
	k->fail_status = 0;
	fake_pass(k, 10 * MS);
	assert_int_equal(result(q), 0);
	fake_req_free(q);
	fake_cluster_fini(k);
}

static void test_lane_passes_on_what_the_head_refuses_for_good(void **state)
{
	struct fake_cluster *k = cluster_open(1);

	(void)state;
	k->fail_status = -ENOSPC;
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'a'), -ENOSPC);
	k->fail_status = -EBADMSG; /* what a ragged end was to be merged into */
	assert_int_equal(run(k, CLIENT_WRITE, 0, 512, 'a'), -EBADMSG);
	k->fail_status = -EPERM; /* not one of the codes a caller knows */
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'a'), -EIO);
	k->fail_status = 0;
	assert_int_equal(run(k, CLIENT_WRITE, 0, 4096, 'a'), 0);
	fake_cluster_fini(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lane_opens_a_session_before_its_first_write),
		cmocka_unit_test(
			test_lane_takes_a_session_after_a_lost_connection_before_it_resends),
		cmocka_unit_test(test_lane_resends_what_was_lost_on_the_way),
		cmocka_unit_test(test_lane_loss_of_the_tail_needs_a_session_too),
		cmocka_unit_test(test_lane_loss_of_an_idle_connection_needs_none),
		cmocka_unit_test(test_lane_a_session_sent_twice_keeps_its_number),
		cmocka_unit_test(
			test_lane_busy_is_sent_again_with_the_same_number_after_a_growing_wait),
		cmocka_unit_test(
			test_lane_back_off_is_uniform_between_nothing_and_a_bounded_power_of_two),
		cmocka_unit_test(test_lane_outstanding_requests_stay_within_their_row_of_numbers),
		cmocka_unit_test(test_lane_keeps_to_the_window_the_head_names),
		cmocka_unit_test(test_lane_deadline_ends_the_request_at_once_and_fences_the_lane),
		cmocka_unit_test(
			test_lane_fence_ends_although_the_late_answer_came_before_the_session),
		cmocka_unit_test(test_lane_request_that_was_only_ever_busy_dies_without_a_fence),
		cmocka_unit_test(test_lane_takes_a_session_to_the_head_of_a_new_record),
		cmocka_unit_test(test_lane_takes_an_overdue_answer_for_lost),
		cmocka_unit_test(test_lane_of_a_client_that_was_forgotten_begins_again),
		cmocka_unit_test(
			test_lane_of_a_forgotten_client_gives_up_what_may_have_been_numbered),
		cmocka_unit_test(
			test_lane_of_a_forgotten_client_waits_for_answers_that_are_under_way),
		cmocka_unit_test(test_lane_of_a_client_that_was_forgotten_is_closed),
		cmocka_unit_test(test_lane_sends_whole_blocks_again_that_were_damaged_on_the_way),
		cmocka_unit_test(test_lane_passes_on_what_the_head_refuses_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
