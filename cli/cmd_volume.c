/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void put_name(struct wire_admin *req, const char *name)
{
	/* A name that is too long keeps its overlong beginning and is refused by cfgsvc as unknown
	 * or taken; so it is refused here, where the text is whole. */
	snprintf(req->name, sizeof(req->name), "%s", name);
}

static bool name_fits(const char *name)
{
	if (name_is_valid(name, NAME_BYTES))
		return true;
	cli_fail("volume name '%s': not a valid name: use at most %u letters, digits, . _ - and "
		 "begin "
		 "with a letter or digit",
		 name, NAME_BYTES - 1);
	return false;
}

static int show(const struct cli *c, const char *what)
{
	static struct chain_map map;
	const struct map_volume *v;
	char size[SIZE_TEXT_BYTES];

	if (ask_map(c, &map) < 0)
		return EXIT_FAILURE;
	v = cluster_volume(&map, c->name);
	if (!v)
		return EXIT_FAILURE;
	if (c->json)
		return cli_print_json(volume_json(v));
	size_format(v->size_bytes, size);
	printf("volume %s: %s%s (%llu bytes), sectors of %u, on %u chains, id %llu%s\n", v->name,
	       what, size, (unsigned long long)v->size_bytes, v->sector_bytes, v->lanes_n,
	       (unsigned long long)v->id, v->state == VOLUME_DELETING ? ", being deleted" : "");
	return EXIT_SUCCESS;
}

static int change(const struct cli *c, struct wire_admin *req, const char *what)
{
	struct wire_admin_reply reply;

	if (!name_fits(c->name))
		return EXIT_FAILURE;
	put_name(req, c->name);
	if (ask_admin(c, req, &reply) < 0)
		return EXIT_FAILURE;
	if (reply.text[0] != '\0')
		fprintf(stderr, "note: %s\n", reply.text);
	return show(c, what);
}

int cmd_volume_create(const struct cli *c)
{
	struct wire_admin req = {
		.op = ADMIN_VOLUME_CREATE,
		.arg0 = c->size_bytes,
		.arg1 = c->sector_bytes,
	};

	return change(c, &req, "created, ");
}

int cmd_volume_resize(const struct cli *c)
{
	struct wire_admin req = {.op = ADMIN_VOLUME_RESIZE, .arg0 = c->size_bytes};

	return change(c, &req, "");
}

int cmd_volume_show(const struct cli *c)
{
	return show(c, "");
}

int cmd_volume_list(const struct cli *c)
{
	static struct chain_map map;
	json_t *list;

	if (ask_map(c, &map) < 0)
		return EXIT_FAILURE;
	if (!c->json) {
		status_print_volumes(&map);
		return EXIT_SUCCESS;
	}
	list = json_array();
	for (uint32_t i = 0; i < map.hdr.volumes_n; i++)
		json_array_append_new(list, volume_json(&map.volumes[i]));
	return cli_print_json(json_pack("{s:o}", "volumes", list));
}
