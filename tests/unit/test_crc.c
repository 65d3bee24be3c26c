/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crc.h"
#include "lib/limits.h"

static uint8_t block[BLOCK_BYTES];

static void test_crc32c_gives_the_check_value_of_the_standard(void **state)
{
	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void test_crc32c_of_two_parts_is_that_of_the_whole(void **state)
{
	(void)state;
	for (size_t cut = 0; cut <= 9; cut++)
		assert_int_equal(crc32c(crc32c(0, "123456789", cut), "123456789" + cut, 9 - cut),
				 0xe3069283);
}

static void test_a_block_elsewhere_has_another_checksum(void **state)
{
	const struct block_addr at = {.volume = 3, .extent = 4, .block = 5};
	struct block_addr other = at;
	uint32_t crc = crc_block(&at, block);

	(void)state;
	other.volume++;
	assert_int_not_equal(crc_block(&other, block), crc);
	other = at;
	other.extent++;
	assert_int_not_equal(crc_block(&other, block), crc);
	other = at;
	other.block++;
	assert_int_not_equal(crc_block(&other, block), crc);
	other = (struct block_addr){.volume = 4, .extent = 3, .block = 5};
	assert_int_not_equal(crc_block(&other, block), crc);
	block[4095] ^= 1;
	assert_int_not_equal(crc_block(&at, block), crc);
	block[4095] ^= 1;
	assert_int_equal(crc_block(&at, block), crc);
}

static void test_the_checksum_of_a_block_of_zeros_needs_no_block(void **state)
{
	const struct block_addr at = {.volume = 1ull << 40, .extent = 77, .block = 1023};

	(void)state;
	memset(block, 0, sizeof(block));
	assert_int_equal(crc_block_zero(&at), crc_block(&at, block));
}

/* Sectors that end with their own CRC32C: a plain CRC cannot tell one from another. */
static void seal_sector(uint8_t *sector, uint8_t fill)
{
	uint32_t crc;

	memset(sector, fill, SECTOR_BYTES);
	crc = crc32c(0, sector, SECTOR_BYTES - sizeof(crc));
	memcpy(sector + SECTOR_BYTES - sizeof(crc), &crc, sizeof(crc));
}

static void test_sectors_that_carry_their_own_crc_are_told_apart(void **state)
{
	const struct block_addr at = {.volume = 3, .extent = 4, .block = 5};
	uint32_t plain, sums, anywhere;

	(void)state;
	for (unsigned i = 0; i < BLOCK_BYTES / SECTOR_BYTES; i++)
		seal_sector(block + i * SECTOR_BYTES, (uint8_t)i);
	plain = crc32c(0, block, BLOCK_BYTES);
	sums = crc_block(&at, block);
	anywhere = crc_block_anywhere(block);
	seal_sector(block + 3 * SECTOR_BYTES, 77); /* torn */
	assert_int_equal(crc32c(0, block, BLOCK_BYTES), plain);
	assert_int_not_equal(crc_block(&at, block), sums);
	assert_int_not_equal(crc_block_anywhere(block), anywhere);
	seal_sector(block + 3 * SECTOR_BYTES, 4); /* in the wrong order */
	seal_sector(block + 4 * SECTOR_BYTES, 3);
	assert_int_equal(crc32c(0, block, BLOCK_BYTES), plain);
	assert_int_not_equal(crc_block(&at, block), sums);
}

static void test_block_checksums_have_the_values_they_always_had(void **state)
{
	const struct block_addr at = {.volume = 3, .extent = 4, .block = 5};

	(void)state;
	/* What is on disks depends on it: a change needs a new format version. */
	memset(block, 0x5a, sizeof(block));
	assert_int_equal(crc_block(&at, block), 0x82694dbc);
	assert_int_equal(crc_block_zero(&at), 0xdc14d4c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_gives_the_check_value_of_the_standard),
		cmocka_unit_test(test_crc32c_of_two_parts_is_that_of_the_whole),
		cmocka_unit_test(test_a_block_elsewhere_has_another_checksum),
		cmocka_unit_test(test_the_checksum_of_a_block_of_zeros_needs_no_block),
		cmocka_unit_test(test_sectors_that_carry_their_own_crc_are_told_apart),
		cmocka_unit_test(test_block_checksums_have_the_values_they_always_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
