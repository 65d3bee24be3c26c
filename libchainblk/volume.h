/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* volume - struct chainblk, shared by chainblk.c (open, close, questions) and bridge.c (I/O).
 *
 *	any thread: submit -> incoming --one wake per batch--> loop: waiting -> pieces -> client
 *	user's iovecs <--one copy--> a piece's buffer          done(arg, result)
 *
 *   V1  an operation taken from free_ops completes exactly once and is back there before done() is
 *       entered, so that done() may submit the next
 *   V2  an operation is cut into pieces of at most OP_BYTES_MAX; the first error wins, and the
 *       operation completes when no piece is out any more
 *   V3  memory is bounded: CHAINBLK_QUEUE_MAX operations, PIECES_MAX pieces, the loop's pools;
 *       iovec lists longer than OP_IOV_INLINE are copied to the heap until completion
 *
 * Fields below "lock" are guarded by the loop's lock; the others are the loop thread's after open.
 */

#ifndef LIBCHAINBLK_VOLUME_H
#define LIBCHAINBLK_VOLUME_H

#include "client/client.h"
#include "libchainblk/chainblk.h"
#include "libchainblk/loop.h"

#define OP_IOV_INLINE 8
#define PIECES_MAX 256u
#define DEADLINE_MS_DEFAULT 20000u
#define OPEN_MS_DEFAULT 5000u

enum op_type {
	OP_READ,
	OP_WRITE_DATA,
	OP_FLUSH,
	OP_DISCARD,
	OP_ZEROES,
	OP_SAME,
	OP_COMPARE_WRITE,
	OP_PRESENT_MAP,
};

struct bridge_op {
	struct list link; /* free_ops, incoming or waiting; else all its pieces are out */
	struct chainblk *vol;
	enum op_type type;
	uint64_t offset_bytes, len_bytes;
	uint64_t cursor_bytes; /* cut into pieces up to here */
	uint64_t deadline_ns;
	uint32_t pieces_out;
	struct chainblk_result result;
	struct iovec iov_inline[OP_IOV_INLINE], *iov;
	int iov_n;
	uint8_t *copy;    /* malloced: pattern, or compare and write bytes */
	uint8_t *present; /* the user's bitmap */
	chainblk_done_fn *done;
	void *arg;
};

struct piece {
	struct list link; /* pieces_free */
	struct client_req req;
	struct bridge_op *op;
	uint64_t at_bytes; /* from the operation's start */
};

struct chainblk {
	struct loop *loop;
	struct env *env;
	struct client *client;
	struct chainblk_options opt; /* strings below */
	char cfg[SERVER_ADDRS_MAX * ADDR_BYTES];
	char name[NAME_BYTES];
	char insecure_lab[ADDR_BYTES];
	bool deleting;

	struct list waiting; /* ops not yet cut to the end, oldest first */
	struct piece *pieces;
	struct list pieces_free;
	uint32_t pieces_out;
	struct env_task intake_task;
	struct env_timer timer; /* deadline of the first waiting op, or another try */
	bool stopping;

	/* lock: */
	struct chainblk_info info;
	struct bridge_op *ops;
	struct list free_ops, incoming;
	uint32_t active_n; /* ops not on free_ops */
	bool woken;        /* a wake-up is on its way */
	bool closing;
	bool opened; /* open_res is set */
	int open_res;
	char open_err[CHAINBLK_ERR_BYTES];
	struct where_call *where_calls;
};

/* A question that only the loop thread can answer. */
struct where_call {
	struct where_call *next;
	uint64_t offset_bytes;
	struct chainblk_where *ret;
	int res;
	bool answered;
};

/* bridge.c */
size_t bridge_memory(void);
void bridge_init(struct chainblk *v, struct arena *a);
void bridge_intake(struct chainblk *v); /* on the loop: after a wake-up */

/* chainblk.c */
void volume_answer_where(struct chainblk *v);
void volume_stop(struct chainblk *v); /* closing, and nothing is active any more */
int volume_open(const struct chainblk_options *opt, bool deleting, struct chainblk **ret_vol,
		char err[CHAINBLK_ERR_BYTES]);

#endif
