/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_share - what each reactor of a daemon gets of what was given for all: a slice of the disk, a
 * name, addresses, a processor.
 *
 *	one reactor:  s1    the whole disk    127.0.0.1:7401
 *	two:          s1.0  first half        127.0.0.1:7401
 *	              s1.1  second half       127.0.0.1:7402
 *
 *   H1  slices are equally long, a multiple of a page, do not overlap, and lie in order from the
 *       beginning of the disk
 *   H2  one reactor gets everything as it was given
 *
 * Pure, no state. */

#ifndef CHAIND_CMD_SHARE_H
#define CHAIND_CMD_SHARE_H

#include "lib/base.h"
#include "lib/limits.h"

#define REACTORS_MAX STORE_SLICES_MAX
#define SHARE_ERR_BYTES 256u

struct slices {
	uint32_t n;          /* 1..REACTORS_MAX */
	uint64_t each_bytes; /* slice i begins at i * each_bytes */
};

/* @disk_bytes in @n slices (H1, H2). */
struct slices share_disk(uint64_t disk_bytes, uint32_t n);
/* "NAME", or "NAME.@i" of @n. -EINVAL with @err when it does not fit. */
MUST_CHECK int share_name(const char *name, uint32_t i, uint32_t n, char ret[SERVER_NAME_BYTES],
			  char err[SHARE_ERR_BYTES]);
/* Ports count up from the one given (0, any, stays 0), socket paths get ".@i". In place. -ERANGE
 * with
 * @err. */
MUST_CHECK int share_addrs(char addrs[SERVER_ADDRS_MAX][ADDR_BYTES], uint32_t i, uint32_t n,
			   char err[SHARE_ERR_BYTES]);
/* "3,5" or "2-5" or both: processors for @n reactors, one each. -EINVAL with @err. */
MUST_CHECK int share_cpus(const char *list, uint32_t n, uint32_t ret[REACTORS_MAX],
			  char err[SHARE_ERR_BYTES]);

#endif
