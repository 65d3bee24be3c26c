/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cfgsvc/cfgstore_file.h"
#include "lib/arena.h"

/* A file in memory whose writes can be cut short or fail. */
struct mem_file {
	struct env_file file;
	uint8_t bytes[2 * CFGFILE_BYTES_MAX];
	size_t len;
	int fail; /* -errno of the next write */
	unsigned replaced;
};

static struct mem_file disk;
static struct cfgfile cf;
static void *memory;

static int mem_read(struct env_file *f, void *buf, size_t cap, size_t *ret_len)
{
	(void)f;
	if (disk.len > cap)
		return -EFBIG;
	memcpy(buf, disk.bytes, disk.len);
	*ret_len = disk.len;
	return 0;
}

static int mem_append(struct env_file *f, uint64_t offset, const void *bytes, size_t len)
{
	(void)f;
	if (disk.fail)
		return disk.fail;
	memcpy(disk.bytes + offset, bytes, len);
	disk.len = offset + len;
	return 0;
}

static int mem_replace(struct env_file *f, const void *bytes, size_t len)
{
	(void)f;
	if (disk.fail)
		return disk.fail;
	memcpy(disk.bytes, bytes, len);
	disk.len = len;
	disk.replaced++;
	return 0;
}

static void start(void)
{
	struct arena a;

	memset(memory, 0, cfgfile_memory());
	arena_init(&a, memory, cfgfile_memory());
	cfgfile_init(&cf, &disk.file, &a);
}

static int fresh(void **state)
{
	(void)state;
	if (!memory)
		memory = malloc(cfgfile_memory());
	memset(&disk, 0, sizeof(disk));
	disk.file = (struct env_file){mem_read, mem_append, mem_replace};
	start();
	return 0;
}

static struct {
	int res;
	char text[64];
	size_t len;
	uint64_t rev;
} loaded;

static void on_loaded(void *arg, int res, const void *bytes, size_t len, uint64_t rev)
{
	(void)arg;
	loaded.res = res;
	loaded.len = len;
	loaded.rev = rev;
	if (len > 0)
		memcpy(loaded.text, bytes, MIN(len, sizeof(loaded.text)));
}

static int load(void)
{
	memset(&loaded, 0, sizeof(loaded));
	cf.store.load(&cf.store, on_loaded, NULL);
	return loaded.res;
}

static int put_res;

static void on_put(void *arg, int res)
{
	(void)arg;
	put_res = res;
}

static int put(uint64_t rev, const char *text)
{
	put_res = 1;
	cf.store.put(&cf.store, rev, text, strlen(text), on_put, NULL);
	return put_res;
}

static void test_what_was_put_last_is_loaded_after_a_restart(void **state)
{
	(void)state;
	assert_int_equal(load(), 0);
	assert_int_equal(loaded.len, 0);
	assert_int_equal(put(0, "first"), 0);
	assert_int_equal(put(1, "second state"), 0);
	start();
	assert_int_equal(load(), 0);
	assert_int_equal(loaded.rev, 2);
	assert_int_equal(loaded.len, 12);
	assert_memory_equal(loaded.text, "second state", 12);
	assert_int_equal(put(2, "third"), 0);
	start();
	load();
	assert_memory_equal(loaded.text, "third", 5);
	assert_int_equal(disk.replaced, 1);
}

static void test_a_put_on_an_older_revision_is_refused(void **state)
{
	(void)state;
	load();
	assert_int_equal(put(0, "first"), 0);
	assert_int_equal(put(0, "other"), -ESTALE);
	start();
	load();
	assert_memory_equal(loaded.text, "first", 5);
}

static void test_a_file_torn_at_any_byte_gives_the_last_whole_state(void **state)
{
	size_t ends[3], full;

	(void)state;
	load();
	put(0, "state one");
	ends[0] = disk.len;
	put(1, "state two");
	ends[1] = disk.len;
	put(2, "state three");
	full = disk.len;
	for (size_t cut = ends[0]; cut <= full; cut++) {
		uint64_t rev = cut == full ? 3 : cut >= ends[1] ? 2 : 1;

		disk.len = cut;
		start();
		assert_int_equal(load(), 0);
		assert_int_equal(loaded.rev, rev);
		assert_memory_equal(loaded.text,
				    rev == 3   ? "state three"
				    : rev == 2 ? "state two"
					       : "state one",
				    9);
	}
	/* The next put goes over the torn end. */
	disk.len = full - 1;
	start();
	load();
	assert_int_equal(put(2, "state 3 again"), 0);
	start();
	load();
	assert_int_equal(loaded.rev, 3);
	assert_memory_equal(loaded.text, "state 3 again", 13);
}

static void test_the_first_record_is_never_torn_so_a_short_file_is_damage(void **state)
{
	size_t full;

	(void)state;
	load();
	put(0, "state one");
	full = disk.len;
	for (size_t cut = 1; cut < full; cut++) {
		disk.len = cut;
		start();
		assert_int_equal(load(), -EBADMSG);
		assert_non_null(strstr(cf.why, "damaged"));
		assert_int_equal(put(0, "new cluster"), -EIO);
	}
}

static void test_a_byte_that_rots_in_the_middle_is_a_named_error(void **state)
{
	size_t last, one;

	(void)state;
	load();
	put(0, "state one");
	one = disk.len;
	put(1, "state two");
	last = disk.len;
	put(2, "state three");
	for (size_t i = 0; i < last; i++) {
		size_t in_record = i % one;

		if (in_record >= sizeof(struct cfgfile_rec) + 9)
			continue; /* padding: means nothing */
		disk.bytes[i] ^= 0x10;
		start();
		assert_int_equal(load(), -EBADMSG);
		assert_non_null(strstr(cf.why, "damaged"));
		disk.bytes[i] ^= 0x10;
	}
	start();
	assert_int_equal(load(), 0);
}

static void test_a_record_that_is_missing_in_the_middle_is_a_named_error(void **state)
{
	size_t one, two;

	(void)state;
	load();
	put(0, "state one");
	one = disk.len;
	put(1, "state two");
	two = disk.len;
	put(2, "state three");
	memmove(disk.bytes + one, disk.bytes + two, disk.len - two);
	disk.len -= two - one;
	start();
	assert_int_equal(load(), -EBADMSG);
	assert_string_equal(cf.why, "configuration file: damaged: a revision is missing");
}

static void test_a_long_file_is_replaced_by_its_newest_record(void **state)
{
	static char big[200000];
	uint64_t rev = 0;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	load();
	while (disk.replaced < 3) {
		big[0] = (char)('a' + rev % 26);
		assert_int_equal(put(rev, big), 0);
		rev++;
		assert_true(disk.len <= CFGFILE_BYTES_MAX);
	}
	start();
	assert_int_equal(load(), 0);
	assert_int_equal(loaded.rev, rev);
	assert_int_equal(loaded.len, sizeof(big) - 1);
	assert_int_equal(loaded.text[0], 'a' + (rev - 1) % 26);
}

static void test_after_a_failed_write_nothing_is_written_until_the_next_start(void **state)
{
	(void)state;
	load();
	put(0, "state one");
	disk.fail = -ENOSPC;
	assert_int_equal(put(1, "state two"), -EIO);
	disk.fail = 0;
	assert_int_equal(put(1, "state two"), -EIO);
	start();
	assert_int_equal(load(), 0);
	assert_int_equal(put(1, "state two"), 0);
}

static void test_a_record_has_the_bytes_it_always_had(void **state)
{
	static const uint8_t golden[48] = {
		0x43, 0x46, 0x47, 0x52, 0x01, 0,   0,   0,   0x07, 0,    0,    0,
		0,    0,    0,    0,    0x09, 0,   0,   0,   0x83, 0x92, 0x06, 0xe3,
		0,    0,    0,    0,    0,    0,   0,   0,   0,    0,    0,    0,
		0,    0,    0,    0,    '1',  '2', '3', '4', '5',  '6',  '7',  '8',
	};
	uint8_t rec[128];

	(void)state;
	assert_int_equal(cfgfile_encode(7, "123456789", 9, rec), 40 + 16);
	assert_memory_equal(rec, golden, 36);
	assert_memory_equal(rec + 40, golden + 40, 8);
	assert_int_equal(rec[48], '9');
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_was_put_last_is_loaded_after_a_restart),
		T(test_a_put_on_an_older_revision_is_refused),
		T(test_a_file_torn_at_any_byte_gives_the_last_whole_state),
		T(test_the_first_record_is_never_torn_so_a_short_file_is_damage),
		T(test_a_byte_that_rots_in_the_middle_is_a_named_error),
		T(test_a_record_that_is_missing_in_the_middle_is_a_named_error),
		T(test_a_long_file_is_replaced_by_its_newest_record),
		T(test_after_a_failed_write_nothing_is_written_until_the_next_start),
		T(test_a_record_has_the_bytes_it_always_had),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	free(memory);
	return rc;
}
