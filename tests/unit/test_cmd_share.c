/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chaind/cmd_share.h"

static char err[SHARE_ERR_BYTES];

static void test_share_slices_are_equal_whole_pages_and_fit(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= REACTORS_MAX; n++) {
		for (uint64_t bytes = 1ull << 30; bytes < (1ull << 30) + (3u << 20);
		     bytes += 4096) {
			struct slices s = share_disk(bytes, n);

			assert_int_equal(s.n, n);
			assert_true(n * s.each_bytes <= bytes);
			assert_true(n == 1 || s.each_bytes % PAGE_BYTES == 0);
			assert_true(bytes - n * s.each_bytes < n * PAGE_BYTES);
		}
	}
	assert_int_equal(share_disk(123456789, 1).each_bytes, 123456789); /* H2 */
}

static void test_share_names_are_numbered_when_there_are_several(void **state)
{
	char name[SERVER_NAME_BYTES];

	(void)state;
	assert_int_equal(share_name("s1", 0, 1, name, err), 0);
	assert_string_equal(name, "s1");
	assert_int_equal(share_name("s1", 11, 12, name, err), 0);
	assert_string_equal(name, "s1.11");
	assert_int_equal(share_name("a-name-of-thirty-one-characters", 0, 1, name, err), 0);
	assert_int_equal(share_name("a-name-of-thirty-one-characters", 0, 2, name, err), -EINVAL);
	assert_non_null(strstr(err, "too long"));
}

static void test_share_ports_count_up_and_paths_are_numbered(void **state)
{
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES] = {"127.0.0.1:7401", "host:0", "unix:/run/x"};

	(void)state;
	assert_int_equal(share_addrs(addrs, 0, 1, err), 0);
	assert_string_equal(addrs[2], "unix:/run/x"); /* H2 */
	assert_int_equal(share_addrs(addrs, 3, 4, err), 0);
	assert_string_equal(addrs[0], "127.0.0.1:7404");
	assert_string_equal(addrs[1], "host:0");
	assert_string_equal(addrs[2], "unix:/run/x.3");
	assert_string_equal(addrs[3], "");
	snprintf(addrs[0], ADDR_BYTES, "127.0.0.1:65534");
	assert_int_equal(share_addrs(addrs, 2, 3, err), -ERANGE);
	assert_non_null(strstr(err, "127.0.0.1:65534"));
}

static void test_share_processors_are_one_for_each_reactor(void **state)
{
	static const char *const wrong[] = {"",   ",",   "1,", "1,,2", "a",
					    "1-", "3-1", "-1", "1 2",  "99999"};
	uint32_t cpus[REACTORS_MAX];

	(void)state;
	assert_int_equal(share_cpus("7", 1, cpus, err), 0);
	assert_int_equal(cpus[0], 7);
	assert_int_equal(share_cpus("2,4-5", 3, cpus, err), 0);
	assert_int_equal(cpus[0], 2);
	assert_int_equal(cpus[1], 4);
	assert_int_equal(cpus[2], 5);
	assert_int_equal(share_cpus("0-999", 16, cpus, err), -EINVAL);
	assert_non_null(strstr(err, "1000 processors for 16 reactors"));
	assert_int_equal(share_cpus("0", 2, cpus, err), -EINVAL);
	assert_non_null(strstr(err, "one for each"));
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(share_cpus(wrong[i], 1, cpus, err), -EINVAL);
		assert_non_null(strstr(err, "not a list"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share_slices_are_equal_whole_pages_and_fit),
		cmocka_unit_test(test_share_names_are_numbered_when_there_are_several),
		cmocka_unit_test(test_share_ports_count_up_and_paths_are_numbered),
		cmocka_unit_test(test_share_processors_are_one_for_each_reactor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
