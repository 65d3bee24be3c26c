/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* repl - one replica's part in chain replication, as a pure state machine (PROTOCOL 2, W1-W5, W8).
 *
 *	 WRITE DURABLE TOKEN COMMIT HELLO NAK ...        PERSIST FORWARD TOKEN COMMIT ...
 *	replica.c -------------------------> repl_step() -------------------------> replica.c
 *
 * Events go in through repl_step(), what must happen next comes out as a list of actions, to be
 * carried out in order. The module knows sequence numbers only: payloads, frames, disks and clocks
 * are its caller's. The head numbers with repl_may_number() and NUMBER, everybody else obeys WRITE.
 *
 * A token says "every member up to and including me holds all ops up to here on stable media, in
 * this epoch". It travels head to tail beside the ops; the tail commits up to its own token and the
 * commit watermark flows back. Per replica, at every return (repl_check):
 *
 *   R1  token <= durable <= recv            a token is never ahead of our own disk
 *   R2  token <= token_in                   (not on the head) nor ahead of our predecessor's
 *   R3  commit <= durable                   what is committed is on our disk too
 *   R4  commit only grows, and only up to our token or to what recovery proved
 *   R5  recv - commit <= WINDOW_OPS_MAX     once what we resumed with is committed
 *   R6  synced implies linked; nothing is forwarded or rewound unless synced
 *   R7  nothing is received, no token counts and nothing is said to the successor before our log
 *       ends within our predecessor's in this epoch: what is longer is undone, durably. So the
 *       head's log, as it was at installation, becomes everyone's, before the head numbers anything
 *
 * Ownership: the struct is the caller's; it holds no resources. Thread: the caller's. */

#ifndef CHAIND_REPL_H
#define CHAIND_REPL_H

#include "lib/base.h"
#include "lib/limits.h"

/* No single event asks for more. */
#define REPL_ACTIONS_MAX 8u

/* What the successor says it can take: 0 is "not now", n + 1 is n pages (W8). */
#define REPL_CREDIT_NONE 0u

struct repl {
	uint64_t epoch;          /* configuration we act in; only grows; 0: none yet */
	bool in;                 /* a member of it, and its install has finished */
	bool is_head, is_tail;   /* no predecessor; no successor */
	struct id128 pred, succ; /* incarnations of our neighbours, none where there is none */
	uint64_t recv;           /* highest seq received, or numbered by us as the head */
	uint64_t durable;        /* highest seq on our own disk */
	uint64_t token_in;       /* predecessor's token as received in this epoch; 0 on the head */
	uint64_t token;          /* D_i of W4: what we tell our successor; 0 after install */
	uint64_t commit_in;      /* highest commit watermark our successor told in this epoch */
	uint64_t commit;         /* highest seq known to be committed */
	uint64_t barrier;        /* recv at installation: R3 of PROTOCOL 3 */
	uint64_t nak;            /* the seq we last asked for again; 0: nothing is missing */
	uint64_t credit_in;      /* successor's credit; REPL_CREDIT_NONE until it was told */
	bool linked;             /* connection to the successor is up, HELLO was sent */
	bool synced;             /* and it answered HELLO_ACK: forwards flow */
	bool aligned;            /* our log ends within our predecessor's, in this epoch (R7) */
	bool undoing;            /* UNDO was asked for and has not come to its end */
};

enum repl_event_type {
	REPL_EV_NUMBER,  /* head: our log took op recv + 1 */
	REPL_EV_WRITE,   /* from the predecessor: op .seq, with its .token */
	REPL_EV_LOST,    /* its payload found no buffer, or was damaged: op .seq is not here */
	REPL_EV_NAK_DUE, /* some time passed and an op is still missing */
	REPL_EV_DURABLE, /* our log: everything up to .seq is on stable media */
	REPL_EV_TOKEN,   /* from the predecessor: .token */
	REPL_EV_HELLO,   /* from the predecessor, on a new connection: its recv .seq, its .token */
	REPL_EV_COMMIT,  /* from the successor: commit watermark .seq, .credit */
	REPL_EV_HELLO_ACK, /* from the successor: its recv .seq, .credit */
	REPL_EV_NAK,       /* from the successor: it wants .seq next */
	REPL_EV_LINK_UP,   /* the connection to the successor is there */
	REPL_EV_HELLO_DUE, /* some time passed and the successor did not answer our HELLO */
	REPL_EV_LINK_DOWN,
	REPL_EV_UNDONE, /* our log ends at .seq, and that is durable */
};

struct repl_event {
	enum repl_event_type type;
	uint64_t epoch;    /* from a peer: the sender's */
	struct id128 from; /* from a peer: its incarnation */
	uint64_t seq, token, credit;
};

enum repl_action_type {
	REPL_DO_PERSIST,   /* append op .seq to our log, then report DURABLE */
	REPL_DO_FORWARD,   /* send op .seq to the successor */
	REPL_DO_REWIND,    /* go back and send from op .seq on (.seq may be recv + 1: nothing) */
	REPL_DO_STOP,      /* send nothing to the successor until REWIND */
	REPL_DO_TOKEN,     /* tell the successor our token is .seq */
	REPL_DO_COMMIT,    /* everything up to .seq is committed; the tail answers its clients */
	REPL_DO_COMMIT_UP, /* tell the predecessor our commit watermark is .seq, and our credit */
	REPL_DO_HELLO,     /* say HELLO to the successor, .seq = our recv */
	REPL_DO_HELLO_ACK, /* answer the predecessor, .seq = our recv */
	REPL_DO_NAK,       /* ask the predecessor for .seq and what follows */
	REPL_DO_NAK_LATER, /* report NAK_DUE in a moment */
	REPL_DO_UNDO,      /* cut our log back to .seq, durably, then report UNDONE */
};

struct repl_actions {
	unsigned n;
	struct {
		enum repl_action_type type;
		uint64_t seq;
	} a[REPL_ACTIONS_MAX];
};

struct repl_config { /* our place in a configuration */
	uint64_t epoch;
	bool is_head, is_tail;
	struct id128 pred, succ;
};

/* What recovery found: @known is proved committed, @durable the end of the log. */
void repl_init(struct repl *r, uint64_t known, uint64_t durable);
/* Act in @cfg from now on (it is durably noted): forgets tokens and links of the old epoch. CHECKs
 * that the epoch grows. */
void repl_install(struct repl *r, const struct repl_config *cfg, struct repl_actions *ret_do);
/* We are no member of the newest configuration, or it is being installed: serve nothing. */
void repl_leave(struct repl *r);

/* Handle one event. On success fills @ret_do; on error nothing has changed, except that nothing is
 * wrong with asking again:
 *   -ESTALE  the sender is in an older epoch: tell it so
 *   -EAGAIN  the sender is in a newer epoch, or we are installing: drop, it will say so again
 *   -EPERM   the sender is not the neighbour it acts as: drop
 *   -EPROTO  the peer broke the protocol: drop and say so in the log */
MUST_CHECK int repl_step(struct repl *r, const struct repl_event *ev, struct repl_actions *ret_do);

/* Head: 0 when the next op may be numbered now, else -EAGAIN: not the head, what it resumed with is
 * not committed yet, the window is full (@reserved: the last WINDOW_OPS_RESERVED slots may be
 * used), the successor is away or cannot take more. */
MUST_CHECK int repl_may_number(const struct repl *r, bool reserved);
/* R3 of PROTOCOL 3 at the tail. */
bool repl_may_read(const struct repl *r);

const char *repl_action_name(enum repl_action_type t);
/* CHECK R1-R7. */
void repl_check(const struct repl *r);

#endif
