/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Questions to the configuration service. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "libchainblk/admin.h"

int cli_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("chainctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_FAILURE;
}

int cli_print_json(json_t *o)
{
	CHECK(o != NULL);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
	return EXIT_SUCCESS;
}

int ask_admin_unless(const struct cli *c, const struct wire_admin *req, int quiet_status,
		     struct wire_admin_reply *ret_reply)
{
	char err[CHAINBLK_ERR_BYTES];
	struct wire_admin_reply reply;
	void *data = NULL;
	size_t data_len = 0;
	int rc = chainblk_admin(c->cfg, c->insecure_lab, req, &reply, &data, &data_len, err);

	free(data);
	if (rc < 0) {
		cli_fail("%s", err);
		return rc;
	}
	*ret_reply = reply;
	if (reply.status < 0 && reply.status != quiet_status)
		cli_fail("%s", reply.text);
	return reply.status;
}

int ask_admin(const struct cli *c, const struct wire_admin *req, struct wire_admin_reply *ret_reply)
{
	return ask_admin_unless(c, req, 1, ret_reply);
}

int ask_map(const struct cli *c, struct chain_map *ret_map)
{
	char err[CHAINBLK_ERR_BYTES];
	int rc = chainblk_admin_map(c->cfg, c->insecure_lab, ret_map, err);

	if (rc < 0)
		cli_fail("%s", err);
	return rc;
}

int cluster_decode_status(struct cluster *ret, const void *data, size_t len_bytes)
{
	const uint8_t *at = data;
	size_t servers, chains;

	if (len_bytes < sizeof(ret->status))
		return -EPROTO;
	memcpy(&ret->status, at, sizeof(ret->status));
	if (ret->status.servers_n > SERVERS_MAX || ret->status.chains_n > CHAINS_MAX)
		return -EPROTO;
	servers = ret->status.servers_n * sizeof(ret->servers[0]);
	chains = ret->status.chains_n * sizeof(ret->chains[0]);
	if (len_bytes != sizeof(ret->status) + servers + chains)
		return -EPROTO;
	at += sizeof(ret->status);
	memcpy(ret->servers, at, servers);
	memcpy(ret->chains, at + servers, chains);
	for (uint32_t i = 0; i < ret->status.chains_n; i++)
		if (!text_is_clean(ret->chains[i].reason, sizeof(ret->chains[i].reason)))
			return -EPROTO;
	return 0;
}

/* Map and status come one after the other: again when the configuration changed in between. */
int ask_cluster(const struct cli *c, struct cluster *ret)
{
	const struct wire_admin req = {.op = ADMIN_STATUS};
	struct wire_admin_reply reply;
	char err[CHAINBLK_ERR_BYTES];
	void *data = NULL;
	size_t len = 0;

	for (int round = 0; round < 10; round++) {
		int rc = ask_map(c, &ret->map);

		if (rc < 0)
			return rc;
		rc = chainblk_admin(c->cfg, c->insecure_lab, &req, &reply, &data, &len, err);
		if (rc < 0) {
			cli_fail("%s", err);
			return rc;
		}
		if (reply.status == 0)
			rc = cluster_decode_status(ret, data, len);
		free(data);
		if (reply.status < 0) {
			cli_fail("%s", reply.text);
			return reply.status;
		}
		if (rc < 0) {
			cli_fail(
				"status: the answer makes no sense: chainctl and cfgsvc must be of "
				"the same version");
			return rc;
		}
		if (ret->status.map_version == ret->map.hdr.version)
			return 0;
	}
	cli_fail("status: the configuration keeps changing: try again");
	return -EAGAIN;
}

const struct map_volume *cluster_volume(const struct chain_map *m, const char *name)
{
	const struct map_volume *v = chain_map_volume_named(m, name);

	if (!v)
		cli_fail("volume %s: there is none of this name: see chainctl volume list", name);
	return v;
}

const char *map_server_name(const struct chain_map *m, uint32_t id)
{
	const struct map_server *s = chain_map_server(m, id);

	return s ? s->name : "?";
}

void chain_members_text(const struct chain_map *m, const struct map_chain *c, char *out, size_t cap)
{
	size_t len = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < c->in_n && len < cap; i++)
		len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? " > " : "",
					map_server_name(m, c->in[i].server));
}

json_t *chain_members_json(const struct chain_map *m, const struct map_chain *c)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < c->in_n; i++)
		json_array_append_new(list, json_string(map_server_name(m, c->in[i].server)));
	return list;
}

const char *volume_state_name(const struct map_volume *v)
{
	return v->state == VOLUME_DELETING ? "deleting" : "normal";
}

json_t *volume_json(const struct map_volume *v)
{
	return json_pack("{s:s, s:I, s:I, s:i, s:s, s:i, s:i}", "name", v->name, "id",
			 (json_int_t)v->id, "size_bytes", (json_int_t)v->size_bytes, "sector_bytes",
			 (int)v->sector_bytes, "state", volume_state_name(v), "chains",
			 (int)v->lanes_n, "min_in", (int)v->min_in);
}
