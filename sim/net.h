/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* net - the virtual network: connections that carry encoded bytes between simulated processes.
 *
 *	env.send --seal--> send queue --serialise, wire time--> in flight --parse, check-->
 *	ev->frame
 *
 * A frame is sealed when sent and turned into bytes when its turn on the wire comes, so a frame
 * changed while queued (F3) fails its CRC as it would on a real machine. The receiver takes the
 * bytes apart exactly as io/tcp.c does: wire_hdr_check, frame and buffer from the pools,
 * wire_frame_check against the role the peer announced in CONNECT.
 *
 *   T1  bytes of one direction arrive in order, or the connection ends; connections are independent
 *   T2  a reset reaches the two ends at different times; until then bytes sent before it still
 *       arrive, also after a newer connection of the same pair is up, and bytes sent after it
 *       vanish
 *   T3  nothing of a connection is delivered to an end after its closed(), or after env_close()
 *   T4  a flipped bit is one the TCP checksum missed: only our own CRCs can see it
 *
 * Faults: net_reset (with half-open as an end that learns very late), net_block (one way between
 * two processes: stall), flip_ppm, slow. One thread. */

#ifndef SIM_NET_H
#define SIM_NET_H

#include "sim/world.h"

struct net_packet;

struct env_conn {
	struct sim_link *link;
	uint32_t side; /* 0 opened it, 1 accepted it */
	struct proc *proc;
	const struct conn_events *ev;
	void *owner;
	struct list proc_link;
	bool live;     /* callbacks may come and sends are accepted */
	bool cut;      /* what is sent from now on vanishes (T2) */
	bool desynced; /* a length was hit by a flip: nothing more can be parsed */
	enum wire_role peer_role;
	struct list sendq; /* frame.link */
	uint32_t queued_bytes;
	uint64_t wire_free_ns;    /* when the bytes before are on the wire */
	uint64_t last_arrival_ns; /* of what we sent: T1 */
	struct sim_event tx_ev, rx_ev, break_ev;
	int break_err;
	const char *break_why;
	struct list inflight; /* net_packet on the way to this end */
};

struct sim_link {
	struct list all; /* net.links */
	struct net *net;
	struct env_conn end[2];
	struct sim_event syn_ev, free_ev;
	char addr[ADDR_BYTES];
};

struct net {
	struct world *w;
	struct list links;
	uint64_t delay_lo_ns, delay_hi_ns; /* one way, most packets near lo */
	uint32_t spike_ppm;                /* packets delayed by a retransmission */
	uint64_t spike_ns;
	uint32_t flip_ppm;   /* packets with one bit flipped */
	uint64_t ns_per_kib; /* wire time */
	uint64_t blocked_until_ns[WORLD_PROCS_MAX][WORLD_PROCS_MAX];
	uint64_t frames, flips, resets, refused;
	/* Sees every frame as its sender sends it: invariants. May be NULL. */
	void (*on_send)(struct net *n, struct proc *from, struct proc *to, const struct frame *f);
};

void net_init(struct net *n, struct world *w);
void net_fini(struct net *n); /* frees every connection without callbacks */
/* Set the network part of @e's vtable. */
void net_fill_env(struct env *e);
/* Before proc_stop(): its connections end without callbacks. @silent: power loss, peers learn only
 * after a long time; else the kernel sends resets. */
void net_proc_died(struct net *n, struct proc *p, bool silent);
/* Break a random connection; false when there is none. @half_open: one end learns late. */
bool net_reset_random(struct net *n, bool half_open);
/* Nothing goes from @from to @to until then. */
void net_block(struct net *n, const struct proc *from, const struct proc *to, uint64_t until_ns);
void net_unblock_all(struct net *n);

/* Between net.c and net_fault.c. */
static inline struct env_conn *net_peer(struct env_conn *c)
{
	return &c->link->end[1 - c->side];
}
uint64_t net_delay(struct net *n); /* of one packet, from the tape */
void net_send_fin(struct env_conn *from, int err, const char *why);
/* No callback of @c from now on (T3). */
void net_end_dead(struct env_conn *c);

#endif
