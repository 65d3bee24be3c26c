/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "store/fsck_priv.h"

#define TEXT_BYTES 256u

const char *fsck_verdict_name(enum fsck_verdict v)
{
	static const char *const names[] = {"clean", "repairable", "damaged"};

	return names[v];
}

void fsck_found(struct fsck *f, const struct fsck_finding *what, const char *fmt, ...)
{
	struct fsck_finding told = *what;
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	told.text = text;
	f->result.findings[told.verdict]++;
	f->result.verdict = MAX(f->result.verdict, told.verdict);
	f->cfg.found(f->cfg.arg, &told);
}

/* ---- superblocks ---- */

static void compare_copies(struct fsck *f)
{
	const struct inspect_super_copy *in_force = &f->supers.copy[f->supers.chosen];

	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct inspect_super_copy *c = &f->supers.copy[i];
		const struct fsck_finding what = {
			.verdict = FSCK_REPAIRABLE,
			.kind = "superblock_copy",
			.offset_bytes = super_offset_bytes(i),
			.next = "nothing: the next start writes all four; look at the device if "
				"there was no power cut"};

		if (c->res)
			fsck_found(f, &what, "superblock: copy %u: %s", i + 1, c->why);
		else if (memcmp(&c->sb, &in_force->sb, sizeof(c->sb)) != 0)
			fsck_found(f, &what,
				   "superblock: copy %u: is of generation %" PRIu64 ", %" PRIu64
				   " is in force: its write was interrupted",
				   i + 1, c->sb.generation, in_force->sb.generation);
	}
}

static void compare_slice(struct fsck *f)
{
	const struct disk_super *sb = &f->in.super;

	if (f->cfg.slices_n == 0 || (sb->slice == f->cfg.slice && sb->slices_n == f->cfg.slices_n))
		return;
	fsck_found(f,
		   &(struct fsck_finding){.verdict = FSCK_DAMAGED,
					  .kind = "slice",
					  .offset_bytes = 0,
					  .next = "use the disk that was formatted, whole"},
		   "superblock: slice %u of %u says it is slice %u of %u", f->cfg.slice,
		   f->cfg.slices_n, sb->slice, sb->slices_n);
}

size_t fsck_begin_bytes(void)
{
	return arena_cost(sizeof(struct fsck), ARENA_ALIGN) + inspect_bytes();
}

int fsck_begin(const struct fsck_config *cfg, struct arena *a, struct fsck **ret,
	       const char **ret_why)
{
	struct fsck *f = arena_alloc(a, sizeof(*f), ARENA_ALIGN);
	struct fsck_finding what = {.verdict = FSCK_DAMAGED,
				    .kind = "superblock",
				    .offset_bytes = 0,
				    .next = FSCK_NEXT_COPY};
	int res;

	*f = (struct fsck){.cfg = *cfg};
	inspect_init(&f->in, cfg->disk, a);
	res = inspect_supers(&f->in, &f->supers);
	if (res == 0) {
		compare_copies(f);
		compare_slice(f);
	} else {
		*ret_why = f->supers.why;
		if (res == -ENOSPC)
			what.next = "put it on a disk of its size, or copy this replica anew";
		if (res == -EBADMSG || res == -ENOSPC)
			fsck_found(f, &what, "%s", f->supers.why);
	}
	*ret = f;
	return res;
}

const struct disk_super *fsck_super(const struct fsck *f)
{
	return &f->in.super;
}

/* ---- chains ---- */

struct fsck_chain *fsck_chain_find(struct fsck *f, uint32_t id)
{
	for (uint32_t i = 0; i < f->chains_n; i++)
		if (f->chains[i].id == id)
			return &f->chains[i];
	return NULL;
}

struct fsck_chain *fsck_chain_make(struct fsck *f, uint32_t id)
{
	struct fsck_chain *c = fsck_chain_find(f, id);

	if (c)
		return c;
	if (f->chains_n == f->in.super.chains_max) {
		fsck_found(f,
			   &(struct fsck_finding){.verdict = FSCK_DAMAGED,
						  .kind = "chains",
						  .offset_bytes = FSCK_NO_PLACE,
						  .next = FSCK_NEXT_COPY},
			   "chain %u: one more than the %u this store was made for", id,
			   f->in.super.chains_max);
		f->blind = true;
		return NULL;
	}
	c = &f->chains[f->chains_n];
	c->id = id;
	c->slot = f->chains_n++;
	return c;
}

/* ---- checkpoint ---- */

static void ckpt_wrong(struct fsck *f, const struct inspect_ckpt_block *b, const char *why,
		       uint64_t of)
{
	f->blind = true;
	fsck_found(f,
		   &(struct fsck_finding){.verdict = FSCK_DAMAGED,
					  .kind = "checkpoint",
					  .offset_bytes = b->offset_bytes,
					  .next = FSCK_NEXT_COPY},
		   "checkpoint: block %" PRIu64 ": %s (%" PRIu64 ")", b->index, why, of);
}

static void ckpt_recs(struct fsck *f, const struct inspect_ckpt_block *b)
{
	const struct disk_ckpt_recs *recs = (const void *)(b->hdr + 1);

	if (f->chains_n)
		ckpt_wrong(f, b, "record blocks behind a chain", f->chains[0].id);
	for (uint32_t i = 0; i < b->hdr->n; i++) {
		if (recs[i].index < f->recs_next)
			ckpt_wrong(f, b, "a record block is named twice, or not in order",
				   recs[i].index);
		f->recs_next = MAX(f->recs_next, recs[i].index + 1ull);
	}
}

static void ckpt_chain(struct fsck *f, const struct inspect_ckpt_block *b)
{
	const struct disk_ckpt_chain *from = (const void *)(b->hdr + 1);
	struct fsck_chain *c;

	if (f->clients_due)
		ckpt_wrong(f, b, "clients of the chain before are missing", f->clients_due);
	f->clients_due = 0;
	if (fsck_chain_find(f, from->chain)) {
		ckpt_wrong(f, b, "a chain is there twice", from->chain);
		return;
	}
	c = fsck_chain_make(f, from->chain);
	if (!c)
		return;
	c->ckpt_known = from->known;
	c->base = c->committed = c->appended = from->base;
	f->clients_of = c;
	f->clients_due = from->clients_n;
	f->clients_n = 0;
}

static void ckpt_client(struct fsck *f, const struct inspect_ckpt_block *b)
{
	const struct req_client *from = (const void *)(b->hdr + 1);

	if (f->clients_due == 0 || f->clients_of->id != from->chain) {
		ckpt_wrong(f, b, "a client of another chain", from->chain);
		return;
	}
	for (uint32_t i = 0; i < f->clients_n; i++)
		if (id128_eq(&f->clients[i], &from->client))
			ckpt_wrong(f, b, "a client is there twice, of chain", from->chain);
	f->clients[f->clients_n++] = from->client;
	f->clients_due--;
}

static bool ckpt_block(void *arg, const struct inspect_ckpt_block *b)
{
	struct fsck *f = arg;

	f->result.ckpt_blocks++;
	if (b->why) {
		ckpt_wrong(f, b, b->why, f->in.super.ckpt_generation);
		return true;
	}
	switch ((enum ckpt_kind)b->hdr->kind) {
	case CKPT_RECS:
		ckpt_recs(f, b);
		break;
	case CKPT_CHAIN:
		ckpt_chain(f, b);
		break;
	case CKPT_CLIENT:
	case CKPT_KIND_END:
		ckpt_client(f, b);
		break;
	}
	if (b->index + 1 == f->in.super.ckpt_blocks && f->clients_due)
		ckpt_wrong(f, b, "the last clients are missing", f->clients_due);
	return true;
}

/* ---- record blocks ---- */

struct page_place {
	uint32_t id;
	uint64_t offset_bytes; /* of its record block */
};

static void page_wrong(struct fsck *f, const struct page_place *at, const struct disk_page_rec *rec,
		       const char *why, uint64_t of)
{
	fsck_found(f,
		   &(struct fsck_finding){.verdict = FSCK_DAMAGED,
					  .kind = "page_record",
					  .offset_bytes = at->offset_bytes,
					  .next = FSCK_NEXT_COPY},
		   "page %u: record of volume %" PRIu64 ", extent %" PRIu64
		   ", page %u of it, chain %u: %s %" PRIu64,
		   at->id, rec->volume, rec->extent, rec->slot, rec->chain, why, of);
}

static void page_record(struct fsck *f, const struct page_place *at,
			const struct disk_page_rec *rec)
{
	const struct page_key key = {rec->volume, rec->extent, rec->slot};
	const struct fsck_chain *c = fsck_chain_find(f, rec->chain);
	struct page *p = pages_find(&f->pages, &key);

	for (uint32_t i = 0; i < PAGE_BLOCKS; i++)
		if (!(rec->present >> i & 1) && rec->crcs[i])
			page_wrong(f, at, rec, "has a checksum of a block that is not there:", i);
	if (p) {
		page_wrong(f, at, rec, "the same is in page", pages_id(&f->pages, p));
		return;
	}
	if (!c && !f->blind)
		page_wrong(f, at, rec, "no such chain in checkpoint", f->in.super.ckpt_generation);
	if (c && rec->seq > c->ckpt_known)
		page_wrong(f, at, rec, "holds more than was committed:", rec->seq);
	p = pages_claim(&f->pages, at->id, &key, c ? c->slot : 0);
	if (!p) {
		page_wrong(f, at, rec, "more volumes than", PAGES_VOLUMES_MAX);
		return;
	}
	p->present = rec->present;
}

static bool recs_block(void *arg, const struct inspect_recs_block *b)
{
	const struct fsck_finding what = {.verdict = FSCK_DAMAGED,
					  .kind = "record_block",
					  .offset_bytes = b->offset_bytes,
					  .next = FSCK_NEXT_COPY};
	struct fsck *f = arg;
	char home = b->want.used & RECS_HOME_B ? 'B' : 'A';

	f->result.recs_blocks++;
	if (b->why) {
		fsck_found(f, &what, "record block %u, home %c, of pages %u to %u: %s",
			   b->want.index, home, b->want.index * RECS_PAGES,
			   b->want.index * RECS_PAGES + RECS_PAGES - 1, b->why);
		return true;
	}
	if (b->recs->generation > f->in.super.ckpt_generation)
		fsck_found(f, &what,
			   "record block %u, home %c: is of checkpoint %" PRIu64 ", %" PRIu64
			   " is in force",
			   b->want.index, home, b->recs->generation, f->in.super.ckpt_generation);
	for (uint32_t i = 0; i < RECS_PAGES; i++) {
		const struct page_place at = {b->want.index * RECS_PAGES + i, b->offset_bytes};

		/* The first of two entries for one block has claimed its pages. */
		if (b->want.used >> i & 1 && f->pages.v[at.id].state == PAGE_FREE)
			page_record(f, &at, &b->recs->rec[i]);
	}
	return true;
}

/* ---- all of it ---- */

static uint32_t log_blocks(const struct fsck *f)
{
	return (uint32_t)(f->in.super.log_bytes / BLOCK_BYTES);
}

/* As many as the daemon has that filled this log, at least. */
static uint32_t index_n(const struct fsck *f)
{
	uint32_t usual = (uint32_t)(format_log_default(f->in.disk->size_bytes) / BLOCK_BYTES);

	return MAX(MAX(usual, log_blocks(f)), 4 * EXTENT_BLOCKS);
}

static size_t bad_log_bytes(const struct fsck *f)
{
	return (log_blocks(f) + 63) / 64 * sizeof(uint64_t);
}

size_t fsck_run_bytes(const struct fsck *f)
{
	uint32_t chains = f->in.super.chains_max;

	return pages_bytes((uint32_t)f->in.super.pages_n, 0) + index_bytes(index_n(f)) +
	       arena_cost(chains * sizeof(struct fsck_chain), ARENA_ALIGN) +
	       chains * (arena_cost(PENDING_SLOTS * sizeof(struct fsck_op), ARENA_ALIGN) +
			 arena_cost(REC_CRCS * sizeof(uint32_t), ARENA_ALIGN)) +
	       arena_cost(bad_log_bytes(f), ARENA_ALIGN);
}

static void init(struct fsck *f, struct arena *a)
{
	uint32_t chains = f->in.super.chains_max;

	pages_init(&f->pages, (uint32_t)f->in.super.pages_n, 0, a);
	index_init(&f->index, index_n(f), a);
	index_fifo_init(&f->entries);
	f->chains = arena_alloc(a, chains * sizeof(f->chains[0]), ARENA_ALIGN);
	for (uint32_t i = 0; i < chains; i++) {
		struct fsck_chain *c = &f->chains[i];

		c->pend = arena_alloc(a, PENDING_SLOTS * sizeof(c->pend[0]), ARENA_ALIGN);
		c->crcs = arena_alloc(a, REC_CRCS * sizeof(c->crcs[0]), ARENA_ALIGN);
	}
	f->bad_log = arena_alloc(a, bad_log_bytes(f), ARENA_ALIGN);
}

int fsck_run(struct fsck *f, struct arena *a, struct fsck_result *ret)
{
	int res;

	CHECK(f->supers.chosen >= 0);
	init(f, a);
	res = inspect_ckpt(&f->in, ckpt_block, f);
	if (res == 0)
		res = inspect_recs(&f->in, "page records", recs_block, f);
	pages_ready(&f->pages);
	if (res == 0)
		res = fsck_log(f);
	if (res == 0)
		res = fsck_owners(f);
	if (res == 0 && !f->cfg.quick)
		res = fsck_data(f);
	fsck_result(f, ret);
	return res;
}

void fsck_result(const struct fsck *f, struct fsck_result *ret)
{
	*ret = f->result;
	ret->chains = f->chains_n;
	ret->pages_n = f->pages.n;
	ret->pages_owned = f->pages.owned_n;
	ret->pages_in_log = f->pages.reserved_n;
	ret->pages_given_up = f->pages.limbo_n;
	ret->pages_free = f->pages.free_n;
	for (uint32_t i = 0; i < PAGES_VOLUMES_MAX; i++)
		ret->volumes += f->pages.volumes[i].pages != 0;
}
