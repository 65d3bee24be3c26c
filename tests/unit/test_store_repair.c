/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Bad blocks: asked for, repaired, or a named error; scrubbing; a store that somebody else took. */
#include "store/internal.h"
#include "tests/unit/store_await.h"
#include "tests/unit/store_rig.h"

struct answering {
	struct store_repair repair;
	uint8_t *data;
	bool done;
	int res;
};

static void answered(struct store_repair *repair, int res)
{
	struct answering *a = CONTAINER_OF(repair, struct answering, repair);

	a->done = true;
	a->res = res;
}

/* Answer what was asked for last with the block of @op, or with nothing. */
static int answer(struct rig *r, const struct rig_op *op)
{
	struct answering a = {.repair = {.what = r->bad, .done = answered}};

	if (op) {
		bool same = op->op.rec.kind == OP_WRITE_SAME;

		a.data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
		rig_fill(a.data, op->stamp, same ? 0 : r->bad.block);
		a.repair.data = a.data;
	}
	list_init(&a.repair.link);
	store_repair(r->s, &a.repair);
	assert_false(a.done);
	rig_wait(r, &a.done);
	free(a.data);
	return a.res;
}

/* One page written through to its place, and where block 5 of it lies. */
static struct rig *rig_with_page(uint64_t seed, bool ask, struct rig_op **ret_op, uint64_t *ret_at)
{
	struct rig *r = rig_new(NULL, seed);
	const struct page_key key = {1, 0, 0};
	struct page *p;

	r->ask = ask;
	rig_open(r);
	rig_chain(r, 1);
	*ret_op = rig_write(r, 1, 0, 0, 8);
	rig_wait(r, &(*ret_op)->is_done);
	store_commit(r->s, 1, 1);
	rig_settle(r);
	p = pages_find(&r->s->pages, &key);
	assert_non_null(p);
	assert_int_equal(p->present, 0xff);
	*ret_at = page_offset(r->s, pages_id(&r->s->pages, p)) + 5 * BLOCK_BYTES;
	return r;
}

static void rot(struct rig *r, uint64_t at)
{
	uint8_t byte = (uint8_t)~r->disk.seen[at + 100];

	fake_disk_poke(&r->disk, at + 100, &byte, 1);
}

static void start_read(struct rig *r, struct await_read *w)
{
	*w = (struct await_read){.read = {.chain = 1, .volume = 1, .blocks = 8}};
	await_read(r->s, w);
	while (fake_step_now(&r->fe))
		;
}

static void expect_blocks(const struct await_read *w, const struct rig_op *op)
{
	static uint8_t want[BLOCK_BYTES];

	assert_true(w->done);
	assert_int_equal(w->res, 0);
	for (uint32_t i = 0; i < 8; i++) {
		rig_fill(want, op->stamp, i);
		assert_memory_equal(w->read.data->data + (size_t)i * BLOCK_BYTES, want,
				    BLOCK_BYTES);
	}
	buf_put(w->read.data);
}

static void test_store_repair_read_waits_for_a_neighbours_block(void **state)
{
	struct await_read w, v;
	struct store_stats st;
	struct rig_op *op;
	uint64_t at;
	struct rig *r = rig_with_page(51, true, &op, &at);

	(void)state;
	rot(r, at);
	start_read(r, &w);
	start_read(r, &v);
	assert_false(w.done);
	assert_int_equal(r->asked, 1);
	assert_int_equal(r->bad.block, 5);
	assert_int_equal(r->bad.crc, op->crcs[5]);
	assert_int_equal(answer(r, op), 0);
	rig_settle(r);
	expect_blocks(&w, op);
	expect_blocks(&v, op);
	store_stats(r->s, &st);
	assert_int_equal(st.repaired_blocks, 1);
	/* For good. */
	rig_crash(r, 0);
	r->ask = false;
	assert_int_equal(rig_open(r), 0);
	rig_expect_part(r, 1, 0, 0, 8, op);
	rig_free(r);
}

static void test_store_repair_without_a_good_copy_is_a_medium_error(void **state)
{
	static uint8_t got[8 * BLOCK_BYTES];
	struct rig_op *op, *other;
	struct await_read w;
	uint64_t at;
	struct rig *r = rig_with_page(52, true, &op, &at);

	(void)state;
	other = rig_op(r, 1, OP_WRITE, 0); /* its content is another's */
	rot(r, at);
	start_read(r, &w);
	assert_int_equal(answer(r, other), -EBADMSG);
	assert_non_null(strstr(r->fe.last_line,
			       "block 5 of extent 0 of volume 1 (chain 1) is bad here and "
			       "nobody was found to have it"));
	rig_wait(r, &w.done);
	assert_int_equal(w.res, -EBADMSG);
	start_read(r, &w);
	assert_int_equal(answer(r, NULL), -EBADMSG);
	rig_wait(r, &w.done);
	assert_int_equal(w.res, -EBADMSG);
	/* The other blocks are good, and a write mends it. */
	assert_int_equal(rig_read(r, 1, 0, 0, 5, false, got), 0);
	op = rig_write(r, 1, 0, 5, 1);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 2);
	rig_expect_block(r, 1, 0, 5, op);
	rig_crash(r, 0);
	r->ask = false;
	assert_int_equal(rig_open(r), 0);
	rig_free(r);
}

static void test_store_repair_overwritten_meanwhile_is_no_longer_needed(void **state)
{
	struct rig_op *op, *newer;
	struct await_read w;
	uint64_t at;
	struct rig *r = rig_with_page(53, true, &op, &at);

	(void)state;
	rot(r, at);
	start_read(r, &w);
	newer = rig_write(r, 1, 0, 0, 8);
	rig_wait(r, &newer->is_done);
	store_commit(r->s, 1, 2);
	assert_int_equal(answer(r, op), 0);
	rig_settle(r);
	expect_blocks(&w, newer);
	rig_expect_part(r, 1, 0, 0, 8, newer);
	store_check(r->s);
	rig_free(r);
}

static void test_store_repair_read_error_is_told_from_its_neighbours(void **state)
{
	struct await_read w;
	struct rig_op *op;
	uint64_t at;
	struct rig *r = rig_with_page(54, true, &op, &at);

	(void)state;
	r->disk.bad_block = at;
	start_read(r, &w);
	assert_false(w.done);
	assert_int_equal(r->asked, 1);
	assert_int_equal(r->bad.block, 5);
	r->disk.bad_block = 0; /* writing it makes the disk put it elsewhere */
	assert_int_equal(answer(r, op), 0);
	rig_settle(r);
	expect_blocks(&w, op);
	rig_free(r);
}

/* Rot of the only copy in the log: the block is bad in its page, the rest of the store goes on. */
static void test_store_repair_of_what_was_bad_in_the_log(void **state)
{
	struct rig *r = rig_new(NULL, 55);
	const struct index_key key = {1, 0, 5};
	struct rig_op *op;
	struct await_read w;
	uint32_t at;

	(void)state;
	r->ask = true;
	rig_open(r);
	rig_chain(r, 1);
	op = rig_write(r, 1, 0, 0, 8);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 1);
	at = index_find(&r->s->index, &key);
	rot(r, log_block_offset(r->s, r->s->index.v[at].log_block));
	rig_settle(r); /* destaged */
	assert_int_equal(r->s->index.used, 0);
	assert_int_equal(r->asked, 1);
	assert_int_equal(r->bad.block, 5);
	start_read(r, &w);
	assert_false(w.done);
	assert_int_equal(answer(r, op), 0);
	rig_settle(r);
	expect_blocks(&w, op);
	store_check(r->s);
	rig_crash(r, 0);
	r->ask = false;
	assert_int_equal(rig_open(r), 0);
	rig_expect_part(r, 1, 0, 0, 8, op);
	rig_free(r);
}

static int vouch(struct rig *r, const struct store_bad *bad, struct await_read *w)
{
	*w = (struct await_read){.read = {.done = await_read_done}};
	store_vouch(r->s, &w->read, bad);
	rig_wait(r, &w->done);
	return w->res;
}

static void test_store_repair_neighbour_vouches_only_for_what_is_committed_and_equal(void **state)
{
	struct store_bad bad = {.volume = 1, .extent = 0, .block = 5, .chain = 1, .seq = 1};
	struct await_read w;
	struct rig_op *op, *newer;
	uint64_t at;
	struct rig *r = rig_with_page(56, false, &op, &at);

	(void)state;
	bad.crc = op->crcs[5];
	assert_int_equal(vouch(r, &bad, &w), 0);
	assert_int_equal(w.read.crcs[0], bad.crc);
	buf_put(w.read.data);
	/* Behind the one that asks. */
	bad.seq = 2;
	assert_int_equal(vouch(r, &bad, &w), -EAGAIN);
	assert_null(w.read.data);
	/* Something uncommitted touches it; then it differs. */
	newer = rig_write(r, 1, 0, 5, 1);
	rig_wait(r, &newer->is_done);
	bad.seq = 1;
	assert_int_equal(vouch(r, &bad, &w), -EAGAIN);
	store_commit(r->s, 1, 2);
	assert_int_equal(vouch(r, &bad, &w), -ESTALE);
	rig_free(r);
}

/* What a WRITE_SAME put there was lost in the log while there was nobody to ask: its record has the
 * unseeded checksum. A neighbour vouches for its block, and the block mends this one. */
static void test_store_repair_of_a_lost_write_same(void **state)
{
	struct rig *r = rig_new(NULL, 60);
	struct await_read w;
	struct rig_op *op;
	struct store_bad bad;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	op = rig_write_same(r, 1, 0, 0, 8, 77);
	rig_wait(r, &op->is_done);
	bad = (struct store_bad){.volume = 1, .seq = 1, .chain = 1, .block = 5};
	bad.crc = crc_block_anywhere(op->op.data->data);
	store_commit(r->s, 1, 1);
	rot(r, op->op.payload_offset);
	rig_settle(r);
	r->ask = true;
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	start_read(r, &w);
	assert_int_equal(r->asked, 1);
	assert_int_equal(r->bad.crc, bad.crc);
	while (!w.done) {
		assert_int_equal(answer(r, op), 0);
		while (fake_step_now(&r->fe))
			;
	}
	assert_int_equal(w.res, 0);
	buf_put(w.read.data);
	rig_expect_part(r, 1, 0, 0, 8, op);
	/* Now it is the neighbour of another in the same place. */
	assert_int_equal(vouch(r, &bad, &w), 0);
	buf_put(w.read.data);
	rig_free(r);
}

static void test_store_scrub_finds_rot_that_nobody_reads(void **state)
{
	struct store_stats st;
	struct rig_op *op;
	uint64_t at;
	struct rig *r = rig_with_page(57, true, &op, &at);

	(void)state;
	r->scrub_ns = 1000000000;
	rig_crash(r, 0);
	rot(r, at);
	assert_int_equal(rig_open(r), 0);
	while (r->asked == 0)
		assert_true(fake_step(&r->fe));
	assert_int_equal(r->bad.block, 5);
	assert_int_equal(answer(r, op), 0);
	store_stats(r->s, &st);
	assert_int_equal(st.repaired_blocks, 1);
	/* A whole pass more finds nothing. */
	for (uint64_t passes = st.scrub_passes; st.scrub_passes < passes + 2;) {
		assert_true(fake_step(&r->fe));
		store_stats(r->s, &st);
	}
	assert_int_equal(r->asked, 1);
	rig_free(r);
}

static void test_store_scrub_goes_on_where_it_was(void **state)
{
	struct rig *r = rig_new(NULL, 58);
	struct store_stats st = {0};
	struct rig_op *op = NULL;
	uint64_t place;

	(void)state;
	r->scrub_ns = 10000000000;
	rig_open(r);
	rig_chain(r, 1);
	for (unsigned i = 0; i < 20; i++) {
		op = rig_write(r, 1, i, 0, 32);
		rig_wait(r, &op->is_done);
	}
	store_commit(r->s, 1, 20);
	while (st.scrub_pages < 15) {
		assert_true(fake_step(&r->fe));
		store_stats(r->s, &st);
	}
	op = rig_write(r, 1, 0, 0, 32); /* so that there is a checkpoint */
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 21);
	for (uint64_t n = st.checkpoints; st.checkpoints == n;) {
		assert_true(fake_step(&r->fe));
		store_stats(r->s, &st);
	}
	place = r->s->super.scrub_page;
	assert_true(place > 0);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	assert_true(r->s->super.scrub_page + 1 >= place);
	rig_free(r);
}

/* Another daemon opens the disk: its start is in the superblock now. */
static void another_opens_it(struct rig *r)
{
	static struct disk_super sb;

	memcpy(&sb, r->disk.seen, sizeof(sb));
	sb.start++;
	sb.generation += 3;
	sb.incarnation.b[0] ^= 0x80;
	super_seal(&sb);
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		fake_disk_poke(&r->disk, super_offset_bytes(i), &sb, sizeof(sb));
}

static void test_store_watch_stops_a_store_that_another_daemon_opened(void **state)
{
	struct rig *r = rig_new(NULL, 59);
	static uint8_t got[BLOCK_BYTES];
	struct rig_op *op;

	(void)state;
	r->watch_ns = 1000000000;
	rig_open(r);
	rig_chain(r, 1);
	rig_wait(r, &rig_write(r, 1, 0, 0, 1)->is_done);
	another_opens_it(r);
	for (unsigned i = 0; i < 50 && !r->s->failed; i++)
		assert_true(fake_step(&r->fe));
	assert_true(r->s->failed);
	assert_non_null(strstr(r->fe.last_line, "another daemon"));
	assert_int_equal(rig_try_write(r, 1, 0, 1, 1, &op), -EIO);
	assert_int_equal(rig_read(r, 1, 0, 0, 1, false, got), -EIO);
	rig_free(r);
}

static void cluster_set(void *arg, int res)
{
	*(int *)arg = res;
}

/* Or the other one's trace would be gone before we looked. */
static void test_store_writes_no_superblock_over_that_of_another_daemon(void **state)
{
	const struct id128 cluster = {{0xcc}};
	struct rig *r = rig_new(NULL, 60);
	const struct disk_super *on_disk = (const void *)r->disk.seen;
	int res = 1;

	(void)state;
	rig_open(r);
	another_opens_it(r);
	store_set_cluster(r->s, &cluster, cluster_set, &res);
	while (res == 1)
		assert_true(fake_step(&r->fe));
	assert_int_equal(res, -EIO);
	assert_true(r->s->failed);
	assert_non_null(strstr(r->fe.last_line, "another daemon"));
	assert_true(id128_is_none(&on_disk->cluster));
	rig_free(r);
}

static void claims(void *rig, const struct store_opened *found)
{
	(void)found;
	store_claim(((struct rig *)rig)->s);
}

static void claims_too_late(void *rig, const struct store_opened *found)
{
	another_opens_it(rig);
	claims(rig, found);
}

static void gives_up(void *rig, const struct store_opened *found)
{
	struct rig *r = rig;

	assert_int_equal(store_chains_n(r->s), 1);
	assert_false(id128_is_none(&found->doubtful[0]));
	r->open_res = -EPERM;
	r->open_done = true;
}

static void test_store_that_nobody_claims_is_not_written_to(void **state)
{
	struct rig *r = rig_new(NULL, 61);
	uint64_t before;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_wait(r, &rig_write(r, 1, 0, 0, 1)->is_done);
	rig_close(r);
	before = r->disk.writes;
	r->validated = gives_up;
	assert_int_equal(rig_open(r), -EPERM);
	assert_int_equal(r->disk.writes, before);
	r->validated = claims_too_late;
	assert_int_equal(rig_open(r), -EBUSY);
	assert_int_equal(r->disk.writes, before);
	r->validated = claims;
	assert_int_equal(rig_open(r), 0);
	assert_true(r->disk.writes > before);
	rig_free(r);
}

#define ROTTEN (REPAIRS_MAX + 16u)

/* More bad blocks at once than can be asked for: none is a medium error for that. */
static void test_store_repair_of_very_many_at_once_waits_its_turn(void **state)
{
	static struct await_read read[ROTTEN];
	struct rig *r = rig_new(NULL, 77);
	struct rig_op *op;
	unsigned got = 0;

	(void)state;
	r->ask = true;
	rig_open(r);
	rig_chain(r, 1);
	op = rig_write(r, 1, 0, 0, ROTTEN);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 1);
	rig_settle(r);
	for (uint32_t b = 0; b < ROTTEN; b++) {
		const struct page_key key = {1, 0, b / PAGE_BLOCKS};
		uint32_t page = pages_id(&r->s->pages, pages_find(&r->s->pages, &key));
		uint64_t at = page_offset(r->s, page) + b % PAGE_BLOCKS * BLOCK_BYTES;

		r->disk.seen[at] ^= 1;
	}
	for (uint32_t b = 0; b < ROTTEN; b++) {
		read[b] = (struct await_read){
			.read = {.chain = 1, .volume = 1, .block = b, .blocks = 1}};
		await_read(r->s, &read[b]);
	}
	while (r->asked < REPAIRS_MAX)
		assert_true(fake_step_now(&r->fe));
	while (fake_step_now(&r->fe))
		continue;
	for (uint32_t b = 0; b < ROTTEN; b++)
		assert_false(read[b].done);
	while (got < ROTTEN) {
		got = 0;
		for (unsigned i = 0; i < REPAIRS_MAX; i++) {
			if (!r->s->repairs[i].used || r->s->repairs[i].answer)
				continue;
			r->bad = r->s->repairs[i].what;
			assert_int_equal(answer(r, op), 0);
		}
		while (fake_step_now(&r->fe))
			continue;
		for (uint32_t b = 0; b < ROTTEN; b++)
			got += read[b].done;
	}
	for (uint32_t b = 0; b < ROTTEN; b++) {
		assert_int_equal(read[b].res, 0);
		buf_put(read[b].read.data);
	}
	assert_int_equal(r->s->stats.bad_blocks, ROTTEN);
	assert_int_equal(r->s->stats.repaired_blocks, ROTTEN);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_repair_of_very_many_at_once_waits_its_turn),
		RIG_TEST(test_store_repair_read_waits_for_a_neighbours_block),
		RIG_TEST(test_store_repair_without_a_good_copy_is_a_medium_error),
		RIG_TEST(test_store_repair_overwritten_meanwhile_is_no_longer_needed),
		RIG_TEST(test_store_repair_read_error_is_told_from_its_neighbours),
		RIG_TEST(test_store_repair_of_what_was_bad_in_the_log),
		RIG_TEST(test_store_repair_neighbour_vouches_only_for_what_is_committed_and_equal),
		RIG_TEST(test_store_repair_of_a_lost_write_same),
		RIG_TEST(test_store_scrub_finds_rot_that_nobody_reads),
		RIG_TEST(test_store_scrub_goes_on_where_it_was),
		RIG_TEST(test_store_watch_stops_a_store_that_another_daemon_opened),
		RIG_TEST(test_store_that_nobody_claims_is_not_written_to),
		RIG_TEST(test_store_writes_no_superblock_over_that_of_another_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
