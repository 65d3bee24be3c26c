/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The bytes of every message as they were when the format was frozen: tests/golden/wire, one file
 * per type, written by tests/fuzz/seed.c. A difference is a change of the wire format: it needs a
 * new WIRE_VERSION, and new files. The folder is the program's argument. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/samples.h"

static const char *folder;
static uint8_t golden[1u << 20], ours[1u << 20];

static size_t read_golden(const char *name)
{
	char path[4096];
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (!file)
		fail_msg("%s is missing: a message type without golden bytes", path);
	len = fread(golden, 1, sizeof(golden), file);
	fclose(file);
	return len;
}

static void test_every_message_has_the_bytes_it_always_had(void **state)
{
	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		struct frame *f = sample_frame(type);
		size_t len, golden_len;

		if (!f)
			continue;
		len = sample_flatten(f, ours, sizeof(ours));
		frame_put(f);
		golden_len = read_golden(wire_type_info(type)->name);
		if (len != golden_len)
			fail_msg("%s has %zu bytes, always had %zu", wire_type_info(type)->name,
				 len, golden_len);
		for (size_t i = 0; i < len; i++)
			if (ours[i] != golden[i])
				fail_msg("%s differs at byte %zu", wire_type_info(type)->name, i);
	}
}

static void test_golden_messages_are_accepted(void **state)
{
	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		struct frame *f;
		const char *why;

		if (!wire_type_info(type))
			continue;
		assert_int_equal(
			sample_receive(golden, read_golden(wire_type_info(type)->name), &f, &why),
			0);
		assert_int_equal(wire_frame_check(f, sample_role(type), &why), 0);
		frame_put(f);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_message_has_the_bytes_it_always_had),
		cmocka_unit_test(test_golden_messages_are_accepted),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: test_golden_wire FOLDER\n");
		return 2;
	}
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
