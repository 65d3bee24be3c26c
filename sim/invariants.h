/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* invariants - what must hold after every event, seen from outside all processes (design 06).
 *
 *   I1   acknowledged or committed => on stable media of every member; and found there again after
 *        a power loss
 *   I2   committed histories are prefixes of one sequence: the op at a chain's seq is the same op,
 *        bytes included, on every member that ever committed it
 *   I4   recv of a successor <= recv of its predecessor in the same epoch
 *   I5   one configuration per (chain, epoch)
 *   I8   each request is applied at most once
 *   I10  a read reply holds committed data only
 *   I11  at rest, all members of a chain hold the same content (audit.c)
 *   I15  pools are whole; the stores' and nodes' own invariants (node_check, store_check)
 *
 * I7 is the workload's, I17 run.c's. The calls the daemons make into their stores are seen through
 * the linker (--wrap=store_append, --wrap=store_commit), so the daemons are the very object code
 * that runs for real. One simulation at a time: invariants_current. */

#ifndef SIM_INVARIANTS_H
#define SIM_INVARIANTS_H

#include "lib/chain_map.h"
#include "sim/cluster.h"

#define INV_CHAINS_MAX 65u /* ids from 1 */
#define INV_EPOCHS_MAX 256u

struct inv_entry { /* one op, as a member appended it */
	uint64_t hash;
	uint64_t request; /* of (client, volume, req_no); 0: not a request that may be applied once
			   */
};

struct inv_log {               /* one member's log of one chain; outlives its process */
	struct inv_entry *ops; /* by seq */
	uint64_t cap, last, committed, durable;
	struct node_chain_view view;
	bool viewed;
};

struct inv_chain {
	struct inv_entry *ops; /* committed truth, by seq */
	uint64_t cap, committed;
	uint64_t *requests; /* open hash set of what was applied */
	uint64_t requests_n, requests_cap;
	uint64_t epochs[INV_EPOCHS_MAX]; /* hash of each epoch's record */
};

struct invariants {
	struct cluster *cl;
	struct world *w;
	struct inv_log logs[NODES_MAX][INV_CHAINS_MAX];
	struct inv_chain chains[INV_CHAINS_MAX];
	struct chain_map map;              /* newest the service showed */
	uint32_t node_of[SERVERS_MAX + 1]; /* server id -> node index + 1 */
	uint64_t commits, acks, undone, checks;
	bool media_lie; /* a disk was made to fail: losses of it are no violation */
};

void invariants_init(struct invariants *inv, struct cluster *cl);
void invariants_fini(struct invariants *inv);
/* It serves, and all members know all of it to be committed. */
bool invariants_chain_rests(struct invariants *inv, uint32_t chain);
/* The daemon that is member @i of @rec. */
struct actor_node *invariants_member(struct invariants *inv, const struct map_chain *rec,
				     uint32_t i);
/* Every chain as every member sees it, to stderr: for a person. */
void invariants_dump(struct invariants *inv);
void invariants_leave(void); /* after a crash: forget the current one as it is */

/* Told by the actors. */
void invariants_node_down(struct invariants *inv, struct actor_node *a);
void invariants_node_recovered(struct invariants *inv, struct actor_node *a);
void invariants_node_unusable(struct invariants *inv, struct actor_node *a, int res,
			      const char *why);
void invariants_op_done(struct invariants *inv, const struct workload_op *op, int status);
/* Slow checks of every live daemon: between phases. */
void invariants_deep(struct invariants *inv);
/* All members of @chain were seen and hold what is committed: once all of them restarted it can
 * serve, wherever their logs end. */
bool invariants_chain_can_serve(struct invariants *inv, uint32_t chain);
/* Every member acts in the newest configuration. */
bool invariants_chain_serves(struct invariants *inv, uint32_t chain);

#endif
