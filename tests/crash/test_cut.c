/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What a disk may hold after a cut is what crash states rest on: here it is spelled out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tests/crash/cut.h"

struct lab {
	struct heap heap;
	struct record rec;
	struct cut cut;
	struct image image;
};

static struct lab lab;

static int setup(void **state)
{
	static struct image nothing;
	static struct model none;

	(void)state;
	heap_init(&lab.heap, 1u << 20);
	image_init(&nothing, 16);
	model_init(&none);
	record_init(&lab.rec);
	record_start(&lab.rec, &nothing, &none);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	record_fini(&lab.rec);
	heap_fini(&lab.heap);
	return 0;
}

/* A write of @blocks blocks full of @byte begins. */
static uint32_t begin(uint32_t block, uint32_t blocks, char byte, bool durable)
{
	const struct write w = {.block = block, .blocks = blocks, .durable = durable};
	static uint8_t data[4 * BLOCK_BYTES];

	memset(data, byte, sizeof(data));
	return record_write(&lab.rec, &lab.heap, &w, data);
}

static void end(uint32_t write)
{
	lab.rec.write[write].ended = lab.rec.events_n;
	record_event(&lab.rec, EVENT_WRITTEN, write);
}

static uint32_t begin_flush(void)
{
	record_event(&lab.rec, EVENT_FLUSH, 0);
	return lab.rec.events_n - 1;
}

static void end_flush(uint32_t began)
{
	record_event(&lab.rec, EVENT_FLUSHED, began);
}

/* The first byte of each sector of @block after a cut at the end, as a string; '.' for 0. */
static const char *sectors(uint32_t block, enum pick_kind kind, uint32_t n)
{
	const struct pick p = {.kind = kind, .n = n};
	static uint8_t data[BLOCK_BYTES];
	static char text[BLOCK_SECTORS + 1];

	cut_init(&lab.cut, &lab.rec, &lab.heap);
	cut_advance(&lab.cut, lab.rec.events_n);
	cut_image(&lab.cut, &p, &lab.image);
	image_read(&lab.image, (uint64_t)block * BLOCK_BYTES, BLOCK_BYTES, data);
	for (uint32_t i = 0; i < BLOCK_SECTORS; i++)
		text[i] = data[i * SECTOR_BYTES] ? (char)data[i * SECTOR_BYTES] : '.';
	return text;
}

static void test_cut_keeps_a_durable_write_whole(void **state)
{
	(void)state;
	end(begin(3, 1, 'a', true));
	assert_string_equal(sectors(3, PICK_NONE, 0), "aaaaaaaa");
	assert_int_equal(lab.cut.open_n, 0);
}

static void test_cut_may_lose_or_keep_what_has_not_ended(void **state)
{
	(void)state;
	begin(3, 1, 'a', true);
	assert_string_equal(sectors(3, PICK_NONE, 0), "........");
	assert_string_equal(sectors(3, PICK_ALL, 0), "aaaaaaaa");
}

static void test_cut_loses_an_ended_write_that_nobody_flushed(void **state)
{
	(void)state;
	end(begin(3, 1, 'a', false));
	assert_string_equal(sectors(3, PICK_NONE, 0), "........");
	assert_string_equal(sectors(3, PICK_ONE, 0), "aaaaaaaa");
}

static void test_cut_takes_a_flush_for_what_had_ended_when_it_began(void **state)
{
	uint32_t late = 0, flush;

	(void)state;
	end(begin(3, 1, 'a', false));
	late = begin(4, 1, 'b', false);
	flush = begin_flush();
	end(late);
	end_flush(flush);
	assert_string_equal(sectors(3, PICK_NONE, 0), "aaaaaaaa");
	assert_string_equal(sectors(4, PICK_NONE, 0), "........");
}

static void test_cut_flushes_nothing_before_the_flush_has_ended(void **state)
{
	(void)state;
	end(begin(3, 1, 'a', false));
	begin_flush();
	assert_string_equal(sectors(3, PICK_NONE, 0), "........");
}

static void test_cut_picks_writes_alone_and_all_but_one(void **state)
{
	(void)state;
	begin(3, 1, 'a', false);
	begin(4, 1, 'b', false);
	begin(5, 1, 'c', false);
	assert_string_equal(sectors(4, PICK_ONE, 1), "bbbbbbbb");
	assert_string_equal(sectors(3, PICK_ONE, 1), "........");
	assert_string_equal(sectors(4, PICK_BUT, 1), "........");
	assert_string_equal(sectors(5, PICK_BUT, 1), "cccccccc");
}

static void test_cut_lets_either_of_two_open_writes_be_there_alone(void **state)
{
	(void)state;
	end(begin(3, 1, 'a', false));
	end(begin(3, 1, 'b', false));
	assert_string_equal(sectors(3, PICK_NONE, 0), "........");
	assert_string_equal(sectors(3, PICK_ONE, 0), "aaaaaaaa");
	assert_string_equal(sectors(3, PICK_ALL, 0), "bbbbbbbb");
}

static void test_cut_never_brings_back_what_a_durable_write_replaced(void **state)
{
	(void)state;
	end(begin(3, 2, 'a', false));
	end(begin(3, 1, 'b', true));
	assert_string_equal(sectors(3, PICK_ALL, 0), "bbbbbbbb");
	assert_string_equal(sectors(4, PICK_ALL, 0), "aaaaaaaa");
}

static void test_cut_forgets_what_a_killed_process_never_wrote(void **state)
{
	(void)state;
	record_event(&lab.rec, EVENT_DROPPED, begin(3, 1, 'a', true));
	assert_string_equal(sectors(3, PICK_ALL, 0), "........");
}

static void test_cut_tears_blocks_at_sectors_and_the_same_way_each_time(void **state)
{
	unsigned torn = 0, whole = 0;
	char first[BLOCK_SECTORS + 1];

	(void)state;
	begin(3, 1, 'a', false);
	for (uint32_t n = 1; n <= 200; n++) {
		memcpy(first, sectors(3, PICK_TORN, n), sizeof(first));
		assert_string_equal(sectors(3, PICK_TORN, n), first);
		torn += strchr(first, 'a') && strchr(first, '.');
		whole += !strchr(first, '.');
	}
	assert_in_range(torn, 60, 180);
	assert_in_range(whole, 10, 100);
}

static void test_cut_names_images_by_their_content(void **state)
{
	uint64_t sum;

	(void)state;
	end(begin(3, 1, 'a', true));
	sectors(3, PICK_NONE, 0);
	sum = lab.image.sum;
	end(begin(4, 1, '\0', true)); /* zeros where zeros were */
	sectors(3, PICK_NONE, 0);
	assert_true(lab.image.sum == sum);
	end(begin(4, 1, 'a', true));
	sectors(3, PICK_NONE, 0);
	assert_false(lab.image.sum == sum);
	end(begin(3, 1, '\0', true));
	end(begin(4, 1, '\0', true));
	sectors(3, PICK_NONE, 0);
	assert_true(lab.image.sum == 0);
}

#define CUT_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CUT_TEST(test_cut_keeps_a_durable_write_whole),
		CUT_TEST(test_cut_may_lose_or_keep_what_has_not_ended),
		CUT_TEST(test_cut_loses_an_ended_write_that_nobody_flushed),
		CUT_TEST(test_cut_takes_a_flush_for_what_had_ended_when_it_began),
		CUT_TEST(test_cut_flushes_nothing_before_the_flush_has_ended),
		CUT_TEST(test_cut_picks_writes_alone_and_all_but_one),
		CUT_TEST(test_cut_lets_either_of_two_open_writes_be_there_alone),
		CUT_TEST(test_cut_never_brings_back_what_a_durable_write_replaced),
		CUT_TEST(test_cut_forgets_what_a_killed_process_never_wrote),
		CUT_TEST(test_cut_tears_blocks_at_sectors_and_the_same_way_each_time),
		CUT_TEST(test_cut_names_images_by_their_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
