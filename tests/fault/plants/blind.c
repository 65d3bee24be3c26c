/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* blind - a planted bug, linked in with --wrap: all blocks have the same checksum. The damage test
 * must find it (meson.build). */

#include "lib/crc.h"

uint32_t __wrap_crc_block(const struct block_addr *at, const void *data);
uint32_t __wrap_crc_block_anywhere(const void *data);
uint32_t __wrap_crc_block_zero(const struct block_addr *at);

uint32_t __wrap_crc_block(const struct block_addr *at, const void *data)
{
	(void)at;
	(void)data;
	return 7;
}

uint32_t __wrap_crc_block_anywhere(const void *data)
{
	(void)data;
	return 7;
}

uint32_t __wrap_crc_block_zero(const struct block_addr *at)
{
	(void)at;
	return 7;
}
