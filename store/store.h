/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* store - one disk: the device log, the index of committed blocks, pages, checkpoints, recovery.
 *
 *	chaind/node.c --append, commit, read--> store --disk_io--> env_disk (io/ or sim/)
 *
 * A store holds replicas of many chains. Per chain it is a log of ops plus the state those ops
 * made:
 *
 *   known <= committed <= durable <= appended
 *
 *   S1  store_op.done(0) means the op and everything appended before it on that chain is on stable
 *       media; ops of a chain complete in seq order (device log: LSN order)
 *   S2  reads return committed content only: ops <= the last store_commit(). Uncommitted ops sit in
 *       a per-chain pending list and touch neither index nor pages in use (PROTOCOL 2, W6); what
 *       covers whole pages fills fresh ones meanwhile
 *   S3  only committed ops are destaged or trimmed; a block leaves the index only when its page
 *       copy is written, the log is trimmed only to a durable checkpoint (03-storage)
 *   S4  every block returned passed its seeded CRC; one that does not is repaired with a
 *       neighbour's copy that passes, or -EBADMSG; never data
 *   S5  request tables (X1) are part of the committed-and-pending state and survive recovery
 *       exactly
 *   S6  after any write or flush error the store is FAILED: every later call fails with -EIO,
 *       nothing is retried
 *   S7  bytes used <= bytes of the arena given at open; the log, pages and extent table never
 *       exceed their regions: store_append() refuses with -ENOSPC before anything changed
 *   S8  promises of store_credit() are never more, all together, than the pages there are
 *   S9  a store that another daemon has opened since is FAILED as soon as that is seen
 *
 * Ownership: store_op and store_read are embedded by the caller and belong to the store from the
 * call until done (append: also afterwards, until the op is committed AND durable: .released is
 * called then, exactly once). Buffers are referenced by the store as long as it needs them.
 * Thread: the reactor's. No callback is entered from within a call (E1). */

#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "lib/env.h"
#include "lib/frame.h"
#include "lib/op.h"

#define STORE_BYTES_MIN (4ull << 20) /* store_open() is not for anything shorter */

struct arena;
struct store; /* opaque */

/* ---- format ---- */

struct store_format {
	uint64_t log_bytes; /* 0: default, 5 % of the device, at least 64 MiB (or 1/4 of it) */
	struct id128 disk;  /* store uuid, random */
	uint64_t secret; /* random: seeds header CRCs, so that a client's image of a log is not one
			  */
	bool force;      /* overwrite an existing superblock */
	uint32_t slice, slices_n; /* which part of the disk this store is; slices_n 0: all of it */
};

/* Write superblocks, empty log and checkpoint. Asynchronous on @d; @arena must hold
 * store_format_memory(). done(arg, 0 or -errno, text): -EEXIST when a superblock is there and
 * !force,
 * -ENOSPC when too small. */
size_t store_format_memory(void);
void store_format_start(struct env *e, struct env_disk *d, const struct store_format *f,
			struct arena *a, void (*done)(void *arg, int res, const char *why),
			void *arg);

/* ---- open ---- */

struct store_opened;
struct store_config {
	struct env *env;
	struct env_disk *disk;
	struct buf_pool *bufs;   /* payloads of reads and re-reads come from here (BUF_NODE) */
	uint32_t chains_max;     /* replicas it may hold */
	uint32_t reqtab_clients; /* clients a chain remembers, 0: REQTAB_CLIENTS_MAX. For tests: the
				    same on every member of a chain and for the life of its log */
	struct id128 incarnation; /* of this start; written as (previous, new) before open completes
				     (C7) */
	uint64_t watch_ns;        /* how often to look whether another daemon opened the store (its
				     lock may fail where two devices show one disk); 0: never */
	uint32_t cache_slots;     /* record blocks kept in memory, 0: by the size of the disk */
	uint64_t scrub_ns;        /* in which all pages are read and checked once; 0: never */
	/* Everything was validated, nothing was written: is this store ours? Go on with
	 * store_claim(), or give up with store_close(). @arg is that of store_open(). The chains
	 * can be looked at. NULL: it goes on by itself. */
	void (*validated)(void *arg, const struct store_opened *found);
};

#define STORE_DOUBTFUL_MAX 64u
struct store_opened {               /* what open found */
	struct id128 disk, cluster; /* cluster: none until store_set_cluster() */
	struct id128 previous;      /* latest incarnation known to have been registered (C7) */
	/* Later starts that ended before store_registered() was durable, newest first; none: no
	 * more. */
	struct id128 doubtful[STORE_DOUBTFUL_MAX];
	uint64_t bytes_total, bytes_free;
	uint32_t slice, slices_n;
};

/* Memory for a store on a disk of @disk_bytes; what is not used is never touched. */
size_t store_memory(uint64_t disk_bytes, uint32_t chains_max);
/* What it is for, in bytes; the whole is more by what is small. */
struct store_memory_parts {
	size_t pages;  /* who owns which page */
	size_t index;  /* blocks in the log, and its batches */
	size_t cache;  /* checksums of pages */
	size_t chains; /* request tables, pending ops */
};
void store_memory_parts(uint64_t disk_bytes, uint32_t chains_max, struct store_memory_parts *ret);
/* Reads superblock, checkpoint, log; may report progress through env log. done: 0, or -errno with a
 * text naming thing, cause, next step: -ENODEV not a store, -EBADMSG damage (rot), -EPROTONOSUPPORT
 * newer format, -ENOSPC disk smaller than formatted. Nothing is written before everything was
 * validated. */
struct store *store_open(const struct store_config *cfg, struct arena *a,
			 void (*done)(void *arg, int res, const char *why,
				      const struct store_opened *found),
			 void *arg);
/* After store_config.validated, once: -EBUSY when somebody wrote the superblock since it was read.
 */
void store_claim(struct store *s);
/* Clean stop: wait for in-flight writes, note where scrubbing is, write a final empty header; then
 * done. The memory is the caller's again. */
void store_close(struct store *s, void (*done)(void *arg), void *arg);
/* Durable; only while none is set (-EEXIST if another is). done(arg, res). */
void store_set_cluster(struct store *s, const struct id128 *cluster,
		       void (*done)(void *arg, int res), void *arg);
/* The configuration service has taken this start's incarnation; noted in its own time. */
void store_registered(struct store *s);

/* ---- chains ---- */

struct store_chain_info {
	uint32_t chain;
	uint64_t epoch; /* last store_set_epoch(); 0 never */
	uint64_t history;
	uint64_t last;      /* highest seq appended and durable (after recovery: end of its log) */
	uint64_t committed; /* highest seq committed here (after recovery: highest proved known) */
};

/* Make room for @chain if it is new. -ENOSPC: chains_max. */
MUST_CHECK int store_chain_add(struct store *s, uint32_t chain);
unsigned store_chains_n(const struct store *s);
/* @i < store_chains_n(): in no particular order. */
void store_chain_at(const struct store *s, unsigned i, struct store_chain_info *ret_info);
/* -ENOENT when unknown. */
MUST_CHECK int store_chain_info(const struct store *s, uint32_t chain,
				struct store_chain_info *ret_info);
/* Durably note that @chain acts in @epoch (a record in the device log, in order with its ops). */
void store_set_epoch(struct store *s, uint32_t chain, uint64_t epoch, uint64_t history,
		     void (*done)(void *arg, int res), void *arg);

/* Cuts the log of @chain, of which all is durable, back to @to: committed <= @to < last. Ops with
 * an owner are released, nothing is to be appended until @done: that is durable (0), or -EIO. */
void store_undo(struct store *s, uint32_t chain, uint64_t to, void (*done)(void *arg, int res),
		void *arg);

/* ---- write ---- */

struct store_op {
	struct list link;  /* the store's */
	struct op_rec rec; /* filled by the caller */
	uint32_t *crcs;    /* rec.crcs_n of them, the caller's memory until .released */
	struct buf *data;  /* payload or NULL; the store takes its own reference */
	bool numbered;     /* the caller's: a head elsewhere has accepted it (W8), so it may take
			      the last pages there are */
	void (*done)(struct store_op *op, int res); /* durable (S1), or failed */
	void (*released)(struct store_op *op);      /* committed and durable: forget it */
	/* The store's own from here: where it lies. */
	uint64_t lsn, payload_offset;
	uint32_t pages[OP_BLOCKS_MAX / PAGE_BLOCKS]; /* fresh ones, for what it covers as a whole */
	uint8_t pages_n, writes;                     /* writes: to them, under way */
	bool durable, committed, logged, headed;
	uint32_t priv;
};

/* Append the chain's next op (rec.seq == appended + 1, CHECKed). Returns 0, -EAGAIN when the log is
 * full for now (nothing changed; retry after space_cb), -ENOSPC when no page could back it, -EIO
 * FAILED. */
MUST_CHECK int store_append(struct store *s, struct store_op *op);
/* Everything of @chain up to @seq is committed; <= appended. Moves pending ops into the index (in
 * seq order). The token rule makes committed imply durable: CHECKed. */
void store_commit(struct store *s, uint32_t chain, uint64_t seq);
/* Pages set aside for @chain's ops that need new ones, after raising them to the chain's share of
 * what is left (W8): what a replica may promise its head. They are the chain's until its own ops
 * take them, so promises of all chains together are never more than there is. */
uint32_t store_credit(struct store *s, uint32_t chain);
/* Called whenever log or page space came back after a refusal. */
void store_on_space(struct store *s, void (*space)(void *arg), void *arg);
/* Re-read an op from pending memory or the device log, for a rewind: seq in (committed, last];
 * after recovery too. done(op-filled, res): @fetch->rec, crcs, data (a new reference the caller
 * puts). */
struct store_fetch {
	uint32_t chain;
	uint64_t seq;
	struct op_rec rec;
	uint32_t crcs[OP_BLOCKS_MAX];
	struct buf *data;
	void (*done)(struct store_fetch *f, int res); /* -ENOENT, -ENOBUFS (try later), -EBADMSG */
	void *priv;                                   /* the caller's */
	struct disk_io io;                            /* the store's from here */
	struct list link;
	struct store *store;
	uint64_t payload_offset;
	uint32_t pages[OP_BLOCKS_MAX / PAGE_BLOCKS];
	uint8_t pages_n;
	uint32_t ring, at;
	int res;
};
void store_fetch(struct store *s, struct store_fetch *f);

/* ---- read ---- */

struct store_read {
	struct list link; /* the store's */
	uint32_t chain;
	uint64_t volume, extent;
	uint32_t block, blocks; /* blocks <= OP_BLOCKS_MAX, inside one extent */
	bool sequenced; /* false: committed content (S2). true: newest appended content, pending ops
			 * included: the head's read-modify-write (PROTOCOL 2, SCSI mapping) */
	struct buf *data; /* out: blocks * 4096 bytes; absent blocks are zero; reference is the
			     caller's */
	uint32_t crcs[OP_BLOCKS_MAX];                /* out: seeded, absent blocks included */
	void (*done)(struct store_read *r, int res); /* 0, -EBADMSG (no good copy), -EIO (FAILED),
							-ENOBUFS */
	void *priv[9];                               /* the store's */
	const struct store_bad *vouch;               /* store_vouch()'s */
	uint32_t ios;
	int res;
};
void store_read(struct store *s, struct store_read *r);
/* Bit i of @ret_present (128 bytes): block i of the extent is present in committed content. */
void store_present(struct store *s, uint64_t volume, uint64_t extent, uint8_t ret_present[128]);

/* ---- repair: a committed block whose bytes here are bad or cannot be read ---- */

struct store_bad {
	uint64_t volume, extent;
	uint64_t seq; /* committed here when it was found */
	uint32_t chain, block;
	uint32_t crc; /* of the right content, or unseeded: of what a WRITE_SAME put there */
};
struct store_repair {
	struct list link; /* the store's */
	struct store_bad what;
	const void *data; /* BLOCK_BYTES, the caller's until done; NULL: nobody has it */
	/* 0: repaired, or overwritten meanwhile; -EBADMSG: no or not the right data; -ENOENT: was
	 * not asked for; -EIO: FAILED or closing */
	void (*done)(struct store_repair *r, int res);
	int res; /* the store's */
};
/* @bad is called once for each found by a read, by scrubbing or on the way to its page; reads of it
 * wait for the answer. Without @bad they end with -EBADMSG at once. */
void store_on_bad(struct store *s, void (*bad)(void *arg, const struct store_bad *b), void *arg);
void store_repair(struct store *s, struct store_repair *answer);
/* On a neighbour: read what @bad asks for into @r (only r->done need be set). Done with 0 and the
 * block only when the content committed here has that checksum, nothing uncommitted touches it, and
 * this replica has committed as much as the one that asks; else -ESTALE, -EAGAIN (later), or what a
 * read says. @bad must stay until then. */
void store_vouch(struct store *s, struct store_read *r, const struct store_bad *bad);

/* ---- request tables (X1): asked by the head before numbering ---- */

enum store_req_state {
	STORE_REQ_NEW,       /* number it */
	STORE_REQ_KNOWN,     /* has a seq already; pending or done: send DUP */
	STORE_REQ_BELOW_LOW, /* given up by its client: reject */
	STORE_REQ_NO_CLIENT, /* no SESSION was sequenced for this client (or it was forgotten) */
	STORE_REQ_OLD_SESSION,
	STORE_REQ_FULL,  /* SESSION 1 of a new client, the table is full, and another new client's
			    is pending; alone it would take the least recently used one's place */
	STORE_REQ_AHEAD, /* req_no >= contiguous + REQ_OUTSTANDING_MAX: not possible for an honest
			    client */
};
struct store_req_answer {
	enum store_req_state state;
	uint64_t seq;          /* KNOWN */
	int32_t result;        /* KNOWN */
	uint32_t offset_bytes; /* KNOWN, -EILSEQ */
	uint32_t session;      /* current, when the client is known */
};
/* Looks at the table as of the newest *appended* op (pending included). @kind: OP_*. */
void store_req_lookup(const struct store *s, uint32_t chain, const struct id128 *client,
		      uint64_t req_no, uint64_t low, uint32_t session, unsigned kind,
		      struct store_req_answer *ret);

/* ---- state ---- */

struct store_stats {
	uint64_t bytes_total, bytes_free; /* pages */
	uint64_t log_bytes, log_used_bytes;
	uint64_t written_bytes, read_bytes; /* device */
	uint64_t batches, ops, destaged_blocks, checkpoints;
	uint64_t direct_blocks;            /* written straight to pages */
	uint64_t cache_hits, cache_misses; /* record blocks */
	uint64_t bad_blocks, repaired_blocks;
	uint64_t scrub_passes, scrub_pages; /* whole passes ever; pages of the present one */
	bool failed;
};
void store_stats(const struct store *s, struct store_stats *ret);
/* CHECK S1-S8, the ledger of pages (used + free == total) included. Slow: for tests and sim. */
void store_check(const struct store *s);

#endif
