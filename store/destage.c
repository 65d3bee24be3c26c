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
 * Writing late coalesces: it starts when half of the log is live, and goes on to three eighths.
 * From three quarters on no more is let in than goes out: a checkpoint then finds much that it can
 * free, and nobody waits for it, because the last quarter is still there when it begins. */

#define NO_BLOCK UINT32_MAX
#define LOOK_AHEAD 256u

static bool above(const struct store *s, uint32_t eighths)
{
	return (uint64_t)s->log.live_blocks * 8 > (uint64_t)s->log.blocks * eighths ||
	       s->cost * 8 > (uint64_t)s->index.entries_n * (eighths + 2);
}

bool destage_wanted(const struct store *s)
{
	return s->index.used > s->fresh_n && !s->closing &&
	       (s->idle || s->refused_log || s->destaging);
}

bool destage_idle(const struct store *s)
{
	for (unsigned i = 0; i < DESTAGE_JOBS; i++)
		if (s->job[i].busy)
			return false;
	return true;
}

bool destage_paces(const struct store *s)
{
	return (uint64_t)s->log.live_blocks * 4 > (uint64_t)s->log.blocks * 3 && !destage_idle(s);
}

/* ---- finishing ---- */

static void report_lost(struct store *s, const struct page *p, const struct disk_page_rec *rec,
			const struct destage_block *b)
{
	const struct chain *c = &s->chains[p->chain];
	const struct store_bad bad = {.volume = rec->volume,
				      .extent = rec->extent,
				      .seq = c->committed,
				      .chain = c->id,
				      .block = b->block,
				      .crc = b->crc};

	env_logf(s->env, ENV_ERR,
		 "store: device log: block %u of extent %llu of volume %llu (chain %u) cannot be "
		 "read: it is bad here until a neighbour has it or it is written again",
		 b->block, (unsigned long long)rec->extent, (unsigned long long)rec->volume, c->id);
	repair_want(s, &bad);
}

static void land_block(struct store *s, struct page *p, struct disk_page_rec *rec,
		       const struct destage_block *b, const uint8_t *data)
{
	const struct disk_page_rec *of = rec;
	const struct index_key key = {of->volume, of->extent, b->block};
	const struct block_addr at = {of->volume, of->extent, b->block};
	uint32_t i = b->block % PAGE_BLOCKS;
	uint32_t found = index_find(&s->index, &key);
	const struct index_entry *e;

	if (found == INDEX_NONE)
		return; /* unmapped meanwhile */
	e = &s->index.v[found];
	if (e->log_block != b->log_block || e->ring != b->ring || e->seq != b->seq)
		return; /* overwritten meanwhile */
	/* Of what is lost the page holds something else: bad until repaired or overwritten. */
	rec->crcs[i] = b->same && !b->lost ? crc_block(&at, data) : b->crc;
	p->present = (p->present | 1u << i) & 0xffffu;
	rec->seq = MAX(rec->seq, b->seq);
	if (b->lost)
		report_lost(s, p, rec, b);
	index_drop(s, p, found);
	s->stats.destaged_blocks++;
}

/* The record may still have the unseeded checksum of a WRITE_SAME, by which the block was lost. */
static void repair_landed(struct store *s, struct destage_job *j)
{
	const struct store_bad *bad = &j->repair->what;
	const struct block_addr at = {bad->volume, bad->extent, bad->block};
	uint32_t i = bad->block % PAGE_BLOCKS;
	struct disk_page_rec *rec = recs_rec(s, j->slot, j->page);

	if (j->writing && rec->crcs[i] == bad->crc)
		rec->crcs[i] = crc_block(&at, j->buf + (size_t)i * BLOCK_BYTES);
}

static void job_end(struct store *s, struct destage_job *j, bool landed)
{
	struct page *p = &s->pages.v[j->page];
	bool same_owner = p->state == PAGE_OWNED && pages_find(&s->pages, &j->key) == p;

	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		if (j->block[i].block == NO_BLOCK || j->block[i].in_page)
			continue;
		s->log.ring[j->block[i].ring].pins--;
		if (landed && same_owner)
			land_block(s, p, recs_rec(s, j->slot, j->page), &j->block[i],
				   j->buf + (size_t)i * BLOCK_BYTES);
	}
	if (landed && same_owner && j->repair)
		repair_landed(s, j);
	if (landed && same_owner)
		recs_fresh(s, j->slot, j->page);
	if (j->slot != RECS_NONE)
		recs_pin(s, j->slot, -1);
	p->pins--;
	if (same_owner)
		page_drop(s, p);
	j->busy = false;
	if (j->repair)
		repair_resolve(s, j->repair, landed ? 0 : -EIO);
	log_settle(s);
	if (s->refused_log && !destage_paces(s))
		store_space_back(s);
	store_turn(s);
}

/* ---- transfers ---- */

static void job_step(struct store *s, struct destage_job *j);

static void io_done(struct disk_io *io, int res)
{
	struct destage_job *j = CONTAINER_OF(io, struct destage_io, io)->job;
	struct store *s = j->s;

	s->ios--;
	if (res && j->writing) {
		j->bad = true;
		store_fail(s, "page: write failed", res);
	} else if (res && !j->single) {
		j->reread = true; /* which block is it? */
	} else if (res) {
		j->block[((uint8_t *)io->data - j->buf) / BLOCK_BYTES].lost = true;
	}
	if (--j->ios == 0)
		job_step(s, j);
}

/* The job holds the record block of its page until it ends. Counts as a transfer of its first
 * phase. */
static void want_record(struct store *s, struct destage_job *j);

static void record_ready(struct recs_wait *w, int res)
{
	struct destage_job *j = CONTAINER_OF(w, struct destage_job, wait);
	struct store *s = j->s;

	j->ios--;
	if (res) {
		j->bad = true;
		store_fail(s, "page records: cannot be read", res);
	} else {
		want_record(s, j);
	}
	if (j->ios == 0)
		job_step(s, j);
}

static void want_record(struct store *s, struct destage_job *j)
{
	j->wait.fn = record_ready;
	j->slot = recs_get(s, recs_block_of(j->page), &j->wait);
	if (j->slot != RECS_NONE)
		recs_pin(s, j->slot, 1);
	else
		j->ios++;
}

/* How many blocks from @i on go in one transfer. */
static uint32_t run_length(const struct destage_job *j, uint32_t i)
{
	const struct destage_block *b = &j->block[i];
	uint32_t n = 1;

	while (i + n < PAGE_BLOCKS && b[n].block != NO_BLOCK && !b[n].lost && !j->single &&
	       (j->writing || (b[n].ring == b->ring && b[n].log_block == b->log_block + n)))
		n++;
	return n;
}

static void job_transfers(struct store *s, struct destage_job *j)
{
	uint64_t page_bytes = page_offset(s, j->page);
	uint32_t n = 0;

	for (uint32_t i = 0, len; i < PAGE_BLOCKS; i += len) {
		struct disk_io *io = &j->io[n].io;

		len = 1;
		if (j->block[i].block == NO_BLOCK || j->block[i].lost)
			continue;
		len = run_length(j, i);
		*io = (struct disk_io){
			.op = j->writing ? DISK_WRITE : DISK_READ,
			.dsync = j->writing && j->repair && s->disk->volatile_cache,
			.offset_bytes = j->writing ? page_bytes + (uint64_t)i * BLOCK_BYTES
						   : log_block_offset(s, j->block[i].log_block),
			.len_bytes = len * BLOCK_BYTES,
			.data = j->buf + (size_t)i * BLOCK_BYTES,
			.done = io_done};
		j->io[n++].job = j;
	}
	j->ios += n;
	for (uint32_t i = 0; i < n; i++)
		store_submit(s, &j->io[i].io);
}

/* What was read is what was written to the log, or it is lost: rot in the only copy here. Returns
 * whether any of it is, by its checksum. */
static bool job_verify(struct destage_job *j)
{
	bool lost = false;

	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		struct destage_block *b = &j->block[i];
		const struct block_addr at = {j->key.volume, j->key.extent, b->block};
		const uint8_t *data = j->buf + (size_t)i * BLOCK_BYTES;

		if (b->block == NO_BLOCK || b->lost || j->repair)
			continue;
		b->lost = (b->same ? crc_block_anywhere(data) : crc_block(&at, data)) != b->crc;
		lost |= b->lost;
	}
	return lost;
}

/* What came may have been wrong just this once, and the log's copy is the only one here: once more,
 * block by block, before it is given up. */
static void job_reread(struct store *s, struct destage_job *j)
{
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++)
		j->block[i].lost = false;
	j->reread = false;
	j->single = true;
	job_transfers(s, j);
}

/* Is what a repair job is about still so? */
static bool repair_holds(const struct store *s, const struct destage_job *j)
{
	const struct store_bad *bad = &j->repair->what;
	const struct index_key key = {bad->volume, bad->extent, bad->block};
	uint32_t at = index_find(&s->index, &key), i = bad->block % PAGE_BLOCKS;
	const struct page *p = &s->pages.v[j->page];

	if (p->state != PAGE_OWNED || pages_find(&s->pages, &j->key) != p)
		return false;
	if (at != INDEX_NONE)
		return s->index.v[at].crc == bad->crc;
	return (p->present >> i & 1) && recs_crc(s, j->slot, j->page, i) == bad->crc;
}

static void job_step(struct store *s, struct destage_job *j)
{
	if (j->bad || s->failed || j->writing) {
		job_end(s, j, !j->bad && !s->failed);
		return;
	}
	if (j->reread) {
		job_reread(s, j);
		return;
	}
	if (j->repair && !repair_holds(s, j)) {
		job_end(s, j, true);
		return;
	}
	if (job_verify(j) && !j->single) {
		job_reread(s, j);
		return;
	}
	j->writing = true;
	j->single = false;
	job_transfers(s, j);
	if (j->ios == 0) /* all lost */
		job_end(s, j, true);
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

bool destage_has_page(const struct store *s, const struct page_key *key)
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

		if (eligible(s, e) && !destage_has_page(s, &key))
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

static void job_init(struct store *s, struct destage_job *j, const struct page_key *key,
		     struct page *p)
{
	j->key = *key;
	j->busy = true;
	j->writing = j->bad = j->single = j->reread = false;
	j->repair = NULL;
	j->page = pages_id(&s->pages, p);
	j->ios = 0;
	p->pins++;
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++)
		j->block[i] = (struct destage_block){.block = NO_BLOCK};
}

static void job_take(struct store *s, struct destage_job *j, const struct index_entry *e)
{
	j->block[e->block % PAGE_BLOCKS] = (struct destage_block){.block = e->block,
								  .log_block = e->log_block,
								  .ring = e->ring,
								  .crc = e->crc,
								  .seq = e->seq,
								  .same = e->flags & INDEX_SAME};
	s->log.ring[e->ring].pins++;
}

static void job_start(struct store *s, struct destage_job *j, const struct index_entry *first)
{
	const struct page_key pk = {first->volume, first->extent, first->block / PAGE_BLOCKS};
	struct page *p = pages_find(&s->pages, &pk);

	CHECK(p != NULL);
	job_init(s, j, &pk, p);
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		const struct index_key key = {pk.volume, pk.extent, pk.slot * PAGE_BLOCKS + i};
		uint32_t at = index_find(&s->index, &key);
		const struct index_entry *e = at == INDEX_NONE ? NULL : &s->index.v[at];

		if (e && !(e->flags & INDEX_PAGE) && eligible(s, e))
			job_take(s, j, e);
	}
	want_record(s, j);
	job_transfers(s, j);
}

static struct destage_job *free_job(struct store *s)
{
	for (unsigned i = 0; i < DESTAGE_JOBS; i++)
		if (!s->job[i].busy)
			return &s->job[i];
	return NULL;
}

/* One that may change the record of another page (recs.h, Y5). */
static struct destage_job *next_job(struct store *s)
{
	uint32_t more = 1;

	for (unsigned i = 0; i < DESTAGE_JOBS; i++)
		more += s->job[i].busy;
	return recs_crowded(s, more) ? NULL : free_job(s);
}

void destage_repair(struct store *s, struct repair *r)
{
	const struct store_bad *bad = &r->what;
	const struct page_key pk = {bad->volume, bad->extent, bad->block / PAGE_BLOCKS};
	const struct index_key key = {bad->volume, bad->extent, bad->block};
	struct page *p = pages_find(&s->pages, &pk);
	uint32_t at = index_find(&s->index, &key), i = bad->block % PAGE_BLOCKS;
	const struct index_entry *e = at == INDEX_NONE ? NULL : &s->index.v[at];
	struct destage_job *j = free_job(s);

	if (!p || (e && e->crc != bad->crc)) {
		repair_resolve(s, r, 0); /* overwritten meanwhile */
		return;
	}
	if (e && !(e->flags & INDEX_PAGE) && !eligible(s, e)) {
		log_watermark_moved(s);
		return;
	}
	if (!j || destage_has_page(s, &pk))
		return;
	job_init(s, j, &pk, p);
	if (e && !(e->flags & INDEX_PAGE))
		job_take(s, j, e);
	else
		j->block[i] = (struct destage_block){.block = bad->block, .in_page = true};
	r->running = true;
	j->repair = r;
	memcpy(j->buf + (size_t)i * BLOCK_BYTES, r->answer->data, BLOCK_BYTES);
	want_record(s, j);
	if (j->ios == 0)
		job_step(s, j);
}

void destage_pump(struct store *s)
{
	if (above(s, 4))
		s->destaging = true;
	else if (!above(s, 3))
		s->destaging = false;
	if (s->failed || !destage_wanted(s))
		return;
	for (struct destage_job *j = next_job(s); j; j = next_job(s)) {
		uint32_t at = oldest(s);

		if (at == INDEX_NONE)
			break;
		job_start(s, j, &s->index.v[at]);
	}
	/* Blocked by watermarks that are not durable yet? Write them. */
	if (destage_idle(s) && s->index.used > s->fresh_n)
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
