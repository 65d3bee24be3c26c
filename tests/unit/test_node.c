/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* One chaind in its cluster: links, reads, registration, refusals, stop. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/node_lab.h"

#define MS 1000000ull

static const struct lab_place MIDDLE = {.members = 3, .at = 1};
static const struct lab_place TAIL = {.members = 2, .at = 1};
static const struct lab_place HEAD = {.members = 2, .at = 0};
static const struct lab_place SOLE = {.members = 1, .at = 0};

static void test_node_middle_forwards_at_once_and_passes_watermarks_both_ways(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	fake_store.hold_durable = true;
	lab_forward(1, 0, 0, 0xaa);
	lab_hear(SUCC, "FORWARD 1 WRITE 0+1");
	lab_mark(PRED, 1, 0);
	lab_hear(SUCC, ""); /* our own disk has not got it */
	fake_store_durable(1);
	lab_hear(SUCC, "TOKENS 1");
	lab_mark(SUCC, 1, 1000);
	lab_hear(PRED, "COMMITS 1");
	assert_int_equal(fake_store_committed(), 1);
	lab_end();
}

static void test_node_tail_answers_the_client_when_all_have_it(void **s)
{
	(void)s;
	lab_start(&TAIL);
	lab_forward(1, 0, 0, 0xaa);
	lab_hear(CLIENT, "");
	lab_mark(PRED, 1, 0);
	lab_hear(CLIENT, "REPLY 101: 0");
	lab_hear(PRED, "COMMITS 1");
	lab_end();
}

static void test_node_sole_member_does_all_of_it(void **s)
{
	(void)s;
	lab_start(&SOLE);
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 1});
	lab_hear(CLIENT, "REPLY 1: 0");
	lab_request(CLIENT, &(struct lab_req){
				    .kind = REQ_WRITE, .no = 2, .len = BLOCK_BYTES, .fill = 0x77});
	lab_hear(CLIENT, "REPLY 2: 0");
	lab_read(CLIENT, 0, 2, READ_DATA);
	lab_hear(CLIENT, "READ_REPLY: 0 0+2 [77]");
	lab_read(CLIENT, 0, 9, READ_PRESENT);
	lab_hear(CLIENT, "READ_REPLY: 0 0+9 [01]");
	lab_end();
}

static void test_node_tail_serves_committed_content_only(void **s)
{
	(void)s;
	lab_start(&TAIL);
	lab_forward(1, 0, 0, 0xaa);
	lab_read(CLIENT, 0, 1, READ_DATA);
	lab_hear(CLIENT, "READ_REPLY: 0 0+1 [00]");
	lab_mark(PRED, 1, 0);
	lab_hear(CLIENT, "REPLY 101: 0");
	lab_read(CLIENT, 0, 1, READ_DATA);
	lab_hear(CLIENT, "READ_REPLY: 0 0+1 [aa]");
	lab_end();
}

static void test_node_confirms_its_epoch_and_nothing_while_it_is_no_member(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 4");
	lab_confirm(CLIENT, 99);
	lab_hear(CLIENT, "CONFIRMED 4");
	lab_read(CLIENT, 0, 1, READ_DATA);
	lab_hear(CLIENT, "STALE; READ_REPLY: -116");
	lab_end();
	lab_start(&(struct lab_place){.members = 1, .no_map = true});
	lab_connect(CLIENT);
	lab_forget();
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 0");
	lab_end();
}

static void test_node_tail_reads_only_after_what_it_resumed_with_is_committed(void **s)
{
	(void)s;
	lab_start(&(struct lab_place){
		.members = 2, .at = 1, .stored_epoch = 2, .known = 3, .last = 8});
	lab_read(CLIENT, 0, 1, READ_DATA);
	lab_hear(CLIENT, "READ_REPLY: -11");
	lab_mark(PRED, 8, 0);
	lab_hear(PRED, "COMMITS 8");
	lab_read(CLIENT, 0, 1, READ_DATA);
	lab_hear(CLIENT, "READ_REPLY: 0 0+1 [00]");
	lab_end();
}

/* The credit in the next COMMITS to the predecessor. */
static uint64_t told_credit(void)
{
	struct frame *f;
	uint64_t credit;

	lab_time(0);
	f = lab_take(PRED);
	credit = ((const struct wire_mark *)(const void *)f->meta)->commit;

	assert_int_equal(f->hdr.type, WIRE_COMMITS);
	frame_put(f);
	return credit;
}

/* W8: pages that everyone from here down has, plus one. */
static void test_node_tells_the_least_credit_from_here_down(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	fake_store.bytes_free = 100 * PAGE_BYTES;
	lab_mark(SUCC, 0, 40);
	lab_forget();
	lab_forward(1, 0, 0, 1);
	lab_mark(PRED, 1, 0);
	lab_mark(SUCC, 1, 40);
	assert_int_equal(told_credit(), 40);
	lab_forward(2, 0, 0, 1);
	lab_mark(PRED, 2, 0);
	lab_mark(SUCC, 2, 1000);
	assert_int_equal(told_credit(), 101);
	/* Without anything to commit: when it has changed by much. */
	lab_time(1000000000);
	lab_forget();
	fake_store.bytes_free = 0;
	lab_time(1000000000);
	assert_int_equal(told_credit(), 1);
	lab_hear(PRED, "");
	lab_end();
}

static void test_node_sends_again_after_a_broken_link_what_the_successor_lacks(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	for (uint64_t seq = 1; seq <= 3; seq++)
		lab_forward(seq, 0, (uint32_t)seq, 1);
	lab_cut(SUCC);
	lab_hear(PRED, "COMMITS 0 no credit");
	lab_forward(4, 0, 4, 1);
	lab_connect(SUCC);
	lab_hear(SUCC, "HELLO 4");
	lab_plain(SUCC, WIRE_HELLO_ACK, 2);
	lab_hear(SUCC, "FORWARD 3 WRITE 3+1; TOKENS 0; FORWARD 4 WRITE 4+1");
	lab_mark(PRED, 4, 0);
	lab_hear(SUCC, "TOKENS 4");
	lab_mark(SUCC, 4, 1000);
	lab_end();
}

static void test_node_goes_back_on_nak_and_survives_an_empty_pool_on_the_way(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	for (uint64_t seq = 1; seq <= 3; seq++)
		lab_forward(seq, 0, (uint32_t)seq, 1);
	lab_forget();
	fake_store.fetch_result = -ENOBUFS;
	lab_plain(SUCC, WIRE_NAK, 2);
	lab_hear(SUCC, "");
	lab_time(10 * MS);
	lab_hear(SUCC, "FORWARD 2 WRITE 2+1; FORWARD 3 WRITE 3+1");
	lab_mark(PRED, 3, 0);
	lab_mark(SUCC, 3, 1000);
	lab_end();
}

static void test_node_asks_again_for_what_was_lost(void **s)
{
	(void)s;
	lab_start(&TAIL);
	lab_forward(2, 0, 2, 1);
	lab_hear(PRED, "NAK 1");
	lab_forward(3, 0, 3, 1);
	lab_hear(PRED, "");
	lab_time(10 * MS);
	lab_hear(PRED, ""); /* what was asked for needs time to come */
	lab_time(40 * MS);
	lab_hear(PRED, "NAK 1");
	lab_forward(1, 0, 1, 1);
	lab_forward(2, 2, 2, 1);
	lab_time(20 * MS);
	lab_hear(PRED, "COMMITS 2");
	lab_end();
}

static void test_node_says_hello_until_it_is_answered(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	lab_cut(SUCC);
	lab_connect(SUCC);
	lab_hear(SUCC, "HELLO 0");
	lab_time(100 * MS);
	lab_hear(SUCC, "HELLO 0");
	lab_plain(SUCC, WIRE_HELLO_ACK, 0);
	lab_time(200 * MS);
	lab_hear(SUCC, "TOKENS 0");
	lab_end();
}

static void test_node_waits_for_log_space_with_what_was_numbered_by_another(void **s)
{
	(void)s;
	lab_start(&TAIL);
	fake_store.append_result = -EAGAIN;
	lab_forward(1, 1, 1, 1);
	lab_forward(2, 2, 2, 1);
	assert_int_equal(fake_store_appended(), 0);
	fake_store.append_result = 0;
	fake_store_space();
	lab_hear(CLIENT, "REPLY 101: 0; REPLY 102: 0");
	lab_end();
}

static void test_node_fails_its_store_when_a_numbered_op_finds_no_page(void **s)
{
	(void)s;
	lab_start(&TAIL);
	fake_store.append_result = -ENOSPC;
	lab_forward(1, 1, 1, 1);
	lab_log_expected("the store is full below the head");
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 0");
	lab_read(CLIENT, 0, 1, READ_DATA);
	lab_hear(CLIENT, "READ_REPLY: -5");
	lab_end();
}

static void test_node_fails_its_store_on_a_write_error(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	fake_store.hold_durable = true;
	lab_forward(1, 1, 1, 1);
	fake_store_write_error();
	lab_log_expected("FAILED");
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 0");
	lab_time(100 * MS);
	lab_hear(CFG, "REPORT");
	lab_end();
}

static void test_node_tells_an_older_epoch_that_it_is_stale(void **s)
{
	struct frame *f;

	(void)s;
	lab_start(&TAIL);
	lab_forget();
	f = lab_frame(PRED, WIRE_TOKENS, sizeof(struct wire_mark));
	*(struct wire_mark *)(void *)f->meta =
		(struct wire_mark){.chain = 1, .epoch = LAB_EPOCH - 1, .seq = 1};
	lab_say(PRED, f);
	lab_hear(PRED, "STALE");
	lab_end();
}

static void test_node_closes_on_what_a_role_may_not_say(void **s)
{
	(void)s;
	lab_start(&TAIL);
	lab_plain(CLIENT, WIRE_HELLO, 0);
	assert_true(lab_is_closed(CLIENT));
	lab_hear(CLIENT, "ERROR -1");
	lab_end();
}

static void test_node_closes_on_another_cluster_and_on_a_false_name(void **s)
{
	struct frame *f;

	(void)s;
	lab_start(&TAIL);
	f = lab_frame(CLIENT, WIRE_CONFIRM, sizeof(struct wire_confirm));
	*(struct wire_confirm *)(void *)f->meta = (struct wire_confirm){.chain = 1, .epoch = 1};
	f->hdr.cluster.b[3] ^= 1;
	lab_say(CLIENT, f);
	assert_true(lab_is_closed(CLIENT));
	lab_forget();
	lab_connect(CLIENT2);
	f = lab_frame(CLIENT, WIRE_CONFIRM, sizeof(struct wire_confirm));
	*(struct wire_confirm *)(void *)f->meta = (struct wire_confirm){.chain = 1, .epoch = 1};
	lab_say(CLIENT2, f);
	assert_true(lab_is_closed(CLIENT2));
	lab_end();
}

static void test_node_hangs_up_on_who_says_nothing(void **s)
{
	(void)s;
	lab_start(&SOLE);
	lab_connect(CLIENT2);
	lab_time(6000 * MS);
	assert_false(lab_is_closed(CLIENT2)); /* it has said who it is */
	lab_end();
}

static void test_node_serves_on_while_cfgsvc_is_away_and_comes_back_to_it(void **s)
{
	(void)s;
	lab_start(&SOLE);
	lab_cut(CFG);
	lab_request(CLIENT, &(struct lab_req){.kind = REQ_SESSION, .no = 1});
	lab_hear(CLIENT, "REPLY 1: 0");
	lab_time(1000 * MS);
	lab_connect(CFG);
	lab_hear(CFG, "REGISTER");
	lab_registered(0);
	lab_hear(CFG, "MAP_GET");
	lab_time(2100 * MS);
	lab_hear(CFG, "REPORT; REPORT");
	lab_end();
}

/* Decision 006: what a client asks is handled in the order it asked. */
static void test_node_reads_nothing_more_from_a_clients_old_connection(void **s)
{
	(void)s;
	lab_start(&SOLE);
	lab_connect(CLIENT2);
	assert_false(lab_is_closed(CLIENT));
	lab_cut(CLIENT2);
	lab_connect_as(CLIENT2, CLIENT); /* we have not heard that its old one is gone */
	assert_true(lab_is_closed(CLIENT));
	assert_false(lab_is_closed(CLIENT2));
	lab_end();
}

static void test_node_notes_an_epoch_before_it_acts_and_refuses_an_older_one(void **s)
{
	(void)s;
	lab_start(&SOLE);
	lab_map(2, LAB_EPOCH + 2, VOLUME_NORMAL);
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 6");
	lab_map(3, LAB_EPOCH + 1, VOLUME_NORMAL);
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 6");
	lab_end();
	lab_start(&(struct lab_place){.members = 1, .stored_epoch = LAB_EPOCH});
	lab_log_expected("rolled back");
	lab_confirm(CLIENT, LAB_EPOCH);
	lab_hear(CLIENT, "CONFIRMED 0");
	lab_end();
}

static void hello_in(uint64_t epoch, uint64_t seq)
{
	struct frame *f = lab_frame(PRED, WIRE_HELLO, 0);

	f->hdr.chain = 1;
	f->hdr.epoch = epoch;
	f->hdr.seq = seq;
	f->hdr.to = (struct id128){{2}}; /* us */
	lab_say(PRED, f);
}

/* R7 on a member that kept running: what is on its way to the log comes there before it is cut. */
static void test_node_cuts_its_log_back_when_all_of_it_is_durable(void **s)
{
	(void)s;
	lab_start(&TAIL);
	fake_store.hold_durable = true;
	for (unsigned i = 1; i <= 3; i++)
		lab_forward(i, 0, i, 0xaa);
	lab_map(2, LAB_EPOCH + 1, VOLUME_NORMAL);
	lab_forget();
	hello_in(LAB_EPOCH + 1, 1);
	assert_int_equal(fake_store_appended(), 3);
	lab_hear(PRED, "");
	fake_store_durable(3);
	assert_int_equal(fake_store_appended(), 1);
	lab_forget();
	hello_in(LAB_EPOCH + 1, 1);
	lab_hear(PRED, "HELLO_ACK 1; COMMITS 0");
	assert_int_equal(fake_store_committed(), 0);
	lab_end();
}

static uint8_t registers_as_successor_of(bool *ret_asks)
{
	struct frame *f = lab_take(CFG);
	uint8_t first;

	assert_int_equal(f->hdr.type, WIRE_REGISTER);
	*ret_asks = (f->hdr.flags & WIRE_F_ASK) != 0;
	first = ((struct wire_register *)(void *)f->meta)->previous.b[0];
	frame_put(f);
	return first;
}

static void refuse(int code)
{
	struct frame *f = lab_frame(CFG, WIRE_ERROR, sizeof(struct wire_error));

	((struct wire_error *)(void *)f->meta)->code = code;
	lab_say(CFG, f);
	lab_time(3000 * MS);
	lab_connect(CFG);
}

/* C7: starts that ended before anybody noted whether cfgsvc had heard of them. */
static void test_node_registers_as_any_start_cfgsvc_may_know(void **s)
{
	bool asks;

	(void)s;
	lab_start(&(struct lab_place){.members = 1, .not_registered = true});
	assert_int_equal(registers_as_successor_of(&asks), 0xe2);
	refuse(-EBADMSG);
	assert_int_equal(registers_as_successor_of(&asks), 0xe2);
	refuse(-ESTALE);
	assert_int_equal(registers_as_successor_of(&asks), 0xe1);
	refuse(-ESTALE);
	assert_int_equal(registers_as_successor_of(&asks), 0xee);
	assert_true(asks);
	assert_false(fake_store_claimed());
	lab_registered(WIRE_F_ASK);
	assert_true(fake_store_claimed());
	assert_int_equal(registers_as_successor_of(&asks), 0xee);
	assert_false(asks);
	assert_false(fake_store_registered());
	lab_registered(0);
	assert_true(fake_store_registered());
	lab_end();
}

static void test_node_writes_nothing_while_another_daemon_has_its_store(void **s)
{
	(void)s;
	lab_start(&(struct lab_place){.members = 1, .not_registered = true});
	for (unsigned i = 0; i < 3; i++)
		refuse(-EBUSY); /* it may pass */
	assert_false(fake_store_claimed());
	lab_registered(WIRE_F_ASK);
	assert_true(fake_store_claimed());
	lab_end();
	lab_start(&(struct lab_place){.members = 1, .not_registered = true});
	lab_end(); /* told to stop meanwhile */
}

static void test_node_stop_tells_no_credit_and_waits_for_what_is_in_flight(void **s)
{
	(void)s;
	lab_start(&MIDDLE);
	lab_forward(1, 1, 1, 1);
	lab_forget();
	lab_end(); /* stops at its deadline: nobody commits op 1 */
	lab_log_expected("not committed");
	lab_start(&HEAD);
	lab_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_middle_forwards_at_once_and_passes_watermarks_both_ways),
		cmocka_unit_test(test_node_tail_answers_the_client_when_all_have_it),
		cmocka_unit_test(test_node_sole_member_does_all_of_it),
		cmocka_unit_test(test_node_tail_serves_committed_content_only),
		cmocka_unit_test(test_node_confirms_its_epoch_and_nothing_while_it_is_no_member),
		cmocka_unit_test(test_node_tail_reads_only_after_what_it_resumed_with_is_committed),
		cmocka_unit_test(
			test_node_sends_again_after_a_broken_link_what_the_successor_lacks),
		cmocka_unit_test(test_node_goes_back_on_nak_and_survives_an_empty_pool_on_the_way),
		cmocka_unit_test(test_node_asks_again_for_what_was_lost),
		cmocka_unit_test(test_node_says_hello_until_it_is_answered),
		cmocka_unit_test(test_node_waits_for_log_space_with_what_was_numbered_by_another),
		cmocka_unit_test(test_node_fails_its_store_when_a_numbered_op_finds_no_page),
		cmocka_unit_test(test_node_fails_its_store_on_a_write_error),
		cmocka_unit_test(test_node_tells_an_older_epoch_that_it_is_stale),
		cmocka_unit_test(test_node_closes_on_what_a_role_may_not_say),
		cmocka_unit_test(test_node_closes_on_another_cluster_and_on_a_false_name),
		cmocka_unit_test(test_node_hangs_up_on_who_says_nothing),
		cmocka_unit_test(test_node_serves_on_while_cfgsvc_is_away_and_comes_back_to_it),
		cmocka_unit_test(test_node_reads_nothing_more_from_a_clients_old_connection),
		cmocka_unit_test(test_node_notes_an_epoch_before_it_acts_and_refuses_an_older_one),
		cmocka_unit_test(test_node_cuts_its_log_back_when_all_of_it_is_durable),
		cmocka_unit_test(test_node_registers_as_any_start_cfgsvc_may_know),
		cmocka_unit_test(test_node_writes_nothing_while_another_daemon_has_its_store),
		cmocka_unit_test(test_node_stop_tells_no_credit_and_waits_for_what_is_in_flight),
		cmocka_unit_test(test_node_tells_the_least_credit_from_here_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
