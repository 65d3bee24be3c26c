/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* measure - what the bench programs share: clock, random numbers, a latency histogram, stamps,
 * JSON.
 *
 * Histogram: 16 buckets per power of two of nanoseconds, so that a percentile is within 6 %; the
 * mean is exact. Stamps: a block's content is a function of its number and version alone and does
 * not compress; measure_fill() and measure_verify() agree on it. One thread each. */

#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#define MEASURE_BLOCK_BYTES 4096u
#define MEASURE_BUCKETS (64u * 16u)

/* What one run came to. All zero is the empty result. */
struct measure {
	uint64_t ops;
	uint64_t bytes;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t elapsed_ns; /* set by the user when the run ends */
	uint64_t bucket[MEASURE_BUCKETS];
};

struct block_stamp {
	uint64_t block;   /* number within the file or volume */
	uint64_t version; /* 0: never written */
};

uint64_t measure_now_ns(void);
/* Print "program: what: strerror(err)" and end the process with 1; @err 0 leaves the last out. */
_Noreturn void measure_die(const char *what, int err);
/* The next of a sequence that never repeats within a run; *@state must not be 0. */
uint64_t measure_random(uint64_t *state);

void measure_add(struct measure *m, uint64_t latency_ns, uint32_t bytes);
/* The latency that a fraction @q of all operations stayed under. */
uint64_t measure_quantile_ns(const struct measure *m, double q);
/* {"ops": ..., "mean_us": ..., "p50_us", "p99_us", "max_us", "iops", "mbs"@extra} and a newline on
 * stdout. @extra is further JSON members with a leading comma, or "". */
void measure_print(const struct measure *m, const char *extra);

/* Content of the block (@stamp) into MEASURE_BLOCK_BYTES at @block, 8-byte aligned. */
void measure_fill(void *block, struct block_stamp stamp);
bool measure_verify(const void *block, struct block_stamp stamp);

/* "4K", "1G": -1 ends the process with 2 when it is not a size. */
uint64_t measure_size(const char *text);

#endif
