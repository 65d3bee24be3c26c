/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "cfgsvc/placement.h"

uint32_t placement_default_replicas(uint32_t domains_n)
{
	return MIN(domains_n, 2u);
}

uint32_t placement_min_in(uint32_t replicas_n)
{
	return replicas_n <= 2 ? 1 : 2;
}

static uint32_t servers_of(const struct placement *p, uint32_t domain)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->servers_n; i++)
		n += p->domain[i] == domain;
	return n;
}

uint32_t placement_default_chains(const struct placement *p)
{
	uint32_t n = p->servers_n * PLACEMENT_PER_SERVER / p->replicas_n;

	n = MIN(n, CHAINS_MAX);
	return n - n % p->servers_n;
}

uint32_t placement_replicas_max(const struct placement *p, uint32_t chains_n)
{
	uint32_t rounds = (chains_n + p->domains_n - 1) / p->domains_n, most = 0;

	for (uint32_t d = 0; d < p->domains_n; d++) {
		uint32_t n = servers_of(p, d);

		most = MAX(most, (rounds + n - 1) / n * p->replicas_n);
	}
	return most;
}

/* How many ordered choices of @k out of @n there are. */
static uint32_t orders(uint32_t n, uint32_t k)
{
	uint32_t r = 1;

	for (uint32_t i = 0; i < k; i++)
		r *= n - i;
	return r;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/* A step through 0..n-1 that meets every number once and lands far from where it was. */
static uint32_t stride(uint32_t n)
{
	uint32_t s = n * 5 / 8;

	while (s > 1 && gcd(s, n) != 1)
		s--;
	return MAX(s, 1u);
}

/* The @rank-th ordered choice of @k of the @n numbers in @pool (which is used up). */
static void choose(uint32_t *pool, uint32_t n, uint32_t k, uint32_t rank, uint32_t *ret)
{
	for (uint32_t i = 0; i < k; i++) {
		uint32_t below = orders(n - 1, k - i - 1);
		uint32_t at = rank / below;

		CHECK(at < n);
		rank %= below;
		ret[i] = pool[at];
		for (uint32_t j = at; j + 1 < n; j++)
			pool[j] = pool[j + 1];
		n--;
	}
}

/* All orders, up to rotation: those that begin with 0. */
static void base_all(const struct placement *p, uint32_t round, uint32_t ret[CHAIN_MEMBERS_MAX])
{
	uint32_t pool[PLACEMENT_ALL_MAX];
	uint32_t n = orders(p->domains_n - 1, p->replicas_n - 1);

	for (uint32_t i = 0; i + 1 < p->domains_n; i++)
		pool[i] = i + 1;
	ret[0] = 0;
	choose(pool, p->domains_n - 1, p->replicas_n - 1, (round * stride(n)) % n, ret + 1);
}

/* Copysets: members d, 2d, 3d ... apart for a few d, each set in all its orders. */
static void base_copyset(const struct placement *p, uint32_t round, uint32_t ret[CHAIN_MEMBERS_MAX])
{
	uint32_t n = p->replicas_n;
	uint32_t neighbours = MAX(2 * (n - 1), 1u); /* one set's share of the scatter */
	uint32_t sets = MAX(10 / neighbours, 1u);
	uint32_t pool[CHAIN_MEMBERS_MAX];
	uint32_t perms = orders(n, n), d;

	sets = MAX(MIN(sets, (p->domains_n - 1) / n), 1u);
	d = round % sets + 1;
	for (uint32_t i = 0; i < n; i++)
		pool[i] = i * d;
	choose(pool, n, n, (round / sets * stride(perms)) % perms, ret);
}

/* The server whose turn it is in the @round-th round among those of @domain. */
static uint32_t on_turn(const struct placement *p, uint32_t domain, uint32_t round)
{
	uint32_t left = round % servers_of(p, domain), i = 0;

	for (;; i++) {
		CHECK(i < p->servers_n);
		if (p->domain[i] == domain && left-- == 0)
			return i;
	}
}

static uint32_t ranks(const struct placement *p)
{
	uint32_t most = 0;

	for (uint32_t d = 0; d < p->domains_n; d++)
		most = MAX(most, servers_of(p, d));
	return most;
}

void placement_members(const struct placement *p, uint32_t i, uint32_t ret_index[CHAIN_MEMBERS_MAX])
{
	uint32_t base[CHAIN_MEMBERS_MAX] = {0}, round = i / p->domains_n;

	CHECK(p->servers_n >= 1);
	CHECK(p->servers_n <= SERVERS_MAX);
	CHECK(p->domains_n <= p->servers_n);
	CHECK(p->replicas_n >= 1);
	CHECK(p->replicas_n <= MIN(p->domains_n, CHAIN_MEMBERS_MAX));
	if (p->domains_n <= PLACEMENT_ALL_MAX)
		base_all(p, round / ranks(p), base);
	else
		base_copyset(p, round / ranks(p), base);
	for (uint32_t k = 0; k < p->replicas_n; k++)
		ret_index[k] = on_turn(p, (base[k] + i) % p->domains_n, round);
}
