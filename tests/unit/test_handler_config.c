/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants the five above first */
#include <cmocka.h>

#include "tcmu-handler/config.h"

static void test_config_takes_a_volume_and_one_address(void **state)
{
	char reason[CONFIG_REASON_BYTES] = "";
	struct config config;

	(void)state;
	assert_int_equal(config_parse("chain/vol0@10.0.2.2:7400", &config, reason), 0);
	assert_string_equal(config.volume, "vol0");
	assert_string_equal(config.addresses, "10.0.2.2:7400");
}

static void test_config_takes_lists_with_commas_and_semicolons(void **state)
{
	char reason[CONFIG_REASON_BYTES] = "";
	struct config config;

	(void)state;
	assert_int_equal(config_parse("chain/a@h1:1,h2:2;unix:/run/c.sock", &config, reason), 0);
	assert_string_equal(config.addresses, "h1:1,h2:2,unix:/run/c.sock");
}

/* rtslib refuses a colon and the kernel ends the value at a comma. */
static void test_config_takes_what_targetcli_lets_through(void **state)
{
	char reason[CONFIG_REASON_BYTES] = "";
	struct config config;

	(void)state;
	assert_int_equal(config_parse("chain/vol0@10.0.0.1/7402;h2;/run/c.sock", &config, reason),
			 0);
	assert_string_equal(config.volume, "vol0");
	assert_string_equal(config.addresses, "10.0.0.1:7402,h2:7400,unix:/run/c.sock");
}

static void test_config_takes_as_many_addresses_as_fit(void **state)
{
	char string[sizeof(CONFIG_PREFIX) + 200] = "chain/v@";
	char reason[CONFIG_REASON_BYTES] = "";
	struct config config;

	(void)state;
	for (int i = 0; i < 99; i++)
		strncat(string, i ? ";h" : "h", 3);
	assert_int_equal(config_parse(string, &config, reason), 0);
	assert_int_equal(strlen(config.addresses), 99 * 7 - 1);
}

static void test_config_takes_200_bytes_and_not_201(void **state)
{
	char string[sizeof(CONFIG_PREFIX) + 202] = "chain/v@";
	char reason[CONFIG_REASON_BYTES] = "";
	struct config config;
	size_t n = strlen(CONFIG_PREFIX);

	(void)state;
	memset(string + 8, 'h', n + 200 - 8 - 2);
	strncpy(string + n + 200 - 2, ":1", 3);
	assert_int_equal(strlen(string), n + 200);
	assert_int_equal(config_parse(string, &config, reason), 0);
	strncpy(string + n + 200, "0", 2);
	assert_int_equal(config_parse(string, &config, reason), -EINVAL);
	assert_non_null(strstr(reason, "201 bytes"));
}

static void test_config_says_what_is_wrong(void **state)
{
	static const struct {
		const char *string, *says;
	} wrong[] = {
		{"", "does not begin with chain/"},
		{"rbd/vol0@h:1", "does not begin with chain/"},
		{"chain/", "no '@'"},
		{"chain/vol0", "no '@' in 'vol0'"},
		{"chain/@h:1", "name '' is not"},
		{"chain/a/b@h:1", "name 'a/b' is not"},
		{"chain/vol0@", "address is empty"},
		{"chain/vol0@h:1,", "address is empty"},
		{"chain/vol0@:1", "the host is not"},
		{"chain/vol0@h/x:1", "port is not"},
		{"chain/vol0@h h:1", "the host is not"},
		{"chain/vol0@/", "the host is not"},
		{"chain/vol0@h:", "port is not"},
		{"chain/vol0@h:0", "port is not"},
		{"chain/vol0@h:65536", "port is not"},
		{"chain/vol0@h:123456", "port is not"},
		{"chain/vol0@h:1x", "port is not"},
		{"chain/vol0@h:1:2", "port is not"},
		{"chain/vol0@unix:run", "port is not"},
		{"chain/0123456789012345678901234567890123456789012345678901234567890123@h:1",
		 "longer than 63"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char reason[CONFIG_REASON_BYTES] = "";
		struct config config = {.volume = "before"};

		assert_int_equal(config_parse(wrong[i].string, &config, reason), -EINVAL);
		if (!strstr(reason, wrong[i].says))
			fail_msg("'%s': '%s' does not say '%s'", wrong[i].string, reason,
				 wrong[i].says);
		assert_string_equal(config.volume, "before");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_takes_a_volume_and_one_address),
		cmocka_unit_test(test_config_takes_lists_with_commas_and_semicolons),
		cmocka_unit_test(test_config_takes_what_targetcli_lets_through),
		cmocka_unit_test(test_config_takes_as_many_addresses_as_fit),
		cmocka_unit_test(test_config_takes_200_bytes_and_not_201),
		cmocka_unit_test(test_config_says_what_is_wrong),
	};

	return cmocka_run_group_tests_name("handler_config", tests, NULL, NULL);
}
