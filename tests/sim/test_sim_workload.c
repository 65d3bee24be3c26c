/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The workload against a perfect disk and against ones that lose, mix up or tear. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/workload.h"

#define VOLUME_BYTES EXTENT_BYTES
#define IN_FLIGHT 16

enum bug { BUG_NONE, BUG_STALE_READ, BUG_LOST_WRITE, BUG_TORN_READ, BUG_MISPLACED, BUG_CAW_TWICE };

struct pending {
	struct workload_op *op;
	uint8_t *data;
};

static struct world w;
static struct workload l;
static uint8_t *content, *before;

static int caw(const struct workload_op *op, const uint8_t *data, uint32_t *ret_offset,
	       enum bug bug)
{
	for (uint32_t i = 0; i < op->len_bytes && bug != BUG_CAW_TWICE; i++)
		if (content[op->offset_bytes + i] != data[i]) {
			*ret_offset = i;
			return -EILSEQ;
		}
	memcpy(content + op->offset_bytes, data + op->len_bytes, op->len_bytes);
	return 0;
}

static int perform(struct workload_op *op, uint8_t *data, uint32_t *ret_offset, enum bug bug)
{
	bool hit = rng_chance(&w.rng, 20000);
	uint8_t *at = content + op->offset_bytes;

	switch (op->kind) {
	case CLIENT_READ:
		memcpy(data, bug == BUG_STALE_READ && hit ? before + op->offset_bytes : at,
		       op->len_bytes);
		if (bug == BUG_TORN_READ && hit)
			memcpy(data + op->len_bytes / 2,
			       before + op->offset_bytes + op->len_bytes / 2, op->len_bytes / 2);
		return 0;
	case CLIENT_WRITE:
		if (bug == BUG_MISPLACED && hit)
			at = content;
		if (bug != BUG_LOST_WRITE || !hit)
			memcpy(at, data, op->len_bytes);
		return 0;
	case CLIENT_UNMAP:
		memset(at, 0, op->len_bytes);
		return 0;
	case CLIENT_WRITE_SAME:
		for (uint32_t i = 0; i < op->len_bytes; i += BLOCK_BYTES)
			memcpy(at + i, data, BLOCK_BYTES);
		return 0;
	case CLIENT_CAW:
		return caw(op, data, ret_offset, bug);
	case CLIENT_PRESENT:
		memset(data, 0xff, op->data_bytes);
		return 0;
	}
	return -EINVAL;
}

/* Operations overlap: each takes effect at some moment between its start and its end. */
static uint32_t run(uint64_t seed, enum bug bug)
{
	struct workload_config cfg = {.volume_bytes = VOLUME_BYTES,
				      .runs_n = 4,
				      .weights = {100, 5, 50, 100, 5, 50, 30, 30, 60, 5}};
	struct pending out[IN_FLIGHT] = {0};
	uint32_t violations;

	world_init(&w, seed, 0);
	workload_init(&l, &w, &cfg);
	memset(content, 0, EXTENT_BYTES);
	for (int i = 0; i < 20000 && !w.violations; i++) {
		struct pending *p = &out[rng_below(&w.rng, IN_FLIGHT)];
		uint32_t offset = 0;
		int res;

		if (i % 64 == 0)
			memcpy(before, content, VOLUME_BYTES);
		if (!p->op) {
			p->op = workload_next(&l);
			p->data = malloc(p->op->data_bytes + 1);
			workload_fill(&l, p->op, p->data);
			continue;
		}
		res = perform(p->op, p->data, &offset, bug);
		if (rng_chance(&w.rng, 5000))
			workload_done(&l, p->op, -ETIMEDOUT, 0, NULL);
		else
			workload_done(&l, p->op, res, offset, p->data);
		free(p->data);
		p->op = NULL;
	}
	for (int i = 0; i < IN_FLIGHT; i++)
		if (out[i].op)
			free(out[i].data);
	workload_check(&l);
	violations = w.violations;
	if (violations && bug == BUG_NONE)
		print_message("%s\n", w.first_violation);
	workload_fini(&l);
	world_fini(&w);
	return violations;
}

static void test_a_perfect_disk_gives_no_violation(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		assert_int_equal(run(seed, BUG_NONE), 0);
}

static void test_every_kind_of_wrong_content_is_found(void **state)
{
	(void)state;
	for (enum bug bug = BUG_STALE_READ; bug <= BUG_CAW_TWICE; bug++)
		for (uint64_t seed = 1; seed <= 3; seed++)
			assert_int_not_equal(run(seed, bug), 0);
}

static void test_a_stamp_knows_its_place(void **state)
{
	uint8_t s[SECTOR_BYTES];

	(void)state;
	stamp_fill(s, 77, 5, 3);
	assert_int_equal(stamp_value(s, 5, 3), 77);
	assert_true(stamp_value(s, 6, 3) == STAMP_BAD);
	assert_true(stamp_value(s, 5, 4) == STAMP_BAD);
	s[100] ^= 1;
	assert_true(stamp_value(s, 5, 3) == STAMP_BAD);
	memset(s, 0, sizeof(s));
	assert_int_equal(stamp_value(s, 5, 3), STAMP_ZERO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_perfect_disk_gives_no_violation),
		cmocka_unit_test(test_every_kind_of_wrong_content_is_found),
		cmocka_unit_test(test_a_stamp_knows_its_place),
	};

	content = calloc(1, EXTENT_BYTES);
	before = calloc(1, EXTENT_BYTES);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
