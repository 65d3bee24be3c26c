/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

int cmd_cluster_init(const struct cli *c)
{
	const struct wire_admin req = {
		.op = ADMIN_CLUSTER_INIT,
		.arg0 = c->replicas,
		.arg1 = c->chains,
	};
	static struct chain_map map;
	struct wire_admin_reply reply;
	uint32_t replicas;

	if (ask_admin(c, &req, &reply) < 0 || ask_map(c, &map) < 0)
		return EXIT_FAILURE;
	replicas = map.hdr.chains_n ? map.chains[0].target_n : 0;
	if (c->json)
		return cli_print_json(json_pack("{s:I, s:i, s:i}", "chains",
						(json_int_t)reply.value, "replicas", (int)replicas,
						"servers", (int)map.hdr.servers_n));
	printf("%llu chains of %u replicas over %u servers\n", (unsigned long long)reply.value,
	       replicas, map.hdr.servers_n);
	if (replicas == 2)
		printf("note: two copies survive the loss of one; --replicas 3 survives two\n");
	if (replicas == 1)
		printf("note: one copy only: the loss of a disk is the loss of data\n");
	return EXIT_SUCCESS;
}

int cmd_server_list(const struct cli *c)
{
	static struct cluster cl;

	if (ask_cluster(c, &cl) < 0)
		return EXIT_FAILURE;
	if (c->json)
		return cli_print_json(json_pack("{s:o}", "servers", status_servers_json(&cl)));
	status_print_servers(&cl);
	return EXIT_SUCCESS;
}
