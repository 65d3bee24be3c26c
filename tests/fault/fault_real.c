/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fault_real - the error sweep over the real io/: the Nth read, write or flush that io_uring
 * carries to a file, and the Nth submission, fails, N = 1, 2, 3 ... until a script has no Nth.
 *
 *	LD_PRELOAD=libfault_shim.so fault_real [--json] [--only SCRIPT] [--first]
 *		[--dir FOLDER]... [--point SCRIPT/CLASS/KIND/once|always/N]
 *
 * A script's life is a process of its own, under faults made by the preloaded library
 * (shim/shim.c). It may end with io_uring's error, but not crash and not hang. Then its parent,
 * which no fault touches, opens the same file and looks at everything (sound.h). The file is made
 * in the first folder that has O_DIRECT. Exit status 0: no point was bad, 77: cannot run here. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/reactor.h"
#include "tests/fault/runner.h"
#include "tests/fault/scripts.h"
#include "tests/fault/sound.h"
#include "tests/fault/world_real.h"

#define HANG_S 120u /* the loop waits for something that never comes */

struct fault_plan *fault_shim_plan(void) __attribute__((weak));

static const struct fault_plan rows[] = {
	{.class = FAULT_WRITE, .kind = FAULT_EIO},
	{.class = FAULT_WRITE, .kind = FAULT_TORN},
	{.class = FAULT_WRITE, .kind = FAULT_DONE},
	{.class = FAULT_WRITE, .kind = FAULT_EIO, .persistent = true},
	{.class = FAULT_FLUSH, .kind = FAULT_EIO},
	{.class = FAULT_FLUSH, .kind = FAULT_DONE},
	{.class = FAULT_READ, .kind = FAULT_EIO},
	{.class = FAULT_READ, .kind = FAULT_EIO, .persistent = true},
	{.class = FAULT_READ, .kind = FAULT_TORN},
	{.class = FAULT_READ, .kind = FAULT_FLIP},
	{.class = FAULT_SUBMIT, .kind = FAULT_EAGAIN},
	{.class = FAULT_SUBMIT, .kind = FAULT_EINTR},
	{.class = FAULT_SUBMIT, .kind = FAULT_ENOMEM},
};

struct job {
	const struct script *script;
	const struct fault_plan *row;
};

static struct life *life; /* shared: what a life did is known after its process ended */
static struct world_real world;
static struct fault_plan *plan; /* the preloaded library's */
static char path[64];
static int file;

static void open_world(void)
{
	char err[IO_ERR_BYTES];
	int res = world_real_open(&world, path, err);

	if (res < 0)
		fprintf(stderr, "fault_real: %s\n", err);
	CHECK(res == 0);
}

/* Nothing on the disk that looks like a store; what else earlier lives left may stay. */
static void wipe(void)
{
	static const uint8_t zeros[1u << 20];

	CHECK(pwrite(file, zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros));
}

static _Noreturn void live(const struct script *script, uint64_t salt)
{
	struct life *l = life;

	alarm(HANG_S);
	open_world();
	world.w.salt = salt;
	life_begin(l, &world.w, NULL);
	world_real_region(&world, l);
	l->plan = plan;
	script->run(l);
	life_reads_done(l);
	if (l->s && l->disk.write_failed)
		life_check_failed(l);
	life_close(l);
	plan->armed = false;
	world_real_close(&world);
	_exit(0);
}

static bool is_hard(const struct fault_plan *p)
{
	return p->class == FAULT_SUBMIT && p->kind == FAULT_ENOMEM;
}

static bool run_nth(void *arg, uint64_t n)
{
	const struct job *j = arg;
	static uint64_t salt;
	int status;
	pid_t pid;

	wipe();
	*plan = *j->row;
	plan->n = n;
	salt = (uint64_t)getpid() << 8 | (n & 0xff);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		live(j->script, salt);
	CHECK(waitpid(pid, &status, 0) == pid);
	plan->armed = false;
	if (WIFSIGNALED(status))
		raise(WTERMSIG(status));
	CHECK(WEXITSTATUS(status) == 0 ||
	      (WEXITSTATUS(status) == WORLD_REAL_BROKEN && is_hard(plan)));
	open_world();
	world.w.salt = salt;
	life_reborn(life, &world.w);
	sound_heal(life);
	sound_expect(life, n % 4 == 1);
	world_real_close(&world);
	return plan->fired > 0;
}

static void name_nth(void *arg, uint64_t n, char *to, size_t len)
{
	const struct job *j = arg;
	struct fault_plan p = *j->row;
	int at = snprintf(to, len, "--point %s/", j->script->name);

	p.n = n;
	fault_name(&p, to + at, len - (size_t)at);
}

static int one_point(const char *text)
{
	const char *slash = strchr(text, '/');
	struct fault_plan row;
	char name[16];
	struct job job = {.row = &row};

	snprintf(name, sizeof(name), "%.*s", slash ? (int)(slash - text) : 0, text);
	job.script = script_find(name);
	if (!job.script || !fault_parse(slash + 1, &row))
		return fprintf(stderr, "fault_real: %s names no point\n", text), 2;
	printf("%s: %s\n", text, run_nth(&job, row.n) ? "good" : "no such point");
	return 0;
}

static void sweep_all(struct runner *r, const char *only, bool verbose)
{
	for (unsigned i = 0; i < scripts_n; i++) {
		uint64_t before = r->points;

		if (!scripts[i].real || (only && strcmp(only, scripts[i].name) != 0))
			continue;
		for (unsigned k = 0; k < ARRAY_LEN(rows); k++) {
			struct job job = {&scripts[i], &rows[k]};
			const struct runner_row nths = {run_nth, name_nth, &job};

			/* One submission is like the other: one script is enough. */
			if (rows[k].class != FAULT_SUBMIT || i == 0)
				runner_run(r, &nths);
		}
		if (verbose)
			printf("%-6s %6llu points\n", scripts[i].name,
			       (unsigned long long)(r->points - before));
	}
}

/* A file without a name: nothing is left whatever happens. False: no O_DIRECT there. */
static bool make_file(const char *dir)
{
	static const uint8_t zeros[1u << 20];
	char name[256];
	int direct;

	snprintf(name, sizeof(name), "%s/fault_real.XXXXXX", dir);
	file = mkstemp(name);
	if (file < 0)
		return false;
	direct = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
	unlink(name);
	if (direct < 0) {
		close(file);
		return false;
	}
	close(direct);
	for (uint64_t at = 0; at < LIFE_DISK_BYTES; at += sizeof(zeros))
		CHECK(pwrite(file, zeros, sizeof(zeros), (off_t)at) == (ssize_t)sizeof(zeros));
	CHECK(fsync(file) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return true;
}

/* 0: go on. The first of @dirs that can. */
static int prepare(const char *const *dirs, unsigned dirs_n)
{
	bool made = false;
	char err[IO_ERR_BYTES];
	struct reactor *r;

	plan = fault_shim_plan ? fault_shim_plan() : NULL;
	if (!plan)
		return fprintf(stderr, "fault_real: run it with LD_PRELOAD=libfault_shim.so\n"), 2;
	if (reactor_open(&(struct reactor_config){0}, &r, err) < 0)
		return printf("fault_real: %s\n", err), 77;
	reactor_close(r);
	for (unsigned i = 0; i < dirs_n && !made; i++)
		made = make_file(dirs[i]);
	if (!made)
		return printf("fault_real: no file system with O_DIRECT in %s\n", dirs[dirs_n - 1]),
		       77;
	life = runner_shared(sizeof(*life));
	life_init(life);
	return 0;
}

int main(int argc, char **argv)
{
	struct runner r = {.program = "fault_real", .bad_max = RUNNER_BAD_MAX};
	const char *only = NULL, *point = NULL, *dirs[4] = {"."};
	unsigned dirs_n = 0;
	bool json = false;
	int status;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--first") == 0)
			r.bad_max = 1;
		else if (i + 1 < argc && strcmp(argv[i], "--only") == 0)
			only = argv[++i];
		else if (i + 1 < argc && strcmp(argv[i], "--dir") == 0 && dirs_n < ARRAY_LEN(dirs))
			dirs[dirs_n++] = argv[++i];
		else if (i + 1 < argc && strcmp(argv[i], "--point") == 0)
			point = argv[++i];
		else
			return fprintf(stderr, "usage: fault_real [--json] [--only SCRIPT] "
					       "[--first] [--dir FOLDER]... [--point POINT]\n"),
			       2;
	}
	status = prepare(dirs, MAX(dirs_n, 1u));
	if (status)
		return status;
	if (point)
		return one_point(point);
	sweep_all(&r, only, !json);
	printf(json ? "{\"points\": %llu, \"bad\": %llu}\n" : "%llu points, %llu bad\n",
	       (unsigned long long)r.points, (unsigned long long)r.bad);
	return r.bad || !r.points;
}
