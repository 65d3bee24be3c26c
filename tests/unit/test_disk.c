/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/io_test.h"

#include <errno.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/disk_make.h"

#define STORE_BYTES (8u << 20)

static struct io_test t;
static const struct buf_pool_config some_bufs = {.small_n = 4, .large_n = 4};
static char path[64];
static char err[IO_ERR_BYTES];

static int setup(void **state)
{
	int fd;

	(void)state;
	io_test_open(&t, 4, &some_bufs);
	/* The build folder: /tmp may have no O_DIRECT. */
	snprintf(path, sizeof(path), "test_disk.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	io_test_close(&t);
	unlink(path);
	return 0;
}

static struct env_disk *open_store(void)
{
	const struct disk_make make = {.path = path, .size_bytes = STORE_BYTES};
	struct disk_config cfg = {.path = path};
	struct env_disk *d;
	uint64_t written;

	if (disk_make_file(&make, &written, err) < 0 || disk_open(t.r, &cfg, &d, err) < 0)
		fail_msg("%s", err);
	return d;
}

struct one_io {
	struct disk_io io;
	int res;
};

static int ios_left;

static void one_done(struct disk_io *io, int res)
{
	CONTAINER_OF(io, struct one_io, io)->res = res;
	if (--ios_left == 0)
		reactor_stop(t.r);
}

static int do_io(struct env_disk *d, enum disk_op op, uint64_t offset, void *data, uint32_t len,
		 bool dsync)
{
	struct one_io one = {.io = {.op = op,
				    .dsync = dsync,
				    .offset_bytes = offset,
				    .len_bytes = len,
				    .data = data,
				    .done = one_done},
			     .res = 1};

	ios_left = 1;
	d->submit(d, &one.io);
	assert_int_equal(one.res, 1); /* E1 */
	io_test_run(&t);
	return one.res;
}

static void write_and_read_back(void)
{
	struct env_disk *d = open_store();
	struct buf *a = buf_get(&t.bufs, OP_BYTES_MAX, BUF_NODE);
	struct buf *b = buf_get(&t.bufs, OP_BYTES_MAX, BUF_NODE);

	assert_int_equal(d->size_bytes, STORE_BYTES);
	assert_true(d->volatile_cache);
	for (uint32_t i = 0; i < OP_BYTES_MAX; i++)
		a->data[i] = (uint8_t)(i * 31 + i / 4096);
	assert_int_equal(do_io(d, DISK_WRITE, 4096, a->data, OP_BYTES_MAX, true), 0);
	assert_int_equal(do_io(d, DISK_WRITE, STORE_BYTES - 4096, a->data, 4096, false), 0);
	assert_int_equal(do_io(d, DISK_FLUSH, 0, NULL, 0, false), 0);
	assert_int_equal(do_io(d, DISK_READ, 4096, b->data, OP_BYTES_MAX, false), 0);
	assert_memory_equal(a->data, b->data, OP_BYTES_MAX);
	assert_int_equal(do_io(d, DISK_READ, 0, b->data, 4096, false), 0);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(b->data[i], 0);
	buf_put(a);
	buf_put(b);
	disk_close(d);
}

static void test_disk_reads_back_what_it_wrote(void **state)
{
	(void)state;
	write_and_read_back();
}

static void test_disk_reads_back_from_registered_buffers(void **state)
{
	(void)state;
	reactor_region(t.r, t.bufs.region, t.bufs.region_bytes);
	write_and_read_back();
}

/* U1: a turn that issues much gives the device something to do before it ends. */
static void test_disk_io_goes_out_in_pairs_while_the_turn_goes_on(void **state)
{
	static struct one_io many[20];
	struct env_disk *d = open_store();
	struct buf *b = buf_get(&t.bufs, 4096, BUF_NODE);
	uint64_t before = reactor_get_stats(t.r).submits;

	(void)state;
	ios_left = (int)ARRAY_LEN(many);
	for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
		many[i] = (struct one_io){.io = {.op = DISK_READ,
						 .len_bytes = 4096,
						 .data = b->data,
						 .done = one_done},
					  .res = 1};
		d->submit(d, &many[i].io);
		assert_int_equal(many[i].res, 1); /* E1 */
	}
	/* The reactor's own wait for a wake-up is the first entry. */
	assert_int_equal(reactor_get_stats(t.r).submits - before, 10);
	io_test_run(&t);
	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		assert_int_equal(many[i].res, 0);
	buf_put(b);
	disk_close(d);
}

static void test_disk_takes_more_requests_than_it_has_slots(void **state)
{
	static struct one_io many[3000];
	struct env_disk *d = open_store();
	struct buf *b = buf_get(&t.bufs, 4096, BUF_NODE);

	(void)state;
	memset(b->data, 7, 4096);
	ios_left = (int)ARRAY_LEN(many);
	for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
		many[i] = (struct one_io){.io = {.op = DISK_WRITE,
						 .len_bytes = 4096,
						 .data = b->data,
						 .offset_bytes = 4096ull * (i % 2048),
						 .done = one_done},
					  .res = 1};
		d->submit(d, &many[i].io);
	}
	io_test_run(&t);
	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		assert_int_equal(many[i].res, 0);
	buf_put(b);
	disk_close(d);
}

static void test_disk_a_store_in_use_cannot_be_opened_again(void **state)
{
	struct env_disk *d = open_store(), *second = NULL;
	const struct disk_make make = {.path = path, .size_bytes = STORE_BYTES};
	struct disk_config cfg = {.path = path};
	uint64_t written;

	(void)state;
	assert_int_equal(disk_open(t.r, &cfg, &second, err), -EBUSY);
	assert_non_null(strstr(err, "in use by another daemon"));
	assert_int_equal(disk_make_file(&make, &written, err), -EBUSY);
	disk_close(d);
	assert_int_equal(disk_open(t.r, &cfg, &second, err), 0);
	disk_close(second);
}

static void test_disk_parts_are_disks_that_do_not_reach_each_other(void **state)
{
	const struct disk_part first = {.size_bytes = STORE_BYTES / 2};
	const struct disk_part second = {.offset_bytes = STORE_BYTES / 2,
					 .size_bytes = STORE_BYTES / 2};
	struct env_disk *whole = open_store(), *a, *b;
	struct buf *buf = buf_get(&t.bufs, 3 * BLOCK_BYTES, BUF_NODE);

	(void)state;
	assert_int_equal(disk_open_part(t.r, whole, &first, &a, err), 0);
	assert_int_equal(disk_open_part(t.r, whole, &second, &b, err), 0);
	assert_int_equal(b->size_bytes, STORE_BYTES / 2);
	assert_int_equal(b->volatile_cache, whole->volatile_cache);
	memset(buf->data, 'a', BLOCK_BYTES);
	assert_int_equal(
		do_io(a, DISK_WRITE, STORE_BYTES / 2 - BLOCK_BYTES, buf->data, BLOCK_BYTES, true),
		0);
	memset(buf->data, 'b', BLOCK_BYTES);
	assert_int_equal(do_io(b, DISK_WRITE, 0, buf->data, BLOCK_BYTES, true), 0);
	assert_int_equal(do_io(whole, DISK_READ, STORE_BYTES / 2 - BLOCK_BYTES, buf->data,
			       3 * BLOCK_BYTES, false),
			 0);
	assert_int_equal(buf->data[0], 'a');
	assert_int_equal(buf->data[BLOCK_BYTES], 'b');
	assert_int_equal(buf->data[2 * BLOCK_BYTES], 0);
	assert_int_equal(disk_read_now(b, 0, buf->data, 2 * BLOCK_BYTES), 0);
	assert_int_equal(buf->data[0], 'b');
	assert_int_equal(buf->data[BLOCK_BYTES], 0);
	assert_int_equal(
		disk_read_now(a, STORE_BYTES / 2 - BLOCK_BYTES, buf->data, 2 * BLOCK_BYTES), -EIO);
	buf_put(buf);
	disk_close(a);
	disk_close(whole);
	disk_close(b);
}

static void test_disk_is_locked_until_its_last_part_is_closed(void **state)
{
	const struct disk_part part = {.size_bytes = STORE_BYTES / 2};
	struct env_disk *whole = open_store(), *a, *again;
	struct disk_config cfg = {.path = path};

	(void)state;
	assert_int_equal(disk_open_part(t.r, whole, &part, &a, err), 0);
	disk_close(whole);
	assert_int_equal(disk_open(t.r, &cfg, &again, err), -EBUSY);
	disk_close(a);
	assert_int_equal(disk_open(t.r, &cfg, &again, err), 0);
	disk_close(again);
}

static void test_disk_refuses_what_cannot_be_a_store(void **state)
{
	struct disk_config cfg = {.path = "no/such/store"};
	struct env_disk *d;

	(void)state;
	assert_int_equal(disk_open(t.r, &cfg, &d, err), -ENOENT);
	assert_non_null(strstr(err, "chaind format"));
	cfg.path = "/dev/null"; /* neither file nor block device, or no O_DIRECT, by kernel */
	assert_true(disk_open(t.r, &cfg, &d, err) < 0);
	assert_non_null(strstr(err, "/dev/null"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_disk_reads_back_what_it_wrote),
		T(test_disk_reads_back_from_registered_buffers),
		T(test_disk_io_goes_out_in_pairs_while_the_turn_goes_on),
		T(test_disk_takes_more_requests_than_it_has_slots),
		T(test_disk_a_store_in_use_cannot_be_opened_again),
		T(test_disk_parts_are_disks_that_do_not_reach_each_other),
		T(test_disk_is_locked_until_its_last_part_is_closed),
		T(test_disk_refuses_what_cannot_be_a_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
