/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chainblk_mock - libchainblk without a cluster: volumes are memory of this process.
 *
 * Stands in for libchainblk.so under a frontend: linked into the unit tests, or as a shared library
 * in its place when the frontend itself is to be looked at alone. Keeps the promises of chainblk.h,
 * L1 to L4 trivially: completions come from one loop thread, never before the submit returned.
 *
 * Every volume name exists. Its size is 64 MiB unless MOCK_SIZE (environment, bytes) says
 * otherwise; a name that ends in "4k" has 4096-byte sectors; "missing" does not exist.
 *
 * The functions here steer it; all may be called from any thread.
 */

#ifndef CHAINBLK_MOCK_H
#define CHAINBLK_MOCK_H

#include "libchainblk/chainblk.h"

/* The next @count operations complete with @status instead of doing anything. */
void chainblk_mock_fail(int status, unsigned count);

/* The next @count submissions are refused with @status. */
void chainblk_mock_refuse(int status, unsigned count);

/* Grow every open volume and send it the event. */
void chainblk_mock_resize(uint64_t size_bytes);

/* Operations submitted since the start, and the last one of them, for tests that look. */
struct chainblk_mock_seen {
	unsigned reads, writes, flushes, discards, zeroes, write_sames;
	uint64_t offset_bytes, len_bytes;
};
struct chainblk_mock_seen chainblk_mock_seen(void);

#endif
