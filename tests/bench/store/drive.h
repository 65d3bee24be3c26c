/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* drive - a load on a store: so many operations always in flight, every read compared.
 *
 * A write is store_append(), and store_commit() as soon as it is durable: what a chain of one
 * replica does. Ops carry a client, its session and its request numbers, so that request tables
 * have work as in a daemon. Extents go round the chains. Latency is from the call to the callback;
 * making a block's content and checksum is the client's work and happens before, comparing what was
 * read happens after.
 *
 *   D1  no two operations in flight overlap: there is exactly one right answer to a read
 *   D2  a block's version grows when its write was acknowledged, never before
 *
 * One thread, the loop's. */

#ifndef BENCH_STORE_DRIVE_H
#define BENCH_STORE_DRIVE_H

#include "tests/bench/store/host.h"
#include "tests/bench/store/table.h"

#define DRIVE_DEPTH_MAX 256u
#define DRIVE_CHAINS_MAX 64u

struct drive_config {
	uint32_t blocks; /* of one operation */
	uint32_t depth, chains;
	uint64_t run_ns;    /* issue so long, ... */
	uint64_t min_bytes; /* ... go on until so much was issued, ... */
	uint64_t max_bytes; /* ... stop when so much was; 0: no limit */
	bool write, sequential;
	bool fill;    /* everything once, whatever the limits say */
	bool nothing; /* open the chains, and that is all */
};

struct drive_result {
	struct measure m;
	uint64_t bad; /* blocks that were not what was written */
	uint64_t device_before,
		device_after;   /* store_stats.written_bytes at first call, last callback */
	uint64_t kernel_before; /* host_kernel_bytes() at first call */
	uint64_t cpu_ns;        /* of this process, from first call to last callback */
};

/* Runs to its end: every operation called back and every op released. A store that fails ends the
 * process with 1. */
void drive_run(const struct drive_config *cfg, struct host *h, struct table *t,
	       struct drive_result *ret);

#endif
