/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/disk_kind.h"

static char sysfs[64];
static char err[IO_ERR_BYTES];

/* mkdir -p below the false sysfs. */
static void make_dir(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void make_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void make_link(const char *name, const char *target)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	assert_int_equal(symlink(target, path), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(sysfs, sizeof(sysfs), "test_disk_kind.XXXXXX");
	assert_non_null(mkdtemp(sysfs));
	make_dir("dev");
	make_dir("dev/block");
	make_dir("devices");
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", sysfs);
	return system(command);
}

static void make_device(const char *name, const char *number, const char *cache, const char *fua)
{
	char path[128], target[160];

	snprintf(path, sizeof(path), "devices/%s", name);
	make_dir(path);
	snprintf(target, sizeof(target), "../../%s", path);
	snprintf(path, sizeof(path), "dev/block/%s", number);
	make_link(path, target);
	snprintf(path, sizeof(path), "devices/%s/queue", name);
	make_dir(path);
	snprintf(path, sizeof(path), "devices/%s/queue/write_cache", name);
	make_file(path, cache);
	snprintf(path, sizeof(path), "devices/%s/queue/fua", name);
	make_file(path, fua);
}

static void test_disk_kind_reads_what_the_kernel_says_of_the_cache(void **state)
{
	(void)state;
	make_device("a", "8:0", "write back\n", "1\n");
	make_device("b", "8:16", "write back\n", "0\n");
	make_device("c", "8:32", "write through\n", "0\n");
	make_dir("devices/b/b1"); /* a partition: its queue is its disk's */
	make_link("dev/block/8:17", "../../devices/b/b1");
	assert_int_equal(disk_kind_cache(sysfs, makedev(8, 0)), CACHE_FUA);
	assert_int_equal(disk_kind_cache(sysfs, makedev(8, 16)), CACHE_FLUSH);
	assert_int_equal(disk_kind_cache(sysfs, makedev(8, 17)), CACHE_FLUSH);
	assert_int_equal(disk_kind_cache(sysfs, makedev(8, 32)), CACHE_NONE);
	assert_int_equal(disk_kind_cache(sysfs, makedev(0, 48)), CACHE_UNKNOWN);
}

static void test_disk_kind_only_a_trusted_device_without_a_cache_gets_plain_writes(void **state)
{
	static const char *const said[] = {
		[CACHE_UNKNOWN] = "not known",
		[CACHE_NONE] = "no volatile cache",
		[CACHE_FUA] = "has FUA",
		[CACHE_FLUSH] = "no FUA",
	};

	(void)state;
	for (int block = 0; block < 2; block++) {
		for (int trust = 0; trust < 2; trust++) {
			for (int cache = CACHE_UNKNOWN; cache <= CACHE_FLUSH; cache++) {
				const struct disk_kind k = {.is_block = block,
							    .cache = (enum disk_cache)cache};
				const char *text = NULL;
				bool plain = disk_kind_plain(&k, trust, &text);

				assert_int_equal(plain, block && trust && cache == CACHE_NONE);
				assert_non_null(strstr(text, plain ? "plain" : "RWF_DSYNC"));
				assert_non_null(strstr(text, said[cache]));
			}
		}
	}
}

static void test_disk_kind_knows_file_systems_that_copy_on_write(void **state)
{
	bool can = false;

	(void)state;
	assert_string_equal(disk_kind_cow_name(BTRFS_SUPER_MAGIC, 0, &can), "btrfs");
	assert_true(can);
	assert_null(disk_kind_cow_name(BTRFS_SUPER_MAGIC, FS_NOCOW_FL, &can));
	assert_string_equal(disk_kind_cow_name(0x2fc12fc1, FS_NOCOW_FL, &can), "ZFS");
	assert_false(can);
	assert_string_equal(disk_kind_cow_name(0xca451a4e, 0, &can), "bcachefs");
	assert_null(disk_kind_cow_name(EXT4_SUPER_MAGIC, 0, &can));
	assert_null(disk_kind_cow_name(XFS_SUPER_MAGIC, 0, &can));
}

static void test_disk_kind_is_a_file_or_a_block_device(void **state)
{
	struct disk_kind k;
	char path[128];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/file", sysfs);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 12345), 0);
	assert_int_equal(disk_kind_look(fd, path, &k, err), 0);
	assert_false(k.is_block);
	assert_int_equal(k.size_bytes, 12345);
	assert_int_equal(disk_kind_check_cow(fd, path, err), 0);
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(disk_kind_look(fd, "/dev/null", &k, err), -ENOTBLK);
	assert_non_null(strstr(err, "/dev/null"));
	close(fd);
}

static void test_disk_kind_only_a_lock_somebody_holds_is_called_in_use(void **state)
{
	(void)state;
	disk_lock_explain(-EBUSY, "/x/s1", err);
	assert_string_equal(err, "store /x/s1: in use by another daemon: stop that one first");
	disk_lock_explain(-ENOLCK, "/x/s1", err);
	assert_non_null(strstr(err, "/x/s1: cannot be locked (flock: No locks available)"));
	assert_non_null(strstr(err, "use a device or a local file system"));
	assert_null(strstr(err, "in use"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_disk_kind_reads_what_the_kernel_says_of_the_cache),
		T(test_disk_kind_only_a_trusted_device_without_a_cache_gets_plain_writes),
		T(test_disk_kind_knows_file_systems_that_copy_on_write),
		T(test_disk_kind_is_a_file_or_a_block_device),
		T(test_disk_kind_only_a_lock_somebody_holds_is_called_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
