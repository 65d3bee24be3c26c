/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* host - one store on one file, opened the way chaind does, without network or chains' logic.
 *
 *	host_format -> host_open -> the load, on the loop -> host_settle -> host_close
 *
 * Same reactor, same disk, same pool of payload buffers registered with the kernel, same number of
 * chains there is memory for. What fails ends the process with 1 and a line on stderr: there is
 * nothing to measure then. One thread. */

#ifndef BENCH_STORE_HOST_H
#define BENCH_STORE_HOST_H

#include "io/disk.h"
#include "io/reactor.h"
#include "lib/arena.h"
#include "lib/buf.h"
#include "store/store.h"

struct host {
	const char *path;
	struct reactor *reactor;
	struct env *env;
	struct env_disk *disk;
	void *memory; /* all there is: pool and store */
	size_t memory_bytes;
	struct arena arena;
	struct buf_pool bufs;
	struct store *store;
	struct store_stats opened; /* right after open */
	uint64_t open_ns;          /* what opening took */
	bool done;                 /* host_wake() was called */

	struct env_timer settle;
	uint64_t settle_bytes, settle_since_ns;
};

struct host_format {
	const char *path;
	uint64_t size_bytes, log_bytes; /* log 0: the default */
	bool sparse; /* only as long as it should be, nothing written: for what never fills */
};

void host_format(const struct host_format *f);
void host_open(struct host *h, const char *path);
/* Run the loop until host_wake(). */
void host_wait(struct host *h);
void host_wake(struct host *h);
/* Until the store has moved everything to its place: nothing is left in its log, or it has written
 * nothing for longer than it waits before it takes idleness for granted. */
void host_settle(struct host *h);
void host_close(struct host *h);

/* Written to devices by this process, as the kernel counts it; 0 where it does not. */
uint64_t host_kernel_bytes(void);
/* Processor time this process has used, the kernel's on its behalf included. */
uint64_t host_cpu_ns(void);
/* The most memory this process ever had resident. */
uint64_t host_peak_kib(void);

#endif
