/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* svc_priv - inside of svc: its connections (svc.c) and its transactions (svc_txn.c).
 *
 *	frame -> svc.c: handshake, reports, map wanted --------------------+
 *	           `--> job queue -> svc_txn.c: ctrl on a copy -> put -> answer, map to subscribers
 *
 *   Y1  one transaction is in flight at a time; jobs wait in order, so an OPEN never overtakes the
 *       deletion of its volume
 *   Y2  cur is what the store holds durably, and the only thing anybody is told
 *   Y3  a job whose connection went away is carried out or dropped whole, and answered to nobody
 *
 * Thread: the reactor's. */

#ifndef CFGSVC_SVC_PRIV_H
#define CFGSVC_SVC_PRIV_H

#include "cfgsvc/ctrl.h"
#include "cfgsvc/svc.h"

#define SVC_CONNS_MAX NODE_CONNS_MAX
#define SVC_JOBS_MAX 256u
#define SVC_TICK_NS (500ull * 1000 * 1000)
#define SVC_CONNECT_NS (5ull * 1000 * 1000 * 1000) /* saying nothing for so long */
#define SVC_QUEUE_BYTES_MAX (2u << 20) /* a subscriber so far behind waits for the next tick */

struct svc_conn {
	struct list link; /* svc.conns or svc.conns_free */
	struct svc *svc;
	struct env_conn *conn;
	enum wire_role role; /* NONE until CONNECT */
	struct id128 peer;   /* hdr.from of its CONNECT */
	char name[SERVER_NAME_BYTES];
	uint64_t since_ns;
	int server;           /* index in the map once registered, else -1 */
	bool subscribed;      /* asked for the map */
	bool map_due;         /* has not been sent the newest one */
	uint64_t map_tag;     /* of the MAP_GET not answered yet */
	uint64_t open_volume; /* id, 0: none */
	bool open_deleting;
};

struct svc_job {
	struct list link;
	struct svc_conn *from; /* NULL: gone (Y3) */
	struct frame *f;       /* REGISTER, OPEN or ADMIN */
};

struct svc {
	struct svc_config cfg;
	struct env *env;
	struct ctrl_state *cur, *next; /* Y2; next: what is being written */
	struct ctrl_live *live;
	uint8_t *bytes; /* next, encoded; the store's while putting */
	uint64_t rev;
	bool loaded, stopping;

	bool putting, put_done;
	int put_res;
	struct svc_job *job;       /* whose transaction is in flight; NULL: our own */
	struct ctrl_answer answer; /* to it */
	bool reform_due;

	struct list jobs, jobs_free;
	struct list conns, conns_free;
	struct svc_conn *server_conn[SERVERS_MAX];
	struct env_task run;
	struct env_timer tick;
	struct buf *map_buf; /* the encoded map of map_version, or NULL */
	uint64_t map_version;

	void (*ready)(void *arg, int res, const char *why);
	void *ready_arg;
	struct svc_conn conn_slots[SVC_CONNS_MAX];
	struct svc_job job_slots[SVC_JOBS_MAX];
};

/* svc.c */
/* Tell the peer why, then close and forget it. */
void svc_conn_drop(struct svc_conn *c, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A frame to @c that echoes @tag, or NULL (and @c is gone) when the pool is empty. */
struct frame *svc_frame(struct svc_conn *c, enum wire_type type, uint32_t meta_bytes, uint64_t tag);
void svc_send(struct svc_conn *c, struct frame *f); /* takes over the reference */
/* Send the newest map to every subscriber that lacks it and can take it. */
void svc_push_maps(struct svc *s);

/* svc_txn.c */
void svc_txn_init(struct svc *s);
void svc_load(struct svc *s);
/* Queue REGISTER, OPEN or ADMIN; drops @c when the queue is full. */
void svc_job_add(struct svc_conn *c, struct frame *f);
void svc_jobs_forget(struct svc_conn *c); /* @c is going away */
void svc_kick(struct svc *s);             /* look for work at the end of this turn */

#endif
