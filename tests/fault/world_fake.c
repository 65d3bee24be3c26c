/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/world_fake.h"

#include <string.h>

#define REST_NS 4000000000ull

static struct world_fake *fake_of(struct world *w)
{
	return CONTAINER_OF(w, struct world_fake, w);
}

static bool step(struct world *w)
{
	return fake_step(&fake_of(w)->fe);
}

static void power_cut(struct world *w, uint32_t keep_permille)
{
	struct world_fake *f = fake_of(w);

	fake_env_crash(&f->fe);
	fake_disk_crash(&f->disk, keep_permille);
}

static void lose(struct world *w)
{
	fake_disk_lose(&fake_of(w)->disk);
}

static void wrote(struct world *w, uint64_t offset_bytes, uint32_t len_bytes)
{
	memset(fake_of(w)->written + offset_bytes / BLOCK_BYTES, 1, len_bytes / BLOCK_BYTES);
}

void world_fake_touch(struct world_fake *f, uint64_t offset_bytes)
{
	f->written[offset_bytes / BLOCK_BYTES] = 1;
}

void world_fake_reset(struct world_fake *f, uint64_t seed)
{
	static const uint8_t zeros[BLOCK_BYTES];

	f->disk.disk.size_bytes = f->disk_bytes;
	power_cut(&f->w, 0);
	f->fe.clock.now_ns = 1;
	f->fe.clock.rng = seed;
	f->fe.shuffle = true;
	for (uint64_t i = 0; i < f->disk_bytes / BLOCK_BYTES; i++) {
		uint64_t at = i * BLOCK_BYTES;

		if (!f->written[i])
			continue;
		fake_disk_poke(&f->disk, at, f->image ? f->image + at : zeros, BLOCK_BYTES);
		f->written[i] = 0;
	}
}

void world_fake_resize(struct world_fake *f, uint64_t disk_bytes)
{
	CHECK(disk_bytes <= f->disk_bytes);
	f->disk.disk.size_bytes = disk_bytes;
}

void world_fake_init(struct world_fake *f, uint64_t disk_bytes)
{
	fake_env_init(&f->fe, 1);
	fake_disk_init(&f->disk, &f->fe, disk_bytes);
	f->disk_bytes = disk_bytes;
	f->w = (struct world){.env = &f->fe.clock.env,
			      .disk = &f->disk.disk,
			      .rest_ns = REST_NS,
			      .step = step,
			      .poll = step,
			      .power_cut = power_cut,
			      .lose = lose,
			      .wrote = wrote};
	f->written = fake_memory(disk_bytes / BLOCK_BYTES);
}

void world_fake_fini(struct world_fake *f)
{
	f->disk.disk.size_bytes = f->disk_bytes;
	fake_disk_fini(&f->disk);
	fake_memory_free(f->written, f->disk_bytes / BLOCK_BYTES);
}

bool world_fake_quiet(const struct world_fake *f)
{
	return list_empty(&f->fe.clock.tasks) && list_empty(&f->fe.clock.timers) &&
	       list_empty(&f->disk.queue);
}
