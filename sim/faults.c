/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/faults.h"

#include <string.h>

#define CYCLE_POLL_NS (5 * MS)
#define CYCLE_QUICK_NS (50 * US)
#define CYCLE_PATIENCE_NS (6 * SEC)

static const char *const names[FAULT_KINDS] = {
	"reset",       "half-open",   "block",       "slow-net",  "flip",       "pause",
	"slow-disk",   "client-kill", "svc-kill",    "node-kill", "node-power", "node-stop",
	"cycle-quiet", "cycle-hard",  "cycle-clean", "eio"};

const char *fault_name(enum fault_kind k)
{
	return k < FAULT_KINDS ? names[k] : "?";
}

/* ---- single faults ---- */

static struct actor_node *some_node(struct faults *f)
{
	return &f->cl->nodes[rng_below(&f->w->rng, f->cl->cfg.nodes_n)];
}

/* Any process but the operator, who comes last. */
static struct proc *some_proc(struct faults *f)
{
	return f->w->procs[rng_below(&f->w->rng, f->w->procs_n - 1)];
}

static void calm_net(struct faults *f)
{
	f->cl->net.delay_lo_ns = f->delay_lo_ns;
	f->cl->net.delay_hi_ns = f->delay_hi_ns;
	f->cl->net.flip_ppm = 0;
}

static void heal_fire(struct sim_event *ev)
{
	calm_net(CONTAINER_OF(ev, struct faults, heal_ev));
}

static void node_dies(struct faults *f, enum fault_kind kind)
{
	struct actor_node *a = some_node(f);

	if (!a->proc.up)
		return;
	if (kind == FAULT_NODE_STOP)
		actor_node_stop(a);
	else
		actor_node_kill(a, kind == FAULT_NODE_POWER);
	world_at(f->w, &a->restart_ev, f->w->now_ns + rng_skewed(&f->w->rng, 10 * MS, 5 * SEC));
}

static void client_dies(struct faults *f)
{
	struct actor_client *a = &f->cl->clients[rng_below(&f->w->rng, f->cl->cfg.clients_n)];

	if (!a->proc.up)
		return;
	actor_client_kill(a);
	world_at(f->w, &a->restart_ev, f->w->now_ns + rng_skewed(&f->w->rng, MS, SEC));
}

static void svc_dies(struct faults *f)
{
	actor_svc_kill(&f->cl->svc);
	world_at(f->w, &f->cl->svc.restart_ev,
		 f->w->now_ns + rng_skewed(&f->w->rng, 10 * MS, 10 * SEC));
}

static void disk_lies(struct faults *f)
{
	struct actor_node *a = some_node(f);

	f->cl->inv->media_lie = true;
	f->cl->work.cfg.may_rot = true;
	if (rng_chance(&f->w->rng, 700000))
		a->disk.eio_reads++;
	else
		a->disk.eio_writes++;
}

/* ---- all daemons at once ---- */

static bool all_down(struct cluster *cl)
{
	for (uint32_t i = 0; i < cl->cfg.nodes_n; i++)
		if (cl->nodes[i].proc.up)
			return false;
	return true;
}

/* After a power loss the network comes back port by port. */
static void flaky_ports(struct faults *f)
{
	struct rng *r = &f->w->rng;

	for (uint32_t a = 0; a < f->cl->cfg.nodes_n; a++)
		for (uint32_t b = 0; b < f->cl->cfg.nodes_n; b++)
			if (a != b && rng_chance(r, 350000))
				net_block(&f->cl->net, &f->cl->nodes[a].proc, &f->cl->nodes[b].proc,
					  f->w->now_ns + rng_skewed(r, 100 * MS, 4 * SEC));
}

static void all_start(struct faults *f)
{
	if (rng_chance(&f->w->rng, 600000))
		flaky_ports(f);
	for (uint32_t i = 0; i < f->cl->cfg.nodes_n; i++)
		world_at(f->w, &f->cl->nodes[i].restart_ev,
			 f->w->now_ns + rng_skewed(&f->w->rng, MS, 2 * SEC));
}

static void cycle_down(struct faults *f)
{
	f->cycle = CYCLE_DOWN;
	for (uint32_t i = 0; i < f->cl->cfg.nodes_n; i++) {
		if (f->cycle_kind == FAULT_CYCLE_CLEAN)
			actor_node_stop(&f->cl->nodes[i]);
		else
			actor_node_kill(&f->cl->nodes[i], rng_chance(&f->w->rng, 700000));
	}
}

static void cycle_fire(struct sim_event *ev)
{
	struct faults *f = CONTAINER_OF(ev, struct faults, cycle_ev);
	bool late = f->w->now_ns - f->cycle_since_ns > CYCLE_PATIENCE_NS, quick;

	switch (f->cycle) {
	case CYCLE_NONE:
		return;
	case CYCLE_QUIESCE:
		if (cluster_busy(f->cl) && !late)
			break;
		cycle_down(f);
		break;
	case CYCLE_DOWN:
		if (!all_down(f->cl) && !late)
			break;
		for (uint32_t i = 0; i < f->cl->cfg.nodes_n; i++)
			actor_node_kill(&f->cl->nodes[i], false);
		all_start(f);
		f->cycle = CYCLE_UP;
		break;
	case CYCLE_UP:
		for (uint32_t i = 0; i < f->cl->cfg.nodes_n; i++)
			if (!f->cl->nodes[i].ready && !late)
				goto wait;
		f->cycle = CYCLE_NONE;
		cluster_phase_set(f->cl, PHASE_WORK);
		return;
	}
wait:
	/* The last answer is about to come: strike before its commit is noted anywhere else. */
	quick = f->cycle == CYCLE_QUIESCE && cluster_busy(f->cl) <= 2 && !late;
	world_at(f->w, &f->cycle_ev, f->w->now_ns + (quick ? CYCLE_QUICK_NS : CYCLE_POLL_NS));
}

static void cycle_start(struct faults *f, enum fault_kind kind)
{
	if (f->cycle != CYCLE_NONE)
		return;
	f->cycle_kind = kind;
	f->cycle_since_ns = f->w->now_ns;
	f->cycle = CYCLE_QUIESCE;
	if (kind == FAULT_CYCLE_QUIET)
		cluster_phase_set(f->cl, PHASE_QUIET);
	else
		cycle_down(f);
	world_at(f->w, &f->cycle_ev, f->w->now_ns + CYCLE_POLL_NS);
}

/* ---- the sequence ---- */

static void heal_later(struct faults *f)
{
	world_at(f->w, &f->heal_ev, f->w->now_ns + rng_skewed(&f->w->rng, MS, 2 * SEC));
}

static void strike_net(struct faults *f, enum fault_kind kind)
{
	struct rng *r = &f->w->rng;
	struct net *n = &f->cl->net;

	switch ((unsigned)kind) {
	case FAULT_BLOCK: {
		struct proc *a = some_proc(f), *b = some_proc(f);

		net_block(n, a, b, f->w->now_ns + rng_skewed(r, MS, 4 * SEC));
		if (rng_chance(r, 300000))
			net_block(n, b, a, n->blocked_until_ns[a->index][b->index]);
		break;
	}
	case FAULT_SLOW_NET:
		n->delay_hi_ns = rng_skewed(r, MS, SEC);
		heal_later(f);
		break;
	case FAULT_FLIP:
		n->flip_ppm = (uint32_t)rng_range(r, 100, 20000);
		heal_later(f);
		break;
	case FAULT_HALF_OPEN:
		net_reset_random(n, true);
		break;
	default:
		for (uint64_t i = rng_range(r, 1, 4); i > 0; i--)
			net_reset_random(n, false);
		break;
	}
}

static void strike(struct faults *f, enum fault_kind kind)
{
	struct rng *r = &f->w->rng;
	struct proc *p;

	world_trace(f->w, NULL, "fault %s", fault_name(kind));
	f->counts[kind]++;
	f->cl->faults++;
	switch (kind) {
	case FAULT_RESET:
	case FAULT_HALF_OPEN:
	case FAULT_BLOCK:
	case FAULT_SLOW_NET:
	case FAULT_FLIP:
		strike_net(f, kind);
		return;
	case FAULT_PAUSE:
		p = some_proc(f);
		p->paused_until_ns = f->w->now_ns + rng_skewed(r, MS, 5 * SEC);
		return;
	case FAULT_SLOW_DISK:
		some_node(f)->disk.slow_until_ns = f->w->now_ns + rng_skewed(r, MS, 5 * SEC);
		return;
	case FAULT_CLIENT_KILL:
		client_dies(f);
		return;
	case FAULT_SVC_KILL:
		svc_dies(f);
		return;
	case FAULT_NODE_KILL:
	case FAULT_NODE_POWER:
	case FAULT_NODE_STOP:
		node_dies(f, kind);
		return;
	case FAULT_CYCLE_QUIET:
	case FAULT_CYCLE_HARD:
	case FAULT_CYCLE_CLEAN:
		cycle_start(f, kind);
		return;
	case FAULT_EIO:
		disk_lies(f);
		return;
	case FAULT_KINDS:
		return;
	}
}

static void plan_next(struct faults *f)
{
	world_at(f->w, &f->next_ev, f->w->now_ns + rng_below(&f->w->rng, 2 * f->cfg.mean_ns + 1));
}

static void next_fire(struct sim_event *ev)
{
	struct faults *f = CONTAINER_OF(ev, struct faults, next_ev);
	uint64_t total = 0, pick;
	unsigned k = 0;

	for (unsigned i = 0; i < FAULT_KINDS; i++)
		total += f->cfg.weights[i];
	if (!f->on || !total)
		return;
	pick = rng_below(&f->w->rng, total);
	for (k = 0; pick >= f->cfg.weights[k]; k++)
		pick -= f->cfg.weights[k];
	strike(f, (enum fault_kind)k);
	plan_next(f);
}

void faults_start(struct faults *f)
{
	f->on = true;
	plan_next(f);
}

void faults_stop(struct faults *f)
{
	struct cluster *cl = f->cl;

	f->on = false;
	f->cycle = CYCLE_NONE;
	world_cancel(f->w, &f->next_ev);
	world_cancel(f->w, &f->heal_ev);
	world_cancel(f->w, &f->cycle_ev);
	calm_net(f);
	net_unblock_all(&cl->net);
	for (uint32_t i = 0; i < f->w->procs_n; i++)
		f->w->procs[i]->paused_until_ns =
			MIN(f->w->procs[i]->paused_until_ns, f->w->now_ns);
	for (uint32_t i = 0; i < cl->cfg.nodes_n; i++) {
		cl->nodes[i].disk.slow_until_ns = 0;
		cl->nodes[i].disk.eio_reads = cl->nodes[i].disk.eio_writes = 0;
		if (cl->nodes[i].stopping || cl->nodes[i].failed)
			actor_node_kill(&cl->nodes[i], false);
		actor_node_start(&cl->nodes[i]);
	}
	actor_svc_start(&cl->svc);
	for (uint32_t i = 0; i < cl->cfg.clients_n; i++)
		actor_client_start(&cl->clients[i]);
}

void faults_init(struct faults *f, struct cluster *cl, const struct faults_config *cfg)
{
	memset(f, 0, sizeof(*f));
	f->cl = cl;
	f->w = cl->w;
	f->cfg = *cfg;
	f->delay_lo_ns = cl->net.delay_lo_ns;
	f->delay_hi_ns = cl->net.delay_hi_ns;
	f->next_ev.fire = next_fire;
	f->heal_ev.fire = heal_fire;
	f->cycle_ev.fire = cycle_fire;
}

void faults_fini(struct faults *f)
{
	world_cancel(f->w, &f->next_ev);
	world_cancel(f->w, &f->heal_ev);
	world_cancel(f->w, &f->cycle_ev);
}
