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
#include "tests/fault/points.h"
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

static bool run_point(const struct script *script, const struct fault_plan *p)
{
	static uint64_t salt;
	int status;
	pid_t pid;

	wipe();
	*plan = *p;
	salt = (uint64_t)getpid() << 8 | (p->n & 0xff);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		live(script, salt);
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
	sound_expect(life, p->n % 4 == 1);
	world_real_close(&world);
	return plan->fired > 0;
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
	struct points p = {.runner = {.program = "fault_real"},
			   .rows = rows,
			   .rows_n = ARRAY_LEN(rows),
			   .alike = FAULT_SUBMIT,
			   .real = true,
			   .run = run_point};
	struct runner_words w = {.usage = "[--json] [--only SCRIPT] [--first] [--dir FOLDER]... "
					  "[--point POINT]",
				 .one_word = "--point",
				 .more_word = "--dir",
				 .more = {"."}};
	int status;

	if (!runner_words(&p.runner, argc, argv, &w))
		return 2;
	status = prepare(w.more, MAX(w.more_n, 1u));
	if (status)
		return status;
	return w.one ? points_one(&p, w.one) : points_all(&p, w.only, w.json);
}
