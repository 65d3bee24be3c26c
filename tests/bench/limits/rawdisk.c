/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* rawdisk - the limit of one file on this machine's disk: O_DIRECT through io_uring, nothing else.
 *
 *	rawdisk --file F --size 1G --fill                         write it all once, stamped
 *	rawdisk --file F --op read --block 4K --depth 32 --seconds 5 [--seq]
 *	rawdisk --file F --op write --block 1M --depth 8 --seconds 5 --seq    (RWF_DSYNC)
 *
 * Every write is durable when it completes. Sequential means the operations of all slots together
 * walk the file in order and start over at its end. Prints one line of JSON (measure.h). */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define DEPTH_MAX 256

struct slot {
	uint8_t *data; /* block_bytes, 4 KiB aligned */
	uint64_t start_ns;
};

struct run {
	struct io_uring ring;
	int fd;
	uint64_t size_bytes, block_bytes;
	uint32_t depth, seconds;
	bool write, sequential, fill;
	uint64_t next; /* blocks submitted so far */
	uint64_t random;
	struct slot slot[DEPTH_MAX];
	struct measure m;
};

static void submit_one(struct run *r, uint32_t index)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
	uint64_t blocks = r->size_bytes / r->block_bytes;
	uint64_t block = r->sequential ? r->next % blocks : measure_random(&r->random) % blocks;
	uint64_t offset = block * r->block_bytes;

	if (r->write) {
		for (uint64_t at = 0; r->fill && at < r->block_bytes; at += MEASURE_BLOCK_BYTES)
			measure_fill(
				r->slot[index].data + at,
				(struct block_stamp){.block = (offset + at) / MEASURE_BLOCK_BYTES});
		io_uring_prep_write(sqe, r->fd, r->slot[index].data, (unsigned)r->block_bytes,
				    offset);
		sqe->rw_flags = RWF_DSYNC;
	} else {
		io_uring_prep_read(sqe, r->fd, r->slot[index].data, (unsigned)r->block_bytes,
				   offset);
	}
	io_uring_sqe_set_data64(sqe, index);
	r->slot[index].start_ns = measure_now_ns();
	r->next++;
}

static bool more(const struct run *r, uint64_t end_ns)
{
	if (r->fill)
		return r->next < r->size_bytes / r->block_bytes;
	return measure_now_ns() < end_ns;
}

static void run_until(struct run *r, uint64_t start_ns)
{
	uint64_t end_ns = start_ns + r->seconds * 1000000000ull;
	uint32_t flying = 0;

	while (flying < r->depth && more(r, end_ns)) {
		submit_one(r, flying);
		flying++;
	}
	while (flying) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		int res = io_uring_submit_and_wait(&r->ring, 1);

		if (res < 0 && res != -EINTR)
			measure_die("io_uring_submit_and_wait", -res);
		io_uring_for_each_cqe(&r->ring, head, cqe)
		{
			uint32_t index = (uint32_t)io_uring_cqe_get_data64(cqe);

			seen++;
			if (cqe->res != (int)r->block_bytes)
				measure_die("short or failed transfer",
					    cqe->res < 0 ? -cqe->res : EIO);
			measure_add(&r->m, measure_now_ns() - r->slot[index].start_ns,
				    (uint32_t)r->block_bytes);
			if (more(r, end_ns))
				submit_one(r, index);
			else
				flying--;
		}
		io_uring_cq_advance(&r->ring, seen);
	}
	r->m.elapsed_ns = measure_now_ns() - start_ns;
}

static void usage(int status)
{
	fputs("usage: rawdisk --file F [--size SIZE] --fill | --op read|write --block SIZE\n"
	      "               --depth N --seconds S [--seq]\n",
	      status ? stderr : stdout);
	exit(status);
}

static const char *parse(struct run *r, int argc, char **argv)
{
	static const struct option options[] = {
		{"file", required_argument, NULL, 'f'},  {"size", required_argument, NULL, 's'},
		{"op", required_argument, NULL, 'o'},    {"block", required_argument, NULL, 'b'},
		{"depth", required_argument, NULL, 'd'}, {"seconds", required_argument, NULL, 't'},
		{"seq", no_argument, NULL, 'q'},         {"fill", no_argument, NULL, 'F'},
		{"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
	const char *path = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'f')
			path = optarg;
		else if (c == 's')
			r->size_bytes = measure_size(optarg);
		else if (c == 'o')
			r->write = strcmp(optarg, "write") == 0;
		else if (c == 'b')
			r->block_bytes = measure_size(optarg);
		else if (c == 'd')
			r->depth = (uint32_t)measure_size(optarg);
		else if (c == 't')
			r->seconds = (uint32_t)measure_size(optarg);
		else if (c == 'q')
			r->sequential = true;
		else if (c == 'F')
			r->fill = r->write = r->sequential = true;
		else
			usage(c == 'h' ? 0 : 2);
	}
	if (!path || r->depth < 1 || r->depth > DEPTH_MAX || !r->block_bytes ||
	    r->block_bytes % MEASURE_BLOCK_BYTES)
		usage(2);
	return path;
}

int main(int argc, char **argv)
{
	static struct run r = {.block_bytes = 1u << 20, .depth = 8, .seconds = 5};
	const char *path = parse(&r, argc, argv);
	struct stat st;
	int res;

	r.random = measure_now_ns() | 1u;
	r.fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC | (r.fill ? O_CREAT : 0), 0600);
	if (r.fd < 0)
		measure_die(path, errno);
	if (r.fill && ftruncate(r.fd, (off_t)r.size_bytes) < 0)
		measure_die(path, errno);
	if (fstat(r.fd, &st) < 0)
		measure_die(path, errno);
	if (!r.size_bytes)
		r.size_bytes = (uint64_t)st.st_size;
	if (r.size_bytes < r.block_bytes || r.size_bytes > (uint64_t)st.st_size)
		measure_die("the file is smaller than --size or one block", 0);
	res = io_uring_queue_init(DEPTH_MAX, &r.ring, 0);
	if (res < 0)
		measure_die("io_uring_queue_init", -res);
	for (uint32_t i = 0; i < r.depth; i++) {
		r.slot[i].data = aligned_alloc(MEASURE_BLOCK_BYTES, r.block_bytes);
		if (!r.slot[i].data)
			measure_die("memory", ENOMEM);
		for (uint64_t at = 0; at < r.block_bytes; at += MEASURE_BLOCK_BYTES)
			measure_fill(r.slot[i].data + at,
				     (struct block_stamp){.block = at, .version = i});
	}
	run_until(&r, measure_now_ns());
	measure_print(&r.m, "");
	return 0;
}
