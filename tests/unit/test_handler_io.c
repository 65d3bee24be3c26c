/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The plugin between two mocks: tcmu-runner above, libchainblk below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants the five above first */
#include <cmocka.h>

#include "tests/mock/chainblk_mock.h"
#include "tests/mock/tcmu_mock.h"

#define MIB (1u << 20)

static struct tcmu_device dev;
static uint8_t data[64 * 1024], back[64 * 1024];

static int setup(void **state)
{
	(void)state;
	dev = (struct tcmu_device){.cfgstring = "chain/vol0@h:1",
				   .block_bytes = 512,
				   .num_lbas = 64 * MIB / 512,
				   .max_xfer_blocks = 1u << 20,
				   .write_cache = true};
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 512);
	handler_init();
	return mock_handler->open(&dev, false);
}

static int teardown(void **state)
{
	(void)state;
	mock_handler->close(&dev);
	return 0;
}

static int do_write(const uint8_t *from, size_t len, off_t offset)
{
	struct iovec iov = {(void *)(uintptr_t)from, len};
	struct mock_cmd mc;
	int ret;

	mock_cmd_init(&mc);
	ret = mock_handler->write(&dev, &mc.cmd, &iov, 1, len, offset);
	return ret ? ret : mock_cmd_wait(&mc);
}

static int do_read(size_t len, off_t offset)
{
	struct iovec iov[2] = {{back, 512}, {back + 512, len - 512}};
	struct mock_cmd mc;
	int ret;

	mock_cmd_init(&mc);
	memset(back, 0x5a, sizeof(back));
	ret = mock_handler->read(&dev, &mc.cmd, iov, 2, len, offset);
	return ret ? ret : mock_cmd_wait(&mc);
}

static int do_write_same(uint8_t *sector, uint64_t offset, uint64_t len)
{
	struct iovec iov = {sector, dev.block_bytes};
	struct mock_cmd mc;
	int ret;

	mock_cmd_init(&mc);
	ret = mock_handler->writesame(&dev, &mc.cmd, offset, len, &iov, 1);
	return ret ? ret : mock_cmd_wait(&mc);
}

static void test_open_describes_a_solid_state_device_without_write_cache(void **state)
{
	(void)state;
	assert_false(dev.write_cache);
	assert_true(dev.solid_state);
	assert_int_equal(dev.unmap_align, 8);
	assert_int_equal(dev.unmap_gran, 8);
	assert_int_equal(dev.max_xfer_blocks, CHAINBLK_IO_BYTES_MAX / 512);
}

static void test_what_was_written_is_read(void **state)
{
	(void)state;
	assert_int_equal(do_write(data, 8192, 512), TCMU_STS_OK);
	assert_int_equal(do_read(8192, 512), TCMU_STS_OK);
	assert_memory_equal(back, data, 8192);
}

static void test_transfers_of_no_blocks_succeed(void **state)
{
	struct mock_cmd mc;

	(void)state;
	mock_cmd_init(&mc);
	assert_int_equal(mock_handler->read(&dev, &mc.cmd, NULL, 0, 0, 512), TCMU_STS_OK);
	assert_int_equal(mock_cmd_wait(&mc), TCMU_STS_OK);
	assert_int_equal(do_write(data, 0, 512), TCMU_STS_OK);
}

static void test_flush_completes(void **state)
{
	struct mock_cmd mc;

	(void)state;
	mock_cmd_init(&mc);
	assert_int_equal(mock_handler->flush(&dev, &mc.cmd), TCMU_STS_OK);
	assert_int_equal(mock_cmd_wait(&mc), TCMU_STS_OK);
}

static void test_unmapped_sectors_read_zero(void **state)
{
	struct mock_cmd mc;

	(void)state;
	assert_int_equal(do_write(data, 16384, 0), TCMU_STS_OK);
	mock_cmd_init(&mc);
	assert_int_equal(mock_handler->unmap(&dev, &mc.cmd, 3584, 9216), TCMU_STS_OK);
	assert_int_equal(mock_cmd_wait(&mc), TCMU_STS_OK);
	assert_int_equal(do_read(16384, 0), TCMU_STS_OK);
	assert_memory_equal(back, data, 3584);
	for (size_t i = 3584; i < 12800; i++)
		assert_int_equal(back[i], 0);
	assert_memory_equal(back + 12800, data + 12800, 3584);
}

static void test_write_same_fills_exactly_its_range_however_it_lies(void **state)
{
	static const struct {
		uint64_t offset, len;
	} at[] = {{0, 512},     {512, 3584},  {3584, 1024}, {4096, 4096},
		  {512, 20480}, {4096, 8704}, {1024, 7168}, {0, 32768}};
	uint8_t sector[512];

	(void)state;
	memset(sector, 0xc3, sizeof(sector));
	sector[17] = 0;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		assert_int_equal(do_write(data, 40960, 0), TCMU_STS_OK);
		assert_int_equal(do_write_same(sector, at[i].offset, at[i].len), TCMU_STS_OK);
		assert_int_equal(do_read(40960, 0), TCMU_STS_OK);
		for (uint64_t b = 0; b < 40960; b += 512) {
			bool inside = b >= at[i].offset && b < at[i].offset + at[i].len;

			assert_memory_equal(back + b, inside ? sector : data + b, 512);
		}
	}
}

static void test_write_same_of_zeros_takes_no_space(void **state)
{
	unsigned before = chainblk_mock_seen().zeroes;
	uint8_t sector[512] = {0};

	(void)state;
	assert_int_equal(do_write(data, 16384, 0), TCMU_STS_OK);
	assert_int_equal(do_write_same(sector, 512, 8192), TCMU_STS_OK);
	assert_int_equal(chainblk_mock_seen().zeroes, before + 1);
	assert_int_equal(do_read(16384, 0), TCMU_STS_OK);
	assert_memory_equal(back, data, 512);
	assert_int_equal(back[512], 0);
	assert_memory_equal(back + 8704, data + 8704, 512);
}

static void test_a_failed_part_fails_the_write_same(void **state)
{
	uint8_t sector[512] = {1};

	(void)state;
	chainblk_mock_fail(-EAGAIN, 1);
	assert_int_equal(do_write_same(sector, 512, 16384), TCMU_STS_BUSY);
	chainblk_mock_refuse(-EAGAIN, 1);
	assert_int_equal(do_write_same(sector, 512, 16384), TCMU_STS_BUSY);
}

static void test_errors_reach_the_initiator_as_the_table_says(void **state)
{
	struct mock_cmd mc;
	struct iovec iov = {data, 512};

	(void)state;
	chainblk_mock_fail(-EBADMSG, 1);
	assert_int_equal(do_read(4096, 0), TCMU_STS_RD_ERR);
	chainblk_mock_refuse(-EAGAIN, 1);
	assert_int_equal(do_write(data, 512, 0), TCMU_STS_BUSY);
	chainblk_mock_fail(-ENOSPC, 1);
	mock_cmd_init(&mc);
	assert_int_equal(mock_handler->write(&dev, &mc.cmd, &iov, 1, 512, 0), TCMU_STS_OK);
	assert_int_equal(mock_cmd_wait(&mc), TCMU_STS_PASSTHROUGH_ERR);
	assert_int_equal(mc.lib.sense_buf[2], 7);
	assert_int_equal(mc.lib.sense_buf[12], 0x27);
}

static void test_commands_do_not_run_out_after_many_refusals(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * CHAINBLK_QUEUE_MAX; i++) {
		chainblk_mock_refuse(-EAGAIN, 1);
		assert_int_equal(do_write(data, 512, 0), TCMU_STS_BUSY);
	}
	assert_int_equal(do_write(data, 512, 0), TCMU_STS_OK);
}

static void test_read_capacity_16_tells_physical_blocks(void **state)
{
	static const uint8_t want[16] = {0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 2, 0, 0, 3, 0xc0, 0};
	struct iovec iov = {back, 32};
	struct mock_cmd mc;

	(void)state;
	mock_cmd_init(&mc);
	mc.lib.iovec = &iov;
	mc.lib.iov_cnt = 1;
	mc.cdb[0] = 0x9e;
	mc.cdb[1] = 0x10;
	mc.cdb[13] = 32;
	memset(back, 0xee, sizeof(back));
	assert_int_equal(mock_handler->handle_cmd(&dev, &mc.cmd), TCMU_STS_OK);
	assert_memory_equal(back, want, sizeof(want));
	mc.cdb[13] = 8;
	memset(back, 0xee, sizeof(back));
	assert_int_equal(mock_handler->handle_cmd(&dev, &mc.cmd), TCMU_STS_OK);
	assert_int_equal(back[7], 0xff);
	assert_int_equal(back[8], 0xee);
	mc.cdb[1] = 0x12;
	assert_int_equal(mock_handler->handle_cmd(&dev, &mc.cmd), TCMU_STS_NOT_HANDLED);
}

static void test_the_device_grows_with_a_volume_it_spans(void **state)
{
	struct tcmulib_cfg_info size = {.type = TCMULIB_CFG_DEV_SIZE};
	struct mock_cmd mc;

	(void)state;
	size.data.dev_size = 128ull * MIB;
	assert_int_equal(mock_handler->reconfig(&dev, &size), -EINVAL);
	assert_non_null(strstr(dev.log, "more than volume vol0 has"));
	chainblk_mock_resize(128ull * MIB);
	mock_cmd_init(&mc);
	while (dev.num_lbas != 128ull * MIB / 512) { /* until the loop thread has told the plugin */
		assert_int_equal(mock_handler->handle_cmd(&dev, &mc.cmd), TCMU_STS_NOT_HANDLED);
		assert_int_equal(do_read(4096, 0), TCMU_STS_OK);
	}
	assert_int_equal(mock_handler->reconfig(&dev, &size), 0);
}

static void test_write_cache_cannot_be_switched_on(void **state)
{
	struct tcmulib_cfg_info cfg = {.type = TCMULIB_CFG_WRITE_CACHE};

	(void)state;
	assert_int_equal(mock_handler->reconfig(&dev, &cfg), 0);
	cfg.data.write_cache = true;
	assert_int_equal(mock_handler->reconfig(&dev, &cfg), -EOPNOTSUPP);
}

static void test_open_refuses_a_device_larger_than_its_volume(void **state)
{
	struct tcmu_device big = {.cfgstring = "chain/vol0@h:1",
				  .block_bytes = 512,
				  .num_lbas = 65 * MIB / 512,
				  .max_xfer_blocks = 128};

	(void)state;
	assert_int_equal(mock_handler->open(&big, false), -EINVAL);
	assert_non_null(strstr(big.log, "chainctl volume resize"));
}

static void test_open_refuses_another_sector_size_and_a_missing_volume(void **state)
{
	struct tcmu_device other = {.cfgstring = "chain/vol4k@h:1",
				    .block_bytes = 512,
				    .num_lbas = 1,
				    .max_xfer_blocks = 128};

	(void)state;
	assert_int_equal(mock_handler->open(&other, false), -EINVAL);
	assert_non_null(strstr(other.log, "hw_block_size=4096"));
	other.block_bytes = 4096;
	assert_int_equal(mock_handler->open(&other, false), 0);
	mock_handler->close(&other);
	other.cfgstring = "chain/missing@h:1";
	assert_int_equal(mock_handler->open(&other, false), -ENOENT);
	assert_non_null(strstr(other.log, "no such volume"));
}

static void test_check_config_gives_the_reason(void **state)
{
	char *reason = NULL;

	(void)state;
	assert_true(mock_handler->check_config("chain/vol0@h:1", &reason));
	assert_null(reason);
	assert_false(mock_handler->check_config("chain/vol0", &reason));
	assert_non_null(strstr(reason, "no '@'"));
	free(reason);
	assert_false(mock_handler->check_config("chain/missing@h:1", &reason));
	assert_non_null(strstr(reason, "no such volume"));
	free(reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_describes_a_solid_state_device_without_write_cache),
		cmocka_unit_test(test_what_was_written_is_read),
		cmocka_unit_test(test_transfers_of_no_blocks_succeed),
		cmocka_unit_test(test_flush_completes),
		cmocka_unit_test(test_unmapped_sectors_read_zero),
		cmocka_unit_test(test_write_same_fills_exactly_its_range_however_it_lies),
		cmocka_unit_test(test_write_same_of_zeros_takes_no_space),
		cmocka_unit_test(test_a_failed_part_fails_the_write_same),
		cmocka_unit_test(test_errors_reach_the_initiator_as_the_table_says),
		cmocka_unit_test(test_commands_do_not_run_out_after_many_refusals),
		cmocka_unit_test(test_read_capacity_16_tells_physical_blocks),
		cmocka_unit_test(test_the_device_grows_with_a_volume_it_spans),
		cmocka_unit_test(test_write_cache_cannot_be_switched_on),
		cmocka_unit_test(test_open_refuses_a_device_larger_than_its_volume),
		cmocka_unit_test(test_open_refuses_another_sector_size_and_a_missing_volume),
		cmocka_unit_test(test_check_config_gives_the_reason),
	};

	return cmocka_run_group_tests_name("handler_io", tests, setup, teardown);
}
