/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* format - every byte a store keeps on its disk, and the checks on what comes back.
 *
 *	0        64 KiB                                                             size
 *	+--------+-------------+--------+--------+----------+----------+--------------+
 *	| super  | device log  | check- | check- | page     | page     | 64 KiB pages |
 *	| 4 times| (circular)  | point A| point B| records A| records B| ...          |
 *	+--------+-------------+--------+--------+----------+----------+--------------+
 *
 *   F1  all integers are little-endian, all padding is explicit and zero
 *   F2  nothing read from a disk is acted on before its CRC and every bound were checked
 *   F3  CRCs of log headers, checkpoint and record blocks are seeded with the store's secret, which
 *       no client knows: a client's image of a log is never taken for the log
 *   F4  a log batch proves its place: disk id, own offset, LSN, start number and the CRC of the
 *       header before it
 *   F5  a record block counts only when the checkpoint in force names its home and its CRC: a lost,
 *       stale or misdirected write of one is found
 *
 * docs/DISK.md shows the same tables; tests/unit/test_store_format.c holds both to the structs.
 * Pure; no state. */

#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include "lib/limits.h"
#include "lib/op.h"

#define STORE_VERSION 2u

/* ---- superblock ---- */

#define SUPER_MAGIC 0x315250534b4c4243ull /* "CBLKSPR1" */
#define SUPER_COPIES 4u
#define SUPER_STRIDE_BYTES (16u << 10)
#define SUPER_DOUBTFUL_MAX 64u
#define SUPER_REGION_BYTES (SUPER_COPIES * SUPER_STRIDE_BYTES)

struct disk_super {
	uint64_t magic;
	uint32_t version;
	uint32_t crc;             /* of the block, this field zero; not seeded: it names the seed */
	struct id128 disk;        /* store uuid */
	struct id128 cluster;     /* none until the store joined one */
	struct id128 incarnation; /* of the latest start */
	struct id128 previous;    /* latest that was registered before it */
	uint64_t generation;      /* grows with every write of the superblock */
	uint64_t secret;          /* seed of header CRCs */
	uint64_t start;           /* how often the store was opened */
	uint64_t disk_bytes;      /* what was formatted; a smaller disk is refused */
	uint64_t log_offset_bytes;
	uint64_t log_bytes;
	uint64_t ckpt_offset_bytes;
	uint64_t ckpt_bytes; /* of each of the two slots */
	uint64_t pages_offset_bytes;
	uint64_t pages_n;
	uint32_t chains_max;
	uint32_t ckpt_slot;       /* 0 or 1: the valid checkpoint */
	uint64_t ckpt_generation; /* 0: none was ever written */
	uint64_t ckpt_blocks;     /* its length */
	uint64_t replay_block;    /* block of the log where replay starts */
	uint64_t prev_lsn;        /* of the batch before that place ... */
	uint64_t prev_start;      /* ... its start number ... */
	uint32_t prev_crc;        /* ... and its header CRC */
	uint32_t registered;      /* 1: the configuration service knows .incarnation */
	/* Starts between .previous and .incarnation of which it may know or not, newest first: a
	 * start that ended before its registration was noted. */
	struct id128 doubtful[SUPER_DOUBTFUL_MAX];
	uint64_t recs_offset_bytes; /* record blocks, home A; home B follows */
	uint64_t recs_n;            /* record blocks of each home */
	uint32_t slice, slices_n;   /* this is slice 0 <= slice < slices_n of the disk */
	uint64_t scrub_page;        /* where scrubbing goes on */
	uint64_t scrub_passes;      /* how often it went over everything */
	uint8_t zero[BLOCK_BYTES - 256 - 16 * SUPER_DOUBTFUL_MAX];
};
static_assert(sizeof(struct disk_super) == BLOCK_BYTES, "disk format");
static_assert(offsetof(struct disk_super, generation) == 80, "disk format");
static_assert(offsetof(struct disk_super, chains_max) == 160, "disk format");
static_assert(offsetof(struct disk_super, prev_crc) == 208, "disk format");
static_assert(offsetof(struct disk_super, doubtful) == 216, "disk format");

/* ---- device log ---- */

#define LOG_MAGIC 0x31474f4c4b4c4243ull /* "CBLKLOG1" */
#define LOG_HDR_BLOCKS_MAX 16u          /* header blocks of one batch */
#define LOG_DATA_BLOCKS_MAX 256u        /* payload blocks of one batch: one op of 1 MiB fits */
#define LOG_BATCH_BLOCKS_MAX (LOG_HDR_BLOCKS_MAX + LOG_DATA_BLOCKS_MAX)
#define LOG_INFLIGHT_MAX 4u /* batches written at once */
#define LOG_START_GAP 8u    /* LSNs left out at each start */

/* First bytes of a batch; records follow at once and fill the header blocks, payload blocks follow
 * those. crc covers all header blocks. A filler has skip_blocks > 0, no records and no payload: the
 * next batch is skip_blocks further on, at the start of the region. */
struct disk_log_hdr {
	uint64_t magic;
	uint32_t crc;      /* of hdr_blocks, this field zero, seeded */
	uint32_t prev_crc; /* .crc of the batch before; 0 before the first */
	struct id128 disk;
	uint64_t lsn;          /* number of this batch */
	uint64_t offset_bytes; /* own place on the device */
	uint64_t stable;       /* all batches up to this LSN were durable when this was built */
	uint64_t start;        /* disk_super.start of the writer */
	uint32_t hdr_blocks;   /* >= 1 */
	uint32_t data_blocks;
	uint32_t skip_blocks; /* filler: blocks from here to the end of the region, else 0 */
	uint32_t recs_bytes;  /* records after this struct */
	uint32_t recs_n;
	uint32_t reserved[3];
};
static_assert(sizeof(struct disk_log_hdr) == 96, "disk format");
static_assert(offsetof(struct disk_log_hdr, lsn) == 32, "disk format");
static_assert(offsetof(struct disk_log_hdr, hdr_blocks) == 64, "disk format");

enum log_rec_kind {
	LOG_OP = 1,       /* op_rec, its CRCs padded to 8 bytes; LOG_F_PAGES: page numbers too */
	LOG_EPOCH = 2,    /* disk_log_epoch */
	LOG_COMMIT = 3,   /* disk_log_commit */
	LOG_TRUNCATE = 4, /* disk_log_truncate */
	LOG_REC_END
};
#define LOG_F_ZERO 1u  /* LOG_OP, WRITE_SAME: the block is all zero */
#define LOG_F_AGAIN 2u /* LOG_OP: written again, unchanged, so that the log's tail can move on */
/* LOG_OP, WRITE: the pages it covers as a whole are fresh ones. Their numbers (u32, op_pages_of().n
 * of them, padded to 8 bytes) follow the CRCs; only the other blocks are payload of the batch. */
#define LOG_F_PAGES 4u

struct disk_log_rec {
	uint16_t kind;          /* enum log_rec_kind */
	uint16_t flags;         /* LOG_F_* */
	uint32_t bytes;         /* of the whole record, this struct included; multiple of 8 */
	uint32_t payload_block; /* LOG_OP: index of its first block among the batch's payload blocks
				 */
	uint32_t reserved;
};
static_assert(sizeof(struct disk_log_rec) == 16, "disk format");

struct disk_log_epoch {
	uint32_t chain;
	uint32_t reserved;
	uint64_t epoch, history;
};
static_assert(sizeof(struct disk_log_epoch) == 24, "disk format");

struct disk_log_commit {
	uint32_t chain;
	uint32_t reserved;
	uint64_t seq; /* everything up to here is committed */
};
static_assert(sizeof(struct disk_log_commit) == 16, "disk format");

struct disk_log_truncate {
	uint32_t chain;
	uint32_t reserved;
	uint64_t to; /* ops after this seq are undone */
	uint64_t epoch;
	struct id128 incarnation;
};
static_assert(sizeof(struct disk_log_truncate) == 40, "disk format");

/* ---- checkpoint ---- */

#define CKPT_MAGIC 0x32504b434b4c4243ull /* "CBLKCKP2" */

enum ckpt_kind { CKPT_RECS = 1, CKPT_CHAIN = 2, CKPT_CLIENT = 3, CKPT_KIND_END };

struct disk_ckpt_hdr {
	uint64_t magic;
	uint32_t crc;        /* of the block, this field zero, seeded */
	uint32_t kind;       /* enum ckpt_kind of all entries in this block */
	uint64_t generation; /* disk_super.ckpt_generation */
	uint64_t index;      /* of this block within the checkpoint */
	uint32_t n;          /* entries */
	uint32_t reserved[7];
};
static_assert(sizeof(struct disk_ckpt_hdr) == 64, "disk format");

/* One record block that has a page in use: what open must find at its home. */
struct disk_ckpt_recs {
	uint32_t index; /* of the record block: ascending within a checkpoint */
	uint32_t crc;   /* disk_recs.crc */
	uint64_t used;  /* bit per page, < RECS_PAGES: owned; RECS_HOME_B: it lies in home B */
};
static_assert(sizeof(struct disk_ckpt_recs) == 16, "disk format");
#define RECS_HOME_B (1ull << 63)
#define CKPT_RECS_PER_BLOCK ((BLOCK_BYTES - 64u) / 16u)

struct disk_ckpt_chain {
	uint32_t chain;
	uint32_t clients_n; /* CKPT_CLIENT blocks that follow */
	uint64_t epoch, history;
	uint64_t known; /* committed; its request table holds exactly the ops up to here */
	uint64_t base;  /* ops up to here are wholly in pages: replay skips them */
};
static_assert(sizeof(struct disk_ckpt_chain) == 40, "disk format");

/* One client of a chain's request table (PROTOCOL 2, X1); the same in memory. */
struct req_client {
	uint32_t chain;
	uint32_t session;
	struct id128 client; /* none: a free entry (in memory only) */
	uint64_t generation;
	uint64_t session_seq; /* seq of the SESSION op that made .session */
	uint64_t low;         /* requests below are complete or given up */
	uint64_t have[REQ_OUTSTANDING_MAX /
		      64]; /* bit n % 256: request n in [low, low + 256) is known */
	uint64_t seq[REQ_OUTSTANDING_MAX];
	int16_t result[REQ_OUTSTANDING_MAX];
	uint16_t offset_bytes[REQ_OUTSTANDING_MAX]; /* of a miscompare */
};
static_assert(sizeof(struct req_client) == 80 + 2048 + 1024, "disk format");
static_assert(CAW_BLOCKS_MAX * BLOCK_BYTES <= UINT16_MAX, "offsets of a miscompare fit");

/* ---- record blocks: who owns which page, and the CRCs of its blocks ---- */

#define RECS_MAGIC 0x3143455247504243ull /* "CBPGREC1" */
#define RECS_PAGES 42u

struct disk_page_rec {
	uint64_t volume, extent;
	uint64_t seq;     /* last op whose content lies in the page */
	uint32_t chain;   /* 0: the page is free */
	uint16_t present; /* bit per block */
	uint8_t slot;     /* page of the extent, < EXTENT_PAGES */
	uint8_t reserved;
	uint32_t crcs[PAGE_BLOCKS]; /* seeded; of absent blocks 0 */
};
static_assert(sizeof(struct disk_page_rec) == 96, "disk format");

/* Records of pages index * RECS_PAGES and those after it. Each block has two homes; a checkpoint
 * says which one counts, so that the other can be written at any time (F5). */
struct disk_recs {
	uint64_t magic;
	uint32_t crc;        /* of the block, this field zero, seeded */
	uint32_t index;      /* of this block */
	uint64_t generation; /* of the checkpoint it was written for */
	uint64_t reserved[5];
	struct disk_page_rec rec[RECS_PAGES];
};
static_assert(sizeof(struct disk_recs) == BLOCK_BYTES, "disk format");
static_assert(offsetof(struct disk_recs, rec) == 64, "disk format");

/* ---- layout ---- */

struct store_layout {
	uint64_t log_offset_bytes, log_bytes;
	uint64_t ckpt_offset_bytes, ckpt_bytes; /* of each slot */
	uint64_t recs_offset_bytes, recs_n;     /* of each home */
	uint64_t pages_offset_bytes, pages_n;
	uint32_t chains_max;
};

#define STORE_LOG_BYTES_MIN (4u << 20)
#define STORE_PAGES_MIN 16u

uint64_t format_log_default(uint64_t disk_bytes);
/* Where everything lies on a disk of @disk_bytes; @log_bytes 0 and @chains_max 0 are defaults.
 * -ENOSPC with @ret_why when it does not fit. */
MUST_CHECK int format_layout(uint64_t disk_bytes, uint64_t log_bytes, uint32_t chains_max,
			     struct store_layout *ret, const char **ret_why);
/* Record blocks of one home for @pages_n pages. */
static inline uint64_t format_recs_n(uint64_t pages_n)
{
	return (pages_n + RECS_PAGES - 1) / RECS_PAGES;
}
/* Blocks of a checkpoint of @pages_n pages and @chains_max full request tables. */
uint64_t format_ckpt_blocks_max(uint64_t pages_n, uint32_t chains_max);

/* ---- sealing and checking ---- */

static inline uint64_t super_offset_bytes(unsigned copy)
{
	return (uint64_t)copy * SUPER_STRIDE_BYTES;
}

void super_seal(struct disk_super *sb);
/* Write down @l in it: offsets, lengths, chains_max. */
void super_lay_out(struct disk_super *sb, const struct store_layout *l);
/* 0; -ENODEV no magic; -EPROTONOSUPPORT another version; -EBADMSG CRC or a field out of bounds;
 * -ENOSPC @disk_bytes is smaller than what was formatted. */
MUST_CHECK int super_check(const struct disk_super *sb, uint64_t disk_bytes, const char **ret_why);

/* What a header must match. */
struct log_place {
	struct id128 disk;
	uint64_t secret;
	uint64_t region_offset_bytes; /* of the log on the device */
	uint32_t region_blocks;
	uint32_t block; /* where it was read, in the region */
};

void log_hdr_seal(struct disk_log_hdr *h, uint64_t secret);
/* Look at the first header block alone: 0, or -EBADMSG if no batch of this store starts here.
 * Bounds are checked; the CRC only when all header blocks are in @avail_blocks (else *ret_need
 * blocks). */
MUST_CHECK int log_hdr_check(const struct disk_log_hdr *h, uint32_t avail_blocks,
			     const struct log_place *at, uint32_t *ret_need);
/* May @h follow the batch (@lsn, @start, @crc)? F4 */
bool log_hdr_follows(const struct disk_log_hdr *h, uint64_t lsn, uint64_t start, uint32_t crc);

/* Walks the records of a header that passed log_hdr_check(). */
struct log_cursor {
	const struct disk_log_hdr *hdr;
	uint32_t at_bytes, left;
};
struct log_item {
	const struct disk_log_rec *rec;
	const struct op_rec *op; /* LOG_OP */
	const uint32_t *crcs;    /* op->crcs_n */
	const uint32_t *pages;   /* LOG_F_PAGES: op_pages_of().n of them, not yet checked */
	const struct disk_log_epoch *epoch;
	const struct disk_log_commit *commit;
	const struct disk_log_truncate *truncate;
};
void log_cursor_init(struct log_cursor *c, const struct disk_log_hdr *h);
/* 1 and @ret, 0 at the end, -EBADMSG with @ret_why. */
MUST_CHECK int log_cursor_next(struct log_cursor *c, struct log_item *ret, const char **ret_why);
/* CRCs of @item's payload as far as it lies in the batch: at @payload (the batch's first payload
 * block). */
bool log_item_payload_ok(const struct log_item *item, const void *payload);

/* The pages of its extent that a write covers as a whole: [first, first + n). */
struct op_pages {
	uint32_t first, n;
};
static inline struct op_pages op_pages_of(const struct op_rec *op)
{
	uint32_t first = (op->block + PAGE_BLOCKS - 1) / PAGE_BLOCKS;
	uint32_t end = (op->block + op->blocks) / PAGE_BLOCKS;

	return (struct op_pages){first, op->kind == OP_WRITE && end > first ? end - first : 0};
}

void ckpt_seal(struct disk_ckpt_hdr *h, uint64_t secret);
/* A checkpoint block as a whole: header, every entry's bounds. 0 or -EBADMSG with @ret_why. */
MUST_CHECK int ckpt_check(const struct disk_ckpt_hdr *h, uint64_t secret, uint64_t generation,
			  uint64_t index, uint64_t pages_n, const char **ret_why);

void recs_seal(struct disk_recs *r, uint64_t secret);
/* A record block as a whole, and the records of @used: 0 or -EBADMSG with @ret_why. */
MUST_CHECK int recs_check(const struct disk_recs *r, uint64_t secret,
			  const struct disk_ckpt_recs *want, const char **ret_why);

#endif
