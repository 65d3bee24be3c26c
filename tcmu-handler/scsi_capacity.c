/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* READ CAPACITY(16). The daemon's own answer says nothing about physical blocks, so that initiators
 * would lay partitions and filesystems across our 4 KiB blocks and make every write a
 * read-modify-write at the store. */

#include <endian.h>
#include <string.h>

#include "tcmu-handler/device.h"

#define CAPACITY_BYTES 32

int scsi_capacity(struct chain_dev *cd, struct tcmulib_cmd *cmd)
{
	uint64_t last = htobe64(tcmu_dev_get_num_lbas(cd->dev) - 1);
	uint32_t block_bytes = htobe32(cd->block_bytes), allocated;
	uint8_t data[CAPACITY_BYTES] = {0};
	uint8_t exponent = 0;

	if (cmd->cdb[0] != SERVICE_ACTION_IN_16 || (cmd->cdb[1] & 0x1f) != READ_CAPACITY_16)
		return TCMU_STS_NOT_HANDLED;
	while (cd->block_bytes << exponent < CHAINBLK_BLOCK_BYTES)
		exponent++;
	memcpy(data, &last, sizeof(last));
	memcpy(data + 8, &block_bytes, sizeof(block_bytes));
	data[13] = exponent;    /* logical blocks per physical block, as a power of two */
	data[14] = 0x80 | 0x40; /* LBPME: can unmap; LBPRZ: unmapped reads zero. Alignment 0. */
	memcpy(&allocated, cmd->cdb + 10, sizeof(allocated));
	allocated = be32toh(allocated);
	tcmu_memcpy_into_iovec(cmd->iovec, cmd->iov_cnt, data,
			       allocated < sizeof(data) ? allocated : sizeof(data));
	return TCMU_STS_OK;
}
