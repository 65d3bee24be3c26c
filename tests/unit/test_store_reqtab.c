/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The table of clients: who is forgotten when it is full, and what the forgotten may still do. */
#include "store/reqtab.h"

#include "tests/unit/store_rig.h"

#define FULL REQTAB_CLIENTS_MAX

static struct req_client entries[FULL];
static struct reqtab t;
static uint64_t seq;

static struct id128 id_of(uint32_t client)
{
	return (struct id128){{(uint8_t)(client + 1), (uint8_t)((client + 1) >> 8), 7}};
}

static struct op_rec rec_of(uint32_t client, enum op_kind kind, uint32_t session, uint64_t no)
{
	return (struct op_rec){.seq = ++seq,
			       .chain = 1,
			       .kind = (uint16_t)kind,
			       .client = id_of(client),
			       .session = session,
			       .req_no = no,
			       .low = 1};
}

static void apply(uint32_t client, enum op_kind kind, uint32_t session, uint64_t no)
{
	const struct op_rec op = rec_of(client, kind, session, no);

	reqtab_apply(&t, &op);
}

static bool has(uint32_t client)
{
	const struct id128 id = id_of(client);

	return reqtab_find(&t, &id) != NULL;
}

/* Clients 0 to FULL - 1, in this order. */
static void fill(void)
{
	memset(entries, 0, sizeof(entries));
	t = (struct reqtab){.clients = entries, .clients_max = FULL};
	seq = 0;
	for (uint32_t i = 0; i < FULL; i++)
		apply(i, OP_SESSION, 1, 1);
}

static enum store_req_state ask(uint32_t client, unsigned kind, uint32_t session, uint64_t no,
				const struct op_rec *pending, uint32_t pending_n)
{
	const struct id128 id = id_of(client);
	struct store_req_answer a;
	struct req_view v;

	req_view_init(&v, &t, &id, no);
	for (uint32_t i = 0; i < pending_n; i++)
		req_view_overlay(&v, &pending[i]);
	req_view_answer(&v, 1, session, kind, &a);
	return a.state;
}

static void test_reqtab_full_forgets_the_least_recently_used(void **state)
{
	(void)state;
	fill();
	apply(0, OP_WRITE, 1, 2);
	apply(1, OP_SESSION, 2, 3);
	apply(FULL, OP_SESSION, 1, 1);
	assert_true(has(0));
	assert_true(has(1));
	assert_false(has(2));
	assert_true(has(FULL));
	assert_int_equal(t.clients_n, FULL);
	/* what fell out of the window counts still */
	for (uint64_t no = 2; no < 2 + 2 * REQ_OUTSTANDING_MAX; no++) {
		struct op_rec op = rec_of(3, OP_WRITE, 1, no);

		op.low = no;
		reqtab_apply(&t, &op);
	}
	apply(FULL + 1, OP_SESSION, 1, 1);
	assert_true(has(3));
	assert_false(has(4));
}

static void test_reqtab_closed_clients_make_room_first(void **state)
{
	(void)state;
	fill();
	apply(5, OP_CLOSE, 1, 2);
	apply(FULL, OP_SESSION, 1, 1);
	assert_true(has(0));
	assert_false(has(5));
	assert_int_equal(t.clients_n, FULL);
}

/* Q1: a checkpoint may bring the entries back in another order. */
static void test_reqtab_restored_forgets_the_same_client(void **state)
{
	static struct req_client saved[FULL];

	(void)state;
	fill();
	apply(0, OP_WRITE, 1, 2);
	memcpy(saved, entries, sizeof(saved));
	memset(entries, 0, sizeof(entries));
	t.clients_n = 0;
	for (uint32_t i = FULL; i-- > 0;)
		assert_int_equal(reqtab_restore(&t, &saved[i]), 0);
	assert_int_equal(reqtab_restore(&t, &saved[0]), -EBADMSG);
	apply(FULL, OP_SESSION, 1, 1);
	assert_true(has(0));
	assert_false(has(1));
}

/* Q4. Were SESSION 2 to make an entry, what was numbered before could be numbered again. */
static void test_reqtab_forgotten_client_comes_back_with_session_1_only(void **state)
{
	(void)state;
	fill();
	apply(0, OP_WRITE, 1, 2); /* now client 1 is the oldest */
	apply(FULL, OP_SESSION, 1, 1);
	apply(1, OP_WRITE, 1, 2);
	apply(1, OP_SESSION, 2, 3);
	apply(1, OP_CLOSE, 2, 4);
	assert_false(has(1));
	assert_int_equal(t.clients_n, FULL);
	assert_int_equal(ask(1, OP_WRITE, 1, 2, NULL, 0), STORE_REQ_NO_CLIENT);
	assert_int_equal(ask(1, OP_SESSION, 2, 3, NULL, 0), STORE_REQ_NO_CLIENT);
	assert_int_equal(ask(1, OP_SESSION, 1, 5, NULL, 0), STORE_REQ_NEW);
	apply(1, OP_SESSION, 1, 5);
	assert_true(has(1));
}

static void test_reqtab_one_newcomer_at_a_time_takes_a_place(void **state)
{
	struct op_rec pending[2];

	(void)state;
	fill();
	assert_int_equal(ask(FULL, OP_SESSION, 1, 1, NULL, 0), STORE_REQ_NEW);
	pending[0] = rec_of(FULL, OP_SESSION, 1, 1);
	assert_int_equal(ask(FULL, OP_SESSION, 1, 1, pending, 1), STORE_REQ_KNOWN);
	assert_int_equal(ask(FULL + 1, OP_SESSION, 1, 1, pending, 1), STORE_REQ_FULL);
	reqtab_apply(&t, &pending[0]);
	assert_int_equal(ask(FULL + 1, OP_SESSION, 1, 1, NULL, 0), STORE_REQ_NEW);
}

/* What the victim's head numbered between the newcomer's SESSION and its commit: known while it is
 * pending, refused for good afterwards, never new. */
static void test_reqtab_ops_of_the_victim_are_never_numbered_again(void **state)
{
	struct op_rec pending[3];

	(void)state;
	fill();
	pending[0] = rec_of(FULL, OP_SESSION, 1, 1);
	pending[1] = rec_of(0, OP_WRITE, 1, 2);
	pending[2] = rec_of(0, OP_SESSION, 2, 3);
	assert_int_equal(ask(0, OP_WRITE, 1, 2, pending, 2), STORE_REQ_KNOWN);
	assert_int_equal(ask(0, OP_WRITE, 2, 2, pending, 3), STORE_REQ_KNOWN);
	for (uint32_t n = 0; n < 3; n++) { /* committed one by one */
		reqtab_apply(&t, &pending[n]);
		assert_false(has(0));
		assert_int_equal(ask(0, OP_WRITE, 2, 2, &pending[n + 1], 2 - n),
				 STORE_REQ_NO_CLIENT);
		assert_int_equal(ask(0, OP_SESSION, 3, 4, &pending[n + 1], 2 - n),
				 STORE_REQ_NO_CLIENT);
	}
}

static void commit_session(struct rig *r, uint32_t client)
{
	struct rig_op *op = rig_op(r, 1, OP_SESSION, 0);
	uint64_t at = r->last[1] + 1;

	op->op.rec.client = id_of(client);
	op->op.rec.session = 1;
	op->op.rec.req_no = op->op.rec.low = 1;
	assert_int_equal(rig_append(r, op), 0);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, at);
}

static enum store_req_state lookup(struct rig *r, uint32_t client)
{
	const struct id128 id = id_of(client);
	struct store_req_answer a;

	store_req_lookup(r->s, 1, &id, 2, 1, 1, OP_WRITE, &a);
	return a.state;
}

static void test_store_remembers_the_same_clients_after_a_power_cut(void **state)
{
	struct rig *r = rig_new(*state, 8);

	rig_open(r);
	rig_chain(r, 1);
	for (uint32_t i = 0; i < FULL + 10; i++)
		commit_session(r, i);
	rig_settle(r); /* checkpointed */
	for (uint32_t i = FULL + 10; i < FULL + 20; i++)
		commit_session(r, i);
	for (int again = 0; again < 2; again++) {
		for (uint32_t i = 0; i < FULL + 20; i++)
			assert_int_equal(lookup(r, i),
					 i < 20 ? STORE_REQ_NO_CLIENT : STORE_REQ_NEW);
		rig_crash(r, 0);
		assert_int_equal(rig_open(r), 0);
		store_commit(r->s, 1, r->last[1]);
	}
	store_check(r->s);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_reqtab_full_forgets_the_least_recently_used),
		RIG_TEST(test_reqtab_closed_clients_make_room_first),
		RIG_TEST(test_reqtab_restored_forgets_the_same_client),
		RIG_TEST(test_reqtab_forgotten_client_comes_back_with_session_1_only),
		RIG_TEST(test_reqtab_one_newcomer_at_a_time_takes_a_place),
		RIG_TEST(test_reqtab_ops_of_the_victim_are_never_numbered_again),
		RIG_TEST(test_store_remembers_the_same_clients_after_a_power_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
