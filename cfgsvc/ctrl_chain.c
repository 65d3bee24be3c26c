/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Chains: whether they are up, why not, and when they may be re-formed (V3, G3). */
#include <stdio.h>
#include <string.h>

#include "cfgsvc/ctrl.h"

/* One member as the chain's record, the server list and its reports show it. */
struct member {
	const char *name;
	uint32_t server;
	bool connected; /* and heard of recently */
	bool restarted; /* its incarnation is not the record's any more */
	uint64_t silent_s;
	struct wire_report rep; /* zero: it has never seen the chain */
};

static struct member member_of(const struct ctrl_state *s, const struct ctrl_live *live,
			       const struct map_chain *c, uint32_t i)
{
	int at = ctrl_server_index(s, c->in[i].server);
	const struct map_server *srv;
	const struct ctrl_server_live *l;
	struct member m = {0};

	CHECK(at >= 0);
	srv = &s->map.servers[at];
	l = &live->servers[at];
	m.name = srv->name;
	m.server = srv->id;
	m.restarted = !id128_eq(&srv->incarnation, &c->in[i].incarnation);
	m.connected = l->connected && live->now_ns - l->seen_ns < CTRL_SILENT_NS;
	m.silent_s = l->seen_ns == 0 ? UINT64_MAX
				     : (live->now_ns - l->seen_ns) / (1000ull * 1000 * 1000);
	for (uint32_t k = 0; k < l->replicas_n; k++)
		if (l->replicas[k].chain == c->id)
			m.rep = l->replicas[k];
	return m;
}

struct members {
	uint32_t n;
	struct member m[CHAIN_MEMBERS_MAX];
};

static struct members members_of(const struct ctrl_state *s, const struct ctrl_live *live,
				 const struct map_chain *c)
{
	struct members all = {.n = c->in_n};

	/* In order of server, not of the chain: equal reasons read equal in every chain. */
	for (uint32_t i = 0; i < c->in_n; i++) {
		struct member m = member_of(s, live, c, i);
		uint32_t k = i;

		for (; k > 0 && all.m[k - 1].server > m.server; k--)
			all.m[k] = all.m[k - 1];
		all.m[k] = m;
	}
	return all;
}

/* What one member knows to be committed is durable on all of them: a log that ends before that lost
 * something, and the others' must not be cut back to it. */
static bool loss_reason(const struct members *all, char reason[128])
{
	const struct member *shortest = NULL, *knows = &all->m[0];

	for (uint32_t i = 0; i < all->n; i++) {
		/* One that kept running may have more by now than it reported. */
		if (all->m[i].restarted && (!shortest || all->m[i].rep.last < shortest->rep.last))
			shortest = &all->m[i];
		if (all->m[i].rep.known > knows->rep.known)
			knows = &all->m[i];
	}
	if (!shortest || knows->rep.known <= shortest->rep.last)
		return false;
	snprintf(reason, 128,
		 "%s lost acknowledged writes: its log ends at %llu, %s knows %llu to be committed",
		 shortest->name, (unsigned long long)shortest->rep.last, knows->name,
		 (unsigned long long)knows->rep.known);
	return true;
}

/* The member that stops the chain whatever the others do. */
static bool member_reason(const struct map_chain *c, const struct member *m, char reason[128])
{
	if (m->rep.epoch > c->epoch)
		snprintf(reason, 128,
			 "%s has seen epoch %llu, the record is at %llu: the configuration was "
			 "restored from an old copy",
			 m->name, (unsigned long long)m->rep.epoch, (unsigned long long)c->epoch);
	else if (m->rep.state == REPLICA_FAILED)
		snprintf(reason, 128, "the replica on %s failed: see the log of that daemon",
			 m->name);
	else if (!m->connected && m->silent_s == UINT64_MAX)
		snprintf(reason, 128, "%s is not connected: start it", m->name);
	else if (!m->connected)
		snprintf(reason, 128, "%s is not connected since %llu s: start it", m->name,
			 (unsigned long long)m->silent_s);
	else
		return false;
	return true;
}

/* True when every member may go on in a new epoch (G3); else @reason says why not, or is empty when
 * the chain is up. */
static bool judge(const struct map_chain *c, const struct members *all, char reason[128])
{
	uint32_t restarted = 0;

	reason[0] = '\0';
	for (uint32_t i = 0; i < all->n; i++) {
		if (member_reason(c, &all->m[i], reason))
			return false;
		restarted += all->m[i].restarted;
	}
	/* What a member was before its restart is no member any more (C7): nothing more can be
	 * committed in this epoch. */
	if (restarted > 0)
		return !loss_reason(all, reason);
	for (uint32_t i = 0; i < all->n; i++) {
		if (all->m[i].rep.epoch == c->epoch && all->m[i].rep.state == REPLICA_IN)
			continue;
		snprintf(reason, 128, "%s has not taken up epoch %llu yet: wait a moment",
			 all->m[i].name, (unsigned long long)c->epoch);
		return false;
	}
	return false;
}

void ctrl_chain_status(const struct ctrl_state *s, const struct ctrl_live *live,
		       const struct map_chain *c, struct status_chain *ret)
{
	const struct members all = members_of(s, live, c);

	memset(ret, 0, sizeof(*ret));
	ret->id = c->id;
	ret->known = all.m[0].rep.known;
	for (uint32_t i = 0; i < all.n; i++) {
		ret->last = MAX(ret->last, all.m[i].rep.last);
		ret->known = MIN(ret->known, all.m[i].rep.known);
	}
	if (judge(c, &all, ret->reason))
		snprintf(ret->reason, sizeof(ret->reason),
			 "a member was started anew: being formed again, wait a moment");
	ret->up = ret->reason[0] == '\0';
}

static bool may_reform(const struct ctrl_state *s, const struct ctrl_live *live,
		       const struct map_chain *c)
{
	const struct members all = members_of(s, live, c);
	char reason[128];

	return judge(c, &all, reason);
}

uint32_t ctrl_reformable(const struct ctrl_state *s, const struct ctrl_live *live)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->map.hdr.chains_n; i++)
		n += may_reform(s, live, &s->map.chains[i]);
	return n;
}

uint32_t ctrl_reform(struct ctrl_state *s, const struct ctrl_live *live)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->map.hdr.chains_n; i++) {
		struct map_chain *c = &s->map.chains[i];

		if (!may_reform(s, live, c))
			continue;
		for (uint32_t k = 0; k < c->in_n; k++) {
			const struct map_server *srv = chain_map_server(&s->map, c->in[k].server);

			CHECK(srv != NULL);
			c->in[k].incarnation = srv->incarnation;
		}
		c->epoch++;
		n++;
	}
	return n;
}
