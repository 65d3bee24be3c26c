/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Whether chains are up, why not, and when they are formed again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ctrl_fixture.h"

/* Server @n says of every chain: state, epoch, last. */
static void reports_known(uint8_t n, uint32_t state, uint64_t epoch, uint64_t last, uint64_t known)
{
	for (uint32_t i = 0; i < st.map.hdr.chains_n; i++) {
		const struct wire_report r = {.chain = st.map.chains[i].id,
					      .state = state,
					      .epoch = epoch,
					      .last = last,
					      .known = known};

		ctrl_live_reports(&live.servers[n - 1], &r, 1);
	}
	live.servers[n - 1].seen_ns = live.now_ns;
}

static void reports(uint8_t n, uint32_t state, uint64_t epoch, uint64_t last)
{
	reports_known(n, state, epoch, last, last);
}

static const char *reason(uint32_t chain)
{
	static struct status_chain c;

	ctrl_chain_status(&st, &live, &st.map.chains[chain - 1], &c);
	assert_int_equal(c.up, c.reason[0] == '\0');
	return c.reason;
}

static void test_a_chain_is_up_when_every_member_is_in_at_its_epoch(void **state)
{
	(void)state;
	three_servers(3);
	assert_string_equal(reason(1), "s1 has not taken up epoch 1 yet: wait a moment");
	for (uint8_t n = 1; n <= 3; n++)
		reports(n, REPLICA_IN, 1, 5);
	assert_string_equal(reason(1), "");
	live.servers[2].connected = false;
	live.now_ns += 12 * SEC;
	live.servers[0].seen_ns = live.servers[1].seen_ns = live.now_ns;
	assert_string_equal(reason(1), "s3 is not connected since 12 s: start it");
	live.servers[2].connected = true;
	live.servers[2].seen_ns = live.now_ns;
	reports(3, REPLICA_FAILED, 1, 5);
	assert_string_equal(reason(1), "the replica on s3 failed: see the log of that daemon");
}

static void test_a_record_older_than_a_replica_halts_the_chain(void **state)
{
	(void)state;
	three_servers(3);
	for (uint8_t n = 1; n <= 3; n++)
		reports(n, REPLICA_IN, 1, 5);
	reports(2, REPLICA_IN, 4, 5);
	assert_non_null(strstr(reason(1), "s2 has seen epoch 4, the record is at 1"));
	assert_int_equal(ctrl_reformable(&st, &live), 0);
}

static void test_chains_form_again_when_all_restarted_and_all_logs_end_alike(void **state)
{
	struct map_chain before;

	(void)state;
	three_servers(3);
	before = st.map.chains[1];
	for (uint8_t n = 1; n <= 3; n++) {
		registers(n, 2);
		reports(n, REPLICA_OUT, 1, 12);
	}
	assert_int_equal(ctrl_reformable(&st, &live), 24);
	assert_int_equal(ctrl_reform(&st, &live), 24);
	ctrl_check(&st);
	assert_int_equal(st.map.chains[1].epoch, 2);
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t server = before.in[i].server;

		assert_int_equal(st.map.chains[1].in[i].server, server);
		assert_true(id128_eq(&st.map.chains[1].in[i].incarnation,
				     &st.map.servers[server - 1].incarnation));
	}
	assert_int_equal(ctrl_reform(&st, &live), 0);
	assert_string_equal(reason(2), "s1 has not taken up epoch 2 yet: wait a moment");
}

static void test_a_chain_nobody_has_seen_ends_at_zero_and_forms_again(void **state)
{
	(void)state;
	three_servers(3);
	for (uint8_t n = 1; n <= 3; n++)
		registers(n, 2);
	assert_int_equal(ctrl_reform(&st, &live), 24);
}

static void test_logs_that_end_differently_form_a_chain_again(void **state)
{
	(void)state;
	three_servers(3);
	for (uint8_t n = 1; n <= 3; n++) {
		registers(n, 2);
		reports_known(n, REPLICA_OUT, 1, 10u + n, 10);
	}
	assert_int_equal(ctrl_reform(&st, &live), 24);
}

static void test_a_log_that_ends_before_what_is_committed_keeps_the_chain_down(void **state)
{
	(void)state;
	three_servers(3);
	for (uint8_t n = 1; n <= 3; n++) {
		registers(n, 2);
		reports_known(n, REPLICA_OUT, 1, n == 2 ? 7 : 10, n == 3 ? 9 : 5);
	}
	assert_int_equal(ctrl_reformable(&st, &live), 0);
	assert_string_equal(reason(1),
			    "s2 lost acknowledged writes: its log ends at 7, s3 knows 9 to "
			    "be committed");
	reports_known(2, REPLICA_OUT, 1, 9, 5);
	assert_int_equal(ctrl_reform(&st, &live), 24);
}

static void
test_a_member_that_was_started_anew_forms_the_chain_again_when_all_are_there(void **state)
{
	(void)state;
	three_servers(3);
	for (uint8_t n = 1; n <= 3; n++)
		reports_known(n, REPLICA_IN, 1, 12, 10);
	assert_int_equal(ctrl_reformable(&st, &live), 0);
	registers(2, 2);
	reports_known(2, REPLICA_OUT, 1, 10, 8);
	live.servers[2].connected = false;
	assert_int_equal(ctrl_reformable(&st, &live), 0);
	assert_string_equal(reason(1), "s3 is not connected since 0 s: start it");
	live.servers[2].connected = true;
	assert_string_equal(reason(1),
			    "a member was started anew: being formed again, wait a moment");
	assert_int_equal(ctrl_reform(&st, &live), 24);
	assert_int_equal(st.map.chains[0].epoch, 2);
	/* They are on their way; nothing is done twice. */
	assert_int_equal(ctrl_reformable(&st, &live), 0);
	/* It dies again before it took that up. */
	registers(2, 3);
	reports_known(2, REPLICA_OUT, 1, 10, 8);
	assert_int_equal(ctrl_reform(&st, &live), 24);
	assert_int_equal(st.map.chains[0].epoch, 3);
}

static void test_members_that_are_out_and_not_new_form_nothing(void **state)
{
	(void)state;
	three_servers(3);
	for (uint8_t n = 1; n <= 3; n++)
		reports(n, REPLICA_OUT, 1, 10);
	assert_int_equal(ctrl_reformable(&st, &live), 0);
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_chain_is_up_when_every_member_is_in_at_its_epoch),
		T(test_a_record_older_than_a_replica_halts_the_chain),
		T(test_chains_form_again_when_all_restarted_and_all_logs_end_alike),
		T(test_a_chain_nobody_has_seen_ends_at_zero_and_forms_again),
		T(test_logs_that_end_differently_form_a_chain_again),
		T(test_a_log_that_ends_before_what_is_committed_keeps_the_chain_down),
		T(test_a_member_that_was_started_anew_forms_the_chain_again_when_all_are_there),
		T(test_members_that_are_out_and_not_new_form_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
