/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fault_store - the error sweep of the store: in each script (scripts.h) the Nth write, flush,
 * read, buffer or piece of memory fails, N = 1, 2, 3 ... until the script has no Nth; in each way
 * such a thing can fail; once, or from then on. After each the life is held to J1 to J5 (life.h).
 *
 *	fault_store [--json] [--only SCRIPT] [--first] [--point SCRIPT/CLASS/KIND/once|always/N]
 *
 * One point = one life in which the fault happened. Lives run in child processes, so that a bad one
 * ends itself and not the sweep; the command that replays it is printed. --first ends at the first
 * bad one. Exit status 0: none was bad. */

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/points.h"
#include "tests/fault/sound.h"
#include "tests/fault/world_fake.h"

static const struct fault_plan rows[] = {
	{.class = FAULT_WRITE, .kind = FAULT_EIO},
	{.class = FAULT_WRITE, .kind = FAULT_EIO, .persistent = true},
	{.class = FAULT_WRITE, .kind = FAULT_TORN},
	{.class = FAULT_WRITE, .kind = FAULT_DONE},
	{.class = FAULT_FLUSH, .kind = FAULT_EIO},
	{.class = FAULT_FLUSH, .kind = FAULT_EIO, .persistent = true},
	{.class = FAULT_FLUSH, .kind = FAULT_GONE},
	{.class = FAULT_FLUSH, .kind = FAULT_DONE},
	{.class = FAULT_READ, .kind = FAULT_EIO},
	{.class = FAULT_READ, .kind = FAULT_EIO, .persistent = true},
	{.class = FAULT_READ, .kind = FAULT_FLIP},
	{.class = FAULT_READ, .kind = FAULT_FLIP, .persistent = true},
	{.class = FAULT_READ, .kind = FAULT_SECTOR},
	{.class = FAULT_READ, .kind = FAULT_ROT},
	{.class = FAULT_BUFFER, .kind = FAULT_EIO},
	{.class = FAULT_BUFFER, .kind = FAULT_EIO, .persistent = true},
	{.class = FAULT_MEMORY, .kind = FAULT_EIO},
};

static struct world_fake world;
static struct life life;

/* ---- memory that runs out ---- */

void *__real_arena_alloc(struct arena *a, size_t len_bytes, size_t align_bytes);
void *__wrap_arena_alloc(struct arena *a, size_t len_bytes, size_t align_bytes);
_Noreturn void __real_check_failed(const char *cond, const char *file, int line);
_Noreturn void __wrap_check_failed(const char *cond, const char *file, int line);

static sigjmp_buf died;
static bool may_die;

/* Too little memory is a bug of ours by the arena's contract, and ends the process. What counts is
 * that the disk is none the worse. */
void *__wrap_arena_alloc(struct arena *a, size_t len_bytes, size_t align_bytes)
{
	may_die = fault_due(&life.own_plan, FAULT_MEMORY);
	return __real_arena_alloc(a, may_die ? SIZE_MAX / 2 : len_bytes, align_bytes);
}

_Noreturn void __wrap_check_failed(const char *cond, const char *file, int line)
{
	if (may_die) {
		may_die = false;
		siglongjmp(died, 1);
	}
	__real_check_failed(cond, file, line);
}

/* ---- one point ---- */

static void sick_reopen(struct life *l)
{
	l->over = false;
	if (!l->formatted)
		return;
	life_open(l);
	life_verify(l);
	life_close(l);
}

/* Whether the fault happened. */
static bool run_point(const struct script *script, const struct fault_plan *plan)
{
	static const uint32_t keep[] = {0, 500, 1000};
	struct life *l = &life;
	bool fired, lasting;

	world_fake_reset(&world, 7);
	world_fake_resize(&world, script->disk_bytes ? script->disk_bytes : LIFE_DISK_BYTES);
	life_begin(l, &world.w, plan);
	if (sigsetjmp(died, 0) == 0) {
		script->run(l);
		life_reads_done(l);
		/* At every other point it is closed at once, with all that is under way. */
		if (l->s && l->disk.write_failed && plan->n % 2)
			life_check_failed(l);
		life_close(l);
		CHECK(world_fake_quiet(&world));
	} else {
		l->over = false;
		CHECK(l->disk.inflight == 0);
		life_cut(l, keep[plan->n % 3]);
	}
	fired = l->plan->fired > 0;
	lasting = plan->persistent || plan->kind == FAULT_SECTOR || plan->kind == FAULT_ROT;
	if (fired && lasting)
		sick_reopen(l);
	CHECK(world_fake_quiet(&world));
	world.w.power_cut(&world.w, keep[plan->n % 3]);
	sound_heal(l);
	sound_expect(l, plan->n % 4 == 1);
	return fired;
}

int main(int argc, char **argv)
{
	struct points p = {.runner = {.program = "fault_store"},
			   .rows = rows,
			   .rows_n = ARRAY_LEN(rows),
			   .alike = FAULT_MEMORY, /* all opens take the same memory */
			   .run = run_point};
	struct runner_words w = {.usage = "[--json] [--only SCRIPT] [--first] [--point POINT]",
				 .one_word = "--point"};
	int status;

	if (!runner_words(&p.runner, argc, argv, &w))
		return 2;
	world_fake_init(&world, LIFE_DISK_BYTES);
	life_init(&life);
	status = w.one ? points_one(&p, w.one) : points_all(&p, w.only, w.json);
	life_fini(&life);
	world_fake_fini(&world);
	return status;
}
