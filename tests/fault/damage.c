/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* damage - a closed store with something of everything on its disk; then, one at a time: a bit
 * flipped in each 512-byte sector of each block in use, blocks zeroed, exchanged, replaced by what
 * they were before, superblocks damaged in combinations, the disk cut short. Each time the store is
 * opened and everything read.
 *
 *	damage [--json] [--first] [--only REGION] [--case N]
 *
 * What may come of it: everything is right; a read says -EBADMSG; the open is refused, by name.
 * Never wrong bytes, an acknowledged op lost, a crash, a hang. The table says what happened where.
 * Exit status 0: no case was bad. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/regions.h"
#include "tests/fault/runner.h"
#include "tests/fault/scripts.h"
#include "tests/fault/world_fake.h"

#define DISK_BYTES LIFE_DISK_BYTES
#define DISK_BLOCKS (DISK_BYTES / BLOCK_BYTES)
#define CASES_MAX 60000u
#define SECTORS (BLOCK_BYTES / SECTOR_BYTES)
#define FLIPS_PER_SECTOR 2u
#define HEADER_BYTES 128u /* of structured blocks: one flip in each 4 bytes */
#define SWAPS_PER_REGION 48u
#define OLD_BLOCKS 10u  /* of each region, of those that the last rounds left alone */
#define FREE_BLOCKS 12u /* looked at: nothing reads them */
#define SNAPSHOTS 3u
#define OPS_MAX 96u /* per chain of the image */

enum kind { FLIP, ZERO, SWAP, STALE, COPIES, CUT, KINDS };
static const char *const kind_names[] = {"flip", "zero", "swap", "stale", "copies", "cut"};

enum outcome { RIGHT, READ_ERROR, REFUSED, OUTCOMES };

struct damage {
	enum kind kind;
	enum region region;
	uint32_t block, with; /* SWAP: the other block; STALE: snapshot; FLIP: bit */
	uint64_t bytes;       /* CUT */
	uint64_t nth;         /* its name */
};

struct tally {
	uint64_t n[REGIONS][KINDS][OUTCOMES];
	uint64_t mended[REGIONS][KINDS]; /* of READ_ERROR, those of committed content */
};

static struct world_fake world;
static struct life life;
/* As they are when the store is closed. */
static struct life_chain chains[LIFE_CHAINS + 1];
static struct life_op ops[LIFE_CHAINS + 1][OPS_MAX];
static uint32_t blocks_used[LIFE_CHAINS + 1][LIFE_EXTENTS];
static uint8_t *image, *snapshot[SNAPSHOTS];
static uint8_t regions[DISK_BLOCKS];
static struct damage *cases;
static uint64_t cases_n;
static struct tally *tally;

/* ---- the image ---- */

static uint8_t *copy_disk(void)
{
	uint8_t *to = malloc(DISK_BYTES);

	CHECK(to != NULL);
	memcpy(to, world.disk.durable, DISK_BYTES);
	return to;
}

/* A log that wrapped, a checkpoint in each slot, pages, blocks only in the log, pending ops. */
static void populate(struct life *l)
{
	life_format(l);
	life_open(l);
	life_cluster(l);
	life_write(l, 1, 2, 0, 20); /* in the first record block, for good */
	/* More than once round the log: no page is covered as a whole. */
	for (uint32_t i = 0; i < 36; i++) {
		life_write(l, 2, 2, 1 + i % 3 * 32, 30);
		if (i % 12 == 11)
			life_rest(l);
	}
	/* Fresh pages each time: those in use get beyond the first record block. */
	for (uint32_t i = 0; i < 12; i++) {
		life_write(l, 2, 2, 0, 64);
		if (i % 4 == 3)
			life_rest(l);
	}
	life_unmap(l, 2, 2, 20, 80);
	life_rest(l);
	snapshot[0] = copy_disk();
	for (uint32_t i = 0; i < 8; i++)
		life_write(l, 1 + i % 2, i % 2, i * 6, 2 + i % 4);
	life_epoch(l, 1);
	life_same(l, 1, 1, 60, 6, false);
	life_rest(l);
	snapshot[1] = copy_disk();
	for (uint32_t i = 0; i < 6; i++)
		life_write(l, 1 + i % 2, i % 2, i * 7, 1 + i % 3);
	life_rest(l);
	for (uint32_t i = 0; i < 6; i++)
		life_write(l, 1 + i % 2, 0, i * 5, 1 + i % 3);
	life_sync(l);
	life_commit(l, 1);
	life_commit(l, 2);
	life_pass(l, 50000000); /* watermarks go to the log, nothing to pages yet */
	snapshot[2] = copy_disk();
	for (uint32_t i = 0; i < 6; i++)
		life_write(l, 1 + i % 3, 0, 2 + i * 5, 1 + i % 3);
	life_sync(l);
	life_commit(l, 3);
	life_close(l);
	CHECK(!l->over);
}

static void make_image(void)
{
	life_begin(&life, &world.w, NULL);
	populate(&life);
	world.w.power_cut(&world.w, 0);
	image = copy_disk();
	world.image = image;
	memcpy(chains, life.chain, sizeof(chains));
	memcpy(blocks_used, life.blocks_used, sizeof(blocks_used));
	for (uint32_t c = 1; c <= LIFE_CHAINS; c++) {
		CHECK(chains[c].appended < OPS_MAX);
		memcpy(ops[c], chains[c].ops, sizeof(ops[c]));
	}
	regions_find(image, DISK_BYTES, regions);
}

/* ---- one case ---- */

static void poke(uint32_t block, const uint8_t *with)
{
	fake_disk_poke(&world.disk, (uint64_t)block * BLOCK_BYTES, with, BLOCK_BYTES);
	world_fake_touch(&world, (uint64_t)block * BLOCK_BYTES);
}

static const uint8_t *block_of(const uint8_t *of, uint32_t block)
{
	return of + (size_t)block * BLOCK_BYTES;
}

static void flip(uint32_t block, uint32_t bit)
{
	uint8_t bytes[BLOCK_BYTES];

	memcpy(bytes, block_of(image, block), BLOCK_BYTES);
	bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	poke(block, bytes);
}

/* @how: two bits per copy: 0 as it is, 1 flipped, 2 zero, 3 as in the latest snapshot. */
static void damage_copies(uint32_t how)
{
	static const uint8_t zeros[BLOCK_BYTES];

	for (uint32_t b = 0, copy = 0; b < DISK_BLOCKS; b++) {
		uint32_t what;

		if (regions[b] != REGION_SUPER)
			continue;
		what = how >> copy++ * 2 & 3;
		if (what == 1)
			flip(b, 800 + copy);
		else if (what == 2)
			poke(b, zeros);
		else if (what == 3)
			poke(b, block_of(snapshot[1], b));
	}
}

static void apply(const struct damage *d)
{
	static const uint8_t zeros[BLOCK_BYTES];

	switch (d->kind) {
	case FLIP:
		flip(d->block, d->with);
		break;
	case ZERO:
		poke(d->block, zeros);
		break;
	case SWAP:
		poke(d->block, block_of(image, d->with));
		poke(d->with, block_of(image, d->block));
		break;
	case STALE:
		poke(d->block, block_of(snapshot[d->with], d->block));
		break;
	case COPIES:
		damage_copies(d->with);
		break;
	case CUT:
		world_fake_resize(&world, d->bytes);
		break;
	case KINDS:
		break;
	}
}

/* One damaged block can do no more than its region allows. */
static void expect_bounded(const struct damage *d, enum outcome got)
{
	const struct region_info *info = &region_infos[d->region];

	if (d->kind == COPIES || d->kind == CUT)
		return;
	CHECK(!info->harmless || got != REFUSED);
	CHECK(!info->silent || d->kind == SWAP || got == RIGHT);
}

/* It opened: what is wrong must not spread while blocks go to their pages and a checkpoint is
 * written, and must not hide behind either. */
static void go_on(struct life *l)
{
	for (uint32_t c = 1; c <= LIFE_CHAINS; c++)
		life_write(l, c, 0, 20 + c, 3);
	life_rest(l);
	life_close(l);
	l->over = false;
	life_open(l);
	life_verify(l);
	life_close(l);
}

static void damaged_life(struct life *l, const struct damage *d)
{
	world_fake_reset(&world, d->nth);
	life_begin(l, &world.w, NULL);
	memcpy(l->chain, chains, sizeof(chains));
	for (uint32_t c = 1; c <= LIFE_CHAINS; c++)
		memcpy(l->chain[c].ops, ops[c], sizeof(ops[c]));
	memcpy(l->blocks_used, blocks_used, sizeof(blocks_used));
	l->damaged = true;
	/* Two blocks at once may be the last batch and all that proves it. */
	l->end_in_doubt = d->kind == SWAP && d->region == REGION_LOG_HEADER;
	apply(d);
	l->disk.disk.size_bytes = world.disk.disk.size_bytes;
}

/* The same once more, with a neighbour: what is bad is mended, and right without one afterwards.
 * Nobody else has what is pending. */
static void expect_mended(struct life *l, const struct damage *d)
{
	damaged_life(l, d);
	l->neighbour = true;
	life_open(l);
	life_verify(l);
	CHECK(l->read_errors == 0);
	CHECK(l->repaired > 0);
	life_rest(l);
	life_close(l);
	l->neighbour = false;
	life_open(l);
	life_verify(l);
	CHECK(!l->over);
	CHECK(l->read_errors == 0);
	life_close(l);
}

static bool run_case(void *arg, uint64_t n)
{
	const struct damage *d = &cases[n - 1];
	struct life *l = &life;
	enum outcome got;
	bool mendable;

	(void)arg;
	if (n == 0 || n > cases_n)
		return false;
	damaged_life(l, d);
	life_open(l);
	got = l->s ? RIGHT : REFUSED;
	life_verify(l);
	if (got == RIGHT && (l->read_errors || l->pending_errors))
		got = READ_ERROR;
	mendable = l->read_errors > 0 && d->kind != SWAP;
	if (l->s && n % 4 == 0)
		go_on(l);
	life_close(l);
	CHECK(world_fake_quiet(&world));
	expect_bounded(d, got);
	tally->n[d->region][d->kind][got]++;
	if (mendable) {
		expect_mended(l, d);
		tally->mended[d->region][d->kind]++;
	}
	return true;
}

static void name_case(void *arg, uint64_t n, char *to, size_t len)
{
	const struct damage *d = &cases[n - 1];

	(void)arg;
	snprintf(to, len, "--case %llu (%s, %s, block %u, %u)", (unsigned long long)d->nth,
		 region_infos[d->region].name, kind_names[d->kind], d->block, d->with);
}

/* ---- all cases ---- */

static void add(enum kind kind, enum region region, uint32_t block, uint32_t with)
{
	CHECK(cases_n < CASES_MAX);
	cases[cases_n] = (struct damage){kind, region, block, with, 0, cases_n + 1};
	cases_n++;
}

static void add_flips(enum region r, uint32_t block)
{
	for (uint32_t s = 0; s < SECTORS; s++)
		for (uint32_t i = 0; i < FLIPS_PER_SECTOR; i++)
			add(FLIP, r, block,
			    s * SECTOR_BYTES * 8 +
				    (uint32_t)fake_random(&world.fe, SECTOR_BYTES * 8));
	for (uint32_t at = 0; region_infos[r].header && at < HEADER_BYTES; at += 4)
		add(FLIP, r, block, at * 8 + (uint32_t)fake_random(&world.fe, 32));
}

static void add_blocks(enum region r, const uint32_t *blocks, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		add_flips(r, blocks[i]);
		add(ZERO, r, blocks[i], 0);
		for (uint32_t k = 0; k < SNAPSHOTS; k++)
			if (memcmp(block_of(snapshot[k], blocks[i]), block_of(image, blocks[i]),
				   BLOCK_BYTES) != 0)
				add(STALE, r, blocks[i], k);
	}
	for (uint32_t i = 0; n > 1 && i < SWAPS_PER_REGION; i++) {
		uint32_t a = i % n, b = i < n ? (i + 1) % n : (uint32_t)fake_random(&world.fe, n);

		if (a != b)
			add(SWAP, r, blocks[a], blocks[b]);
	}
}

static uint32_t blocks_of(enum region r, uint32_t *to)
{
	uint32_t n = 0;

	for (uint32_t b = 0; b < DISK_BLOCKS; b++)
		if (regions[b] == r)
			to[n++] = b;
	return n;
}

/* Drop most of those that did not change since the first snapshot: what the log's first round left
 * there is not read any more, and one such block is like the other. */
static uint32_t thin_out(uint32_t *blocks, uint32_t n)
{
	uint32_t old = 0, kept = 0, nth;

	for (uint32_t i = 0; i < n; i++)
		old += memcmp(block_of(snapshot[0], blocks[i]), block_of(image, blocks[i]),
			      BLOCK_BYTES) == 0;
	nth = old / OLD_BLOCKS + 1;
	old = 0;
	for (uint32_t i = 0; i < n; i++)
		if (memcmp(block_of(snapshot[0], blocks[i]), block_of(image, blocks[i]),
			   BLOCK_BYTES) != 0 ||
		    old++ % nth == 0)
			blocks[kept++] = blocks[i];
	return kept;
}

static void keep_only(const char *region)
{
	uint64_t kept = 0;

	for (uint64_t i = 0; i < cases_n; i++)
		if (strcmp(region_infos[cases[i].region].name, region) == 0)
			cases[kept++] = cases[i];
	cases_n = kept;
}

static void make_cases(void)
{
	static uint32_t blocks[DISK_BLOCKS];

	cases = malloc(CASES_MAX * sizeof(cases[0]));
	CHECK(cases != NULL);
	for (unsigned r = REGION_SUPER; r < REGIONS; r++) {
		uint32_t n = blocks_of((enum region)r, blocks);

		CHECK(n > 0); /* the image has nothing of this kind */
		add_blocks((enum region)r, blocks, thin_out(blocks, n));
	}
	for (uint32_t i = 0, n = blocks_of(REGION_FREE, blocks); i < FREE_BLOCKS; i++)
		add(FLIP, REGION_FREE, blocks[fake_random(&world.fe, n)],
		    (uint32_t)fake_random(&world.fe, BLOCK_BYTES * 8));
	for (uint32_t how = 1; how < 256; how++)
		add(COPIES, REGION_SUPER, 0, how);
	for (uint64_t bytes = STORE_BYTES_MIN; bytes < DISK_BYTES; bytes += 1u << 20)
		add(CUT, REGION_FREE, 0, 0), cases[cases_n - 1].bytes = bytes;
	add(CUT, REGION_FREE, 0, 0);
	cases[cases_n - 1].bytes = DISK_BYTES - BLOCK_BYTES;
}

/* ---- report ---- */

static void print_table(void)
{
	static uint32_t blocks[DISK_BLOCKS];

	for (unsigned r = 0; r < REGIONS; r++) {
		printf("%s: %u blocks\n", region_infos[r].name, blocks_of((enum region)r, blocks));
		for (unsigned k = 0; k < KINDS; k++) {
			const uint64_t *n = tally->n[r][k];
			uint64_t sum = n[RIGHT] + n[READ_ERROR] + n[REFUSED];

			if (sum)
				printf("  %-6s %6llu: %llu right, %llu errors of reads (%llu "
				       "mended with "
				       "a neighbour), %llu refused\n",
				       kind_names[k], (unsigned long long)sum,
				       (unsigned long long)n[RIGHT],
				       (unsigned long long)n[READ_ERROR],
				       (unsigned long long)tally->mended[r][k],
				       (unsigned long long)n[REFUSED]);
		}
	}
}

int main(int argc, char **argv)
{
	struct runner r = {.program = "damage"};
	struct runner_words w = {.usage = "[--json] [--first] [--only REGION] [--case N]",
				 .one_word = "--case"};
	const struct runner_row all = {run_case, name_case, NULL};

	if (!runner_words(&r, argc, argv, &w))
		return 2;
	tally = runner_shared(sizeof(*tally));
	world_fake_init(&world, DISK_BYTES);
	world_fake_reset(&world, 3);
	life_init(&life);
	make_image();
	make_cases();
	if (w.one) {
		if (!run_case(NULL, strtoull(w.one, NULL, 10)))
			return fprintf(stderr, "damage: there are %llu cases\n",
				       (unsigned long long)cases_n),
			       2;
		print_table();
		return 0;
	}
	if (w.only)
		keep_only(w.only);
	runner_run(&r, &all);
	if (w.json)
		runner_print(&r, true);
	else
		print_table();
	return r.bad || r.points != cases_n || !cases_n;
}
