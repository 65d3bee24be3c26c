/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* node - one storage daemon: its store, its replicas, its connections.
 *
 *	                        +-- session.c (who speaks, may it say that) --+
 *	env (io/ or sim/) ----> |  node.c -> head.c (admission, merging)      | --> store/
 *	                        |         -> repl.c (W2-W6, pure step)        |
 *	                        |         -> reader.c (R1-R3)  peers.c (links)|
 *	                        +---------------------------------------------+
 *
 * Everything below cmd_run.c is driven by env callbacks and runs unchanged in the simulator.
 *
 *   N1  a frame acts only if its cluster, chain, epoch and incarnations are ours (PROTOCOL 2)
 *   N2  what a client was told to be done is committed: on stable media of every member
 *   N3  memory is the arena's; a full pool or window answers BUSY, nothing queues without bound
 *   N4  a chain whose record does not name our incarnation serves nothing
 *
 * Thread: the reactor's. */

#ifndef CHAIND_NODE_H
#define CHAIND_NODE_H

#include "lib/chain_map.h"
#include "lib/env.h"
#include "lib/frame.h"

struct arena;
struct node; /* opaque */

struct node_config {
	char name[SERVER_NAME_BYTES];
	char cfg_addrs[SERVER_ADDRS_MAX][ADDR_BYTES]; /* configuration service, tried in turn */
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];     /* what we register: how others reach us */
	char domain[SERVER_NAME_BYTES]; /* what fails together with us; empty: we alone */
	uint64_t disk_bytes;
	uint32_t chains_max;
	uint64_t memory_bytes;   /* budget for payload buffers; 0 = default (48 MiB) */
	uint32_t reqtab_clients; /* see struct store_config; 0 = default */
	uint64_t scrub_ns;       /* see struct store_config; 0 = never */
};

/* What a node takes at start and what for. */
struct node_memory {
	size_t store_bytes;   /* index, page table, chains' logs and request tables of its store */
	size_t buffers_bytes; /* payloads on their way: cfg.memory_bytes */
	size_t tables_bytes;  /* frames, slots, sessions, the map */
};
void node_memory_of(const struct node_config *cfg, struct node_memory *ret);
size_t node_memory(const struct node_config *cfg); /* the sum */
/* @incarnation: random at every process start. The region of payload buffers can be registered with
 * the kernel: see node_bufs(). */
struct node *node_init(const struct node_config *cfg, struct env *env, struct env_disk *disk,
		       const struct id128 *incarnation, struct arena *a);
struct frame_source *node_frames(struct node *n); /* for io/: where received frames come from */
struct buf_pool *node_bufs(struct node *n);
/* What to register instead of cfg->addrs; before node_start(). */
void node_set_addrs(struct node *n, char addrs[SERVER_ADDRS_MAX][ADDR_BYTES]);
/* Open the store, connect to cfgsvc, register, serve. ready(arg, 0) once registered; ready(arg,
 * -errno) with @why when it cannot ever work (bad store, cluster mismatch, rolled-back disk). */
void node_start(struct node *n, void (*ready)(void *arg, int res, const char *why), void *arg);
/* A connection the shell accepted. */
void node_accept(struct node *n, struct env_conn *c);
/* Clean stop: refuse new requests, let numbered ops commit (bounded by @deadline_ns on env's
 * clock), close the store, then stopped(arg). */
void node_stop(struct node *n, uint64_t deadline_ns, void (*stopped)(void *arg), void *arg);

/* For the simulator's invariants (06-testing I1-I18) and for tests. */
struct node_chain_view {
	uint32_t chain;
	uint64_t epoch;
	int position; /* 0 head .. in_n-1 tail; -1 not a member now */
	bool is_tail;
	bool aligned;                      /* our log ends within our predecessor's */
	uint64_t recv;                     /* highest seq received */
	uint64_t durable;                  /* on our disk */
	uint64_t token;                    /* D_i as told downstream */
	uint64_t commit;                   /* commit watermark we know */
	uint32_t window_ops, window_bytes; /* in use now */
};
unsigned node_chains_n(const struct node *n);
void node_chain_view(const struct node *n, unsigned i, struct node_chain_view *ret);
struct store *node_store(struct node *n);
void node_check(const struct node *n); /* CHECK every invariant of its modules */

#endif
