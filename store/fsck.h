/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck - is everything on a store's disk what it must be? Reads, never writes.
 *
 *	SUPER -> CHECKPOINT -> RECORDS -> LOG -> OWNERS -> DATA
 *
 * Every rule of docs/DISK.md is looked at: four superblock copies; each block of the checkpoint and
 * each record block it names; no page and no key owned twice; the log from the start of replay,
 * hole or rot; ops without a gap, none twice, none undone that was committed; then the blocks
 * themselves: what a read would return after the next start, wherever it lies, against its
 * checksum.
 *
 *   F1  a store the daemon would open as it is, with every block good, is clean
 *   F2  repairable: the next start or a neighbour mends it, nothing acknowledged is lost
 *   F3  damaged: the daemon would refuse it, or what it serves could be wrong
 *   F4  what cannot be judged because of an earlier finding is not judged, and said so
 *
 * It replays on its own (inspect.h, P2) with pages.h and index.h as its memory: 16 bytes a page and
 * 56 bytes a block of log. Memory is the arena's. One thread. */

#ifndef STORE_FSCK_H
#define STORE_FSCK_H

#include "store/inspect.h"

struct arena;

enum fsck_verdict { FSCK_CLEAN, FSCK_REPAIRABLE, FSCK_DAMAGED };
#define FSCK_NO_PLACE UINT64_MAX

struct fsck_finding {
	enum fsck_verdict verdict;
	const char *kind;      /* a word for scripts: docs/OPERATIONS.md lists them */
	uint64_t offset_bytes; /* on the disk, or FSCK_NO_PLACE */
	const char *text;      /* thing, place, cause */
	const char *next;      /* what to do */
};

struct fsck_config {
	const struct inspect_disk *disk;
	bool quick; /* leave the data out */
	/* What it must say of itself (disk_super); slices_n 0: whatever it says. */
	uint32_t slice, slices_n;
	void (*found)(void *arg, const struct fsck_finding *f);
	void *arg;
};

struct fsck_result {
	enum fsck_verdict verdict;
	uint64_t findings[FSCK_DAMAGED + 1]; /* by verdict */
	uint64_t ckpt_blocks, recs_blocks, chains, volumes;
	uint64_t log_batches, log_ops, ops_pending;
	uint64_t data_blocks; /* checked: in pages and in the log */
	/* The ledger: adds up to pages_n. */
	uint64_t pages_n, pages_owned, pages_in_log, pages_given_up, pages_free;
};

struct fsck; /* opaque */

/* For fsck_begin(). */
size_t fsck_begin_bytes(void);
/* Looks at the superblocks. 0; -ENODEV, -EPROTONOSUPPORT, -EIO: this is no store we can read,
 * *ret_why says so and there is no verdict; -EBADMSG, -ENOSPC: damaged beyond that, told. */
MUST_CHECK int fsck_begin(const struct fsck_config *cfg, struct arena *a, struct fsck **ret,
			  const char **ret_why);
/* The store in force; after that. */
const struct disk_super *fsck_super(const struct fsck *f);
/* For fsck_run(). */
size_t fsck_run_bytes(const struct fsck *f);
/* 0 and *ret, or -ECANCELED: stopped, what was found so far counts. */
MUST_CHECK int fsck_run(struct fsck *f, struct arena *a, struct fsck_result *ret);
/* What was found so far. */
void fsck_result(const struct fsck *f, struct fsck_result *ret);
const char *fsck_verdict_name(enum fsck_verdict v);

#endif
