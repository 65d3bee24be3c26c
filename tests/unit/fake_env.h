/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_env - struct env and struct env_disk in memory, for unit and crash tests: a virtual clock,
 * timers, deferred tasks (fake_clock), and disks that forget.
 *
 *   K1  callbacks come from fake_step() only (E1); tasks run after the completions of one step (E4)
 *   K2  a disk's reads see every completed write. After fake_disk_crash() it holds what was durable
 *       (DSYNC writes that completed, and what a flush covered) plus any subset of the 512-byte
 *       sectors of all other writes, completed or under way: torn inside a block, in any order
 *   K3  same seed, same run
 *
 * No network: connect, attach, send and close are not there. */

#ifndef TESTS_UNIT_FAKE_ENV_H
#define TESTS_UNIT_FAKE_ENV_H

#include "tests/unit/fake_clock.h"

struct fake_env {
	struct fake_clock clock; /* starts at 1 ns */
	struct list disks;
	bool shuffle;       /* complete transfers in random order */
	unsigned log_lines; /* lines logged at WARN or worse */
	char last_line[512];
};

struct fake_disk {
	struct env_disk disk;
	struct list link; /* fake_env.disks */
	struct fake_env *fe;
	uint8_t *seen;         /* what reads return */
	uint8_t *durable;      /* what a crash leaves at least */
	uint8_t *dirty;        /* bit per sector: seen may differ from durable */
	uint32_t *dirty_list;  /* sectors whose bit is set */
	uint64_t *dirty_since; /* d->writes when it became dirty, beside dirty_list */
	uint32_t dirty_n;
	struct list queue; /* disk_io under way */
	uint32_t queue_n;
	uint64_t ios, writes, flushes, read_bytes;
	/* Failure injection: the write (or flush) with this number, from 1, ends with -EIO. 0:
	 * none. */
	uint64_t fail_write, fail_flush, fail_read, reads;
	bool stalled;       /* completes nothing */
	uint64_t hold_from; /* writes at or beyond this offset stay under way; 0: none */
	uint64_t bad_block; /* reads that touch the block at this offset end with -EIO; 0: none */
};

void fake_env_init(struct fake_env *fe, uint64_t seed);
uint64_t fake_random(struct fake_env *fe, uint64_t below);
/* Complete some transfers, or fire the next timer; then run tasks. False when nothing is left to
 * do. */
bool fake_step(struct fake_env *fe);
/* The same, but time stands still: false when only timers are left. */
bool fake_step_now(struct fake_env *fe);
/* Step until *@flag; aborts the test when nothing is left to do or after 10 million steps. */
void fake_run(struct fake_env *fe, const bool *flag);
/* Drop all tasks and timers: the process died. Disks are crashed separately. */
void fake_env_crash(struct fake_env *fe);
/* A region, all zero, page aligned, for an arena or a disk: only pages that are touched cost
 * anything. */
void *fake_memory(size_t len_bytes);
void fake_memory_zero(void *p, size_t len_bytes);
void fake_memory_free(void *p, size_t len_bytes); /* NULL allowed */

/* What whoever submits @io to @ed promised (lib/env.h). */
void fake_disk_io_check(const struct env_disk *ed, const struct disk_io *io);
void fake_disk_init(struct fake_disk *d, struct fake_env *fe, uint64_t size_bytes);
/* All zero and idle again, under @fe (initialised anew). */
void fake_disk_reset(struct fake_disk *d, struct fake_env *fe);
void fake_disk_fini(struct fake_disk *d);
/* Power cut: K2. @keep_permille of the sectors that may go either way survive. */
void fake_disk_crash(struct fake_disk *d, uint32_t keep_permille);
/* What is not durable is gone, though the power stayed: a cache that was lost unnoticed. Transfers
 * under way go on. */
void fake_disk_lose(struct fake_disk *d);
/* The process died, the power stayed: completed writes are all there, those under way are not done
 * or done. */
void fake_disk_kill(struct fake_disk *d);
/* Change bytes behind everybody's back (rot). */
void fake_disk_poke(struct fake_disk *d, uint64_t offset_bytes, const void *bytes, size_t n);

#endif
