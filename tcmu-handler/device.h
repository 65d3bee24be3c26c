/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* device - one LUN: a device of tcmu-runner and the volume behind it.
 *
 * In the flow: LIO -> TCMU ring -> tcmu-runner -> handler.c (open, close, resize) and io.c (every
 * command) -> libchainblk. tcmu-runner emulates the SCSI commands and calls us with byte ranges;
 * scsi_capacity.c answers the one command of which its answer would be wrong.
 *
 *   D1  No callout blocks: a command is submitted to the library or refused at once. Only open and
 *       close wait, at most for the library's deadlines.
 *   D2  Every command queued completes exactly once, by tcmur_cmd_complete() on the library's loop
 *       thread; a command refused is never completed that way.
 *   D3  The device is never larger than the volume.
 *   D4  At most IO_MAX commands are under way; one more is answered TASK SET FULL.
 *   D5  No write cache: what completed is durable (L1 of chainblk.h), so WCE is 0 and stays so.
 *
 * Ownership: a struct chain_dev belongs to its tcmu_device from open to close. Threads: callouts
 * run on the device's command thread or, for the later parts of compound commands, on the loop
 * thread; open, close and reconfig on the daemon's main thread.
 */

#ifndef TCMU_HANDLER_DEVICE_H
#define TCMU_HANDLER_DEVICE_H

#include <stdatomic.h>
#include <stdint.h>

#include "libchainblk/chainblk.h"
#include "tcmu-handler/tcmu.h"

#define IO_MAX CHAINBLK_QUEUE_MAX

struct chain_dev;

/* One command under way. */
struct chain_io {
	struct chain_io *next; /* while free */
	struct chain_dev *cd;
	struct tcmur_cmd *cmd;
	bool is_read;
	atomic_int parts;  /* library operations outstanding, and one while submitting */
	atomic_int status; /* the first negative errno of a part */
};

struct chain_dev {
	struct tcmu_device *dev;
	struct chainblk *vol;
	uint32_t block_bytes;
	_Atomic uint64_t volume_bytes;  /* as last told to the device */
	_Atomic uint64_t resized_bytes; /* the library's latest event not yet acted upon, or 0 */
	pthread_mutex_t lock;           /* of the free list */
	struct chain_io *free;
	struct chain_io ios[IO_MAX];
};

/* io.c: the callouts of struct tcmur_handler. */
void io_init(struct chain_dev *cd);
int io_read(struct tcmu_device *dev, struct tcmur_cmd *cmd, struct iovec *iov, size_t iov_n,
	    size_t len_bytes, off_t offset_bytes);
int io_write(struct tcmu_device *dev, struct tcmur_cmd *cmd, struct iovec *iov, size_t iov_n,
	     size_t len_bytes, off_t offset_bytes);
int io_flush(struct tcmu_device *dev, struct tcmur_cmd *cmd);
int io_unmap(struct tcmu_device *dev, struct tcmur_cmd *cmd, uint64_t offset_bytes,
	     uint64_t len_bytes);
int io_write_same(struct tcmu_device *dev, struct tcmur_cmd *cmd, uint64_t offset_bytes,
		  uint64_t len_bytes, struct iovec *iov, size_t iov_n);

/* scsi_capacity.c: READ CAPACITY(16). Returns TCMU_STS_NOT_HANDLED for every other command. */
int scsi_capacity(struct chain_dev *cd, struct tcmulib_cmd *cmd);

#endif
