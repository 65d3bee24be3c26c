/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* store_load - one store of chaind under load, every read verified.
 *
 *	store_load --file F --format --size 8G [--log-size 512M] [--sparse]
 *	store_load --file F --populate --volume 1T       a formatted store, full of zeros (big.h)
 *	store_load --file F --versions V --volume 2G --op fill
 *	store_load --file F --versions V --volume 2G --op read|write --block 4K --depth 32
 *	           --ms 3000 [--seq] [--min-bytes SIZE] [--max-bytes SIZE]
 *	store_load --file F --versions V --volume 2G --op settle
 *	store_load --file F --op open
 *
 * V keeps what every block has to be from run to run (table.h). After writes, without --leave, and
 * by "settle" the store is given the time to move what is in its log to its place; then it is
 * closed. Prints one line of JSON (measure.h); device_bytes is what the store wrote until the last
 * acknowledgement, settled_device_bytes until it had settled. The exit status is 1 when a block was
 * not what was written, or when the kernel saw this process write something else than the store
 * says. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/store/big.h"
#include "tests/bench/store/drive.h"

#define NS_PER_MS 1000000ull
#define COUNT_SLACK_BYTES (1u << 20)

struct options {
	struct host_format format;
	struct drive_config drive;
	const char *versions;
	uint64_t volume_bytes, stride;
	bool do_format, do_populate, do_open, do_settle, leave;
};

/* Does the store's own count agree with the kernel's? Where there is none, there is no telling. */
static bool counts_agree(uint64_t ours, uint64_t kernel)
{
	uint64_t differ = ours > kernel ? ours - kernel : kernel - ours;

	if (host_kernel_bytes() == 0 || differ <= ours / 50 + COUNT_SLACK_BYTES)
		return true;
	fprintf(stderr, "store_load: the store says it wrote %llu bytes, the kernel says %llu\n",
		(unsigned long long)ours, (unsigned long long)kernel);
	return false;
}

static int run(const struct options *o)
{
	static struct drive_result res;
	struct store_stats end;
	struct host h;
	struct table t;
	uint64_t settled, kernel;
	char extra[640];
	bool agree = true;

	host_open(&h, o->format.path);
	if (!o->do_open) {
		table_open(&t, o->versions, o->volume_bytes, o->stride);
		drive_run(&o->drive, &h, &t, &res);
		if (o->do_settle && !o->leave)
			host_settle(&h);
	}
	store_stats(h.store, &end);
	settled = end.written_bytes - res.device_before;
	kernel = host_kernel_bytes() - res.kernel_before;
	if (!o->do_open) {
		agree = counts_agree(settled, kernel);
		table_save(&t);
	}
	host_close(&h);
	snprintf(extra, sizeof(extra),
		 ", \"bad\": %llu, \"client_bytes\": %llu, \"device_bytes\": %llu, "
		 "\"settled_device_bytes\": %llu, \"log_bytes\": %llu, \"log_used_bytes\": %llu, "
		 "\"open_s\": %.3f, \"peak_mib\": %.1f, \"cpu_us_per_op\": %.2f, "
		 "\"checkpoints\": %llu, \"destaged_blocks\": %llu, \"direct_blocks\": %llu",
		 (unsigned long long)res.bad, (unsigned long long)res.m.bytes,
		 (unsigned long long)(res.device_after - res.device_before),
		 (unsigned long long)settled, (unsigned long long)end.log_bytes,
		 (unsigned long long)h.opened.log_used_bytes, (double)h.open_ns * 1e-9,
		 (double)host_peak_kib() / 1024,
		 (double)res.cpu_ns * 1e-3 / (double)(res.m.ops ? res.m.ops : 1),
		 (unsigned long long)end.checkpoints, (unsigned long long)end.destaged_blocks,
		 (unsigned long long)end.direct_blocks);
	measure_print(&res.m, extra);
	return res.bad || !agree ? 1 : 0;
}

static void usage(int status)
{
	fputs("usage: store_load --file F --format --size SIZE [--log-size SIZE] [--sparse]\n"
	      "       store_load --file F --populate --volume SIZE [--chains N]\n"
	      "       store_load --file F --op open\n"
	      "       store_load --file F --versions V --volume SIZE --op settle\n"
	      "       store_load --file F --versions V --volume SIZE [--stride N] [--chains N]\n"
	      "                  --op fill|read|write --block SIZE --depth N --ms MS [--seq]\n"
	      "                  [--min-bytes SIZE] [--max-bytes SIZE] [--leave]\n",
	      status ? stderr : stdout);
	exit(status);
}

static void take_op(struct options *o, const char *op)
{
	bool read = strcmp(op, "read") == 0, settle = strcmp(op, "settle") == 0;

	o->do_open = strcmp(op, "open") == 0;
	o->drive.fill = strcmp(op, "fill") == 0;
	o->drive.write = o->drive.fill || strcmp(op, "write") == 0;
	o->drive.sequential |= o->drive.fill;
	o->drive.nothing = settle;
	o->do_settle = o->drive.write || settle;
	if (!o->do_open && !o->do_settle && !read)
		usage(2);
}

static void take_size(struct options *o, int c, uint64_t n)
{
	switch (c) {
	case 's':
		o->format.size_bytes = n;
		break;
	case 'l':
		o->format.log_bytes = n;
		break;
	case 'v':
		o->volume_bytes = n;
		break;
	case 'r':
		o->stride = n;
		break;
	case 'c':
		o->drive.chains = (uint32_t)n;
		break;
	case 'b':
		o->drive.blocks = (uint32_t)(n / BLOCK_BYTES);
		break;
	case 'd':
		o->drive.depth = (uint32_t)n;
		break;
	case 't':
		o->drive.run_ns = n * NS_PER_MS;
		break;
	case 'm':
		o->drive.min_bytes = n;
		break;
	case 'M':
		o->drive.max_bytes = n;
		break;
	default:
		usage(2);
	}
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {{"file", required_argument, NULL, 'f'},
					      {"versions", required_argument, NULL, 'V'},
					      {"op", required_argument, NULL, 'o'},
					      {"format", no_argument, NULL, 'F'},
					      {"sparse", no_argument, NULL, 'S'},
					      {"populate", no_argument, NULL, 'P'},
					      {"seq", no_argument, NULL, 'q'},
					      {"leave", no_argument, NULL, 'L'},
					      {"help", no_argument, NULL, 'h'},
					      {"size", required_argument, NULL, 's'},
					      {"log-size", required_argument, NULL, 'l'},
					      {"volume", required_argument, NULL, 'v'},
					      {"stride", required_argument, NULL, 'r'},
					      {"chains", required_argument, NULL, 'c'},
					      {"block", required_argument, NULL, 'b'},
					      {"depth", required_argument, NULL, 'd'},
					      {"ms", required_argument, NULL, 't'},
					      {"min-bytes", required_argument, NULL, 'm'},
					      {"max-bytes", required_argument, NULL, 'M'},
					      {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'f')
			o->format.path = optarg;
		else if (c == 'V')
			o->versions = optarg;
		else if (c == 'o')
			take_op(o, optarg);
		else if (c == 'F')
			o->do_format = true;
		else if (c == 'S')
			o->format.sparse = true;
		else if (c == 'P')
			o->do_populate = true;
		else if (c == 'q')
			o->drive.sequential = true;
		else if (c == 'L')
			o->leave = true;
		else if (c == 'h' || c == '?')
			usage(c == 'h' ? 0 : 2);
		else
			take_size(o, c, measure_size(optarg));
	}
}

static bool makes_sense(const struct options *o)
{
	const struct drive_config *d = &o->drive;

	if (!o->format.path)
		return false;
	if (o->do_format)
		return o->format.size_bytes >= STORE_BYTES_MIN;
	if (o->do_populate)
		return o->volume_bytes && o->volume_bytes % EXTENT_BYTES == 0 && d->chains > 0 &&
		       d->chains <= DRIVE_CHAINS_MAX;
	if (o->do_open)
		return true;
	return o->versions && o->volume_bytes && o->stride && d->depth > 0 &&
	       d->depth <= DRIVE_DEPTH_MAX && d->chains > 0 && d->chains <= DRIVE_CHAINS_MAX &&
	       d->blocks > 0 && d->blocks <= OP_BLOCKS_MAX && EXTENT_BLOCKS % d->blocks == 0 &&
	       (o->stride == 1 || d->blocks == 1);
}

int main(int argc, char **argv)
{
	static struct options o = {
		.stride = 1,
		.drive = {.blocks = 256, .depth = 8, .chains = 24, .run_ns = 1000000000}};

	parse(&o, argc, argv);
	if (!makes_sense(&o))
		usage(2);
	if (o.do_format) {
		host_format(&o.format);
		return 0;
	}
	if (o.do_populate) {
		big_populate(&(struct big_config){.path = o.format.path,
						  .volume_bytes = o.volume_bytes,
						  .chains = o.drive.chains});
		return 0;
	}
	return run(&o);
}
