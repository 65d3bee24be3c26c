/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/chain_map.h"

#include <errno.h>
#include <string.h>

/* The counted arrays of a map: where each lies in the encoded bytes follows from the counts. */
static size_t body_bytes(const struct chain_map_hdr *h, size_t server_bytes)
{
	return h->servers_n * server_bytes + h->chains_n * sizeof(struct map_chain) +
	       h->volumes_n * sizeof(struct map_volume);
}

size_t chain_map_encoded_bytes(const struct chain_map *m)
{
	return sizeof(m->hdr) + body_bytes(&m->hdr, sizeof(struct map_server));
}

void chain_map_encode(const struct chain_map *m, void *out)
{
	uint8_t *at = out;
	const size_t servers = m->hdr.servers_n * sizeof(m->servers[0]);
	const size_t chains = m->hdr.chains_n * sizeof(m->chains[0]);

	memcpy(at, &m->hdr, sizeof(m->hdr));
	at += sizeof(m->hdr);
	memcpy(at, m->servers, servers);
	memcpy(at + servers, m->chains, chains);
	memcpy(at + servers + chains, m->volumes, m->hdr.volumes_n * sizeof(m->volumes[0]));
}

bool text_is_clean(const char *text, size_t cap)
{
	size_t len = strnlen(text, cap);

	if (len == cap)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	for (size_t i = len; i < cap; i++)
		if (text[i] != '\0')
			return false;
	return true;
}

bool name_is_valid(const char *name, size_t max_bytes)
{
	size_t len = strnlen(name, max_bytes);

	if (len == 0 || len == max_bytes || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

static bool member_is_zero(const struct map_member *m)
{
	return m->server == 0 && m->reserved == 0 && id128_is_none(&m->incarnation);
}

static const char *member_wrong(const struct map_chain *c, uint32_t i)
{
	const struct map_member *m = &c->in[i];

	if (i >= c->in_n)
		return member_is_zero(m) ? NULL : "chain: bytes behind the last member";
	if (m->server == 0 || m->reserved != 0 || id128_is_none(&m->incarnation))
		return "chain: a member without server or incarnation";
	for (uint32_t j = 0; j < i; j++)
		if (c->in[j].server == m->server)
			return "chain: a server is a member twice";
	if (c->sync.server == m->server)
		return "chain: a member is also the joiner";
	return NULL;
}

static const char *chain_wrong(const struct map_chain *c)
{
	const char *why;

	if (c->id == 0 || c->epoch == 0)
		return "chain: id or epoch is 0";
	if (c->in_n == 0 || c->in_n > CHAIN_MEMBERS_MAX)
		return "chain: number of members out of bounds";
	if (c->target_n == 0 || c->target_n > CHAIN_MEMBERS_MAX)
		return "chain: wanted number of members out of bounds";
	if (c->reserved != 0)
		return "chain: reserved bits are set";
	if (c->sync.server == 0 ? !member_is_zero(&c->sync)
				: c->sync.reserved != 0 || id128_is_none(&c->sync.incarnation))
		return "chain: the joiner is half filled in";
	for (uint32_t i = 0; i < CHAIN_MEMBERS_MAX; i++) {
		why = member_wrong(c, i);
		if (why)
			return why;
	}
	return NULL;
}

int map_chain_check(const struct map_chain *c, const char **ret_why)
{
	const char *why = chain_wrong(c);

	if (!why)
		return 0;
	*ret_why = why;
	return -EPROTO;
}

static const char *server_wrong(const struct chain_map *m, uint32_t i)
{
	const struct map_server *s = &m->servers[i];

	if (s->id == 0 || s->reserved != 0)
		return "server: id is 0 or reserved bits are set";
	if (id128_is_none(&s->disk) || id128_is_none(&s->incarnation))
		return "server: no disk or no incarnation";
	if (!text_is_clean(s->name, sizeof(s->name)) || !name_is_valid(s->name, sizeof(s->name)))
		return "server: name is not valid";
	for (uint32_t a = 0; a < SERVER_ADDRS_MAX; a++) {
		if (!text_is_clean(s->addrs[a], ADDR_BYTES))
			return "server: address does not end";
		if (a > 0 && s->addrs[a][0] != '\0' && s->addrs[a - 1][0] == '\0')
			return "server: a gap between its addresses";
	}
	if (!text_is_clean(s->domain, sizeof(s->domain)) ||
	    (s->domain[0] != '\0' && !name_is_valid(s->domain, sizeof(s->domain))))
		return "server: domain is not valid";
	for (uint32_t j = 0; j < i; j++) {
		if (m->servers[j].id == s->id)
			return "server: id used twice";
		if (id128_eq(&m->servers[j].disk, &s->disk))
			return "server: disk used twice";
		if (strcmp(m->servers[j].name, s->name) == 0)
			return "server: name used twice";
	}
	return NULL;
}

bool chain_map_domains_differ(const struct chain_map *m, const struct map_chain *c)
{
	for (uint32_t k = 1; k < c->in_n; k++)
		for (uint32_t j = 0; j < k; j++)
			if (map_servers_fail_together(chain_map_server(m, c->in[k].server),
						      chain_map_server(m, c->in[j].server)))
				return false;
	return true;
}

static const char *chain_in_map_wrong(const struct chain_map *m, uint32_t i)
{
	const struct map_chain *c = &m->chains[i];
	const char *why = chain_wrong(c);

	if (why)
		return why;
	for (uint32_t k = 0; k < c->in_n; k++)
		if (!chain_map_server(m, c->in[k].server))
			return "chain: a member is no known server";
	if (!chain_map_domains_differ(m, c))
		return "chain: two members in one failure domain";
	if (c->sync.server != 0 && !chain_map_server(m, c->sync.server))
		return "chain: the joiner is no known server";
	for (uint32_t j = 0; j < i; j++)
		if (m->chains[j].id == c->id)
			return "chain: id used twice";
	return NULL;
}

static const char *lanes_wrong(const struct chain_map *m, const struct map_volume *v)
{
	if (v->lanes_n == 0 || v->lanes_n > VOLUME_LANES_MAX || v->base >= v->lanes_n)
		return "volume: number of lanes or base out of bounds";
	for (uint32_t i = 0; i < VOLUME_LANES_MAX; i++) {
		if (i >= v->lanes_n ? v->lanes[i] != 0 : !chain_map_chain(m, v->lanes[i]))
			return "volume: a lane is no known chain";
	}
	return NULL;
}

static const char *volume_wrong(const struct chain_map *m, uint32_t i)
{
	const struct map_volume *v = &m->volumes[i];

	if (v->id == 0 || v->generation == 0 || v->reserved != 0)
		return "volume: id or generation is 0, or reserved bits are set";
	if (v->size_bytes == 0 || v->size_bytes > VOLUME_BYTES_MAX ||
	    v->size_bytes % BLOCK_BYTES != 0)
		return "volume: size out of bounds or not whole blocks";
	if (v->state != VOLUME_NORMAL && v->state != VOLUME_DELETING)
		return "volume: unknown state";
	if (v->sector_bytes != SECTOR_BYTES && v->sector_bytes != BLOCK_BYTES)
		return "volume: sector size is neither 512 nor 4096";
	if (v->min_in == 0 || v->min_in > CHAIN_MEMBERS_MAX)
		return "volume: min_in out of bounds";
	if (!text_is_clean(v->name, sizeof(v->name)) || !name_is_valid(v->name, sizeof(v->name)))
		return "volume: name is not valid";
	for (uint32_t j = 0; j < i; j++) {
		if (m->volumes[j].id == v->id)
			return "volume: id used twice";
		if (strcmp(m->volumes[j].name, v->name) == 0)
			return "volume: name used twice";
	}
	return lanes_wrong(m, v);
}

static const char *hdr_wrong(const struct chain_map_hdr *h, size_t len_bytes, size_t server_bytes)
{
	if (id128_is_none(&h->cluster) || h->version == 0 || h->reserved != 0)
		return "map: no cluster, version 0, or reserved bits are set";
	if (h->servers_n > SERVERS_MAX || h->chains_n > CHAINS_MAX || h->volumes_n > VOLUMES_MAX)
		return "map: more entries than the limits allow";
	if (len_bytes != sizeof(*h) + body_bytes(h, server_bytes))
		return "map: length does not match its counts";
	return NULL;
}

static const char *map_wrong(const struct chain_map *m)
{
	const char *why = NULL;

	for (uint32_t i = 0; i < m->hdr.servers_n && !why; i++)
		why = server_wrong(m, i);
	for (uint32_t i = 0; i < m->hdr.chains_n && !why; i++)
		why = chain_in_map_wrong(m, i);
	for (uint32_t i = 0; i < m->hdr.volumes_n && !why; i++)
		why = volume_wrong(m, i);
	return why;
}

static int decode(const void *bytes, size_t len_bytes, size_t server_bytes, struct chain_map *ret_m,
		  const char **ret_why)
{
	const uint8_t *at = bytes;
	const char *why = "map: shorter than its header";
	size_t servers, chains;

	if (len_bytes < sizeof(ret_m->hdr))
		goto wrong;
	memcpy(&ret_m->hdr, at, sizeof(ret_m->hdr));
	why = hdr_wrong(&ret_m->hdr, len_bytes, server_bytes);
	if (why)
		goto wrong;
	at += sizeof(ret_m->hdr);
	servers = ret_m->hdr.servers_n * server_bytes;
	chains = ret_m->hdr.chains_n * sizeof(ret_m->chains[0]);
	for (uint32_t i = 0; i < ret_m->hdr.servers_n; i++) {
		memset(&ret_m->servers[i], 0, sizeof(ret_m->servers[i]));
		memcpy(&ret_m->servers[i], at + i * server_bytes, server_bytes);
	}
	memcpy(ret_m->chains, at + servers, chains);
	memcpy(ret_m->volumes, at + servers + chains,
	       ret_m->hdr.volumes_n * sizeof(ret_m->volumes[0]));
	why = map_wrong(ret_m);
	if (!why)
		return 0;
wrong:
	*ret_why = why;
	return -EPROTO;
}

int chain_map_decode(const void *bytes, size_t len_bytes, struct chain_map *ret_m,
		     const char **ret_why)
{
	return decode(bytes, len_bytes, sizeof(struct map_server), ret_m, ret_why);
}

int chain_map_decode_v1(const void *bytes, size_t len_bytes, struct chain_map *ret_m,
			const char **ret_why)
{
	return decode(bytes, len_bytes, MAP_SERVER_V1_BYTES, ret_m, ret_why);
}

const char *map_server_domain(const struct map_server *s)
{
	return s->domain[0] != '\0' ? s->domain : s->name;
}

bool map_servers_fail_together(const struct map_server *a, const struct map_server *b)
{
	return strcmp(map_server_domain(a), map_server_domain(b)) == 0;
}

const struct map_server *chain_map_server(const struct chain_map *m, uint32_t id)
{
	for (uint32_t i = 0; i < m->hdr.servers_n; i++)
		if (m->servers[i].id == id)
			return &m->servers[i];
	return NULL;
}

const struct map_chain *chain_map_chain(const struct chain_map *m, uint32_t id)
{
	/* Ids are handed out in order from 1, so the entry is nearly always in its own place. */
	if (id > 0 && id <= m->hdr.chains_n && m->chains[id - 1].id == id)
		return &m->chains[id - 1];
	for (uint32_t i = 0; i < m->hdr.chains_n; i++)
		if (m->chains[i].id == id)
			return &m->chains[i];
	return NULL;
}

const struct map_volume *chain_map_volume(const struct chain_map *m, uint64_t id)
{
	for (uint32_t i = 0; i < m->hdr.volumes_n; i++)
		if (m->volumes[i].id == id)
			return &m->volumes[i];
	return NULL;
}

const struct map_volume *chain_map_volume_named(const struct chain_map *m, const char *name)
{
	for (uint32_t i = 0; i < m->hdr.volumes_n; i++)
		if (strncmp(m->volumes[i].name, name, sizeof(m->volumes[i].name)) == 0)
			return &m->volumes[i];
	return NULL;
}

uint32_t map_volume_lane(const struct map_volume *v, uint64_t extent)
{
	CHECK(v->lanes_n > 0);
	return v->lanes[(v->base + extent) % v->lanes_n];
}

int map_chain_position(const struct map_chain *c, uint32_t server, const struct id128 *incarnation)
{
	for (uint32_t i = 0; i < c->in_n; i++)
		if (c->in[i].server == server && id128_eq(&c->in[i].incarnation, incarnation))
			return (int)i;
	return -1;
}
