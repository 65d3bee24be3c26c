/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* placement - which servers make up which chain, in which order. Pure arithmetic on server indexes
 * 0..servers_n-1.
 *
 * Chains come in rounds of servers_n: a round is one order of members and its rotations (every
 * index plus k, modulo servers_n), so that
 *
 *   P1  after every whole round each server has been head, middle and tail equally often
 *   P2  up to PLACEMENT_ALL_MAX servers: when the number of chains is a multiple of all orders
 *       there are, each order occurs equally often (D4, D5); one that is not takes them evenly
 *       spread
 *   P3  beyond: only few sets of offsets are used, in all their orders, so that the servers one
 *       shares chains with stay about ten (copysets, D5) */

#ifndef CFGSVC_PLACEMENT_H
#define CFGSVC_PLACEMENT_H

#include "lib/base.h"
#include "lib/limits.h"

#define PLACEMENT_PER_SERVER 24u /* replicas per server wanted (D4) */
#define PLACEMENT_ALL_MAX 6u

struct placement {
	uint32_t servers_n;  /* 1..SERVERS_MAX */
	uint32_t replicas_n; /* 1..min(servers_n, CHAIN_MEMBERS_MAX) */
};

/* D7: two copies, one on a single server. */
uint32_t placement_default_replicas(uint32_t servers_n);
/* D4: servers * 24 / replicas, whole rounds, at most CHAINS_MAX. */
uint32_t placement_default_chains(struct placement p);
/* Members of chain @i (0-based), head first, into @ret_index[0..replicas_n). */
void placement_members(struct placement p, uint32_t i, uint32_t ret_index[CHAIN_MEMBERS_MAX]);
/* D7: 1 up to two members, else 2. */
uint32_t placement_min_in(uint32_t replicas_n);

#endif
