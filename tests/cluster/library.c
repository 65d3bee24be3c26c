/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* library - every call of libchainblk against a running cluster, from many threads at once, each
 * compared with a copy in memory.
 *
 *	library CFG VOLUME OPS_PER_THREAD SEED
 *
 * The volume has at least THREADS * REGION_BYTES and holds zeros. Prints one line and exits 0. */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base.h"
#include "libchainblk/chainblk.h"

#define THREADS 6u
#define REGION_BYTES (10u << 20) /* not a multiple of an extent: borders lie inside */
#define LEN_MAX (3u << 20)
#define BLOCK CHAINBLK_BLOCK_BYTES
#define SECTOR CHAINBLK_SECTOR_BYTES
#define BURST 4000u

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "library: %s:%d: %s: ", __FILE__, __LINE__, #cond);        \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\n");                                                     \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned done;
	struct chainblk_result result;
};

struct worker {
	struct chainblk *vol;
	struct waiter w;
	uint64_t base, random;
	uint8_t *model, *data;
	unsigned ops, number;
};

static void on_done(void *arg, const struct chainblk_result *result)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->result = *result;
	w->done++;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static int wait_for(struct waiter *w, int submitted)
{
	if (submitted < 0)
		return submitted;
	pthread_mutex_lock(&w->lock);
	while (!w->done)
		pthread_cond_wait(&w->cond, &w->lock);
	w->done = 0;
	pthread_mutex_unlock(&w->lock);
	return w->result.status;
}

static uint64_t next(struct worker *k)
{
	k->random ^= k->random << 13;
	k->random ^= k->random >> 7;
	k->random ^= k->random << 17;
	return k->random;
}

/* A range of multiples of @unit inside the region. */
static void pick(struct worker *k, uint32_t unit, uint32_t len_max, uint64_t *at, uint32_t *len)
{
	uint32_t most = (next(k) % 4 ? MIN(len_max, 64u << 10) : len_max) / unit;

	*len = (uint32_t)(next(k) % most + 1) * unit;
	*at = next(k) % ((REGION_BYTES - *len) / unit + 1) * unit;
}

/* Cut [buf, buf+len) into up to 12 pieces at any byte. */
static int cut(struct worker *k, uint8_t *buf, uint32_t len, struct iovec iov[12])
{
	int n = 0;

	while (len && n < 11) {
		uint32_t take = (uint32_t)(next(k) % len + 1);

		iov[n++] = (struct iovec){.iov_base = buf, .iov_len = take};
		buf += take;
		len -= take;
	}
	if (len)
		iov[n++] = (struct iovec){.iov_base = buf, .iov_len = len};
	return n;
}

static void check_read(struct worker *k, uint64_t at, uint32_t len)
{
	struct iovec iov[12];
	int n = cut(k, k->data, len, iov), res;

	memset(k->data, 0x5a, len);
	res = wait_for(&k->w, chainblk_read(k->vol, iov, n, k->base + at, on_done, &k->w));
	REQUIRE(res == 0, "read: %s", chainblk_strerror(res));
	for (uint32_t i = 0; i < len; i++)
		REQUIRE(k->data[i] == k->model[at + i],
			"thread %u, byte %" PRIu64 ": %02x instead of %02x", k->number,
			k->base + at + i, k->data[i], k->model[at + i]);
}

static int do_write(struct worker *k)
{
	struct iovec iov[12];
	uint64_t at;
	uint32_t len;

	pick(k, SECTOR, LEN_MAX, &at, &len);
	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t word = next(k);

		memcpy(k->data + i, &word, 8);
	}
	memcpy(k->model + at, k->data, len);
	return wait_for(&k->w, chainblk_write(k->vol, iov, cut(k, k->data, len, iov), k->base + at,
					      next(k) % 2 ? CHAINBLK_FUA : 0, on_done, &k->w));
}

static int do_zeroes(struct worker *k)
{
	uint64_t at;
	uint32_t len;

	pick(k, SECTOR, LEN_MAX, &at, &len);
	memset(k->model + at, 0, len);
	return wait_for(&k->w, chainblk_write_zeroes(k->vol, k->base + at, len, 0, on_done, &k->w));
}

static int do_discard(struct worker *k)
{
	uint64_t at, from, to;
	uint32_t len;

	pick(k, SECTOR, LEN_MAX, &at, &len);
	/* The region begins at a block. */
	from = (at + BLOCK - 1) / BLOCK * BLOCK;
	to = (at + len) / BLOCK * BLOCK;
	if (from < to)
		memset(k->model + from, 0, to - from);
	return wait_for(&k->w, chainblk_discard(k->vol, k->base + at, len, on_done, &k->w));
}

static int do_same(struct worker *k)
{
	uint8_t pattern[BLOCK];
	uint64_t at;
	uint32_t len;

	pick(k, BLOCK, LEN_MAX, &at, &len);
	memset(pattern, (int)(next(k) & 0xff), sizeof(pattern));
	pattern[17] = (uint8_t)k->number;
	for (uint32_t i = 0; i < len; i += BLOCK)
		memcpy(k->model + at + i, pattern, BLOCK);
	return wait_for(&k->w,
			chainblk_write_same(k->vol, pattern, k->base + at, len, 0, on_done, &k->w));
}

static int do_compare_write(struct worker *k)
{
	uint32_t sectors = (uint32_t)(next(k) % 8 + 1), len = sectors * SECTOR, wrong;
	uint64_t at = next(k) % (REGION_BYTES / BLOCK - 1) * BLOCK;
	uint8_t compare[8 * SECTOR];
	int res;

	memcpy(compare, k->model + at, len);
	wrong = (uint32_t)(next(k) % len);
	memset(k->data, (int)(next(k) & 0xff), len);
	if (next(k) % 2) {
		compare[wrong] ^= 1;
		res = wait_for(&k->w, chainblk_compare_write(k->vol, compare, k->data, len,
							     k->base + at, 0, on_done, &k->w));
		REQUIRE(res == -EILSEQ, "compare-and-write of other data: %d", res);
		REQUIRE(k->w.result.offset == wrong, "offset %u, not %u", k->w.result.offset,
			wrong);
		return 0;
	}
	memcpy(k->model + at, k->data, len);
	return wait_for(&k->w, chainblk_compare_write(k->vol, compare, k->data, len, k->base + at,
						      0, on_done, &k->w));
}

/* What is not zero must be present. */
static int do_present(struct worker *k)
{
	uint8_t present[REGION_BYTES / BLOCK / 8 + 1] = {0};
	uint64_t at;
	uint32_t len;
	int res;

	pick(k, BLOCK, REGION_BYTES, &at, &len);
	res = wait_for(&k->w, chainblk_present(k->vol, k->base + at, len, present, on_done, &k->w));
	for (uint32_t b = 0; res == 0 && b < len / BLOCK; b++) {
		const uint8_t *p = k->model + at + (uint64_t)b * BLOCK;
		bool zero = p[0] == 0 && memcmp(p, p + 1, BLOCK - 1) == 0;

		REQUIRE(zero || (present[b / 8] >> (b % 8) & 1), "block %u holds data", b);
	}
	return res;
}

static void *work(void *arg)
{
	int (*const calls[])(struct worker *) = {do_write, do_write,         do_zeroes, do_discard,
						 do_same,  do_compare_write, do_present};
	struct worker *k = arg;
	uint64_t at;
	uint32_t len;

	for (unsigned i = 0; i < k->ops; i++) {
		unsigned which = (unsigned)(next(k) % (sizeof(calls) / sizeof(calls[0])));
		int res = calls[which](k);

		REQUIRE(res == 0, "call %u of thread %u: %s", which, k->number,
			chainblk_strerror(res));
		pick(k, SECTOR, LEN_MAX, &at, &len);
		check_read(k, at, len);
	}
	REQUIRE(wait_for(&k->w, chainblk_flush(k->vol, on_done, &k->w)) == 0, "flush");
	for (at = 0; at < REGION_BYTES; at += LEN_MAX)
		check_read(k, at, (uint32_t)MIN(LEN_MAX, REGION_BYTES - at));
	return NULL;
}

static void check_refusals(struct chainblk *vol)
{
	struct chainblk_where where;
	struct chainblk_info info;
	static uint8_t buf[2 * BLOCK];
	struct iovec iov = {buf, BLOCK}, odd = {buf, 100};
	struct waiter w = {.done = 0};

	chainblk_get_info(vol, &info);
	REQUIRE(info.size_bytes >= THREADS * REGION_BYTES, "volume too small");
	REQUIRE(chainblk_read(vol, &iov, 1, info.size_bytes, on_done, &w) == -ENXIO, "end");
	REQUIRE(chainblk_read(vol, &iov, 1, 100, on_done, &w) == -EINVAL, "unaligned offset");
	REQUIRE(chainblk_read(vol, &odd, 1, 0, on_done, &w) == -EINVAL, "unaligned length");
	REQUIRE(chainblk_write(vol, &iov, 1, 0, 0x80, on_done, &w) == -EINVAL, "unknown flag");
	REQUIRE(chainblk_discard(vol, 0, 0, on_done, &w) == -EINVAL, "nothing to discard");
	REQUIRE(chainblk_compare_write(vol, buf, buf, BLOCK, CHAINBLK_EXTENT_BYTES - SECTOR, 0,
				       on_done, &w) == -EINVAL,
		"two extents");
	REQUIRE(chainblk_where(vol, 0, &where) == 0, "where");
	REQUIRE(where.servers_n > 0 && where.chain > 0 && where.servers[0].name[0], "where");
	REQUIRE(chainblk_where(vol, info.size_bytes, &where) == -ENXIO, "where past the end");
	REQUIRE(w.done == 0, "a refused call completed");
}

/* More than fits, then close with all of it in flight: what was taken completes, once. */
static void check_burst(const struct chainblk_options *opt, uint64_t offset)
{
	struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0, 0}};
	static uint8_t zeros[BLOCK];
	struct iovec iov = {zeros, BLOCK};
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk *vol;
	unsigned taken = 0, refused = 0;

	REQUIRE(chainblk_open(opt, &vol, err) == 0, "%s", err);
	for (unsigned i = 0; i < BURST; i++) {
		int res = chainblk_write(vol, &iov, 1, offset, 0, on_done, &w);

		REQUIRE(res == 0 || res == -EAGAIN, "%s", chainblk_strerror(res));
		taken += res == 0;
		refused += res == -EAGAIN;
	}
	chainblk_close(vol);
	REQUIRE(w.done == taken, "%u completions of %u", w.done, taken);
	REQUIRE(w.result.status == 0, "%s", chainblk_strerror(w.result.status));
	REQUIRE(taken >= CHAINBLK_QUEUE_MAX, "only %u of %u were taken", taken, taken + refused);
}

static void check_read_only(struct chainblk_options opt)
{
	struct iovec iov = {NULL, BLOCK};
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk *vol;

	opt.read_only = true;
	REQUIRE(chainblk_open(&opt, &vol, err) == 0, "%s", err);
	REQUIRE(chainblk_write(vol, &iov, 1, 0, 0, on_done, NULL) == -EROFS, "write");
	REQUIRE(chainblk_discard(vol, 0, BLOCK, on_done, NULL) == -EROFS, "discard");
	chainblk_close(vol);
	opt.volume = "there-is-none";
	REQUIRE(chainblk_open(&opt, &vol, err) == -ENOENT, "%s", err);
	REQUIRE(strstr(err, "there-is-none"), "the error names it: %s", err);
	opt.volume = "bad/name";
	REQUIRE(chainblk_open(&opt, &vol, err) == -EINVAL, "%s", err);
	opt.volume = "vol0";
	opt.cfg = "127.0.0.1:1";
	opt.open_ms = 300;
	REQUIRE(chainblk_open(&opt, &vol, err) == -ENOTCONN, "%s", err);
}

int main(int argc, char **argv)
{
	struct chainblk_options opt = {0};
	static struct worker workers[THREADS];
	pthread_t threads[THREADS];
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk *vol;

	if (argc != 5) {
		fprintf(stderr, "usage: %s CFG VOLUME OPS_PER_THREAD SEED\n", argv[0]);
		return 2;
	}
	opt.cfg = argv[1];
	opt.volume = argv[2];
	REQUIRE(chainblk_open(&opt, &vol, err) == 0, "%s", err);
	check_refusals(vol);
	for (unsigned i = 0; i < THREADS; i++) {
		struct worker *k = &workers[i];

		*k = (struct worker){.vol = vol,
				     .base = (uint64_t)i * REGION_BYTES,
				     .number = i,
				     .ops = (unsigned)strtoul(argv[3], NULL, 10)};
		k->random = (strtoull(argv[4], NULL, 10) + i + 1) * 0x9e3779b97f4a7c15ull;
		pthread_mutex_init(&k->w.lock, NULL);
		pthread_cond_init(&k->w.cond, NULL);
		k->model = calloc(1, REGION_BYTES);
		k->data = malloc(REGION_BYTES);
		REQUIRE(k->model && k->data, "out of memory");
		REQUIRE(pthread_create(&threads[i], NULL, work, k) == 0, "no thread");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	chainblk_close(vol);
	check_burst(&opt, THREADS * REGION_BYTES);
	check_read_only(opt);
	printf("library: %u threads, %s calls each, all as they must be\n", THREADS, argv[3]);
	return 0;
}
