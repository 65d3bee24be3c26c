/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What an administrator may ask for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cfgsvc/ctrl.h"
#include "cfgsvc/placement.h"

/* Everything there is must be there: a chain made with an absent server would start out down. */
static bool all_connected(const struct ctrl_state *s, const struct ctrl_live *live,
			  struct ctrl_answer *a)
{
	for (uint32_t i = 0; i < s->map.hdr.servers_n; i++) {
		if (live->servers[i].connected)
			continue;
		ctrl_refuse(a, -ENOTCONN,
			    "cluster init: server %s is registered and not connected: start it",
			    s->map.servers[i].name);
		return false;
	}
	return true;
}

/* The servers and their domains, numbered as they come. */
static struct placement placement_of(const struct chain_map *m)
{
	struct placement p = {.servers_n = m->hdr.servers_n};

	for (uint32_t i = 0; i < p.servers_n; i++) {
		uint32_t k = 0;

		while (!map_servers_fail_together(&m->servers[i], &m->servers[k]))
			k++;
		p.domain[i] = k < i ? p.domain[k] : p.domains_n++;
	}
	return p;
}

static bool init_is_valid(const struct ctrl_state *s, const struct wire_admin *req,
			  const struct placement *p, const struct ctrl_live *live,
			  struct ctrl_answer *a)
{
	uint32_t servers = s->map.hdr.servers_n;

	if (s->map.hdr.chains_n != 0)
		ctrl_refuse(a, -EEXIST,
			    "cluster init: the cluster has its %u chains already: nothing to do",
			    s->map.hdr.chains_n);
	else if (servers == 0)
		ctrl_refuse(a, -ENOTCONN,
			    "cluster init: no server has registered: start chaind "
			    "with --cfg and this service's address first");
	else if (req->arg0 > CHAIN_MEMBERS_MAX)
		ctrl_refuse(a, -EINVAL, "cluster init: %llu replicas: at most %u are possible",
			    (unsigned long long)req->arg0, CHAIN_MEMBERS_MAX);
	else if (req->arg0 > p->domains_n && p->domains_n < servers)
		ctrl_refuse(a, -EINVAL,
			    "cluster init: %llu replicas need as many failure domains, the %u "
			    "servers are of %u: start more daemons, or ask for fewer",
			    (unsigned long long)req->arg0, servers, p->domains_n);
	else if (req->arg0 > servers)
		ctrl_refuse(a, -EINVAL,
			    "cluster init: %llu replicas need as many servers, %u are registered: "
			    "start more, or ask for fewer",
			    (unsigned long long)req->arg0, servers);
	else if (req->arg1 > CHAINS_MAX)
		ctrl_refuse(a, -EINVAL, "cluster init: %llu chains: at most %u are possible",
			    (unsigned long long)req->arg1, CHAINS_MAX);
	else
		return all_connected(s, live, a);
	return false;
}

static void cluster_init(struct ctrl_state *s, const struct wire_admin *req,
			 const struct ctrl_live *live, struct ctrl_answer *a)
{
	struct placement p = placement_of(&s->map);
	uint32_t chains;

	if (!init_is_valid(s, req, &p, live, a))
		return;
	p.replicas_n = req->arg0 ? (uint32_t)req->arg0 : placement_default_replicas(p.domains_n);
	chains = req->arg1 ? (uint32_t)req->arg1 : placement_default_chains(&p);
	if (placement_replicas_max(&p, chains) > NODE_CHAINS_MAX) {
		ctrl_refuse(a, -EINVAL,
			    "cluster init: %u chains of %u on %u servers: a server can hold %u "
			    "replicas: ask for fewer chains",
			    chains, p.replicas_n, p.servers_n, NODE_CHAINS_MAX);
		return;
	}
	for (uint32_t i = 0; i < chains; i++) {
		struct map_chain *c = &s->map.chains[i];
		uint32_t at[CHAIN_MEMBERS_MAX];

		memset(c, 0, sizeof(*c));
		c->id = s->next_chain++;
		c->epoch = 1;
		c->history = 1;
		c->in_n = p.replicas_n;
		c->target_n = p.replicas_n;
		placement_members(&p, i, at);
		for (uint32_t k = 0; k < p.replicas_n; k++) {
			c->in[k].server = s->map.servers[at[k]].id;
			c->in[k].incarnation = s->map.servers[at[k]].incarnation;
		}
	}
	s->map.hdr.chains_n = chains;
	*a = (struct ctrl_answer){.changed = true, .value = chains};
}

static bool create_is_valid(const struct ctrl_state *s, const struct wire_admin *req,
			    struct ctrl_answer *a)
{
	if (!name_is_valid(req->name, sizeof(req->name)))
		ctrl_refuse(a, -EINVAL,
			    "volume name '%s': not a valid name: use letters, digits, . _ - and "
			    "begin with a letter or digit",
			    req->name);
	else if (chain_map_volume_named(&s->map, req->name))
		ctrl_refuse(a, -EEXIST, "volume %s: the name is taken: choose another one",
			    req->name);
	else if (s->map.hdr.chains_n == 0)
		ctrl_refuse(a, -ENOTCONN,
			    "volume %s: the cluster has no chains yet: run chainctl "
			    "cluster init first",
			    req->name);
	else if (req->arg0 == 0 || req->arg0 > VOLUME_BYTES_MAX)
		ctrl_refuse(a, -EINVAL, "volume %s: a size of %llu bytes: choose 4K up to 1024T",
			    req->name, (unsigned long long)req->arg0);
	else if (req->arg1 != 0 && req->arg1 != SECTOR_BYTES && req->arg1 != BLOCK_BYTES)
		ctrl_refuse(a, -EINVAL, "volume %s: sectors of %llu bytes: choose 512 or 4096",
			    req->name, (unsigned long long)req->arg1);
	else if (s->map.hdr.volumes_n == VOLUMES_MAX)
		ctrl_refuse(a, -ENOSPC,
			    "volume %s: the cluster has its %u volumes already: "
			    "delete one first",
			    req->name, VOLUMES_MAX);
	else
		return true;
	return false;
}

/* D3: min(chains, 32) lanes; volumes begin at different chains so that a cluster with more chains
 * than lanes uses them all, and at different lanes so that first extents spread. */
static void choose_lanes(const struct ctrl_state *s, struct map_volume *v)
{
	uint32_t chains = s->map.hdr.chains_n;
	uint64_t start;

	v->lanes_n = MIN(chains, VOLUME_LANES_MAX);
	start = (v->id - 1) * v->lanes_n;
	for (uint32_t i = 0; i < v->lanes_n; i++)
		v->lanes[i] = s->map.chains[(start + i) % chains].id;
	v->base = (uint32_t)((v->id - 1) * 7 % v->lanes_n);
	v->min_in = placement_min_in(s->map.chains[0].target_n);
}

static uint64_t whole_blocks(uint64_t bytes)
{
	return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static void note_rounding(const struct map_volume *v, uint64_t asked, struct ctrl_answer *a)
{
	if (v->size_bytes != asked)
		snprintf(a->text, sizeof(a->text), "size rounded up to %llu bytes, whole blocks",
			 (unsigned long long)v->size_bytes);
}

static void volume_create(struct ctrl_state *s, const struct wire_admin *req, struct ctrl_answer *a)
{
	struct map_volume *v;

	if (!create_is_valid(s, req, a))
		return;
	v = &s->map.volumes[s->map.hdr.volumes_n++];
	memset(v, 0, sizeof(*v));
	v->id = s->next_volume++;
	v->size_bytes = whole_blocks(req->arg0);
	v->generation = 1;
	v->state = VOLUME_NORMAL;
	v->sector_bytes = req->arg1 ? (uint32_t)req->arg1 : SECTOR_BYTES;
	snprintf(v->name, sizeof(v->name), "%s", req->name);
	choose_lanes(s, v);
	*a = (struct ctrl_answer){.changed = true, .value = v->id};
	note_rounding(v, req->arg0, a);
}

static bool unused(const struct map_volume *v, const struct ctrl_live *live, struct ctrl_answer *a)
{
	if (live->opens > 0) {
		ctrl_refuse(a, -EBUSY, "volume %s: %u client%s it open: close %s first", v->name,
			    live->opens, live->opens == 1 ? " has" : "s have",
			    live->opens == 1 ? "it" : "them");
		return false;
	}
	if (live->now_ns - live->started_ns < CTRL_GRACE_NS) {
		ctrl_refuse(a, -EAGAIN,
			    "volume %s: the configuration service has just started and does not "
			    "know yet who has it open: try again in a few seconds",
			    v->name);
		return false;
	}
	return true;
}

static void volume_deleting(struct map_volume *v, const struct ctrl_live *live,
			    struct ctrl_answer *a)
{
	if (v->state == VOLUME_DELETING) {
		*a = (struct ctrl_answer){.value = v->id};
		return;
	}
	if (!unused(v, live, a))
		return;
	v->state = VOLUME_DELETING;
	*a = (struct ctrl_answer){.changed = true, .value = v->id};
}

static void volume_delete(struct ctrl_state *s, struct map_volume *v, struct ctrl_answer *a)
{
	struct map_volume *last = &s->map.volumes[s->map.hdr.volumes_n - 1];

	if (v->state != VOLUME_DELETING) {
		ctrl_refuse(a, -EINVAL,
			    "volume %s: it is not marked for deletion: run chainctl volume delete",
			    v->name);
		return;
	}
	*a = (struct ctrl_answer){.changed = true, .value = v->id};
	memmove(v, v + 1, (size_t)(last - v) * sizeof(*v));
	memset(last, 0, sizeof(*last));
	s->map.hdr.volumes_n--;
}

static void volume_resize(struct map_volume *v, uint64_t size, struct ctrl_answer *a)
{
	if (v->state == VOLUME_DELETING) {
		ctrl_refuse(a, -ENOENT, "volume %s: it is being deleted: use another one", v->name);
		return;
	}
	if (size > VOLUME_BYTES_MAX) {
		ctrl_refuse(a, -EINVAL, "volume %s: a size of %llu bytes: choose 1024T at most",
			    v->name, (unsigned long long)size);
		return;
	}
	if (whole_blocks(size) < v->size_bytes) {
		ctrl_refuse(a, -EINVAL,
			    "volume %s: it has %llu bytes and cannot shrink to %llu: make a "
			    "smaller one and copy",
			    v->name, (unsigned long long)v->size_bytes, (unsigned long long)size);
		return;
	}
	*a = (struct ctrl_answer){.changed = whole_blocks(size) != v->size_bytes, .value = v->id};
	v->size_bytes = whole_blocks(size);
	note_rounding(v, size, a);
}

static void volume_change(struct ctrl_state *s, const struct wire_admin *req,
			  const struct ctrl_live *live, struct ctrl_answer *a)
{
	const struct map_volume *found = chain_map_volume_named(&s->map, req->name);
	struct map_volume *v;

	if (!found) {
		ctrl_refuse(a, -ENOENT,
			    "volume %s: there is none of this name: see chainctl "
			    "volume list",
			    req->name);
		return;
	}
	v = &s->map.volumes[found - s->map.volumes];
	if (req->op == ADMIN_VOLUME_DELETING)
		volume_deleting(v, live, a);
	else if (req->op == ADMIN_VOLUME_DELETE)
		volume_delete(s, v, a);
	else
		volume_resize(v, req->arg0, a);
}

void ctrl_admin(struct ctrl_state *s, const struct wire_admin *req, const struct ctrl_live *live,
		struct ctrl_answer *a)
{
	switch ((enum wire_admin_op)req->op) {
	case ADMIN_CLUSTER_INIT:
		cluster_init(s, req, live, a);
		return;
	case ADMIN_VOLUME_CREATE:
		volume_create(s, req, a);
		return;
	case ADMIN_VOLUME_DELETING:
	case ADMIN_VOLUME_DELETE:
	case ADMIN_VOLUME_RESIZE:
		volume_change(s, req, live, a);
		return;
	case ADMIN_STATUS:
	case ADMIN_OP_END:
		break;
	}
	ctrl_refuse(a, -EOPNOTSUPP,
		    "operation %u: this service does not know it: chainctl and "
		    "cfgsvc must be of the same version",
		    req->op);
}
