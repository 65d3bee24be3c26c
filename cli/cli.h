/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cli - chainctl, the operator's command: what its files share.
 *
 *	main.c (words and options -> command) -> cmd_*.c -> ask.c -> libchainblk/admin.h -> cfgsvc
 *	                                                `-> table.c, or jansson with --json
 *
 * A command prints what was asked for on stdout (with --json: one JSON object, nothing else) and
 * everything else on stderr. It returns the exit status: 0, or 1 after one line that names thing,
 * cause and next step. Keys of the JSON objects are stable: scripts rely on them.
 *
 * Thread: one; the library has its own behind it. */

#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>

#include "lib/chain_map.h"
#include "lib/size.h"
#include "lib/status.h"

struct cli { /* the command line */
	const char *cfg;
	const char *insecure_lab; /* or NULL */
	bool json;
	uint64_t replicas, chains; /* 0: default */
	uint64_t size_bytes;       /* 0: not given */
	uint64_t sector_bytes;     /* 0: default */
	const char *name;          /* first positional, or NULL */
	const char *offset;        /* second positional, or NULL */
};

struct cluster { /* all that can be known of it */
	struct chain_map map;
	struct status_hdr status;
	struct status_server servers[SERVERS_MAX]; /* same order as map.servers */
	struct status_chain chains[CHAINS_MAX];    /* same order as map.chains */
};

/* One line "chainctl: ..." on stderr; returns EXIT_FAILURE. */
int cli_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Print @o and release it; returns EXIT_SUCCESS. */
int cli_print_json(json_t *o);

/* ask.c: all return 0, or print the error and return -errno. */
MUST_CHECK int ask_admin(const struct cli *c, const struct wire_admin *req,
			 struct wire_admin_reply *ret_reply);
/* The status of the request itself is returned, nothing is printed when it is @quiet_status. */
MUST_CHECK int ask_admin_unless(const struct cli *c, const struct wire_admin *req, int quiet_status,
				struct wire_admin_reply *ret_reply);
MUST_CHECK int ask_map(const struct cli *c, struct chain_map *ret_map);
MUST_CHECK int ask_cluster(const struct cli *c, struct cluster *ret);
/* Cut a status reply into @ret; 0 or -EPROTO. */
MUST_CHECK int cluster_decode_status(struct cluster *ret, const void *data, size_t len_bytes);
/* NULL after a complaint when there is none. */
const struct map_volume *cluster_volume(const struct chain_map *m, const char *name);

/* View of the map. */
const char *map_server_name(const struct chain_map *m, uint32_t id);
/* "s1 > s2 > s3", head first. */
void chain_members_text(const struct chain_map *m, const struct map_chain *c, char *out,
			size_t cap);
json_t *chain_members_json(const struct chain_map *m, const struct map_chain *c);
json_t *volume_json(const struct map_volume *v);
const char *volume_state_name(const struct map_volume *v);

int cmd_cluster_init(const struct cli *c);
int cmd_server_list(const struct cli *c);
int cmd_volume_create(const struct cli *c);
int cmd_volume_list(const struct cli *c);
int cmd_volume_show(const struct cli *c);
int cmd_volume_delete(const struct cli *c);
int cmd_volume_resize(const struct cli *c);
int cmd_status(const struct cli *c);
int cmd_where(const struct cli *c);

/* table.c: rows of text, columns aligned, two spaces between them. */
#define TABLE_COLUMNS_MAX 10u
#define TABLE_CELL_BYTES 72u
#define TABLE_ROWS_MAX (SERVERS_MAX + VOLUMES_MAX + 8u)
struct table {
	uint32_t columns_n, rows_n;
	char cells[TABLE_ROWS_MAX][TABLE_COLUMNS_MAX][TABLE_CELL_BYTES];
};
/* @heads: NULL-terminated. @t is large: not on a stack. */
void table_begin(struct table *t, const char *const *heads);
void table_row(struct table *t);
void table_cell(struct table *t, uint32_t column, const char *fmt, ...) PRINTF_LIKE(3, 4);
void table_print(const struct table *t);

/* cmd_status.c: used by server list too. */
void status_print_servers(const struct cluster *cl);
json_t *status_servers_json(const struct cluster *cl);
void status_print_volumes(const struct chain_map *m);

#endif
