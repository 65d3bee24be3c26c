/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* internal - struct store and what its files ask of each other. Included by store/ only.
 *
 *   store.c       public functions, memory, the deferred turn
 *   pending.c     chains, append, commit           fetch.c   re-reading pending ops
 *   log.c, batch.c  group commit                  read.c    reads
 *   destage.c     committed blocks from log to pages
 *   checkpoint.c  pages and tables to disk, trimming
 *   again.c       copies of a stuck chain's ops    super.c   superblock
 *   direct.c      large writes straight to pages   recs.c    record blocks: checksums of pages
 *   land.c        their checksums into the records repair.c  blocks that are bad here
 *   scrub.c       reads everything now and then
 *   recover.c, replay.c  from bytes to a store     mkfs.c    format
 *
 * The log is a ring of batches; log.ring[] has one log_ref per batch from the tail on:
 *
 *	tail ......... live ............................ head
 *	  |  dead, not   |  index entries, pending ops    |
 *	  |  yet trimmed |  or unacknowledged batches     |
 *
 *   L1  live counts of a batch = index entries + pending ops that point into it; "live" is the
 *       first batch with a live count or not yet durable
 *   L2  batches before "live" may be overwritten once a checkpoint that began later is durable, and
 *       not while somebody reads them (pins)
 *   L3  within a chain LSN order is seq order
 *   L4  a block is destaged from the log only when a durable record or checkpoint proves its op
 *       committed (chain.known_durable), so pages never hold what recovery would call uncommitted
 *
 *   L5  "stable" in a header covers pages too: no op up to there waits for a page write
 *
 * Every disk_io is followed by exactly one completion; store.ios counts those out. */

#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "lib/arena.h"
#include "store/format.h"
#include "store/index.h"
#include "store/pages.h"
#include "store/recs.h"
#include "store/reqtab.h"
#include "store/store.h"

#define PENDING_SLOTS 512u /* per chain, a power of two */
#define PENDING_OPS_MAX (WINDOW_OPS_MAX + 16u)
#define PENDING_CRCS_MAX (WINDOW_BYTES_MAX / BLOCK_BYTES + 2 * OP_BLOCKS_MAX)
#define REC_CRCS                                                                                   \
	(2 * PENDING_CRCS_MAX) /* per chain: what is pending never fills half of the ring */
#define CHAIN_BUCKETS 1024u
#define BATCH_COMMITS_MAX 32u
#define BATCH_EPOCHS_MAX 16u
#define LOG_FILLER_BLOCKS (LOG_BATCH_BLOCKS_MAX) /* kept free: a filler wastes at most this */
#define LOG_CONTROL_BLOCKS 128u                  /* kept free for watermarks and epochs */
#define LOG_HEADER_BLOCKS 64u   /* kept free by those, so that starts can write theirs */
#define LOG_IDLE_NS 10000000ull /* then an empty header proves the last batch */
#define IDLE_NS 1000000000ull   /* then everything is destaged */
#define READ_IOS 128u
#define DESTAGE_JOBS 8u
#define DIRECT_IOS 256u
#define IO_BUF_BYTES (1u << 20)

struct log_ref { /* one batch in the log */
	uint64_t lsn, start;
	uint32_t block, blocks; /* place in the region; fillers: all they skip */
	uint32_t crc;           /* of its header */
	uint32_t live, pins;
	uint32_t cost; /* blocks that its ops may put into the index */
};

struct batch { /* one write in flight */
	struct disk_io io;
	struct store *s;
	uint8_t *buf;
	struct list ops, epochs;
	uint64_t lsn, stable;
	uint32_t ring;
	bool busy, complete;
};

struct log {
	uint64_t offset_bytes;
	uint32_t blocks;     /* of the region */
	uint32_t head;       /* where the next batch goes */
	uint32_t used;       /* blocks from tail to head */
	uint64_t lsn, start; /* of the last batch built */
	uint32_t crc;
	uint64_t durable;      /* LSN: all up to here acknowledged */
	uint64_t stable;       /* highest "stable" in a durable header */
	uint64_t last_work;    /* LSN of the last batch that said more than watermarks */
	struct log_ref before; /* the batch before the tail */
	struct log_ref *ring;
	uint32_t ring_n, first, count;
	uint32_t live_at;      /* batches before the first live one, <= count */
	uint32_t live_blocks;  /* blocks from there to the head */
	uint64_t dead_cost;    /* cost of batches before it */
	struct list queue;     /* store_op, not yet in a batch */
	uint32_t queue_blocks; /* what they will take at most */
	uint32_t queue_n;
	struct list epochs; /* epoch_change, not yet in a batch */
	struct list headed; /* store_op: header durable, waits for pages or for one before it */
	struct list told;   /* store_op: durable, its caller is told next */
	struct batch batch[LOG_INFLIGHT_MAX];
	uint32_t inflight;
	bool want_header;
	uint32_t commits_from; /* slot of the chain whose watermark is next */
	uint64_t built_ns;     /* when the last batch was built */
	struct env_timer idle;
};

struct epoch_change {
	struct list link;
	uint64_t epoch, history;
	void (*done)(void *arg, int res);
	void *arg;
	struct chain *chain;
	bool busy;
};
#define EPOCH_CHANGES_PER_CHAIN 4u

struct chain {
	uint32_t id, slot;
	uint64_t epoch, history;
	uint64_t appended, durable, committed;
	uint64_t known_logged, known_lsn; /* watermark in flight and its batch; lsn 0: none */
	uint64_t known_durable;           /* L4 */
	uint64_t base;                    /* checkpoint under way: replay skips ops up to here */
	uint64_t ckpt_written;            /* checkpoint under way: the watermark it holds */
	struct store_op **pend;           /* op of seq n in slot n % PENDING_SLOTS */
	uint32_t pend_n, pend_crcs;
	uint32_t pend_blocks;   /* payload of those in the log */
	uint32_t pend_cost;     /* index entries they may become */
	uint32_t reserved;      /* pages set aside for it (store_credit) */
	struct index_fifo fifo; /* blocks whose content is in the log */
	struct index_fifo
		fresh; /* blocks that lie in their page, whose records do not say so yet */
	struct reqtab reqs;
	struct epoch_change changes[EPOCH_CHANGES_PER_CHAIN];
	/* recovery: next op expected, watermark of the checkpoint, highest of all, highest in the
	 * log so far, highest op passed over because a copy of its predecessor follows; checksums
	 * of pending ops, which have no caller to keep them, go round in a ring */
	uint64_t next, ckpt_known, known, marked, skipped;
	/* what was undone: written as TRUNCATE with the next header; UINT64_MAX: nothing */
	uint64_t undo_to;
	struct undo { /* .done NULL: none */
		uint64_t to;
		void (*done)(void *arg, int res);
		void *arg;
	} undo;
	uint32_t *rec_crcs;
	uint32_t rec_crcs_at;
};

struct read_io {
	struct disk_io io;
	struct list link;
	struct store *s;
	struct store_read *r;
	uint32_t at, blocks;    /* within the read */
	uint32_t ring;          /* batch pinned, or UINT32_MAX */
	uint32_t page, pages_n; /* pages pinned */
	uint32_t slot;          /* of record blocks, pinned, or RECS_NONE */
	uint64_t from_bytes;    /* on the device */
	bool same;              /* one block, whose expected crc is an unseeded one */
	uint32_t want[OP_BLOCKS_MAX];
};

struct destage_block {
	uint32_t block; /* of the extent, or UINT32_MAX: not part of the job */
	uint32_t log_block, ring, crc;
	uint64_t seq;
	bool same;    /* .crc is unseeded */
	bool lost;    /* cannot be read: lands with its checksum, and is bad in the page then */
	bool in_page; /* repair of what lies in the page: nothing lands */
};
struct destage_io {
	struct disk_io io;
	struct destage_job *job;
};
struct destage_job {
	struct destage_io io[PAGE_BLOCKS];
	struct recs_wait wait;
	uint32_t slot; /* of its record block, pinned, or RECS_NONE */
	struct store *s;
	uint8_t *buf; /* PAGE_BYTES: block i of the page at i * 4096 */
	bool busy, writing, bad;
	bool single, reread;   /* after a read error: block by block */
	struct repair *repair; /* what it does, or NULL */
	struct page_key key;
	uint32_t page, ios;
	struct destage_block block[PAGE_BLOCKS];
};

#define REPAIRS_MAX 64u
struct repair { /* repair.c */
	struct store_bad what;
	struct list readers; /* store_read, waiting for it */
	struct store_repair *answer;
	bool used, told, running;
};

struct direct_io { /* a run of pages being filled */
	struct disk_io io;
	struct list link;
	struct store *s;
	struct store_op *op;
	struct buf *data;
};

enum again_state { AGAIN_IDLE, AGAIN_READ, AGAIN_WRITE };
struct again_place {
	uint64_t lsn, payload_offset;
	uint32_t priv;
};
struct again { /* the stuck chain whose pending ops are written again */
	enum again_state state;
	struct chain *chain;
	uint64_t first, next;         /* copies of [first, next) are durable */
	struct store_op shadow;       /* the copy under way */
	uint32_t crcs[OP_BLOCKS_MAX]; /* its own: the original may be released meanwhile */
	struct buf buf;               /* its payload; belongs to no pool */
	struct disk_io io;
	uint32_t ring;   /* pinned while it is read */
	bool reread;     /* for the second time */
	uint64_t copies; /* ever made */
	struct again_place at[PENDING_SLOTS];
};

enum ckpt_state { CKPT_IDLE, CKPT_RECORDS, CKPT_WRITING, CKPT_FLUSHING, CKPT_SUPER };
struct ckpt {
	enum ckpt_state state;
	struct disk_io io;
	uint8_t *buf;                /* IO_BUF_BYTES */
	uint64_t generation, blocks; /* of the one being written */
	uint32_t slot;
	uint32_t cursor, chain; /* record block, chain */
	struct recs_wait wait;
	bool waiting;
	struct log_ref prev; /* batch before the start of replay */
	uint32_t replay_block;
	uint64_t trim_lsn; /* batches before it are in a durable checkpoint */
	uint64_t done_ops; /* store.commits when the latest one began */
};

struct super_writer {
	struct disk_io io[2];
	struct disk_super *block; /* what is being written */
	struct disk_super *seen;  /* what was there before */
	bool busy;
	unsigned step, ios;
	struct list waiting, running; /* super_wait */
	uint8_t order[SUPER_COPIES];  /* the first two, then the others */
	bool unflushed;               /* this start has not flushed yet */
};
struct super_wait {
	struct list link;
	void (*done)(struct super_wait *w, int res);
};

struct watch { /* reads the superblock now and then: has another daemon opened the store? */
	struct env_timer timer;
	struct disk_io io;
	struct disk_super *block;
	uint64_t every_ns; /* 0: off */
};

struct scrub { /* one page at a time (scrub.c) */
	struct env_timer timer;
	struct recs_wait wait;
	struct disk_io io;
	struct page_key key;
	uint8_t *buf;        /* PAGE_BYTES */
	uint64_t all_ns;     /* in which everything is read once; 0: off */
	uint32_t page, slot; /* under the brush, its record block: both pinned */
	uint32_t at, n;      /* blocks being read */
	uint32_t want[PAGE_BLOCKS];
	bool busy, saving;
	struct super_wait saved; /* the place, on its way to the superblock */
	uint64_t saved_page, saved_ns;
};

struct recovery;

struct store {
	struct env *env;
	struct env_disk *disk;
	struct buf_pool *bufs;
	struct disk_super super; /* as it will be written next */
	struct super_writer sw;
	struct log log;
	struct index index;
	uint64_t cost; /* sum of log_ref.cost and of the queue: replay must fit the index */
	struct pages pages;
	uint32_t reserved_n; /* sum of chain.reserved */
	struct recs recs;
	uint32_t fresh_n; /* index entries on the chains' fresh lists */
	struct recs_wait land_wait;
	bool land_waiting;
	struct direct_io *direct_ios;
	struct list direct_free;
	struct repair repairs[REPAIRS_MAX];
	struct list repairs_done; /* store_repair */
	struct list repairs_full; /* store_read: all of repairs[] are in use */
	void (*on_bad)(void *arg, const struct store_bad *b);
	void *on_bad_arg;
	uint32_t direct_free_n;
	struct chain *chains;
	uint32_t chains_n, chains_max;
	uint32_t reqtab_clients;               /* of each chain's table */
	uint32_t chain_buckets[CHAIN_BUCKETS]; /* slot + 1; 0 empty; open addressing */
	struct list rec_free; /* store_op: for pending ops recovery found, without a caller */
	struct store_op *rec_ops;
	uint32_t rec_ops_n, rec_ops_used; /* there, and ever taken */
	uint32_t undos_n;                 /* chains with an undo that waits */
	struct destage_job job[DESTAGE_JOBS];
	bool destaging, idle;
	struct env_timer idle_timer;
	uint64_t active_ns; /* when it was last used */
	struct ckpt ckpt;
	struct again again;
	struct read_io *read_ios;
	struct list read_free, reads, reads_done, fetches_done;
	struct list released, failed_ops, failed_epochs;
	struct env_task turn;
	uint64_t commits; /* ops committed since open */
	bool refused_log, refused_pages, refused_window, space_due;
	void (*space)(void *arg);
	void *space_arg;
	bool failed, opened, closing, close_header;
	void (*closed)(void *arg);
	void *closed_arg;
	int cluster_res;
	bool cluster_due;
	void (*cluster_done)(void *arg, int res);
	void *cluster_arg;
	struct watch watch;
	struct scrub scrub;
	struct super_wait cluster_wait, ckpt_wait, open_wait, registered_wait;
	uint64_t lost_told_ns,
		lost_untold; /* medium errors: when one was told, how many were not */
	struct store_stats stats;
	uint32_t ios;
	struct recovery *recovery;
};

/* ---- store.c ---- */
void store_submit(struct store *s, struct disk_io *io);
void store_turn(struct store *s);     /* run the deferred turn soon */
void store_activity(struct store *s); /* somebody uses it: idle work waits */
void store_fail(struct store *s, const char *why, int res);
void store_space_back(struct store *s); /* a refused caller may try again */

/* ---- log.c ---- */
void log_init(struct store *s, struct arena *a, uint32_t ring_n);
uint32_t log_op_blocks(const struct store_op *op);
/* Ops of @c that are durable now, in order (S1): their callers are told with log_tell(). */
void log_advance(struct store *s, struct chain *c);
void log_tell(struct store *s);
void log_prove_later(struct store *s); /* a header is due if nothing else is written soon */
bool log_has_room(const struct store *s, uint32_t blocks);
bool log_has_room_again(const struct store *s, uint32_t blocks); /* for copies */
void log_queue(struct store *s, struct store_op *op);
bool log_room(const struct store *s, uint32_t blocks, uint32_t keep);
bool log_watermark_due(const struct chain *c);
uint64_t log_stable(const struct log *l); /* L5 */
void log_batch_done(struct disk_io *io, int res);
/* ---- batch.c ---- */
void log_pump(struct store *s); /* build and write what is due */

void log_watermark_moved(struct store *s);
void log_ref_live(struct store *s, uint32_t ring, int by);
uint64_t log_block_offset(const struct store *s, uint32_t block);
/* Forget batches before the one with @lsn; stops at a pinned one. Returns how many. */
uint32_t log_trim(struct store *s, uint64_t lsn);
struct log_ref *log_push(struct store *s, const struct log_ref *ref); /* recovery and batches */
/* Recovery: cut the newest batches off, all but the oldest @keep. */
void log_cut(struct store *s, uint32_t keep);
/* Advance "live" (L1). */
void log_settle(struct store *s);

/* ---- pending.c ---- */
struct chain *chain_find(const struct store *s, uint32_t id);
struct chain *chain_make(struct store *s, uint32_t id); /* NULL: chains_max */
size_t chain_bytes(void);
void chain_init(struct store *s, struct chain *c, struct arena *a);
struct store_op *chain_op(const struct chain *c, uint64_t seq);
/* Pages for a new op, fresh ones for what it covers as a whole when op->pages_n is set; false
 * (nothing changed) when they do not suffice. */
bool pending_take_pages(struct store *s, struct store_op *op);
void pending_add(struct chain *c, struct store_op *op);
bool pending_is_zero(const struct store_op *op);
/* The newest pending op of @c is undone. */
void pending_undo(struct store *s, struct chain *c);
/* undo.c */
void undo_pump(struct store *s);
void index_drop(struct store *s, struct page *p, uint32_t at); /* entry @at, which lies on @p */
void page_drop(struct store *s, struct page *p); /* if nothing is in it and nobody needs it */
void commit_one(struct store *s, struct chain *c, struct store_op *op);
void pending_drop_pages(struct store *s, struct store_op *op);
/* Is the @i-th of its fresh pages reserved for it? */
bool pending_holds(const struct store *s, const struct store_op *op, uint32_t i);
static inline bool op_takes_pages(const struct op_rec *rec, bool zero)
{
	return rec->kind == OP_WRITE || (rec->kind == OP_WRITE_SAME && !zero);
}
/* What an op may put into the index. */
static inline uint32_t op_cost(const struct op_rec *rec, bool zero)
{
	return op_takes_pages(rec, zero) ? rec->blocks : 0;
}
/* store_op.priv */
#define OP_PRIV_ZERO 0x80000000u  /* WRITE_SAME of zeros */
#define OP_PRIV_AGAIN 0x40000000u /* a copy (again.c) */
#define OP_PRIV_RING 0x3fffffffu  /* the batch it lies in */
static inline uint32_t op_ring(const struct store_op *op)
{
	return op->priv & OP_PRIV_RING;
}

/* Does block @i of @op's range lie in one of its fresh pages, and where? */
static inline bool op_in_page(const struct store_op *op, uint32_t i, uint32_t *ret_page)
{
	struct op_pages whole = op_pages_of(&op->rec);
	uint32_t slot = (op->rec.block + i) / PAGE_BLOCKS;

	if (op->pages_n == 0 || slot < whole.first || slot - whole.first >= whole.n)
		return false;
	*ret_page = op->pages[slot - whole.first];
	return true;
}
/* Blocks of its payload that lie in the log, and how many of those come before block @i. */
static inline uint32_t op_log_blocks(const struct store_op *op)
{
	return op->rec.data_bytes / BLOCK_BYTES - op->pages_n * PAGE_BLOCKS;
}
static inline uint32_t op_log_block(const struct store_op *op, uint32_t i)
{
	uint32_t first = op_pages_of(&op->rec).first * PAGE_BLOCKS - op->rec.block;

	return op->pages_n == 0 || i < first ? i : i - op->pages_n * PAGE_BLOCKS;
}
static inline uint64_t page_offset(const struct store *s, uint32_t page)
{
	return s->super.pages_offset_bytes + (uint64_t)page * PAGE_BYTES;
}

/* ---- the others ---- */
/* Is @op to go to fresh pages? Sets pages_n and takes what that needs but the pages. */
bool direct_wanted(const struct store *s, const struct op_rec *rec);
void direct_submit(struct store *s, struct store_op *op);
uint32_t direct_spare(const struct store *s); /* pages that overwrites may have under way */
void direct_init(struct store *s, struct arena *a);
size_t direct_bytes(void);
void land_pump(struct store *s);
bool ckpt_freezes(const struct store *s); /* no record block may be written now (recs.h, Y3) */
void read_init(struct store *s, struct arena *a);
size_t read_bytes(void);
void read_pump(struct store *s);
void reads_tell(struct store *s);
void store_read_start(struct store *s, struct store_read *r);
void read_repaired(struct store *s, struct store_read *r, int res);
void read_repair_freed(struct store *s); /* one that waited for any may ask */
/* NULL: nobody to ask. */
struct repair *repair_want(struct store *s, const struct store_bad *bad);
void repair_wait(struct repair *r, struct store_read *read);
void repair_pump(struct store *s);
void repair_tell(struct store *s);
void repair_resolve(struct store *s, struct repair *r, int res);
void repair_tell_lost(struct store *s, const struct store_bad *bad);
int repair_vouches(const struct store *s, const struct store_read *r);
void destage_repair(struct store *s, struct repair *r);
bool destage_has_page(const struct store *s, const struct page_key *key);
void destage_init(struct store *s, struct arena *a);
size_t destage_bytes(void);
void destage_pump(struct store *s);
bool destage_idle(const struct store *s);
/* Must what comes in wait for what goes out? Not while nothing goes out: no job would end the wait.
 */
bool destage_paces(const struct store *s);
bool destage_wanted(const struct store *s);
void ckpt_pump(struct store *s);
void ckpt_init(struct store *s, struct arena *a);
size_t ckpt_bytes(void);
void again_pump(struct store *s);
uint32_t again_blocks(const struct chain *c); /* what a copy of its pending ops takes */
uint32_t again_held(const struct store *s, uint32_t *ret_queued);
void again_init(struct store *s, struct arena *a);
size_t again_bytes(void);
void super_init(struct store *s, struct arena *a);
void super_write(struct store *s, struct super_wait *w); /* w->done from the loop */
/* Copies @a and @b are good and the others may not be: they are written last. */
void super_good_pair(struct store *s, unsigned a, unsigned b);
void watch_start(struct store *s);
void scrub_start(struct store *s);
void scrub_save(struct store *s); /* where it is, if that is not on the disk yet */
void scrub_init(struct store *s, struct arena *a, uint64_t all_ns);
size_t scrub_bytes(void);
size_t recovery_bytes(void);
void recovery_started(struct store *s); /* the first batch of this start ended */
void recovery_start(struct store *s, struct arena *a, const struct store_config *cfg,
		    void (*done)(void *arg, int res, const char *why,
				 const struct store_opened *found),
		    void *arg);

#endif
