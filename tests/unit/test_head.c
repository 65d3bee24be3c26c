/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The head of a chain of two: what becomes an op, what is refused, in which order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/node_lab.h"

static const struct lab_place HEAD = {.members = 2, .at = 0};

static void session(void)
{
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 1});
	lab_mark(SUCC, 1, 1000);
	lab_forget();
}

static void start(void)
{
	lab_start(&HEAD);
	session();
}

static struct lab_req write_block(uint64_t no, uint32_t block, uint8_t fill)
{
	return (struct lab_req){.kind = REQ_WRITE,
				.no = no,
				.offset = block * BLOCK_BYTES,
				.len = BLOCK_BYTES,
				.fill = fill};
}

/* A head that is not the tail says nothing to the client: the tail will. */
static void test_head_numbers_forwards_and_leaves_the_answer_to_the_tail(void **s)
{
	struct lab_req q = write_block(2, 7, 0xaa);

	(void)s;
	start();
	lab_request(CLIENT, &q);
	lab_hear(SUCC, "FORWARD 2 WRITE 7+1; TOKENS 2");
	lab_mark(SUCC, 2, 1000);
	lab_hear(CLIENT, "");
	assert_int_equal(fake_store_committed(), 2);
	lab_end();
}

static void test_head_refuses_before_numbering(void **s)
{
	struct lab_req q = write_block(2, 0, 1);

	(void)s;
	start();
	q.generation = 2; /* a newer map than ours */
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -11");
	q.generation = 1;
	q.volume = 3;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -2");
	q.volume = 6; /* perhaps made a moment ago */
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -11");
	q.volume = 0;
	q.extent = 2; /* perhaps it has grown */
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -11");
	q.extent = 0;
	q.epoch = LAB_EPOCH - 1;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "STALE; REPLY 2: -116");
	q.epoch = 0;
	q.damage = true;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -11");
	q.damage = false;
	q.drop_data = true;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -11");
	q.drop_data = false;
	fake_store.append_result = -ENOSPC;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -28");
	lab_hear(SUCC, "");
	assert_int_equal(fake_store_appended(), 1);
	lab_end();
}

static void test_head_wants_a_session_first_and_serves_no_older_one(void **s)
{
	struct lab_req q = write_block(2, 0, 1);

	(void)s;
	lab_start(&HEAD);
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -107");
	session();
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 2, .session = 2});
	lab_forget();
	q.no = 3; /* its client has moved on: no answer */
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "");
	q.session = 2;
	lab_request(CLIENT, &q);
	lab_hear(SUCC, "FORWARD 3 WRITE 0+1; TOKENS 3");
	lab_end();
}

static void test_head_never_numbers_a_request_twice(void **s)
{
	struct lab_req q = write_block(2, 0, 1);

	(void)s;
	start();
	lab_request(CLIENT, &q);
	lab_hear(SUCC, "FORWARD 2 WRITE 0+1; TOKENS 2");
	lab_request(CLIENT, &q);
	lab_hear(SUCC, "DUP 2");
	lab_hear(CLIENT, "");
	lab_mark(SUCC, 2, 1000);
	lab_hear(CLIENT, "REPLY 2: 0"); /* the tail's may have met a closed connection */
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: 0");
	lab_hear(SUCC, "");
	assert_int_equal(fake_store_appended(), 2);
	lab_end();
}

static void test_head_keeps_slots_for_sessions_when_the_window_is_full(void **s)
{
	(void)s;
	start();
	for (uint64_t no = 2; no < 2 + WINDOW_OPS_MAX - WINDOW_OPS_RESERVED; no++) {
		struct lab_req q = write_block(no, (uint32_t)no, 1);

		lab_request(CLIENT, &q);
	}
	lab_hear(CLIENT, "");
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_UNMAP, .no = 300, .len = BLOCK_BYTES});
	lab_hear(CLIENT, "REPLY 300: -11");
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 301, .session = 2});
	lab_hear(CLIENT, "");
	assert_int_equal(fake_store_op(fake_store_appended())->kind, OP_SESSION);
	node_check(lab_node);
	lab_mark(SUCC, fake_store_appended(), 1000);
	lab_end();
}

static void test_head_window_is_bounded_in_bytes(void **s)
{
	struct lab_req q = {.kind = REQ_WRITE, .len = 16 * BLOCK_BYTES};
	uint64_t no = 2;

	(void)s;
	start();
	for (; no < 2 + WINDOW_BYTES_MAX / (16 * BLOCK_BYTES); no++) {
		q.no = no;
		lab_request(CLIENT, &q);
		lab_hear(CLIENT, "");
		lab_forget(); /* the buffers */
	}
	q.no = no;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 130: -11");
	lab_mark(SUCC, fake_store_appended(), 1000);
	lab_end();
}

static void test_head_merges_sectors_and_makes_later_ops_on_the_block_wait(void **s)
{
	struct lab_req small = {
		.kind = REQ_WRITE, .no = 3, .offset = BLOCK_BYTES + 512, .len = 512, .fill = 0xbb};
	struct lab_req first = write_block(2, 1, 0xaa), later = write_block(4, 1, 0xcc),
		       other = write_block(5, 2, 0xdd);

	(void)s;
	start();
	lab_request(CLIENT, &first);
	fake_store.hold_reads = true;
	lab_request(CLIENT, &small);
	lab_request(CLIENT, &later);
	lab_request(CLIENT, &other); /* not on that block: passes */
	lab_hear(SUCC, "FORWARD 2 WRITE 1+1; TOKENS 2; FORWARD 3 WRITE 2+1; TOKENS 3");
	fake_store_reads();
	lab_hear(SUCC, "FORWARD 4 WRITE 1+1; FORWARD 5 WRITE 1+1; TOKENS 5");
	assert_int_equal(fake_store_op(4)->req_no, 3);
	assert_int_equal(fake_store_op(5)->req_no, 4);
	assert_int_equal(fake_store_byte(LAB_VOLUME, 0, 1, 0), 0xcc);
	lab_hear(CLIENT, "");
	lab_mark(SUCC, 5, 1000);
	lab_end();
}

static void test_head_merges_into_what_is_sequenced_but_not_committed(void **s)
{
	struct lab_req whole = write_block(2, 0, 0xaa);
	struct lab_req small = {
		.kind = REQ_WRITE, .no = 3, .offset = 512, .len = 512, .fill = 0xbb};

	(void)s;
	start();
	lab_request(CLIENT, &whole);
	lab_request(CLIENT, &small);
	assert_int_equal(fake_store_byte(LAB_VOLUME, 0, 0, 511), 0xaa);
	assert_int_equal(fake_store_byte(LAB_VOLUME, 0, 0, 512), 0xbb);
	assert_int_equal(fake_store_byte(LAB_VOLUME, 0, 0, 1024), 0xaa);
	lab_mark(SUCC, 3, 1000);
	lab_end();
}

static void test_head_compares_and_writes_or_sequences_the_miscompare(void **s)
{
	struct lab_req caw = {
		.kind = REQ_CAW, .no = 2, .offset = 512, .len = 1024, .compare = 0, .fill = 0x11};

	(void)s;
	start();
	lab_request(CLIENT, &caw);
	lab_hear(SUCC, "FORWARD 2 WRITE 0+1; TOKENS 2");
	assert_int_equal(fake_store_byte(LAB_VOLUME, 0, 0, 512), 0x11);
	caw.no = 3;
	caw.offset = 0;
	lab_request(CLIENT, &caw);
	lab_hear(SUCC, "FORWARD 3 MISCOMPARE 0+0; TOKENS 3");
	assert_int_equal(fake_store_op(3)->offset_bytes, 512);
	lab_hear(CLIENT, "");
	lab_mark(SUCC, 3, 1000);
	lab_request(CLIENT, &caw); /* asked again: the result it had */
	lab_hear(CLIENT, "REPLY 3: -84 at 512");
	lab_end();
}

static void test_head_drops_what_waits_for_a_block_when_its_session_is_over(void **s)
{
	struct lab_req small = {.kind = REQ_WRITE, .no = 2, .len = 512, .fill = 1};

	(void)s;
	start();
	fake_store.hold_reads = true;
	lab_request(CLIENT, &small);
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 3, .session = 2});
	small.session = 2;
	lab_request(CLIENT, &small);
	lab_hear(SUCC, "FORWARD 2 SESSION 0+0; TOKENS 2");
	fake_store_reads();
	lab_hear(SUCC, "FORWARD 3 WRITE 0+1; TOKENS 3");
	lab_hear(CLIENT, "");
	assert_int_equal(fake_store_appended(), 3);
	lab_mark(SUCC, 3, 1000);
	lab_end();
}

static void test_head_of_a_volume_being_deleted_takes_unmap_only(void **s)
{
	struct lab_req q = write_block(2, 0, 1);

	(void)s;
	start();
	lab_map(2, LAB_EPOCH, VOLUME_DELETING);
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -2");
	q.kind = REQ_UNMAP;
	lab_request(CLIENT, &q);
	lab_hear(SUCC, "FORWARD 2 UNMAP 0+1; TOKENS 2");
	lab_mark(SUCC, 2, 1000);
	lab_end();
}

static void test_head_answers_busy_while_the_chain_below_is_cut_or_full(void **s)
{
	struct lab_req q = write_block(2, 0, 1);

	(void)s;
	start();
	lab_mark(SUCC, 1, 0);
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -11");
	lab_mark(SUCC, 1, 1); /* not one page free below */
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 2: -28");
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_UNMAP, .no = 2, .len = BLOCK_BYTES});
	lab_hear(SUCC, "FORWARD 2 UNMAP 0+1; TOKENS 2");
	lab_mark(SUCC, 2, 1000);
	lab_cut(SUCC);
	q.no = 3;
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 3: -11");
	lab_end();
}

/* W8: an op takes the pages of its whole range, however little it carries. */
static void test_head_charges_every_page_of_the_range_before_numbering(void **s)
{
	struct lab_req same = {
		.kind = REQ_WRITE_SAME, .no = 2, .len = 3 * PAGE_BYTES, .fill = 0xaa};
	struct lab_req q;

	(void)s;
	start();
	lab_mark(SUCC, 1, 3); /* two pages */
	lab_request(CLIENT, &same);
	lab_hear(CLIENT, "REPLY 2: -28");
	lab_hear(SUCC, "");
	same.fill = 0; /* takes none */
	same.extent = 1;
	lab_request(CLIENT, &same);
	lab_hear(SUCC, "FORWARD 2 WRITE_SAME 0+48; TOKENS 2");
	lab_mark(SUCC, 2, 3);
	same = (struct lab_req){
		.kind = REQ_WRITE_SAME, .no = 3, .len = 2 * PAGE_BYTES, .fill = 0xaa};
	lab_request(CLIENT, &same);
	lab_hear(SUCC, "FORWARD 3 WRITE_SAME 0+32; TOKENS 3");
	/* Both are in use, but that may change. */
	q = write_block(4, 32, 1);
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 4: -11");
	lab_mark(SUCC, 3, 1);
	lab_request(CLIENT, &q);
	lab_hear(CLIENT, "REPLY 4: -28");
	q = write_block(4, 0, 1); /* its page is there */
	lab_request(CLIENT, &q);
	lab_hear(SUCC, "FORWARD 4 WRITE 0+1; TOKENS 4");
	lab_mark(SUCC, 4, 1000);
	lab_end();
}

static void test_head_has_each_page_back_once(void **s)
{
	struct lab_req q[] = {write_block(2, 0, 1), write_block(3, 16, 1), write_block(4, 32, 1)};

	(void)s;
	start();
	lab_mark(SUCC, 1, 3);
	lab_request(CLIENT, &q[0]);
	lab_request(CLIENT, &q[1]);
	lab_hear(SUCC, "FORWARD 2 WRITE 0+1; TOKENS 2; FORWARD 3 WRITE 16+1; TOKENS 3");
	lab_request(CLIENT, &q[2]);
	lab_hear(CLIENT, "REPLY 4: -11");
	/* The first is committed, and there is room for the second alone. */
	lab_mark(SUCC, 2, 2);
	lab_request(CLIENT, &q[2]);
	lab_hear(CLIENT, "REPLY 4: -11");
	lab_mark(SUCC, 3, 2);
	lab_request(CLIENT, &q[2]);
	lab_hear(SUCC, "FORWARD 4 WRITE 32+1; TOKENS 4");
	lab_mark(SUCC, 4, 1000);
	lab_end();
}

static void test_head_numbers_nothing_before_what_it_resumed_with_is_committed(void **s)
{
	(void)s;
	lab_start(&(struct lab_place){
		.members = 2, .at = 0, .stored_epoch = 1, .known = 3, .last = 8});
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 1});
	lab_hear(CLIENT, "REPLY 1: -11");
	lab_mark(SUCC, 8, 1000);
	assert_int_equal(fake_store_committed(), 8);
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 1});
	lab_hear(SUCC, "FORWARD 9 SESSION 0+0; TOKENS 9");
	lab_mark(SUCC, 9, 1000);
	lab_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head_numbers_forwards_and_leaves_the_answer_to_the_tail),
		cmocka_unit_test(test_head_refuses_before_numbering),
		cmocka_unit_test(test_head_wants_a_session_first_and_serves_no_older_one),
		cmocka_unit_test(test_head_never_numbers_a_request_twice),
		cmocka_unit_test(test_head_keeps_slots_for_sessions_when_the_window_is_full),
		cmocka_unit_test(test_head_window_is_bounded_in_bytes),
		cmocka_unit_test(test_head_merges_sectors_and_makes_later_ops_on_the_block_wait),
		cmocka_unit_test(test_head_merges_into_what_is_sequenced_but_not_committed),
		cmocka_unit_test(test_head_compares_and_writes_or_sequences_the_miscompare),
		cmocka_unit_test(test_head_drops_what_waits_for_a_block_when_its_session_is_over),
		cmocka_unit_test(test_head_of_a_volume_being_deleted_takes_unmap_only),
		cmocka_unit_test(test_head_charges_every_page_of_the_range_before_numbering),
		cmocka_unit_test(test_head_has_each_page_back_once),
		cmocka_unit_test(test_head_answers_busy_while_the_chain_below_is_cut_or_full),
		cmocka_unit_test(
			test_head_numbers_nothing_before_what_it_resumed_with_is_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
