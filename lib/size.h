/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* size - numbers of bytes as people write them: 4096, 64K, 10G, 1.5T (powers of 1024), and the
 * lists of addresses of the command lines. Pure, no state; text comes from users, nothing is
 * CHECKed. */

#ifndef LIB_SIZE_H
#define LIB_SIZE_H

#include "lib/base.h"
#include "lib/limits.h"

#define SIZE_TEXT_BYTES 16u

/* Digits, then at most one of K M G T (either case), then nothing, or "iB" or "B" after the letter.
 * One decimal point is allowed when the result is whole: 1.5G. 0; -EINVAL; -ERANGE beyond 2^63 -
 * 1. */
MUST_CHECK int size_parse(const char *text, uint64_t *ret);
/* Shortest text: "1.5G", "10G", "4K", "512", rounded to at most one digit after the point. */
void size_format(uint64_t bytes, char out[SIZE_TEXT_BYTES]);

/* A plain decimal number, nothing around it. 0; -EINVAL; -ERANGE beyond @max. */
MUST_CHECK int opt_u64(const char *text, uint64_t max, uint64_t *ret);

/* "host:port" with a port of 1..65535, or "unix:/path"; shorter than ADDR_BYTES. Whether the host
 * exists is not asked. */
bool addr_is_valid(const char *addr);
/* Cut "A[,B...]" into @ret (unused are empty) and say how many. 0; -EINVAL when one is not valid or
 * the list is empty; -E2BIG when there are more than SERVER_ADDRS_MAX. */
MUST_CHECK int addr_list_parse(const char *list, char ret[SERVER_ADDRS_MAX][ADDR_BYTES],
			       uint32_t *ret_n);

#endif
