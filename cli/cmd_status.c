/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

struct places { /* of one server over all chains */
	uint32_t head, middle, tail;
};

static struct places places_of(const struct chain_map *m, uint32_t server)
{
	struct places p = {0};

	for (uint32_t i = 0; i < m->hdr.chains_n; i++) {
		const struct map_chain *c = &m->chains[i];

		for (uint32_t k = 0; k < c->in_n; k++) {
			if (c->in[k].server != server)
				continue;
			p.head += k == 0;
			p.tail += k + 1 == c->in_n;
			p.middle += k > 0 && k + 1 < c->in_n;
		}
	}
	return p;
}

static const char *server_state(const struct status_server *s)
{
	if (!s->connected)
		return "down";
	return s->silent_ms >= 5000 ? "silent" : "up";
}

static void age_text(const struct status_server *s, char out[SIZE_TEXT_BYTES])
{
	if (s->silent_ms == UINT64_MAX)
		snprintf(out, SIZE_TEXT_BYTES, "never");
	else if (s->silent_ms < 10000)
		snprintf(out, SIZE_TEXT_BYTES, "%.1f s", (double)s->silent_ms / 1000);
	else if (s->silent_ms < 7200 * 1000)
		snprintf(out, SIZE_TEXT_BYTES, "%u s", (unsigned)(s->silent_ms / 1000));
	else
		snprintf(out, SIZE_TEXT_BYTES, "%u h",
			 (unsigned)(MIN(s->silent_ms / 3600000, 999999u)));
}

/* Index of the server with the @rank-th name. */
static uint32_t by_name(const struct cluster *cl, uint32_t rank)
{
	for (uint32_t i = 0; i < cl->map.hdr.servers_n; i++) {
		uint32_t before = 0;

		for (uint32_t k = 0; k < cl->map.hdr.servers_n; k++)
			before += strcmp(cl->map.servers[k].name, cl->map.servers[i].name) < 0;
		if (before == rank)
			return i;
	}
	return rank;
}

void status_print_servers(const struct cluster *cl)
{
	static const char *const heads[] = {"SERVER",     "DOMAIN",  "STATE",  "USED",
					    "TOTAL",      "HEAD",    "MIDDLE", "TAIL",
					    "LAST HEARD", "ADDRESS", NULL};
	static struct table t;

	table_begin(&t, heads);
	for (uint32_t i = 0; i < cl->map.hdr.servers_n; i++) {
		const struct map_server *m = &cl->map.servers[by_name(cl, i)];
		const struct status_server *s = &cl->servers[by_name(cl, i)];
		struct places p = places_of(&cl->map, m->id);
		char used[SIZE_TEXT_BYTES], total[SIZE_TEXT_BYTES], age[SIZE_TEXT_BYTES];

		size_format(s->report.bytes_total - s->report.bytes_free, used);
		size_format(s->report.bytes_total, total);
		age_text(s, age);
		table_row(&t);
		table_cell(&t, 0, "%s", m->name);
		table_cell(&t, 1, "%s", map_server_domain(m));
		table_cell(&t, 2, "%s", server_state(s));
		table_cell(&t, 3, "%s", s->report.bytes_total ? used : "-");
		table_cell(&t, 4, "%s", s->report.bytes_total ? total : "-");
		table_cell(&t, 5, "%u", p.head);
		table_cell(&t, 6, "%u", p.middle);
		table_cell(&t, 7, "%u", p.tail);
		table_cell(&t, 8, "%s", age);
		table_cell(&t, 9, "%s", m->addrs[0]);
	}
	table_print(&t);
}

static json_t *server_json(const struct cluster *cl, uint32_t i)
{
	const struct map_server *m = &cl->map.servers[i];
	const struct status_server *s = &cl->servers[i];
	const struct wire_server_report *r = &s->report;
	struct places p = places_of(&cl->map, m->id);
	json_t *addrs = json_array(), *o;

	for (unsigned a = 0; a < SERVER_ADDRS_MAX && m->addrs[a][0] != '\0'; a++)
		json_array_append_new(addrs, json_string(m->addrs[a]));
	o = json_pack("{s:s, s:s, s:i, s:s, s:o, s:i, s:i, s:i}", "name", m->name, "domain",
		      map_server_domain(m), "id", (int)m->id, "state", server_state(s), "addresses",
		      addrs, "head", (int)p.head, "middle", (int)p.middle, "tail", (int)p.tail);
	json_object_set_new(o, "silent_ms",
			    s->silent_ms == UINT64_MAX ? json_null()
						       : json_integer((json_int_t)s->silent_ms));
	json_object_set_new(o, "bytes_total", json_integer((json_int_t)r->bytes_total));
	json_object_set_new(o, "bytes_free", json_integer((json_int_t)r->bytes_free));
	json_object_set_new(o, "bytes_used",
			    json_integer((json_int_t)(r->bytes_total - r->bytes_free)));
	json_object_set_new(o, "log_bytes", json_integer((json_int_t)r->log_bytes));
	json_object_set_new(o, "log_used_bytes", json_integer((json_int_t)r->log_used_bytes));
	json_object_set_new(o, "block_reads", json_integer((json_int_t)r->reads));
	json_object_set_new(o, "block_writes", json_integer((json_int_t)r->writes));
	json_object_set_new(o, "disk_written_bytes",
			    json_integer((json_int_t)r->disk_written_bytes));
	json_object_set_new(o, "memory_bytes", json_integer((json_int_t)r->rss_bytes));
	return o;
}

json_t *status_servers_json(const struct cluster *cl)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < cl->map.hdr.servers_n; i++)
		json_array_append_new(list, server_json(cl, by_name(cl, i)));
	return list;
}

static json_t *chains_json(const struct cluster *cl)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < cl->map.hdr.chains_n; i++) {
		const struct map_chain *c = &cl->map.chains[i];
		const struct status_chain *s = &cl->chains[i];

		json_array_append_new(list,
				      json_pack("{s:i, s:I, s:o, s:b, s:I, s:I, s:s}", "id",
						(int)c->id, "epoch", (json_int_t)c->epoch,
						"members", chain_members_json(&cl->map, c), "up",
						(int)s->up, "last", (json_int_t)s->last, "known",
						(json_int_t)s->known, "reason", s->reason));
	}
	return list;
}

static uint32_t chains_up(const struct cluster *cl)
{
	uint32_t up = 0;

	for (uint32_t i = 0; i < cl->map.hdr.chains_n; i++)
		up += cl->chains[i].up != 0;
	return up;
}

/* The reason of chain @first, once, behind all chains that share it: "chains 1-7, 9". */
static void print_down(const struct cluster *cl, uint32_t first)
{
	const char *reason = cl->chains[first].reason, *sep = "  chain ";

	for (uint32_t i = first; i < cl->map.hdr.chains_n; i++) {
		uint32_t end = i;

		if (strcmp(cl->chains[i].reason, reason) != 0)
			continue;
		while (end + 1 < cl->map.hdr.chains_n &&
		       strcmp(cl->chains[end + 1].reason, reason) == 0)
			end++;
		printf("%s%u", sep, cl->map.chains[i].id);
		if (end > i)
			printf("-%u", cl->map.chains[end].id);
		sep = ", ";
		i = end;
	}
	printf(": %s\n", reason);
}

static void print_chains(const struct cluster *cl)
{
	uint32_t n = cl->map.hdr.chains_n, up = chains_up(cl);

	if (n == 0) {
		printf("Chains: none yet: run chainctl cluster init\n");
		return;
	}
	if (up == n) {
		printf("Chains: %u of %u members, all up\n", n, cl->map.chains[0].target_n);
		return;
	}
	printf("Chains: %u of %u members, %u up, %u not:\n", n, cl->map.chains[0].target_n, up,
	       n - up);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t first = 0;

		while (strcmp(cl->chains[first].reason, cl->chains[i].reason) != 0)
			first++;
		if (!cl->chains[i].up && first == i)
			print_down(cl, i);
	}
}

void status_print_volumes(const struct chain_map *m)
{
	static const char *const heads[] = {"VOLUME", "SIZE", "SECTOR", "CHAINS", "STATE", NULL};
	static struct table t;

	table_begin(&t, heads);
	for (uint32_t i = 0; i < m->hdr.volumes_n; i++) {
		const struct map_volume *v = &m->volumes[i];
		char size[SIZE_TEXT_BYTES];

		size_format(v->size_bytes, size);
		table_row(&t);
		table_cell(&t, 0, "%s", v->name);
		table_cell(&t, 1, "%s", size);
		table_cell(&t, 2, "%u", v->sector_bytes);
		table_cell(&t, 3, "%u", v->lanes_n);
		table_cell(&t, 4, "%s", volume_state_name(v));
	}
	table_print(&t);
}

static void cluster_hex(const struct chain_map *m, char out[33])
{
	for (unsigned i = 0; i < 16; i++)
		snprintf(out + 2 * i, 3, "%02x", m->hdr.cluster.b[i]);
}

int cmd_status(const struct cli *c)
{
	static struct cluster cl;
	json_t *volumes;
	char hex[33];

	if (ask_cluster(c, &cl) < 0)
		return EXIT_FAILURE;
	cluster_hex(&cl.map, hex);
	if (!c->json) {
		printf("Cluster %s, configuration %llu\n\n", hex,
		       (unsigned long long)cl.map.hdr.version);
		status_print_servers(&cl);
		putchar('\n');
		print_chains(&cl);
		putchar('\n');
		status_print_volumes(&cl.map);
		return EXIT_SUCCESS;
	}
	volumes = json_array();
	for (uint32_t i = 0; i < cl.map.hdr.volumes_n; i++)
		json_array_append_new(volumes, volume_json(&cl.map.volumes[i]));
	return cli_print_json(json_pack("{s:s, s:I, s:o, s:i, s:i, s:o, s:o}", "cluster", hex,
					"version", (json_int_t)cl.map.hdr.version, "servers",
					status_servers_json(&cl), "chains_total",
					(int)cl.map.hdr.chains_n, "chains_up", (int)chains_up(&cl),
					"chains", chains_json(&cl), "volumes", volumes));
}

int cmd_where(const struct cli *c)
{
	static struct chain_map map;
	const struct map_volume *v;
	const struct map_chain *chain;
	uint64_t offset, extent;
	char members[256];

	if (size_parse(c->offset, &offset) < 0)
		return cli_fail("offset '%s': not a number of bytes: write 4096, 64K, 10G",
				c->offset);
	if (ask_map(c, &map) < 0)
		return EXIT_FAILURE;
	v = cluster_volume(&map, c->name);
	if (!v)
		return EXIT_FAILURE;
	if (offset >= v->size_bytes)
		return cli_fail(
			"volume %s: offset %llu is past its end at %llu: choose a smaller one",
			v->name, (unsigned long long)offset, (unsigned long long)v->size_bytes);
	extent = offset / EXTENT_BYTES;
	chain = chain_map_chain(&map, map_volume_lane(v, extent));
	CHECK(chain != NULL); /* the map was validated */
	if (c->json)
		return cli_print_json(json_pack("{s:s, s:I, s:I, s:i, s:I, s:o}", "volume", v->name,
						"offset_bytes", (json_int_t)offset, "extent",
						(json_int_t)extent, "chain", (int)chain->id,
						"epoch", (json_int_t)chain->epoch, "members",
						chain_members_json(&map, chain)));
	chain_members_text(&map, chain, members, sizeof(members));
	printf("%s at %llu: extent %llu on chain %u, epoch %llu: %s (head first, tail last)\n",
	       v->name, (unsigned long long)offset, (unsigned long long)extent, chain->id,
	       (unsigned long long)chain->epoch, members);
	return EXIT_SUCCESS;
}
