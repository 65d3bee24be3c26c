/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* status - what cfgsvc knows about the running cluster, for chainctl status: the ADMIN_STATUS
 * reply.
 *
 * Encoded: status_hdr, then servers_n status_server, then chains_n status_chain. The configuration
 * itself comes as a MAP. Pure structs, little-endian, explicit padding. */

#ifndef LIB_STATUS_H
#define LIB_STATUS_H

#include "lib/wire.h"

struct status_hdr {
	uint32_t servers_n, chains_n;
	uint64_t map_version;
};
static_assert(sizeof(struct status_hdr) == 16, "wire format");

struct status_server {
	uint32_t id;
	uint32_t connected; /* 1: its registration connection is open */
	uint64_t silent_ms; /* since its last report */
	struct wire_server_report report;
};
static_assert(sizeof(struct status_server) == 80, "wire format");

struct status_chain {
	uint32_t id;
	uint32_t up;      /* 1: every member is IN at the record's epoch and connected */
	uint64_t last;    /* highest last among members */
	uint64_t known;   /* lowest known among members */
	char reason[128]; /* when not up: why, and what would mend it */
};
static_assert(sizeof(struct status_chain) == 152, "wire format");

#endif
