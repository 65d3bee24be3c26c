/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The protocol as traces: what one replica is told, and what it asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "chaind/repl.h"

#define EPOCH 7u
static const struct id128 PRED = {{1}}, SUCC = {{3}}, STRANGER = {{9}};

static struct repl r;
static char trace[512];

static void print(const struct repl_actions *todo)
{
	trace[0] = '\0';
	for (unsigned i = 0; i < todo->n; i++) {
		size_t at = strlen(trace);

		snprintf(trace + at, sizeof(trace) - at, "%s%s %llu", i > 0 ? ", " : "",
			 repl_action_name(todo->a[i].type), (unsigned long long)todo->a[i].seq);
	}
}

static int feed(struct repl_event ev)
{
	struct repl_actions todo = {.n = 0};
	int rc = repl_step(&r, &ev, &todo);

	print(&todo);
	return rc;
}

/* One event, and the exact actions it must lead to. */
static void expect(struct repl_event ev, const char *actions)
{
	assert_int_equal(feed(ev), 0);
	assert_string_equal(trace, actions);
}

static struct repl_event local(enum repl_event_type type, uint64_t seq)
{
	return (struct repl_event){.type = type, .seq = seq};
}

static struct repl_event pred(enum repl_event_type type, uint64_t seq, uint64_t token)
{
	return (struct repl_event){
		.type = type, .epoch = EPOCH, .from = PRED, .seq = seq, .token = token};
}

static struct repl_event succ(enum repl_event_type type, uint64_t seq)
{
	return (struct repl_event){
		.type = type, .epoch = EPOCH, .from = SUCC, .seq = seq, .credit = 100};
}

enum place { HEAD, MIDDLE, TAIL, SOLE };

/* Up to the point where a member that is not the head has said nothing yet (R7). */
static void install_only(enum place at, uint64_t known, uint64_t durable)
{
	struct repl_config cfg = {.epoch = EPOCH,
				  .is_head = at == HEAD || at == SOLE,
				  .is_tail = at == TAIL || at == SOLE};
	struct repl_actions todo;

	if (!cfg.is_head)
		cfg.pred = PRED;
	if (!cfg.is_tail)
		cfg.succ = SUCC;
	repl_init(&r, known, durable);
	repl_install(&r, &cfg, &todo);
	print(&todo);
}

/* And its predecessor, whose log ends where ours does, has said HELLO. */
static void install(enum place at, uint64_t known, uint64_t durable)
{
	char installed[sizeof(trace)];

	install_only(at, known, durable);
	memcpy(installed, trace, sizeof(trace));
	if (at == MIDDLE || at == TAIL)
		assert_int_equal(feed(pred(REPL_EV_HELLO, durable, 0)), 0);
	memcpy(trace, installed, sizeof(trace));
}

/* A link to the successor over which everything was said. */
static void link_up(uint64_t recv)
{
	assert_int_equal(feed(local(REPL_EV_LINK_UP, 0)), 0);
	assert_int_equal(feed(succ(REPL_EV_HELLO_ACK, recv)), 0);
}

static void test_repl_middle_forwards_at_once_and_passes_the_token_last(void **s)
{
	(void)s;
	install(MIDDLE, 0, 0);
	link_up(0);
	expect(pred(REPL_EV_WRITE, 1, 0), "persist 1, forward 1");
	expect(pred(REPL_EV_WRITE, 2, 1), "persist 2, forward 2");
	expect(local(REPL_EV_DURABLE, 2), "token 1");
	expect(pred(REPL_EV_TOKEN, 0, 2), "token 2");
	expect(succ(REPL_EV_COMMIT, 1), "commit 1, commit_up 1");
	expect(succ(REPL_EV_COMMIT, 2), "commit 2, commit_up 2");
}

static void test_repl_tail_commits_only_what_everyone_before_it_holds(void **s)
{
	(void)s;
	install(TAIL, 0, 0);
	expect(pred(REPL_EV_WRITE, 1, 0), "persist 1");
	expect(local(REPL_EV_DURABLE, 1), "");
	expect(pred(REPL_EV_TOKEN, 0, 1), "commit 1, commit_up 1");
	expect(pred(REPL_EV_WRITE, 2, 2), "persist 2");
	expect(local(REPL_EV_DURABLE, 2), "commit 2, commit_up 2");
}

static void test_repl_head_numbers_and_commits_when_the_tail_says_so(void **s)
{
	(void)s;
	install(HEAD, 0, 0);
	assert_int_equal(repl_may_number(&r, false), -EAGAIN);
	expect(local(REPL_EV_LINK_UP, 0), "hello 0");
	expect(succ(REPL_EV_HELLO_ACK, 0), "rewind 1, token 0");
	assert_int_equal(repl_may_number(&r, false), 0);
	expect(local(REPL_EV_NUMBER, 0), "forward 1");
	expect(local(REPL_EV_DURABLE, 1), "token 1");
	expect(succ(REPL_EV_COMMIT, 1), "commit 1");
}

static void test_repl_sole_member_commits_on_its_own_disk(void **s)
{
	(void)s;
	install(SOLE, 0, 0);
	assert_int_equal(repl_may_number(&r, false), 0);
	expect(local(REPL_EV_NUMBER, 0), "");
	expect(local(REPL_EV_DURABLE, 1), "commit 1");
}

static void test_repl_accepts_no_seq_but_the_next(void **s)
{
	(void)s;
	install(MIDDLE, 5, 5);
	link_up(5);
	expect(pred(REPL_EV_WRITE, 7, 5), "nak 6, nak_later 6, token 5");
	expect(pred(REPL_EV_WRITE, 8, 5), "");
	expect(local(REPL_EV_NAK_DUE, 0), "nak 6, nak_later 6");
	expect(pred(REPL_EV_WRITE, 6, 5), "persist 6, forward 6");
	expect(local(REPL_EV_NAK_DUE, 0), "");
	expect(pred(REPL_EV_WRITE, 4, 5), "token 5");
	assert_int_equal(r.recv, 6);
}

static void test_repl_asks_later_for_a_payload_that_found_no_buffer(void **s)
{
	(void)s;
	install(TAIL, 0, 0);
	expect(pred(REPL_EV_LOST, 1, 0), "nak_later 1");
	expect(pred(REPL_EV_WRITE, 2, 0), "");
	expect(local(REPL_EV_NAK_DUE, 0), "nak 1, nak_later 1");
	expect(pred(REPL_EV_WRITE, 1, 0), "persist 1");
	assert_int_equal(r.recv, 1);
}

static void test_repl_goes_back_to_what_the_successor_has(void **s)
{
	(void)s;
	install(HEAD, 3, 3);
	link_up(3);
	for (int i = 0; i < 4; i++)
		assert_int_equal(feed(local(REPL_EV_NUMBER, 0)), 0);
	expect(succ(REPL_EV_NAK, 5), "rewind 5");
	expect(local(REPL_EV_LINK_DOWN, 0), "stop 0");
	expect(local(REPL_EV_LINK_UP, 0), "hello 7");
	expect(local(REPL_EV_HELLO_DUE, 0), "hello 7");
	expect(succ(REPL_EV_HELLO_ACK, 6), "rewind 7, token 3");
	expect(local(REPL_EV_HELLO_DUE, 0), "");
}

static void test_repl_ignores_a_late_nak_for_what_is_committed(void **s)
{
	(void)s;
	install(HEAD, 3, 3);
	link_up(3);
	expect(succ(REPL_EV_NAK, 3), "");
	assert_int_equal(feed(succ(REPL_EV_NAK, 9)), -EPROTO);
}

static void test_repl_resumes_what_all_logs_hold_and_nobody_knew_committed(void **s)
{
	(void)s;
	install(TAIL, 3, 8);
	assert_false(repl_may_read(&r)); /* R3 of PROTOCOL 3 */
	expect(pred(REPL_EV_HELLO, 8, 0), "hello_ack 8, commit_up 3");
	expect(pred(REPL_EV_TOKEN, 0, 8), "commit 8, commit_up 8");
	assert_true(repl_may_read(&r));
	install(HEAD, 3, 8);
	link_up(8);
	assert_int_equal(repl_may_number(&r, true), -EAGAIN);
	expect(succ(REPL_EV_COMMIT, 8), "commit 8");
	assert_int_equal(repl_may_number(&r, false), 0);
}

static void test_repl_forgets_tokens_of_an_older_epoch(void **s)
{
	const struct repl_config cfg = {.epoch = EPOCH + 1, .is_tail = true, .pred = STRANGER};
	struct repl_actions todo;

	(void)s;
	install(TAIL, 0, 0);
	expect(pred(REPL_EV_WRITE, 1, 1), "persist 1");
	repl_install(&r, &cfg, &todo);
	print(&todo);
	assert_string_equal(trace, "stop 0");
	expect(local(REPL_EV_DURABLE, 1), "");
	assert_int_equal(r.commit, 0);
}

static void test_repl_obeys_its_neighbours_in_its_epoch_only(void **s)
{
	struct repl_event ev = pred(REPL_EV_WRITE, 1, 0);
	struct repl before;

	(void)s;
	install(MIDDLE, 0, 0);
	before = r;
	ev.epoch = EPOCH - 1;
	assert_int_equal(feed(ev), -ESTALE);
	ev.epoch = EPOCH + 1;
	assert_int_equal(feed(ev), -EAGAIN);
	ev.epoch = EPOCH;
	ev.from = STRANGER;
	assert_int_equal(feed(ev), -EPERM);
	ev.from = SUCC;
	assert_int_equal(feed(ev), -EPERM);
	assert_memory_equal(&before, &r, sizeof(r));
	install(HEAD, 0, 0);
	assert_int_equal(feed(pred(REPL_EV_TOKEN, 0, 5)), -EPERM);
	install(TAIL, 0, 0);
	assert_int_equal(feed(succ(REPL_EV_COMMIT, 5)), -EPERM);
}

static void test_repl_serves_nothing_while_it_installs(void **s)
{
	(void)s;
	install(TAIL, 0, 0);
	repl_leave(&r);
	assert_int_equal(feed(pred(REPL_EV_WRITE, 1, 0)), -EAGAIN);
	assert_int_equal(feed(pred(REPL_EV_HELLO, 0, 0)), -EAGAIN);
	assert_false(repl_may_read(&r));
}

static void test_repl_believes_no_commit_beyond_its_own_token(void **s)
{
	(void)s;
	install(HEAD, 0, 0);
	link_up(0);
	expect(local(REPL_EV_NUMBER, 0), "forward 1");
	expect(succ(REPL_EV_COMMIT, 99), "");
	expect(local(REPL_EV_DURABLE, 1), "token 1, commit 1");
}

static void test_repl_refuses_a_predecessor_that_lost_ops(void **s)
{
	(void)s;
	install(TAIL, 3, 8);
	assert_int_equal(feed(pred(REPL_EV_HELLO, 7, 0)), -EPROTO);
	install(HEAD, 8, 8);
	assert_int_equal(feed(local(REPL_EV_LINK_UP, 0)), 0);
	assert_int_equal(feed(succ(REPL_EV_HELLO_ACK, 7)), -EPROTO);
	assert_int_equal(feed(succ(REPL_EV_HELLO_ACK, 9)), -EPROTO);
}

/* R7: what an older epoch left here beyond the predecessor's log is undone before anything else. */
static void test_repl_cuts_its_log_back_to_its_predecessors(void **s)
{
	(void)s;
	install_only(MIDDLE, 3, 8);
	expect(local(REPL_EV_LINK_UP, 0), "commit_up 3");
	expect(local(REPL_EV_HELLO_DUE, 0), ""); /* nothing is said before that */
	expect(pred(REPL_EV_WRITE, 9, 0), "");
	expect(pred(REPL_EV_HELLO, 5, 5), "undo 5");
	expect(pred(REPL_EV_HELLO, 5, 5), "");
	expect(local(REPL_EV_UNDONE, 5), "");
	assert_int_equal(r.recv, 5);
	assert_int_equal(r.durable, 5);
	expect(pred(REPL_EV_HELLO, 5, 5), "hello_ack 5, commit_up 3, hello 5, token 5");
	expect(pred(REPL_EV_WRITE, 6, 5), "persist 6");
	expect(succ(REPL_EV_HELLO_ACK, 4), "rewind 5, token 5, commit_up 3");
	/* From here on it has what it got in this epoch. */
	assert_int_equal(feed(pred(REPL_EV_HELLO, 5, 5)), -EPROTO);
}

/* R7: the predecessor's log grows while ours is cut back, and its token with it. What we hold
 * beyond the cut is about to go: it is nobody's to acknowledge. */
static void test_repl_commits_nothing_of_what_it_is_cutting_off(void **s)
{
	(void)s;
	install_only(TAIL, 3, 8);
	expect(pred(REPL_EV_TOKEN, 0, 8), "");
	expect(pred(REPL_EV_HELLO, 5, 5), "undo 5");
	expect(pred(REPL_EV_TOKEN, 0, 10), "");
	assert_int_equal(r.commit, 3);
	expect(local(REPL_EV_UNDONE, 5), "");
	expect(pred(REPL_EV_HELLO, 10, 10), "hello_ack 5, commit_up 3, commit 5, commit_up 5");
}

static void test_repl_cuts_off_nothing_that_is_committed(void **s)
{
	(void)s;
	install_only(TAIL, 6, 8);
	assert_int_equal(feed(pred(REPL_EV_HELLO, 5, 5)), -EPROTO);
	expect(pred(REPL_EV_HELLO, 6, 6), "undo 6");
	repl_leave(&r);
	expect(local(REPL_EV_UNDONE, 6), "");
	assert_int_equal(r.recv, 6);
}

static void test_repl_window_is_bounded_and_keeps_slots_for_sessions(void **s)
{
	(void)s;
	install(HEAD, 0, 0);
	link_up(0);
	for (unsigned i = 0; i < WINDOW_OPS_MAX - WINDOW_OPS_RESERVED; i++) {
		assert_int_equal(repl_may_number(&r, false), 0);
		assert_int_equal(feed(local(REPL_EV_NUMBER, 0)), 0);
	}
	assert_int_equal(repl_may_number(&r, false), -EAGAIN);
	assert_int_equal(repl_may_number(&r, true), 0);
	for (unsigned i = 0; i < WINDOW_OPS_RESERVED; i++)
		assert_int_equal(feed(local(REPL_EV_NUMBER, 0)), 0);
	assert_int_equal(repl_may_number(&r, true), -EAGAIN);
}

static void test_repl_head_stops_numbering_when_the_chain_below_is_cut(void **s)
{
	struct repl_event cut = succ(REPL_EV_COMMIT, 0);

	(void)s;
	install(HEAD, 0, 0);
	link_up(0);
	assert_int_equal(repl_may_number(&r, false), 0);
	cut.credit = REPL_CREDIT_NONE;
	expect(cut, "");
	assert_int_equal(repl_may_number(&r, false), -EAGAIN);
	install(MIDDLE, 0, 0);
	link_up(0);
	expect(local(REPL_EV_LINK_DOWN, 0), "stop 0, commit_up 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repl_middle_forwards_at_once_and_passes_the_token_last),
		cmocka_unit_test(test_repl_tail_commits_only_what_everyone_before_it_holds),
		cmocka_unit_test(test_repl_head_numbers_and_commits_when_the_tail_says_so),
		cmocka_unit_test(test_repl_sole_member_commits_on_its_own_disk),
		cmocka_unit_test(test_repl_accepts_no_seq_but_the_next),
		cmocka_unit_test(test_repl_asks_later_for_a_payload_that_found_no_buffer),
		cmocka_unit_test(test_repl_goes_back_to_what_the_successor_has),
		cmocka_unit_test(test_repl_ignores_a_late_nak_for_what_is_committed),
		cmocka_unit_test(test_repl_resumes_what_all_logs_hold_and_nobody_knew_committed),
		cmocka_unit_test(test_repl_forgets_tokens_of_an_older_epoch),
		cmocka_unit_test(test_repl_obeys_its_neighbours_in_its_epoch_only),
		cmocka_unit_test(test_repl_serves_nothing_while_it_installs),
		cmocka_unit_test(test_repl_believes_no_commit_beyond_its_own_token),
		cmocka_unit_test(test_repl_refuses_a_predecessor_that_lost_ops),
		cmocka_unit_test(test_repl_cuts_its_log_back_to_its_predecessors),
		cmocka_unit_test(test_repl_commits_nothing_of_what_it_is_cutting_off),
		cmocka_unit_test(test_repl_cuts_off_nothing_that_is_committed),
		cmocka_unit_test(test_repl_window_is_bounded_and_keeps_slots_for_sessions),
		cmocka_unit_test(test_repl_head_stops_numbering_when_the_chain_below_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
