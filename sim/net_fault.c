/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What goes wrong between processes: resets, half-open connections, deaths, one-way stalls. */
#include "sim/net.h"

#include <errno.h>
#include <string.h>

#define SIDE_LEARNS_LATE_NS (10 * SEC) /* half-open: as the shell's TCP_USER_TIMEOUT */

static void break_end(struct env_conn *c, uint64_t at_ns, int err, const char *why)
{
	c->cut = true;
	if (!c->live || c->break_ev.pos)
		return;
	c->break_err = err;
	c->break_why = why;
	world_at(c->link->net->w, &c->break_ev, at_ns);
}

void net_proc_died(struct net *n, struct proc *p, bool silent)
{
	struct rng *r = &n->w->rng;

	while (!list_empty(&p->conns)) {
		struct env_conn *c = CONTAINER_OF(p->conns.next, struct env_conn, proc_link);
		struct env_conn *peer = net_peer(c);

		/* A killed process' kernel still sends what it was handed, then a reset, or drops
		 * it; a machine without power sends nothing. */
		if (peer->live && silent)
			break_end(peer, n->w->now_ns + rng_range(r, MS, SIDE_LEARNS_LATE_NS),
				  -ETIMEDOUT, "peer silent");
		else if (peer->live && rng_chance(r, 500000))
			net_send_fin(c, -ECONNRESET, "connection reset");
		else if (peer->live)
			break_end(peer, n->w->now_ns + net_delay(n), -ECONNRESET,
				  "connection reset");
		net_end_dead(c);
	}
}

bool net_reset_random(struct net *n, bool half_open)
{
	struct rng *r = &n->w->rng;
	uint32_t count = 0;
	uint64_t pick, late;
	int first;

	LIST_FOR_EACH(it, &n->links)
	count++;
	if (!count)
		return false;
	pick = rng_below(r, count);
	LIST_FOR_EACH(it, &n->links)
	{
		struct sim_link *l = CONTAINER_OF(it, struct sim_link, all);

		if (pick--)
			continue;
		if (!l->end[0].live || !l->end[1].live)
			return false;
		first = (int)rng_below(r, 2);
		late = half_open ? SIDE_LEARNS_LATE_NS : 20 * MS;
		world_trace(n->w, NULL, "reset %s-%s%s", l->end[0].proc->name, l->end[1].proc->name,
			    half_open ? " half-open" : "");
		break_end(&l->end[first], n->w->now_ns + rng_below(r, MS), -ECONNRESET,
			  "connection reset");
		break_end(&l->end[1 - first], n->w->now_ns + rng_below(r, late), -ECONNRESET,
			  "connection reset");
		n->resets++;
		return true;
	}
	return false;
}

void net_block(struct net *n, const struct proc *from, const struct proc *to, uint64_t until_ns)
{
	uint64_t *b = &n->blocked_until_ns[from->index][to->index];

	*b = MAX(*b, until_ns);
}

void net_unblock_all(struct net *n)
{
	memset(n->blocked_until_ns, 0, sizeof(n->blocked_until_ns));
	LIST_FOR_EACH(it, &n->links)
	{
		struct sim_link *l = CONTAINER_OF(it, struct sim_link, all);

		for (int i = 0; i < 2; i++)
			if (l->end[i].live && l->end[i].tx_ev.pos)
				world_at(n->w, &l->end[i].tx_ev, n->w->now_ns);
	}
}
