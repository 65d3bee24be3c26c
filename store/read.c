/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/crc.h"
#include "store/internal.h"

#define NOT_PINNED UINT32_MAX
#define RETRIES_MAX 64u

/* A read takes each block from where its newest version is at that moment. What a transfer reads
 * stays where it is (pins), but a page may be rewritten in place meanwhile: then the CRC does not
 * match and the block has another place or CRC by now, and the read starts over. Same place and
 * same CRC: the bytes are bad (S4). */

enum where_kind { AT_NOWHERE, AT_MEMORY, AT_LOG, AT_PAGE };
struct where {
	enum where_kind kind;
	bool same;     /* .crc is the unseeded one of a WRITE_SAME */
	bool recorded; /* PAGE: the checksum is in the page's record, and .crc is not set yet */
	uint32_t crc;
	uint64_t at_bytes; /* LOG, PAGE: on the device */
	uint32_t ring, page;
	const uint8_t *memory;
};

struct read_state { /* lives in store_read.priv */
	struct store *s;
	struct recs_wait wait;
	uint32_t next; /* first block not yet looked up */
	uint32_t bad_block, bad_crc;
	uint16_t retries, repairs;
	bool bad;     /* bad_block of the extent is; its checksum as in store_bad */
	bool single;  /* after a read error: block by block */
	bool again;   /* a block moved while it was read */
	bool queued;  /* on store.reads */
	bool waiting; /* for a record block */
};
static_assert(sizeof(struct read_state) <= sizeof(((struct store_read *)0)->priv), "fits");

static struct read_state *state_of(struct store_read *r)
{
	return (struct read_state *)(void *)r->priv;
}

static uint64_t block_offset(const struct store *s, uint32_t page, uint32_t block)
{
	return page_offset(s, page) + (uint64_t)(block % PAGE_BLOCKS) * BLOCK_BYTES;
}

static struct where in_page(const struct store *s, const struct page *p, uint32_t block)
{
	uint32_t id = pages_id(&s->pages, p);

	if (!(p->present >> block % PAGE_BLOCKS & 1))
		return (struct where){.kind = AT_NOWHERE};
	return (struct where){.kind = AT_PAGE,
			      .recorded = true,
			      .page = id,
			      .at_bytes = block_offset(s, id, block)};
}

static struct where committed(const struct store *s, uint64_t volume, uint64_t extent,
			      uint32_t block)
{
	const struct page_key pk = {volume, extent, block / PAGE_BLOCKS};
	const struct index_key ik = {volume, extent, block};
	const struct page *p = pages_find(&s->pages, &pk);
	const struct index_entry *e;
	uint32_t at;

	if (!p)
		return (struct where){.kind = AT_NOWHERE};
	at = p->refs ? index_find(&s->index, &ik) : INDEX_NONE;
	if (at == INDEX_NONE)
		return in_page(s, p, block);
	e = &s->index.v[at];
	if (e->flags & INDEX_PAGE)
		return (struct where){.kind = AT_PAGE,
				      .crc = e->crc,
				      .page = e->log_block,
				      .at_bytes = block_offset(s, e->log_block, block)};
	return (struct where){.kind = AT_LOG,
			      .same = e->flags & INDEX_SAME,
			      .crc = e->crc,
			      .ring = e->ring,
			      .at_bytes = log_block_offset(s, e->log_block)};
}

static struct where in_op(const struct store *s, const struct store_op *op, uint32_t block)
{
	uint32_t i = block - op->rec.block;
	struct where w = {.ring = op_ring(op)};

	if (op->rec.kind == OP_UNMAP || op->priv & OP_PRIV_ZERO)
		return w;
	w.same = op->rec.kind == OP_WRITE_SAME;
	if (w.same)
		i = 0;
	w.crc = op->crcs[i];
	if (!op->logged) {
		w.kind = AT_MEMORY;
		w.memory = op->data->data + (size_t)i * BLOCK_BYTES;
	} else if (op_in_page(op, i, &w.page)) {
		w.kind = AT_PAGE;
		w.at_bytes = block_offset(s, w.page, block);
	} else {
		w.kind = AT_LOG;
		w.at_bytes = op->payload_offset + (uint64_t)op_log_block(op, i) * BLOCK_BYTES;
	}
	return w;
}

static struct where look_up(const struct store *s, const struct store_read *r, uint32_t block)
{
	const struct chain *c = r->sequenced ? chain_find(s, r->chain) : NULL;

	for (uint64_t seq = c ? c->appended : 0; c && seq > c->committed; seq--) {
		const struct store_op *op = chain_op(c, seq);
		const struct op_rec *rec = &op->rec;

		if (op_changes_blocks(rec) && rec->volume == r->volume &&
		    rec->extent == r->extent && block >= rec->block &&
		    block - rec->block < rec->blocks)
			return in_op(s, op, block);
	}
	return committed(s, r->volume, r->extent, block);
}

static void finish(struct store *s, struct store_read *r)
{
	if (r->res == 0 && r->vouch)
		r->res = repair_vouches(s, r);
	if (r->res) { /* the caller gets a buffer only with content */
		buf_put(r->data);
		r->data = NULL;
	}
	list_add_tail(&s->reads_done, &r->link);
}

void reads_tell(struct store *s)
{
	struct list *it;

	while ((it = list_pop(&s->reads_done))) {
		struct store_read *r = CONTAINER_OF(it, struct store_read, link);

		r->done(r, r->res);
	}
}

static void restart(struct store *s, struct store_read *r)
{
	struct read_state *st = state_of(r);

	st->again = false;
	st->next = 0;
	st->queued = true;
	list_add_tail(&s->reads, &r->link);
	store_turn(s);
}

/* False: there is nobody to ask, and r->res says so. */
static bool wait_for_repair(struct store *s, struct store_read *r)
{
	struct read_state *st = state_of(r);
	const struct chain *c = chain_find(s, r->chain);
	const struct store_bad bad = {.volume = r->volume,
				      .extent = r->extent,
				      .seq = c ? c->committed : 0,
				      .chain = r->chain,
				      .block = st->bad_block,
				      .crc = st->bad_crc};
	struct repair *repair = repair_want(s, &bad);

	st->bad = false;
	if (!repair && s->on_bad && !s->closing && !s->failed) {
		s->stats.bad_blocks--; /* it counts when it is asked for */
		st->waiting = true;
		list_add_tail(&s->repairs_full, &r->link);
		return true;
	}
	if (!repair) {
		repair_tell_lost(s, &bad);
		r->res = -EBADMSG;
		return false;
	}
	st->waiting = true;
	repair_wait(repair, r);
	return true;
}

/* All transfers of @r are back and every block was looked up. */
static void read_settled(struct store *s, struct store_read *r)
{
	struct read_state *st = state_of(r);

	if (r->ios || st->queued || st->waiting)
		return;
	if (st->bad && r->res == 0 && !s->failed && wait_for_repair(s, r))
		return;
	if (st->again && r->res == 0 && !s->failed) {
		restart(s, r);
		return;
	}
	finish(s, r);
}

void read_repair_freed(struct store *s)
{
	struct list *it;

	while ((it = list_pop(&s->repairs_full))) {
		struct store_read *r = CONTAINER_OF(it, struct store_read, link);

		state_of(r)->waiting = false;
		restart(s, r);
	}
}

void read_repaired(struct store *s, struct store_read *r, int res)
{
	state_of(r)->waiting = false;
	if (res) {
		r->res = res == -EIO ? -EIO : -EBADMSG;
		finish(s, r);
		return;
	}
	state_of(r)->repairs++;
	restart(s, r);
}

/* The checksum from the record in @slot, if it is there. */
static void fill_crc(const struct store *s, struct where *w, uint32_t slot)
{
	if (w->recorded)
		w->crc =
			recs_crc(s, slot, w->page,
				 (uint32_t)((w->at_bytes - page_offset(s, w->page)) / BLOCK_BYTES));
}

/* Is block @i of @r still where @io read it from, in the same version? */
static bool unmoved(const struct store *s, const struct read_io *io, uint32_t i)
{
	const struct store_read *r = io->r;
	struct where w = look_up(s, r, r->block + io->at + i);

	if ((w.kind != AT_LOG && w.kind != AT_PAGE) ||
	    w.at_bytes != io->from_bytes + (uint64_t)i * BLOCK_BYTES)
		return false;
	if (w.recorded && io->slot == RECS_NONE)
		return false; /* it landed: its record is looked at next time */
	fill_crc(s, &w, io->slot);
	return w.crc == io->want[i];
}

/* Block @i of @io is bad where it is: somebody else may have it, but not for one that vouches. */
static void block_bad(struct store *s, const struct read_io *io, uint32_t i)
{
	struct store_read *r = io->r;
	struct read_state *st = state_of(r);

	st->bad = true;
	st->bad_block = r->block + io->at + i;
	st->bad_crc = io->want[i];
	/* A disk that does not give back what was just written would have it written for ever. */
	if (r->vouch || r->sequenced || s->failed || st->repairs > r->blocks)
		r->res = -EBADMSG;
}

/* A transfer failed. Which of its blocks is it? Once more, one by one. */
static void transfer_failed(struct store *s, struct read_io *io)
{
	struct read_state *st = state_of(io->r);

	if (io->blocks > 1) {
		st->single = st->again = true;
	} else if (unmoved(s, io, 0) || st->retries >= RETRIES_MAX) {
		block_bad(s, io, 0);
	} else {
		st->retries++;
		st->again = true;
	}
}

static void check_blocks(struct store *s, struct read_io *io)
{
	struct store_read *r = io->r;
	struct read_state *st = state_of(r);

	for (uint32_t i = 0; i < io->blocks; i++) {
		const struct block_addr at = {r->volume, r->extent, r->block + io->at + i};
		const uint8_t *data = r->data->data + (size_t)(io->at + i) * BLOCK_BYTES;
		uint32_t crc = crc_block(&at, data);

		r->crcs[io->at + i] = crc;
		if ((io->same ? crc_block_anywhere(data) : crc) == io->want[i])
			continue;
		if (unmoved(s, io, i) || st->retries >= RETRIES_MAX) {
			block_bad(s, io, i);
			continue;
		}
		st->retries++;
		st->again = true;
	}
}

static void pin(struct store *s, const struct read_io *io, int by)
{
	if (io->ring != NOT_PINNED)
		s->log.ring[io->ring].pins += (uint32_t)by;
	for (uint32_t i = 0; i < io->pages_n; i++)
		s->pages.v[io->page + i].pins = (uint8_t)(s->pages.v[io->page + i].pins + by);
	if (io->slot != RECS_NONE)
		recs_pin(s, io->slot, by);
}

static void read_done(struct disk_io *dio, int res)
{
	struct read_io *io = CONTAINER_OF(dio, struct read_io, io);
	struct store *s = io->s;
	struct store_read *r = io->r;

	s->ios--;
	r->ios--;
	if (s->failed)
		r->res = -EIO;
	else if (res)
		transfer_failed(s, io);
	else
		check_blocks(s, io);
	pin(s, io, -1);
	list_add_tail(&s->read_free, &io->link);
	read_settled(s, r);
	/* At once and not at the end of the turn: what comes first is answered first. */
	reads_tell(s);
	/* Somebody may have waited for what this one held: a transfer, a record block, the log's
	 * tail. */
	if (!list_empty(&s->reads) || !list_empty(&s->recs.starved) || s->closing ||
	    (s->log.count && s->log.ring[s->log.first].lsn < s->ckpt.trim_lsn))
		store_turn(s);
}

/* May @w be read in one go after what @io holds? */
static bool extends(const struct read_io *io, const struct where *first, const struct where *w)
{
	if (w->kind != first->kind || w->same || first->same || w->recorded != first->recorded)
		return false;
	if (w->at_bytes != io->from_bytes + (uint64_t)io->blocks * BLOCK_BYTES)
		return false;
	if (w->kind == AT_LOG)
		return w->ring == first->ring;
	return !w->recorded || recs_block_of(w->page) == recs_block_of(first->page);
}

static void transfer(struct store *s, struct store_read *r, struct read_io *io,
		     const struct where *first, uint32_t slot)
{
	struct read_state *st = state_of(r);
	struct where w = *first;

	io->s = s;
	io->r = r;
	io->at = st->next;
	io->blocks = 0;
	io->from_bytes = first->at_bytes;
	io->same = first->same;
	io->ring = first->kind == AT_LOG ? first->ring : NOT_PINNED;
	io->page = first->page;
	io->pages_n = 0;
	io->slot = slot;
	do {
		fill_crc(s, &w, slot);
		io->want[io->blocks++] = w.crc;
		if (w.kind == AT_PAGE)
			io->pages_n = w.page - io->page + 1;
		st->next++;
		if (st->next == r->blocks || st->single)
			break;
		w = look_up(s, r, r->block + st->next);
	} while (extends(io, first, &w));
	pin(s, io, 1);
	io->io = (struct disk_io){.op = DISK_READ,
				  .offset_bytes = io->from_bytes,
				  .len_bytes = io->blocks * BLOCK_BYTES,
				  .data = r->data->data + (size_t)io->at * BLOCK_BYTES,
				  .done = read_done};
	r->ios++;
	store_submit(s, &io->io);
}

/* The record block a read waited for is there, or never will be. */
static void record_ready(struct recs_wait *w, int res)
{
	struct read_state *st = CONTAINER_OF(w, struct read_state, wait);
	struct store_read *r = (void *)((uint8_t *)st - offsetof(struct store_read, priv));
	struct store *s = st->s;

	st->waiting = false;
	if (res) /* no checksum, so no good copy here */
		r->res = s->failed ? -EIO : -EBADMSG;
	st->queued = true;
	list_add_tail(&s->reads, &r->link);
	store_turn(s);
}

enum advanced { ADV_ALL, ADV_NO_IO, ADV_WAITS };

/* A transfer from @w on: no more than ADV_ALL, or why not. */
static enum advanced start_transfer(struct store *s, struct store_read *r, const struct where *w)
{
	struct read_state *st = state_of(r);
	uint32_t slot = RECS_NONE;
	struct list *it;

	if (w->recorded) {
		st->wait.fn = record_ready;
		slot = recs_get(s, recs_block_of(w->page), &st->wait);
		if (slot == RECS_NONE)
			return ADV_WAITS;
	}
	it = list_pop(&s->read_free);
	if (!it)
		return ADV_NO_IO;
	transfer(s, r, CONTAINER_OF(it, struct read_io, link), w, slot);
	return ADV_ALL;
}

/* Look up blocks and start transfers until all are under way. */
static enum advanced advance(struct store *s, struct store_read *r)
{
	struct read_state *st = state_of(r);

	while (st->next < r->blocks && r->res == 0) {
		struct where w = look_up(s, r, r->block + st->next);
		const struct block_addr at = {r->volume, r->extent, r->block + st->next};
		uint8_t *to = r->data->data + (size_t)st->next * BLOCK_BYTES;

		if (w.kind == AT_LOG || w.kind == AT_PAGE) {
			enum advanced how = start_transfer(s, r, &w);

			if (how != ADV_ALL)
				return how;
			continue;
		}
		if (w.kind == AT_MEMORY)
			memcpy(to, w.memory, BLOCK_BYTES);
		else
			memset(to, 0, BLOCK_BYTES);
		r->crcs[st->next] = w.kind == AT_NOWHERE ? crc_block_zero(&at)
				    : w.same             ? crc_block(&at, to)
							 : w.crc;
		st->next++;
	}
	return ADV_ALL;
}

void read_pump(struct store *s)
{
	struct list *it;

	while ((it = list_first(&s->reads))) {
		struct store_read *r = CONTAINER_OF(it, struct store_read, link);

		if (s->failed && r->res == 0)
			r->res = -EIO;
		list_del(&r->link);
		state_of(r)->queued = false;
		switch (advance(s, r)) {
		case ADV_NO_IO:
			state_of(r)->queued = true;
			list_add_head(&s->reads, &r->link);
			return;
		case ADV_WAITS:
			state_of(r)->waiting = true;
			break;
		case ADV_ALL:
			read_settled(s, r);
			break;
		}
	}
}

void store_read(struct store *s, struct store_read *r)
{
	r->vouch = NULL;
	store_read_start(s, r);
}

void store_read_start(struct store *s, struct store_read *r)
{
	struct read_state *st = state_of(r);

	CHECK(r->blocks > 0);
	CHECK(r->blocks <= OP_BLOCKS_MAX);
	CHECK(r->block < EXTENT_BLOCKS);
	CHECK(r->blocks <= EXTENT_BLOCKS - r->block);
	*st = (struct read_state){.s = s, .queued = true};
	r->ios = 0;
	r->res = 0;
	r->data = buf_get(s->bufs, r->blocks * BLOCK_BYTES, BUF_NODE);
	if (!r->data) {
		st->queued = false;
		r->res = -ENOBUFS;
		finish(s, r);
	} else {
		list_add_tail(&s->reads, &r->link);
		s->stats.read_bytes += (uint64_t)r->blocks * BLOCK_BYTES;
		read_pump(s);
	}
	if (!list_empty(&s->reads_done))
		store_turn(s); /* E1 */
}

void store_present(struct store *s, uint64_t volume, uint64_t extent, uint8_t ret_present[128])
{
	struct page_key pk = {volume, extent, 0};

	memset(ret_present, 0, EXTENT_BLOCKS / 8);
	for (pk.slot = 0; pk.slot < EXTENT_PAGES; pk.slot++) {
		const struct page *p = pages_find(&s->pages, &pk);
		uint32_t bits = p ? p->present : 0;

		for (uint32_t i = 0; p && p->refs && i < PAGE_BLOCKS; i++) {
			const struct index_key ik = {volume, extent, pk.slot * PAGE_BLOCKS + i};

			if (index_find(&s->index, &ik) != INDEX_NONE)
				bits |= 1u << i;
		}
		ret_present[pk.slot * 2] = (uint8_t)bits;
		ret_present[pk.slot * 2 + 1] = (uint8_t)(bits >> 8);
	}
}

size_t read_bytes(void)
{
	return arena_cost(READ_IOS * sizeof(struct read_io), ARENA_ALIGN);
}

void read_init(struct store *s, struct arena *a)
{
	s->read_ios = arena_alloc(a, READ_IOS * sizeof(struct read_io), ARENA_ALIGN);
	list_init(&s->reads);
	list_init(&s->reads_done);
	list_init(&s->repairs_full);
	list_init(&s->read_free);
	for (unsigned i = 0; i < READ_IOS; i++)
		list_add_tail(&s->read_free, &s->read_ios[i].link);
}
