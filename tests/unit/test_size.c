/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/size.h"

static uint64_t size(const char *text)
{
	uint64_t v = 1234567;

	assert_int_equal(size_parse(text, &v), 0);
	return v;
}

static void test_sizes_are_numbers_with_an_optional_unit(void **state)
{
	(void)state;
	assert_int_equal(size("0"), 0);
	assert_int_equal(size("4096"), 4096);
	assert_int_equal(size("4K"), 4096);
	assert_int_equal(size("4k"), 4096);
	assert_int_equal(size("4KiB"), 4096);
	assert_int_equal(size("4KB"), 4096);
	assert_int_equal(size("3M"), 3ull << 20);
	assert_int_equal(size("10G"), 10ull << 30);
	assert_int_equal(size("1.5T"), 3ull << 39);
	assert_int_equal(size("0.5K"), 512);
	assert_int_equal(size("8388607T"), 8388607ull << 40);
	assert_int_equal(size("9223372036854775807"), INT64_MAX);
}

static void test_what_is_no_size_is_refused_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"",    "K",   "-1",   "+1",  " 1",  "1 ",  "1KK",   "1X",         "0x10", "1.",
		".5K", "1.5", "1.3K", "1e3", "1Ki", "1iB", "4,096", "1.0000001G", "1K4",
	};
	uint64_t v = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (size_parse(wrong[i], &v) != -EINVAL || v != 77)
			fail_msg("'%s' was taken for a size", wrong[i]);
	assert_int_equal(size_parse("8388608T", &v), -ERANGE);
	assert_int_equal(size_parse("9223372036854775808", &v), -ERANGE);
	assert_int_equal(size_parse("99999999999999999999999", &v), -ERANGE);
	assert_int_equal(v, 77);
}

static const char *text(uint64_t bytes)
{
	static char out[SIZE_TEXT_BYTES];

	size_format(bytes, out);
	return out;
}

static void test_sizes_are_printed_short(void **state)
{
	(void)state;
	assert_string_equal(text(0), "0");
	assert_string_equal(text(1023), "1023");
	assert_string_equal(text(1024), "1K");
	assert_string_equal(text(1536), "1.5K");
	assert_string_equal(text(10ull << 30), "10G");
	assert_string_equal(text((10ull << 30) - 1), "10G");
	assert_string_equal(text((1ull << 30) - 1), "1G");
	assert_string_equal(text(3ull << 39), "1.5T");
	assert_string_equal(text(1ull << 50), "1P");
	assert_string_equal(text(UINT64_MAX), "16E");
}

static void test_every_printed_size_that_is_exact_reads_back(void **state)
{
	(void)state;
	for (uint64_t v = 512; v < 1ull << 43; v *= 2) {
		assert_int_equal(size(text(v)), v);
		if (v >= 1024)
			assert_int_equal(size(text(v + v / 2)), v + v / 2);
	}
}

static void test_plain_numbers_are_plain(void **state)
{
	uint64_t v = 5;

	(void)state;
	assert_int_equal(opt_u64("65535", 65535, &v), 0);
	assert_int_equal(v, 65535);
	assert_int_equal(opt_u64("65536", 65535, &v), -ERANGE);
	assert_int_equal(opt_u64("18446744073709551616", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(opt_u64("18446744073709551615", UINT64_MAX, &v), 0);
	assert_int_equal(opt_u64("1K", 65535, &v), -EINVAL);
	assert_int_equal(opt_u64("", 65535, &v), -EINVAL);
}

static void test_addresses_are_host_and_port_or_a_path(void **state)
{
	static const char *const good[] = {"127.0.0.1:7400", "host-1.example:1", "unix:/run/x",
					   "localhost:65535"};
	static const char *const wrong[] = {
		"",      ":1",     "host",   "host:", "host:0",   "host:65536",   "host:1x",
		"unix:", "unix:x", "unix:/", "a b:1", "host:1\n", "http://host:1"};
	char long_addr[ADDR_BYTES + 8];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(addr_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (addr_is_valid(wrong[i]))
			fail_msg("'%s' was taken for an address", wrong[i]);
	memset(long_addr, 'a', sizeof(long_addr));
	memcpy(long_addr, "unix:/", 6);
	long_addr[ADDR_BYTES] = '\0';
	assert_false(addr_is_valid(long_addr));
	long_addr[ADDR_BYTES - 1] = '\0';
	assert_true(addr_is_valid(long_addr));
}

static void test_lists_of_addresses_are_cut_at_commas(void **state)
{
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	uint32_t n = 0;

	(void)state;
	assert_int_equal(addr_list_parse("a:1,unix:/b", addrs, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(addrs[0], "a:1");
	assert_string_equal(addrs[1], "unix:/b");
	assert_string_equal(addrs[2], "");
	assert_int_equal(addr_list_parse("a:1,b:1,c:1,d:1", addrs, &n), 0);
	assert_int_equal(addr_list_parse("a:1,b:1,c:1,d:1,e:1", addrs, &n), -E2BIG);
	assert_int_equal(addr_list_parse("", addrs, &n), -EINVAL);
	assert_int_equal(addr_list_parse("a:1,", addrs, &n), -EINVAL);
	assert_int_equal(addr_list_parse(",a:1", addrs, &n), -EINVAL);
	assert_int_equal(n, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_are_numbers_with_an_optional_unit),
		cmocka_unit_test(test_what_is_no_size_is_refused_and_changes_nothing),
		cmocka_unit_test(test_sizes_are_printed_short),
		cmocka_unit_test(test_every_printed_size_that_is_exact_reads_back),
		cmocka_unit_test(test_plain_numbers_are_plain),
		cmocka_unit_test(test_addresses_are_host_and_port_or_a_path),
		cmocka_unit_test(test_lists_of_addresses_are_cut_at_commas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
