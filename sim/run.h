/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* run - one seed from nothing to a verdict.
 *
 *	draw a plan -> format, start, cluster init -> work under faults -> faults stop -> everything
 *	out completes -> work without faults -> read back all -> deep checks, linearizability
 *
 * Everything is a function of the seed. A CHECK that fails inside the code under test ends the seed
 * as a violation: the caller runs it under run_guarded(). */

#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "lib/base.h"

struct run_options {
	uint64_t seed;
	int verbose;   /* 1: events for people, 2: every frame */
	bool describe; /* print the plan */
};

struct run_result {
	uint64_t events, operations, faults, simulated_ns, hash, violations;
	uint64_t commits, acks, undone, frames, failed, checked, audited;
	char text[512]; /* first violation */
};

/* Catches CHECK and crashes of the code under test. */
void run_guarded(const struct run_options *opt, struct run_result *ret);

#endif
