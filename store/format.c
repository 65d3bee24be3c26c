/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/format.h"

#include <errno.h>
#include <string.h>

#include "lib/crc.h"

#define MIB (1ull << 20)
#define LOG_DEFAULT_MAX (2048 * MIB)
#define CKPT_BLOCKS_PER_CHAIN (1u + REQTAB_CLIENTS_MAX)

/* ---- layout ---- */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* 5 % of the device, but a small device still needs windows of several chains in its log, and a
 * large one gains nothing from a log that takes long to replay. */
uint64_t format_log_default(uint64_t disk_bytes)
{
	uint64_t bytes = disk_bytes / 20;

	if (bytes < 64 * MIB)
		bytes = MIN(64 * MIB, disk_bytes / 4);
	return MIN(bytes, LOG_DEFAULT_MAX) / PAGE_BYTES * PAGE_BYTES;
}

uint64_t format_ckpt_blocks_max(uint64_t pages_n, uint32_t chains_max)
{
	return (format_recs_n(pages_n) + CKPT_RECS_PER_BLOCK - 1) / CKPT_RECS_PER_BLOCK +
	       (uint64_t)chains_max * CKPT_BLOCKS_PER_CHAIN + 1;
}

/* Request tables of 256 chains take 64 MiB per checkpoint: a small disk holds fewer chains. */
static uint32_t default_chains(uint64_t disk_bytes)
{
	uint64_t n = MAX(disk_bytes / (8 * MIB), 32);

	while (n > 4 && 2 * n * CKPT_BLOCKS_PER_CHAIN * BLOCK_BYTES > disk_bytes / 4)
		n--;
	return (uint32_t)MIN(n, NODE_CHAINS_MAX);
}

int format_layout(uint64_t disk_bytes, uint64_t log_bytes, uint32_t chains_max,
		  struct store_layout *ret, const char **ret_why)
{
	struct store_layout l = {.log_offset_bytes = SUPER_REGION_BYTES};

	l.chains_max = chains_max ? chains_max : default_chains(disk_bytes);
	l.log_bytes = log_bytes ? round_up(log_bytes, PAGE_BYTES) : format_log_default(disk_bytes);
	l.log_bytes = MAX(l.log_bytes, STORE_LOG_BYTES_MIN);
	l.ckpt_offset_bytes = l.log_offset_bytes + l.log_bytes;
	l.ckpt_bytes = round_up(format_ckpt_blocks_max(disk_bytes / PAGE_BYTES, l.chains_max) *
					BLOCK_BYTES,
				PAGE_BYTES);
	l.recs_offset_bytes = l.ckpt_offset_bytes + 2 * l.ckpt_bytes;
	l.recs_n = format_recs_n(disk_bytes / PAGE_BYTES);
	l.pages_offset_bytes =
		round_up(l.recs_offset_bytes + 2 * l.recs_n * BLOCK_BYTES, PAGE_BYTES);
	if (disk_bytes > (1ull << 56) || log_bytes > disk_bytes ||
	    l.pages_offset_bytes + (uint64_t)STORE_PAGES_MIN * PAGE_BYTES > disk_bytes) {
		*ret_why = "too small for log, checkpoints and pages: choose a larger --size, "
			   "or a smaller --log-size";
		return -ENOSPC;
	}
	l.pages_n = MIN((disk_bytes - l.pages_offset_bytes) / PAGE_BYTES, UINT32_MAX - 1);
	*ret = l;
	return 0;
}

/* ---- superblock ---- */

static uint32_t super_crc(const struct disk_super *sb)
{
	const uint32_t none = 0;
	uint32_t crc = crc32c(0, sb, offsetof(struct disk_super, crc));

	crc = crc32c(crc, &none, sizeof(none));
	return crc32c(crc, &sb->disk, sizeof(*sb) - offsetof(struct disk_super, disk));
}

void super_seal(struct disk_super *sb)
{
	sb->crc = super_crc(sb);
}

void super_lay_out(struct disk_super *sb, const struct store_layout *l)
{
	sb->log_offset_bytes = l->log_offset_bytes;
	sb->log_bytes = l->log_bytes;
	sb->ckpt_offset_bytes = l->ckpt_offset_bytes;
	sb->ckpt_bytes = l->ckpt_bytes;
	sb->recs_offset_bytes = l->recs_offset_bytes;
	sb->recs_n = l->recs_n;
	sb->pages_offset_bytes = l->pages_offset_bytes;
	sb->pages_n = l->pages_n;
	sb->chains_max = l->chains_max;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static const char *super_wrong(const struct disk_super *sb)
{
	uint64_t log_end = sb->log_offset_bytes + sb->log_bytes;
	uint64_t ckpt_end = sb->ckpt_offset_bytes + 2 * sb->ckpt_bytes;
	uint64_t recs_end = sb->recs_offset_bytes + 2 * sb->recs_n * BLOCK_BYTES;
	uint64_t limit = 1ull << 57;

	if (sb->disk_bytes > limit || sb->log_bytes > limit || sb->ckpt_bytes > limit ||
	    sb->pages_n >= UINT32_MAX || sb->recs_n >= UINT32_MAX)
		return "superblock: a size out of bounds";
	if (sb->log_offset_bytes != SUPER_REGION_BYTES || sb->log_bytes < STORE_LOG_BYTES_MIN ||
	    sb->log_bytes % PAGE_BYTES || sb->log_bytes / BLOCK_BYTES > UINT32_MAX / 2)
		return "superblock: log region out of bounds";
	if (sb->chains_max == 0 || sb->chains_max > NODE_CHAINS_MAX)
		return "superblock: number of chains out of bounds";
	if (sb->ckpt_offset_bytes != log_end || sb->ckpt_bytes % PAGE_BYTES ||
	    sb->ckpt_bytes < format_ckpt_blocks_max(sb->pages_n, sb->chains_max) * BLOCK_BYTES)
		return "superblock: checkpoint region out of bounds";
	if (sb->recs_offset_bytes != ckpt_end || sb->recs_n < format_recs_n(sb->pages_n))
		return "superblock: region of page records out of bounds";
	if (sb->pages_offset_bytes != round_up(recs_end, PAGE_BYTES) ||
	    sb->pages_n < STORE_PAGES_MIN ||
	    sb->pages_offset_bytes + sb->pages_n * PAGE_BYTES > sb->disk_bytes)
		return "superblock: page region out of bounds";
	if (sb->ckpt_slot > 1 || sb->ckpt_blocks > sb->ckpt_bytes / BLOCK_BYTES ||
	    (sb->ckpt_generation == 0) != (sb->ckpt_blocks == 0))
		return "superblock: checkpoint out of bounds";
	if (sb->scrub_page > sb->pages_n)
		return "superblock: place of scrubbing out of bounds";
	if (sb->replay_block >= sb->log_bytes / BLOCK_BYTES)
		return "superblock: start of replay out of bounds";
	if (sb->slice >= sb->slices_n || sb->slices_n > STORE_SLICES_MAX)
		return "superblock: slice out of bounds";
	if (sb->registered > 1 || !all_zero(sb->zero, sizeof(sb->zero)) || id128_is_none(&sb->disk))
		return "superblock: reserved bytes are set or the disk id is none";
	return NULL;
}

int super_check(const struct disk_super *sb, uint64_t disk_bytes, const char **ret_why)
{
	const char *wrong;

	if (sb->magic != SUPER_MAGIC) {
		*ret_why = "superblock: not a chainblk store: give its path, or make one with "
			   "chaind format";
		return -ENODEV;
	}
	if (sb->version != STORE_VERSION) {
		*ret_why = "superblock: another format version: use the chainblk that wrote it";
		return -EPROTONOSUPPORT;
	}
	wrong = sb->crc == super_crc(sb) ? super_wrong(sb) : "superblock: bad checksum";
	if (wrong) {
		*ret_why = wrong;
		return -EBADMSG;
	}
	if (sb->disk_bytes > disk_bytes) {
		*ret_why = "superblock: the disk is smaller than when it was formatted: use the "
			   "whole disk";
		return -ENOSPC;
	}
	return 0;
}

/* ---- checkpoint ---- */

static uint32_t seeded_crc(const void *first, size_t crc_at, size_t len_bytes, uint64_t secret)
{
	const uint8_t *bytes = first;
	const uint32_t none = 0;
	uint32_t crc = crc32c(0, &secret, sizeof(secret));

	crc = crc32c(crc, bytes, crc_at);
	crc = crc32c(crc, &none, sizeof(none));
	return crc32c(crc, bytes + crc_at + 4, len_bytes - crc_at - 4);
}

void ckpt_seal(struct disk_ckpt_hdr *h, uint64_t secret)
{
	h->crc = seeded_crc(h, offsetof(struct disk_ckpt_hdr, crc), BLOCK_BYTES, secret);
}

static bool recs_entry_ok(const struct disk_ckpt_recs *e, uint64_t pages_n)
{
	uint64_t used = e->used & ~RECS_HOME_B;
	uint64_t first = (uint64_t)e->index * RECS_PAGES;

	if (used == 0 || used >> RECS_PAGES || first >= pages_n)
		return false;
	return pages_n - first >= RECS_PAGES || used >> (pages_n - first) == 0;
}

static const char *ckpt_entries_wrong(const struct disk_ckpt_hdr *h, uint64_t pages_n)
{
	const struct disk_ckpt_recs *recs = (const void *)(h + 1);
	const struct disk_ckpt_chain *chain = (const void *)(h + 1);
	const struct req_client *client = (const void *)(h + 1);

	switch ((enum ckpt_kind)h->kind) {
	case CKPT_RECS:
		if (h->n > CKPT_RECS_PER_BLOCK)
			return "checkpoint: too many entries in a block";
		for (uint32_t i = 0; i < h->n; i++)
			if (!recs_entry_ok(&recs[i], pages_n))
				return "checkpoint: record block out of bounds";
		return NULL;
	case CKPT_CHAIN:
		if (h->n != 1 || chain->chain == 0 || chain->clients_n > REQTAB_CLIENTS_MAX ||
		    chain->base > chain->known)
			return "checkpoint: chain out of bounds";
		return NULL;
	case CKPT_CLIENT:
		if (h->n != 1 || client->chain == 0 || id128_is_none(&client->client) ||
		    client->low == 0)
			return "checkpoint: client out of bounds";
		return NULL;
	case CKPT_KIND_END:
		break;
	}
	return "checkpoint: unknown kind of block";
}

int ckpt_check(const struct disk_ckpt_hdr *h, uint64_t secret, uint64_t generation, uint64_t index,
	       uint64_t pages_n, const char **ret_why)
{
	const char *wrong = NULL;

	if (h->magic != CKPT_MAGIC)
		wrong = "checkpoint: block is none";
	else if (h->crc != seeded_crc(h, offsetof(struct disk_ckpt_hdr, crc), BLOCK_BYTES, secret))
		wrong = "checkpoint: bad checksum";
	else if (h->generation != generation || h->index != index)
		wrong = "checkpoint: block of another checkpoint";
	else
		wrong = ckpt_entries_wrong(h, pages_n);
	if (!wrong)
		return 0;
	*ret_why = wrong;
	return -EBADMSG;
}

/* ---- record blocks ---- */

void recs_seal(struct disk_recs *r, uint64_t secret)
{
	r->crc = seeded_crc(r, offsetof(struct disk_recs, crc), BLOCK_BYTES, secret);
}

int recs_check(const struct disk_recs *r, uint64_t secret, const struct disk_ckpt_recs *want,
	       const char **ret_why)
{
	const char *wrong = NULL;

	if (r->magic != RECS_MAGIC)
		wrong = "page records: block is none";
	else if (r->crc != seeded_crc(r, offsetof(struct disk_recs, crc), BLOCK_BYTES, secret))
		wrong = "page records: bad checksum";
	else if (r->index != want->index || r->crc != want->crc)
		wrong = "page records: not the block the checkpoint names";
	for (uint32_t i = 0; !wrong && i < RECS_PAGES; i++) {
		const struct disk_page_rec *rec = &r->rec[i];

		if ((want->used >> i & 1) == 0)
			continue;
		if (rec->chain == 0 || rec->present == 0 || rec->slot >= EXTENT_PAGES ||
		    rec->extent >= EXTENTS_MAX)
			wrong = "page records: page out of bounds";
	}
	if (!wrong)
		return 0;
	*ret_why = wrong;
	return -EBADMSG;
}

/* ---- device log ---- */

void log_hdr_seal(struct disk_log_hdr *h, uint64_t secret)
{
	h->crc = seeded_crc(h, offsetof(struct disk_log_hdr, crc),
			    (size_t)h->hdr_blocks * BLOCK_BYTES, secret);
}

int log_hdr_check(const struct disk_log_hdr *h, uint32_t avail_blocks, const struct log_place *at,
		  uint32_t *ret_need)
{
	uint32_t room = at->region_blocks - at->block;

	if (h->magic != LOG_MAGIC || !id128_eq(&h->disk, &at->disk) || h->lsn == 0 ||
	    h->offset_bytes != at->region_offset_bytes + (uint64_t)at->block * BLOCK_BYTES)
		return -EBADMSG;
	if (h->hdr_blocks == 0 || h->hdr_blocks > LOG_HDR_BLOCKS_MAX ||
	    h->data_blocks > LOG_DATA_BLOCKS_MAX || h->hdr_blocks + h->data_blocks > room)
		return -EBADMSG;
	if (h->recs_bytes > h->hdr_blocks * BLOCK_BYTES - sizeof(*h) || h->stable >= h->lsn)
		return -EBADMSG;
	if (h->skip_blocks && (h->skip_blocks != room || h->recs_n || h->recs_bytes ||
			       h->data_blocks || h->hdr_blocks != 1))
		return -EBADMSG;
	*ret_need = h->hdr_blocks;
	if (avail_blocks < h->hdr_blocks)
		return 0;
	return h->crc == seeded_crc(h, offsetof(struct disk_log_hdr, crc),
				    (size_t)h->hdr_blocks * BLOCK_BYTES, at->secret)
		       ? 0
		       : -EBADMSG;
}

bool log_hdr_follows(const struct disk_log_hdr *h, uint64_t lsn, uint64_t start, uint32_t crc)
{
	if (h->prev_crc != crc)
		return false;
	if (h->start == start)
		return h->lsn == lsn + 1;
	return h->start > start && h->lsn == lsn + 1 + LOG_START_GAP;
}

void log_cursor_init(struct log_cursor *c, const struct disk_log_hdr *h)
{
	*c = (struct log_cursor){.hdr = h, .at_bytes = sizeof(*h), .left = h->recs_n};
}

static uint32_t padded(uint32_t n)
{
	return (n + 1) / 2 * 8;
}

static const char *op_wrong(struct log_item *it, uint32_t data_blocks, uint32_t body_bytes)
{
	const struct disk_log_rec *rec = it->rec;
	const struct op_rec *op = it->op;
	const char *why = NULL;
	uint32_t blocks, want, pages_n;

	if (body_bytes < sizeof(*op))
		return "log: op record too short";
	if (op_rec_check(op, &why))
		return why;
	pages_n = rec->flags & LOG_F_PAGES ? op_pages_of(op).n : 0;
	if (pages_n == 0 && rec->flags & LOG_F_PAGES)
		return "log: op without whole pages has page numbers";
	want = (uint32_t)sizeof(*op) + padded(op->crcs_n) + padded(pages_n);
	if (body_bytes != want)
		return "log: op record of a wrong length";
	if (pages_n)
		it->pages = (const void *)((const uint8_t *)it->crcs + padded(op->crcs_n));
	blocks = op->data_bytes / BLOCK_BYTES - pages_n * PAGE_BLOCKS;
	if (rec->payload_block > data_blocks || blocks > data_blocks - rec->payload_block)
		return "log: payload outside its batch";
	return NULL;
}

static const char *item_wrong(struct log_item *it, const struct disk_log_rec *rec,
			      uint32_t data_blocks)
{
	const void *body = rec + 1;
	uint32_t body_bytes = rec->bytes - (uint32_t)sizeof(*rec);

	*it = (struct log_item){.rec = rec};
	if (rec->kind != LOG_OP && (rec->flags || rec->payload_block))
		return "log: flags on a record that has none";
	if (rec->reserved || (rec->flags & ~(LOG_F_ZERO | LOG_F_AGAIN | LOG_F_PAGES)))
		return "log: reserved bits are set";
	switch ((enum log_rec_kind)rec->kind) {
	case LOG_OP:
		it->op = body;
		it->crcs = (const void *)(it->op + 1);
		return op_wrong(it, data_blocks, body_bytes);
	case LOG_EPOCH:
		it->epoch = body;
		return body_bytes == sizeof(*it->epoch) && it->epoch->chain
			       ? NULL
			       : "log: epoch record of a wrong length";
	case LOG_COMMIT:
		it->commit = body;
		return body_bytes == sizeof(*it->commit) && it->commit->chain
			       ? NULL
			       : "log: commit record of a wrong length";
	case LOG_TRUNCATE:
		it->truncate = body;
		return body_bytes == sizeof(*it->truncate) && it->truncate->chain
			       ? NULL
			       : "log: truncate record of a wrong length";
	case LOG_REC_END:
		break;
	}
	return "log: unknown kind of record";
}

int log_cursor_next(struct log_cursor *c, struct log_item *ret, const char **ret_why)
{
	const uint8_t *bytes = (const uint8_t *)c->hdr;
	uint32_t end = (uint32_t)sizeof(*c->hdr) + c->hdr->recs_bytes;
	const struct disk_log_rec *rec = (const void *)(bytes + c->at_bytes);
	struct log_item it;
	const char *wrong;

	if (c->left == 0) {
		if (c->at_bytes == end)
			return 0;
		*ret_why = "log: bytes after the last record";
		return -EBADMSG;
	}
	if (end - c->at_bytes < sizeof(*rec) || rec->bytes < sizeof(*rec) || rec->bytes % 8 ||
	    rec->bytes > end - c->at_bytes)
		wrong = "log: record outside its header";
	else
		wrong = item_wrong(&it, rec, c->hdr->data_blocks);
	if (wrong) {
		*ret_why = wrong;
		return -EBADMSG;
	}
	c->at_bytes += rec->bytes;
	c->left--;
	*ret = it;
	return 1;
}

bool log_item_payload_ok(const struct log_item *item, const void *payload)
{
	const struct op_rec *op = item->op;
	struct op_pages whole = {0};
	const uint8_t *data;

	if (!op || op->data_bytes == 0)
		return true;
	data = (const uint8_t *)payload + (size_t)item->rec->payload_block * BLOCK_BYTES;
	if (op->kind == OP_WRITE_SAME)
		return crc_block_anywhere(data) == item->crcs[0];
	if (item->rec->flags & LOG_F_PAGES)
		whole = op_pages_of(op);
	for (uint32_t i = 0; i < op->blocks; i++) {
		const struct block_addr at = {op->volume, op->extent, op->block + i};
		uint32_t slot = at.block / PAGE_BLOCKS;

		if (slot >= whole.first && slot - whole.first < whole.n)
			continue;
		if (crc_block(&at, data) != item->crcs[i])
			return false;
		data += BLOCK_BYTES;
	}
	return true;
}
