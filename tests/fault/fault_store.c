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

#include "tests/fault/runner.h"
#include "tests/fault/scripts.h"
#include "tests/fault/sound.h"
#include "tests/fault/world_fake.h"

struct row {
	enum fault_class class;
	enum fault_kind kind;
	bool persistent;
};

static const struct row rows[] = {
	{FAULT_WRITE, FAULT_EIO, false},   {FAULT_WRITE, FAULT_EIO, true},
	{FAULT_WRITE, FAULT_TORN, false},  {FAULT_WRITE, FAULT_DONE, false},
	{FAULT_FLUSH, FAULT_EIO, false},   {FAULT_FLUSH, FAULT_EIO, true},
	{FAULT_FLUSH, FAULT_GONE, false},  {FAULT_FLUSH, FAULT_DONE, false},
	{FAULT_READ, FAULT_EIO, false},    {FAULT_READ, FAULT_EIO, true},
	{FAULT_READ, FAULT_FLIP, false},   {FAULT_READ, FAULT_FLIP, true},
	{FAULT_READ, FAULT_SECTOR, false}, {FAULT_READ, FAULT_ROT, false},
	{FAULT_BUFFER, FAULT_EIO, false},  {FAULT_BUFFER, FAULT_EIO, true},
	{FAULT_MEMORY, FAULT_EIO, false},
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

/* ---- rows of points ---- */

static struct fault_plan plan_of(const struct row *row, uint64_t n)
{
	return (struct fault_plan){
		.class = row->class, .kind = row->kind, .persistent = row->persistent, .n = n};
}

struct job {
	const struct script *script;
	const struct row *row;
};

static bool run_nth(void *arg, uint64_t n)
{
	const struct job *j = arg;
	struct fault_plan plan = plan_of(j->row, n);

	return run_point(j->script, &plan);
}

static void name_nth(void *arg, uint64_t n, char *to, size_t len)
{
	const struct job *j = arg;
	const struct fault_plan plan = plan_of(j->row, n);
	int at = snprintf(to, len, "--point %s/", j->script->name);

	fault_name(&plan, to + at, len - (size_t)at);
}

static int one_point(const char *text)
{
	const char *slash = strchr(text, '/');
	const struct script *script = NULL;
	struct fault_plan plan;

	for (unsigned i = 0; slash && i < scripts_n; i++)
		if (strncmp(scripts[i].name, text, (size_t)(slash - text)) == 0)
			script = &scripts[i];
	if (!script || !fault_parse(slash + 1, &plan))
		return fprintf(stderr, "fault_store: %s names no point\n", text), 2;
	printf("%s: %s\n", text, run_point(script, &plan) ? "good" : "no such point");
	return 0;
}

static void sweep(struct runner *r, const struct script *script, const struct row *row)
{
	struct job job = {script, row};
	const struct runner_row nths = {run_nth, name_nth, &job};

	runner_run(r, &nths);
}

static void sweep_all(struct runner *r, const char *only, bool verbose)
{
	for (unsigned i = 0; i < scripts_n; i++) {
		uint64_t before = r->points;

		if (only && strcmp(only, scripts[i].name) != 0)
			continue;
		/* All opens take the same memory: one script is enough. */
		for (unsigned k = 0; k < ARRAY_LEN(rows); k++)
			if (rows[k].class != FAULT_MEMORY || i == 0)
				sweep(r, &scripts[i], &rows[k]);
		if (verbose)
			printf("%-6s %6llu points\n", scripts[i].name,
			       (unsigned long long)(r->points - before));
	}
}

int main(int argc, char **argv)
{
	struct runner r = {.program = "fault_store", .bad_max = RUNNER_BAD_MAX};
	const char *only = NULL, *point = NULL;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--first") == 0)
			r.bad_max = 1;
		else if (i + 1 < argc && strcmp(argv[i], "--only") == 0)
			only = argv[++i];
		else if (i + 1 < argc && strcmp(argv[i], "--point") == 0)
			point = argv[++i];
		else
			return fprintf(stderr, "usage: fault_store [--json] [--only SCRIPT] "
					       "[--first] [--point POINT]\n"),
			       2;
	}
	if (only && !script_find(only))
		return fprintf(stderr, "fault_store: no script %s\n", only), 2;
	world_fake_init(&world, LIFE_DISK_BYTES);
	life_init(&life);
	if (point)
		return one_point(point);
	sweep_all(&r, only, !json);
	printf(json ? "{\"points\": %llu, \"bad\": %llu}\n" : "%llu points, %llu bad\n",
	       (unsigned long long)r.points, (unsigned long long)r.bad);
	life_fini(&life);
	world_fake_fini(&world);
	return r.bad || !r.points;
}
