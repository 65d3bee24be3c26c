/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* node_lab - one chaind whose world the test plays: cfgsvc, neighbours, a client, time.
 *
 * Chain 1 has members 1 (head), 2, 3 (tail); the node under test is one of them. Volume 5 of 8 MiB,
 * 512-byte sectors, lies on chain 1 alone. Everything the node sends is printed, so that a test is
 * a conversation:  say(...) and hear(WHO, "FORWARD 1 WRITE 0+1 token 0").
 *
 * The store is tests/unit/fake_store.h. One lab at a time; one thread. */

#ifndef TESTS_UNIT_NODE_LAB_H
#define TESTS_UNIT_NODE_LAB_H

#include "chaind/node.h"
#include "tests/unit/fake_store.h"

enum who { CFG, PRED, SUCC, CLIENT, CLIENT2, WHO_END };
#define LAB_EPOCH 4u
#define LAB_VOLUME 5u

struct lab_place {            /* where the node stands, what its disk recovers with */
	unsigned members, at; /* chain of so many, we are number @at (0 head) */
	uint64_t stored_epoch, known, last;
	bool no_map;         /* registered, but no map was sent */
	bool not_registered; /* the question whether it would be waits for its answer */
};

extern struct node *lab_node;

/* Start, register, install epoch LAB_EPOCH, connect all neighbours and the first client (session 1
 * committed when we are the sole member or head: not done by itself). */
void lab_start(const struct lab_place *p);
/* CHECKs the node, stops it, and that nothing leaked. */
void lab_end(void);
void lab_time(uint64_t ns);
void lab_log_expected(const char *part); /* was this said in the log since the start? */

/* A payload; the caller's reference. */
struct buf *lab_buf(uint32_t len_bytes, uint8_t fill);
struct frame *lab_frame(enum who from, enum wire_type type, uint32_t meta_bytes);
/* Deliver (consumes @f); what it leads to is run. */
void lab_say(enum who from, struct frame *f);
/* Exactly what was sent to @w since the last time, joined by "; ". */
void lab_hear(enum who w, const char *expected);
/* Take the oldest frame sent to @w; the caller's to put. */
struct frame *lab_take(enum who w);
/* cfgsvc takes us; @flags WIRE_F_ASK: would take us. */
void lab_registered(uint16_t flags);
/* Drop what was sent to everybody. */
void lab_forget(void);
void lab_cut(enum who w);     /* the connection breaks */
void lab_connect(enum who w); /* and is made again: SUCC answers, PRED and clients call */
void lab_connect_as(enum who w, enum who id); /* @w's connection, opened by @id */
bool lab_is_closed(enum who w);
void lab_map(uint64_t version, uint64_t epoch, uint32_t volume_state);

/* Shorthands; all in LAB_EPOCH. */
void lab_mark(enum who from, uint64_t seq, uint64_t credit); /* TOKENS or COMMITS */
void lab_plain(enum who from, enum wire_type type, uint64_t seq);
void lab_forward(uint64_t seq, uint64_t token, uint32_t block, uint8_t fill);
struct lab_req {
	enum wire_req_kind kind;
	uint64_t no, low, extent, generation, epoch, volume;
	uint32_t session;
	uint32_t offset, len;
	uint8_t fill, compare;
	bool drop_data, damage;
};
void lab_request(enum who from, const struct lab_req *q);
void lab_read(enum who from, uint32_t block, uint32_t blocks, enum wire_read_kind kind);
void lab_confirm(enum who from, uint64_t epoch);

#endif
