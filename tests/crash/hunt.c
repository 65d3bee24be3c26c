/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/hunt.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/crash/fault.h"

#define PICKS_WHOLE 12u /* with more open writes than this, so many one and but are chosen */
#define REST_NS 4000000000ull

void hunt_init(struct hunt *h, uint64_t disk_bytes_max)
{
	world_init(&h->w, disk_bytes_max);
	for (unsigned i = 0; i < ARRAY_LEN(h->spare); i++)
		heap_init(&h->spare[i], h->w.heap.len_bytes);
	for (unsigned i = 0; i < HUNT_LEVELS; i++) {
		record_init(&h->level[i].rec);
		seen_init(&h->level[i].seen);
	}
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool hunt_enough(const struct hunt *h)
{
	struct tally *t = h->tally;

	if (t->deadline_ns && clock_ns() >= t->deadline_ns)
		atomic_store(&t->enough, true);
	return atomic_load(&t->enough);
}

/* ---- names ---- */

struct place { /* of a state */
	unsigned level;
	const struct pick *pick;
};

/* T2. The picks of the levels above are those their cuts are at. */
static void name_of(const struct hunt *h, const struct place *at, char *to, size_t len_bytes)
{
	int n = snprintf(to, len_bytes, "%s", h->run);

	for (unsigned i = 0; at->pick && i <= at->level; i++) {
		const struct pick *p = i == at->level ? at->pick : &h->above;
		char pick[16];

		pick_print(p, pick, sizeof(pick));
		n += snprintf(to + n, len_bytes - (size_t)n, "%c%u:%s", i ? '/' : '@',
			      h->level[i].cut.at, pick);
	}
}

static void bad(struct hunt *h, const struct place *at)
{
	char name[HUNT_RUN_BYTES + 64];

	name_of(h, at, name, sizeof(name));
	fprintf(stderr, "BAD: ./dev crash --replay '%s'%s%s\n", name,
		h->w.disk.plant ? " --plant " : "", h->w.disk.plant ? h->w.disk.plant->name : "");
	if (atomic_fetch_add(&h->tally->bad, 1) + 1 >= h->tally->bad_max)
		atomic_store(&h->tally->enough, true);
}

bool hunt_record(struct hunt *h, void (*fn)(void *arg), void *arg)
{
	const struct place nowhere = {.pick = NULL};
	bool good = fault_guard(fn, arg);

	if (!good)
		bad(h, &nowhere);
	else
		atomic_fetch_add(&h->tally->sequences, 1);
	return good;
}

void hunt_begin(struct hunt *h, unsigned level)
{
	struct hunt_level *l = &h->level[level];

	cut_init(&l->cut, &l->rec, &h->w.heap);
	seen_clear(&l->seen);
}

/* ---- one state ---- */

struct trial {
	struct hunt *h;
	struct hunt_level *l;
	const struct seen_entry *seen;
};

static void recover(void *arg)
{
	struct trial *t = arg;
	struct world *w = &t->h->w;
	struct seen_entry *e;

	world_boot(w, &t->l->image, &t->l->cut.model, NULL, t->l->image.sum);
	world_open(w);
	check_store(w, &t->l->scope);
	e = seen_add(&t->l->seen, t->l->image.sum);
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++)
		e->found[i] =
			(struct store_chain_info){.chain = i,
						  .epoch = w->model.chain[i].epoch_acked,
						  .history = w->model.chain[i].epoch_acked * 3,
						  .last = w->model.chain[i].acked,
						  .committed = w->model.chain[i].committed};
}

static void expect_still_allowed(void *arg)
{
	struct trial *t = arg;

	for (uint32_t i = 1; i <= MODEL_CHAINS; i++)
		model_expect_found(&t->l->cut.model, &t->seen->found[i]);
}

/* What a store does after a crash: everything. Recorded in the level below. */
static void go_on(void *arg)
{
	static const struct world_want wants[] = {
		{1, OP_WRITE, 0, 5, 1, false, MODEL_NO_CLIENT},
		{1, OP_WRITE, 0, 14, 17, false, MODEL_NO_CLIENT},
		{2, OP_WRITE, 1, 3, 2, false, MODEL_NO_CLIENT},
		{2, OP_UNMAP, 0, 4, 2, false, MODEL_NO_CLIENT},
		{3, OP_WRITE_SAME, 0, 8, 20, false, MODEL_NO_CLIENT},
	};
	struct trial *t = arg;
	struct world *w = &t->h->w;
	struct record *rec = &t->h->level[1].rec;

	world_boot(w, &t->l->image, &t->l->cut.model, rec, t->l->image.sum);
	world_open(w);
	for (unsigned i = 0; i < ARRAY_LEN(wants); i++)
		world_append_patiently(w, &wants[i]);
	world_quiet(w);
	world_commit_acked(w);
	world_pass(w, REST_NS);
	world_close(w);
	world_open(w);
	scope_init(&t->h->level[1].scope, t->l->scope.sample_n);
	scope_recent(&t->h->level[1].scope, &rec->start_model, rec);
	check_store(w, &t->h->level[1].scope);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

/* Where the store that went on was open: from there on a cut is like any other. */
static uint32_t opened_at(const struct record *r)
{
	uint32_t i = 0;

	while (i < r->marks_n && r->mark[i].kind != MARK_OPENED)
		i++;
	return i < r->marks_n ? r->mark_at[i] : r->events_n;
}

/* Every cut of the recovery, some of the rest. */
static void cut_below(struct hunt *h, uint64_t seed)
{
	const struct record *rec = &h->level[1].rec;
	uint32_t opened = opened_at(rec), rest = rec->events_n - opened + 1;

	hunt_begin(h, 1);
	for (uint32_t at = 0; at <= rec->events_n && !hunt_enough(h); at++) {
		struct pick p = {.kind = PICK_TORN, .n = 1};

		seed = mix(seed + at);
		if (at > opened && h->deep_cuts && seed % rest >= h->deep_cuts)
			continue;
		hunt_state(h, 1, at, &p);
		p.kind = (seed >> 32 & 1) ? PICK_ONE : PICK_ALL;
		p.n = 0;
		hunt_state(h, 1, at, &p);
	}
}

static bool deep(const struct hunt *h, uint64_t sum)
{
	return h->replaying || (h->deep_one_in && mix(sum) % h->deep_one_in == 0);
}

static void count(struct hunt *h, uint64_t sum)
{
	struct tally *t = h->tally;

	if (h->known && !known_add(h->known, sum))
		return;
	if (h->is_life)
		atomic_fetch_add(&t->life_states, 1);
	if (atomic_fetch_add(&t->states, 1) + 1 >= t->states_max)
		atomic_store(&t->enough, true);
}

static bool first_time(struct hunt *h, struct trial *t, const struct place *at)
{
	count(h, t->l->image.sum);
	if (!fault_guard(recover, t)) {
		seen_add(&t->l->seen, t->l->image.sum)->bad = true;
		bad(h, at);
		return false;
	}
	if (at->level > 0 || !deep(h, t->l->image.sum))
		return true;
	h->above = *at->pick;
	if (!fault_guard(go_on, t)) {
		bad(h, at);
		return false;
	}
	cut_below(h, t->l->image.sum);
	return true;
}

bool hunt_state(struct hunt *h, unsigned level, uint32_t cut_at, const struct pick *p)
{
	struct hunt_level *l = &h->level[level];
	struct trial t = {.h = h, .l = l};
	const struct place at = {.level = level, .pick = p};
	size_t mark_bytes;
	bool good;

	cut_advance(&l->cut, cut_at);
	mark_bytes = h->w.heap.used_bytes;
	cut_image(&l->cut, p, &l->image);
	t.seen = seen_find(&l->seen, l->image.sum);
	if (!t.seen) {
		good = first_time(h, &t, &at);
	} else {
		good = t.seen->bad || fault_guard(expect_still_allowed, &t);
		if (!good)
			bad(h, &at);
	}
	heap_release(&h->w.heap, mark_bytes);
	return good;
}

bool hunt_descend(struct hunt *h, uint32_t at, const struct pick *p)
{
	struct hunt_level *l = &h->level[0];
	struct trial t = {.h = h, .l = l};

	cut_advance(&l->cut, at);
	cut_image(&l->cut, p, &l->image);
	h->above = *p;
	if (!fault_guard(go_on, &t))
		return false;
	hunt_begin(h, 1);
	return true;
}

/* ---- all states of a record ---- */

/* Each open write alone and each missing; of many only some. */
static void singles(struct hunt *h, unsigned level, uint32_t at, enum pick_kind kind)
{
	uint32_t n = h->level[level].cut.open_n;

	for (uint32_t i = 0; i < MIN(n, PICKS_WHOLE) && n > 1 && !hunt_enough(h); i++) {
		struct pick p = {.kind = kind, .n = i};

		if (n > PICKS_WHOLE)
			p.n = (uint32_t)(mix(at * 2654435761u + i) % n);
		hunt_state(h, level, at, &p);
	}
}

void hunt_every_cut(struct hunt *h, unsigned level, uint32_t from)
{
	struct hunt_level *l = &h->level[level];

	for (uint32_t at = from; at <= l->rec.events_n && !hunt_enough(h); at++) {
		struct pick p = {.kind = PICK_NONE};

		hunt_state(h, level, at, &p);
		if (l->cut.open_n == 0)
			continue;
		p.kind = PICK_ALL;
		hunt_state(h, level, at, &p);
		singles(h, level, at, PICK_ONE);
		singles(h, level, at, PICK_BUT);
		p.kind = PICK_TORN;
		for (p.n = 1; p.n <= h->torn_n && !hunt_enough(h); p.n++)
			hunt_state(h, level, at, &p);
	}
}
