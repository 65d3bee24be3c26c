/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What goes to the successor. One cursor per replica, send_next: an op that arrives while the
 * cursor stands on it is forwarded at once with the very buffer it came in (W3); else the pump
 * re-reads from the store what the cursor points at, until it has caught up. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

static void wait_soon(struct replica *r)
{
	if (list_empty(&r->stuck_link))
		list_add_tail(&r->n->stuck, &r->stuck_link);
	node_soon(r->n);
}

static bool queue_is_full(struct replica *r)
{
	struct env *env = r->n->env;

	return env->send_queue_bytes(env, r->down->c) > SEND_QUEUE_MAX;
}

/* Send one op; false when no frame is to be had. The data's reference stays the caller's. */
static bool send_op(struct replica *r, const struct op_rec *rec, const uint32_t *crcs,
		    struct buf *data)
{
	uint32_t crc_bytes = rec->crcs_n * 4;
	struct frame *f = node_chain_frame(r, WIRE_FORWARD, sizeof(*rec) + crc_bytes, rec->seq);

	if (!f)
		return false;
	memcpy(f->meta, rec, sizeof(*rec));
	if (crc_bytes > 0)
		memcpy(f->meta + sizeof(*rec), crcs, crc_bytes);
	if (data)
		frame_set_data(f, buf_ref(data));
	f->hdr.token = r->repl.token;
	f->hdr.to = r->down->incarnation;
	node_send(r->n, r->down->c, f);
	return true;
}

void forward_op(struct replica *r, uint64_t seq)
{
	struct slot *s = replica_slot(r, seq);

	/* Not on it: the pump is behind and will come by. */
	if (r->send_next != seq || !s || r->n->closed)
		return;
	if (queue_is_full(r) || !send_op(r, &s->op.rec, s->crcs, s->data)) {
		wait_soon(r);
		return;
	}
	r->send_next++;
}

static void fetched(struct store_fetch *f, int res)
{
	struct replica *r = CONTAINER_OF(f, struct replica, fetch);
	bool sent = false;

	CHECK(r->fetching);
	r->fetching = false;
	if (res == 0) {
		sent = r->send_next == f->seq && send_op(r, &f->rec, f->crcs, f->data);
		buf_put(f->data);
	}
	if (r->n->failed || r->n->closed)
		return;
	install_undo_go_on(r);
	if (res == -EBADMSG || res == -EIO) {
		node_fail(r->n, "the log cannot be read back for the successor");
	} else if (sent) {
		r->send_next++;
		forward_pump(r);
	} else if (r->send_next != 0 && r->send_next <= r->repl.recv) {
		wait_soon(r);
	}
}

void forward_pump(struct replica *r)
{
	while (r->send_next != 0 && !r->fetching && !r->n->closed) {
		struct slot *s;

		CHECK(r->repl.synced);
		/* Meanwhile the successor may have got further by an earlier copy. */
		if (r->send_next <= r->repl.commit)
			r->send_next = r->repl.commit + 1;
		if (r->send_next > r->repl.recv)
			return;
		if (queue_is_full(r)) {
			wait_soon(r);
			return;
		}
		s = replica_slot(r, r->send_next);
		if (s && (s->data || s->op.rec.data_bytes == 0)) {
			if (!send_op(r, &s->op.rec, s->crcs, s->data)) {
				wait_soon(r);
				return;
			}
			r->send_next++;
			continue;
		}
		r->fetching = true;
		r->fetch.chain = r->chain;
		r->fetch.seq = r->send_next;
		r->fetch.done = fetched;
		store_fetch(r->n->store, &r->fetch);
	}
}

void forward_rewind(struct replica *r, uint64_t seq)
{
	r->send_next = seq;
	if (seq != 0)
		forward_pump(r);
}

void forward_dup(struct replica *r, uint64_t seq, const struct wire_dup *dup)
{
	struct frame *f;

	/* Behind the op itself the order of the stream holds (X2). Where the op has not been sent
	 * yet, or the link is down, nothing is lost: it is answered when it commits. */
	if (!r->down || r->send_next <= seq)
		return;
	f = node_chain_frame(r, WIRE_DUP, sizeof(*dup), seq);
	if (!f)
		return;
	memcpy(f->meta, dup, sizeof(*dup));
	f->hdr.to = r->down->incarnation;
	node_send(r->n, r->down->c, f);
}
