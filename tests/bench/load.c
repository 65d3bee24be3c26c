/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* load - a load on a volume through libchainblk, every read verified.
 *
 *	load --cfg ADDR --volume V --versions F --op fill
 *	load --cfg ADDR --volume V --versions F --op read|write --block 4K --depth 32 --seconds 5
 *	     [--seq] [--min-bytes SIZE]
 *
 * A block's content follows from its number and its version (measure.h). F, a file of one counter
 * per block, remembers across runs which version each block has: a write raises it when it has
 * completed, a read compares the whole block with it. An operation is one aligned range of
 * --block bytes; two in flight never overlap, so there is exactly one right answer. What fails to
 * verify is named on stderr, counted, and makes the exit status 1.
 *
 * With --crashed, for reads after a load was killed: a block may also have the version after the
 * one it is known to have, because its write may have happened and its completion not been seen;
 * and
 * what is not answered within two seconds is counted, not wrong, because its chain may be down.
 *
 * Operations are resubmitted from their completion, on the library's thread, which is what an
 * asynchronous program does. Prints one line of JSON (measure.h). */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libchainblk/chainblk.h"
#include "tests/bench/measure.h"

#define DEPTH_MAX 256

struct load;

struct slot {
	struct load *load;
	struct iovec iov; /* block_bytes, 4 KiB aligned */
	uint64_t range;   /* in units of block_bytes */
	uint64_t start_ns;
};

struct load {
	struct chainblk *vol;
	struct chainblk_options options;
	const char *versions_path;
	_Atomic uint32_t *version; /* one per 4 KiB block, mapped from the file */
	uint64_t size_bytes, block_bytes, min_bytes;
	uint32_t depth, seconds;
	bool write, sequential, fill, crashed;

	/* The library's thread only, once started: */
	uint64_t end_ns, next, random;
	uint64_t unanswered; /* with --crashed */
	uint64_t bad;        /* blocks with wrong content, operations with an error */
	uint8_t *busy;       /* one flag per range: in flight */
	struct slot slot[DEPTH_MAX];
	struct measure m;

	pthread_mutex_t lock;
	pthread_cond_t idle;
	uint32_t flying; /* under lock */
};

static void submit(struct slot *s);

static uint64_t first_block(const struct slot *s)
{
	return s->range * (s->load->block_bytes / MEASURE_BLOCK_BYTES);
}

static bool stamped(const uint8_t *data, uint64_t block, uint32_t version)
{
	return measure_verify(data, (struct block_stamp){.block = block, .version = version});
}

static void check_read(struct slot *s)
{
	struct load *l = s->load;
	const uint8_t *data = s->iov.iov_base;

	for (uint64_t i = 0; i < l->block_bytes / MEASURE_BLOCK_BYTES; i++) {
		uint64_t block = first_block(s) + i;
		uint32_t version = l->version[block];
		const uint8_t *at = data + i * MEASURE_BLOCK_BYTES;

		if (version && stamped(at, block, version))
			continue;
		if (l->crashed && stamped(at, block, version + 1)) {
			l->version[block] = version + 1;
			continue;
		}
		if (l->bad++ < 8)
			fprintf(stderr, "load: block %llu is not what was written (version %u)\n",
				(unsigned long long)block, version);
	}
}

static void settle_write(struct slot *s)
{
	struct load *l = s->load;

	for (uint64_t i = 0; i < l->block_bytes / MEASURE_BLOCK_BYTES; i++)
		l->version[first_block(s) + i]++;
}

static void one_less(struct load *l)
{
	pthread_mutex_lock(&l->lock);
	if (--l->flying == 0)
		pthread_cond_signal(&l->idle);
	pthread_mutex_unlock(&l->lock);
}

static bool more(const struct load *l)
{
	if (l->fill)
		return l->next < l->size_bytes / l->block_bytes;
	if (l->bad > 1000)
		return false;
	return measure_now_ns() < l->end_ns || l->m.bytes < l->min_bytes;
}

static void on_done(void *arg, const struct chainblk_result *res)
{
	struct slot *s = arg;
	struct load *l = s->load;
	uint64_t now = measure_now_ns();

	l->busy[s->range] = 0;
	if (res->status == -ETIMEDOUT && l->crashed) {
		l->unanswered++;
		l->m.bytes += l->block_bytes; /* towards --min-bytes */
	} else if (res->status != 0) {
		if (l->bad++ < 8)
			fprintf(stderr, "load: %s at %llu: %s\n", l->write ? "write" : "read",
				(unsigned long long)(s->range * l->block_bytes),
				chainblk_strerror(res->status));
	} else {
		measure_add(&l->m, now - s->start_ns, (uint32_t)l->block_bytes);
		if (l->write)
			settle_write(s);
		else
			check_read(s);
	}
	if (more(l))
		submit(s);
	else
		one_less(l);
}

static void submit(struct slot *s)
{
	struct load *l = s->load;
	uint64_t ranges = l->size_bytes / l->block_bytes;
	int res;

	do
		s->range = (l->sequential ? l->next++ : measure_random(&l->random)) % ranges;
	while (l->busy[s->range]);
	l->busy[s->range] = 1;
	for (uint64_t i = 0; l->write && i < l->block_bytes / MEASURE_BLOCK_BYTES; i++)
		measure_fill((uint8_t *)s->iov.iov_base + i * MEASURE_BLOCK_BYTES,
			     (struct block_stamp){.block = first_block(s) + i,
						  .version = l->version[first_block(s) + i] + 1});
	s->start_ns = measure_now_ns();
	if (l->write)
		res = chainblk_write(l->vol, &s->iov, 1, s->range * l->block_bytes, 0, on_done, s);
	else
		res = chainblk_read(l->vol, &s->iov, 1, s->range * l->block_bytes, on_done, s);
	if (res < 0) {
		fprintf(stderr, "load: not accepted: %s\n", chainblk_strerror(res));
		l->bad++;
		one_less(l);
	}
}

/* Starting is the main thread's, resubmitting the library's: the first submits happen inside one
 * completion, so that a single thread owns the state. */
static void on_started(void *arg, const struct chainblk_result *res)
{
	struct load *l = arg;

	(void)res;
	l->m.elapsed_ns = measure_now_ns();
	l->end_ns = l->m.elapsed_ns + l->seconds * 1000000000ull;
	for (uint32_t i = 0; i < l->depth; i++)
		submit(&l->slot[i]);
}

static void run(struct load *l)
{
	int res;

	l->flying = l->depth;
	res = chainblk_flush(l->vol, on_started, l);
	if (res < 0)
		measure_die(chainblk_strerror(res), 0);
	pthread_mutex_lock(&l->lock);
	while (l->flying)
		pthread_cond_wait(&l->idle, &l->lock);
	pthread_mutex_unlock(&l->lock);
	l->m.elapsed_ns = measure_now_ns() - l->m.elapsed_ns;
}

static void prepare(struct load *l)
{
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk_info info;
	size_t table_bytes;
	int fd;

	if (l->crashed)
		l->options.deadline_ms = 2000;
	if (chainblk_open(&l->options, &l->vol, err) < 0)
		measure_die(err, 0);
	chainblk_get_info(l->vol, &info);
	l->size_bytes = info.size_bytes;
	if (l->size_bytes < l->block_bytes * l->depth * 2)
		measure_die("the volume is too small for this depth", 0);
	table_bytes = l->size_bytes / MEASURE_BLOCK_BYTES * sizeof(*l->version);
	fd = open(l->versions_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)table_bytes) < 0)
		measure_die(l->versions_path, errno);
	l->version = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (l->version == MAP_FAILED)
		measure_die(l->versions_path, errno);
	close(fd);
	l->busy = calloc(l->size_bytes / l->block_bytes, 1);
	if (!l->busy)
		measure_die("memory", ENOMEM);
	for (uint32_t i = 0; i < l->depth; i++) {
		l->slot[i].load = l;
		l->slot[i].iov.iov_len = l->block_bytes;
		l->slot[i].iov.iov_base = aligned_alloc(MEASURE_BLOCK_BYTES, l->block_bytes);
		if (!l->slot[i].iov.iov_base)
			measure_die("memory", ENOMEM);
	}
	l->random = measure_now_ns() | 1u;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->idle, NULL);
}

static void usage(int status)
{
	fputs("usage: load --cfg ADDR --volume V --versions FILE --op fill\n"
	      "       load ... --op read|write --block SIZE --depth N --seconds S [--seq]\n"
	      "            [--min-bytes SIZE: go on past S until so much is done] [--crashed]\n",
	      status ? stderr : stdout);
	exit(status);
}

static void parse(struct load *l, int argc, char **argv)
{
	static const struct option options[] = {{"cfg", required_argument, NULL, 'c'},
						{"volume", required_argument, NULL, 'v'},
						{"versions", required_argument, NULL, 'V'},
						{"op", required_argument, NULL, 'o'},
						{"block", required_argument, NULL, 'b'},
						{"depth", required_argument, NULL, 'd'},
						{"seconds", required_argument, NULL, 't'},
						{"seq", no_argument, NULL, 'q'},
						{"min-bytes", required_argument, NULL, 'm'},
						{"crashed", no_argument, NULL, 'C'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'c')
			l->options.cfg = optarg;
		else if (c == 'v')
			l->options.volume = optarg;
		else if (c == 'V')
			l->versions_path = optarg;
		else if (c == 'o' && strcmp(optarg, "read") != 0) {
			l->write = true;
			l->fill = l->sequential = strcmp(optarg, "fill") == 0;
		} else if (c == 'b')
			l->block_bytes = measure_size(optarg);
		else if (c == 'd')
			l->depth = (uint32_t)measure_size(optarg);
		else if (c == 't')
			l->seconds = (uint32_t)measure_size(optarg);
		else if (c == 'm')
			l->min_bytes = measure_size(optarg);
		else if (c == 'C')
			l->crashed = true;
		else if (c == 'q')
			l->sequential = true;
		else if (c != 'o')
			usage(c == 'h' ? 0 : 2);
	}
	if (!l->options.cfg || !l->options.volume || !l->versions_path || l->depth < 1 ||
	    l->depth > DEPTH_MAX || !l->block_bytes || l->block_bytes % MEASURE_BLOCK_BYTES)
		usage(2);
}

int main(int argc, char **argv)
{
	static struct load l = {.block_bytes = 1u << 20, .depth = 8, .seconds = 5};
	char extra[96];

	parse(&l, argc, argv);
	prepare(&l);
	run(&l);
	chainblk_close(l.vol);
	snprintf(extra, sizeof(extra), ", \"bad\": %llu, \"unanswered\": %llu",
		 (unsigned long long)l.bad, (unsigned long long)l.unanswered);
	measure_print(&l.m, extra);
	return l.bad ? 1 : 0;
}
