/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* lane - modifications of one chain: request numbers, sessions, retries (PROTOCOL 2, X1-X3, X5).
 *
 *	w_wait --number, send--> w_sent --answer--> done
 *	                          |  ^ \--BUSY--> w_backoff --jitter--> w_resend --+
 *	   connection lost: new   |  +---------------------------------------------+
 *	   session, then w_resend +--deadline--> w_dead --session committed--> freed
 *
 *   N1  every number in [low, next_no) that is not complete is in by_no[], and next_no - low never
 *       exceeds LANE_NUMBERS_MAX; low only grows
 *   N2  nothing is sent while a session is asked for, except the SESSION itself; what was
 *       unanswered when a connection was lost is sent again with its old number afterwards
 *   N3  a number whose request was given up stays in use until a later session committed,
 *       unless every answer it ever got was BUSY
 *   N4  while fencing nothing new goes out on this lane, reads included (X5)
 *   N5  a chain that has forgotten us (X6) gets no number a second time: the lane begins again with
 *       session 1, and what may have been numbered ends with -ETIMEDOUT, outcome unknown
 *
 * A SESSION takes a number of the same row and keeps it, and its session number, until it is
 * answered: sent twice it is the same request. Requests go out only while the connections to
 * head and tail are both up, because the tail answers on its own.
 *
 * Ownership: parts on a lane's lists are its own until client_part_done(). Thread: the loop's. */

#ifndef CLIENT_LANE_H
#define CLIENT_LANE_H

#include "client/core.h"

void lane_init(struct lane *l, struct client *c, uint32_t index);
/* A record of this chain; older ones and the one we have are ignored. */
void lane_adopt(struct lane *l, const struct map_chain *rec);
/* A new part, in PART_WAIT and on no list. */
void lane_push(struct lane *l, struct part *p);
/* Send what can be sent. Called in the client's turn. */
void lane_pump(struct lane *l);
void lane_reply(struct lane *l, const struct wire_reply *rep);
/* The connection of @link is gone, or came up. */
void lane_link_down(struct lane *l, const struct link *link);
/* X5: the request of @p is over; @p is freed or dies. */
void lane_abandon(struct part *p);
/* The link of the member at @pos if it is up and in its incarnation of the record, else NULL. */
struct link *lane_member(const struct lane *l, uint32_t pos);
/* Nothing of anybody's outstanding or waiting. */
bool lane_writes_idle(const struct lane *l);
bool lane_is_idle(const struct lane *l);
/* Answers that are overdue count as lost: a new session, and everything again. */
void lane_watch(struct lane *l, uint64_t now_ns);
/* Closing: the chain has forgotten this client, or never knew it. */
bool lane_is_closed(const struct lane *l);
/* It answered. */
void lane_progress(struct lane *l);
/* Work is about to be added: the time without an answer counts from now if it was idle. */
void lane_wakes(struct lane *l);
/* Why it makes no progress, for people. */
void lane_explain(const struct lane *l, char *out, size_t out_bytes);
void lane_fini(struct lane *l);
void lane_check(const struct lane *l);

#endif
