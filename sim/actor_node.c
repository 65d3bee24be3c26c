/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A storage daemon: what chaind/main.c does, on a virtual disk. */
#include "sim/cluster.h"

#include <stdio.h>
#include <string.h>

#include "sim/invariants.h"

#define STOP_NS (5 * SEC)

static void on_accept(struct proc *p, struct env_conn *c)
{
	struct actor_node *a = CONTAINER_OF(p, struct actor_node, proc);

	node_accept(a->node, c);
}

static void on_ready(void *arg, int res, const char *why)
{
	struct actor_node *a = arg;

	world_trace(a->cl->w, &a->proc, "ready %d %s", res, why ? why : "");
	a->ready = res == 0;
	if (res) {
		a->failed = true;
		invariants_node_unusable(a->cl->inv, a, res, why);
	} else {
		invariants_node_recovered(a->cl->inv, a);
	}
}

#define SCRUB_NS 20000000000ull /* many passes in the life of a cluster */

static void init_node(struct actor_node *a)
{
	struct cluster *cl = a->cl;
	struct id128 incarnation;
	struct node_config cfg = {.disk_bytes = cl->cfg.disk_bytes,
				  .chains_max = cl->cfg.chains,
				  .memory_bytes = cl->cfg.node_memory_bytes,
				  .reqtab_clients = cl->cfg.reqtab_clients,
				  .scrub_ns = SCRUB_NS};

	snprintf(cfg.name, sizeof(cfg.name), "%s", a->proc.name);
	snprintf(cfg.addrs[0], ADDR_BYTES, "%s", a->proc.addr);
	snprintf(cfg.cfg_addrs[0], ADDR_BYTES, "%s", CFG_ADDR);
	sim_id(cl->w, &incarnation);
	a->node = node_init(&cfg, &a->proc.env, &a->disk.env, &incarnation, &a->proc.arena);
	a->proc.src = node_frames(a->node);
	a->proc.accept = on_accept;
	node_start(a->node, on_ready, a);
}

static void init_fire(struct sim_event *ev)
{
	struct actor_node *a = CONTAINER_OF(ev, struct actor_node, init_ev);

	if (proc_hold(&a->proc, ev))
		return;
	init_node(a);
	proc_ran(&a->proc);
}

static void on_formatted(void *arg, int res, const char *why)
{
	struct actor_node *a = arg;

	if (res) {
		world_violation(a->cl->w, "format of %s failed: %d %s", a->proc.name, res, why);
		return;
	}
	a->formatted = true;
	world_at(a->cl->w, &a->init_ev, a->cl->w->now_ns);
}

static void format(struct actor_node *a)
{
	struct store_format f = {.log_bytes = a->cl->cfg.log_bytes,
				 .secret = rng_u64(&a->cl->w->rng),
				 .force = true};
	struct arena scratch;
	size_t len = store_format_memory();

	sim_id(a->cl->w, &f.disk);
	arena_init(&scratch, arena_alloc(&a->proc.arena, len, BLOCK_BYTES), len);
	store_format_start(&a->proc.env, &a->disk.env, &f, &scratch, on_formatted, a);
}

void actor_node_start(struct actor_node *a)
{
	struct cluster *cl = a->cl;
	struct node_config cfg = {.disk_bytes = cl->cfg.disk_bytes,
				  .chains_max = cl->cfg.chains,
				  .memory_bytes = cl->cfg.node_memory_bytes,
				  .reqtab_clients = cl->cfg.reqtab_clients,
				  .scrub_ns = SCRUB_NS};

	world_cancel(cl->w, &a->restart_ev);
	if (a->proc.up)
		return;
	a->node = NULL;
	a->ready = a->stopping = a->failed = false;
	a->starts++;
	proc_start(&a->proc, node_memory(&cfg) + store_format_memory() + 2 * BLOCK_BYTES);
	world_trace(cl->w, &a->proc, "start %lu", a->starts);
	disk_own(&a->disk, &a->proc);
	if (a->formatted)
		world_at(cl->w, &a->init_ev, cl->w->now_ns + rng_below(&cl->w->rng, 10 * MS));
	else
		format(a);
}

static void end_process(struct actor_node *a)
{
	a->node = NULL;
	a->ready = false;
	a->proc.accept = NULL;
	world_cancel(a->cl->w, &a->init_ev);
	world_cancel(a->cl->w, &a->end_ev);
	proc_stop(&a->proc);
}

void actor_node_kill(struct actor_node *a, bool power)
{
	if (!a->proc.up)
		return;
	world_trace(a->cl->w, &a->proc, power ? "power lost" : "killed");
	invariants_node_down(a->cl->inv, a);
	net_proc_died(&a->cl->net, &a->proc, power);
	if (power)
		disk_power_lost(&a->disk);
	else
		disk_proc_died(&a->disk);
	end_process(a);
}

static void end_fire(struct sim_event *ev)
{
	struct actor_node *a = CONTAINER_OF(ev, struct actor_node, end_ev);

	if (!a->proc.up)
		return;
	world_trace(a->cl->w, &a->proc, "stopped");
	invariants_node_down(a->cl->inv, a);
	net_proc_died(&a->cl->net, &a->proc, false);
	disk_proc_died(&a->disk);
	end_process(a);
}

static void on_stopped(void *arg)
{
	struct actor_node *a = arg;

	world_at(a->cl->w, &a->end_ev, a->cl->w->now_ns);
}

void actor_node_stop(struct actor_node *a)
{
	if (!a->proc.up || a->stopping)
		return;
	if (!a->node || !a->ready) {
		actor_node_kill(a, false);
		return;
	}
	a->stopping = true;
	world_trace(a->cl->w, &a->proc, "stopping");
	node_stop(a->node, a->proc.env.now_ns(&a->proc.env) + STOP_NS, on_stopped, a);
	proc_ran(&a->proc);
}

static void restart_fire(struct sim_event *ev)
{
	actor_node_start(CONTAINER_OF(ev, struct actor_node, restart_ev));
}

void actor_node_init(struct actor_node *a, struct cluster *cl, uint32_t i)
{
	char name[SERVER_NAME_BYTES], addr[ADDR_BYTES];

	memset(a, 0, sizeof(*a));
	snprintf(name, sizeof(name), "s%u", i + 1);
	snprintf(addr, sizeof(addr), "s%u:7500", i + 1);
	proc_init(&a->proc, cl->w, name, addr);
	a->cl = cl;
	a->init_ev.fire = init_fire;
	a->end_ev.fire = end_fire;
	a->restart_ev.fire = restart_fire;
	disk_init(&a->disk, cl->w, cl->cfg.disk_bytes, cl->cfg.volatile_cache);
}

void actor_node_fini(struct actor_node *a)
{
	disk_fini(&a->disk);
	proc_fini(&a->proc);
}
