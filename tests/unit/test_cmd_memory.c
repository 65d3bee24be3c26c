/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chaind/cmd_memory.h"

#define GIB (1ull << 30)
#define MIB (1ull << 20)

static char err[MEMORY_TEXT_BYTES];

static struct node_config config(uint64_t disk_bytes)
{
	return (struct node_config){.disk_bytes = disk_bytes, .chains_max = NODE_CHAINS_MAX};
}

/* What memory_plan() said, in MiB. */
static uint64_t wanted_mib(const struct node_config *cfg, uint32_t reactors)
{
	struct node_config c = *cfg;
	struct memory_plan p;
	const char *at;

	assert_int_equal(memory_plan(&c, reactors, 1, &p, err), -ENOMEM);
	at = strstr(err, "give --memory ");
	assert_non_null(at);
	return strtoull(at + strlen("give --memory "), NULL, 10);
}

static void test_memory_without_a_budget_is_what_is_needed_and_default_buffers(void **state)
{
	struct node_config cfg = config(2 * GIB);
	struct memory_plan p;

	(void)state;
	assert_int_equal(memory_plan(&cfg, 1, 0, &p, err), 0);
	assert_int_equal(p.total_bytes, node_memory(&cfg) + p.io_bytes);
	assert_int_equal(p.total_bytes, p.node.store_bytes + p.node.tables_bytes +
						p.node.buffers_bytes + p.io_bytes);
	assert_in_range(p.node.buffers_bytes, 47 * MIB, 50 * MIB);
}

static void test_memory_a_budget_is_never_exceeded_and_hardly_wasted(void **state)
{
	(void)state;
	for (uint32_t reactors = 1; reactors <= 5; reactors++) {
		struct node_config cfg = config(3 * GIB);
		uint64_t least = wanted_mib(&cfg, reactors) * MIB;

		for (uint64_t more = 0; more < 200 * MIB; more += 333333) {
			struct memory_plan p;

			if (memory_plan(&cfg, reactors, least + more, &p, err) < 0)
				fail_msg("%s", err);
			assert_true(p.total_bytes <= least + more);
			assert_true(p.total_bytes + reactors * 2 * MIB + more / 16 >= least + more);
			assert_true(reactors * (node_memory(&cfg) + p.io_bytes) == p.total_bytes);
		}
	}
}

static void test_memory_that_is_not_enough_says_how_much_is(void **state)
{
	struct node_config cfg = config(1024 * GIB);
	struct memory_plan p;
	uint64_t least = wanted_mib(&cfg, 1);

	(void)state;
	assert_int_equal(memory_plan(&cfg, 1, (least - 1) * MIB, &p, err), -ENOMEM);
	assert_non_null(strstr(err, "1048576M need "));
	assert_int_equal(memory_plan(&cfg, 1, least * MIB, &p, err), 0);
	assert_true(p.node.buffers_bytes >= 7 * MIB);
}

static void test_memory_above_the_machines_is_refused_with_both_sizes_and_what_to_give(void **state)
{
	struct node_config cfg = config(2 * GIB);
	const uint64_t least = wanted_mib(&cfg, 2);
	struct memory_plan p;
	const char *at;

	(void)state;
	assert_int_equal(memory_plan(&cfg, 2, 64 * GIB, &p, err), 0);
	assert_int_equal(memory_fits(&p, 2, 64 * GIB, 64 * GIB, err), 0);
	assert_int_equal(memory_fits(&p, 2, 64 * GIB, 8 * GIB + 1, err), -ENOMEM);
	assert_non_null(strstr(err, "--memory 65536M are more than the 8192M"));
	at = strstr(err, "give --memory ");
	assert_non_null(at);
	assert_int_equal(strtoull(at + strlen("give --memory "), NULL, 10), least);
	assert_non_null(strstr(at, "M to 8192M"));

	assert_int_equal(memory_plan(&cfg, 2, 0, &p, err), 0);
	assert_int_equal(memory_fits(&p, 2, 0, p.total_bytes, err), 0);
	assert_int_equal(memory_fits(&p, 2, 0, (least + 1) * MIB, err), -ENOMEM);
	assert_non_null(strstr(err, "the default of "));
	assert_int_equal(memory_fits(&p, 2, 0, (least - 1) * MIB, err), -ENOMEM);
	assert_non_null(strstr(err, "needs at least "));
	assert_non_null(strstr(err, "format a smaller store"));
}

static void test_memory_text_names_every_part(void **state)
{
	static const char *const parts[] = {
		"memory ", "store ",  "page table ", "log index ",       "checksum cache ",
		"chains ", "tables ", "network ",    "payload buffers ", "3 reactors"};
	struct node_config cfg = config(GIB);
	struct memory_plan p;
	char text[MEMORY_TEXT_BYTES];

	(void)state;
	assert_int_equal(memory_plan(&cfg, 3, 0, &p, err), 0);
	memory_text(&p, 3, text);
	for (unsigned i = 0; i < ARRAY_LEN(parts); i++)
		assert_non_null(strstr(text, parts[i]));
	assert_int_equal(strtoull(text + strlen("memory "), NULL, 10),
			 (p.total_bytes + MIB - 1) / MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_memory_without_a_budget_is_what_is_needed_and_default_buffers),
		cmocka_unit_test(test_memory_a_budget_is_never_exceeded_and_hardly_wasted),
		cmocka_unit_test(test_memory_that_is_not_enough_says_how_much_is),
		cmocka_unit_test(
			test_memory_above_the_machines_is_refused_with_both_sizes_and_what_to_give),
		cmocka_unit_test(test_memory_text_names_every_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
