/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* churn - every kind of modification on a volume, and afterwards the proof that what was
 * acknowledged is there.
 *
 *	churn --cfg ADDR --volume V --state F [--from BYTES] [--to BYTES] [--depth N] [--seed N]
 *	      [--ops N] [--deadline MS] [--block BYTES] [--announce N] OP
 *
 *	OP  churn   random writes of 4 KiB to 1 MiB, unmaps, zeroes, write-sames and reads
 *	    write   the writes of churn alone
 *	    fill    one write of --block after another
 *	    unmap   one unmap of --block after another
 *	    verify  one read of --block after another
 *
 * F has two words per 4 KiB block, "sure" and "maybe": the content last acknowledged, and that of a
 * modification without an outcome (0: none). Both are noted before the thing is done, in a shared
 * mapping: they outlive this process however it ends. A read must find the one or the other, and
 * settles which it is. Modifications in flight never overlap, and a block whose modification failed
 * is left alone until a verify; what was refused for lack of space is read back and goes on.
 *
 * churn and write run until --ops were submitted or until stdin ends, then wait for what is in
 * flight. --announce N prints "acked" when N were acknowledged; the first error is printed as
 * "error NAME" when it comes. The last line is JSON. Exit status 1: a block has neither content. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libchainblk/chainblk.h"
#include "tests/bench/measure.h"

#define BLOCK ((uint64_t)CHAINBLK_BLOCK_BYTES)
#define LEN_MAX (1u << 20)
#define DEPTH_MAX 64u
#define ERRORS_MAX 256
#define TRIES_MAX 1000 /* to find a range that is not busy */

/* A content: its version in the low bits (0: zeros, never written), and what it is made of. */
#define CONTENT_VERSION 0x3fffffffu
#define CONTENT_ZERO 0x40000000u
#define CONTENT_SAME 0x80000000u
#define SAME_BLOCK 0xffffffffffull /* number in the stamps of write-sames */

enum op { OP_CHURN, OP_WRITE, OP_FILL, OP_UNMAP, OP_VERIFY, OP_KINDS };
static const char *const op_names[] = {"churn", "write", "fill", "unmap", "verify"};

enum kind { KIND_WRITE, KIND_UNMAP, KIND_ZEROES, KIND_SAME, KIND_READ };

struct block_state {
	_Atomic uint32_t sure, maybe;
};

struct churn;
struct slot {
	struct churn *c;
	enum kind kind;
	uint64_t block;
	uint32_t blocks;
	uint8_t *buf; /* LEN_MAX */
	bool again;   /* the read after a refusal */
};

struct churn {
	struct chainblk *vol;
	struct chainblk_options options;
	const char *state_path;
	struct block_state *state;
	enum op op;
	uint64_t from, to; /* bytes, then blocks */
	uint64_t block_bytes, ops_max, announce;
	uint32_t depth;

	/* The library's thread only, once started: */
	uint8_t *busy;
	uint64_t random, next, ops, acked, blocks, bad;
	uint64_t errors[ERRORS_MAX];
	bool any_error;
	struct slot slot[DEPTH_MAX];

	_Atomic bool stop;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	uint32_t flying; /* under lock */
};

/* ---- content ---- */

static struct block_stamp stamp_of(uint64_t block, uint32_t content)
{
	return (struct block_stamp){.block = content & CONTENT_SAME ? SAME_BLOCK : block,
				    .version = content & CONTENT_VERSION};
}

static bool is_content(const uint8_t *data, uint64_t block, uint32_t content)
{
	static const uint8_t zeros[CHAINBLK_BLOCK_BYTES];

	if ((content & CONTENT_VERSION) == 0 || (content & CONTENT_ZERO))
		return memcmp(data, zeros, BLOCK) == 0;
	return measure_verify(data, stamp_of(block, content));
}

static uint32_t version_after(const struct block_state *b)
{
	uint32_t sure = b->sure & CONTENT_VERSION, maybe = b->maybe & CONTENT_VERSION;

	return (sure > maybe ? sure : maybe) + 1;
}

/* For the reader of a failure: which earlier content is it? */
static void say_wrong(const struct churn *c, const uint8_t *data, uint64_t block)
{
	const struct block_state *b = &c->state[block];
	const char *found = is_content(data, block, 0) ? "zeros" : "something else";
	uint32_t version = version_after(b) + 1;

	while (--version > 0)
		if (is_content(data, block, version) ||
		    is_content(data, block, version | CONTENT_SAME))
			break;
	fprintf(stderr, "churn: block %llu: neither %08x nor %08x but %s (version %u)\n",
		(unsigned long long)block, b->sure, b->maybe, found, version);
}

static void settle(struct churn *c, const uint8_t *data, uint64_t block)
{
	struct block_state *b = &c->state[block];

	if (b->maybe && is_content(data, block, b->maybe)) {
		atomic_store(&b->sure, b->maybe);
		atomic_store(&b->maybe, 0);
	} else if (is_content(data, block, b->sure)) {
		atomic_store(&b->maybe, 0);
	} else if (c->bad++ < 8) {
		say_wrong(c, data, block);
	}
}

/* ---- picking ---- */

static bool is_free(const struct churn *c, uint64_t block, uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks; i++)
		if (c->busy[block + i])
			return false;
	return true;
}

static void set_busy(struct slot *s, bool busy)
{
	memset(s->c->busy + s->block, busy, s->blocks);
}

/* Half are of one block; the others of any length, of whole pages, or the longest. */
static uint32_t pick_blocks(struct churn *c)
{
	uint32_t most = LEN_MAX / CHAINBLK_BLOCK_BYTES;

	switch (measure_random(&c->random) >> 32 & 7) {
	case 0:
		return most;
	case 1:
		return (uint32_t)(measure_random(&c->random) % (most / 16) + 1) * 16;
	case 2:
		return (uint32_t)(measure_random(&c->random) % most) + 1;
	case 3:
		return (uint32_t)(measure_random(&c->random) % 16) + 1;
	default:
		return 1;
	}
}

static bool pick_random(struct slot *s)
{
	struct churn *c = s->c;

	for (unsigned i = 0; i < TRIES_MAX; i++) {
		uint32_t blocks = pick_blocks(c);

		if (blocks > c->to - c->from)
			continue;
		s->blocks = blocks;
		s->block = c->from + measure_random(&c->random) % (c->to - c->from - blocks + 1);
		if (blocks % 16 == 0)
			s->block = c->from + (s->block - c->from) / 16 * 16;
		if (is_free(c, s->block, blocks))
			return true;
	}
	return false;
}

static bool pick_next(struct slot *s)
{
	struct churn *c = s->c;

	s->block = c->next;
	if (s->block >= c->to || (c->any_error && c->op != OP_VERIFY))
		return false;
	s->blocks = (uint32_t)(c->block_bytes / BLOCK);
	if (s->blocks > c->to - s->block)
		s->blocks = (uint32_t)(c->to - s->block);
	c->next += s->blocks;
	return true;
}

static enum kind pick_kind(struct churn *c)
{
	uint64_t dice = (measure_random(&c->random) >> 32) % 100;

	switch (c->op) {
	case OP_CHURN:
		return dice < 70   ? KIND_WRITE
		       : dice < 80 ? KIND_UNMAP
		       : dice < 85 ? KIND_ZEROES
		       : dice < 90 ? KIND_SAME
				   : KIND_READ;
	case OP_UNMAP:
		return KIND_UNMAP;
	case OP_VERIFY:
		return KIND_READ;
	case OP_WRITE:
	case OP_FILL:
	case OP_KINDS:
		break;
	}
	return KIND_WRITE;
}

static bool pick(struct slot *s)
{
	struct churn *c = s->c;
	bool random = c->op == OP_CHURN || c->op == OP_WRITE;

	if (c->stop || c->ops >= c->ops_max)
		return false;
	s->kind = pick_kind(c);
	return random ? pick_random(s) : pick_next(s);
}

/* ---- running ---- */

static void submit(struct slot *s);

static void one_less(struct churn *c)
{
	pthread_mutex_lock(&c->lock);
	if (--c->flying == 0)
		pthread_cond_signal(&c->idle);
	pthread_mutex_unlock(&c->lock);
}

static void count_error(struct churn *c, int status)
{
	if (!c->any_error) {
		printf("error %s\n", strerrorname_np(-status));
		fflush(stdout);
	}
	c->any_error = true;
	c->errors[-status < ERRORS_MAX ? -status : 0]++;
}

static void acknowledged(struct slot *s)
{
	struct churn *c = s->c;

	for (uint32_t i = 0; i < s->blocks; i++) {
		struct block_state *b = &c->state[s->block + i];

		atomic_store(&b->sure, b->maybe);
		atomic_store(&b->maybe, 0);
	}
	c->blocks += s->blocks;
	if (++c->acked == c->announce) {
		puts("acked");
		fflush(stdout);
	}
}

static void on_done(void *arg, const struct chainblk_result *res)
{
	struct slot *s = arg;
	struct churn *c = s->c;

	if (res->status == 0 && s->kind == KIND_READ) {
		for (uint32_t i = 0; i < s->blocks; i++)
			settle(c, s->buf + i * BLOCK, s->block + i);
		c->blocks += s->again ? 0 : s->blocks;
	} else if (res->status == 0) {
		acknowledged(s);
	} else {
		count_error(c, res->status);
	}
	/* Refused before anything was done, at least to a part of the range: which? Anything else
	 * may still happen, so these blocks stay busy. */
	if (res->status == -ENOSPC && s->kind != KIND_READ) {
		s->kind = KIND_READ;
		s->again = true;
		if (chainblk_read(c->vol, &(struct iovec){s->buf, s->blocks * BLOCK}, 1,
				  s->block * BLOCK, on_done, s) == 0)
			return;
	} else if (res->status == 0 || s->kind == KIND_READ) {
		set_busy(s, false);
	}
	submit(s);
}

static uint32_t content_after(const struct slot *s, uint32_t version)
{
	if (s->kind == KIND_UNMAP || s->kind == KIND_ZEROES)
		return version | CONTENT_ZERO;
	return s->kind == KIND_SAME ? version | CONTENT_SAME : version;
}

static void prepare(struct slot *s)
{
	struct churn *c = s->c;
	uint32_t same = 0;

	for (uint32_t i = 0; s->kind == KIND_SAME && i < s->blocks; i++) {
		uint32_t version = version_after(&c->state[s->block + i]);

		same = same > version ? same : version;
	}
	for (uint32_t i = 0; i < s->blocks; i++) {
		struct block_state *b = &c->state[s->block + i];
		uint32_t content = content_after(s, same ? same : version_after(b));

		if (s->kind == KIND_WRITE || (s->kind == KIND_SAME && i == 0))
			measure_fill(s->buf + i * BLOCK, stamp_of(s->block + i, content));
		atomic_store(&b->maybe, content);
	}
}

static int call(struct slot *s)
{
	struct chainblk *vol = s->c->vol;
	struct iovec iov = {s->buf, s->blocks * BLOCK};
	uint64_t at = s->block * BLOCK;

	switch (s->kind) {
	case KIND_UNMAP:
		return chainblk_discard(vol, at, iov.iov_len, on_done, s);
	case KIND_ZEROES:
		return chainblk_write_zeroes(vol, at, iov.iov_len, 0, on_done, s);
	case KIND_SAME:
		return chainblk_write_same(vol, s->buf, at, iov.iov_len, 0, on_done, s);
	case KIND_READ:
		return chainblk_read(vol, &iov, 1, at, on_done, s);
	case KIND_WRITE:
		break;
	}
	return chainblk_write(vol, &iov, 1, at, 0, on_done, s);
}

static void submit(struct slot *s)
{
	struct churn *c = s->c;
	int res;

	if (!pick(s)) {
		one_less(c);
		return;
	}
	c->ops++;
	s->again = false;
	set_busy(s, true);
	if (s->kind != KIND_READ)
		prepare(s);
	res = call(s);
	if (res < 0)
		measure_die(chainblk_strerror(res), 0);
}

/* All submits are the library's thread's: the first ones happen inside a completion. */
static void on_started(void *arg, const struct chainblk_result *res)
{
	struct churn *c = arg;

	(void)res;
	for (uint32_t i = 0; i < c->depth; i++)
		submit(&c->slot[i]);
}

static void *watch_stdin(void *arg)
{
	struct churn *c = arg;
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	c->stop = true;
	return NULL;
}

static void run(struct churn *c)
{
	pthread_t watcher;
	int res;

	/* Sequential ones have an end, and may be run without anybody at the other end. */
	if ((c->op == OP_CHURN || c->op == OP_WRITE) && c->ops_max == UINT64_MAX)
		pthread_create(&watcher, NULL, watch_stdin, c);
	c->flying = c->depth;
	res = chainblk_flush(c->vol, on_started, c);
	if (res < 0)
		measure_die(chainblk_strerror(res), 0);
	pthread_mutex_lock(&c->lock);
	while (c->flying)
		pthread_cond_wait(&c->idle, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static void report(const struct churn *c)
{
	const char *comma = "";

	printf("{\"ops\": %llu, \"acked\": %llu, \"blocks\": %llu, \"next\": %llu, \"bad\": %llu, "
	       "\"errors\": {",
	       (unsigned long long)c->ops, (unsigned long long)c->acked,
	       (unsigned long long)c->blocks, (unsigned long long)(c->next * BLOCK),
	       (unsigned long long)c->bad);
	for (int i = 0; i < ERRORS_MAX; i++) {
		if (!c->errors[i])
			continue;
		printf("%s\"%s\": %llu", comma, i ? strerrorname_np(i) : "OTHER",
		       (unsigned long long)c->errors[i]);
		comma = ", ";
	}
	puts("}}");
}

/* ---- start ---- */

static void map_state(struct churn *c, uint64_t blocks)
{
	size_t bytes = blocks * sizeof(*c->state);
	int fd = open(c->state_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		measure_die(c->state_path, errno);
	c->state = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c->state == MAP_FAILED)
		measure_die(c->state_path, errno);
	close(fd);
}

static void open_all(struct churn *c)
{
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk_info info;

	if (chainblk_open(&c->options, &c->vol, err) < 0)
		measure_die(err, 0);
	chainblk_get_info(c->vol, &info);
	map_state(c, info.size_bytes / BLOCK);
	if (c->to == 0 || c->to > info.size_bytes)
		c->to = info.size_bytes;
	c->from /= BLOCK;
	c->to /= BLOCK;
	c->next = c->from;
	if (c->from >= c->to)
		measure_die("--from is not below --to", 0);
	c->busy = calloc(info.size_bytes / BLOCK, 1);
	if (!c->busy)
		measure_die("memory", ENOMEM);
	/* What has no outcome yet is for a verify to settle: two such would be one too many. */
	for (uint64_t b = c->from; b < c->to; b++)
		c->busy[b] = c->op != OP_VERIFY && c->state[b].maybe != 0;
	for (uint32_t i = 0; i < c->depth; i++) {
		c->slot[i].c = c;
		c->slot[i].buf = aligned_alloc(BLOCK, LEN_MAX);
		if (!c->slot[i].buf)
			measure_die("memory", ENOMEM);
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->idle, NULL);
}

static _Noreturn void usage(void)
{
	fputs("usage: churn --cfg ADDR --volume V --state FILE [--from BYTES] [--to BYTES]\n"
	      "             [--depth N] [--seed N] [--ops N] [--deadline MS] [--block BYTES]\n"
	      "             [--announce N] churn|write|fill|unmap|verify\n",
	      stderr);
	exit(2);
}

static void take(struct churn *c, int option, const char *text)
{
	if (option == 'c')
		c->options.cfg = text;
	else if (option == 'v')
		c->options.volume = text;
	else if (option == 'S')
		c->state_path = text;
	else if (option == 'f')
		c->from = measure_size(text);
	else if (option == 't')
		c->to = measure_size(text);
	else if (option == 'd')
		c->depth = (uint32_t)measure_size(text);
	else if (option == 's')
		c->random = (measure_size(text) + 1) * 0x9e3779b97f4a7c15u;
	else if (option == 'o')
		c->ops_max = measure_size(text);
	else if (option == 'D')
		c->options.deadline_ms = (uint32_t)measure_size(text);
	else if (option == 'b')
		c->block_bytes = measure_size(text);
	else if (option == 'a')
		c->announce = measure_size(text);
	else
		usage();
}

static void parse(struct churn *c, int argc, char **argv)
{
	static const struct option options[] = {{"cfg", required_argument, NULL, 'c'},
						{"volume", required_argument, NULL, 'v'},
						{"state", required_argument, NULL, 'S'},
						{"from", required_argument, NULL, 'f'},
						{"to", required_argument, NULL, 't'},
						{"depth", required_argument, NULL, 'd'},
						{"seed", required_argument, NULL, 's'},
						{"ops", required_argument, NULL, 'o'},
						{"deadline", required_argument, NULL, 'D'},
						{"block", required_argument, NULL, 'b'},
						{"announce", required_argument, NULL, 'a'},
						{NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take(c, option, optarg);
	for (c->op = 0; argc == optind + 1 && c->op < OP_KINDS; c->op++)
		if (strcmp(argv[optind], op_names[c->op]) == 0)
			break;
	if (argc != optind + 1 || c->op == OP_KINDS || !c->options.cfg || !c->options.volume ||
	    !c->state_path || c->depth < 1 || c->depth > DEPTH_MAX || !c->block_bytes ||
	    c->block_bytes > LEN_MAX || c->block_bytes % BLOCK)
		usage();
}

int main(int argc, char **argv)
{
	static struct churn c = {
		.block_bytes = LEN_MAX, .depth = 8, .ops_max = UINT64_MAX, .random = 1};

	parse(&c, argc, argv);
	open_all(&c);
	run(&c);
	chainblk_close(c.vol);
	report(&c);
	return c.bad ? 1 : 0;
}
