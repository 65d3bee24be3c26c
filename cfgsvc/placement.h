/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* placement - which servers make up which chain, in which order. Pure arithmetic on server indexes
 * 0..servers_n-1 and the failure domain of each.
 *
 * A chain takes one server of each of its domains. Chains come in rounds of domains_n: a round is
 * one order of domains and its rotations (every index plus k, modulo domains_n). In each round a
 * domain is represented by one of its servers, in the next round by the next one, and only when all
 * had their turn does the order change: servers of the same rank form a cluster of their own, with
 * all orders in it, and each talks to as few others as there are domains.
 *
 *   P1  after every whole round each domain has been head, middle and tail equally often; after as
 *       many rounds as domains have servers, so has each server
 *   P2  up to PLACEMENT_ALL_MAX domains: when the number of chains is a multiple of all orders
 *       there are (times the servers of a domain), each order occurs equally often (D4, D5); one
 *       that is not takes them evenly spread
 *   P3  beyond: only few sets of offsets are used, in all their orders, so that the domains one
 *       shares chains with stay about ten (copysets, D5)
 *   P4  no chain has two servers of one domain (D5) */

#ifndef CFGSVC_PLACEMENT_H
#define CFGSVC_PLACEMENT_H

#include "lib/base.h"
#include "lib/limits.h"

#define PLACEMENT_PER_SERVER 24u /* replicas per server wanted (D4) */
#define PLACEMENT_ALL_MAX 6u

struct placement {
	uint32_t servers_n;           /* 1..SERVERS_MAX */
	uint32_t domains_n;           /* 1..servers_n */
	uint32_t replicas_n;          /* 1..min(domains_n, CHAIN_MEMBERS_MAX) */
	uint32_t domain[SERVERS_MAX]; /* of each server: 0..domains_n-1, none without a server */
};

/* D7: two copies, one in a single domain. */
uint32_t placement_default_replicas(uint32_t domains_n);
/* D4: servers * 24 / replicas, whole rounds of all servers, at most CHAINS_MAX. */
uint32_t placement_default_chains(const struct placement *p);
/* Most replicas a server gets when there are so many chains. */
uint32_t placement_replicas_max(const struct placement *p, uint32_t chains_n);
/* Members of chain @i (0-based), head first, into @ret_index[0..replicas_n). */
void placement_members(const struct placement *p, uint32_t i,
		       uint32_t ret_index[CHAIN_MEMBERS_MAX]);
/* D7: 1 up to two members, else 2. */
uint32_t placement_min_in(uint32_t replicas_n);

#endif
