/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* reqtab - which requests of which clients a chain has executed (PROTOCOL 2, X1-X3).
 *
 * A table holds the effects of committed ops; what is appended and not yet committed is laid over
 * it when the head asks (pending.c keeps those ops). So undoing an op needs nothing here.
 *
 *   Q1  the table is a function of the ops applied, in order: the same on every replica
 *   Q2  per client only requests in [low, low + 256) are remembered; below: complete or given up
 *   Q3  a table has room for clients_max clients; a new one takes the entry of the least recently
 *       used, that is, of the client whose newest op has the lowest seq
 *   Q4  only SESSION 1 makes an entry; every other op of a client without one leaves no trace
 *
 * Q4 keeps "at most once" under Q3: whoever was forgotten is told so (-ENOTCONN) until it begins
 * again, and it begins again only after giving up every number it had (decision 006).
 *
 * SESSION and CLOSE are known by their session number and their effect, not by a request number.
 * Pure; memory is the caller's. */

#ifndef STORE_REQTAB_H
#define STORE_REQTAB_H

#include "store/format.h"
#include "store/store.h"

struct reqtab {
	struct req_client *clients; /* REQTAB_CLIENTS_MAX, free ones have client == none */
	uint32_t clients_n, clients_max;
};

/* One committed op. */
void reqtab_apply(struct reqtab *t, const struct op_rec *op);
/* A client from a checkpoint; -EBADMSG when it is there already or the table is full. */
MUST_CHECK int reqtab_restore(struct reqtab *t, const struct req_client *from);
const struct req_client *reqtab_find(const struct reqtab *t, const struct id128 *client);

/* What one client's entry is once pending ops are laid over the table: start, overlay each op in
 * seq order, then ask. */
struct req_view {
	const struct id128 *client;
	uint64_t req_no;
	uint32_t clients_n, clients_max;
	bool newcomer; /* the SESSION 1 of another client is pending */
	bool exists, found;
	uint32_t session;
	uint64_t session_seq, low;
	uint64_t seq;
	int32_t result;
	uint32_t offset_bytes;
};
void req_view_init(struct req_view *v, const struct reqtab *t, const struct id128 *client,
		   uint64_t req_no);
void req_view_overlay(struct req_view *v, const struct op_rec *op);
void req_view_answer(const struct req_view *v, uint64_t low, uint32_t session, unsigned kind,
		     struct store_req_answer *ret);

#endif
