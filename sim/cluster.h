/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cluster - the actors of one simulation: storage daemons with their disks, the configuration
 * service with its store, clients with their share of the workload, and the operator.
 *
 *	run.c --start, stop, faults--> actor_*.c --> chaind, cfgsvc, client (the same object code)
 *
 * An actor is a proc plus what outlives it: a daemon's disk, the service's state. Killing an actor
 * ends its process between two events; starting it makes a new incarnation on what is left.
 *
 *   A1  a disk belongs to at most one live process
 *   A2  what the configuration store said is durable survives every kill of the service
 *   A3  the cluster is made through real ADMIN messages to the service
 *
 * One thread. */

#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "cfgsvc/svc.h"
#include "chaind/node.h"
#include "client/client.h"
#include "sim/disk.h"
#include "sim/net.h"
#include "sim/workload.h"
#include "store/store.h"

#define NODES_MAX 6u
#define CLIENTS_MAX 4u
#define DEPTH_MAX 32u
#define CFG_ADDR "cfg:7400"

struct cluster;

struct actor_node {
	struct proc proc;
	struct cluster *cl;
	struct sim_disk disk;
	struct node *node; /* NULL until formatted and initialised */
	bool formatted, ready, stopping, failed;
	struct sim_event init_ev, end_ev, restart_ev;
	uint64_t starts;
};

enum store_call { STORE_LOAD, STORE_PUT };
struct cfg_call {
	struct sim_event ev;
	struct list link;
	struct actor_svc *svc;
	enum store_call kind;
	uint64_t rev;
	void *bytes;
	size_t len;
	void (*loaded)(void *arg, int res, const void *bytes, size_t len, uint64_t rev);
	void (*put)(void *arg, int res);
	void *arg;
};

struct actor_svc {
	struct proc proc;
	struct cluster *cl;
	struct cfgstore store;
	void *state; /* durable */
	size_t state_len;
	uint64_t state_rev;
	struct list calls;
	struct sim_event restart_ev;
	struct svc *svc;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	bool ready;
};

struct client_slot {
	struct client_req req;
	struct workload_op *op; /* NULL: idle */
	struct actor_client *client;
	struct sim_event think_ev;
};

struct actor_client {
	struct proc proc;
	struct cluster *cl;
	struct client *client;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	struct client_slot slots[DEPTH_MAX];
	struct sim_event restart_ev;
	uint32_t busy, starts;
	bool open, closing;
};

enum admin_state { ADMIN_IDLE, ADMIN_INIT, ADMIN_VOLUME, ADMIN_DONE };
struct actor_admin {
	struct proc proc;
	struct cluster *cl;
	enum admin_state state;
	struct env_conn *conn;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	struct env_timer timer;
	struct id128 id, cluster;
	bool greeted;
	uint64_t sent_ns;
	char why[WIRE_TEXT_BYTES];
};

struct cluster_config {
	uint32_t nodes_n, replicas, chains, clients_n, depth;
	uint64_t disk_bytes, log_bytes, node_memory_bytes;
	uint32_t reqtab_clients; /* a chain remembers, 0: the default */
	bool volatile_cache;
	uint64_t think_ns; /* mean pause of a client between two operations */
	uint64_t deadline_ns;
	struct workload_config work;
};

enum cluster_phase { PHASE_WORK, PHASE_QUIET, PHASE_VERIFY };

struct cluster {
	struct world *w;
	struct net net;
	struct cluster_config cfg;
	struct workload work;
	struct actor_node nodes[NODES_MAX];
	struct actor_svc svc;
	struct actor_client clients[CLIENTS_MAX];
	struct actor_admin admin;
	enum cluster_phase phase; /* QUIET: clients start nothing new */
	uint32_t verify_cursor;
	uint64_t faults;
	struct invariants *inv;
};

void cluster_init(struct cluster *c, struct world *w, const struct cluster_config *cfg);
void cluster_fini(struct cluster *c);
/* Operations clients have in flight. */
uint32_t cluster_busy(const struct cluster *c);
void cluster_phase_set(struct cluster *c, enum cluster_phase phase);

/* ---- actor_node.c ---- */
void actor_node_init(struct actor_node *a, struct cluster *cl, uint32_t i);
void actor_node_start(struct actor_node *a);
/* @power: its disk's cache is lost too and peers hear nothing. */
void actor_node_kill(struct actor_node *a, bool power);
/* Clean stop: node_stop(), then the process ends by itself. */
void actor_node_stop(struct actor_node *a);
void actor_node_fini(struct actor_node *a);

/* ---- actor_svc.c ---- */
void actor_svc_init(struct actor_svc *a, struct cluster *cl);
void actor_svc_start(struct actor_svc *a);
void actor_svc_kill(struct actor_svc *a);
void actor_svc_fini(struct actor_svc *a);

/* ---- actor_client.c ---- */
void actor_client_init(struct actor_client *a, struct cluster *cl, uint32_t i);
void actor_client_start(struct actor_client *a);
void actor_client_kill(struct actor_client *a);
/* Look for work again: the phase changed. */
void actor_client_wake(struct actor_client *a);
void actor_client_fini(struct actor_client *a);

/* ---- actor_admin.c ---- */
void actor_admin_init(struct actor_admin *a, struct cluster *cl);
/* Make the cluster and its volume; state is ADMIN_DONE once both exist. */
void actor_admin_start(struct actor_admin *a);
void actor_admin_fini(struct actor_admin *a);

void sim_id(struct world *w, struct id128 *ret); /* from the tape */

#endif
