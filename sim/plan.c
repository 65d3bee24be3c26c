/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/plan.h"

#include <string.h>

static void draw_cluster(struct cluster_config *c, struct rng *r)
{
	c->replicas = (uint32_t)rng_range(r, 1, 3);
	c->nodes_n = (uint32_t)rng_range(r, c->replicas, c->replicas + 1);
	c->chains = (uint32_t)rng_range(r, 1, 4);
	c->clients_n = (uint32_t)rng_range(r, 1, 3);
	c->depth = (uint32_t)rng_skewed(r, 2, DEPTH_MAX);
	c->disk_bytes = rng_range(r, 48, 96) << 20;
	c->log_bytes = rng_range(r, 4, 12) << 20;
	c->node_memory_bytes = rng_chance(r, 500000) ? 0 : 24u << 20;
	c->volatile_cache = rng_chance(r, 800000);
	c->think_ns = rng_skewed(r, 10 * US, 50 * MS);
	c->deadline_ns = rng_chance(r, 300000) ? 20 * SEC : rng_range(r, 1, 8) * SEC;
}

static void draw_workload(struct workload_config *l, struct rng *r)
{
	static const uint32_t usual[WL_KINDS] = {
		[WL_WRITE] = 400, [WL_WRITE_LARGE] = 5, [WL_WRITE_SECTORS] = 80,
		[WL_READ] = 300,  [WL_READ_LARGE] = 5,  [WL_READ_SECTORS] = 40,
		[WL_UNMAP] = 40,  [WL_WRITE_SAME] = 40, [WL_CAW] = 80,
		[WL_PRESENT] = 5,
	};

	l->volume_bytes = rng_range(r, 1, 4) * EXTENT_BYTES;
	l->runs_n = (uint32_t)rng_skewed(r, 1, 32);
	for (unsigned i = 0; i < WL_KINDS; i++)
		l->weights[i] = usual[i];
	if (rng_chance(r, 300000)) /* large operations now and then, in some seeds many */
		l->weights[WL_WRITE_LARGE] = l->weights[WL_READ_LARGE] = 60;
	if (rng_chance(r, 200000))
		l->weights[WL_CAW] = l->weights[WL_WRITE_SECTORS] = 400;
	if (rng_chance(r, 200000))
		l->weights[WL_READ] = 1500;
}

static void draw_faults(struct faults_config *f, const struct cluster_config *c, struct rng *r)
{
	static const uint32_t chance_ppm[FAULT_KINDS] = {
		[FAULT_RESET] = 600000,     [FAULT_HALF_OPEN] = 200000,   [FAULT_BLOCK] = 300000,
		[FAULT_SLOW_NET] = 200000,  [FAULT_FLIP] = 200000,        [FAULT_PAUSE] = 250000,
		[FAULT_SLOW_DISK] = 200000, [FAULT_CLIENT_KILL] = 150000, [FAULT_SVC_KILL] = 150000,
		[FAULT_EIO] = 10000,
	};

	for (unsigned i = 0; i < FAULT_KINDS; i++)
		if (rng_chance(r, chance_ppm[i]))
			f->weights[i] = (uint32_t)rng_range(r, 1, 10);
	if (c->replicas == 1) {
		if (rng_chance(r, 600000))
			f->weights[FAULT_NODE_POWER] = (uint32_t)rng_range(r, 1, 10);
		if (rng_chance(r, 300000))
			f->weights[FAULT_NODE_KILL] = (uint32_t)rng_range(r, 1, 10);
		if (rng_chance(r, 200000))
			f->weights[FAULT_NODE_STOP] = (uint32_t)rng_range(r, 1, 5);
	} else {
		if (rng_chance(r, 450000))
			f->weights[FAULT_CYCLE_QUIET] = (uint32_t)rng_range(r, 1, 3);
		if (rng_chance(r, 100000))
			f->weights[FAULT_CYCLE_CLEAN] = 1;
		if (rng_chance(r, 400000))
			f->weights[FAULT_NODE_POWER] = f->weights[FAULT_NODE_KILL] = 4;
		/* Disks of unequal speed leave logs that end at different places. */
		if (rng_chance(r, 400000)) {
			f->weights[FAULT_CYCLE_HARD] = 5;
			f->weights[FAULT_SLOW_DISK] += 5;
		}
	}
	f->mean_ns = rng_skewed(r, 20 * MS, 3 * SEC);
}

/* A crashed client never says CLOSE, so each leaves an entry in its chains' tables. In some seeds
 * there is room for little more than the living, or for less. From a tape of its own: what the
 * other draws give a seed does not depend on this. */
static void draw_reqtab(struct plan *p, struct rng r)
{
	uint32_t living = p->cluster.clients_n;

	if (!rng_chance(&r, 250000))
		return;
	p->cluster.reqtab_clients =
		rng_chance(&r, 250000) ? MAX(living - 1, 1u) : living + (uint32_t)rng_below(&r, 3);
	p->faults.weights[FAULT_CLIENT_KILL] = (uint32_t)rng_range(&r, 5, 20);
}

void plan_draw(struct plan *p, struct rng *r)
{
	memset(p, 0, sizeof(*p));
	draw_cluster(&p->cluster, r);
	draw_workload(&p->cluster.work, r);
	draw_faults(&p->faults, &p->cluster, r);
	draw_reqtab(p, *r);
	p->work_ns = rng_skewed(r, 2 * SEC, 120 * SEC);
	p->work_events = rng_skewed(r, 50000, 400000);
	p->delay_lo_ns = rng_skewed(r, 5 * US, 500 * US);
	p->delay_hi_ns = p->delay_lo_ns * rng_range(r, 2, 20);
	p->turn_max_ns = rng_chance(r, 500000) ? 1 : rng_skewed(r, 2 * US, 200 * US);
	p->spike_ppm = rng_chance(r, 300000) ? (uint32_t)rng_range(r, 10, 2000) : 0;
	p->write_hi_ns = rng_skewed(r, 100 * US, 20 * MS);
}
