/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/scripts.h"

#include <string.h>

/* Format, first start, joining a cluster, further starts. */
static void start(struct life *l)
{
	life_arm(l);
	life_format(l);
	life_open(l);
	life_cluster(l);
	life_registered(l);
	life_epoch(l, 1);
	life_write(l, 1, 0, 0, 1);
	life_sync(l);
	life_close(l);
	life_open(l);
	life_registered(l);
	life_epoch(l, 1);
	life_close(l);
	life_open(l);
}

/* Small ops of every kind on three chains, partly committed, with reads and fetches between them;
 * closed while some are under way. */
static void small(struct life *l)
{
	life_format(l);
	life_arm(l);
	life_open(l);
	for (uint32_t i = 0; i < 24; i++) {
		uint32_t c = 1 + i % LIFE_CHAINS;

		life_write(l, c, i % 2, i * 5 % 48, 1 + i % 7);
		if (i % 4 == 3)
			life_unmap(l, c, i % 2, i * 3 % 40, 1 + i % 9);
		if (i % 6 == 5)
			life_same(l, c, 0, i % 30, 20, i % 12 == 5);
		if (i % 8 == 2)
			life_epoch(l, c);
		life_turns(l, i % 5);
		life_read(l, c, i % 2, 0, 52, i % 3 == 0);
		if (i % 3 == 1)
			life_commit_some(l, c, 2);
		life_fetch(l, c, l->chain[c].committed + 1);
	}
	life_sync(l);
	life_commit(l, 1);
	life_fetch(l, 2, l->chain[2].appended);
	life_write(l, 3, 0, 9, 3);
	life_read(l, 3, 0, 0, 40, true);
	life_close(l);
	life_open(l);
	life_write(l, 3, 1, 0, 4);
	life_commit_some(l, 3, 3);
	life_read(l, 3, 1, 0, 8, true);
	life_fetch(l, 2, l->chain[2].appended);
}

/* Ops up to 1 MiB, beside and over each other, and everything put in its place twice. */
static void large(struct life *l)
{
	life_format(l);
	life_arm(l);
	life_open(l);
	life_write(l, 1, 0, 0, 256);
	life_write(l, 2, 1, 8, 24);
	life_write(l, 1, 0, 100, 40);
	life_read(l, 1, 0, 0, 256, true);
	life_sync(l);
	life_commit(l, 1);
	life_read(l, 1, 0, 90, 60, false);
	life_unmap(l, 1, 0, 140, 116);
	life_rest(l);
	life_read(l, 1, 0, 60, 100, false);
	life_write(l, 1, 0, 40, 24);
	life_same(l, 2, 1, 24, 16, false);
	life_rest(l);
	life_read(l, 1, 0, 0, 120, false);
	life_read(l, 2, 1, 0, 48, false);
	life_reads_done(l);
}

/* Blocks of many pages moved to them, checkpoints, overwrites, a start from a checkpoint. */
static void rest(struct life *l)
{
	life_format(l);
	life_arm(l);
	life_open(l);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 10; i++)
			life_write(l, 1 + i % 2, i % 3, (i * 13 + round) % 60, 1 + i % 3);
		life_rest(l);
		life_read(l, 1, 0, 0, 64, false);
		life_unmap(l, 2, 1, 0, 20);
		life_epoch(l, 2);
		if (round == 1) {
			life_close(l);
			life_open(l);
			life_read(l, 2, 1, 0, 64, false);
		}
	}
	life_rest(l);
}

/* Writes of @blocks to @extent until one is refused for want of space. */
static void fill_extent(struct life *l, uint64_t extent, uint32_t blocks)
{
	uint32_t before = l->refused_full;

	for (uint32_t at = 0; l->refused_full == before && !l->over; at += blocks) {
		CHECK(at < EXTENT_BLOCKS);
		life_write(l, 1, extent, at, blocks);
		life_sync(l);
		life_commit(l, 1);
	}
}

/* Small and large, with somebody who has every block, and all pages read now and then: what is bad
 * is asked for and mended. */
static void mended(struct life *l)
{
	l->neighbour = true;
	l->scrub_ns = 2000000000;
	l->watch_ns = 500000000;
	life_format(l);
	life_arm(l);
	life_open(l);
	life_write(l, 1, 0, 0, 48);
	life_write(l, 1, 0, 40, 6);
	life_same(l, 1, 0, 60, 6, false);
	life_write(l, 2, 0, 3, 5);
	life_rest(l);
	life_read(l, 1, 0, 0, 70, false);
	life_write(l, 1, 0, 20, 40);
	life_write(l, 2, 0, 6, 9);
	life_sync(l);
	life_commit(l, 1);
	life_read(l, 1, 0, 10, 60, false);
	life_rest(l);
	life_close(l);
	life_open(l);
	life_read(l, 1, 0, 0, 70, false);
	life_read(l, 2, 0, 0, 20, false);
	life_rest(l);
}

/* A block in each of many pages, and memory for the records of few. */
static void wide(struct life *l)
{
	l->cache_slots = 1;
	life_format(l);
	life_open(l);
	for (uint32_t i = 0; i < 50; i++)
		life_write(l, 1 + i / 40, 1, i % 40 * 16 + i % 5, 1);
	life_rest(l);
	life_arm(l);
	for (uint32_t i = 0; i < 8; i++)
		life_write(l, 1 + i % 2, 1, i * 7 % 10 * 16 + 9, 1);
	life_read(l, 1, 1, 0, 200, false);
	life_rest(l);
	life_read(l, 2, 1, 0, 170, false);
	life_read(l, 1, 1, 300, 256, false);
	life_unmap(l, 1, 1, 100, 200);
	life_write(l, 1, 1, 128, 64);
	life_rest(l);
	life_close(l);
	life_open(l);
	life_read(l, 1, 1, 0, 256, false);
}

/* To the last page and back: overwrites work, new pages are refused until space came back. */
static void full(struct life *l)
{
	life_format(l);
	life_open(l);
	fill_extent(l, 0, 256);
	life_arm(l);
	fill_extent(l, 3, 16);
	life_write(l, 1, 0, 3, 30);
	life_rest(l);
	life_write(l, 1, 2, 0, 16);
	CHECK(l->over || l->refused_full == 3);
	life_unmap(l, 1, 0, 0, 128);
	life_rest(l);
	life_write(l, 1, 2, 0, 16);
	CHECK(l->over || l->refused_full == 3);
	life_rest(l);
	life_read(l, 1, 2, 0, 16, false);
	life_reads_done(l);
}

/* Chain 1 hears of no commit while chain 2 goes round the log: its ops are written again. */
static void stuck(struct life *l)
{
	life_format(l);
	life_open(l);
	l->chain[1].stuck = true;
	for (uint32_t i = 0; i < 6; i++)
		life_write(l, 1, 0, i * 2, 1 + i % 3);
	life_sync(l);
	for (uint32_t i = 0; i < 32; i++) {
		if (i == 18)
			life_arm(l);
		/* Both pages lack a block: all of it goes through the log. */
		life_write(l, 2, i % 2, 1 + i % 3 * 32, 30);
		life_sync(l);
		life_commit(l, 2);
		if (i == 26)
			life_commit_some(l, 1, 2);
		life_fetch(l, 1, l->chain[1].appended);
	}
	life_close(l);
	life_open(l);
	life_commit(l, 1);
	life_read(l, 1, 0, 0, 20, false);
	life_rest(l);
	l->chain[1].stuck = false;
}

/* Power goes under load, three times; what is counted is what the starts after it do. */
static void power(struct life *l)
{
	static const uint32_t keep[] = {0, 500, 1000};

	life_format(l);
	life_open(l);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 9; i++) {
			life_write(l, 1 + i % 3, i % 2, (i + round) * 7 % 50, 1 + i % 5);
			life_turns(l, i % 3);
			life_commit_some(l, 1 + i % 3, 1);
		}
		if (round == 1)
			life_rest(l);
		life_write(l, 1, 0, round, 5);
		life_turns(l, 1);
		life_cut(l, keep[round]);
		if (round == 1)
			life_arm(l);
		life_open(l);
		life_verify(l);
	}
}

const struct script scripts[] = {
	{"start", start, 0, true},
	{"small", small, 0, true},
	{"large", large, 0, false},
	{"rest", rest, 0, false},
	{"mended", mended, 0, false},
	{"wide", wide, 0, false},
	{"full", full, SCRIPT_SMALL_DISK, false},
	{"stuck", stuck, 0, false},
	{"power", power, 0, false},
};
const unsigned scripts_n = ARRAY_LEN(scripts);

const struct script *script_find(const char *name)
{
	for (unsigned i = 0; i < scripts_n; i++)
		if (strcmp(scripts[i].name, name) == 0)
			return &scripts[i];
	return NULL;
}
