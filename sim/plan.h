/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* plan - what a seed is about: how large the cluster, how busy, which faults. Drawn from the tape.
 *
 * Every seed is lopsided on purpose: most kinds of faults are off in most seeds, so that rare
 * states are not washed away by others. Pure. */

#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include "sim/faults.h"

struct plan {
	struct cluster_config cluster;
	struct faults_config faults;
	uint64_t work_ns;     /* length of the work phase, at most ... */
	uint64_t work_events; /* ... this many events */
	uint64_t delay_lo_ns, delay_hi_ns, turn_max_ns;
	uint32_t spike_ppm;
	uint64_t write_hi_ns;
};

void plan_draw(struct plan *p, struct rng *r);

#endif
