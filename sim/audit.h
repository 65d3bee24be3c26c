/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* audit - when all is quiet, every member of a chain holds the same content (I11).
 *
 * Clients only ever read at tails; a member in front of it that lost or mixed up something would go
 * unseen. The audit reads every touched block from every member's store, through the store's own
 * read path, and compares the checksums.
 *
 * Only for a cluster at rest: all members serving, equal commits, no client at work. One thread. */

#ifndef SIM_AUDIT_H
#define SIM_AUDIT_H

#include "sim/invariants.h"

struct audit {
	struct invariants *inv;
	struct store_read read;
	struct sim_event next_ev;
	uint32_t block, blocks;    /* under way */
	uint32_t member;           /* which is being read */
	uint32_t crcs[RUN_BLOCKS]; /* of the head's copy */
	uint64_t compared;
	bool reading, done;
};

void audit_start(struct audit *a, struct invariants *inv);

#endif
