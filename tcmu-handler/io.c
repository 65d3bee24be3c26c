/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <string.h>

#include "tcmu-handler/device.h"
#include "tcmu-handler/status.h"

void io_init(struct chain_dev *cd)
{
	pthread_mutex_init(&cd->lock, NULL);
	for (size_t i = 0; i < IO_MAX; i++) {
		cd->ios[i].cd = cd;
		cd->ios[i].next = cd->free;
		cd->free = &cd->ios[i];
	}
}

static struct chain_io *io_get(struct chain_dev *cd, struct tcmur_cmd *cmd, bool is_read)
{
	struct chain_io *io;

	pthread_mutex_lock(&cd->lock);
	io = cd->free;
	if (io)
		cd->free = io->next;
	pthread_mutex_unlock(&cd->lock);
	if (!io)
		return NULL;
	io->cmd = cmd;
	io->is_read = is_read;
	atomic_store(&io->parts, 1);
	atomic_store(&io->status, 0);
	return io;
}

static void io_put(struct chain_io *io)
{
	struct chain_dev *cd = io->cd;

	pthread_mutex_lock(&cd->lock);
	io->next = cd->free;
	cd->free = io;
	pthread_mutex_unlock(&cd->lock);
}

/* The table's answer; where the daemon has no name for it, the sense data too. */
static int answer(struct tcmur_cmd *cmd, int err, bool is_read)
{
	struct status st = status_from_errno(err, is_read);

	if (st.tcmu == TCMU_STS_PASSTHROUGH_ERR)
		tcmu_sense_set_data(cmd->lib_cmd->sense_buf, st.key, st.ascq);
	return st.tcmu;
}

/* The last part completes the command. The io goes back first: the daemon may hand us the next
 * command, or close the device, before tcmur_cmd_complete() returns. */
static void drop_part(struct chain_io *io)
{
	struct tcmu_device *dev = io->cd->dev;
	struct tcmur_cmd *cmd = io->cmd;
	int sts;

	if (atomic_fetch_sub(&io->parts, 1) != 1)
		return;
	sts = answer(cmd, atomic_load(&io->status), io->is_read);
	io_put(io);
	tcmur_cmd_complete(dev, cmd, sts);
}

static void part_failed(struct chain_io *io, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&io->status, &none, err);
}

static void part_done(void *arg, const struct chainblk_result *res)
{
	struct chain_io *io = arg;

	if (res->status)
		part_failed(io, res->status);
	drop_part(io);
}

/* Ends a callout that submitted one operation which the library took (@err 0) or refused. The
 * submitter's part becomes the operation's: nothing of @io may be touched once it was taken. */
static int submitted(struct chain_io *io, int err)
{
	struct tcmur_cmd *cmd;
	bool is_read;

	if (!err)
		return TCMU_STS_OK;
	cmd = io->cmd;
	is_read = io->is_read;
	io_put(io);
	return answer(cmd, err, is_read);
}

static bool iov_is(const struct iovec *iov, size_t iov_n, size_t len_bytes)
{
	size_t sum = 0;

	for (size_t i = 0; i < iov_n; i++)
		sum += iov[i].iov_len;
	return sum == len_bytes;
}

/* SCSI allows transfers of no blocks; the library has no such thing. Completes at once, but as
 * every other command from the loop thread (D2). */
static int transfer_nothing(struct chain_dev *cd, struct chain_io *io)
{
	return submitted(io, chainblk_flush(cd->vol, part_done, io));
}

int io_read(struct tcmu_device *dev, struct tcmur_cmd *cmd, struct iovec *iov, size_t iov_n,
	    size_t len_bytes, off_t offset_bytes)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);
	struct chain_io *io;

	if (!iov_is(iov, iov_n, len_bytes))
		return TCMU_STS_INVALID_CDB;
	io = io_get(cd, cmd, true);
	if (!io)
		return TCMU_STS_NO_RESOURCE;
	if (!len_bytes)
		return transfer_nothing(cd, io);
	return submitted(
		io, chainblk_read(cd->vol, iov, (int)iov_n, (uint64_t)offset_bytes, part_done, io));
}

int io_write(struct tcmu_device *dev, struct tcmur_cmd *cmd, struct iovec *iov, size_t iov_n,
	     size_t len_bytes, off_t offset_bytes)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);
	struct chain_io *io;

	if (!iov_is(iov, iov_n, len_bytes))
		return TCMU_STS_INVALID_CDB;
	io = io_get(cd, cmd, false);
	if (!io)
		return TCMU_STS_NO_RESOURCE;
	if (!len_bytes)
		return transfer_nothing(cd, io);
	return submitted(io, chainblk_write(cd->vol, iov, (int)iov_n, (uint64_t)offset_bytes, 0,
					    part_done, io));
}

int io_flush(struct tcmu_device *dev, struct tcmur_cmd *cmd)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);
	struct chain_io *io = io_get(cd, cmd, false);

	if (!io)
		return TCMU_STS_NO_RESOURCE;
	return submitted(io, chainblk_flush(cd->vol, part_done, io));
}

/* Zeroing, not a discard, which leaves the ragged ends of a range as they were: we tell initiators
 * (LBPRZ) that what was unmapped reads zero, down to one sector. Whole blocks are discarded. */
int io_unmap(struct tcmu_device *dev, struct tcmur_cmd *cmd, uint64_t offset_bytes,
	     uint64_t len_bytes)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);
	struct chain_io *io = io_get(cd, cmd, false);

	if (!io)
		return TCMU_STS_NO_RESOURCE;
	return submitted(io,
			 chainblk_write_zeroes(cd->vol, offset_bytes, len_bytes, 0, part_done, io));
}

/* Part of a write-same that does not fill 4 KiB blocks: the sector, as often as needed. */
static int write_ragged(struct chain_io *io, void *sector, uint64_t offset_bytes,
			uint64_t len_bytes)
{
	struct iovec iov[2 * CHAINBLK_BLOCK_BYTES / CHAINBLK_SECTOR_BYTES];
	uint32_t block_bytes = io->cd->block_bytes;
	int n = (int)(len_bytes / block_bytes), err;

	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){.iov_base = sector, .iov_len = block_bytes};
	atomic_fetch_add(&io->parts, 1);
	err = chainblk_write(io->cd->vol, iov, n, offset_bytes, 0, part_done, io);
	if (err)
		atomic_fetch_sub(&io->parts, 1);
	return err;
}

static int write_whole(struct chain_io *io, const uint8_t *sector, uint64_t offset_bytes,
		       uint64_t len_bytes)
{
	uint8_t pattern[CHAINBLK_BLOCK_BYTES];
	uint32_t block_bytes = io->cd->block_bytes;
	int err;

	for (uint32_t i = 0; i < sizeof(pattern); i += block_bytes)
		memcpy(pattern + i, sector, block_bytes);
	atomic_fetch_add(&io->parts, 1);
	err = chainblk_write_same(io->cd->vol, pattern, offset_bytes, len_bytes, 0, part_done, io);
	if (err)
		atomic_fetch_sub(&io->parts, 1);
	return err;
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, n - 1);
}

/* The daemon checked range and data length. Up to three operations: whole blocks, and what is left
 * before and behind them. The command completes when all did; one that is refused after another was
 * taken fails the command when that one ends. */
int io_write_same(struct tcmu_device *dev, struct tcmur_cmd *cmd, uint64_t offset_bytes,
		  uint64_t len_bytes, struct iovec *iov, size_t iov_n)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);
	const uint64_t block = CHAINBLK_BLOCK_BYTES;
	uint64_t end = offset_bytes + len_bytes;
	uint64_t from = (offset_bytes + block - 1) / block * block, to = end / block * block;
	struct chain_io *io;
	int err = 0;

	if (iov_n != 1 || iov->iov_len != cd->block_bytes)
		return TCMU_STS_INVALID_CDB;
	io = io_get(cd, cmd, false);
	if (!io)
		return TCMU_STS_NO_RESOURCE;
	if (all_zero(iov->iov_base, iov->iov_len))
		return submitted(io, chainblk_write_zeroes(cd->vol, offset_bytes, len_bytes, 0,
							   part_done, io));
	if (from >= to) {
		err = write_ragged(io, iov->iov_base, offset_bytes, len_bytes);
	} else {
		err = write_whole(io, iov->iov_base, from, to - from);
		if (!err && offset_bytes < from)
			err = write_ragged(io, iov->iov_base, offset_bytes, from - offset_bytes);
		if (!err && to < end)
			err = write_ragged(io, iov->iov_base, to, end - to);
	}
	if (err)
		part_failed(io, err);
	drop_part(io);
	return TCMU_STS_OK;
}
