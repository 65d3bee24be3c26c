/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* node_priv - what the files of a node share: its tables, and which file does what.
 *
 *	session.c   connections others opened to us: handshake, roles, dispatch, who is connected
 *	peers.c     connections we opened to successors, TOKENS and COMMITS gathered per loop turn
 *	cfglink.c   connection to the configuration service
 *	install.c   records and maps: which chains we are in, at which epoch
 *	replica.c   carries out what repl.c decides: slots, log, answers
 *	forward.c   what goes to the successor: cursor, cut-through, re-reading after a rewind
 *	head.c      admission and numbering          rmw.c  range lock, merging, compare-and-write
 *	reader.c    reads and confirmations          node.c start, stop, ticks
 *
 *   P1  a slot holds one op from receipt to store_op.released; r->ring has those above commit
 *   P2  slots out of the shared part <= slots_shared_max; each replica may always take SLOTS_OWN
 *   P3  appended <= recv; ops between wait in the ring for log space, with their payload
 *(slot.data) P4  send_next is 0 exactly when repl.synced is false
 *
 * Ownership: everything lies in the node. Thread: the reactor's. */

#ifndef CHAIND_NODE_PRIV_H
#define CHAIND_NODE_PRIV_H

#include "chaind/node.h"
#include "chaind/repl.h"
#include "store/store.h"

#define SLOTS_OWN 4u     /* per replica, always there */
#define CHAIN_HASH 1024u /* > NODE_CHAINS_MAX */
#define SESSION_HASH 1024u
#define SEND_QUEUE_MAX (8u << 20) /* bytes queued to a successor before the cursor waits */
#define TICK_NS (100ull * 1000 * 1000)
#define SOON_NS (3ull * 1000 * 1000)
#define NAK_AGAIN_NS (40ull * 1000 * 1000)
#define HANDSHAKE_NS (5ull * 1000 * 1000 * 1000)
#define REPORT_NS (1000ull * 1000 * 1000)
#define WATCH_NS (1000ull * 1000 * 1000) /* a daemon that took our store is noticed within */
#define RMW_MAX 256u
#define READS_MAX 512u

struct replica;
struct session;

struct slot {
	struct list link; /* free list */
	struct replica *r;
	struct store_op op;
	struct buf *data; /* only until the log has taken the op (P3) */
	bool shared;      /* from the shared part */
	bool in_ring;
	bool asked_again;       /* head: its client sent it twice, answer when committed (X2) */
	uint32_t session_again; /* and in which session */
	uint32_t pages;         /* upper bound of pages it makes (W8) */
	uint32_t crcs[OP_BLOCKS_MAX];
};

enum replica_state { RS_OUT, RS_INSTALLING, RS_IN };

struct replica {
	struct node *n;
	uint32_t chain;
	enum replica_state state;
	struct repl repl;
	struct map_chain rec;  /* the configuration we act in */
	struct map_chain next; /* INSTALLING: being noted on disk */
	uint64_t stored_epoch; /* highest on disk */
	uint64_t noting_epoch; /* INSTALLING: on its way there */
	uint64_t history;      /* of the log; 0: none yet */
	uint64_t undo_to;      /* repl.undoing: on its way there */
	bool undo_begun;       /* the store is at it */
	struct slot *ring[WINDOW_OPS_MAX];
	uint64_t appended;    /* P3 */
	uint64_t commit_done; /* told to the store and to clients: repl.commit */
	uint64_t send_next;   /* P4: next seq for the successor */
	bool fetching;
	struct store_fetch fetch;
	uint32_t window_bytes, window_pages; /* of slots in the ring */
	uint32_t own_used;                   /* slots out of SLOTS_OWN */
	struct peer *down;                   /* successor, NULL at the tail or when not IN */
	struct list down_link;               /* peer.replicas */
	struct list token_link;              /* peer.tokens: our token moved */
	struct list commit_link;             /* node.commits: our commit moved */
	struct list stuck_link; /* node.stuck: the cursor waits for frames, buffers or the queue */
	uint64_t nak_ns;        /* when what is missing is asked for again */
	struct list nak_link;   /* node.naks */
	struct list persist_link; /* node.persists: the log was full */
	struct list rmws;         /* rmw.c: arrivals holding or waiting for blocks, oldest first */
	uint32_t rmws_n;
	uint64_t credit_told;
};

struct session {          /* a connection somebody opened to us */
	struct list link; /* node.sessions or node.free_sessions */
	struct list hash; /* by peer id, newest first */
	struct node *n;
	struct env_conn *c; /* NULL: free */
	uint32_t gen;       /* grows at every use, to tell a late answer that its asker is gone */
	enum wire_role role;
	struct id128 peer;
	uint64_t opened_ns;
	struct frame *marks; /* COMMITS being gathered */
};

enum peer_state { PEER_IDLE, PEER_CONNECTING, PEER_GREETING, PEER_UP };
struct peer { /* a successor server and our connection to it */
	struct node *n;
	uint32_t server; /* 0: free */
	struct id128 incarnation;
	enum peer_state state;
	struct env_conn *c;
	unsigned addr; /* which of its addresses comes next */
	uint64_t retry_ns, since_ns;
	uint32_t failures;
	struct list replicas, tokens;
};

/* A start first asks whether it would be taken, then claims its store, then registers: what is
 * refused was not written to. */
enum cfg_state {
	CFG_DOWN,
	CFG_CONNECTING,
	CFG_GREETING,
	CFG_ASKING,
	CFG_CLAIMING, /* until the store is open */
	CFG_CLUSTER,  /* until its cluster is noted */
	CFG_REGISTERING,
	CFG_UP
};
struct cfglink {
	enum cfg_state state;
	struct env_conn *c;
	unsigned addr;
	uint64_t retry_ns, since_ns, report_ns;
	uint64_t taken_ns; /* when we first heard that another daemon has our store; 0: never */
	uint32_t failures;
	bool report_now, map_lost;
};

struct read_ctx {
	struct list link;
	struct node *n;
	struct session *s;
	uint32_t s_gen;
	uint64_t epoch, tag;
	struct replica *r;
	struct store_read sr;
};

struct rmw {
	struct list link;
	struct replica *r;
	struct frame *req;
	bool reading, dropped;
	struct store_read sr;
};

struct node {
	struct node_config cfg;
	struct env *env;
	struct env_disk *disk;
	struct arena *arena;
	struct id128 incarnation, cluster, disk_id;
	/* C7: what cfgsvc may know us as, newest first; which one it is shows when it takes us. */
	struct id128 earlier[STORE_DOUBTFUL_MAX + 1];
	unsigned earlier_n, earlier_at;
	uint32_t server_id;
	struct store *store;
	bool store_open, registered, stopping, closed, failed;
	bool cluster_new, cluster_setting; /* not on the disk yet; being written */
	bool validated, claimed;           /* the store, on its way to be open */
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	struct chain_map *map, *map_next; /* map->hdr.version 0: none yet */
	uint64_t volume_seen;             /* highest volume id ever seen */

	struct replica *replicas; /* chains_max of them, replicas_n used */
	unsigned replicas_n;
	uint16_t by_chain[CHAIN_HASH]; /* index + 1, open addressing */

	struct slot *slots;
	struct list free_slots;
	uint32_t slots_n, slots_shared_max, slots_shared;

	struct session *all_sessions;
	struct list sessions, free_sessions;
	struct list session_hash[SESSION_HASH];
	struct peer peers[SERVERS_MAX];
	struct cfglink cfglink;
	struct read_ctx *reads;
	struct list free_reads;
	struct rmw *rmws;
	struct list free_rmws;

	struct list commits, stuck, naks, persists;
	struct env_task flush;
	struct env_timer tick, soon, stop_timer;
	uint64_t reads_blocks, writes_blocks;
	uint64_t memory_bytes;
	uint64_t damage_log_ns; /* when the next damaged payload is logged */
	uint32_t quiet_ticks;   /* while stopping */

	void (*ready)(void *arg, int res, const char *why);
	void *ready_arg;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* ---- node.c ---- */
void node_ready(struct node *n, int res, const char *why);
/* Stop taking part with every replica: a write error, a full store below the head (W8). */
void node_fail(struct node *n, const char *why);
void node_soon(struct node *n);
struct replica *node_replica(const struct node *n, uint32_t chain);
/* NULL when chains_max are there. */
struct replica *node_replica_add(struct node *n, uint32_t chain);
/* A frame from us; NULL when the pool is empty. */
struct frame *node_frame(struct node *n, enum wire_type type, uint32_t meta_bytes);
/* About @r's chain, in its epoch, with its watermarks. */
struct frame *node_chain_frame(struct replica *r, enum wire_type type, uint32_t meta_bytes,
			       uint64_t seq);
/* Send and drop the reference. */
void node_send(struct node *n, struct env_conn *c, struct frame *f);
void node_send_stale(struct node *n, struct env_conn *c, uint32_t chain);
/* While stopping: finish once every window has been empty for a while. */
void node_stop_tick(struct node *n);

/* ---- session.c ---- */
void session_init(struct node *n);
void session_close(struct session *s);
/* Newest open connection of @role from @id, or NULL. */
struct session *session_find(struct node *n, const struct id128 *id, enum wire_role role);
void session_tick(struct node *n, uint64_t now_ns);

/* ---- peers.c ---- */
void peers_init(struct node *n);
void peers_attach(struct replica *r, const struct map_member *succ);
void peers_detach(struct replica *r);
void peers_tick(struct node *n, uint64_t now_ns);
void peers_close(struct node *n);
/* Note that @r's token (commit) moved; sent when the loop turn ends. */
void peers_token(struct replica *r);
void peers_commit(struct replica *r);
void peers_flush(struct node *n);

/* ---- cfglink.c ---- */
void cfglink_store_open(struct node *n);
void cfglink_open(struct node *n);
void cfglink_tick(struct node *n, uint64_t now_ns);
void cfglink_report_soon(struct node *n);
void cfglink_close(struct node *n);

/* ---- install.c ---- */
/* Take over n->map_next when it is newer. */
void install_map(struct node *n);
/* The store failed: no chain has us from now on. */
void install_leave_all(struct node *n);
/* Cut our log back to @seq (REPL_DO_UNDO). */
void install_undo(struct replica *r, uint64_t seq);
/* What it waits for may have come. */
void install_undo_go_on(struct replica *r);
void replica_ring_del(struct replica *r, struct slot *s);
/* A record from cfgsvc's map or from a peer. */
void install_record(struct node *n, const struct map_chain *rec);

/* ---- replica.c ---- */
void replica_init(struct replica *r, struct node *n, const struct store_chain_info *info);
void replica_act(struct replica *r, const struct repl_actions *todo);
/* An event of our own: it cannot be refused. */
void replica_event(struct replica *r, enum repl_event_type type, uint64_t seq);
/* HELLO, FORWARD, TOKENS, DUP from a predecessor on @s. */
void replica_from_pred(struct node *n, struct session *s, struct frame *f);
/* HELLO_ACK, COMMITS, NAK from a successor. */
void replica_from_succ(struct node *n, struct env_conn *c, struct frame *f);
void replica_persist(struct replica *r);
struct slot *slot_get(struct replica *r, bool client);
void slot_put(struct slot *s);
struct slot *replica_slot(const struct replica *r, uint64_t seq);
void replica_ring_add(struct replica *r, struct slot *s);
uint64_t replica_credit(const struct replica *r);
void replica_check(const struct replica *r);
/* store_op callbacks of every slot. */
void slot_durable(struct store_op *op, int res);
void slot_released(struct store_op *op);

/* ---- forward.c ---- */
void forward_op(struct replica *r, uint64_t seq);
void forward_rewind(struct replica *r, uint64_t seq); /* 0: stop */
void forward_pump(struct replica *r);
/* X2: let the tail answer @seq once more. */
void forward_dup(struct replica *r, uint64_t seq, const struct wire_dup *dup);

/* ---- head.c ---- */
void head_request(struct session *s, struct frame *f);
/* All that is checked before numbering: 0, -EEXIST when it was numbered before (then it has been
 * answered or will be), else the refusal. */
MUST_CHECK int head_check(struct replica *r, const struct frame *f);
/* Number @op for the request @req: check it once more, give it the next seq, hand it to the log and
 * the successor in one step. Answers the client itself when that cannot be done. */
struct head_op {
	enum op_kind kind;
	uint32_t block, blocks;
	int32_t result;
	uint32_t offset_bytes;
	const uint32_t *crcs;
	uint32_t crcs_n;
	struct buf *data; /* the caller's reference stays */
};
void head_number(struct replica *r, const struct frame *req, const struct head_op *op);
/* A request that needs no merging. */
void head_number_whole(struct replica *r, const struct frame *f);
/* Answer an unnumbered request. */
void head_refuse(struct node *n, const struct frame *f, int status);
void head_reply(struct node *n, const struct op_rec *rec, uint64_t epoch);
/* The replica acting for a client's frame in its epoch: 0, -ESTALE, -EAGAIN, -EIO. */
MUST_CHECK int head_chain(struct node *n, const struct wire_hdr *h, struct replica **ret_r);
/* Does the volume allow it? generation, lane, end: 0, -EAGAIN (our map is older), -EROFS ... */
MUST_CHECK int head_volume(const struct node *n, const struct wire_hdr *h, uint64_t volume,
			   uint64_t extent, uint64_t generation, const struct map_volume **ret_v);

/* ---- rmw.c ---- */
void rmw_init(struct node *n);
/* Does the whole-block request @f have to wait for an earlier arrival? */
bool rmw_must_queue(const struct replica *r, const struct frame *f);
void rmw_arrive(struct replica *r, struct frame *f);
void rmw_drop_all(struct replica *r);

/* ---- reader.c ---- */
void reader_init(struct node *n);
void reader_read(struct session *s, struct frame *f);
void reader_confirm(struct session *s, struct frame *f);

#endif
