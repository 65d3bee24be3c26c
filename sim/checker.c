/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/checker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry { /* one operation's part in one cluster */
	uint64_t value, inv, ret;
	uint64_t peer; /* of an RMW: the other value */
	uint32_t reg;
	bool write, rmw, not ;
};

struct cluster {
	uint64_t value;
	uint64_t lo, hi; /* least return, greatest invocation */
	uint64_t write_inv;
	uint64_t consumed; /* RMW write: the value before; meaningful when glued */
	uint64_t first_read_ret;
	bool written, glued; /* glued: written by an RMW */
	bool seen;           /* somebody read it, or an RMW that happened consumed it */
	bool dropped;        /* an RMW of unknown outcome that nobody saw: it did not happen */
	bool absorbed;       /* part of a row headed by another cluster */
	int64_t next;        /* cluster of the RMW that consumed this value, or -1 */
};

struct zone {
	uint64_t lo, hi, value;
};

struct checker {
	struct checker_verdict *v;
	struct entry *entries;
	size_t entries_n;
	struct cluster *clusters; /* of one register, by value */
	size_t clusters_n;
	struct zone *forward, *backward;
	size_t forward_n, backward_n;
	uint32_t reg;
};

static void violation(struct checker *c, const char *what, uint64_t a, uint64_t b)
{
	if (!c->v->violations++) {
		c->v->reg = c->reg;
		snprintf(c->v->text, sizeof(c->v->text),
			 "register %u: %s (values %#" PRIx64 ", %#" PRIx64 ")", c->reg, what, a, b);
	}
}

static int entry_cmp(const void *x, const void *y)
{
	const struct entry *a = x, *b = y;

	if (a->reg != b->reg)
		return a->reg < b->reg ? -1 : 1;
	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	return a->inv < b->inv ? -1 : a->inv > b->inv;
}

static int zone_cmp(const void *x, const void *y)
{
	const struct zone *a = x, *b = y;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

static struct cluster *cluster_find(struct checker *c, uint64_t value)
{
	size_t lo = 0, hi = c->clusters_n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->clusters[mid].value < value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->clusters_n && c->clusters[lo].value == value ? &c->clusters[lo] : NULL;
}

static struct cluster *cluster_new(struct checker *c, uint64_t value)
{
	struct cluster *k = &c->clusters[c->clusters_n++];

	memset(k, 0, sizeof(*k));
	k->value = value;
	k->lo = k->first_read_ret = HIST_NEVER;
	k->next = -1;
	if (value == 0) {
		k->written = true;
		k->lo = 0;
	}
	c->v->clusters++;
	return k;
}

static void cluster_add(struct checker *c, struct cluster *k, const struct entry *e)
{
	k->lo = MIN(k->lo, e->ret);
	k->hi = MAX(k->hi, e->inv);
	if (!e->write) {
		k->first_read_ret = MIN(k->first_read_ret, e->ret);
		k->seen = true;
		return;
	}
	if (k->written)
		violation(c, "a value was written twice: the workload is broken", e->value, 0);
	k->written = true;
	k->write_inv = e->inv;
	if (e->rmw) {
		k->glued = true;
		k->consumed = e->peer;
	}
}

/* Entries [from, to) are one register's, by value. */
static void make_clusters(struct checker *c, size_t from, size_t to)
{
	struct cluster *k = NULL;

	c->clusters_n = 0;
	for (size_t i = from; i < to; i++) {
		const struct entry *e = &c->entries[i];

		if (!k || k->value != e->value)
			k = cluster_new(c, e->value);
		/* The read half of an RMW nobody saw must not count: decided in drop_unseen(). */
		if (!e->not &&!(e->rmw && !e->write && e->ret == HIST_NEVER))
			cluster_add(c, k, e);
	}
}

/* An RMW of unknown outcome happened if and only if somebody saw what it wrote: a read, or another
 * RMW that happened. */
static void drop_unseen(struct checker *c, size_t from, size_t to)
{
	bool again = true;

	while (again) {
		again = false;
		for (size_t i = from; i < to; i++) {
			const struct entry *e = &c->entries[i];
			struct cluster *k, *before;

			if (!e->rmw || !e->write || e->ret != HIST_NEVER)
				continue;
			k = cluster_find(c, e->value);
			before = cluster_find(c, e->peer);
			k->dropped = !k->seen;
			if (k->dropped)
				continue;
			again |= !before->seen;
			before->seen = true;
			before->hi = MAX(before->hi, e->inv);
		}
	}
}

static void check_sources(struct checker *c)
{
	for (size_t i = 0; i < c->clusters_n; i++) {
		struct cluster *k = &c->clusters[i];

		if (!k->written && !k->seen)
			k->dropped = true; /* named only by an RMW that did not happen */
		else if (!k->written)
			violation(c, "a read returned a value nobody wrote", k->value, 0);
		else if (k->first_read_ret < k->write_inv)
			violation(c, "a read returned before its write was invoked", k->value, 0);
	}
}

static void glue(struct checker *c)
{
	for (size_t i = 0; i < c->clusters_n; i++) {
		struct cluster *k = &c->clusters[i], *before;

		if (!k->glued || k->dropped)
			continue;
		before = cluster_find(c, k->consumed);
		CHECK(before);
		if (before->next >= 0) {
			violation(c, "two compare-and-writes consumed the same value", k->value,
				  c->clusters[before->next].value);
			continue;
		}
		before->next = (int64_t)i;
		k->absorbed = true;
	}
}

static void add_zone(struct checker *c, uint64_t lo, uint64_t hi, uint64_t value)
{
	if (lo < hi)
		c->forward[c->forward_n++] = (struct zone){lo, hi, value};
	else
		c->backward[c->backward_n++] = (struct zone){hi, lo, value};
}

static void make_zones(struct checker *c)
{
	size_t seen = 0, live = 0;

	c->forward_n = c->backward_n = 0;
	for (size_t i = 0; i < c->clusters_n; i++) {
		struct cluster *k = &c->clusters[i];
		uint64_t lo = k->lo, hi = k->hi;

		live += !k->dropped;
		if (k->dropped || k->absorbed)
			continue;
		for (seen++; k->next >= 0; seen++) {
			k = &c->clusters[k->next];
			if (k->lo < hi)
				violation(c,
					  "an operation on a later value returned before one on "
					  "the value it replaced was invoked",
					  k->value, k->consumed);
			lo = MIN(lo, k->lo);
			hi = MAX(hi, k->hi);
		}
		add_zone(c, lo, hi, c->clusters[i].value);
	}
	if (seen != live)
		violation(c, "compare-and-writes consume each other in a circle", 0, 0);
}

static void check_zones(struct checker *c)
{
	struct zone *f = c->forward;

	qsort(f, c->forward_n, sizeof(*f), zone_cmp);
	for (size_t i = 1; i < c->forward_n; i++)
		if (f[i].lo < f[i - 1].hi)
			violation(c,
				  "two values must both hold at the same time (forward zones "
				  "overlap)",
				  f[i - 1].value, f[i].value);
	for (size_t i = 0; i < c->backward_n; i++) {
		const struct zone *b = &c->backward[i];
		size_t lo = 0, hi = c->forward_n;

		while (lo < hi) { /* the last forward zone that began before b */
			size_t mid = (lo + hi) / 2;

			if (f[mid].lo < b->lo)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo > 0 && b->hi < f[lo - 1].hi)
			violation(c,
				  "a value came and went while another must hold (backward zone "
				  "inside a forward zone)",
				  b->value, f[lo - 1].value);
	}
}

static void check_nots(struct checker *c, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		const struct entry *e = &c->entries[i];
		const struct cluster *k = e->not ? cluster_find(c, e->value) : NULL;

		if (k && !k->dropped && k->lo < e->inv && e->ret < k->hi)
			violation(c, "a compare failed while the value must hold", e->value, 0);
	}
}

static void check_register(struct checker *c, size_t from, size_t to)
{
	uint64_t before = c->v->violations;

	c->reg = c->entries[from].reg;
	c->v->registers++;
	make_clusters(c, from, to);
	drop_unseen(c, from, to);
	check_sources(c);
	if (c->v->violations != before)
		return;
	glue(c);
	make_zones(c);
	if (c->v->violations == before)
		check_zones(c);
	check_nots(c, from, to);
}

static void fill_entries(struct checker *c, const struct hist_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct hist_op *op = &ops[i];
		struct entry e = {.value = op->value,
				  .inv = op->inv,
				  .ret = op->ret,
				  .reg = op->reg,
				  .write = op->kind == HIST_WRITE || op->kind == HIST_RMW,
				  .not = op->kind == HIST_NOT,
				  .rmw = op->kind == HIST_RMW,
				  .peer = op->from};

		CHECK(op->inv > 0);
		CHECK(op->inv < op->ret);
		c->entries[c->entries_n++] = e;
		if (op->kind == HIST_RMW) {
			e.value = op->from;
			e.peer = op->value;
			e.write = false;
			c->entries[c->entries_n++] = e;
		}
	}
	qsort(c->entries, c->entries_n, sizeof(struct entry), entry_cmp);
}

static size_t longest_register(const struct checker *c)
{
	size_t longest = 0, from = 0;

	for (size_t i = 1; i <= c->entries_n; i++) {
		if (i < c->entries_n && c->entries[i].reg == c->entries[from].reg)
			continue;
		longest = MAX(longest, i - from);
		from = i;
	}
	return longest;
}

void checker_run(const struct hist_op *ops, size_t n, struct checker_verdict *ret)
{
	struct checker c = {.v = ret};
	size_t from = 0, longest;

	memset(ret, 0, sizeof(*ret));
	if (!n)
		return;
	c.entries = calloc(2 * n, sizeof(struct entry));
	CHECK(c.entries);
	fill_entries(&c, ops, n);
	longest = longest_register(&c);
	c.clusters = calloc(longest, sizeof(struct cluster));
	c.forward = calloc(longest, sizeof(struct zone));
	c.backward = calloc(longest, sizeof(struct zone));
	CHECK(c.clusters && c.forward && c.backward);
	for (size_t i = 1; i <= c.entries_n; i++) {
		if (i < c.entries_n && c.entries[i].reg == c.entries[from].reg)
			continue;
		check_register(&c, from, i);
		from = i;
	}
	free(c.entries);
	free(c.clusters);
	free(c.forward);
	free(c.backward);
}
