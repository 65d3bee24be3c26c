/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* inspect - what lies on a store's disk, read piece by piece, checked, and told; nothing is
 * changed.
 *
 *	chaind inspect, fsck, tests --read at--> disk or image
 *	   <--one call per superblock copy, checkpoint block, record block, batch--
 *
 *   P1  every piece was checked with the functions of format.h before it is told; what failed is
 *       told too, with why, and nothing in it is acted on
 *   P2  the log is walked, cut and searched as recovery does it (recover.h: WALK, PROVE, SCAN), in
 *       code of its own: each finds the other's mistakes
 *   P3  memory is inspect_bytes(), whatever the size of the disk
 *
 * Callbacks return false to stop; the walk then ends with -ECANCELED. What they are shown is gone
 * when they return. Memory is the arena's. One thread. */

#ifndef STORE_INSPECT_H
#define STORE_INSPECT_H

#include "store/format.h"

struct arena;

struct inspect_disk {
	/* Offset and length are multiples of BLOCK_BYTES, @to is aligned to it. 0 or -errno. */
	int (*read)(void *arg, uint64_t offset_bytes, void *to, uint32_t len_bytes);
	/* May be NULL. @at of @of is done of what is being read; false: stop. */
	bool (*progress)(void *arg, const char *what, uint64_t at, uint64_t of);
	void *arg;
	uint64_t size_bytes;
};

enum inspect_window_use { WIN_LOG, WIN_CKPT, WIN_HOME_A, WIN_HOME_B, WIN_N };
struct inspect_window {
	uint8_t *buf; /* INSPECT_WINDOW_BLOCKS */
	uint64_t offset_bytes;
	uint32_t n; /* blocks in it */
};
#define INSPECT_WINDOW_BLOCKS LOG_BATCH_BLOCKS_MAX

struct inspect {
	const struct inspect_disk *disk;
	struct disk_super super; /* after inspect_supers(): the one in force */
	struct inspect_window win[WIN_N];
};

size_t inspect_bytes(void);
void inspect_init(struct inspect *in, const struct inspect_disk *disk, struct arena *a);
/* @n blocks at @offset_bytes through window @use; up to @ahead blocks are read at once, none at or
 * beyond @end_bytes. NULL: they cannot be read. */
const void *inspect_read(struct inspect *in, enum inspect_window_use use, uint64_t offset_bytes,
			 uint32_t n, uint32_t ahead, uint64_t end_bytes);

/* ---- superblock ---- */

struct inspect_supers {
	struct inspect_super_copy {
		struct disk_super sb; /* as it lies there */
		int res;              /* super_check(), or what reading it said */
		const char *why;      /* NULL when res is 0 */
	} copy[SUPER_COPIES];
	int chosen;      /* the first copy of the one in force, -1: none */
	const char *why; /* when there is none */
};
/* 0 and in->super; else what super_check() says of the best copy, or -EBADMSG: no two agree. */
MUST_CHECK int inspect_supers(struct inspect *in, struct inspect_supers *ret);

/* How many stores lie behind each other on this disk, each with all that docs/DISK.md says: as any
 * sound superblock of the first says, or one if there is none. */
struct inspect_slices {
	uint32_t n;
	uint64_t each_bytes; /* slice i begins at i * each_bytes */
};
struct inspect_slices inspect_slices(const struct inspect_supers *first, uint64_t size_bytes);

/* ---- checkpoint and record blocks ---- */

struct inspect_ckpt_block {
	uint64_t index, offset_bytes;
	const struct disk_ckpt_hdr *hdr; /* NULL: cannot be read */
	const char *why;                 /* NULL: sound */
};
typedef bool (*inspect_ckpt_fn)(void *arg, const struct inspect_ckpt_block *b);
MUST_CHECK int inspect_ckpt(struct inspect *in, inspect_ckpt_fn fn, void *arg);

struct inspect_recs_block {
	struct disk_ckpt_recs want; /* what the checkpoint says of it */
	uint64_t offset_bytes;
	const struct disk_recs *recs; /* NULL: cannot be read */
	const char *why;              /* NULL: sound */
};
typedef bool (*inspect_recs_fn)(void *arg, const struct inspect_recs_block *b);
/* All that sound checkpoint blocks name, in their order. @what: for progress. */
MUST_CHECK int inspect_recs(struct inspect *in, const char *what, inspect_recs_fn fn, void *arg);
static inline uint64_t inspect_page_offset(const struct inspect *in, uint64_t page)
{
	return in->super.pages_offset_bytes + page * PAGE_BYTES;
}

/* ---- log ---- */

struct inspect_batch {
	const struct disk_log_hdr *hdr;
	const uint8_t *payload; /* its first payload block; NULL: none, or it was not read */
	uint32_t block;         /* of the region: where the header lies */
};
typedef bool (*inspect_batch_fn)(void *arg, const struct inspect_batch *b);

enum inspect_log_end {
	INSPECT_END_CLEAN, /* nothing of a later batch is to be seen */
	INSPECT_END_TORN,  /* something was being written there: the next start cuts it off */
	INSPECT_END_ROT,   /* what is missing was acknowledged */
	INSPECT_END_UNREADABLE,
};
struct inspect_log {
	uint64_t batches, lsn, start; /* of the last one, or of the one before the replay start */
	uint64_t stable;              /* highest seen */
	uint32_t used_blocks;
	uint32_t end_block; /* behind the last batch */
	enum inspect_log_end end;
	const char *why;     /* not CLEAN */
	uint32_t seen_block; /* not CLEAN: where the block lies that says so ... */
	uint64_t seen_lsn;   /* ... and the LSN in it */
};
/* The batches replay would go over, then *ret. @payload: read that of every batch, not only what
 * has to prove itself. @fn may be NULL. */
MUST_CHECK int inspect_log(struct inspect *in, bool payload, inspect_batch_fn fn, void *arg,
			   struct inspect_log *ret);
static inline uint64_t inspect_log_offset(const struct inspect *in, uint32_t block)
{
	return in->super.log_offset_bytes + (uint64_t)block * BLOCK_BYTES;
}

/* One payload block of an op, for checking it where it lies. */
struct inspect_payload {
	uint32_t at;    /* among the batch's payload blocks */
	uint32_t block; /* of the extent; the first of a WRITE_SAME */
	uint32_t crc;
	bool same; /* .crc is unseeded */
};
/* How many lie in the batch, and the one with number @i. */
uint32_t inspect_payload_n(const struct log_item *it);
struct inspect_payload inspect_payload_at(const struct log_item *it, uint32_t i);
bool inspect_payload_ok(const struct log_item *it, const struct inspect_payload *p,
			const void *block);

#endif
