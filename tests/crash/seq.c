/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/seq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)
#define REST_NS 4000000000ull
#define SECRET 0x5eed5eed5eed5eedull

static const char *const base_names[SEQ_BASES] = {"fresh", "used", "full"};
static const char *const timing_names[SEQ_TIMINGS] = {"burst", "turn", "step"};
static struct seq_start starts[SEQ_BASES];

/* ---- letters ---- */

enum act { ACT_APPEND, ACT_COMMIT, ACT_PASS, ACT_EPOCH, ACT_REOPEN, ACT_KILL, ACT_REGISTER };
struct letter {
	char name;
	enum act act;
	struct world_want want;
};
#define C MODEL_NO_CLIENT
static const struct letter alphabet[] = {
	{'w', ACT_APPEND, {1, OP_WRITE, 0, 5, 1, false, C}},        /* one block */
	{'n', ACT_APPEND, {1, OP_WRITE, 0, 4, 3, false, C}},        /* it and its neighbours */
	{'o', ACT_APPEND, {2, OP_WRITE, 0, 5, 1, false, C}},        /* the same of another chain */
	{'p', ACT_APPEND, {1, OP_WRITE, 0, 0, 16, false, C}},       /* a whole page */
	{'q', ACT_APPEND, {1, OP_WRITE, 0, 3, 17, false, C}},       /* parts of two pages */
	{'l', ACT_APPEND, {2, OP_WRITE, 0, 16, 32, false, C}},      /* two pages, another chain */
	{'m', ACT_APPEND, {1, OP_WRITE, 0, 4, 256, false, C}},      /* 1 MiB, parts of 17 pages */
	{'u', ACT_APPEND, {1, OP_UNMAP, 0, 5, 1, false, C}},        /* one block */
	{'x', ACT_APPEND, {1, OP_UNMAP, 0, 0, 1024, false, C}},     /* the extent */
	{'s', ACT_APPEND, {1, OP_WRITE_SAME, 0, 2, 40, false, C}},  /* parts of three pages */
	{'z', ACT_APPEND, {1, OP_WRITE_SAME, 0, 0, 1024, true, C}}, /* the extent, zeros */
	{'c', ACT_COMMIT, {0}},   /* everything so far, once it is acknowledged */
	{'t', ACT_PASS, {0}},     /* time, until all is at rest */
	{'e', ACT_EPOCH, {1}},    /* a new one */
	{'r', ACT_REOPEN, {0}},   /* closed and opened */
	{'k', ACT_KILL, {0}},     /* the process dies, another opens */
	{'g', ACT_REGISTER, {0}}, /* the superblock is written */
};
#undef C
#define LETTERS ARRAY_LEN(alphabet)

static const struct letter *letter_of(char name)
{
	for (unsigned i = 0; i < LETTERS; i++)
		if (alphabet[i].name == name)
			return &alphabet[i];
	return NULL;
}

static void reopen(struct world *w, bool kill)
{
	if (kill) {
		world_kill(w);
	} else {
		world_quiet(w);
		world_close(w);
	}
	world_open(w);
}

static void act(struct world *w, const struct letter *l)
{
	switch (l->act) {
	case ACT_APPEND:
		world_append_patiently(w, &l->want);
		break;
	case ACT_COMMIT:
		world_quiet(w);
		world_commit_acked(w);
		break;
	case ACT_PASS:
		world_pass(w, REST_NS);
		break;
	case ACT_EPOCH:
		if (!world_epoch(w, l->want.chain))
			world_quiet(w);
		break;
	case ACT_REOPEN:
	case ACT_KILL:
		reopen(w, l->act == ACT_KILL);
		break;
	case ACT_REGISTER:
		world_registered(w);
		break;
	}
}

/* ---- bases ---- */

/* A run of letters as base: what it made, at rest or with something pending. */
static void play(struct world *w, const char *letters)
{
	for (; *letters; letters++) {
		act(w, letter_of(*letters));
		world_quiet(w);
	}
}

static void write_some(struct world *w, const struct world_want *want, uint32_t times)
{
	for (uint32_t i = 0; i < times; i++) {
		world_append_patiently(w, want);
		world_quiet(w);
		world_commit_acked(w);
	}
}

/* The log is written until a quarter of a MiB is left of its region. */
static void near_wrap(struct world *w)
{
	/* No whole page: it goes through the log. */
	static const struct world_want big = {3, OP_WRITE, 1, 1, 15, false, MODEL_NO_CLIENT};
	static const struct world_want small = {3, OP_WRITE, 1, 40, 1, false, MODEL_NO_CLIENT};
	const struct region_map *m = &w->disk.regions;
	uint64_t end = m->end_bytes[REGION_LOG] - MIB / 4;

	while (w->disk.log_end_bytes < end)
		write_some(w, end - w->disk.log_end_bytes > MIB / 2 ? &big : &small, 1);
	world_pass(w, REST_NS);
}

static void use(struct world *w, enum seq_base base)
{
	static const struct world_want session = {1, OP_SESSION, 0, 0, 0, false, 0};
	static const struct world_want fill = {3, OP_WRITE_SAME, 0, 0, 16, false, MODEL_NO_CLIENT};
	struct world_want want = fill;
	const struct world_want pending = {2, OP_WRITE, 0, 4, 3, false, MODEL_NO_CLIENT};

	world_append_patiently(w, &session);
	play(w, "eqloct");
	near_wrap(w);
	for (; base == SEQ_FULL && want.block < EXTENT_BLOCKS; want.block += PAGE_BLOCKS)
		write_some(w, &want, 1);
	for (want.extent = 1, want.block = 64; base == SEQ_FULL && want.block < EXTENT_BLOCKS;
	     want.block += PAGE_BLOCKS)
		write_some(w, &want, 1);
	world_pass(w, REST_NS);
	play(w, "nc");
	world_append_patiently(w, &pending);
	world_quiet(w);
	reopen(w, false); /* what is committed is proven now: the model's base */
	world_close(w);
}

struct making {
	struct hunt *h;
	enum seq_base base;
};

static void make_base(void *arg)
{
	struct making *k = arg;
	struct world *w = &k->h->w;
	struct seq_start *s = &starts[k->base];
	struct record *rec = &k->h->level[0].rec;
	static struct image nothing;
	static struct model none;

	model_init(&none);
	w->disk.shuffle = false;
	image_init(&nothing, (uint32_t)(s->disk.disk_bytes / BLOCK_BYTES));
	world_boot(w, &nothing, &none, rec, 1);
	CHECK(world_format(w, &s->disk) == 0);
	if (k->base != SEQ_FRESH) {
		world_open(w);
		use(w, k->base);
	}
	image_copy(&s->image, &w->disk.now);
	model_copy(&s->model, &w->model);
}

/* The bases' blocks lie together then, and nothing else is in the heap. */
static void pack(struct world *w)
{
	struct heap heap;

	heap_init(&heap, w->heap.len_bytes);
	for (unsigned i = 0; i < SEQ_BASES; i++)
		image_move(&starts[i].image, &heap);
	heap_fini(&w->heap);
	w->heap = heap;
}

bool seq_init(struct hunt *h)
{
	for (unsigned i = 0; i < SEQ_BASES; i++) {
		struct making k = {.h = h, .base = (enum seq_base)i};

		starts[i].disk =
			(struct world_disk){.disk_bytes = i == SEQ_FULL ? 12 * MIB : 16 * MIB,
					    .log_bytes = MIB,
					    .secret = SECRET};
		snprintf(h->run, sizeof(h->run), "seq:%s", base_names[i]);
		if (!hunt_record(h, make_base, &k))
			return false;
	}
	pack(&h->w);
	return true;
}

/* ---- names and numbers ---- */

static const struct setting {
	enum seq_base base;
	enum seq_timing timing;
} settings[] = {
	{SEQ_USED, SEQ_STEP},  {SEQ_USED, SEQ_BURST},  {SEQ_USED, SEQ_TURN}, {SEQ_FRESH, SEQ_TURN},
	{SEQ_FULL, SEQ_BURST}, /* sequences of three have these five */
	{SEQ_FRESH, SEQ_STEP}, {SEQ_FRESH, SEQ_BURST}, {SEQ_FULL, SEQ_TURN}, {SEQ_FULL, SEQ_STEP},
};
#define SETTINGS_OF_LONG 5u

static uint64_t settings_of(unsigned length)
{
	return length < SEQ_LENGTH_MAX ? ARRAY_LEN(settings) : SETTINGS_OF_LONG;
}

uint64_t seq_count(unsigned length)
{
	uint64_t n = settings_of(length);

	for (unsigned i = 0; i < length; i++)
		n *= LETTERS;
	return n;
}

void seq_nth(unsigned length, uint64_t i, struct seq *ret)
{
	const struct setting *s = &settings[i % settings_of(length)];

	*ret = (struct seq){.base = s->base, .timing = s->timing};
	i /= settings_of(length);
	for (unsigned k = 0; k < length; k++, i /= LETTERS)
		ret->letters[k] = alphabet[i % LETTERS].name;
}

void seq_print(const struct seq *q, char *to, size_t len_bytes)
{
	snprintf(to, len_bytes, "seq:%s:%s:%s", base_names[q->base], timing_names[q->timing],
		 q->letters);
}

static bool parse_name(const char **s, const char *const *names, unsigned n, unsigned *ret)
{
	for (unsigned i = 0; i < n; i++) {
		size_t len = strlen(names[i]);

		if (strncmp(*s, names[i], len) != 0 || (*s)[len] != ':')
			continue;
		*s += len + 1;
		*ret = i;
		return true;
	}
	return false;
}

bool seq_parse(const char *s, struct seq *ret)
{
	unsigned base, timing, n = 0;

	if (strncmp(s, "seq:", 4) != 0)
		return false;
	s += 4;
	if (!parse_name(&s, base_names, SEQ_BASES, &base) ||
	    !parse_name(&s, timing_names, SEQ_TIMINGS, &timing))
		return false;
	*ret = (struct seq){.base = (enum seq_base)base, .timing = (enum seq_timing)timing};
	for (; *s && *s != '@'; s++) {
		if (n == SEQ_LENGTH_MAX || !letter_of(*s))
			return false;
		ret->letters[n++] = *s;
	}
	return true;
}

/* ---- runs ---- */

struct playing {
	struct hunt *h;
	const struct seq *q;
	uint32_t from;
};

static void play_seq(void *arg)
{
	struct playing *p = arg;
	struct world *w = &p->h->w;
	const struct seq_start *s = &starts[p->q->base];
	const char *at = p->q->letters;

	w->disk.shuffle = p->q->timing == SEQ_BURST;
	world_set_disk(w, &s->disk);
	world_boot(w, &s->image, &s->model, &p->h->level[0].rec, 1);
	p->from = 0;
	world_open(w);
	for (; *at; at++) {
		p->from = p->h->level[0].rec.events_n;
		act(w, letter_of(*at));
		if (p->q->timing == SEQ_STEP)
			world_quiet(w);
		if (p->q->timing == SEQ_TURN)
			world_step(w);
	}
	world_quiet(w);
	world_pass(w, REST_NS);
	world_commit_acked(w);
	world_pass(w, REST_NS);
	world_close(w);
}

uint32_t seq_record(struct hunt *h, const struct seq *q)
{
	struct playing p = {.h = h, .q = q};
	struct hunt_level *l = &h->level[0];

	seq_print(q, h->run, sizeof(h->run));
	if (!hunt_record(h, play_seq, &p))
		return RECORD_NEVER;
	scope_init(&l->scope, 4);
	scope_content(&l->scope, &l->rec.start_model, 1);
	scope_content(&l->scope, &l->rec.start_model, 2);
	scope_recent(&l->scope, &l->rec.start_model, &l->rec);
	return p.from;
}

void seq_run(struct hunt *h, const struct seq *q)
{
	size_t mark_bytes = h->w.heap.used_bytes;
	uint32_t from = seq_record(h, q);

	if (from != RECORD_NEVER) {
		hunt_begin(h, 0);
		hunt_every_cut(h, 0, from);
	}
	heap_release(&h->w.heap, mark_bytes);
}
