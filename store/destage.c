/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/crc.h"
#include "store/internal.h"

/* A job moves one page's committed blocks from the log to the page: read, check, write in place. A
 * torn write is harmless, the log still has whole blocks until a checkpoint after the write is
 * durable. Versions that were overwritten in the index are never read. A block that was overwritten
 * or unmapped while the job ran keeps what the newer op made of it.
 *
 * Writing late coalesces: it starts when half of the log is live, and goes on to three eighths. */

#define NO_BLOCK UINT32_MAX
#define LOOK_AHEAD 256u

static bool above(const struct store *s, uint32_t eighths)
{
	return (uint64_t)s->log.live_blocks * 8 > (uint64_t)s->log.blocks * eighths ||
	       s->cost * 8 > (uint64_t)s->index.entries_n * (eighths + 2);
}

bool destage_wanted(const struct store *s)
{
	return s->index.used && !s->closing && (s->idle || s->refused_log || s->destaging);
}

bool destage_idle(const struct store *s)
{
	for (unsigned i = 0; i < DESTAGE_JOBS; i++)
		if (s->job[i].busy)
			return false;
	return true;
}

/* ---- finishing ---- */

static void land_block(struct store *s, struct page *p, const struct destage_block *b,
		       const uint8_t *data)
{
	const struct index_key key = {p->volume, p->extent, b->block};
	const struct block_addr at = {p->volume, p->extent, b->block};
	uint32_t i = b->block % PAGE_BLOCKS;
	uint32_t found = index_find(&s->index, &key);
	const struct index_entry *e;

	if (found == INDEX_NONE)
		return; /* unmapped meanwhile */
	e = &s->index.v[found];
	if (e->log_block != b->log_block || e->ring != b->ring || e->seq != b->seq)
		return; /* overwritten meanwhile */
	p->crcs[i] = b->same ? crc_block(&at, data) : b->crc;
	p->present = (uint16_t)(p->present | 1u << i);
	p->seq = MAX(p->seq, b->seq);
	index_drop(s, p, found);
	s->stats.destaged_blocks++;
}

static void job_end(struct store *s, struct destage_job *j, bool landed)
{
	struct page *p = &s->pages.v[j->page];
	bool same_owner = p->state == PAGE_OWNED && pages_find(&s->pages, &j->key) == p;

	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		if (j->block[i].block == NO_BLOCK)
			continue;
		s->log.ring[j->block[i].ring].pins--;
		if (landed && same_owner)
			land_block(s, p, &j->block[i], j->buf + (size_t)i * BLOCK_BYTES);
	}
	p->pins--;
	if (same_owner)
		pages_drop(&s->pages, p);
	j->busy = false;
	log_settle(s);
	store_turn(s);
}

/* ---- transfers ---- */

static void job_step(struct store *s, struct destage_job *j);

static void io_done(struct disk_io *io, int res)
{
	struct destage_job *j = CONTAINER_OF(io, struct destage_io, io)->job;
	struct store *s = j->s;

	s->ios--;
	if (res) {
		j->bad = true;
		store_fail(s, j->writing ? "page: write failed" : "device log: read failed", res);
	}
	if (--j->ios == 0)
		job_step(s, j);
}

/* How many blocks from @i on go in one transfer. */
static uint32_t run_length(const struct destage_job *j, uint32_t i)
{
	const struct destage_block *b = &j->block[i];
	uint32_t n = 1;

	while (i + n < PAGE_BLOCKS && b[n].block != NO_BLOCK &&
	       (j->writing || (b[n].ring == b->ring && b[n].log_block == b->log_block + n)))
		n++;
	return n;
}

static void job_transfers(struct store *s, struct destage_job *j)
{
	uint64_t page_bytes = s->super.pages_offset_bytes + (uint64_t)j->page * PAGE_BYTES;
	uint32_t n = 0;

	for (uint32_t i = 0, len; i < PAGE_BLOCKS; i += len) {
		struct disk_io *io = &j->io[n].io;

		len = 1;
		if (j->block[i].block == NO_BLOCK)
			continue;
		len = run_length(j, i);
		*io = (struct disk_io){
			.op = j->writing ? DISK_WRITE : DISK_READ,
			.offset_bytes = j->writing ? page_bytes + (uint64_t)i * BLOCK_BYTES
						   : log_block_offset(s, j->block[i].log_block),
			.len_bytes = len * BLOCK_BYTES,
			.data = j->buf + (size_t)i * BLOCK_BYTES,
			.done = io_done};
		j->io[n++].job = j;
	}
	j->ios = n;
	for (uint32_t i = 0; i < n; i++)
		store_submit(s, &j->io[i].io);
}

/* Everything that was read is what was written to the log? */
static bool job_verify(const struct destage_job *j)
{
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		const struct destage_block *b = &j->block[i];
		const struct block_addr at = {j->key.volume, j->key.extent, b->block};
		const uint8_t *data = j->buf + (size_t)i * BLOCK_BYTES;

		if (b->block == NO_BLOCK)
			continue;
		if ((b->same ? crc_block_anywhere(data) : crc_block(&at, data)) != b->crc)
			return false;
	}
	return true;
}

static void job_step(struct store *s, struct destage_job *j)
{
	if (j->bad || s->failed || j->writing) {
		job_end(s, j, !j->bad && !s->failed);
		return;
	}
	if (!job_verify(j)) {
		/* Rot in the only copy here. The replica is of no use; others have the data. */
		store_fail(s, "device log: a committed block has a bad checksum", -EBADMSG);
		job_end(s, j, false);
		return;
	}
	j->writing = true;
	job_transfers(s, j);
}

/* ---- choosing ---- */

/* L4 */
static bool eligible(const struct store *s, const struct index_entry *e)
{
#ifdef CRASH_PLANT_DESTAGE_UNKNOWN
	return e->seq > 0 || s->failed;
#endif
	return e->seq <= s->chains[e->chain_slot].known_durable;
}

static bool page_busy(const struct store *s, const struct page_key *key)
{
	for (unsigned i = 0; i < DESTAGE_JOBS; i++) {
		const struct destage_job *j = &s->job[i];

		if (j->busy && j->key.volume == key->volume && j->key.extent == key->extent &&
		    j->key.slot == key->slot)
			return true;
	}
	return false;
}

/* The chain's oldest block whose page nobody is at, or INDEX_NONE. */
static uint32_t oldest_of(const struct store *s, const struct chain *c)
{
	uint32_t at = c->fifo.first;

	for (uint32_t n = 0; at != INDEX_NONE && n < LOOK_AHEAD; at = s->index.v[at].next, n++) {
		const struct index_entry *e = &s->index.v[at];
		const struct page_key key = {e->volume, e->extent, e->block / PAGE_BLOCKS};

		if (eligible(s, e) && !page_busy(s, &key))
			return at;
	}
	return INDEX_NONE;
}

static uint32_t oldest(const struct store *s)
{
	uint32_t best = INDEX_NONE;
	uint64_t best_lsn = UINT64_MAX;

	for (uint32_t i = 0; i < s->chains_n; i++) {
		uint32_t at = oldest_of(s, &s->chains[i]);
		uint64_t lsn = at == INDEX_NONE ? UINT64_MAX : s->log.ring[s->index.v[at].ring].lsn;

		if (lsn < best_lsn) {
			best = at;
			best_lsn = lsn;
		}
	}
	return best;
}

static void job_start(struct store *s, struct destage_job *j, const struct index_entry *first)
{
	struct page *p;

	j->key = (struct page_key){first->volume, first->extent, first->block / PAGE_BLOCKS};
	p = pages_find(&s->pages, &j->key);
	CHECK(p != NULL);
	j->busy = true;
	j->writing = j->bad = false;
	j->page = pages_id(&s->pages, p);
	p->pins++;
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		const struct index_key key = {j->key.volume, j->key.extent,
					      j->key.slot * PAGE_BLOCKS + i};
		uint32_t at = index_find(&s->index, &key);
		const struct index_entry *e = at == INDEX_NONE ? NULL : &s->index.v[at];

		j->block[i].block = NO_BLOCK;
		if (!e || !eligible(s, e))
			continue;
		j->block[i] = (struct destage_block){.block = key.block,
						     .log_block = e->log_block,
						     .ring = e->ring,
						     .crc = e->crc,
						     .seq = e->seq,
						     .same = e->flags & INDEX_SAME};
		s->log.ring[e->ring].pins++;
	}
	job_transfers(s, j);
}

void destage_pump(struct store *s)
{
	if (above(s, 4))
		s->destaging = true;
	else if (!above(s, 3))
		s->destaging = false;
	if (s->failed || !destage_wanted(s))
		return;
	for (unsigned i = 0; i < DESTAGE_JOBS; i++) {
		uint32_t at;

		if (s->job[i].busy)
			continue;
		at = oldest(s);
		if (at == INDEX_NONE)
			break;
		job_start(s, &s->job[i], &s->index.v[at]);
	}
	/* Blocked by watermarks that are not durable yet? Write them. */
	if (destage_idle(s) && s->index.used)
		log_watermark_moved(s);
}

size_t destage_bytes(void)
{
	return DESTAGE_JOBS * arena_cost(PAGE_BYTES, BLOCK_BYTES);
}

void destage_init(struct store *s, struct arena *a)
{
	for (unsigned i = 0; i < DESTAGE_JOBS; i++) {
		s->job[i].s = s;
		s->job[i].buf = arena_alloc(a, PAGE_BYTES, BLOCK_BYTES);
	}
}
