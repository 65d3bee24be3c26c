/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A whole store opened from a disk whose structures were changed and whose checksums are right
 * again (mend.h). Input: one byte (0x80: leave the checksums alone), then changes of
 *
 *	structure (1: superblock, record block, checkpoint block or log header, modulo how many)
 *	offset    (2: within what is not zero of its block, and a little more)
 *	length    (1: up to 8; 0x80: what follows is a number to be added to what is there)
 *	bytes
 *
 * Whatever it is: the open is refused by name, or there is a store, sound in itself, that is read,
 * written, destaged, checkpointed, closed and opened again. Content is not compared: who writes the
 * checksums may write what he likes. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc.h"
#include "tests/fault/life.h"
#include "tests/fault/world_fake.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mend.h"
#include "tests/unit/store_await.h"

#define AS_IT_IS 0x80u
#define ADD 0x80u
#define CHANGES_MAX 32u
#define STEPS_MAX 300000u
#define LOOK_BLOCKS 80u
#define REST_NS 3000000000ull
#define OPEN_CHAINS 8u

static struct world_fake world;
static struct life life; /* makes the image, and lends its pool */
static struct mend_places places;
static uint8_t *image; /* as it is before a change */
static uint8_t *changed;

/* ---- the sound image ---- */

static void make_image(void)
{
	struct life *l = &life;

	world_fake_init(&world, LIFE_DISK_BYTES);
	world_fake_reset(&world, 5);
	life_init(l);
	life_begin(l, &world.w, NULL);
	life_format(l);
	life_open(l);
	life_cluster(l);
	for (uint32_t i = 0; i < 9; i++)
		life_write(l, 1 + i % 3, i % 2, i * 7, 1 + i % 5);
	life_write(l, 1, 0, 0, 40);
	life_rest(l);
	for (uint32_t i = 0; i < 6; i++)
		life_write(l, 1 + i % 3, i % 2, i * 5, 1 + i % 3);
	life_write(l, 2, 1, 16, 32);
	life_unmap(l, 1, 0, 3, 20);
	life_same(l, 3, 0, 8, 6, false);
	life_epoch(l, 2);
	life_sync(l);
	for (uint32_t c = 1; c <= LIFE_CHAINS; c++)
		life_commit(l, c);
	life_pass(l, 50000000);
	life_write(l, 1, 0, 16, 16);
	life_write(l, 2, 0, 3, 5);
	life_sync(l);
	life_close(l);
	CHECK(!l->over);
	world.w.power_cut(&world.w, 0);
	image = malloc(LIFE_DISK_BYTES);
	changed = malloc(LIFE_DISK_BYTES);
	memcpy(image, world.disk.durable, LIFE_DISK_BYTES);
	memcpy(changed, image, LIFE_DISK_BYTES);
	world.image = image;
	mend_find(image, LIFE_DISK_BYTES, &places);
	CHECK(places.headers_n > 2 && places.ckpt_n > 3 && places.recs_n > 0);
}

/* ---- changes ---- */

static uint64_t structure(uint8_t which)
{
	uint32_t i = which % (1 + places.recs_n + places.ckpt_n + places.headers_n);

	if (i == 0)
		return 0;
	i--;
	if (i < places.recs_n)
		return places.recs[i];
	i -= places.recs_n;
	return i < places.ckpt_n ? places.ckpt[i] : places.headers[i - places.ckpt_n];
}

/* Where something is to be changed in a block: not in the zeros that most of it consists of. */
static uint32_t used_bytes(uint64_t block)
{
	uint32_t n = BLOCK_BYTES;

	while (n > 0 && image[block + n - 1] == 0)
		n--;
	return MIN(n + 16, BLOCK_BYTES);
}

static void change_bytes(uint8_t *to, const uint8_t *from, size_t n, bool add)
{
	unsigned carry = 0;

	for (size_t i = 0; i < n; i++) {
		carry += add ? to[i] + from[i] : from[i];
		to[i] = (uint8_t)carry;
		carry = add ? carry >> 8 : 0;
	}
}

static void change(const uint8_t *input, size_t len)
{
	for (unsigned n = 0; len >= 5 && n < CHANGES_MAX; n++) {
		uint64_t block = structure(input[0]);
		uint32_t at = (input[1] | input[2] << 8) % used_bytes(block);
		size_t bytes = 1 + (input[3] & 7u);

		bytes = MIN(MIN(bytes, len - 4), (size_t)(BLOCK_BYTES - at));
		change_bytes(changed + block + at, input + 4, bytes, input[3] & ADD);
		input += 4 + bytes;
		len -= 4 + bytes;
	}
}

/* Put a block on the disk if it differs, and forget it here. */
static void put(uint64_t at)
{
	if (memcmp(changed + at, image + at, BLOCK_BYTES) == 0)
		return;
	fake_disk_poke(&world.disk, at, changed + at, BLOCK_BYTES);
	world_fake_touch(&world, at);
	memcpy(changed + at, image + at, BLOCK_BYTES);
}

static void put_changes(void)
{
	for (uint32_t i = 0; i < places.recs_n; i++)
		put(places.recs[i]);
	for (uint32_t i = 0; i < places.ckpt_n; i++)
		put(places.ckpt[i]);
	for (uint32_t i = 0; i < places.headers_n; i++)
		put(places.headers[i]);
	for (uint32_t i = 0; i < MEND_SUPER_COPIES; i++)
		put(mend_super_offset(i));
}

/* ---- a store, whoever wrote it ---- */

struct opening {
	struct store *s;
	bool done;
	int res;
	void *memory;
};

static void run(const bool *flag)
{
	for (uint32_t n = 0; !*flag; n++) {
		CHECK(n < STEPS_MAX); /* it hangs, busily */
		CHECK(world.w.step(&world.w));
	}
}

static void pass(uint64_t ns)
{
	life.over = false;
	life.steps = 0;
	life_pass(&life, ns);
}

static void opened(void *arg, int res, const char *why, const struct store_opened *found)
{
	struct opening *o = arg;

	(void)found;
	CHECK(res <= 0);
	CHECK(res == 0 || (strchr(why, ':') && strlen(why) >= 16));
	o->res = res;
	o->done = true;
}

static void closed(void *arg)
{
	*(bool *)arg = true;
}

static bool open_store(struct opening *o)
{
	const struct store_config cfg = {.env = world.w.env,
					 .disk = &world.disk.disk,
					 .bufs = &life.bufs,
					 .chains_max = OPEN_CHAINS,
					 .incarnation = {{7}}};
	size_t bytes = store_memory(LIFE_DISK_BYTES, OPEN_CHAINS);
	struct arena a;

	*o = (struct opening){.memory = fake_memory(bytes)};
	arena_init(&a, o->memory, bytes);
	o->s = store_open(&cfg, &a, opened, o);
	run(&o->done);
	if (o->res == 0)
		return true;
	pass(0);
	fake_memory_free(o->memory, bytes);
	return false;
}

static void close_store(struct opening *o)
{
	bool done = false;

	store_close(o->s, closed, &done);
	run(&done);
	CHECK(life.bufs.small_free_n == life.bufs.small_n);
	CHECK(life.bufs.large_free_n == life.bufs.large_n);
	fake_memory_free(o->memory, store_memory(LIFE_DISK_BYTES, OPEN_CHAINS));
}

static void read_all(struct store *s, const struct store_chain_info *c)
{
	static struct await_read rd;
	static struct await_fetch fe;

	for (uint32_t i = 0; i < 8; i++) {
		rd.read = (struct store_read){.chain = c->chain,
					      .volume = c->chain,
					      .extent = i / 2,
					      .blocks = LOOK_BLOCKS,
					      .sequenced = i % 2};
		await_read(s, &rd);
		run(&rd.done);
		CHECK(rd.res == 0 || rd.res == -EBADMSG || rd.res == -EIO);
		CHECK((rd.res == 0) == (rd.read.data != NULL));
		buf_put(rd.read.data);
	}
	for (uint64_t seq = c->committed + 1; seq <= c->last && seq - c->committed < 8; seq++) {
		fe.fetch = (struct store_fetch){.chain = c->chain, .seq = seq};
		await_fetch(s, &fe);
		run(&fe.done);
		CHECK(fe.res <= 0);
		buf_put(fe.fetch.data);
	}
}

static void op_done(struct store_op *op, int res)
{
	(void)op;
	CHECK(res == 0 || res == -EIO);
}

static void op_released(struct store_op *op)
{
	(void)op;
}

static void write_one(struct store *s, const struct store_chain_info *c, struct store_op *op)
{
	static uint32_t crc[OPEN_CHAINS];
	const struct block_addr at = {c->chain, 0, 5};
	uint32_t *to = &crc[c->chain % OPEN_CHAINS];
	struct buf *data = buf_get(&life.bufs, BLOCK_BYTES, BUF_NODE);

	memset(data->data, 0x5a, BLOCK_BYTES);
	*to = crc_block(&at, data->data);
	*op = (struct store_op){.crcs = to, .data = data, .done = op_done, .released = op_released};
	op->rec = (struct op_rec){.seq = c->last + 1,
				  .epoch = 1,
				  .volume = c->chain,
				  .chain = c->chain,
				  .kind = OP_WRITE,
				  .block = 5,
				  .blocks = 1,
				  .crcs_n = 1,
				  .data_bytes = BLOCK_BYTES};
	if (store_append(s, op) < 0)
		op->rec.seq = 0;
	buf_put(data);
}

static void use(struct store *s)
{
	static struct store_op ops[OPEN_CHAINS];
	struct store_chain_info c;

	store_check(s);
	for (unsigned i = 0; i < store_chains_n(s); i++) {
		store_chain_at(s, i, &c);
		read_all(s, &c);
		store_commit(s, c.chain, c.last);
		write_one(s, &c, &ops[i]);
	}
	pass(REST_NS);
	for (unsigned i = 0; i < store_chains_n(s); i++)
		if (ops[i].rec.seq && ops[i].durable)
			store_commit(s, ops[i].rec.chain, ops[i].rec.seq);
	pass(REST_NS);
	store_check(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct opening o;

	if (len < 1)
		return 0;
	if (!image)
		make_image();
	world_fake_reset(&world, 9);
	change(input + 1, len - 1);
	if (!(input[0] & AS_IT_IS)) {
		mend_records(changed, &places);
		mend_checkpoint(changed, &places);
		mend_log(changed, &places);
		mend_super(changed);
	}
	put_changes();
	if (open_store(&o)) {
		use(o.s);
		close_store(&o);
		if (open_store(&o))
			close_store(&o);
	}
	CHECK(world_fake_quiet(&world));
	return 0;
}
