/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPU_S_MAX 120u /* of one child: one that needs more hangs without a turn of its loop */

struct progress {
	uint64_t n, done;
	bool ended;
};

bool runner_words(struct runner *r, int argc, char **argv, struct runner_words *w)
{
	r->bad_max = RUNNER_BAD_MAX;
	for (int i = 1; i < argc; i++) {
		bool last = i + 1 == argc;

		if (strcmp(argv[i], "--json") == 0) {
			w->json = true;
		} else if (strcmp(argv[i], "--first") == 0) {
			r->bad_max = 1;
		} else if (!last && strcmp(argv[i], "--only") == 0) {
			w->only = argv[++i];
		} else if (!last && strcmp(argv[i], w->one_word) == 0) {
			w->one = argv[++i];
		} else if (!last && w->more_word && strcmp(argv[i], w->more_word) == 0 &&
			   w->more_n < RUNNER_MORE_MAX) {
			w->more[w->more_n++] = argv[++i];
		} else {
			fprintf(stderr, "usage: %s %s\n", r->program, w->usage);
			return false;
		}
	}
	return true;
}

void runner_print(const struct runner *r, bool json)
{
	printf(json ? "{\"points\": %llu, \"bad\": %llu}\n" : "%llu points, %llu bad\n",
	       (unsigned long long)r->points, (unsigned long long)r->bad);
}

void *runner_shared(size_t len_bytes)
{
	void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static _Noreturn void child(struct progress *at, const struct runner_row *row)
{
	const struct rlimit cpu = {CPU_S_MAX, CPU_S_MAX};

	setrlimit(RLIMIT_CPU, &cpu);
	while (row->run(row->arg, at->n)) {
		at->done++;
		at->n++;
	}
	at->ended = true;
	_exit(0);
}

static void report_bad(struct runner *r, const struct runner_row *row, uint64_t n, int status)
{
	char name[160];

	r->bad++;
	row->name(row->arg, n, name, sizeof(name));
	fprintf(stderr, "bad (%s %d): %s %s\n", WIFSIGNALED(status) ? "signal" : "exit status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), r->program, name);
}

void runner_run(struct runner *r, const struct runner_row *row)
{
	static struct progress *at;

	at = at ? at : runner_shared(sizeof(*at));
	*at = (struct progress){.n = 1};
	while (!at->ended && r->bad < r->bad_max) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			child(at, row);
		CHECK(waitpid(pid, &status, 0) == pid);
		if (at->ended)
			break;
		report_bad(r, row, at->n, status);
		at->done++;
		at->n++;
	}
	r->points += at->done;
}
