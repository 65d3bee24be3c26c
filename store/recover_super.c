/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The phase SUPER: which copy counts, or the best name for what is wrong with all of them. */

static const struct disk_super *copy_at(const struct recovery *r, unsigned i)
{
	return (const void *)(r->buf + super_offset_bytes(i));
}

/* Copy @i is whole, and not for this chainblk or this disk: which would it be for? */
static int refuse_super(struct recovery *r, unsigned i, int res)
{
	const struct disk_super *sb = copy_at(r, i);

	if (res == -EPROTONOSUPPORT)
		return recovery_fail(
			r, res,
			"superblock: another format version (%u, this chainblk reads %u): "
			"use the chainblk that wrote it",
			sb->version, STORE_VERSION);
	return recovery_fail(r, res,
			     "superblock: the disk is smaller than when it was formatted (%" PRIu64
			     " MiB, now %" PRIu64 "): use the whole disk",
			     sb->disk_bytes >> 20, r->s->disk->size_bytes >> 20);
}

/* The newest generation that two equal copies have; 0 or the best named error. */
static int choose_super(struct recovery *r, const struct disk_super **ret)
{
	const char *why = NULL;
	int res = -ENODEV, got[SUPER_COPIES];
	unsigned bad = 0;

	*ret = NULL;
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const char *wrong = NULL;

		got[i] = super_check(copy_at(r, i), r->s->disk->size_bytes, &wrong);
		if (got[i] == 0)
			r->newest = MAX(r->newest, copy_at(r, i)->generation);
		if (got[i] && (res == -ENODEV || res == -EBADMSG) && (!why || got[i] != -ENODEV)) {
			res = got[i];
			why = wrong;
			bad = i;
		}
	}
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		for (unsigned k = i + 1; k < SUPER_COPIES; k++)
			if (got[i] == 0 && got[k] == 0 &&
			    memcmp(copy_at(r, i), copy_at(r, k), BLOCK_BYTES) == 0 &&
			    (!*ret || copy_at(r, i)->generation > (*ret)->generation)) {
				*ret = copy_at(r, i);
				super_good_pair(r->s, i, k);
			}
	if (*ret)
		return 0;
	if (res == -ENOSPC || res == -EPROTONOSUPPORT)
		return refuse_super(r, bad, res);
	if (r->newest)
		return recovery_fail(
			r, -EBADMSG,
			"superblock: no two copies agree: damaged; restore the disk or "
			"format it and let the replica be copied");
	return recovery_fail(r, res, "%s", why);
}

int recovery_take_super(struct recovery *r)
{
	struct store *s = r->s;
	struct log *l = &s->log;
	const struct disk_super *sb;
	int res = choose_super(r, &sb);

	if (res)
		return res;
	s->super = *sb;
	s->chains_max = MIN(s->chains_max, sb->chains_max);
	if (sb->pages_n > s->pages.n || sb->recs_n > s->recs.blocks_n)
		return recovery_fail(r, -EBADMSG, "superblock: more pages than the disk can hold");
	pages_limit(&s->pages, (uint32_t)sb->pages_n);
	s->recs.blocks_n = (uint32_t)format_recs_n(sb->pages_n);
	l->offset_bytes = sb->log_offset_bytes;
	l->blocks = (uint32_t)(sb->log_bytes / BLOCK_BYTES);
	l->before =
		(struct log_ref){.lsn = sb->prev_lsn, .start = sb->prev_start, .crc = sb->prev_crc};
	l->lsn = sb->prev_lsn;
	l->start = sb->prev_start;
	l->crc = sb->prev_crc;
	l->head = (uint32_t)sb->replay_block;
	r->place = (struct log_place){.disk = sb->disk,
				      .secret = sb->secret,
				      .region_offset_bytes = sb->log_offset_bytes,
				      .region_blocks = l->blocks};
	r->at = l->head;
	r->win_n = 0;
	return 0;
}
