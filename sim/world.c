/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/net.h"

/* ---- memory ---- */

void *sim_map(size_t len_bytes)
{
	void *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(mem != MAP_FAILED);
	return mem;
}

void sim_unmap(void *mem, size_t len_bytes)
{
	if (mem)
		munmap(mem, len_bytes);
}

/* ---- events ---- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void heap_put(struct world *w, uint32_t i, struct sim_event *ev)
{
	w->heap[i] = ev;
	ev->pos = i + 1;
}

static void heap_up(struct world *w, uint32_t i)
{
	struct sim_event *ev = w->heap[i];

	while (i > 0 && event_before(ev, w->heap[(i - 1) / 2])) {
		heap_put(w, i, w->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(w, i, ev);
}

static void heap_down(struct world *w, uint32_t i)
{
	struct sim_event *ev = w->heap[i];

	for (;;) {
		uint32_t kid = 2 * i + 1;

		if (kid >= w->heap_n)
			break;
		if (kid + 1 < w->heap_n && event_before(w->heap[kid + 1], w->heap[kid]))
			kid++;
		if (!event_before(w->heap[kid], ev))
			break;
		heap_put(w, i, w->heap[kid]);
		i = kid;
	}
	heap_put(w, i, ev);
}

void world_cancel(struct world *w, struct sim_event *ev)
{
	uint32_t i = ev->pos - 1;
	struct sim_event *last;

	if (!ev->pos)
		return;
	CHECK(w->heap[i] == ev);
	last = w->heap[--w->heap_n];
	ev->pos = 0;
	if (last == ev)
		return;
	heap_put(w, i, last);
	heap_up(w, i);
	heap_down(w, last->pos - 1);
}

static void heap_push(struct world *w, struct sim_event *ev)
{
	if (w->heap_n == w->heap_cap) {
		w->heap_cap = MAX(1024u, 2 * w->heap_cap);
		w->heap = realloc(w->heap, w->heap_cap * sizeof(struct sim_event *));
		CHECK(w->heap);
	}
	w->heap_n++;
	heap_put(w, w->heap_n - 1, ev);
	heap_up(w, w->heap_n - 1);
}

void world_at(struct world *w, struct sim_event *ev, uint64_t at_ns)
{
	CHECK(ev->fire);
	world_cancel(w, ev);
	ev->at_ns = MAX(at_ns, w->now_ns);
	ev->order = ++w->order;
	heap_push(w, ev);
}

bool world_step(struct world *w)
{
	struct sim_event *ev;

	if (!w->heap_n)
		return false;
	ev = w->heap[0];
	world_cancel(w, ev);
	CHECK(ev->at_ns >= w->now_ns);
	w->now_ns = ev->at_ns;
	w->events++;
	w->hash = rng_mix(w->hash ^ ev->at_ns ^ (ev->order << 1) ^ w->rng.s[0]);
	ev->fire(ev);
	return true;
}

void world_init(struct world *w, uint64_t seed, int verbose)
{
	memset(w, 0, sizeof(*w));
	rng_init(&w->rng, seed);
	w->now_ns = SEC;
	w->hash = seed;
	w->verbose = verbose;
	w->turn_max_ns = 20 * US;
}

void world_fini(struct world *w)
{
	free(w->heap);
	w->heap = NULL;
	w->heap_n = w->heap_cap = 0;
}

void world_violation(struct world *w, const char *fmt, ...)
{
	char text[480];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!w->violations++)
		snprintf(w->first_violation, sizeof(w->first_violation), "%s", text);
	if (w->verbose)
		fprintf(stderr, "%12.6f VIOLATION %s\n", (double)w->now_ns / 1e9, text);
}

void world_trace(struct world *w, const struct proc *p, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!w->verbose)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%12.6f %-6s %s\n", (double)w->now_ns / 1e9, p ? p->name : "-", text);
}

/* ---- the env of one process ---- */

static uint64_t clock_at(const struct proc *p, uint64_t world_ns)
{
	int64_t ran = (int64_t)(world_ns - p->clock_zero_ns);

	return p->clock_base_ns + (uint64_t)(ran + ran / 1000000 * p->clock_ppm);
}

/* The first world time at which @p's clock shows at least @at_ns. */
static uint64_t clock_reaches(const struct proc *p, uint64_t at_ns)
{
	uint64_t ran, t;

	if (at_ns <= clock_at(p, p->w->now_ns))
		return p->w->now_ns;
	if (at_ns - p->clock_base_ns > 1000000 * SEC)
		return p->w->now_ns + 1000000 * SEC;
	ran = at_ns - p->clock_base_ns;
	t = p->clock_zero_ns + (uint64_t)((double)ran * (1e6 / (1e6 + (double)p->clock_ppm)));
	while (clock_at(p, t) < at_ns)
		t += MAX((uint64_t)1, (at_ns - clock_at(p, t)) * 9 / 10);
	return t;
}

static uint64_t env_now(struct env *e)
{
	struct proc *p = proc_of(e);

	return clock_at(p, p->w->now_ns);
}

static uint64_t env_random(struct env *e)
{
	return rng_u64(&proc_of(e)->w->rng);
}

static void timer_put(struct proc *p, uint32_t i, struct env_timer *t)
{
	p->timers[i] = t;
	t->heap_pos = i;
}

static void timer_up(struct proc *p, uint32_t i)
{
	struct env_timer *t = p->timers[i];

	while (i > 0 && t->at_ns < p->timers[(i - 1) / 2]->at_ns) {
		timer_put(p, i, p->timers[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	timer_put(p, i, t);
}

static void timer_down(struct proc *p, uint32_t i)
{
	struct env_timer *t = p->timers[i];

	for (;;) {
		uint32_t kid = 2 * i + 1;

		if (kid >= p->timers_n)
			break;
		if (kid + 1 < p->timers_n && p->timers[kid + 1]->at_ns < p->timers[kid]->at_ns)
			kid++;
		if (p->timers[kid]->at_ns >= t->at_ns)
			break;
		timer_put(p, i, p->timers[kid]);
		i = kid;
	}
	timer_put(p, i, t);
}

static void timers_schedule(struct proc *p)
{
	uint64_t at;

	if (!p->timers_n) {
		world_cancel(p->w, &p->timer_ev);
		return;
	}
	at = clock_reaches(p, p->timers[0]->at_ns);
	if (!p->timer_ev.pos || p->timer_ev.at_ns != at)
		world_at(p->w, &p->timer_ev, at);
}

static void timer_remove(struct proc *p, struct env_timer *t)
{
	uint32_t i = t->heap_pos;
	struct env_timer *last = p->timers[--p->timers_n];

	t->armed = false;
	if (last == t)
		return;
	timer_put(p, i, last);
	timer_up(p, i);
	timer_down(p, last->heap_pos);
}

static void env_timer_arm(struct env *e, struct env_timer *t, uint64_t at_ns)
{
	struct proc *p = proc_of(e);

	if (t->armed)
		timer_remove(p, t);
	if (p->timers_n == p->timers_cap) {
		p->timers_cap = MAX(64u, 2 * p->timers_cap);
		p->timers = realloc(p->timers, p->timers_cap * sizeof(struct env_timer *));
		CHECK(p->timers);
	}
	t->at_ns = at_ns;
	t->armed = true;
	p->timers_n++;
	timer_put(p, p->timers_n - 1, t);
	timer_up(p, p->timers_n - 1);
	timers_schedule(p);
}

static void env_timer_cancel(struct env *e, struct env_timer *t)
{
	if (!t->armed)
		return;
	timer_remove(proc_of(e), t);
	timers_schedule(proc_of(e));
}

static void timer_fire(struct sim_event *ev)
{
	struct proc *p = CONTAINER_OF(ev, struct proc, timer_ev);
	struct env_timer *t;

	if (proc_hold(p, ev))
		return;
	CHECK(p->timers_n);
	t = p->timers[0];
	CHECK(t->at_ns <= env_now(&p->env));
	timer_remove(p, t);
	timers_schedule(p);
	t->fn(t);
	proc_ran(p);
}

static void env_defer(struct env *e, struct env_task *t)
{
	struct proc *p = proc_of(e);

	if (t->queued)
		return;
	t->queued = true;
	list_add_tail(&p->tasks, &t->link);
	if (!p->turn_ev.pos)
		world_at(p->w, &p->turn_ev,
			 p->w->now_ns + rng_below(&p->w->rng, p->w->turn_max_ns));
}

static void turn_fire(struct sim_event *ev)
{
	struct proc *p = CONTAINER_OF(ev, struct proc, turn_ev);
	struct list *it;

	if (proc_hold(p, ev))
		return;
	while ((it = list_pop(&p->tasks))) {
		struct env_task *t = CONTAINER_OF(it, struct env_task, link);

		t->queued = false;
		t->fn(t);
		if (!p->up) /* the actor ended its own process */
			return;
	}
	proc_ran(p);
}

static void env_log(struct env *e, int level, const char *line)
{
	struct proc *p = proc_of(e);

	if (p->w->verbose)
		fprintf(stderr, "%12.6f %-6s <%d> %s\n", (double)p->w->now_ns / 1e9, p->name, level,
			line);
}

/* ---- processes ---- */

void proc_init(struct proc *p, struct world *w, const char *name, const char *addr)
{
	memset(p, 0, sizeof(*p));
	CHECK(w->procs_n < WORLD_PROCS_MAX);
	p->w = w;
	p->index = w->procs_n;
	w->procs[w->procs_n++] = p;
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->addr, sizeof(p->addr), "%s", addr);
	list_init(&p->tasks);
	list_init(&p->conns);
	p->timer_ev.fire = timer_fire;
	p->turn_ev.fire = turn_fire;
	p->env.now_ns = env_now;
	p->env.random_u64 = env_random;
	p->env.timer_arm = env_timer_arm;
	p->env.timer_cancel = env_timer_cancel;
	p->env.defer = env_defer;
	p->env.log = env_log;
	net_fill_env(&p->env);
}

void proc_fini(struct proc *p)
{
	if (p->up)
		proc_stop(p);
	free(p->timers);
	p->timers = NULL;
}

void proc_start(struct proc *p, size_t memory_bytes)
{
	struct rng *r = &p->w->rng;

	CHECK(!p->up);
	p->up = true;
	p->incarnations++;
	p->paused_until_ns = 0;
	p->clock_zero_ns = p->w->now_ns;
	p->clock_base_ns = rng_range(r, 1, 1000 * SEC);
	p->clock_ppm = (int64_t)rng_below(r, 1001) - 500;
	list_init(&p->tasks);
	p->timers_n = 0;
	arena_init(&p->arena, sim_map(memory_bytes), memory_bytes);
}

void proc_stop(struct proc *p)
{
	CHECK(p->up);
	CHECK(list_empty(&p->conns));
	p->up = false;
	p->timers_n = 0;
	list_init(&p->tasks);
	world_cancel(p->w, &p->timer_ev);
	world_cancel(p->w, &p->turn_ev);
	sim_unmap(p->arena.base, p->arena.len_bytes);
	memset(&p->arena, 0, sizeof(p->arena));
	p->src = NULL;
}

bool proc_hold(struct proc *p, struct sim_event *ev)
{
	uint64_t order = ev->order;

	if (!p->up)
		return true;
	if (p->paused_until_ns <= p->w->now_ns)
		return false;
	/* Keep the old place among events of that moment: a pause reorders nothing. */
	world_cancel(p->w, ev);
	ev->at_ns = p->paused_until_ns;
	ev->order = order;
	heap_push(p->w, ev);
	return true;
}

void proc_ran(struct proc *p)
{
	if (p->w->after && p->up)
		p->w->after(p->w, p, p->w->after_arg);
}
