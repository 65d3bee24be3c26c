/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* limits - every bound of the system in one place. Memory is taken at start from these; what
 * arrives from outside is validated against them. */

#ifndef LIB_LIMITS_H
#define LIB_LIMITS_H

#define BLOCK_BYTES 4096u
#define SECTOR_BYTES 512u
#define EXTENT_BYTES (4u << 20)
#define EXTENT_BLOCKS 1024u    /* EXTENT_BYTES / BLOCK_BYTES */
#define PAGE_BYTES (64u << 10) /* allocation unit of a store */
#define PAGE_BLOCKS 16u
#define EXTENT_PAGES 64u

#define OP_BYTES_MAX (1u << 20) /* payload of one op */
#define OP_BLOCKS_MAX 256u      /* of a write; range ops up to EXTENT_BLOCKS */
#define CAW_BLOCKS_MAX 8u

#define WINDOW_OPS_MAX 256u         /* per chain: received and not yet committed */
#define WINDOW_BYTES_MAX (8u << 20) /* per chain: payload of those */
#define WINDOW_OPS_RESERVED 4u      /* slots only SESSION, FENCE and their like may take */

#define REQ_OUTSTANDING_MAX 256u /* per (client, chain) */
#define REQTAB_CLIENTS_MAX 64u   /* clients one chain remembers */

#define CHAIN_MEMBERS_MAX 8u
#define SERVERS_MAX 64u
#define CHAINS_MAX 512u
#define VOLUMES_MAX 256u
#define VOLUME_LANES_MAX 32u
#define VOLUME_BYTES_MAX (1ull << 50)
#define EXTENTS_MAX (VOLUME_BYTES_MAX / EXTENT_BYTES)
#define NAME_BYTES 64u /* volume name, NUL included */
#define SERVER_NAME_BYTES 32u
#define SERVER_ADDRS_MAX 4u
#define ADDR_BYTES 64u /* "host:port" or "unix:/path", NUL included */

#define NODE_CHAINS_MAX 256u /* replicas on one chaind */
#define STORE_SLICES_MAX 64u /* parts of one disk, a store each */
#define NODE_CONNS_MAX 512u

#endif
