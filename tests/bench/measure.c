/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/bench/measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LANES 8u /* independent generators side by side, for the vector unit */
#define WORDS (MEASURE_BLOCK_BYTES / sizeof(uint64_t))

uint64_t measure_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void measure_die(const char *what, int err)
{
	if (err)
		fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(err));
	else
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

uint64_t measure_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1du;
}

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t power;

	if (ns < 16)
		return (uint32_t)ns;
	power = 63u - (uint32_t)__builtin_clzll(ns);
	return (power - 3u) * 16u + (uint32_t)((ns >> (power - 4u)) & 15u);
}

static uint64_t bucket_end_ns(uint32_t bucket)
{
	uint32_t power = bucket / 16u + 3u;

	if (bucket < 16)
		return bucket;
	return ((uint64_t)(bucket % 16u) + 17u) << (power - 4u);
}

void measure_add(struct measure *m, uint64_t latency_ns, uint32_t bytes)
{
	m->ops++;
	m->bytes += bytes;
	m->sum_ns += latency_ns;
	if (latency_ns > m->max_ns)
		m->max_ns = latency_ns;
	m->bucket[bucket_of(latency_ns)]++;
}

uint64_t measure_quantile_ns(const struct measure *m, double q)
{
	double want = q * (double)m->ops, seen = 0;

	for (uint32_t i = 0; i < MEASURE_BUCKETS; i++) {
		seen += (double)m->bucket[i];
		if (m->bucket[i] && seen >= want)
			return bucket_end_ns(i);
	}
	return m->max_ns;
}

void measure_print(const struct measure *m, const char *extra)
{
	double seconds = (double)m->elapsed_ns * 1e-9;
	double ops = m->ops ? (double)m->ops : 1.0;

	if (seconds <= 0)
		seconds = 1e-9;
	printf("{\"ops\": %llu, \"seconds\": %.3f, \"mean_us\": %.2f, \"p50_us\": %.1f, "
	       "\"p99_us\": %.1f, \"max_us\": %.1f, \"iops\": %.1f, \"mbs\": %.2f%s}\n",
	       (unsigned long long)m->ops, seconds, (double)m->sum_ns / ops * 1e-3,
	       (double)measure_quantile_ns(m, 0.5) * 1e-3,
	       (double)measure_quantile_ns(m, 0.99) * 1e-3, (double)m->max_ns * 1e-3,
	       (double)m->ops / seconds, (double)m->bytes / seconds * 1e-6, extra);
	fflush(stdout);
}

/* The widest vectors the processor has: on a busy machine the time this takes is in the figures. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif

/* Writes the block, or compares it: one loop for both, so that they cannot disagree. */
WIDEST static bool stamp_run(uint64_t *words, struct block_stamp stamp, bool write)
{
	uint64_t lane[LANES], seed, differ = 0;

	seed = stamp.block * 0x9e3779b97f4a7c15u ^ (stamp.version + 1u) * 0xd1b54a32d192ed03u;
	for (uint32_t i = 0; i < LANES; i++) {
		seed += 0x9e3779b97f4a7c15u;
		lane[i] = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u | 1u;
	}
	for (uint32_t w = 0; w < WORDS; w += LANES) {
		for (uint32_t i = 0; i < LANES; i++) {
			lane[i] ^= lane[i] << 13;
			lane[i] ^= lane[i] >> 7;
			lane[i] ^= lane[i] << 17;
		}
		if (write)
			memcpy(words + w, lane, sizeof(lane));
		else
			for (uint32_t i = 0; i < LANES; i++)
				differ |= words[w + i] ^ lane[i];
	}
	return differ == 0;
}

void measure_fill(void *block, struct block_stamp stamp)
{
	stamp_run(block, stamp, true);
}

bool measure_verify(const void *block, struct block_stamp stamp)
{
	return stamp_run((uint64_t *)(uintptr_t)block, stamp, false);
}

uint64_t measure_size(const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	const char *unit;
	unsigned long long n = strtoull(text, &end, 10);

	unit = *end ? strchr(units, *end) : NULL;
	if (end == text || (*end && (!unit || end[1]))) {
		fprintf(stderr, "%s: '%s' is not a size like 4096, 4K or 1G\n",
			program_invocation_short_name, text);
		exit(2);
	}
	return unit ? (uint64_t)n << (10 * (unit - units + 1)) : (uint64_t)n;
}
