/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* core - the structs the files of this folder share; nobody outside includes it.
 *
 *	client.c   requests: submit, parts, completion, deadline, open, stop     struct req, client
 *	cfglink.c  the configuration service: OPEN, maps                         struct cfglink
 *	servers.c  one link per storage daemon, frames to lanes                  struct link
 *	lane.c     modifications of one chain: sessions, numbers (X1-X3, X5)     struct lane
 *	reader.c   reads of one chain: proof by confirmations (R2)
 *	split.c    arithmetic of parts          link.c  a connection that is kept up
 *
 * Event handlers change state and call client_kick(); everything is sent, and every request
 * completed, in the client's turn (client.c, on_turn), which runs before the loop blocks. So no
 * function here is ever entered again from a caller's callback in the middle of a change.
 *
 * A part is on exactly one list at a time, said by its state; its request holds it on a second one.
 * Thread: the loop's. */

#ifndef CLIENT_CORE_H
#define CLIENT_CORE_H

#include "client/client.h"
#include "client/link.h"
#include "client/split.h"

/* Numbers [low, next_no) in use per lane. SESSION takes a number too, and a new one may be needed
 * while old requests still wait for answers; so requests leave room for many of them. */
#define LANE_NUMBERS_MAX REQ_OUTSTANDING_MAX
#define LANE_SESSIONS_END (LANE_NUMBERS_MAX - 1u)
#define LANE_REQUESTS_MAX 192u
#define STALL_NS 1000000000ull
/* A daemon short of memory may drop an answer and leave the connection up. */
#define PATIENCE_NS 2000000000ull
#define PATIENCE_MAX_NS 8000000000ull

struct req {               /* one submitted client_req */
	struct list live;  /* client->live by deadline, or client->reqs_free */
	struct list queue; /* client->waiting: has unsplit range left; client->finished; or none */
	struct list parts; /* part.of_req: split and not done */
	struct client_req *r;
	uint64_t offset_bytes, len_bytes; /* trimmed (UNMAP) */
	uint64_t cursor_bytes;            /* split up to here */
	uint32_t parts_n;                 /* on .parts */
	int status;                       /* of the first part that failed */
	bool finished;
};

enum part_state {
	PART_FREE,    /* client->parts_free */
	PART_WAIT,    /* never sent */
	PART_SENT,    /* answer outstanding */
	PART_RESEND,  /* numbered, to be sent as soon as possible */
	PART_BACKOFF, /* refused for now, until retry_at_ns */
	PART_DEAD,    /* X5: its request is gone, its number not yet */
};

struct part {
	struct list link;   /* by state: client->parts_free, or a list of its lane */
	struct list of_req; /* req->parts */
	struct req *req;    /* NULL: dead, or a lane's own (SESSION, CLOSE) */
	struct lane *lane;
	struct split_part range;
	enum part_state state;
	uint32_t attempts;    /* answers that asked for another try */
	uint64_t retry_at_ns; /* PART_BACKOFF */
	uint64_t sent_ns;     /* PART_SENT: since when it waits */
	/* modifications */
	enum wire_req_kind kind;
	uint64_t req_no;     /* 0: none yet */
	uint32_t session;    /* it was sent in last */
	uint32_t sent_bytes; /* PART_SENT: counted in lane->sent_bytes */
	bool doubt;          /* may have been numbered by some head */
	bool carried;        /* was sent unanswered in an older session: BUSY proves nothing */
	/* reads */
	uint64_t tag;      /* of the READ in flight */
	uint64_t epoch;    /* the record it was issued under */
	uint64_t turn;     /* client->turn_no when it was issued */
	bool answered;     /* the tail's answer is good and copied out; proof outstanding */
	uint32_t rotten_n; /* answers that failed their CRC */
};

struct lane { /* one chain, for this volume */
	struct client *client;
	uint32_t index;                        /* in client->lanes; bit of link.confirm_lanes */
	struct map_chain rec;                  /* epoch 0: unknown */
	struct link *links[CHAIN_MEMBERS_MAX]; /* of rec.in[]; NULL: server unknown */
	struct env_timer timer;                /* earliest PART_BACKOFF */
	/* modifications: lane.c */
	struct list w_wait, w_resend, w_sent, w_backoff, w_dead;
	uint32_t session; /* last one committed; 0 none yet */
	bool open;        /* .session may be used for new requests */
	bool fencing;     /* X5: nothing new, reads included, until a session commits */
	bool closed;      /* CLOSE was answered or given up */
	struct part ctl;  /* SESSION or CLOSE; PART_FREE when there is none */
	struct part *by_no[LANE_NUMBERS_MAX]; /* req_no % LANE_NUMBERS_MAX -> its part */
	uint64_t next_no, low;                /* X1 */
	uint32_t sent_n, sent_bytes;          /* of w_sent */
	uint32_t room_ops;    /* how many may be sent at once now: halved by BUSY, grows */
	uint32_t room_acks;   /* answers since it last grew */
	uint64_t room_cut_no; /* BUSY for a number below this does not halve again */
	/* reads: reader.c */
	struct list r_wait, r_sent, r_backoff;
	uint64_t confirmed[CHAIN_MEMBERS_MAX]; /* per member: newest turn it confirmed */
	/* progress */
	uint64_t progress_ns; /* last answer, or when it ceased to be idle */
	uint64_t patience_ns; /* how long an answer may take before it counts as lost */
	bool stalled;
};

struct cfglink {
	struct link link;
	bool opened; /* OPENED(0) came; volume_id is known */
	uint64_t open_tag;
	uint64_t asked_ns; /* last MAP_GET */
};

enum client_state {
	CLIENT_NEW,     /* before client_start() */
	CLIENT_OPENING, /* opened() outstanding */
	CLIENT_OPEN,
	CLIENT_FAILED,  /* opened() said why */
	CLIENT_CLOSING, /* client_stop(): requests finish, then CLOSE on every lane */
	CLIENT_STOPPED,
};

struct client {
	struct client_config cfg;
	struct env *env;
	enum client_state state;
	struct env_task turn;
	bool in_turn, again;
	uint64_t turn_no;        /* of the turn that runs, or runs next; tag of its CONFIRMs */
	uint64_t tag_next;       /* reads: tag = this * parts_max + part index */
	struct env_timer clock;  /* deadlines, stalls */
	struct env_timer starve; /* a pool was empty */
	struct env_timer limit;  /* end of open, end of close */
	bool lanes_closing;      /* CLIENT_CLOSING, no request left */
	bool close_expired;      /* ... and the time for CLOSE is over */
	void (*closed)(void *arg);
	void *closed_arg;

	struct id128 cluster; /* none before the first CONNECTED of cfgsvc */
	struct chain_map *map, *map_spare;
	const struct map_volume *volume; /* in *map; NULL before it is known */
	struct map_volume identity; /* as of the first map: lanes, base, generation are frozen */
	uint64_t size_bytes;
	bool deleted;

	struct cfglink cfglink;
	struct link links[SERVERS_MAX];
	uint32_t links_n;
	struct lane lanes[VOLUME_LANES_MAX];
	uint32_t lanes_n;
	struct lane *lane_of[VOLUME_LANES_MAX]; /* by position in identity.lanes */

	struct list live, waiting, finished, reqs_free;
	struct list parts_free;
	struct req *reqs;
	struct part *parts;
	uint32_t live_n, parts_free_n;
	uint32_t stalled_n; /* lanes that are .stalled */
};

/* ---- client.c ---- */

/* Have a turn run before the loop blocks. */
void client_kick(struct client *c);
/* A frame or buffer pool was empty: have a turn run soon. */
void client_starved(struct client *c);
/* @p is done with @status (0 or -errno); frees it. @offset_bytes: -EILSEQ. */
void client_part_done(struct part *p, int status, uint32_t offset_bytes);
/* The same for its request, but @p lives on without one (X5). */
void client_part_detach(struct part *p, int status);
/* Onto the free list, off any other. */
void client_part_free(struct client *c, struct part *p);
/* @p is to be tried again after a back-off with full jitter: sets state and retry_at_ns. */
void client_part_backoff(struct part *p);
/* The caller's data buffer. */
static inline struct buf *part_data(const struct part *p)
{
	return p->req->r->data;
}

static inline uint64_t client_now(const struct client *c)
{
	return c->env->now_ns(c->env);
}

/* Uniform in [0, min(cap, base << attempt)]. */
uint64_t client_jitter_ns(struct client *c, uint32_t attempt);

/* ---- cfglink.c ---- */

void cfglink_init(struct client *c);
void cfglink_start(struct client *c);
/* Ask for the newest map, at most every tenth of a second. */
void cfglink_refresh(struct client *c);
void cfglink_fail_open(struct client *c, int res, const char *why);

/* ---- servers.c ---- */

/* Bring links and lanes in line with the map just adopted. */
void servers_adopt(struct client *c);
struct link *servers_link(struct client *c, uint32_t server_id);
struct lane *servers_lane(struct client *c, uint32_t chain_id);

#endif
