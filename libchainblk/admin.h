/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* admin - what chainctl needs beyond the public API: questions to cfgsvc, and emptying a volume
 * that is being deleted. Not installed.
 *
 * Each call opens a connection of its own as ROLE_ADMIN, asks, waits for the answer (at most 5 s to
 * connect, 30 s for an answer) and closes it. Blocking, safe from any thread. */

#ifndef LIBCHAINBLK_ADMIN_H
#define LIBCHAINBLK_ADMIN_H

#include "lib/chain_map.h"
#include "lib/wire.h"
#include "libchainblk/chainblk.h"

/* Send @req to the configuration service at @cfg_addrs (tried in turn) and wait for the answer. 0
 * when there was one, whatever its status; *ret_data is malloc()ed (free() it) or NULL when the
 * answer carried none. -ENOTCONN (nobody answers), -EINVAL (addresses), -EPROTO, -ETIMEDOUT: @err
 * holds thing, cause and next step. */
CHAINBLK_API MUST_CHECK int chainblk_admin(const char *cfg_addrs, const char *insecure_lab,
					   const struct wire_admin *req,
					   struct wire_admin_reply *ret_reply, void **ret_data,
					   size_t *ret_data_len, char err[CHAINBLK_ERR_BYTES]);
/* The current map. @ret_map is large: not on a stack. Errors as above. */
CHAINBLK_API MUST_CHECK int chainblk_admin_map(const char *cfg_addrs, const char *insecure_lab,
					       struct chain_map *ret_map,
					       char err[CHAINBLK_ERR_BYTES]);

/* chainblk_open() with WIRE_OPEN_DELETING: for a volume marked deleting, where heads take UNMAP
 * only. */
CHAINBLK_API int chainblk_open_deleting(const struct chainblk_options *opt,
					struct chainblk **ret_vol, char err[CHAINBLK_ERR_BYTES]);

#endif
