/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* rng - the tape every choice of a simulation is read from (xoshiro256**, seeded by splitmix64).
 *
 * One seed makes one tape; nothing else in sim/ may decide anything. Pure, one thread. */

#ifndef SIM_RNG_H
#define SIM_RNG_H

#include "lib/base.h"

struct rng {
	uint64_t s[4];
};

static inline uint64_t rng_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline void rng_init(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = seed = rng_mix(seed + (uint64_t)i);
}

static inline uint64_t rng_rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64_t rng_u64(struct rng *r)
{
	uint64_t out = rng_rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = rng_rotl(r->s[3], 45);
	return out;
}

/* 0 .. n-1; 0 when @n is 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_u64(r) % n : 0;
}

/* lo .. hi, both included. */
static inline uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi)
{
	return lo + rng_below(r, hi - lo + 1);
}

static inline bool rng_chance(struct rng *r, uint32_t per_million)
{
	return rng_below(r, 1000000) < per_million;
}

/* Mostly near @lo, sometimes near @hi: lo * (hi/lo)^(u^2), in steps good enough for delays. */
static inline uint64_t rng_skewed(struct rng *r, uint64_t lo, uint64_t hi)
{
	uint64_t span = hi;

	for (int i = 0; i < 3 && span > 2 * lo; i++)
		span = rng_range(r, lo, span);
	return rng_range(r, MIN(lo, span), span);
}

#endif
