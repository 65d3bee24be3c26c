/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_slices - the slices a store was formatted in, as the store itself says.
 *
 * A slice is a whole store: superblock, log, pages. The superblock of the first says how long each
 * is, so a disk that has grown since keeps its slices where they are. Blocking; before any reactor
 * runs. */

#ifndef CHAIND_CMD_SLICES_H
#define CHAIND_CMD_SLICES_H

#include "chaind/cmd_share.h"
#include "io/disk.h"

/* What lies on @disk. A disk without a readable superblock counts as one slice: store_open() says
 * what is wrong with it. 0, -ENOSPC when the disk is shorter than its slices, -EBADMSG when they
 * are not of one disk, with @err. */
MUST_CHECK int slices_find(const struct env_disk *disk, struct slices *ret,
			   char err[SHARE_ERR_BYTES]);
/* Slice @i as a part of the disk. */
struct disk_part slices_part(const struct slices *s, uint32_t i);

#endif
