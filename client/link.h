/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* link - one connection that is kept up: to a storage daemon or to the configuration service.
 *
 *	link_start() -> connect -> CONNECT -> CONNECTED -> ready() ... frame() ... down() -> again
 *
 * The peer's addresses are tried in turn, beginning with the one that worked last (a guest reaches
 * a daemon at another address than the host does); after all failed the next round waits an
 * exponential back-off with full jitter.
 *
 *   K1  up exactly while CONNECTED was accepted and the connection is open; ready() and down()
 *       alternate, beginning with ready()
 *   K2  the acceptor is what we look for: its role, its server id, its cluster; .incarnation is the
 *       one it named
 *   K3  frame() is only entered while up
 *
 * Ownership: the link is its owner's; after link_stop() no callback follows. Thread: the loop's. */

#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

#include "lib/env.h"
#include "lib/frame.h"

struct client;
struct link;

struct link_events {
	void (*ready)(struct client *c, struct link *l);
	void (*frame)(struct client *c, struct link *l, struct frame *f);
	void (*down)(struct client *c, struct link *l);
};

struct link {
	struct client *client;
	const struct link_events *ev;
	struct env_conn *conn;    /* NULL: none */
	struct env_timer timer;   /* next try, or the end of patience with this one */
	enum wire_role role;      /* what the acceptor must be: ROLE_NODE or ROLE_CFG */
	uint32_t server_id;       /* ROLE_NODE */
	struct id128 expect;      /* ROLE_NODE: incarnation to name in CONNECT, or none */
	struct id128 incarnation; /* up: the peer's */
	bool started, up;
	uint32_t addr_i;  /* being tried, or next */
	uint32_t tried_n; /* addresses that failed since the last success */
	uint32_t rounds;  /* back-off exponent */
	uint64_t up_at_ns;
	uint32_t window_ops, window_bytes; /* from CONNECTED; 0 unknown */
	uint64_t confirm_turn;             /* reader's: highest tag sent on this connection */
	uint32_t confirm_lanes; /* reader's: bit per lane to be named in this turn's CONFIRM */
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	char name[SERVER_NAME_BYTES];
	char why[128]; /* why it is not up, for people */
};

struct link_config {
	const struct link_events *ev;
	enum wire_role role;
	uint32_t server_id;
	const char *name;
	const char (*addrs)[ADDR_BYTES];
};

void link_init(struct link *l, struct client *c, const struct link_config *cfg);
void link_set_addrs(struct link *l, const char (*addrs)[ADDR_BYTES]);
void link_start(struct link *l);
/* Something changed that a wait for the next try was about: try now. */
void link_hurry(struct link *l);
void link_stop(struct link *l);
/* A frame of @type for this peer, its identities filled in, or NULL when the pool is empty (the
 * client was told: client_starved()). The link is up. */
struct frame *link_frame(struct link *l, enum wire_type type, uint32_t meta_bytes);
/* Send and give up the caller's reference. */
void link_send(struct link *l, struct frame *f);
/* The peer broke the protocol: close, and connect again later. */
void link_fail(struct link *l, const char *why);
void link_check(const struct link *l);

#endif
