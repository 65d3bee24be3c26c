/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/disk_make.h"

#define STORE_BYTES (40u << 20)
#define MIB (1u << 20)

static char path[64]; /* in the build folder: /tmp may have no O_DIRECT */
static char err[IO_ERR_BYTES];
static uint64_t written;

static int setup(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "test_disk_make.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	written = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static int open_file(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool is_zero(int fd, uint64_t from, uint64_t to)
{
	static uint8_t buf[MIB];

	while (from < to) {
		ssize_t n = pread(fd, buf, MIN((uint64_t)MIB, to - from), (off_t)from);

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != 0)
				return false;
		from += (uint64_t)n;
	}
	return true;
}

static int make(uint64_t size_bytes, bool force)
{
	const struct disk_make m = {.path = path, .size_bytes = size_bytes, .force = force};

	return disk_make_file(&m, &written, err);
}

/* Allocated, and no part of it only reserved. */
static void assert_written_through(uint64_t size_bytes)
{
	int fd = open_file();
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size_bytes);
	assert_true((uint64_t)st.st_blocks * 512 >= size_bytes);
	assert_true((uint64_t)lseek(fd, 0, SEEK_HOLE) == size_bytes);
	close(fd);
}

static void test_disk_make_writes_a_file_and_does_not_only_reserve_it(void **state)
{
	int fd;

	(void)state;
	unlink(path);
	assert_int_equal(make(STORE_BYTES, false), 0);
	assert_int_equal(written, STORE_BYTES);
	assert_written_through(STORE_BYTES);
	fd = open_file();
	assert_true(is_zero(fd, 0, STORE_BYTES));
	close(fd);
	assert_int_equal(make(STORE_BYTES, false), 0);
	assert_int_equal(written, 0); /* all is there */
}

static void test_disk_make_keeps_what_is_there_and_fills_the_holes(void **state)
{
	static const char kept[] = "what was there stays";
	char back[sizeof(kept)];
	int fd = open_file();

	(void)state;
	assert_int_equal(pwrite(fd, kept, sizeof(kept), 5 * MIB), sizeof(kept));
	assert_int_equal(ftruncate(fd, 10 * MIB + 100), 0);
	assert_int_equal(make(STORE_BYTES, false), 0);
	assert_int_equal(pread(fd, back, sizeof(back), 5 * MIB), sizeof(kept));
	assert_string_equal(back, kept);
	assert_true(written < STORE_BYTES);
	assert_true(is_zero(fd, 5 * MIB + sizeof(kept), STORE_BYTES));
	close(fd);
	assert_written_through(STORE_BYTES);
}

static int rounds_left;
static struct disk_make_progress last;

static bool some_rounds(void *arg, const struct disk_make_progress *p)
{
	assert_ptr_equal(arg, path);
	assert_int_equal(p->size_bytes, STORE_BYTES);
	assert_true(p->at_bytes > last.at_bytes && p->at_bytes <= STORE_BYTES);
	assert_true(p->written_bytes > last.written_bytes);
	last = *p;
	return --rounds_left > 0;
}

static void test_disk_make_that_was_stopped_goes_on_where_it_was(void **state)
{
	const struct disk_make m = {
		.path = path, .size_bytes = STORE_BYTES, .go_on = some_rounds, .arg = path};
	uint64_t first;
	int fd;

	(void)state;
	unlink(path);
	rounds_left = 3;
	memset(&last, 0, sizeof(last));
	assert_int_equal(disk_make_file(&m, &written, err), -EINTR);
	assert_non_null(strstr(err, "goes on"));
	first = last.written_bytes;
	assert_in_range(first, 1, STORE_BYTES - 1);
	fd = open_file(); /* what was written stays, and is nothing */
	assert_true(is_zero(fd, 0, first));
	close(fd);
	assert_int_equal(disk_make_check_unused(path, err), 0);
	rounds_left = 1000;
	memset(&last, 0, sizeof(last));
	assert_int_equal(disk_make_file(&m, &written, err), 0);
	assert_int_equal(written, STORE_BYTES - first);
	assert_written_through(STORE_BYTES);
}

static void test_disk_make_by_force_leaves_nothing_that_looks_like_something(void **state)
{
	const struct disk_make m = {.path = path,
				    .size_bytes = STORE_BYTES,
				    .force = true,
				    .go_on = some_rounds,
				    .arg = path};
	int fd = open_file();

	(void)state;
	assert_int_equal(pwrite(fd, "CBLKSPR1", 8, 0), 8);
	assert_int_equal(pwrite(fd, "CBLKSPR1", 8, 16384), 8);
	assert_int_equal(disk_make_check_unused(path, err), -EEXIST);
	rounds_left = 1;
	memset(&last, 0, sizeof(last));
	assert_int_equal(disk_make_file(&m, &written, err), -EINTR);
	assert_int_equal(disk_make_check_unused(path, err), 0);
	close(fd);
}

static void test_disk_make_cuts_a_longer_file_only_by_force(void **state)
{
	int fd = open_file();

	(void)state;
	assert_int_equal(ftruncate(fd, 2 * STORE_BYTES), 0);
	close(fd);
	assert_int_equal(make(STORE_BYTES, false), -EFBIG);
	assert_non_null(strstr(err, "--force"));
	assert_int_equal(make(STORE_BYTES, true), 0);
	assert_written_through(STORE_BYTES);
}

static void test_disk_make_that_cannot_leaves_no_file(void **state)
{
	(void)state;
	unlink(path);
	assert_true(make(1ull << 60, false) < 0);
	assert_non_null(strstr(err, path));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_disk_that_holds_something_is_not_unused(void **state)
{
	int fd = open_file();

	(void)state;
	assert_int_equal(disk_make_check_unused("test_disk.there-is-none", err), 0);
	assert_int_equal(disk_make_check_unused(path, err), 0); /* empty */
	assert_int_equal(ftruncate(fd, 2 * MIB), 0);
	assert_int_equal(disk_make_check_unused(path, err), 0); /* zeros */
	assert_int_equal(pwrite(fd, "x", 1, MIB - 1), 1);
	assert_int_equal(disk_make_check_unused(path, err), -EEXIST);
	assert_non_null(strstr(err, "--force"));
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_disk_make_writes_a_file_and_does_not_only_reserve_it),
		T(test_disk_make_keeps_what_is_there_and_fills_the_holes),
		T(test_disk_make_that_was_stopped_goes_on_where_it_was),
		T(test_disk_make_by_force_leaves_nothing_that_looks_like_something),
		T(test_disk_make_cuts_a_longer_file_only_by_force),
		T(test_disk_make_that_cannot_leaves_no_file),
		T(test_disk_that_holds_something_is_not_unused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
