/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* crash_store - the real store over a disk that loses power at any moment (docs/TESTING.md).
 *
 *	every sequence of up to three operations, then or meanwhile random lives --> states
 *
 * Work is given out one run at a time to as many processes as there are CPUs. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/fault.h"
#include "tests/crash/life.h"
#include "tests/crash/replay.h"
#include "tests/crash/seq.h"

#define DISK_BYTES_MAX (20u << 20) /* a life's disk grows until a store fits */
#define KNOWN_SLOTS (1u << 23)
#define STATES_DEFAULT 1000000u
#define LIFE_SHARE 4u       /* one state in so many is a life's, while there are sequences left */
#define PROGRESS_SECONDS 10 /* on a terminal; in a log: */
#define PROGRESS_SECONDS_LOG 60

static const char usage_text[] =
	"usage: crash_store [OPTIONS]\n"
	"The real store over a recorded disk: cut at every write, any subset of unflushed\n"
	"sectors kept, recovered, compared. Ends 0 when no state is bad, 1 when one is.\n"
	"\n"
	"  --minutes M    stop after M minutes (--seconds T)\n"
	"  --states N     stop after N states (default: 1000000, or every sequence if that is "
	"more)\n"
	"  --seed S       first random life, and the order of sequences of three (default 1)\n"
	"  --length L     sequences of up to L operations (default 3; -1: none)\n"
	"  --lives N      at most N random lives\n"
	"  --from N       pass over the first N sequences: the progress of a run that was stopped\n"
	"  --jobs J       processes (default: one per CPU)\n"
	"  --torn K       random tears per cut (default 2)\n"
	"  --bad N        stop after N bad states (default 20)\n"
	"  --json         {\"states\", \"sequences\", \"bad\"} on stdout\n"
	"  --replay NAME  look at one state again\n"
	"  --plant NAME   a flush or DSYNC that is not one: super_flush, log_dsync, ... "
	"(--plants)\n"
	"  --expect-bad   stop at the first bad state, and end 0 only if there is one\n";

struct options {
	double seconds;
	uint64_t states, seed, lives, bad_max, jobs, from;
	int length;
	uint32_t torn_n;
	bool json, expect_bad, limited;
	const char *replay, *plant;
};

/* ---- a worker ---- */

static uint64_t sequences_of(int length)
{
	uint64_t n = 0;

	for (int i = 0; i <= length; i++)
		n += seq_count((unsigned)i);
	return n;
}

/* The @i-th of all sequences, short ones first, each length in an order of the seed's. */
static void nth_sequence(const struct options *o, uint64_t i, struct seq *ret)
{
	unsigned length = 0;
	uint64_t n;

	for (n = seq_count(0); i >= n; n = seq_count(++length))
		i -= n;
	seq_nth(length, (i * 1000003 + o->seed) % n, ret); /* a prime that divides no count */
}

static void run_sequence(struct hunt *h, const struct seq *q)
{
	static const uint32_t one_in[SEQ_LENGTH_MAX + 1] = {2, 8, 32, 128};

	h->is_life = false;
	h->deep_one_in = one_in[strlen(q->letters)];
	seq_run(h, q);
}

static void work(struct hunt *h, const struct options *o, struct life *life)
{
	struct tally *t = h->tally;
	uint64_t sequences = sequences_of(o->length);

	while (!hunt_enough(h)) {
		bool left = atomic_load(&t->next_run) < sequences;
		bool lives_left = atomic_load(&t->next_life) < o->lives;
		bool life_due =
			atomic_load(&t->life_states) * LIFE_SHARE <= atomic_load(&t->states);
		uint64_t i;

		if (!left && (!lives_left || (!o->limited && t->states >= STATES_DEFAULT)))
			return;
		if (left && !(life_due && lives_left)) {
			struct seq q;

			i = atomic_fetch_add(&t->next_run, 1);
			if (i >= sequences)
				continue;
			nth_sequence(o, i, &q);
			run_sequence(h, &q);
			continue;
		}
		i = atomic_fetch_add(&t->next_life, 1);
		if (i >= o->lives)
			continue;
		h->is_life = true;
		h->deep_one_in = 32;
		life_run(life, h, o->seed + i);
	}
}

/* ---- the parent ---- */

static void tell_progress(const struct tally *t, const struct options *o)
{
	uint64_t all = sequences_of(o->length);

	fprintf(stderr,
		"%llu states, %llu bad; %llu of %llu sequences (--from goes on there), %llu "
		"lives\n",
		(unsigned long long)t->states, (unsigned long long)t->bad,
		(unsigned long long)MIN(t->next_run, all), (unsigned long long)all,
		(unsigned long long)t->next_life);
}

/* A worker that ends other than by itself has met something fault_guard() cannot catch. */
static void wait_for(struct tally *t, const struct options *o)
{
	const struct timespec pause = {.tv_sec =
					       isatty(2) ? PROGRESS_SECONDS : PROGRESS_SECONDS_LOG};
	uint64_t jobs = o->jobs;
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	while (jobs > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0) {
			jobs--;
			if (status != 0) {
				fprintf(stderr, "BAD: a worker died: status 0x%x\n", status);
				atomic_fetch_add(&t->bad, 1);
			}
		} else if (sigtimedwait(&child, NULL, &pause) < 0 && errno == EAGAIN) {
			tell_progress(t, o);
		}
	}
}

static void run_workers(struct hunt *h, const struct options *o, struct life *life)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	for (uint64_t i = 0; i < o->jobs; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid > 0)
			continue;
		work(h, o, life);
		_exit(0);
	}
	wait_for(h->tally, o);
}

static struct tally *new_tally(const struct options *o)
{
	struct tally *t =
		mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec ts;

	CHECK(t != MAP_FAILED);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	t->states_max = o->states;
	t->bad_max = o->bad_max;
	t->next_run = o->from;
	if (o->seconds > 0)
		t->deadline_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec +
				 (uint64_t)(o->seconds * 1e9);
	return t;
}

static int report(const struct options *o, const struct tally *t)
{
	bool bad = t->bad > 0;

	if (o->json)
		printf("{\"states\": %llu, \"sequences\": %llu, \"bad\": %llu}\n",
		       (unsigned long long)t->states, (unsigned long long)t->sequences,
		       (unsigned long long)t->bad);
	else
		printf("%llu states of %llu sequences: %llu bad\n", (unsigned long long)t->states,
		       (unsigned long long)t->sequences, (unsigned long long)t->bad);
	if (o->expect_bad && !bad)
		fprintf(stderr, "the planted fault was not found\n");
	return bad != o->expect_bad;
}

/* ---- options ---- */

/* A whole number of @least or more, and nothing behind it. */
static bool take_number(const char *value, uint64_t least, uint64_t *ret)
{
	char *end;
	uint64_t n;

	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	n = strtoull(value, &end, 10);
	if (*end || errno || n < least)
		return false;
	*ret = n;
	return true;
}

/* No time at all would be a run that checks nothing and passes. */
static bool take_seconds(const char *value, double unit, double *ret)
{
	char *end;
	const double n = strtod(value, &end);

	if (end == value || *end || !isfinite(n) || !(n > 0))
		return false;
	*ret = n * unit;
	return true;
}

static bool take_length(const char *value, int *ret)
{
	uint64_t n;

	if (strcmp(value, "-1") == 0)
		return *ret = -1, true;
	if (!take_number(value, 0, &n) || n > SEQ_LENGTH_MAX)
		return false;
	*ret = (int)n;
	return true;
}

static bool take_torn(const char *value, uint32_t *ret)
{
	uint64_t n;

	if (!take_number(value, 0, &n) || n > UINT32_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static bool take_value(struct options *o, const char *name, const char *value)
{
	const struct {
		const char *name;
		uint64_t *to;
		uint64_t least;
	} numbers[] = {{"--states", &o->states, 1}, {"--seed", &o->seed, 0},
		       {"--lives", &o->lives, 0},   {"--bad", &o->bad_max, 1},
		       {"--from", &o->from, 0},     {"--jobs", &o->jobs, 1}};

	o->limited = o->limited || strcmp(name, "--states") == 0 || strcmp(name, "--lives") == 0 ||
		     strcmp(name, "--minutes") == 0 || strcmp(name, "--seconds") == 0;
	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		if (strcmp(name, numbers[i].name) == 0)
			return take_number(value, numbers[i].least, numbers[i].to);
	if (strcmp(name, "--minutes") == 0)
		return take_seconds(value, 60, &o->seconds);
	if (strcmp(name, "--seconds") == 0)
		return take_seconds(value, 1, &o->seconds);
	if (strcmp(name, "--length") == 0)
		return take_length(value, &o->length);
	if (strcmp(name, "--torn") == 0)
		return take_torn(value, &o->torn_n);
	if (strcmp(name, "--replay") == 0)
		o->replay = value;
	else if (strcmp(name, "--plant") == 0)
		o->plant = value;
	else
		return false;
	return true;
}

/* 0, or the exit status + 1. */
static int take_options(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0)
			return fputs(usage_text, stdout), 1;
		if (strcmp(a, "--plants") == 0)
			return plant_list(), 1;
		if (strcmp(a, "--json") == 0)
			o->json = true;
		else if (strcmp(a, "--expect-bad") == 0)
			o->expect_bad = true, o->bad_max = 1;
		else if (i + 1 >= argc)
			return fprintf(stderr, "%s: no such option, or without its value (-h)\n",
				       a),
			       3;
		else if (!take_value(o, a, argv[++i]))
			return fprintf(stderr, "%s %s: no such option or value (-h)\n", a, argv[i]),
			       3;
	}
	if (o->length > (int)SEQ_LENGTH_MAX || o->jobs == 0 || (o->plant && !plant_find(o->plant)))
		return fputs(usage_text, stderr), 3;
	return 0;
}

static int run_replay(struct hunt *h, const struct options *o)
{
	int res = replay(h, o->replay);

	if (res)
		fprintf(stderr, "'%s' names no state\n", o->replay);
	return res ? 2 : report(o, h->tally);
}

int main(int argc, char **argv)
{
	struct options o = {.states = UINT64_MAX,
			    .seed = 1,
			    .lives = UINT64_MAX,
			    .bad_max = 20,
			    .jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN),
			    .length = SEQ_LENGTH_MAX,
			    .torn_n = 2};
	static struct hunt h;
	static struct life life;
	int end = take_options(&o, argc, argv);

	if (end)
		return end - 1;
	fault_init();
	h.tally = new_tally(&o);
	h.torn_n = o.torn_n;
	h.deep_cuts = 4;
	hunt_init(&h, DISK_BYTES_MAX);
	h.w.disk.plant = o.plant ? plant_find(o.plant) : NULL;
	if (o.replay)
		return run_replay(&h, &o);
	h.known = known_new(KNOWN_SLOTS);
	if (o.length < 0 || seq_init(&h))
		run_workers(&h, &o, &life);
	return report(&o, h.tally);
}
