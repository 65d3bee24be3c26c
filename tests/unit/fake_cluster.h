/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_cluster - a configuration service and storage daemons for tests of client/, each chain
 * reduced to an atomic log with the request table of PROTOCOL 2 (X1 to X3).
 *
 * Chain i (from 1) has the members s(i), s(i+1), ... in a ring, head first. Three ways to drive it:
 * fake_settle() moves everything until nothing moves; fake_chaos() does one random thing; the knobs
 * make it hold or refuse. What daemons received is written to .trace, one word group per frame.
 *
 *   Z1  every request number is applied at most once per chain (CHECKed, I8)
 *   Z2  frames of a reset connection may still arrive, at any later time (ghosts), as old bytes do
 *
 * One volume, "vol", of FAKE_EXTENTS extents over all chains. One client. */

#ifndef TESTS_UNIT_FAKE_CLUSTER_H
#define TESTS_UNIT_FAKE_CLUSTER_H

#include "client/client.h"
#include "tests/unit/fake_net.h"

#define FAKE_SERVERS_MAX 3u
#define FAKE_EXTENTS 4u
#define FAKE_VOLUME_ID 7u
#define FAKE_NUMBERS_MAX 65536u
#define FAKE_GHOSTS_MAX 1024u
#define FAKE_TRACE_BYTES 8192u
#define FAKE_CFG_ADDR "cfg:1"

struct fake_op {
	struct list link; /* chain->pending */
	struct wire_request req;
	struct buf *data;
};

struct fake_chain {
	struct map_chain rec;
	struct list pending; /* sequenced, not committed */
	uint32_t session;    /* newest sequenced; 0 none */
	uint64_t low, contiguous;
	uint8_t known[FAKE_NUMBERS_MAX]; /* 1 sequenced, 2 committed */
	int32_t status[FAKE_NUMBERS_MAX];
	uint32_t offset[FAKE_NUMBERS_MAX];
	uint64_t seq, commit;
	bool closed;
	bool forgotten; /* X6: takes nothing but SESSION 1 */
};

struct fake_peer { /* a program the client may connect to */
	char addr[ADDR_BYTES];
	uint32_t server_id; /* 0: cfgsvc */
	struct id128 incarnation;
	bool refuse;           /* connections are reset at once */
	struct env_conn *conn; /* the one CONNECTED was sent on */
	struct list outbox;    /* frames for the client, in order */
};

struct fake_cluster {
	struct fake_net *net;
	struct chain_map *map;
	struct fake_peer peers[1 + FAKE_SERVERS_MAX]; /* [0] cfgsvc, [i] server i */
	struct fake_chain *chains;
	uint32_t members_n, chains_n;
	uint8_t *disk; /* FAKE_EXTENTS extents, committed */
	bool present[FAKE_EXTENTS * EXTENT_BLOCKS];
	uint32_t volume_epoch;
	struct {
		struct frame *f;
		uint32_t server;
	} ghosts[FAKE_GHOSTS_MAX];
	uint32_t ghosts_n;
	/* knobs */
	bool hold_commits, hold_reads, hold_confirms;
	uint32_t busy_n;        /* that many requests are answered BUSY */
	uint32_t busy_percent;  /* of requests */
	uint32_t reset_percent; /* of chaos, in tenths */
	uint32_t forget_tenths; /* of chaos, in tenths: the client's entry goes to another (X6) */
	uint32_t drop_percent;  /* of what daemons answer: lost, the connection stays up */
	uint32_t read_again_n;  /* that many reads are answered -EAGAIN */
	uint32_t rot_n;         /* that many reads come back with a flipped bit */
	uint32_t deny_n;        /* that many confirmations name epoch 0 */
	int32_t fail_status;    /* answer modifications with this, unnumbered; 0 off */
	uint32_t window_ops;
	/* the client under test */
	struct client *client;
	void *client_memory;
	int opened; /* 1: not yet; else what opened() said */
	char opened_why[256];
	bool closed;
	uint32_t events_n;
	int events[16];
	char trace[FAKE_TRACE_BYTES];
};

struct fake_cluster_config {
	uint64_t seed;
	uint32_t members_n, chains_n; /* 0: 3 and 2 */
	uint32_t parts_max, reqs_max; /* 0: 64 and 64 */
};

struct fake_cluster *fake_cluster_init(const struct fake_cluster_config *cfg);
/* Stop the client, let time pass until it is closed. */
void fake_cluster_stop(struct fake_cluster *k);
/* Stop the client if it runs, check for leaks, free. */
void fake_cluster_fini(struct fake_cluster *k);
/* Start the client, settle; .opened says how it ended. */
void fake_open(struct fake_cluster *k);
/* Until nothing moves; no time passes. */
void fake_settle(struct fake_cluster *k);
/* Settle, let @ns pass in small steps, settling after each. */
void fake_pass(struct fake_cluster *k, uint64_t ns);
/* One random action: accept, receive, commit, answer, reset, revive a ghost, let time pass. */
void fake_chaos(struct fake_cluster *k);
/* Reset the client's connection to server @id (0: cfgsvc) if it has one. */
void fake_cut(struct fake_cluster *k, uint32_t id);
/* Bring out a new map; @k->map was changed and its version raised by this. */
void fake_publish(struct fake_cluster *k);
/* All members of chain @id restart: new incarnations, next epoch, nothing forgotten. */
void fake_restart_chain(struct fake_cluster *k, uint32_t id);
/* Chain @id gives the client's entry to another; what it sequenced still commits (X6). */
void fake_forget(struct fake_cluster *k, uint32_t id);
/* The trace since the last call, then empty. */
const char *fake_trace(struct fake_cluster *k);

/* A buffer of @len bytes filled with @byte; a request on the heap. Both live until fake_req_free().
 */
struct fake_req {
	struct client_req r;
	struct fake_cluster *k;
	uint32_t done_n;
	void (*then)(struct fake_req *q);
	uint64_t stamp;
	uint32_t slot;
};
struct fake_req *fake_req(struct fake_cluster *k, enum client_kind kind, uint64_t offset_bytes,
			  uint64_t len_bytes, int byte);
void fake_req_free(struct fake_req *q);
/* Submit and settle; CHECKs that submit accepts. */
void fake_submit(struct fake_req *q);

#endif
