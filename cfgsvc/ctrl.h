/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* ctrl - what the configuration service decides, as pure functions on its state.
 *
 *	svc.c copies the durable state, lets ctrl change the copy, writes it, then tells everybody
 *
 * ctrl_state is all that is kept: counters and the map. ctrl_live is what is known of the running
 * cluster and is lost at a restart. Every function that changes the state answers in a ctrl_answer;
 * when its status is negative the state has not changed, and text names thing, cause, next step.
 *
 *   G1  ids (server, chain, volume) are given out once: the counters never go back
 *   G2  a chain's epoch grows by one with every change of its record, and members keep their order
 *   G3  a chain is re-formed only if every member is connected, one at least under a new
 *       incarnation, and no log of a new one ends before what any of them knows to be committed
 *       (V3): then whatever was acknowledged is on each of them
 *   G4  members of a chain are of distinct failure domains (D5), whatever servers call
 *       themselves later
 *   G5  live.servers[i] is about state.map.servers[i]
 *   G6  of two starts of one store only one is registered, as long as the first is heard of: a
 *       clone, or a second daemon on one disk, does not take its place
 *   G7  a replica's log never ends before what it once reported as committed: C7 cannot tell a
 *       disk from a copy of it made since its last start, this can, while cfgsvc remembers
 *
 * Thread: the caller's; no state of its own. */

#ifndef CFGSVC_CTRL_H
#define CFGSVC_CTRL_H

#include "lib/chain_map.h"
#include "lib/status.h"
#include "lib/wire.h"

#define CTRL_SILENT_NS (5ull * 1000 * 1000 * 1000) /* no report for so long: not taken for up */
#define CTRL_GRACE_NS (3ull * 1000 * 1000 * 1000)  /* after a start: clients may not be back yet */

struct ctrl_state {
	uint32_t next_server, next_chain; /* G1 */
	uint64_t next_volume;
	struct chain_map map;
};

/* Encoded: this, then the map as chain_map_encode() makes it. */
struct ctrl_state_hdr {
	uint32_t magic;
	uint32_t version;
	uint32_t next_server, next_chain;
	uint64_t next_volume;
	uint64_t reserved;
};
static_assert(sizeof(struct ctrl_state_hdr) == 32, "disk format");
#define CTRL_MAGIC 0x53474643u /* "CFGS" */
#define CTRL_VERSION 2u        /* 1: servers had no domain; still read */
#define CTRL_STATE_BYTES_MAX (sizeof(struct ctrl_state_hdr) + sizeof(struct chain_map))

struct ctrl_server_live {
	bool connected;   /* registered over a connection that is open */
	uint64_t seen_ns; /* last report, or when its connection ended; 0: never */
	struct wire_server_report report;
	uint32_t replicas_n;
	struct wire_report replicas[NODE_CHAINS_MAX];
};

struct ctrl_live {
	uint64_t now_ns;
	uint64_t started_ns; /* when this service started with clients possibly around */
	uint32_t opens;      /* of the volume the request names: clients that use it */
	struct ctrl_server_live servers[SERVERS_MAX]; /* G5 */
};

struct ctrl_answer {
	int32_t status; /* 0 or -errno */
	bool changed;   /* to be made durable before anybody hears of it */
	uint64_t value; /* server id, volume id, or number of chains */
	char text[WIRE_TEXT_BYTES];
};

void ctrl_new(struct ctrl_state *s, const struct id128 *cluster);
size_t ctrl_encoded_bytes(const struct ctrl_state *s);
void ctrl_encode(const struct ctrl_state *s, void *out);
/* 0 or -EPROTO, -EPROTONOSUPPORT with *ret_why; @ret_s is undefined on failure. */
MUST_CHECK int ctrl_decode(const void *bytes, size_t len_bytes, struct ctrl_state *ret_s,
			   const char **ret_why);

/* A server announces itself (C7). value = its id. */
void ctrl_register(struct ctrl_state *s, const struct wire_register *r, struct ctrl_answer *a);
/* What the running cluster has to say to a start that ctrl_register() would take: refused when the
 * one it follows still runs (-EBUSY, for now: G6), or when its @n reports show an older disk than
 * was seen before (-ESTALE: G7). @s: the state before that registration. */
void ctrl_register_live(const struct ctrl_state *s, const struct ctrl_live *live,
			const struct wire_register *r, const struct wire_report *reports,
			uint32_t n, struct ctrl_answer *a);
/* Every wire_admin_op but STATUS. */
void ctrl_admin(struct ctrl_state *s, const struct wire_admin *req, const struct ctrl_live *live,
		struct ctrl_answer *a);
/* May a client open this volume now? value = its id; changes nothing. */
void ctrl_open(const struct ctrl_state *s, const struct wire_open *req, struct ctrl_answer *a);

/* Take over what a server reported; replicas not in the list stay as they were. */
void ctrl_live_reports(struct ctrl_server_live *l, const struct wire_report *r, uint32_t n);
/* Index of server @id in the map, or -1. */
int ctrl_server_index(const struct ctrl_state *s, uint32_t id);
/* Everything about one chain, the reason why it is not up included. */
void ctrl_chain_status(const struct ctrl_state *s, const struct ctrl_live *live,
		       const struct map_chain *c, struct status_chain *ret);
/* How many chains G3 lets re-form now. */
uint32_t ctrl_reformable(const struct ctrl_state *s, const struct ctrl_live *live);
/* Re-form them all; returns how many. */
uint32_t ctrl_reform(struct ctrl_state *s, const struct ctrl_live *live);

void ctrl_check(const struct ctrl_state *s);

/* Fill an answer. */
void ctrl_refuse(struct ctrl_answer *a, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
