/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* faults - what goes wrong during the work phase, drawn from the tape.
 *
 * Each seed enables some kinds with some weights and a mean distance between two; so some seeds are
 * stormy and some are calm. Chains are static: a daemon that dies stops its chains, so with several
 * replicas daemons die together (a cycle: all stop, cleanly or by losing power, then all start),
 * while a single-member chain's daemon may die at any time.
 *
 *   X1  faults_stop() leaves nothing broken: links open, disks quick, every actor running or about
 * to X2  a fault of the network or of a process never excuses wrong data; a disk that lies
 *       (media_lie) excuses failed operations on it, never wrong data
 *
 * One thread. */

#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "sim/invariants.h"

enum fault_kind {
	FAULT_RESET,
	FAULT_HALF_OPEN,
	FAULT_BLOCK, /* one way, between two processes */
	FAULT_SLOW_NET,
	FAULT_FLIP,
	FAULT_PAUSE, /* a process stands still */
	FAULT_SLOW_DISK,
	FAULT_CLIENT_KILL,
	FAULT_SVC_KILL,
	FAULT_NODE_KILL,   /* single-member chains */
	FAULT_NODE_POWER,  /* single-member chains */
	FAULT_NODE_STOP,   /* single-member chains */
	FAULT_CYCLE_QUIET, /* clients pause, then all daemons lose power at once */
	FAULT_CYCLE_HARD,  /* the same under load */
	FAULT_CYCLE_CLEAN, /* all daemons stop cleanly, under load */
	FAULT_EIO,
	FAULT_KINDS
};

enum cycle_state { CYCLE_NONE, CYCLE_QUIESCE, CYCLE_DOWN, CYCLE_UP };

struct faults_config {
	uint32_t weights[FAULT_KINDS];
	uint64_t mean_ns;
};

struct faults {
	struct cluster *cl;
	struct world *w;
	struct faults_config cfg;
	struct sim_event next_ev, heal_ev, cycle_ev;
	enum cycle_state cycle;
	enum fault_kind cycle_kind;
	uint64_t cycle_since_ns;
	uint64_t delay_lo_ns, delay_hi_ns; /* of the calm network */
	bool on;
	uint64_t counts[FAULT_KINDS];
};

void faults_init(struct faults *f, struct cluster *cl, const struct faults_config *cfg);
void faults_start(struct faults *f);
void faults_stop(struct faults *f);
void faults_fini(struct faults *f);
const char *fault_name(enum fault_kind k);

#endif
