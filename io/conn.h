/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* conn - inside of tcp: one connection.
 *
 *	tcp.c   listeners, connect, the end of a turn   conn.c    life cycle and sending
 *	rx.c    bytes to frames                         rxring.c  arming receives, the shared ring
 *
 *	CONNECTING -> OPEN -> LINGER -> DEAD -> (slot free)      accepted: ACCEPTED -> OPEN
 *
 *   Q1  ev is NULL once closed() was called or the owner closed: nothing is called after
 *   Q2  LINGER: nobody owns it; what is queued is sent, then its end, then what comes is thrown
 *       away until the peer ends too or a short timer fires. Without it a close with unread input
 *       resets the connection and destroys the answer on its way
 *   Q3  DEAD: every armed operation was cancelled; the slot is freed at the end of the turn in
 *       which the last one completed, so that no function on the stack loses its connection
 *   Q4  at most one send and one receive are armed */

#ifndef IO_CONN_H
#define IO_CONN_H

#include "io/addr.h"
#include "io/tcp.h"
#include "io/uring.h"

#define CONN_SEND_FRAMES_MAX 32u
#define CONN_STAGE_BYTES (16u << 10)
#define RX_DIRECT_BYTES (64u << 10) /* this much payload or more goes straight into its buf */
#define RXRING_GROUP 1u

enum conn_state { CONN_FREE, CONN_CONNECTING, CONN_ACCEPTED, CONN_OPEN, CONN_LINGER, CONN_DEAD };

enum recv_kind {
	RECV_MULTI,  /* multishot into the shared ring */
	RECV_SELECT, /* one shot into the shared ring: a header is due and bulk data follows */
	RECV_STAGE,  /* one shot into the connection's own stage */
	RECV_DIRECT, /* one shot into the payload's buf */
};

/* Received bytes that wait for a frame (T3). */
struct rx_held {
	struct list link;
	uint32_t at, end; /* unread part */
};

struct env_conn {
	struct list link; /* tcp's free, live or dead list */
	struct tcp *tcp;
	enum conn_state state;
	int fd;
	bool accepted;
	enum wire_role peer_role; /* NONE until CONNECT or CONNECTED */
	const struct conn_events *ev;
	void *owner;
	struct addr addr;
	char peer[PEER_BYTES];
	struct env_timer timer; /* connecting, waiting for CONNECT, lingering */

	struct uring_op connect_op, send_op, recv_op;
	bool connect_armed, send_armed, recv_armed, recv_cancelled;
	bool end_sent, end_seen;

	struct list sendq;
	uint32_t sendq_bytes;
	uint32_t first_sent_bytes; /* of the first frame of sendq */
	struct list dirty_link;
	bool dirty;
	struct msghdr msg;
	struct iovec iov[2 * CONN_SEND_FRAMES_MAX];

	enum recv_kind recv_kind;
	bool bulk; /* the last frame was large */
	bool stalled;
	struct list wait_link; /* tcp's stalled or starved list */
	struct list held;      /* rx_held of the ring, oldest first */
	uint8_t *stage;        /* CONN_STAGE_BYTES, plain mode */
	struct rx_held staged;
	struct wire_hdr hdr;
	uint32_t hdr_got;
	struct frame *rx; /* being received: header done */
	uint32_t meta_got, data_got;
};

struct listener {
	struct tcp *tcp;
	int fd;
	bool single; /* the kernel has no multishot accept */
	bool armed;
	struct uring_op op;
	struct env_timer timer; /* after an error: try again a little later */
	void (*accepted)(void *arg, struct env_conn *c);
	void *arg;
	char unix_path[ADDR_BYTES];
};

#define LISTENERS_MAX 8u

struct tcp {
	struct reactor *r;
	struct tcp_config cfg;
	uint32_t frames_reserve; /* receive only while more frames than this are free (T3) */
	bool plain;
	struct env_conn *conns;
	uint8_t *stages; /* CONN_STAGE_BYTES each, touched in plain mode only */
	struct list free, live, dead, dirty, stalled, starved;
	struct listener listeners[LISTENERS_MAX];
	uint32_t listeners_n;
	unsigned port;
	/* the shared ring of receive buffers */
	struct io_uring_buf_ring *ring;
	uint8_t *ring_mem;
	size_t ring_mem_bytes;
	struct rx_held *ring_held; /* one per buffer */
	uint32_t ring_n, ring_free_n;
};

/* conn.c */
struct env_conn *conn_new(struct tcp *t, int fd); /* NULL: all slots taken */
/* Something outside broke it: tell the owner once, then let go. @why is static. From the loop only.
 */
void conn_fail(struct env_conn *c, int err, const char *why);
/* The peer broke the protocol: as conn_fail(), telling an opener why first. */
void conn_protocol_error(struct env_conn *c, int err, const char *why);
void conn_linger(struct env_conn *c);
void conn_kill(struct env_conn *c);
void conn_reap(struct env_conn *c); /* DEAD and nothing armed: free the slot */
void conn_send(struct env_conn *c, struct frame *f);
void conn_flush(struct env_conn *c);
void conn_mark_dirty(struct env_conn *c);
void conn_end_seen(struct env_conn *c);
/* Static text for a negative errno of a socket. */
const char *conn_why(int err);

/* rxring.c */
size_t rxring_bytes(uint32_t bufs_n);
MUST_CHECK int rxring_open(struct tcp *t, uint32_t bufs_n);
void rxring_close(struct tcp *t);
void recv_arm(struct env_conn *c);
void recv_cancel(struct env_conn *c);
void recv_done(struct uring_op *op, int res, uint32_t cqe_flags);
void recv_resume(struct tcp *t);    /* stalled and starved connections that can go on */
void recv_drop(struct env_conn *c); /* give back what is held */

/* rx.c */
bool rx_may_start(const struct tcp *t);
/* Consume up to @len bytes; less only when no frame may be taken now (stalled). May end in c->state
 * != CONN_OPEN. */
uint32_t rx_feed(struct env_conn *c, const uint8_t *p, uint32_t len);
/* Where the rest of a large payload goes, or NULL. */
uint8_t *rx_direct(const struct env_conn *c, uint32_t *ret_len);
void rx_direct_got(struct env_conn *c, uint32_t len);

#endif
