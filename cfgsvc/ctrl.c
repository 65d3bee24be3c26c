/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "cfgsvc/ctrl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/size.h"

#define CTRL_VERSION_NO_DOMAINS 1u

void ctrl_new(struct ctrl_state *s, const struct id128 *cluster)
{
	CHECK(!id128_is_none(cluster));
	memset(s, 0, sizeof(*s));
	s->next_server = 1;
	s->next_chain = 1;
	s->next_volume = 1;
	s->map.hdr.cluster = *cluster;
	s->map.hdr.version = 1;
}

size_t ctrl_encoded_bytes(const struct ctrl_state *s)
{
	return sizeof(struct ctrl_state_hdr) + chain_map_encoded_bytes(&s->map);
}

void ctrl_encode(const struct ctrl_state *s, void *out)
{
	const struct ctrl_state_hdr h = {
		.magic = CTRL_MAGIC,
		.version = CTRL_VERSION,
		.next_server = s->next_server,
		.next_chain = s->next_chain,
		.next_volume = s->next_volume,
	};

	memcpy(out, &h, sizeof(h));
	chain_map_encode(&s->map, (uint8_t *)out + sizeof(h));
}

/* G1, on a map that is valid by itself. */
static const char *counters_wrong(const struct ctrl_state *s)
{
	if (s->next_server == 0 || s->next_chain == 0 || s->next_volume == 0)
		return "configuration: a counter is 0";
	for (uint32_t i = 0; i < s->map.hdr.servers_n; i++)
		if (s->map.servers[i].id >= s->next_server)
			return "configuration: a server id beyond its counter";
	for (uint32_t i = 0; i < s->map.hdr.chains_n; i++)
		if (s->map.chains[i].id >= s->next_chain)
			return "configuration: a chain id beyond its counter";
	for (uint32_t i = 0; i < s->map.hdr.volumes_n; i++)
		if (s->map.volumes[i].id >= s->next_volume)
			return "configuration: a volume id beyond its counter";
	return NULL;
}

int ctrl_decode(const void *bytes, size_t len_bytes, struct ctrl_state *ret_s, const char **ret_why)
{
	struct ctrl_state_hdr h;
	const uint8_t *at;
	const char *why;
	int rc;

	if (len_bytes < sizeof(h)) {
		*ret_why = "configuration: shorter than its header";
		return -EPROTO;
	}
	memcpy(&h, bytes, sizeof(h));
	if (h.magic != CTRL_MAGIC || h.reserved != 0) {
		*ret_why = "configuration: not one of chainblk's";
		return -EPROTO;
	}
	if (h.version != CTRL_VERSION && h.version != CTRL_VERSION_NO_DOMAINS) {
		*ret_why = "configuration: written by another version of cfgsvc";
		return -EPROTONOSUPPORT;
	}
	memset(ret_s, 0, sizeof(*ret_s));
	ret_s->next_server = h.next_server;
	ret_s->next_chain = h.next_chain;
	ret_s->next_volume = h.next_volume;
	at = (const uint8_t *)bytes + sizeof(h);
	rc = h.version == CTRL_VERSION
		     ? chain_map_decode(at, len_bytes - sizeof(h), &ret_s->map, ret_why)
		     : chain_map_decode_v1(at, len_bytes - sizeof(h), &ret_s->map, ret_why);
	if (rc < 0)
		return rc;
	why = counters_wrong(ret_s);
	if (!why)
		return 0;
	*ret_why = why;
	return -EPROTO;
}

void ctrl_refuse(struct ctrl_answer *a, int status, const char *fmt, ...)
{
	va_list ap;

	CHECK(status < 0);
	memset(a, 0, sizeof(*a));
	a->status = status;
	va_start(ap, fmt);
	vsnprintf(a->text, sizeof(a->text), fmt, ap);
	va_end(ap);
}

int ctrl_server_index(const struct ctrl_state *s, uint32_t id)
{
	for (uint32_t i = 0; i < s->map.hdr.servers_n; i++)
		if (s->map.servers[i].id == id)
			return (int)i;
	return -1;
}

static bool register_is_valid(const struct ctrl_state *s, const struct wire_register *r,
			      struct ctrl_answer *a)
{
	if (!name_is_valid(r->name, sizeof(r->name))) {
		ctrl_refuse(a, -EINVAL,
			    "server name '%.32s': not a valid name: use letters, digits, . _ -",
			    r->name);
		return false;
	}
	if (r->domain[0] != '\0' && !name_is_valid(r->domain, sizeof(r->domain))) {
		ctrl_refuse(
			a, -EINVAL,
			"server %s: domain '%.32s': not a valid name: use letters, digits, . _ -",
			r->name, r->domain);
		return false;
	}
	for (unsigned i = 0; i < SERVER_ADDRS_MAX; i++) {
		if (i > 0 && r->addrs[i][0] == '\0')
			break;
		if (!addr_is_valid(r->addrs[i])) {
			ctrl_refuse(a, -EINVAL,
				    "server %s: address '%s' is neither host:port nor unix:/path: "
				    "change --advertise",
				    r->name, r->addrs[i]);
			return false;
		}
	}
	for (uint32_t i = 0; i < s->map.hdr.servers_n; i++) {
		const struct map_server *m = &s->map.servers[i];

		if (strcmp(m->name, r->name) == 0 && !id128_eq(&m->disk, &r->disk)) {
			ctrl_refuse(a, -EEXIST,
				    "server %s: another store is registered under this name "
				    "(server %u): start it with another --name",
				    r->name, m->id);
			return false;
		}
	}
	return true;
}

/* G4: would @m, under the domain of @r, be in one with somebody it shares a chain with? */
static bool domain_is_taken(const struct ctrl_state *s, const struct map_server *m,
			    const struct wire_register *r, struct ctrl_answer *a)
{
	struct map_server renamed = *m;

	memcpy(renamed.name, r->name, sizeof(renamed.name));
	memcpy(renamed.domain, r->domain, sizeof(renamed.domain));
	for (uint32_t i = 0; i < s->map.hdr.chains_n; i++) {
		const struct map_chain *c = &s->map.chains[i];
		const struct map_server *other = NULL;
		bool member = false;

		for (uint32_t k = 0; k < c->in_n; k++) {
			const struct map_server *in = chain_map_server(&s->map, c->in[k].server);

			if (in == m)
				member = true;
			else if (map_servers_fail_together(in, &renamed))
				other = in;
		}
		if (!member || !other)
			continue;
		ctrl_refuse(a, -EEXIST,
			    "server %s: domain %s is that of %s, which holds the same chain %u: "
			    "start it under its old --name",
			    r->name, map_server_domain(&renamed), other->name, c->id);
		return true;
	}
	return false;
}

static void take_over(struct map_server *m, const struct wire_register *r)
{
	memset(m->name, 0, sizeof(m->name));
	snprintf(m->name, sizeof(m->name), "%s", r->name);
	memset(m->domain, 0, sizeof(m->domain));
	snprintf(m->domain, sizeof(m->domain), "%s", r->domain);
	memset(m->addrs, 0, sizeof(m->addrs));
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && r->addrs[i][0] != '\0'; i++)
		snprintf(m->addrs[i], ADDR_BYTES, "%s", r->addrs[i]);
	m->incarnation = r->incarnation;
}

static void register_new(struct ctrl_state *s, const struct wire_register *r, struct ctrl_answer *a)
{
	struct map_server *m;

	if (s->map.hdr.servers_n == SERVERS_MAX) {
		ctrl_refuse(a, -ENOSPC,
			    "server %s: the cluster has its %u servers already: this "
			    "version has no way to remove one",
			    r->name, SERVERS_MAX);
		return;
	}
	m = &s->map.servers[s->map.hdr.servers_n++];
	memset(m, 0, sizeof(*m));
	m->id = s->next_server++;
	m->disk = r->disk;
	take_over(m, r);
	*a = (struct ctrl_answer){.changed = true, .value = m->id};
}

void ctrl_register(struct ctrl_state *s, const struct wire_register *r, struct ctrl_answer *a)
{
	struct map_server *m = NULL, before;

	if (!register_is_valid(s, r, a))
		return;
	for (uint32_t i = 0; i < s->map.hdr.servers_n; i++)
		if (id128_eq(&s->map.servers[i].disk, &r->disk))
			m = &s->map.servers[i];
	if (!m) {
		register_new(s, r, a);
		return;
	}
	/* C7. The same incarnation again is a process whose connection was lost. */
	if (!id128_eq(&m->incarnation, &r->incarnation) &&
	    !id128_eq(&m->incarnation, &r->previous)) {
		ctrl_refuse(a, -ESTALE,
			    "server %s: rolled-back or cloned disk, or one started in vain while "
			    "cfgsvc was away: its last incarnation is not the registered one: use "
			    "the right disk",
			    r->name);
		return;
	}
	if (domain_is_taken(s, m, r, a))
		return;
	before = *m;
	take_over(m, r);
	*a = (struct ctrl_answer){.changed = memcmp(&before, m, sizeof(before)) != 0,
				  .value = m->id};
}

/* Where the log of @chain ends; a replica that is not reported is not there. */
static uint64_t reported_last(const struct wire_report *reports, uint32_t n, uint32_t chain)
{
	for (uint32_t i = 0; i < n; i++)
		if (reports[i].chain == chain)
			return reports[i].last;
	return 0;
}

void ctrl_register_live(const struct ctrl_state *s, const struct ctrl_live *live,
			const struct wire_register *r, const struct wire_report *reports,
			uint32_t n, struct ctrl_answer *a)
{
	const struct ctrl_server_live *l = NULL;
	uint64_t silent_ns = 0;

	for (uint32_t i = 0; i < s->map.hdr.servers_n && !l; i++)
		if (id128_eq(&s->map.servers[i].disk, &r->disk) &&
		    !id128_eq(&s->map.servers[i].incarnation, &r->incarnation))
			l = &live->servers[i];
	if (!l)
		return;
	silent_ns = live->now_ns - l->seen_ns;
	if (l->connected && silent_ns < CTRL_SILENT_NS) {
		ctrl_refuse(a, -EBUSY,
			    "server %s: a running daemon has this store (heard of %llu ms ago): a "
			    "clone of its disk, or two daemons on one: stop the wrong one",
			    r->name, (unsigned long long)(silent_ns / 1000000));
		return;
	}
	for (uint32_t i = 0; i < l->replicas_n; i++) {
		const struct wire_report *old = &l->replicas[i];
		uint64_t last = reported_last(reports, n, old->chain);

		if (last >= old->known)
			continue;
		ctrl_refuse(
			a, -ESTALE,
			"server %s: rolled-back or cloned disk: its log of chain %u ends at %llu, "
			"it once had %llu committed: use the right disk",
			r->name, old->chain, (unsigned long long)last,
			(unsigned long long)old->known);
		return;
	}
}

void ctrl_open(const struct ctrl_state *s, const struct wire_open *req, struct ctrl_answer *a)
{
	const struct map_volume *v = chain_map_volume_named(&s->map, req->name);
	bool deleting = (req->flags & WIRE_OPEN_DELETING) != 0;

	if (!v)
		ctrl_refuse(a, -ENOENT,
			    "volume %s: there is none of this name: see chainctl "
			    "volume list",
			    req->name);
	else if (v->state == VOLUME_DELETING && !deleting)
		ctrl_refuse(a, -ENOENT, "volume %s: it is being deleted: use another one",
			    req->name);
	else if (v->state != VOLUME_DELETING && deleting)
		ctrl_refuse(a, -EINVAL,
			    "volume %s: it is not being deleted: run chainctl volume "
			    "delete",
			    req->name);
	else
		*a = (struct ctrl_answer){.value = v->id};
}

void ctrl_live_reports(struct ctrl_server_live *l, const struct wire_report *r, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = 0;

		while (k < l->replicas_n && l->replicas[k].chain != r[i].chain)
			k++;
		if (k == NODE_CHAINS_MAX)
			return;
		l->replicas[k] = r[i];
		l->replicas_n = MAX(l->replicas_n, k + 1);
	}
}

void ctrl_check(const struct ctrl_state *s)
{
	CHECK(counters_wrong(s) == NULL);
	CHECK(s->map.hdr.servers_n <= SERVERS_MAX);
	CHECK(s->map.hdr.chains_n <= CHAINS_MAX);
	CHECK(s->map.hdr.volumes_n <= VOLUMES_MAX);
	for (uint32_t i = 0; i < s->map.hdr.chains_n; i++) {
		const char *why;

		CHECK(map_chain_check(&s->map.chains[i], &why) == 0);
		CHECK(chain_map_domains_differ(&s->map, &s->map.chains[i]));
	}
}
