/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_clock.h"

static struct fake_clock *clock_of(struct env *e)
{
	return CONTAINER_OF(e, struct fake_clock, env);
}

uint64_t fake_clock_random(struct fake_clock *c)
{
	uint64_t z = c->rng += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t now_ns(struct env *e)
{
	return clock_of(e)->now_ns;
}

static uint64_t random_u64(struct env *e)
{
	return fake_clock_random(clock_of(e));
}

static void timer_cancel(struct env *e, struct env_timer *t)
{
	(void)e;
	if (t->armed)
		list_del(&t->link);
	t->armed = false;
}

static void timer_arm(struct env *e, struct env_timer *t, uint64_t at_ns)
{
	struct list *timers = &clock_of(e)->timers, *before;

	timer_cancel(e, t);
	t->at_ns = at_ns;
	t->armed = true;
	before = timers->prev;
	while (before != timers && CONTAINER_OF(before, struct env_timer, link)->at_ns > at_ns)
		before = before->prev;
	list_add_head(before, &t->link);
}

static void defer(struct env *e, struct env_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	list_add_tail(&clock_of(e)->tasks, &t->link);
}

void fake_clock_init(struct fake_clock *c, uint64_t ns, uint64_t seed)
{
	*c = (struct fake_clock){.now_ns = ns, .rng = seed};
	list_init(&c->tasks);
	list_init(&c->timers);
	c->env = (struct env){.now_ns = now_ns,
			      .random_u64 = random_u64,
			      .timer_arm = timer_arm,
			      .timer_cancel = timer_cancel,
			      .defer = defer};
}

bool fake_clock_tasks(struct fake_clock *c)
{
	struct list batch, *it;
	bool any;

	list_init(&batch);
	while ((it = list_pop(&c->tasks)))
		list_add_tail(&batch, it);
	any = !list_empty(&batch);
	while ((it = list_pop(&batch))) {
		struct env_task *t = CONTAINER_OF(it, struct env_task, link);

		t->queued = false;
		t->fn(t);
	}
	return any;
}

uint64_t fake_clock_next_ns(const struct fake_clock *c)
{
	const struct list *it = list_first(&c->timers);

	return it ? CONTAINER_OF(it, struct env_timer, link)->at_ns : UINT64_MAX;
}

bool fake_clock_fire(struct fake_clock *c)
{
	struct list *it = list_pop(&c->timers);
	struct env_timer *t;

	if (!it)
		return false;
	t = CONTAINER_OF(it, struct env_timer, link);
	c->now_ns = MAX(c->now_ns, t->at_ns);
	t->armed = false;
	t->fn(t);
	return true;
}

void fake_clock_drop(struct fake_clock *c)
{
	struct list *it;

	while ((it = list_pop(&c->tasks)))
		CONTAINER_OF(it, struct env_task, link)->queued = false;
	while ((it = list_pop(&c->timers)))
		CONTAINER_OF(it, struct env_timer, link)->armed = false;
}
