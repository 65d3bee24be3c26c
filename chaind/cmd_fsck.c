/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* `chaind fsck`: is everything on a store's disk what it must be? The store is stopped; nothing is
 * written. The exit status is the verdict. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "chaind/cmd.h"
#include "chaind/cmd_inspect.h"
#include "chaind/cmd_out.h"
#include "chaind/cmd_source.h"
#include "lib/arena.h"
#include "lib/size.h"
#include "store/fsck.h"

#define FINDINGS_MAX 1000u /* that are told one by one */

static const char usage_text[] =
	"usage: chaind fsck STORE [--quick] [--json]\n"
	"\n"
	"Checks a store whose daemon is stopped: superblocks, checkpoint, page records, log, who\n"
	"owns which page, and every block of data against its checksum. Reads only.\n"
	"\n"
	"  --quick     leave the data out\n"
	"  --json      print one JSON object\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 clean; 1 repairable: the next start or a neighbour mends it; 2 damaged: "
	"the\n"
	"replica must be copied anew; 64 wrong usage; 65 no verdict: the store cannot be read, is "
	"in\n"
	"use, or fsck was stopped.\n";

struct check {
	struct source src;
	struct out out;
	bool json, quick;
	struct inspect_slices slices;
	uint32_t slice;
	enum fsck_verdict verdict; /* the worst so far */
	uint64_t findings;
	bool failed;     /* one slice at least has no verdict ... */
	const char *why; /* ... because of this */
	void *memory[2];
	size_t memory_bytes[2];
};

/* ---- what is told ---- */

static void told_person(struct check *k, const struct fsck_finding *f)
{
	source_quiet(&k->src);
	printf("%s: %s: %s", k->src.path, fsck_verdict_name(f->verdict), f->text);
	if (k->slices.n > 1)
		printf(" (slice %u)", k->slice);
	if (f->offset_bytes != FSCK_NO_PLACE)
		printf(" (at %" PRIu64 ")", k->src.base_bytes + f->offset_bytes);
	printf("\n    %s\n", f->next);
}

static void found(void *arg, const struct fsck_finding *f)
{
	struct check *k = arg;
	struct out *o = &k->out;

	if (++k->findings > FINDINGS_MAX)
		return;
	if (!k->json) {
		told_person(k, f);
		return;
	}
	out_row(o);
	out_text(o, "verdict", fsck_verdict_name(f->verdict));
	out_text(o, "kind", f->kind);
	out_u64(o, "slice", k->slice);
	if (f->offset_bytes == FSCK_NO_PLACE)
		out_null(o, "offset_bytes");
	else
		out_u64(o, "offset_bytes", k->src.base_bytes + f->offset_bytes);
	out_text(o, "text", f->text);
	out_text(o, "next", f->next);
	out_close(o);
}

static void result_json(struct out *o, const struct fsck_result *r)
{
	out_u64(o, "repairable_n", r->findings[FSCK_REPAIRABLE]);
	out_u64(o, "damaged_n", r->findings[FSCK_DAMAGED]);
	out_u64(o, "chains", r->chains);
	out_u64(o, "volumes", r->volumes);
	out_u64(o, "checkpoint_blocks", r->ckpt_blocks);
	out_u64(o, "record_blocks", r->recs_blocks);
	out_u64(o, "log_batches", r->log_batches);
	out_u64(o, "log_ops", r->log_ops);
	out_u64(o, "ops_pending", r->ops_pending);
	out_u64(o, "data_blocks", r->data_blocks);
	out_open(o, "pages");
	out_u64(o, "all", r->pages_n);
	out_u64(o, "owned", r->pages_owned);
	out_u64(o, "in_log", r->pages_in_log);
	out_u64(o, "given_up", r->pages_given_up);
	out_u64(o, "free", r->pages_free);
	out_close(o);
}

static void result_person(const struct check *k, const struct fsck_result *r)
{
	printf("%s: ", k->src.path);
	if (k->slices.n > 1)
		printf("slice %u: ", k->slice);
	printf("%" PRIu64 " chains, %" PRIu64 " ops in the log (%" PRIu64 " pending), %" PRIu64
	       " pages: %" PRIu64 " owned, %" PRIu64 " in the log, %" PRIu64 " given up, %" PRIu64
	       " free; ",
	       r->chains, r->log_ops, r->ops_pending, r->pages_n, r->pages_owned, r->pages_in_log,
	       r->pages_given_up, r->pages_free);
	if (k->quick)
		puts("data not checked");
	else
		printf("%" PRIu64 " blocks of data checked\n", r->data_blocks);
}

/* ---- one slice ---- */

/* NULL: no memory. */
static void *memory(struct check *k, unsigned i, size_t bytes, struct arena *a)
{
	k->memory[i] = reactor_memory(bytes);
	k->memory_bytes[i] = bytes;
	if (k->memory[i])
		arena_init(a, k->memory[i], bytes);
	return k->memory[i];
}

static void drop_memory(struct check *k)
{
	for (unsigned i = 0; i < 2; i++) {
		reactor_memory_free(k->memory[i], k->memory_bytes[i]);
		k->memory[i] = NULL;
	}
}

static int no_verdict(struct check *k, const char *why, int res)
{
	k->failed = true;
	k->why = why;
	source_say(&k->src, why);
	return res;
}

static int no_memory(struct check *k, unsigned i)
{
	static char text[96];
	char size[SIZE_TEXT_BYTES];

	size_format(k->memory_bytes[i], size);
	snprintf(text, sizeof(text), "no memory: %s are needed", size);
	return no_verdict(k, text, -ENOMEM);
}

/* 0: *ret is a verdict; else why there is none was said. */
static int check_slice(struct check *k, struct fsck_result *ret)
{
	const struct fsck_config cfg = {.disk = &k->src.disk,
					.quick = k->quick,
					.slice = k->slice,
					.slices_n = k->slices.n,
					.found = found,
					.arg = k};
	const char *why;
	struct fsck *f;
	struct arena a;
	int res;

	if (!memory(k, 0, fsck_begin_bytes(), &a))
		return no_memory(k, 0);
	res = fsck_begin(&cfg, &a, &f, &why);
	fsck_result(f, ret);
	if (res && ret->verdict == FSCK_CLEAN)
		return no_verdict(k, why, res);
	if (res)
		return 0;
	if (!memory(k, 1, fsck_run_bytes(f), &a))
		return no_memory(k, 1);
	res = fsck_run(f, &a, ret);
	if (res == -ECANCELED)
		return no_verdict(k, "stopped before all was seen: no verdict", res);
	return res ? no_verdict(k, strerror(-res), res) : 0;
}

/* ---- all of it ---- */

static int find_slices(struct check *k)
{
	struct arena a;
	void *mem = memory(k, 0, inspect_bytes(), &a);

	if (!mem)
		return no_memory(k, 0);
	k->slices = source_slices(&k->src, mem);
	drop_memory(k);
	return 0;
}

static void check_slices(struct check *k, struct fsck_result *results)
{
	for (k->slice = 0; k->slice < k->slices.n && !source_stopped(); k->slice++) {
		struct fsck_result *r = &results[k->slice];

		source_slice(&k->src, k->slice * k->slices.each_bytes, k->slices.each_bytes);
		if (check_slice(k, r) == 0 && !k->json) {
			source_quiet(&k->src);
			result_person(k, r);
		}
		k->verdict = MAX(k->verdict, r->verdict);
		drop_memory(k);
	}
	k->failed |= k->slice < k->slices.n;
}

static int conclude(struct check *k, const struct fsck_result *results)
{
	bool verdict = !k->failed || k->verdict == FSCK_DAMAGED;
	uint64_t more = k->findings > FINDINGS_MAX ? k->findings - FINDINGS_MAX : 0;

	if (k->json) {
		struct out *o = &k->out;

		out_close(o);
		out_u64(o, "findings_left_out", more);
		out_list(o, "slices");
		for (uint32_t i = 0; i < k->slice; i++) {
			out_row(o);
			out_u64(o, "slice", i);
			result_json(o, &results[i]);
			out_close(o);
		}
		out_close(o);
		if (verdict)
			out_text(o, "verdict", fsck_verdict_name(k->verdict));
		else
			out_null(o, "verdict");
		if (k->why)
			out_text(o, "error", k->why);
		out_end(o);
	} else {
		if (more)
			printf("%s: and %" PRIu64 " more findings\n", k->src.path, more);
		if (verdict)
			printf("%s: %s\n", k->src.path, fsck_verdict_name(k->verdict));
	}
	return verdict ? (int)k->verdict : EXIT_UNREADABLE;
}

static int run(struct check *k, const char *path)
{
	struct fsck_result *results = NULL;
	static char err[IO_ERR_BYTES];
	int status;

	if (k->json) {
		out_begin(&k->out, stdout, true);
		out_text(&k->out, "store", path);
		out_bool(&k->out, "quick", k->quick);
		out_list(&k->out, "findings");
	}
	if (source_open(&k->src, path, err) < 0) {
		no_verdict(k, err, -EIO);
	} else if (k->src.busy) {
		no_verdict(k,
			   "a daemon has it open: stop it first; chaind inspect shows it as it is",
			   -EBUSY);
	} else if (find_slices(k) == 0) {
		results = calloc(k->slices.n, sizeof(*results));
		CHECK(results != NULL);
		check_slices(k, results);
	}
	source_quiet(&k->src);
	status = conclude(k, results);
	free(results);
	source_close(&k->src);
	return status;
}

static int usage_error(const char *what)
{
	fprintf(stderr, "chaind: fsck: %s\n\n%s", what, usage_text);
	return EXIT_USAGE;
}

int cmd_fsck(int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
					      {"quick", no_argument, NULL, 'q'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	static struct check k;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return EXIT_CLEAN;
		}
		if (c != 'j' && c != 'q')
			return usage_error("wrong option");
		k.json |= c == 'j';
		k.quick |= c == 'q';
	}
	if (argc - optind != 1)
		return usage_error("one store is needed");
	return run(&k, argv[optind]);
}

static_assert(EXIT_CLEAN == (int)FSCK_CLEAN && EXIT_REPAIRABLE == (int)FSCK_REPAIRABLE &&
		      EXIT_DAMAGED == (int)FSCK_DAMAGED,
	      "the exit status is the verdict");
