/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/bench/store/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "io/disk_make.h"
#include "tests/bench/measure.h"

#define POOL_BYTES (48ull << 20) /* chaind's default of --memory */
#define WATCH_NS 1000000000ull   /* as in chaind, and so is scrubbing */
#define SCRUB_NS (14ull * 86400 * 1000000000)
#define SETTLE_TICK_NS 50000000ull
#define SETTLE_SHORT_NS 200000000ull
#define SETTLE_LONG_NS 1500000000ull /* the store takes a second */
#define SETTLE_LOG_BYTES (64u << 10)

static void randomize(void *out, size_t len)
{
	if (getrandom(out, len, 0) != (ssize_t)len)
		measure_die("getrandom", errno);
}

static struct buf_pool_config pool_config(void)
{
	struct buf_pool_config c = {
		.large_n = (uint32_t)(POOL_BYTES * 6 / 10 / OP_BYTES_MAX),
		.small_n = (uint32_t)(POOL_BYTES * 4 / 10 / BUF_SMALL_BYTES),
	};

	c.reserve_large = c.large_n / 4;
	c.reserve_small = c.small_n / 4;
	return c;
}

/* ---- the loop ---- */

void host_wait(struct host *h)
{
	while (!h->done) {
		int res = reactor_run(h->reactor);

		if (res < 0)
			measure_die("io_uring", -res);
	}
	h->done = false;
}

void host_wake(struct host *h)
{
	h->done = true;
	reactor_stop(h->reactor);
}

static void quiet(void *arg, int level, const char *line)
{
	(void)arg;
	if (level < ENV_INFO)
		fprintf(stderr, "%s\n", line);
}

static void disk_up(struct host *h, const char *path)
{
	const struct disk_config dc = {.path = path};
	const struct reactor_config rc = {.log = quiet};
	char err[IO_ERR_BYTES];

	*h = (struct host){.path = path};
	if (reactor_open(&rc, &h->reactor, err) < 0 ||
	    disk_open(h->reactor, &dc, &h->disk, err) < 0)
		measure_die(err, 0);
	h->env = reactor_env(h->reactor);
}

static void disk_down(struct host *h)
{
	disk_close(h->disk);
	reactor_close(h->reactor);
	reactor_memory_free(h->memory, h->memory_bytes);
}

static void take_memory(struct host *h, size_t len)
{
	h->memory_bytes = len;
	h->memory = reactor_memory(len);
	if (!h->memory)
		measure_die("memory", ENOMEM);
	arena_init(&h->arena, h->memory, len);
}

/* ---- format ---- */

static void on_formatted(void *arg, int res, const char *why)
{
	if (res < 0)
		measure_die(why, -res);
	host_wake(arg);
}

static bool go_on(void *arg, const struct disk_make_progress *p)
{
	(void)arg;
	(void)p;
	return true;
}

static void make_sparse(const struct host_format *f)
{
	int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)f->size_bytes) < 0)
		measure_die(f->path, errno);
	close(fd);
}

static void make_written(const struct host_format *f)
{
	const struct disk_make m = {
		.path = f->path, .size_bytes = f->size_bytes, .force = true, .go_on = go_on};
	uint64_t written_bytes;
	char err[IO_ERR_BYTES];

	if (disk_make_file(&m, &written_bytes, err) < 0)
		measure_die(err, 0);
}

void host_format(const struct host_format *f)
{
	struct store_format sf = {.log_bytes = f->log_bytes, .force = true};
	struct host h;

	if (f->sparse)
		make_sparse(f);
	else
		make_written(f);
	disk_up(&h, f->path);
	take_memory(&h, store_format_memory());
	randomize(&sf.disk, sizeof(sf.disk));
	randomize(&sf.secret, sizeof(sf.secret));
	store_format_start(h.env, h.disk, &sf, &h.arena, on_formatted, &h);
	host_wait(&h);
	disk_down(&h);
}

/* ---- open, close ---- */

static void on_opened(void *arg, int res, const char *why, const struct store_opened *found)
{
	(void)found;
	if (res < 0)
		measure_die(why, -res);
	host_wake(arg);
}

void host_open(struct host *h, const char *path)
{
	const struct buf_pool_config pool = pool_config();
	struct store_config cfg = {.bufs = &h->bufs,
				   .chains_max = NODE_CHAINS_MAX,
				   .watch_ns = WATCH_NS,
				   .scrub_ns = SCRUB_NS};
	uint64_t start_ns;

	disk_up(h, path);
	start_ns = measure_now_ns();
	take_memory(h, buf_pool_bytes(&pool) + store_memory(h->disk->size_bytes, NODE_CHAINS_MAX));
	buf_pool_init(&h->bufs, &pool, &h->arena);
	reactor_region(h->reactor, h->bufs.region, h->bufs.region_bytes);
	cfg.env = h->env;
	cfg.disk = h->disk;
	randomize(&cfg.incarnation, sizeof(cfg.incarnation));
	h->store = store_open(&cfg, &h->arena, on_opened, h);
	host_wait(h);
	h->open_ns = measure_now_ns() - start_ns;
	store_registered(h->store);
	store_stats(h->store, &h->opened);
}

static void on_closed(void *arg)
{
	host_wake(arg);
}

void host_close(struct host *h)
{
	store_close(h->store, on_closed, h);
	host_wait(h);
	disk_down(h);
}

/* ---- settling ---- */

static void on_settle(struct env_timer *t)
{
	struct host *h = CONTAINER_OF(t, struct host, settle);
	uint64_t now = h->env->now_ns(h->env), quiet_ns;
	struct store_stats st;

	store_stats(h->store, &st);
	if (st.failed)
		measure_die("the store failed", 0);
	if (st.written_bytes != h->settle_bytes) {
		h->settle_bytes = st.written_bytes;
		h->settle_since_ns = now;
	}
	quiet_ns = now - h->settle_since_ns;
	if (quiet_ns >= SETTLE_LONG_NS ||
	    (quiet_ns >= SETTLE_SHORT_NS && st.log_used_bytes <= SETTLE_LOG_BYTES))
		host_wake(h);
	else
		h->env->timer_arm(h->env, t, now + SETTLE_TICK_NS);
}

void host_settle(struct host *h)
{
	h->settle.fn = on_settle;
	h->settle_since_ns = h->env->now_ns(h->env);
	h->env->timer_arm(h->env, &h->settle, h->settle_since_ns + SETTLE_TICK_NS);
	host_wait(h);
}

/* ---- the process ---- */

static uint64_t proc_field(const char *path, const char *name)
{
	char line[128];
	size_t len = strlen(name);
	uint64_t value = 0;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, len) == 0)
			value = strtoull(line + len, NULL, 10);
	if (f)
		fclose(f);
	return value;
}

uint64_t host_kernel_bytes(void)
{
	return proc_field("/proc/self/io", "write_bytes:");
}

uint64_t host_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t host_peak_kib(void)
{
	return proc_field("/proc/self/status", "VmHWM:");
}
