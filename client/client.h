/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* client - sans-I/O client of one volume: routing, splitting, sessions, retries, proof of reads.
 *
 *	libchainblk/loop.c or sim/ --submit--> client --frames--> env --> chaind, cfgsvc
 *
 * A request is split at extent borders into parts; each part goes to the lane (chain) of its
 * extent: modifications to the head, reads to the tail with confirmations collected from every
 * other member (PROTOCOL 3, R2). One connection per server, one to cfgsvc.
 *
 *   C1  per lane at most REQ_OUTSTANDING_MAX modifications are outstanding; req_no grows by 1; an
 *       unanswered one is re-sent with the same id only, after its session was committed (X1-X3)
 *   C2  a read completes only when the tail's answer and every confirmation name the same epoch and
 *       all were produced after it was issued
 *   C3  BUSY is retried with exponential back-off and full jitter until the deadline
 *   C4  every submitted request completes exactly once; at its deadline with -ETIMEDOUT, after
 *       which its lane takes a new session before anything new is sent there (X5)
 *   C5  every block returned by a read passed its seeded CRC here
 *
 * Ownership: client_req is the caller's and the client's from submit to done; its buf is
 * referenced. Thread: the loop's. */

#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "lib/chain_map.h"
#include "lib/env.h"
#include "lib/frame.h"

struct arena;
struct client; /* opaque */

enum client_kind {
	CLIENT_READ,  /* data out */
	CLIENT_WRITE, /* data in */
	CLIENT_UNMAP,
	CLIENT_WRITE_SAME, /* data in: one block */
	CLIENT_CAW,        /* data in: compare bytes then write bytes, within one extent */
	CLIENT_PRESENT,    /* data out: bitmap, one bit per block of the range */
};

/* At most OP_BYTES_MAX of data; the library above cuts longer calls into several. A range of READ
 * or WRITE that crosses an extent border is split here. UNMAP, WRITE_SAME and PRESENT:
 * any length. */
struct client_req {
	struct list link; /* the caller's */
	enum client_kind kind;
	uint64_t offset_bytes, len_bytes;
	struct buf *data; /* in: WRITE, WRITE_SAME, CAW. out: READ, PRESENT: filled by the client
			   * into this buffer (len_bytes, or bitmap bytes) */
	uint64_t deadline_ns; /* on env's clock */
	void (*done)(struct client_req *r);
	int status;                 /* at done: 0 or -errno of libchainblk/chainblk.h */
	uint32_t miscompare_offset; /* -EILSEQ */
	void *priv;                 /* the caller's */
};

/* The values of enum chainblk_event_type of libchainblk/chainblk.h, not to be included here. */
enum client_event {
	CLIENT_EVENT_RESIZED,
	CLIENT_EVENT_DELETED,
	CLIENT_EVENT_STALLED,
	CLIENT_EVENT_RESUMED,
};

struct client_config {
	char cfg_addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	char volume[NAME_BYTES];
	bool deleting;      /* WIRE_OPEN_DELETING */
	struct id128 id;    /* random per open */
	uint32_t reqs_max;  /* client_reqs submitted at once; more: -EAGAIN */
	uint32_t parts_max; /* parts in flight at once (others wait inside their request) */
	struct frame_source *src;
	void (*opened)(void *arg, int res, const char *why); /* once: 0, -ENOENT, -ENOTCONN, ... */
	/* size or state changed, lanes stalled or resumed; @text for people */
	void (*event)(void *arg, int client_event, uint64_t size_bytes, const char *text);
	void *arg;
};

size_t client_memory(const struct client_config *cfg);
struct client *client_init(const struct client_config *cfg, struct env *env, struct arena *a);
void client_start(struct client *c, uint64_t open_deadline_ns);
/* 0, -EAGAIN (reqs_max), -EINVAL, -ENXIO, -ENOENT (deleted), -ESHUTDOWN, -ENOTCONN (not opened
 * yet). done comes later, never from within this call; it may submit again. */
MUST_CHECK int client_submit(struct client *c, struct client_req *r);
/* No new requests; when all are done sends CLOSE on its lanes, then closed(arg). */
void client_stop(struct client *c, void (*closed)(void *arg), void *arg);
/* The volume's record and the map it came from, as known now. Valid until the next callback. */
const struct map_volume *client_volume(const struct client *c);
const struct chain_map *client_map(const struct client *c);
void client_check(const struct client *c);

#endif
