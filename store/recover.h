/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* recover - from the bytes on a disk to an open store.
 *
 *	SUPER -> CKPT -> RECORDS -> WALK -> PROVE -> SCAN -> MARKS -> REPLAY -> PAGES -> ASK -> LOOK
 *	-> WRITE
 *
 *   SUPER   the newest superblock with two equal copies
 *   CKPT    its checkpoint: where record blocks lie, watermarks, request tables
 *   RECORDS the record blocks: who owns which page
 *   WALK    headers of the log from the replay start on, as long as each follows the one before
 *   PROVE   payload CRCs of the batches no later header vouches for ("stable"); the first bad one
 *           and what follows is cut: the torn end
 *   SCAN    the rest of the log: a header that could only exist if the cut were acknowledged is rot
 *   MARKS   what is committed at the end of the log, and what was undone in it; WALK has found that
 *           already unless something was cut
 *   REPLAY  records in log order: epochs, ops; ops <= known are committed, the others are pending
 *   PAGES   ops that went straight to pages and that no header vouches for: the first one of a
 *           chain whose pages are not all there is undone, with what follows it on that chain
 *   ASK     the caller, whether this store is its own
 *   LOOK    whether the superblock is still the one that was read
 *   WRITE   superblock with this start's incarnation: the first write of all; then an empty header
 *           at the end of the log, so that what was cut off can never come back
 *
 *   V1  nothing is written before everything was validated; running it twice finds the same
 *   V2  an acknowledged op is replayed or the open fails with -EBADMSG; never silently dropped
 *   V3  what is read is bounded, however much was ever written. Each home of the record blocks at
 *       most once, the checkpoint once, a page at most once; of the log RECOVERY_LOG_READS times
 *       its length: WALK and SCAN together once, PROVE twice, MARKS once, REPLAY once, and one for
 *       what windows overlap. Without a torn end or a write that hung it is little more than two
 *   V4  a phase that takes more than a second says how far it is every second, and when it ends
 *
 * The buffer holds one window of the log or checkpoint at a time. One thread. */

#ifndef STORE_RECOVER_H
#define STORE_RECOVER_H

#include "store/internal.h"

enum recovery_phase {
	REC_SUPER,
	REC_CKPT,
	REC_RECORDS,
	REC_WALK,
	REC_PROVE,
	REC_SCAN,
	REC_MARKS,
	REC_REPLAY,
	REC_PAGES,
	REC_ASK,
	REC_LOOK,
	REC_WRITE
};

#define RECOVERY_LOG_READS 6u
#define RECOVERY_CUTS 8192u
struct recovery_cut { /* a TRUNCATE in the log */
	uint64_t lsn, to;
	uint32_t slot; /* of its chain */
};

struct recovery {
	struct store *s;
	struct disk_io io;
	enum recovery_phase phase;
	uint8_t *buf;              /* LOG_BATCH_BLOCKS_MAX blocks */
	uint32_t win_block, win_n; /* what of the log (or checkpoint) is in it; n 0: nothing */
	struct id128 incarnation;
	void (*done)(void *arg, int res, const char *why, const struct store_opened *found);
	void (*validated)(void *arg, const struct store_opened *found);
	void *arg;
	char why[160];
	struct log_place place;
	uint64_t ckpt_at; /* next checkpoint block */
	uint32_t rec_at;  /* next record block */
	struct record_window {
		uint8_t *buf;
		uint32_t at, n; /* record blocks in it */
	} home[2];
	struct recovery_cut *cuts; /* RECOVERY_CUTS */
	uint32_t cuts_n;
	bool marks_due;           /* MARKS has something to do */
	uint32_t prove_chain;     /* PAGES: slot of the chain ... */
	uint64_t prove_seq;       /* ... its op ... */
	uint32_t prove_page;      /* ... and how many of its pages were read */
	struct chain *ckpt_chain; /* whose clients are due */
	uint32_t ckpt_clients;
	uint64_t stable;  /* highest seen */
	uint32_t at;      /* WALK, SCAN: block; PROVE, REPLAY: batch */
	uint32_t left;    /* SCAN: blocks to go */
	uint64_t newest;  /* highest superblock generation on the disk */
	uint64_t told_ns; /* when progress was reported last */
	bool told;        /* it was, in this phase */
};

/* Watermarks and TRUNCATEs of one batch; forget those of all. */
MUST_CHECK int replay_marks(struct recovery *r, const struct disk_log_hdr *h);
void replay_forget_marks(struct recovery *r);
/* Records of one batch. @payload_block: of the batch's first payload block in the log. 0, -EBADMSG,
 * -ENOSPC with r->why. */
MUST_CHECK int replay_batch(struct recovery *r, const struct disk_log_hdr *h, uint32_t ring);
/* After the last batch: nothing may be missing. */
MUST_CHECK int replay_finish(struct recovery *r);
/* The next op whose pages must be looked at (prove_chain, prove_seq), or NULL; and: they are not
 * all there. */
struct store_op *replay_unproven(struct recovery *r);
void replay_disproved(struct recovery *r);
/* After that. */
MUST_CHECK int replay_end(struct recovery *r);
/* A record block as it lies at its home. */
MUST_CHECK int replay_recs(struct recovery *r, uint32_t block, const struct disk_recs *from);
/* One checkpoint block. */
MUST_CHECK int replay_ckpt(struct recovery *r, const struct disk_ckpt_hdr *h);
/* ---- recover_pages.c: the phases RECORDS and PAGES ---- */
MUST_CHECK int recovery_records(struct recovery *r, bool *ret_wait);
MUST_CHECK int recovery_prove_pages(struct recovery *r, bool *ret_wait);
/* ---- recover_super.c: the phase SUPER ---- */
MUST_CHECK int recovery_take_super(struct recovery *r);
/* ---- claim.c: the phases ASK and LOOK ---- */
MUST_CHECK int recovery_ask(struct recovery *r, bool *ret_wait);
MUST_CHECK int recovery_look_again(struct recovery *r, bool *ret_wait);
/* ---- recover_progress.c: V4 ---- */
void recovery_progress(struct recovery *r, uint64_t at, uint64_t of);
void recovery_log_progress(struct recovery *r); /* the phases that read the log */
void recovery_progress_end(struct recovery *r); /* of this phase */
/* ---- recover.c ---- */
struct store_opened recovery_found(const struct recovery *r);
void recovery_go_on(struct recovery *r); /* with the next phase */
void recovery_window_read(struct disk_io *io, int res);
void recovery_read_window(struct recovery *r, uint64_t offset_bytes, uint32_t block, uint32_t n);
int recovery_fail(struct recovery *r, int res, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
