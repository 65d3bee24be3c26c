/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/cluster.h"

#include <string.h>

void sim_id(struct world *w, struct id128 *ret)
{
	uint64_t x[2] = {rng_u64(&w->rng) | 1, rng_u64(&w->rng)};

	memcpy(ret, x, sizeof(x));
}

void cluster_init(struct cluster *c, struct world *w, const struct cluster_config *cfg)
{
	memset(c, 0, sizeof(*c));
	CHECK(cfg->nodes_n <= NODES_MAX);
	CHECK(cfg->clients_n <= CLIENTS_MAX);
	CHECK(cfg->depth <= DEPTH_MAX);
	c->w = w;
	c->cfg = *cfg;
	net_init(&c->net, w);
	workload_init(&c->work, w, &cfg->work);
	actor_svc_init(&c->svc, c);
	for (uint32_t i = 0; i < cfg->nodes_n; i++)
		actor_node_init(&c->nodes[i], c, i);
	for (uint32_t i = 0; i < cfg->clients_n; i++)
		actor_client_init(&c->clients[i], c, i);
	actor_admin_init(&c->admin, c);
}

void cluster_fini(struct cluster *c)
{
	net_fini(&c->net);
	for (uint32_t i = 0; i < c->cfg.clients_n; i++)
		actor_client_fini(&c->clients[i]);
	for (uint32_t i = 0; i < c->cfg.nodes_n; i++)
		actor_node_fini(&c->nodes[i]);
	actor_svc_fini(&c->svc);
	actor_admin_fini(&c->admin);
	workload_fini(&c->work);
}

uint32_t cluster_busy(const struct cluster *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->cfg.clients_n; i++)
		n += c->clients[i].busy;
	return n;
}

void cluster_phase_set(struct cluster *c, enum cluster_phase phase)
{
	c->phase = phase;
	for (uint32_t i = 0; i < c->cfg.clients_n; i++)
		actor_client_wake(&c->clients[i]);
}
