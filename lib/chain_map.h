/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chain_map - the configuration as everybody holds it: servers, chains, volumes (PROTOCOL 1 and 4).
 *
 * cfgsvc makes it, chaind and clients obey it. The structs are the wire and snapshot format: an
 * encoded map is chain_map_hdr, then the three arrays, then nothing; chain_map_decode() validates
 * every field. A newer version replaces an older one whole; epochs of a chain never go back.
 *
 *   M1  ids are unique and never reused; chain ids and server ids start at 1
 *   M2  a chain's members are distinct servers that exist
 *   M3  lane of extent x of volume v = v.lanes[(v.base + x) mod v.lanes_n], frozen at creation (D3)
 *   M4  servers of one domain fail together: a chain's members are of distinct domains (D5)
 *
 * Pure; memory is the caller's (struct chain_map is about 300 KiB: never on a stack). */

#ifndef LIB_CHAIN_MAP_H
#define LIB_CHAIN_MAP_H

#include "lib/base.h"
#include "lib/limits.h"

struct map_member {
	uint32_t server;
	uint32_t reserved;
	struct id128 incarnation;
};
static_assert(sizeof(struct map_member) == 24, "wire format");

struct map_chain { /* the chain record; immutable within its epoch */
	uint32_t id;
	uint32_t in_n;  /* members, head first; >= 1 */
	uint64_t epoch; /* >= 1 */
	uint64_t history;
	uint32_t target_n; /* members wanted */
	uint32_t reserved;
	struct map_member in[CHAIN_MEMBERS_MAX]; /* unused: zero */
	struct map_member sync;                  /* server 0: none */
};
static_assert(sizeof(struct map_chain) == 32 + 24 * 9, "wire format");

struct map_server {
	uint32_t id;
	uint32_t reserved;
	struct id128 disk;        /* store uuid it registered with */
	struct id128 incarnation; /* its current one */
	char name[SERVER_NAME_BYTES];
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	char domain[SERVER_NAME_BYTES]; /* M4; empty: its own, named like itself */
};
static_assert(sizeof(struct map_server) == 40 + 32 + 256 + 32, "wire format");
#define MAP_SERVER_V1_BYTES 328u /* it ended with addrs */
static_assert(offsetof(struct map_server, domain) == MAP_SERVER_V1_BYTES, "disk format");

enum map_volume_state { VOLUME_NORMAL = 1, VOLUME_DELETING = 2 };
struct map_volume {
	uint64_t id;
	uint64_t size_bytes;   /* multiple of BLOCK_BYTES */
	uint64_t generation;   /* owner generation, from 1 */
	uint32_t state;        /* enum map_volume_state */
	uint32_t sector_bytes; /* 512 or 4096 */
	uint32_t base;         /* M3 */
	uint32_t lanes_n;
	uint32_t lanes[VOLUME_LANES_MAX]; /* chain ids */
	uint32_t min_in;
	uint32_t reserved;
	char name[NAME_BYTES];
};
static_assert(sizeof(struct map_volume) == 48 + 128 + 64, "wire format");

struct chain_map_hdr {
	struct id128 cluster;
	uint64_t version; /* grows with every change */
	uint32_t servers_n, chains_n, volumes_n;
	uint32_t reserved;
};
static_assert(sizeof(struct chain_map_hdr) == 40, "wire format");

struct chain_map {
	struct chain_map_hdr hdr;
	struct map_server servers[SERVERS_MAX];
	struct map_chain chains[CHAINS_MAX];
	struct map_volume volumes[VOLUMES_MAX];
};

size_t chain_map_encoded_bytes(const struct chain_map *m);
/* @out has room for chain_map_encoded_bytes(). */
void chain_map_encode(const struct chain_map *m, void *out);
/* 0, or -EPROTO with *ret_why set; the contents of @ret_m are undefined on failure. */
MUST_CHECK int chain_map_decode(const void *bytes, size_t len_bytes, struct chain_map *ret_m,
				const char **ret_why);
/* The same for what cfgsvc kept before servers had domains: each gets its own. */
MUST_CHECK int chain_map_decode_v1(const void *bytes, size_t len_bytes, struct chain_map *ret_m,
				   const char **ret_why);
MUST_CHECK int map_chain_check(const struct map_chain *c, const char **ret_why);

const char *map_server_domain(const struct map_server *s);
/* M4 for @c, whose members are servers of @m. */
bool chain_map_domains_differ(const struct chain_map *m, const struct map_chain *c);
bool map_servers_fail_together(const struct map_server *a, const struct map_server *b);
/* NULL when there is none. */
const struct map_server *chain_map_server(const struct chain_map *m, uint32_t id);
const struct map_chain *chain_map_chain(const struct chain_map *m, uint32_t id);
const struct map_volume *chain_map_volume(const struct chain_map *m, uint64_t id);
const struct map_volume *chain_map_volume_named(const struct chain_map *m, const char *name);
uint32_t map_volume_lane(const struct map_volume *v, uint64_t extent); /* chain id, M3 */
/* Position of @server with @incarnation in @c, or -1. */
int map_chain_position(const struct map_chain *c, uint32_t server, const struct id128 *incarnation);

/* A name a volume or server may have: 1..max-1 of [A-Za-z0-9._-], not starting with '.' or '-'. */
bool name_is_valid(const char *name, size_t max_bytes);
/* A text field of @cap bytes from outside: ends with NUL, no control characters in front of it (it
 * may be logged), nothing hidden behind it. */
bool text_is_clean(const char *text, size_t cap);

#endif
