/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck_disk - a disk with something of everything on it, its parts by name, and damage to them.
 *
 * What is changed in place is poked, so that the store sees it as well. Included by
 * test_store_fsck.c and test_store_fsck_log.c only. One thread. */

#ifndef TESTS_UNIT_FSCK_DISK_H
#define TESTS_UNIT_FSCK_DISK_H

#include "store/internal.h"
#include "tests/unit/fsck_look.h"
#include "tests/unit/store_rig.h"

static struct fsck_look look;

/* ---- disks ---- */

static inline const struct disk_super *super(const struct rig *r)
{
	return (const void *)r->disk.durable;
}

/* The header that says "durable" is written; not so long that anything is destaged. */
static inline void time_for_a_proof(struct rig *r)
{
	uint64_t until_ns = r->fe.clock.now_ns + LOG_IDLE_NS;

	while (r->fe.clock.now_ns < until_ns)
		assert_true(fake_step(&r->fe));
	while (fake_step_now(&r->fe))
		;
}

static inline struct rig_op *done(struct rig *r, struct rig_op *op)
{
	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	return op;
}

/* Chain 1 has content in checkpointed pages (extent 0: blocks 0 to 47), chain 2 as well (extent 0,
 * block 5). In the log: of chain 1 blocks 8 to 11 again and two whole pages of extent 1 (blocks 14
 * to 49), both committed, then two pages of extent 2, pending. */
static inline struct rig *furnished(uint64_t seed)
{
	struct rig *r = rig_new_sized(seed, 32u << 20, 4u << 20);

	assert_int_equal(rig_open(r), 0);
	rig_chain(r, 1);
	rig_chain(r, 2);
	done(r, rig_write(r, 1, 0, 0, 48));
	done(r, rig_write(r, 2, 0, 5, 1));
	store_commit(r->s, 1, 1);
	store_commit(r->s, 2, 1);
	rig_settle(r);
	done(r, rig_write(r, 1, 0, 8, 4));
	done(r, rig_write(r, 1, 1, 14, 36));
	store_commit(r->s, 1, 3);
	done(r, rig_write(r, 1, 2, 0, 32));
	time_for_a_proof(r);
	rig_crash(r, 0);
	return r;
}

static inline void put(struct rig *r, const void *at, const void *bytes, size_t n)
{
	fake_disk_poke(&r->disk, (uint64_t)((const uint8_t *)at - r->disk.durable), bytes, n);
}

static inline void flip(struct rig *r, uint64_t offset_bytes)
{
	uint8_t bad = r->disk.durable[offset_bytes] ^ 0x10;

	fake_disk_poke(&r->disk, offset_bytes, &bad, 1);
}

static inline enum fsck_verdict fsck(struct rig *r)
{
	look.image = r->disk.durable;
	look.image_bytes = r->disk_bytes;
	return fsck_look(&look);
}

/* fsck finds @kind, whose text has @words in it, and nothing worse; returns it. */
static inline const struct fsck_look_finding *finds(struct rig *r, enum fsck_verdict verdict,
						    const char *kind, const char *words)
{
	enum fsck_verdict got = fsck(r);
	const struct fsck_look_finding *f = fsck_look_for(&look, kind);

	if (got != verdict || !f || !strstr(f->text, words)) {
		fsck_look_print(&look);
		fail_msg("wanted: %s (%s): %s", fsck_verdict_name(verdict), kind, words);
	}
	return f;
}

static inline void is_clean(struct rig *r)
{
	if (fsck(r) != FSCK_CLEAN || look.res || look.findings_n) {
		fsck_look_print(&look);
		fail_msg("not clean");
	}
}

/* And the daemon thinks so, too. Ends the rig. */
static inline void opens(struct rig *r, int res)
{
	assert_int_equal(rig_open(r), res);
	if (res == 0) {
		rig_settle(r);
		rig_close(r);
		is_clean(r);
	}
	rig_free(r);
}

static inline struct disk_ckpt_hdr *ckpt_block(const struct rig *r, uint64_t i)
{
	const struct disk_super *sb = super(r);

	assert_true(i < sb->ckpt_blocks);
	return (void *)(r->disk.durable + sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes +
			i * BLOCK_BYTES);
}

/* The checkpoint's entry of the first record block, and the block in its home, or in the other. */
static inline struct disk_ckpt_recs *entry(const struct rig *r)
{
	struct disk_ckpt_hdr *h = ckpt_block(r, 0);

	assert_int_equal(h->kind, CKPT_RECS);
	return (void *)(h + 1);
}

static inline struct disk_recs *records(const struct rig *r, bool other_home)
{
	const struct disk_super *sb = super(r);
	bool home_b = ((entry(r)->used & RECS_HOME_B) != 0) != other_home;

	return (void *)(r->disk.durable + sb->recs_offset_bytes +
			(entry(r)->index + (home_b ? sb->recs_n : 0)) * BLOCK_BYTES);
}

/* Page @i of the first record block: one in use. */
static inline uint32_t page_in_use(const struct rig *r, uint32_t chain,
				   struct disk_page_rec **ret_rec)
{
	for (uint32_t i = 0; i < RECS_PAGES; i++) {
		*ret_rec = &records(r, false)->rec[i];
		if (entry(r)->used >> i & 1 && (*ret_rec)->chain == chain)
			return entry(r)->index * RECS_PAGES + i;
	}
	fail_msg("chain %u has no page", chain);
	return 0;
}

static inline uint64_t page_at(const struct rig *r, uint32_t page)
{
	return super(r)->pages_offset_bytes + (uint64_t)page * PAGE_BYTES;
}

/* What was changed in place has right checksums again. */
static inline void reseal_records(struct rig *r)
{
	struct disk_recs *recs = records(r, false);
	struct disk_ckpt_hdr *h = ckpt_block(r, 0);

	recs_seal(recs, super(r)->secret);
	entry(r)->crc = recs->crc;
	ckpt_seal(h, super(r)->secret);
	put(r, recs, recs, BLOCK_BYTES);
	put(r, h, h, BLOCK_BYTES);
}

/* The batch whose op @seq of chain 1 is, the record, and where its payload begins on the disk. */
struct found_op {
	struct disk_log_hdr *hdr;
	const struct disk_log_hdr *last; /* of the log */
	struct log_item it;
	uint64_t payload_offset, end_offset;
};

static inline struct found_op find_op(struct rig *r, uint64_t seq)
{
	const struct disk_super *sb = super(r);
	uint64_t at = sb->log_offset_bytes + sb->replay_block * BLOCK_BYTES;
	struct found_op found = {0};

	for (;;) {
		struct disk_log_hdr *h = (void *)(r->disk.durable + at);
		struct log_cursor c;
		struct log_item it;
		const char *why;

		if (h->magic != LOG_MAGIC || h->lsn <= (found.last ? found.last->lsn : 0))
			break;
		found.last = h;
		log_cursor_init(&c, h);
		while (log_cursor_next(&c, &it, &why) == 1)
			if (it.op && it.op->chain == 1 && it.op->seq == seq) {
				found.hdr = h;
				found.it = it;
				found.payload_offset =
					at + (h->hdr_blocks + it.rec->payload_block) *
						     (uint64_t)BLOCK_BYTES;
			}
		at += (uint64_t)(h->hdr_blocks + h->data_blocks) * BLOCK_BYTES;
	}
	found.end_offset = at;
	assert_true(seq == 0 || found.hdr != NULL);
	return found;
}

/* A batch of one record behind the log's last one. */
static inline void append_record(struct rig *r, enum log_rec_kind kind, unsigned flags,
				 const void *body, uint32_t body_bytes)
{
	struct found_op end = find_op(r, 0);
	uint8_t *block = calloc(1, BLOCK_BYTES);
	struct disk_log_hdr *h = (void *)block;
	struct disk_log_rec *rec = (void *)(h + 1);

	*h = (struct disk_log_hdr){.magic = LOG_MAGIC,
				   .prev_crc = end.last->crc,
				   .disk = end.last->disk,
				   .lsn = end.last->lsn + 1,
				   .offset_bytes = end.end_offset,
				   .stable = end.last->lsn,
				   .start = end.last->start,
				   .hdr_blocks = 1,
				   .recs_bytes = (uint32_t)sizeof(*rec) + body_bytes,
				   .recs_n = 1};
	*rec = (struct disk_log_rec){
		.kind = (uint16_t)kind, .flags = (uint16_t)flags, .bytes = h->recs_bytes};
	memcpy(rec + 1, body, body_bytes);
	log_hdr_seal(h, super(r)->secret);
	fake_disk_poke(&r->disk, end.end_offset, block, BLOCK_BYTES);
	free(block);
}

#endif
