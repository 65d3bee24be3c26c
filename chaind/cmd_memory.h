/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_memory - how much memory a daemon takes, what for, and whether it is allowed that much.
 *
 *	--memory SIZE  =  reactors x (store + tables + network + payload buffers)
 *
 *   MP1 everything is taken at start; nothing is allocated later
 *   MP2 the total never exceeds the budget; what the store and the tables leave of it are payload
 *       buffers. Without a budget: what is needed, and NODE's default of buffers
 *
 * Pure arithmetic, no state. */

#ifndef CHAIND_CMD_MEMORY_H
#define CHAIND_CMD_MEMORY_H

#include "chaind/node.h"
#include "store/store.h"

#define MEMORY_TEXT_BYTES 256u

struct memory_plan {
	struct node_memory node;         /* of each reactor */
	struct store_memory_parts store; /* of node.store_bytes */
	size_t io_bytes;                 /* of each reactor: queues, connections, receive buffers */
	uint64_t total_bytes;            /* of all */
};

/* Plan for @reactors nodes like @cfg (disk_bytes, chains_max) within @budget_bytes (0: no limit),
 * and set cfg->memory_bytes accordingly. 0, or -ENOMEM with @err: what is needed at least. */
MUST_CHECK int memory_plan(struct node_config *cfg, uint32_t reactors, uint64_t budget_bytes,
			   struct memory_plan *ret, char err[MEMORY_TEXT_BYTES]);
/* May @p, of @budget_bytes (0: none given), be taken on a machine with @ram_bytes? 0, or -ENOMEM
 * with
 * @err: both sizes and what to give. Limits of a cgroup are not looked at. */
MUST_CHECK int memory_fits(const struct memory_plan *p, uint32_t reactors, uint64_t budget_bytes,
			   uint64_t ram_bytes, char err[MEMORY_TEXT_BYTES]);
/* "120M: store 50M, tables 10M, ..." */
void memory_text(const struct memory_plan *p, uint32_t reactors, char out[MEMORY_TEXT_BYTES]);

#endif
