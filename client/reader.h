/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* reader - reads of one chain, proved by the reader (PROTOCOL 3, R1 and R2).
 *
 *	READ ----------------> tail        \  the result counts when the tail's answer and a
 *	CONFIRM (turn) ------> every other /  confirmation of every other member name our epoch
 *
 * CONFIRMs are gathered per server and loop turn: one frame names all (chain, epoch) pairs read in
 * that turn, its tag is the turn's number. A confirmation with tag T proves every read issued in a
 * turn <= T, so one number per member and lane is all the state there is.
 *
 *   V1  a read completes with data only when rec.epoch == its epoch == the answer's epoch, and each
 *       other member, in its incarnation of that record, confirmed that epoch in a turn >= its turn
 *   V2  every block handed out passed its seeded CRC here; a bad answer is asked for again (the
 *       tail checked it too, so it was damaged on the way), the fourth is -EBADMSG
 *   V3  a new record restarts every read that is out
 *
 * The answer's payload is copied to the caller's buffer as soon as it is verified, before the proof
 * is complete: a receive buffer is never kept waiting. The caller looks at it only at done.
 * Thread: the loop's. */

#ifndef CLIENT_READER_H
#define CLIENT_READER_H

#include "client/core.h"

void reader_push(struct lane *l, struct part *p);
/* Issue what waits; in the client's turn, before reader_flush(). */
void reader_pump(struct lane *l);
/* End of turn: this turn's CONFIRMs, one frame per server. */
void reader_flush(struct client *c);
void reader_reply(struct client *c, struct frame *f);
void reader_confirmed(struct client *c, struct link *link, struct frame *f);
/* Everything out is asked for again: the record changed, or a member's connection was lost. */
void reader_restart(struct lane *l);
/* Answers that are overdue count as lost. */
void reader_watch(struct lane *l, uint64_t now_ns);
void reader_abandon(struct part *p);
bool reader_is_idle(const struct lane *l);
void reader_check(const struct lane *l);

#endif
