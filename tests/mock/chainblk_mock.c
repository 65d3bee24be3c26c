/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/mock/chainblk_mock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MOCK_SIZE_DEFAULT (64ull << 20)
#define MOCK_SPACE (1ull << 34) /* address space per volume, so that it can grow in place */

enum mock_kind {
	MOCK_READ,
	MOCK_WRITE,
	MOCK_FLUSH,
	MOCK_DISCARD,
	MOCK_ZEROES,
	MOCK_SAME,
	MOCK_CAW
};

struct mock_op {
	struct mock_op *next;
	enum mock_kind kind;
	uint64_t offset_bytes, len_bytes;
	chainblk_done_fn *done;
	void *arg;
	int status; /* set at submission when a test wants a failure */
	int iov_n;
	struct iovec *iov;
	uint8_t *copy; /* pattern of write-same, or compare data followed by write data */
};

struct chainblk {
	struct chainblk *next;
	struct chainblk_info info;
	bool read_only;
	void (*event)(void *arg, const struct chainblk_event *ev);
	void *event_arg;
	uint8_t *bytes;
	pthread_t loop;
	pthread_cond_t wake;
	struct mock_op *first, **last;
	uint64_t resized_bytes; /* the event still to be sent, or 0 */
	bool closing;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct chainblk *open_volumes;
static struct chainblk_mock_seen seen;
static int fail_status, refuse_status;
static unsigned fail_count, refuse_count;

static void copy_iov(struct mock_op *op, uint8_t *bytes)
{
	for (int i = 0; i < op->iov_n; i++) {
		if (op->kind == MOCK_READ)
			memcpy(op->iov[i].iov_base, bytes, op->iov[i].iov_len);
		else
			memcpy(bytes, op->iov[i].iov_base, op->iov[i].iov_len);
		bytes += op->iov[i].iov_len;
	}
}

/* Whole blocks take no memory afterwards; only zeroing touches what is left at the ends. */
static void drop_blocks(struct chainblk *vol, struct mock_op *op)
{
	const uint64_t block = CHAINBLK_BLOCK_BYTES;
	uint64_t begin = op->offset_bytes, end = begin + op->len_bytes;
	uint64_t from = (begin + block - 1) / block * block, to = end / block * block;

	if (from < to)
		madvise(vol->bytes + from, to - from, MADV_DONTNEED);
	if (op->kind == MOCK_DISCARD)
		return;
	if (from >= to) {
		memset(vol->bytes + begin, 0, op->len_bytes);
		return;
	}
	memset(vol->bytes + begin, 0, from - begin);
	memset(vol->bytes + to, 0, end - to);
}

static struct chainblk_result perform(struct chainblk *vol, struct mock_op *op)
{
	uint8_t *bytes = vol->bytes + op->offset_bytes;

	if (op->status)
		return (struct chainblk_result){.status = op->status};
	switch (op->kind) {
	case MOCK_READ:
	case MOCK_WRITE:
		copy_iov(op, bytes);
		break;
	case MOCK_FLUSH:
		break;
	case MOCK_DISCARD: /* whole blocks only */
	case MOCK_ZEROES:
		drop_blocks(vol, op);
		break;
	case MOCK_SAME:
		for (uint64_t at = 0; at < op->len_bytes; at += CHAINBLK_BLOCK_BYTES)
			memcpy(bytes + at, op->copy, CHAINBLK_BLOCK_BYTES);
		break;
	case MOCK_CAW:
		for (uint32_t at = 0; at < op->len_bytes; at++)
			if (bytes[at] != op->copy[at])
				return (struct chainblk_result){.status = -EILSEQ, .offset = at};
		memcpy(bytes, op->copy + op->len_bytes, op->len_bytes);
		break;
	}
	return (struct chainblk_result){0};
}

static void free_op(struct mock_op *op)
{
	free(op->iov);
	free(op->copy);
	free(op);
}

static void *loop_main(void *arg)
{
	struct chainblk *vol = arg;

	pthread_mutex_lock(&lock);
	for (;;) {
		struct mock_op *op = vol->first;

		if (vol->resized_bytes) {
			struct chainblk_event ev = {.type = CHAINBLK_EVENT_RESIZED,
						    .size_bytes = vol->resized_bytes,
						    .text = "the volume was resized"};
			vol->resized_bytes = 0;
			pthread_mutex_unlock(&lock);
			if (vol->event)
				vol->event(vol->event_arg, &ev);
			pthread_mutex_lock(&lock);
		} else if (op) {
			struct chainblk_result res;

			vol->first = op->next;
			if (!vol->first)
				vol->last = &vol->first;
			pthread_mutex_unlock(&lock);
			res = perform(vol, op);
			op->done(op->arg, &res);
			free_op(op);
			pthread_mutex_lock(&lock);
		} else if (vol->closing) {
			break;
		} else {
			pthread_cond_wait(&vol->wake, &lock);
		}
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static int submit(struct chainblk *vol, struct mock_op want, const struct iovec *iov,
		  const void *copy, size_t copy_len)
{
	struct mock_op *op;
	int ret = 0;

	for (int i = 0; i < want.iov_n; i++)
		want.len_bytes += iov[i].iov_len;
	if (want.offset_bytes % CHAINBLK_SECTOR_BYTES || want.len_bytes % CHAINBLK_SECTOR_BYTES)
		return -EINVAL;
	if (want.kind != MOCK_FLUSH && !want.len_bytes)
		return -EINVAL;
	if (want.iov_n && want.len_bytes > CHAINBLK_IO_BYTES_MAX)
		return -EINVAL;
	if (want.kind == MOCK_SAME && (want.offset_bytes | want.len_bytes) % CHAINBLK_BLOCK_BYTES)
		return -EINVAL;
	op = calloc(1, sizeof(*op));
	if (!op)
		return -EAGAIN;
	*op = want;
	op->iov = calloc((size_t)want.iov_n + 1, sizeof(*op->iov));
	op->copy = copy ? malloc(copy_len) : NULL;
	if (want.iov_n)
		memcpy(op->iov, iov, (size_t)want.iov_n * sizeof(*iov));
	if (copy)
		memcpy(op->copy, copy, copy_len);
	pthread_mutex_lock(&lock);
	seen.offset_bytes = want.offset_bytes;
	seen.len_bytes = want.len_bytes;
	if (refuse_count) {
		refuse_count--;
		ret = refuse_status;
	} else if (want.offset_bytes + want.len_bytes > vol->info.size_bytes) {
		ret = -ENXIO;
	} else if (vol->read_only && want.kind != MOCK_READ && want.kind != MOCK_FLUSH) {
		ret = -EROFS;
	} else {
		if (fail_count) {
			fail_count--;
			op->status = fail_status;
		}
		*vol->last = op;
		vol->last = &op->next;
		pthread_cond_signal(&vol->wake);
		op = NULL;
	}
	pthread_mutex_unlock(&lock);
	if (op)
		free_op(op);
	return ret;
}

int chainblk_open(const struct chainblk_options *opt, struct chainblk **ret_vol,
		  char err[CHAINBLK_ERR_BYTES])
{
	const char *size = getenv("MOCK_SIZE");
	size_t n = strlen(opt->volume);
	struct chainblk *vol;

	if (!strcmp(opt->volume, "missing")) {
		snprintf(err, CHAINBLK_ERR_BYTES,
			 "volume %s: no such volume: create it with "
			 "chainctl volume create",
			 opt->volume);
		return -ENOENT;
	}
	vol = calloc(1, sizeof(*vol));
	if (!vol)
		return -EAGAIN;
	vol->info.size_bytes = size ? strtoull(size, NULL, 10) : MOCK_SIZE_DEFAULT;
	vol->info.volume_id = 1;
	vol->info.lanes = 1;
	vol->info.sector_bytes = n > 2 && !strcmp(opt->volume + n - 2, "4k") ? 4096 : 512;
	snprintf(vol->info.name, sizeof(vol->info.name), "%.63s", opt->volume);
	vol->read_only = opt->read_only;
	vol->event = opt->event;
	vol->event_arg = opt->arg;
	vol->last = &vol->first;
	vol->bytes = mmap(NULL, MOCK_SPACE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	pthread_cond_init(&vol->wake, NULL);
	if (vol->bytes == MAP_FAILED || pthread_create(&vol->loop, NULL, loop_main, vol)) {
		snprintf(err, CHAINBLK_ERR_BYTES, "mock: no memory");
		free(vol);
		return -EAGAIN;
	}
	pthread_mutex_lock(&lock);
	vol->next = open_volumes;
	open_volumes = vol;
	pthread_mutex_unlock(&lock);
	*ret_vol = vol;
	return 0;
}

void chainblk_close(struct chainblk *vol)
{
	if (!vol)
		return;
	pthread_mutex_lock(&lock);
	vol->closing = true;
	pthread_cond_signal(&vol->wake);
	for (struct chainblk **at = &open_volumes; *at; at = &(*at)->next) {
		if (*at == vol) {
			*at = vol->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	pthread_join(vol->loop, NULL);
	munmap(vol->bytes, MOCK_SPACE);
	free(vol);
}

void chainblk_get_info(struct chainblk *vol, struct chainblk_info *ret_info)
{
	pthread_mutex_lock(&lock);
	*ret_info = vol->info;
	pthread_mutex_unlock(&lock);
}

#define COUNT(field)                                                                               \
	do {                                                                                       \
		pthread_mutex_lock(&lock);                                                         \
		seen.field++;                                                                      \
		pthread_mutex_unlock(&lock);                                                       \
	} while (0)

int chainblk_read(struct chainblk *vol, const struct iovec *iov, int iov_n, uint64_t offset_bytes,
		  chainblk_done_fn *done, void *arg)
{
	COUNT(reads);
	return submit(vol,
		      (struct mock_op){.kind = MOCK_READ,
				       .offset_bytes = offset_bytes,
				       .iov_n = iov_n,
				       .done = done,
				       .arg = arg},
		      iov, NULL, 0);
}

int chainblk_write(struct chainblk *vol, const struct iovec *iov, int iov_n, uint64_t offset_bytes,
		   uint32_t flags, chainblk_done_fn *done, void *arg)
{
	(void)flags;
	COUNT(writes);
	return submit(vol,
		      (struct mock_op){.kind = MOCK_WRITE,
				       .offset_bytes = offset_bytes,
				       .iov_n = iov_n,
				       .done = done,
				       .arg = arg},
		      iov, NULL, 0);
}

int chainblk_flush(struct chainblk *vol, chainblk_done_fn *done, void *arg)
{
	COUNT(flushes);
	return submit(vol, (struct mock_op){.kind = MOCK_FLUSH, .done = done, .arg = arg}, NULL,
		      NULL, 0);
}

int chainblk_discard(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
		     chainblk_done_fn *done, void *arg)
{
	COUNT(discards);
	return submit(vol,
		      (struct mock_op){.kind = MOCK_DISCARD,
				       .offset_bytes = offset_bytes,
				       .len_bytes = len_bytes,
				       .done = done,
				       .arg = arg},
		      NULL, NULL, 0);
}

int chainblk_write_zeroes(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
			  uint32_t flags, chainblk_done_fn *done, void *arg)
{
	(void)flags;
	COUNT(zeroes);
	return submit(vol,
		      (struct mock_op){.kind = MOCK_ZEROES,
				       .offset_bytes = offset_bytes,
				       .len_bytes = len_bytes,
				       .done = done,
				       .arg = arg},
		      NULL, NULL, 0);
}

int chainblk_write_same(struct chainblk *vol, const void *pattern, uint64_t offset_bytes,
			uint64_t len_bytes, uint32_t flags, chainblk_done_fn *done, void *arg)
{
	(void)flags;
	COUNT(write_sames);
	return submit(vol,
		      (struct mock_op){.kind = MOCK_SAME,
				       .offset_bytes = offset_bytes,
				       .len_bytes = len_bytes,
				       .done = done,
				       .arg = arg},
		      NULL, pattern, CHAINBLK_BLOCK_BYTES);
}

int chainblk_compare_write(struct chainblk *vol, const void *cmp, const void *data,
			   uint32_t len_bytes, uint64_t offset_bytes, uint32_t flags,
			   chainblk_done_fn *done, void *arg)
{
	uint8_t *both = malloc(2 * (size_t)len_bytes + 1);
	int ret;

	(void)flags;
	if (!both || len_bytes > CHAINBLK_CAW_BYTES_MAX) {
		free(both);
		return -EINVAL;
	}
	memcpy(both, cmp, len_bytes);
	memcpy(both + len_bytes, data, len_bytes);
	ret = submit(vol,
		     (struct mock_op){.kind = MOCK_CAW,
				      .offset_bytes = offset_bytes,
				      .len_bytes = len_bytes,
				      .done = done,
				      .arg = arg},
		     NULL, both, 2 * (size_t)len_bytes);
	free(both);
	return ret;
}

void chainblk_mock_fail(int status, unsigned count)
{
	pthread_mutex_lock(&lock);
	fail_status = status;
	fail_count = count;
	pthread_mutex_unlock(&lock);
}

void chainblk_mock_refuse(int status, unsigned count)
{
	pthread_mutex_lock(&lock);
	refuse_status = status;
	refuse_count = count;
	pthread_mutex_unlock(&lock);
}

void chainblk_mock_resize(uint64_t size_bytes)
{
	pthread_mutex_lock(&lock);
	for (struct chainblk *vol = open_volumes; vol; vol = vol->next) {
		vol->info.size_bytes = size_bytes;
		vol->resized_bytes = size_bytes;
		pthread_cond_signal(&vol->wake);
	}
	pthread_mutex_unlock(&lock);
}

struct chainblk_mock_seen chainblk_mock_seen(void)
{
	struct chainblk_mock_seen now;

	pthread_mutex_lock(&lock);
	now = seen;
	pthread_mutex_unlock(&lock);
	return now;
}

const char *chainblk_strerror(int status)
{
	return strerror(-status);
}
