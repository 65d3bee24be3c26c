/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/crc.h"

#define HEAP_BYTES (1ull << 30)
#define STEPS_MAX 1000000u /* a store that is still busy then never stops */

static const struct buf_pool_config pool = {.small_n = 128, .large_n = 24};

void world_note(struct world *w, const struct mark *k)
{
	model_apply(&w->model, k);
	if (w->disk.rec)
		record_mark(w->disk.rec, k);
}

/* ---- life ---- */

void world_init(struct world *w, uint64_t disk_bytes_max)
{
	memset(w, 0, sizeof(*w));
	heap_init(&w->heap, HEAP_BYTES);
	fake_env_init(&w->fe, 1);
	disk_init(&w->disk, &w->fe, &w->heap);
	w->bufs_memory = fake_memory(buf_pool_bytes(&pool));
	fresh_init(&w->memory, store_memory(disk_bytes_max, MODEL_CHAINS));
}

void world_fini(struct world *w)
{
	heap_fini(&w->heap);
	fake_memory_free(w->bufs_memory, buf_pool_bytes(&pool));
	fresh_fini(&w->memory);
}

/* The payloads keep what they hold: an earlier process' bytes, as in real memory. */
static void reset_pool(struct world *w)
{
	struct arena a;

	memset(w->bufs_memory, 0, (pool.small_n + pool.large_n) * sizeof(struct buf) + ARENA_ALIGN);
	arena_init(&a, w->bufs_memory, buf_pool_bytes(&pool));
	buf_pool_init(&w->bufs, &pool, &a);
}

static void no_process(struct world *w)
{
	fake_env_crash(&w->fe);
	for (uint32_t i = 0; i < w->op_high; i++)
		w->op[i].used = false;
	w->op_next = w->op_high = 0;
	w->s = NULL;
}

void world_boot(struct world *w, const struct image *image, const struct model *model,
		struct record *rec, uint64_t seed)
{
	no_process(w);
	disk_power_off(&w->disk);
	w->fe.clock.rng = seed;
	w->fe.clock.now_ns = 1;
	if (image)
		image_copy(&w->disk.now, image);
	if (model)
		model_copy(&w->model, model);
	w->disk.rec = rec;
	w->disk.awaited = 0;
	if (rec)
		record_start(rec, &w->disk.now, &w->model);
}

static void done_res(void *arg, int res, const char *why)
{
	struct world *w = arg;

	w->flag = true;
	w->res = res;
	snprintf(w->why, sizeof(w->why), "%s", why);
}

void world_set_disk(struct world *w, const struct world_disk *d)
{
	CHECK(region_map_init(&w->disk.regions, d->disk_bytes, d->log_bytes) == 0);
	w->disk.disk.size_bytes = d->disk_bytes;
	w->disk.disk.volatile_cache = !d->write_through;
	w->what = *d;
}

int world_format(struct world *w, const struct world_disk *d)
{
	const struct store_format f = {
		.disk = {{1, 2, 3}}, .secret = d->secret, .log_bytes = d->log_bytes, .force = true};
	size_t bytes = store_format_memory();
	void *memory = fake_memory(bytes);
	struct arena a;

	no_process(w);
	disk_power_off(&w->disk);
	if (region_map_init(&w->disk.regions, d->disk_bytes, d->log_bytes))
		return -ENOSPC;
	world_set_disk(w, d);
	image_init(&w->disk.now, (uint32_t)(d->disk_bytes / BLOCK_BYTES));
	arena_init(&a, memory, bytes);
	w->flag = false;
	store_format_start(&w->fe.clock.env, &w->disk.disk, &f, &a, done_res, w);
	world_run(w, &w->flag);
	fake_memory_free(memory, bytes);
	return w->res;
}

static void done_open(void *arg, int res, const char *why, const struct store_opened *found)
{
	struct world *w = arg;

	w->found = *found;
	done_res(w, res, why);
}

static void space(void *arg)
{
	((struct world *)arg)->spaced = true;
}

void world_open_start(struct world *w)
{
	struct store_config cfg = {.env = &w->fe.clock.env,
				   .disk = &w->disk.disk,
				   .bufs = &w->bufs,
				   .chains_max = MODEL_CHAINS,
				   .reqtab_clients = WORLD_REQTAB_CLIENTS,
				   .cache_slots = w->what.cache_slots,
				   .scrub_ns = w->what.scrub_ns};
	const struct mark start = {.kind = MARK_START};
	struct arena a;

	for (unsigned i = 0; i < sizeof(w->incarnation.b); i++)
		w->incarnation.b[i] = (uint8_t)fake_random(&w->fe, 256);
	w->incarnation.b[0] |= 1;
	cfg.incarnation = w->incarnation;
	reset_pool(w);
	fresh_zero(&w->memory);
	arena_init(&a, w->memory.base, w->memory.len_bytes);
	w->flag = w->spaced = false;
	if (w->disk.rec)
		record_event(w->disk.rec, EVENT_NEW_PROCESS, 0);
	world_note(w, &start);
	w->s = store_open(&cfg, &a, done_open, w);
}

void world_open_end(struct world *w)
{
	world_run(w, &w->flag);
	if (w->res)
		fprintf(stderr, "open: %d %s\n", w->res, w->why);
	CHECK(w->res == 0);
	store_on_space(w->s, space, w);
	model_expect_opened(&w->model, &w->found);
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++) {
		struct mark k = {.kind = MARK_OPENED, .chain = i, .info = {.chain = i}};

		if (store_chain_info(w->s, i, &k.info))
			CHECK(store_chain_add(w->s, i) == 0);
		model_expect_found(&w->model, &k.info);
		model_expect_requests(&w->model.chain[i], &k.info, w->s);
		world_note(w, &k);
	}
}

void world_open(struct world *w)
{
	world_open_start(w);
	world_open_end(w);
}

static void closed(void *arg)
{
	((struct world *)arg)->flag = true;
}

void world_close(struct world *w)
{
	w->flag = false;
	store_close(w->s, closed, w);
	world_run(w, &w->flag);
	CHECK(list_empty(&w->fe.clock.tasks));
	CHECK(list_empty(&w->fe.clock.timers));
	CHECK(w->disk.queue_n == 0);
	no_process(w);
}

void world_kill(struct world *w)
{
	disk_kill(&w->disk);
	no_process(w);
}

/* ---- time ---- */

bool world_step(struct world *w)
{
	bool did = disk_step(&w->disk);

	return fake_step_now(&w->fe) || did;
}

void world_quiet(struct world *w)
{
	for (uint32_t n = 0; world_step(w); n++)
		CHECK(n < STEPS_MAX);
}

void world_pass(struct world *w, uint64_t ns)
{
	uint64_t until = w->fe.clock.now_ns + ns;

	world_quiet(w);
	for (uint32_t n = 0; fake_clock_next_ns(&w->fe.clock) <= until; n++) {
		CHECK(n < STEPS_MAX);
		fake_step(&w->fe);
		world_quiet(w);
	}
	w->fe.clock.now_ns = MAX(w->fe.clock.now_ns, until);
}

void world_run(struct world *w, const bool *flag)
{
	for (uint32_t n = 0; !*flag; n++) {
		CHECK(n < STEPS_MAX);
		if (!world_step(w))
			CHECK(fake_step(&w->fe)); /* else it waits for nothing */
	}
}
