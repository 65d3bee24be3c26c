/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>

#include "lib/arena.h"
#include "store/format.h"
#include "store/store.h"

/* A new store is a superblock and nothing else: whatever lies in the regions carries another disk
 * id and fails every check. */

struct mkfs {
	struct env *env;
	struct env_disk *disk;
	struct store_format f;
	struct disk_io io;
	struct disk_super *super;
	uint8_t *region; /* SUPER_REGION_BYTES, as found */
	unsigned step;
	void (*done)(void *arg, int res, const char *why);
	void *arg;
};

size_t store_format_memory(void)
{
	return arena_cost(sizeof(struct mkfs), ARENA_ALIGN) + arena_cost(BLOCK_BYTES, BLOCK_BYTES) +
	       arena_cost(SUPER_REGION_BYTES, BLOCK_BYTES);
}

static bool holds_store(const struct mkfs *m)
{
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct disk_super *sb = (const void *)(m->region + super_offset_bytes(i));

		if (sb->magic == SUPER_MAGIC)
			return true;
	}
	return false;
}

static int fill(struct mkfs *m, const char **ret_why)
{
	struct store_layout l;
	int res = format_layout(m->disk->size_bytes, m->f.log_bytes, 0, &l, ret_why);

	if (res)
		return res;
	*m->super = (struct disk_super){.magic = SUPER_MAGIC,
					.version = STORE_VERSION,
					.disk = m->f.disk,
					.generation = 1,
					.secret = m->f.secret,
					.disk_bytes = m->disk->size_bytes,
					.slice = m->f.slice,
					.slices_n = MAX(m->f.slices_n, 1u)};
	super_lay_out(m->super, &l);
	super_seal(m->super);
	return 0;
}

static void step_done(struct disk_io *io, int res);

static const char *transfer_wrong(int res)
{
	if (res == -ENOSPC || res == -EDQUOT)
		return "disk: no space left: free some, or give another place";
	if (res == -EIO)
		return "disk: input/output error: check the device";
	return "disk: a read or write was refused: check the device and its limits";
}

static void submit(struct mkfs *m, enum disk_op op, uint64_t offset_bytes, uint32_t len_bytes,
		   void *data)
{
	m->io = (struct disk_io){.op = op,
				 .offset_bytes = offset_bytes,
				 .len_bytes = len_bytes,
				 .data = data,
				 .done = step_done};
	m->disk->submit(m->disk, &m->io);
}

static void step_done(struct disk_io *io, int res)
{
	struct mkfs *m = CONTAINER_OF(io, struct mkfs, io);
	const char *why = transfer_wrong(res);

	if (res == 0 && m->step == 0) {
		if (holds_store(m) && !m->f.force) {
			res = -EEXIST;
			why = "disk: holds a chainblk store already: use --force to lose it";
		} else {
			res = fill(m, &why);
		}
	}
	if (res) {
		m->done(m->arg, res, why);
		return;
	}
	m->step++;
	if (m->step <= SUPER_COPIES)
		submit(m, DISK_WRITE, super_offset_bytes(m->step - 1), BLOCK_BYTES, m->super);
	else if (m->step == SUPER_COPIES + 1)
		submit(m, DISK_FLUSH, 0, 0, NULL);
	else
		m->done(m->arg, 0, "");
}

void store_format_start(struct env *e, struct env_disk *d, const struct store_format *f,
			struct arena *a, void (*done)(void *arg, int res, const char *why),
			void *arg)
{
	struct mkfs *m = arena_alloc(a, sizeof(*m), ARENA_ALIGN);

	*m = (struct mkfs){.env = e, .disk = d, .f = *f, .done = done, .arg = arg};
	m->super = arena_alloc(a, BLOCK_BYTES, BLOCK_BYTES);
	m->region = arena_alloc(a, SUPER_REGION_BYTES, BLOCK_BYTES);
	submit(m, DISK_READ, 0, SUPER_REGION_BYTES, m->region);
}
