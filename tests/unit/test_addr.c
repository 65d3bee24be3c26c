/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/io_test.h"

#include <errno.h>

#include "io/addr.h"
#include "io/tcp.h"

static char err[IO_ERR_BYTES];

static bool plaintext_ok(const char *text, const char *lab, bool listening)
{
	struct addr a;

	if (addr_parse(text, &a, err) < 0)
		fail_msg("%s", err);
	return addr_plaintext_ok(&a, lab, listening);
}

static void test_addr_is_host_and_port_or_a_socket_file(void **state)
{
	static const char *const bad[] = {"",
					  ":1",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1:65536",
					  "127.0.0.1:-1",
					  "127.0.0.1:1x",
					  "unix:",
					  "unix:relative"};
	char text[PEER_BYTES];
	struct addr a;

	(void)state;
	assert_int_equal(addr_parse("127.0.0.1:7400", &a, err), 0);
	addr_text(&a, text);
	assert_string_equal(text, "127.0.0.1:7400");
	assert_int_equal(addr_parse("unix:/run/chainblk.sock", &a, err), 0);
	addr_text(&a, text);
	assert_string_equal(text, "unix:/run/chainblk.sock");
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(addr_parse(bad[i], &a, err), -EINVAL);
}

static void test_addr_lists_are_split(void **state)
{
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];

	(void)state;
	assert_int_equal(tcp_parse_addrs("127.0.0.1:1,unix:/tmp/x", addrs, err), 0);
	assert_string_equal(addrs[0], "127.0.0.1:1");
	assert_string_equal(addrs[1], "unix:/tmp/x");
	assert_string_equal(addrs[2], "");
	assert_int_equal(tcp_parse_addrs("127.0.0.1:1,", addrs, err), -EINVAL);
	assert_int_equal(tcp_parse_addrs("", addrs, err), -EINVAL);
	assert_int_equal(tcp_parse_addrs("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4,"
					 "127.0.0.1:5",
					 addrs, err),
			 -EINVAL);
}

static void test_addr_plaintext_is_for_this_machine_and_the_laboratory(void **state)
{
	(void)state;
	assert_true(plaintext_ok("127.0.0.1:1", NULL, false));
	assert_true(plaintext_ok("127.1.2.3:1", NULL, false));
	assert_true(plaintext_ok("unix:/tmp/x", NULL, false));
	assert_false(plaintext_ok("10.0.2.2:1", NULL, false));
	assert_false(plaintext_ok("10.0.2.2:1", "", false));
	assert_true(plaintext_ok("10.0.2.2:1", "10.0.2.", false));
	assert_false(plaintext_ok("10.0.20.2:1", "10.0.2.", false));
	assert_false(plaintext_ok("0.0.0.0:1", NULL, true));
	assert_true(plaintext_ok("0.0.0.0:1", "10.0.2.", true));
	assert_false(plaintext_ok("0.0.0.0:1", "10.0.2.", false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addr_is_host_and_port_or_a_socket_file),
		cmocka_unit_test(test_addr_lists_are_split),
		cmocka_unit_test(test_addr_plaintext_is_for_this_machine_and_the_laboratory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
