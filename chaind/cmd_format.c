/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* `chaind format`: writes a file through once, which takes as long as the disk does, then makes the
 * store, which takes no time. A signal in between stops the first and waits for the second. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "chaind/cmd.h"
#include "chaind/cmd_slices.h"
#include "io/disk.h"
#include "io/disk_make.h"
#include "io/reactor.h"
#include "lib/arena.h"
#include "lib/size.h"
#include "store/format.h"
#include "store/store.h"

#define NS_PER_S 1000000000ull
#define SHOW_TERMINAL_NS (NS_PER_S / 5)
#define SHOW_LOG_NS (5 * NS_PER_S)

struct format {
	const struct options *opt;
	struct reactor *reactor;
	struct env_disk *disk;
	struct arena arena;
	uint32_t reactors;
	struct slices slices;
	struct id128 ids[REACTORS_MAX]; /* of the slices */
	uint64_t start_ns, shown_ns;
	uint64_t written_bytes; /* to fill the file */
	bool terminal, shown;
	int status;
};

static volatile sig_atomic_t stop_signal;

static void on_signal(int signo)
{
	stop_signal = signo;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- the file ---- */

static void time_text(uint64_t seconds, char out[32])
{
	if (seconds < 120)
		snprintf(out, 32, "%llu s", (unsigned long long)seconds);
	else if (seconds < 7200)
		snprintf(out, 32, "%llu min", (unsigned long long)(seconds / 60));
	else
		snprintf(out, 32, "%llu h", (unsigned long long)(seconds / 3600));
}

static void show(struct format *p, const struct disk_make_progress *at, uint64_t ns)
{
	double seconds = (double)(ns - p->start_ns) / (double)NS_PER_S;
	double rate = (double)at->written_bytes / seconds; /* some were written, some time ago */
	char left[32];

	time_text((uint64_t)((double)(at->size_bytes - at->at_bytes) / rate), left);
	fprintf(stderr, "%schaind: %s: written through %u %%, %.0f MiB/s, %s left%s",
		p->terminal ? "\r\033[K" : "", p->opt->store,
		(unsigned)(at->at_bytes * 100 / at->size_bytes), rate / (1 << 20), left,
		p->terminal ? "" : "\n");
	p->shown = true;
	p->shown_ns = ns;
}

static bool go_on(void *arg, const struct disk_make_progress *at)
{
	struct format *p = arg;
	uint64_t ns = now_ns();

	if (ns - p->shown_ns >= (p->terminal ? SHOW_TERMINAL_NS : SHOW_LOG_NS))
		show(p, at, ns);
	return stop_signal == 0;
}

static int make_file(struct format *p, char err[IO_ERR_BYTES])
{
	const struct disk_make m = {
		.path = p->opt->store,
		.size_bytes = p->opt->size_bytes,
		.force = p->opt->force,
		.go_on = go_on,
		.arg = p,
	};
	const struct sigaction catch = {.sa_handler = on_signal};
	int res;

	sigaction(SIGINT, &catch, NULL);
	sigaction(SIGTERM, &catch, NULL);
	p->terminal = isatty(STDERR_FILENO) == 1;
	p->start_ns = p->shown_ns = now_ns();
	res = disk_make_file(&m, &p->written_bytes, err);
	if (p->terminal && p->shown)
		fputc('\n', stderr);
	return res;
}

/* ---- the store ---- */

static void on_formatted(void *arg, int res, const char *why)
{
	struct format *p = arg;

	p->status = res < 0 ? cmd_fail(p->opt->store, why) : EXIT_SUCCESS;
	reactor_stop(p->reactor);
}

static int format_slice(struct format *p, uint32_t i, struct env_disk *disk)
{
	struct store_format f = {.log_bytes = p->opt->log_bytes / p->slices.n,
				 .force = p->opt->force,
				 .slice = i,
				 .slices_n = p->slices.n};
	size_t len = store_format_memory();
	void *mem = reactor_memory(len);

	if (!mem)
		return cmd_fail(p->opt->store, "no memory to format it");
	arena_init(&p->arena, mem, len);
	cmd_random(&p->ids[i], sizeof(p->ids[i]));
	cmd_random(&f.secret, sizeof(f.secret));
	f.disk = p->ids[i];
	/* What lies at the beginning was looked at, or wiped; elsewhere it may be anything. */
	if (i > 0)
		f.force = true;
	p->status = EXIT_FAILURE;
	store_format_start(reactor_env(p->reactor), disk, &f, &p->arena, on_formatted, p);
	if (reactor_run(p->reactor) < 0)
		p->status = cmd_fail(p->opt->store, "io_uring failed while formatting");
	reactor_memory_free(mem, len);
	return p->status;
}

/* The first slice last: without it nothing here is a store. */
static int format_slices(struct format *p)
{
	char err[IO_ERR_BYTES];

	p->slices = share_disk(p->disk->size_bytes, p->reactors);
	for (uint32_t i = p->slices.n; i-- > 0;) {
		const struct disk_part part = slices_part(&p->slices, i);
		struct env_disk *disk;

		if (disk_open_part(p->reactor, p->disk, &part, &disk, err) < 0)
			return cmd_fail_io(err);
		p->status = format_slice(p, i, disk);
		disk_close(disk);
		if (p->status != EXIT_SUCCESS)
			return p->status;
	}
	return EXIT_SUCCESS;
}

/* ---- the result ---- */

static json_t *id_json(const struct id128 *id)
{
	char text[33];

	for (unsigned i = 0; i < sizeof(id->b); i++)
		snprintf(text + 2 * i, 3, "%02x", id->b[i]);
	return json_string(text);
}

static json_t *slices_json(const struct format *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < p->slices.n; i++) {
		const struct disk_part part = slices_part(&p->slices, i);

		json_array_append_new(list,
				      json_pack("{s:o, s:I, s:I}", "disk", id_json(&p->ids[i]),
						"offset_bytes", (json_int_t)part.offset_bytes,
						"size_bytes", (json_int_t)part.size_bytes));
	}
	return list;
}

static int report(const struct format *p)
{
	double seconds = (double)(now_ns() - p->start_ns) / (double)NS_PER_S;
	char size[SIZE_TEXT_BYTES];
	json_t *o, *path;

	size_format(p->disk->size_bytes, size);
	fprintf(stderr, "chaind: %s: formatted, %s for %u reactor%s\n", p->opt->store, size,
		p->slices.n, p->slices.n == 1 ? "" : "s");
	if (!p->opt->json)
		return EXIT_SUCCESS;
	path = json_string(p->opt->store); /* NULL when it is no text */
	o = json_pack("{s:o, s:I, s:I, s:f, s:i, s:o}", "store", path ? path : json_null(),
		      "size_bytes", (json_int_t)p->disk->size_bytes, "written_bytes",
		      (json_int_t)p->written_bytes, "seconds", seconds, "reactors",
		      (int)p->slices.n, "slices", slices_json(p));
	if (!o || json_dumpf(o, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) < 0)
		return cmd_fail("stdout", "the result could not be written");
	putchar('\n');
	json_decref(o);
	return EXIT_SUCCESS;
}

static int open_and_format(struct format *p)
{
	const struct disk_config dc = {.path = p->opt->store};
	char err[IO_ERR_BYTES];

	if (reactor_open(&(struct reactor_config){0}, &p->reactor, err) < 0)
		return cmd_fail_io(err);
	if (disk_open(p->reactor, &dc, &p->disk, err) < 0)
		p->status = cmd_fail_io(err);
	else
		p->status = format_slices(p);
	if (p->status == EXIT_SUCCESS)
		p->status = report(p);
	disk_close(p->disk);
	reactor_close(p->reactor);
	return p->status;
}

/* What cannot become a store is told before it is written through, which may take hours. */
static int check_fits(const struct options *o, uint32_t reactors)
{
	const struct slices s = share_disk(o->size_bytes, reactors);
	struct store_layout layout;
	const char *why;

	if (format_layout(s.each_bytes, o->log_bytes / s.n, 0, &layout, &why) == 0)
		return 0;
	return cmd_fail(o->store, why);
}

int cmd_format(const struct options *o)
{
	struct format p = {.opt = o, .reactors = o->reactors ? (uint32_t)o->reactors : 1};
	char err[IO_ERR_BYTES];
	struct stat st;
	bool is_block = stat(o->store, &st) == 0 && S_ISBLK(st.st_mode);

	if (!is_block && o->size_bytes == 0)
		return cmd_fail(o->store,
				"a store in a file needs --size, for instance --size 10G");
	if (!is_block && check_fits(o, p.reactors) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	if (!o->force && disk_make_check_unused(o->store, err) < 0)
		return cmd_fail_io(err);
	if (make_file(&p, err) < 0)
		return cmd_fail_io(err);
	return open_and_format(&p);
}
