/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chain-sim: whole clusters on a virtual world, one seed after the other. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/size.h"
#include "sim/run.h"
#include "sim/world.h"

#define BAD_SEEDS_MAX 20u /* then enough is known */

static const char usage[] =
	"usage: chain-sim [--seed S | --seeds A..B | --minutes M | --file PATH] [options]\n"
	"\n"
	"A whole cluster (daemons, configuration service, clients) runs on a virtual clock, "
	"network\n"
	"and disks in one thread. A seed decides everything; the same seed does the same again.\n"
	"\n"
	"  --seed S       run one seed and say what it was about\n"
	"  --seeds A..B   run these seeds\n"
	"  --minutes M    run fresh seeds for M minutes (a fraction is allowed)\n"
	"  --file PATH    run the seeds listed in a file, one per line, # begins a comment\n"
	"  --first N      first seed of --minutes (default: from the clock)\n"
	"  --keep-going   do not stop at the first seed with a violation\n"
	"  --twice        run each seed twice and demand the same event hash\n"
	"  --json         one JSON object on stdout: seeds, simulated_hours, cpu_seconds, events,\n"
	"                 operations, faults, violations\n"
	"  -v, -vv        trace what happens, with every frame (with --seed)\n"
	"\n"
	"Exit status: 0 no violation, 1 some, 2 wrong usage. A violation prints the command that\n"
	"replays it.\n";

struct options {
	uint64_t first, last;
	double minutes;
	const char *file;
	bool single, json, twice, keep_going;
	int verbose;
};

struct totals {
	uint64_t seeds, events, operations, faults, violations, simulated_ns, commits, frames;
	uint64_t failed, bad_seeds, checked, audited, undone;
};

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double wall_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run_seed(const struct options *o, uint64_t seed, struct totals *t)
{
	struct run_options opt = {.seed = seed, .verbose = o->verbose, .describe = o->single};
	struct run_result res, again;

	run_guarded(&opt, &res);
	if (o->twice && !res.violations) {
		opt.describe = false;
		run_guarded(&opt, &again);
		if (again.hash != res.hash || again.events != res.events) {
			res.violations++;
			snprintf(res.text, sizeof(res.text),
				 "I17: the same seed gave another event "
				 "hash: %" PRIx64 " after %" PRIu64 " events, %" PRIx64
				 " after %" PRIu64,
				 res.hash, res.events, again.hash, again.events);
		}
	}
	t->seeds++;
	t->events += res.events;
	t->operations += res.operations;
	t->failed += res.failed;
	t->faults += res.faults;
	t->violations += res.violations;
	t->simulated_ns += res.simulated_ns;
	t->commits += res.commits;
	t->frames += res.frames;
	t->checked += res.checked;
	t->audited += res.audited;
	t->undone += res.undone;
	if (res.violations) {
		t->bad_seeds++;
		fprintf(stderr,
			"seed %" PRIu64 ": %s\n    replay: ./dev sim --seed %" PRIu64 " -v\n", seed,
			res.text, seed);
	}
	if (o->single)
		fprintf(stderr,
			"seed %" PRIu64 ": %" PRIu64 " events, %" PRIu64 " operations (%" PRIu64
			" failed), %" PRIu64 " commits, %" PRIu64
			" faults, %.3f s simulated, hash %016" PRIx64 ": %s\n",
			seed, res.events, res.operations, res.failed, res.commits, res.faults,
			(double)res.simulated_ns / 1e9, res.hash, res.violations ? res.text : "ok");
}

static int run_file(const struct options *o, struct totals *t)
{
	FILE *in = fopen(o->file, "r");
	char line[256];
	uint64_t seed;

	if (!in) {
		fprintf(stderr, "chain-sim: %s: %s\n", o->file, strerror(errno));
		return -errno;
	}
	while (fgets(line, sizeof(line), in)) {
		line[strcspn(line, "# \t\n")] = 0;
		if (line[0] && opt_u64(line, UINT64_MAX, &seed) == 0)
			run_seed(o, seed, t);
	}
	fclose(in);
	return 0;
}

static void run_range(const struct options *o, struct totals *t)
{
	double end = wall_seconds() + o->minutes * 60;

	for (uint64_t s = o->first; t->bad_seeds < (o->keep_going ? BAD_SEEDS_MAX : 1); s++) {
		if (o->minutes > 0 ? wall_seconds() > end : s > o->last)
			break;
		run_seed(o, s, t);
		if (!o->json && o->minutes > 0 && t->seeds % 100 == 0)
			fprintf(stderr, "%" PRIu64 " seeds, %" PRIu64 " violations\n", t->seeds,
				t->violations);
	}
}

static void report(const struct options *o, const struct totals *t)
{
	double cpu = cpu_seconds(), hours = (double)t->simulated_ns / 3.6e12;

	if (o->json)
		printf("{\"seeds\": %" PRIu64 ", \"simulated_hours\": %.4f, \"cpu_seconds\": %.2f, "
		       "\"events\": %" PRIu64 ", \"operations\": %" PRIu64 ", \"faults\": %" PRIu64
		       ", \"violations\": %" PRIu64 "}\n",
		       t->seeds, hours, cpu, t->events, t->operations, t->faults, t->violations);
	else
		printf("%" PRIu64 " seeds, %.3f simulated hours in %.1f s of CPU, %" PRIu64
		       " events "
		       "(%.0f/s), %" PRIu64 " operations (%" PRIu64 " failed, %" PRIu64
		       " register accesses checked), %" PRIu64 " commits, %" PRIu64
		       " ops undone, %" PRIu64 " blocks of members compared, %" PRIu64
		       " frames, %" PRIu64 " faults, %" PRIu64 " violations\n",
		       t->seeds, hours, cpu, t->events, (double)t->events / (cpu > 0 ? cpu : 1),
		       t->operations, t->failed, t->checked, t->commits, t->undone, t->audited,
		       t->frames, t->faults, t->violations);
}

static int bad_usage(const char *arg)
{
	fprintf(stderr, "chain-sim: %s: not understood\n\n%s", arg, usage);
	return 2;
}

/* The value of option @i, or NULL. */
static const char *value(int argc, char **argv, int *i)
{
	return *i + 1 < argc ? argv[++*i] : NULL;
}

static int parse_one(struct options *o, int argc, char **argv, int *i)
{
	const char *a = argv[*i], *v = NULL;
	char *dots;

	if (!strcmp(a, "--json")) {
		o->json = true;
	} else if (!strcmp(a, "--keep-going")) {
		o->keep_going = true;
	} else if (!strcmp(a, "--twice")) {
		o->twice = true;
	} else if (!strcmp(a, "-v") || !strcmp(a, "-vv")) {
		o->verbose = (int)strlen(a) - 1;
	} else if (!(v = value(argc, argv, i))) {
		return -EINVAL;
	} else if (!strcmp(a, "--seed")) {
		o->single = true;
		if (opt_u64(v, UINT64_MAX, &o->first))
			return -EINVAL;
		o->last = o->first;
	} else if (!strcmp(a, "--first")) {
		return opt_u64(v, UINT64_MAX, &o->first);
	} else if (!strcmp(a, "--file")) {
		o->file = v;
	} else if (!strcmp(a, "--minutes")) {
		o->minutes = strtod(v, &dots);
		return *dots || o->minutes <= 0 ? -EINVAL : 0;
	} else if (!strcmp(a, "--seeds")) {
		o->first = strtoull(v, &dots, 10);
		if (strncmp(dots, "..", 2))
			return -EINVAL;
		return opt_u64(dots + 2, UINT64_MAX, &o->last);
	} else {
		return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {.first = UINT64_MAX};
	struct totals t = {0};
	struct timespec ts;

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (!strcmp(arg, "-h") || !strcmp(arg, "--help")) {
			fputs(usage, stdout);
			return 0;
		}
		if (parse_one(&o, argc, argv, &i) < 0)
			return bad_usage(arg);
	}
	if (o.first == UINT64_MAX) {
		clock_gettime(CLOCK_REALTIME, &ts);
		o.first = (uint64_t)ts.tv_sec % 100000000 * 1000 + (uint64_t)ts.tv_nsec / 1000000;
		o.last = o.first;
		if (o.minutes == 0 && !o.file)
			o.single = true;
	}
	if (o.file && run_file(&o, &t) < 0)
		return 2;
	if (!o.file || o.minutes > 0)
		run_range(&o, &t);
	report(&o, &t);
	return t.violations ? 1 : 0;
}
