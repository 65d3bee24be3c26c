/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Carries out what repl.c decides for one replica: slots and ring, the log, answers to clients. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

#include "lib/crc.h"

/* ---- slots ---- */

struct slot *slot_get(struct replica *r, bool client)
{
	struct node *n = r->n;
	struct list *item;
	struct slot *s;
	bool shared = r->own_used >= SLOTS_OWN;
	/* Heads leave half of the shared part to what predecessors send: an op another head has
	 * numbered must find room, one not yet numbered can wait outside (N3). */
	uint32_t max = client ? n->slots_shared_max / 2 : n->slots_shared_max;

	if (shared && n->slots_shared >= max)
		return NULL;
	item = list_pop(&n->free_slots);
	CHECK(item != NULL);
	s = CONTAINER_OF(item, struct slot, link);
	CHECK(s->r == NULL);
	s->r = r;
	s->shared = shared;
	s->in_ring = s->asked_again = false;
	s->pages = 0;
	s->data = NULL;
	memset(&s->op, 0, sizeof(s->op));
	s->op.crcs = s->crcs;
	s->op.done = slot_durable;
	s->op.released = slot_released;
	if (shared)
		n->slots_shared++;
	else
		r->own_used++;
	return s;
}

void slot_put(struct slot *s)
{
	struct replica *r = s->r;

	CHECK(!s->in_ring);
	CHECK(s->data == NULL);
	if (s->shared)
		r->n->slots_shared--;
	else
		r->own_used--;
	s->r = NULL;
	list_add_head(&r->n->free_slots, &s->link);
}

struct slot *replica_slot(const struct replica *r, uint64_t seq)
{
	struct slot *s = r->ring[seq % WINDOW_OPS_MAX];

	return s && s->op.rec.seq == seq ? s : NULL;
}

void replica_ring_add(struct replica *r, struct slot *s)
{
	struct slot **at = &r->ring[s->op.rec.seq % WINDOW_OPS_MAX];

	CHECK(*at == NULL);
	*at = s;
	s->in_ring = true;
	r->window_bytes += s->op.rec.data_bytes;
	r->window_pages += s->pages;
}

void replica_ring_del(struct replica *r, struct slot *s)
{
	struct slot **at = &r->ring[s->op.rec.seq % WINDOW_OPS_MAX];

	CHECK(*at == s);
	*at = NULL;
	s->in_ring = false;
	r->window_bytes -= s->op.rec.data_bytes;
	r->window_pages -= s->pages;
}

/* ---- the log ---- */

void slot_durable(struct store_op *op, int res)
{
	struct slot *s = CONTAINER_OF(op, struct slot, op);
	struct replica *r = s->r;

	if (res < 0) {
		if (!r->n->closed)
			node_fail(r->n, "a write to the store failed");
		return;
	}
	replica_event(r, REPL_EV_DURABLE, op->rec.seq);
	install_undo_go_on(r);
}

void slot_released(struct store_op *op)
{
	struct slot *s = CONTAINER_OF(op, struct slot, op);

	CHECK(!s->in_ring);
	slot_put(s);
}

/* Append what waits in the ring, in order. A replica may not refuse a numbered op (W8): it waits
 * for log space or it fails. */
void replica_persist(struct replica *r)
{
	struct node *n = r->n;

	while (r->appended < r->repl.recv && !n->failed && !n->closed) {
		struct slot *s = replica_slot(r, r->appended + 1);
		int rc;

		CHECK(s != NULL);
		s->op.data = s->data;
		s->op.numbered = true;
		rc = store_append(n->store, &s->op);
		if (rc == -EAGAIN) {
			if (list_empty(&r->persist_link))
				list_add_tail(&n->persists, &r->persist_link);
			return;
		}
		if (rc < 0) {
			node_fail(n, rc == -ENOSPC ? "the store is full below the head"
						   : "the store refuses writes");
			return;
		}
		r->appended++;
		buf_put(s->data);
		s->data = NULL;
	}
	list_del(&r->persist_link);
}

/* ---- answers ---- */

static void answer_one(struct replica *r, struct slot *s)
{
	struct op_rec rec = s->op.rec;

	if (rec.kind == OP_NOP)
		return;
	if (s->asked_again)
		rec.session = s->session_again;
	head_reply(r->n, &rec, r->repl.epoch);
}

static void commit_to(struct replica *r, uint64_t from, uint64_t to)
{
	store_commit(r->n->store, r->chain, to);
	/* Slots are younger than the window is long. */
	if (to - from > WINDOW_OPS_MAX)
		from = to - WINDOW_OPS_MAX;
	for (uint64_t seq = from + 1; seq <= to; seq++) {
		struct slot *s = replica_slot(r, seq);

		if (!s)
			continue; /* of an earlier life: nobody waits for it */
		replica_ring_del(r, s);
#ifdef PLANT_ACK_ON_RECEIPT
		if (r->repl.is_tail)
			continue;
#endif
		/* W5. The head helps where the tail's answer may have gone to a connection that was
		 * no more. */
		if (r->repl.is_tail || s->asked_again)
			answer_one(r, s);
	}
}

/* ---- actions ---- */

static void say_hello(struct replica *r, uint64_t recv)
{
	struct frame *f;

	if (!r->down || r->down->state != PEER_UP)
		return;
	f = node_chain_frame(r, WIRE_HELLO, 0, recv);
	if (!f)
		return; /* HELLO_DUE asks again */
	f->hdr.token = r->repl.token;
	f->hdr.to = r->down->incarnation;
	node_send(r->n, r->down->c, f);
}

static void tell_pred(struct replica *r, enum wire_type type, uint64_t seq)
{
	struct session *up = session_find(r->n, &r->repl.pred, ROLE_NODE);
	struct frame *f = up ? node_chain_frame(r, type, 0, seq) : NULL;

	if (!f)
		return;
	f->hdr.credit = replica_credit(r);
	f->hdr.to = r->repl.pred;
	node_send(r->n, up->c, f);
}

/* A lost payload is asked for as soon as buffers may be free again; what was asked for is given
 * time to come, or every NAK would have the whole window sent once more. */
static void nak_later(struct replica *r, bool asked)
{
	struct env *env = r->n->env;

	if (!session_find(r->n, &r->repl.pred, ROLE_NODE))
		return; /* its next HELLO starts over */
	r->nak_ns = env->now_ns(env) + (asked ? NAK_AGAIN_NS : SOON_NS);
	if (list_empty(&r->nak_link))
		list_add_tail(&r->n->naks, &r->nak_link);
	node_soon(r->n);
}

void replica_act(struct replica *r, const struct repl_actions *todo)
{
	for (unsigned i = 0; i < todo->n; i++) {
		uint64_t seq = todo->a[i].seq;

		switch (todo->a[i].type) {
		case REPL_DO_PERSIST:
			/* The op's payload must still be in the slot when it is forwarded, which is
			 * the next action if there is one. */
			break;
		case REPL_DO_FORWARD:
			forward_op(r, seq);
			break;
		case REPL_DO_REWIND:
			forward_rewind(r, seq);
			break;
		case REPL_DO_STOP:
			forward_rewind(r, 0);
			break;
		case REPL_DO_TOKEN:
			peers_token(r);
			break;
		case REPL_DO_COMMIT:
			commit_to(r, r->commit_done, seq);
			r->commit_done = seq;
			break;
		case REPL_DO_COMMIT_UP:
			peers_commit(r);
			break;
		case REPL_DO_HELLO:
			say_hello(r, seq);
			break;
		case REPL_DO_HELLO_ACK:
			tell_pred(r, WIRE_HELLO_ACK, seq);
			break;
		case REPL_DO_NAK:
			tell_pred(r, WIRE_NAK, seq);
			break;
		case REPL_DO_NAK_LATER:
			nak_later(r, i > 0 && todo->a[i - 1].type == REPL_DO_NAK);
			break;
		case REPL_DO_UNDO:
			install_undo(r, seq);
			break;
		}
	}
	replica_persist(r);
}

void replica_event(struct replica *r, enum repl_event_type type, uint64_t seq)
{
	const struct repl_event ev = {.type = type, .seq = seq};
	struct repl_actions todo;
	int rc = repl_step(&r->repl, &ev, &todo);

	CHECK(rc == 0);
	replica_act(r, &todo);
}

/* ---- frames of neighbours ---- */

/* Feed one event that came on @c. True when it was taken. */
static bool peer_event(struct replica *r, struct env_conn *c, const struct repl_event *ev,
		       struct repl_actions *ret_do)
{
	int rc = repl_step(&r->repl, ev, ret_do);

	if (rc == -ESTALE)
		node_send_stale(r->n, c, r->chain);
	if (rc == -EPROTO)
		env_logf(r->n->env, ENV_ERR,
			 "chain %u: neighbour says seq %llu where we have %llu received, %llu "
			 "committed;"
			 " ignored (event %d)",
			 r->chain, (unsigned long long)ev->seq, (unsigned long long)r->repl.recv,
			 (unsigned long long)r->repl.commit, (int)ev->type);
	return rc == 0;
}

static bool op_is_damaged(const struct op_rec *rec, const uint32_t *crcs, const struct buf *data)
{
	if (rec->kind == OP_WRITE)
		return wire_blocks_check(data->data, crcs, rec->blocks, rec->volume, rec->extent,
					 rec->block) >= 0;
	if (rec->kind == OP_WRITE_SAME)
		return crc_block_anywhere(data->data) != crcs[0];
	return false;
}

/* The op's place in memory: where W2 can take it. NULL: it cannot be kept, now or at all. */
static struct slot *take_op(struct replica *r, const struct frame *f)
{
	const struct op_rec *rec = (const struct op_rec *)(const void *)f->meta;
	const uint32_t *crcs = (const uint32_t *)(const void *)(f->meta + sizeof(*rec));
	struct slot *s;

	if ((f->flags & FRAME_DROPPED_DATA) || op_is_damaged(rec, crcs, f->data))
		return NULL;
	s = slot_get(r, false);
	if (!s)
		return NULL;
	s->op.rec = *rec;
	s->op.rec.known = r->repl.commit;
	memcpy(s->crcs, crcs, rec->crcs_n * 4);
	s->data = f->data ? buf_ref(f->data) : NULL;
	return s;
}

static void on_forward(struct replica *r, struct session *up, struct frame *f)
{
	struct repl_event ev = {.type = REPL_EV_WRITE,
				.epoch = f->hdr.epoch,
				.from = f->hdr.from,
				.seq = f->hdr.seq,
				.token = f->hdr.token};
	struct repl_actions todo = {.n = 0};
	struct slot *s = NULL;
	uint64_t recv = r->repl.recv;

	/* Repeats, and what lies behind a gap, need no slot. */
#ifdef PLANT_ACCEPT_WRONG_SEQ
	if (ev.seq != recv) {
#else
	if (ev.seq == recv + 1) {
#endif
		s = take_op(r, f);
		if (!s)
			ev.type = REPL_EV_LOST;
	}
	if (peer_event(r, up->c, &ev, &todo) && r->repl.recv > recv) {
		CHECK(s != NULL);
		s->op.rec.seq = r->repl.recv;
		replica_ring_add(r, s);
#ifdef PLANT_ACK_ON_RECEIPT
		if (r->repl.is_tail)
			answer_one(r, s);
#endif
	} else if (s) {
		buf_put(s->data);
		s->data = NULL;
		slot_put(s);
	}
	replica_act(r, &todo);
}

static void on_dup(struct replica *r, const struct frame *f)
{
	const struct wire_dup *dup = (const struct wire_dup *)(const void *)f->meta;
	struct op_rec rec = {.seq = f->hdr.seq, .client = dup->client, .req_no = dup->req_no};
	struct store_req_answer known;

	if (!r->repl.in || f->hdr.epoch != r->repl.epoch || !id128_eq(&f->hdr.from, &r->repl.pred))
		return;
	if (!r->repl.is_tail) {
		forward_dup(r, f->hdr.seq, dup);
		return;
	}
	/* Not committed yet: the op's own commit will answer, to the client's newest connection. */
	if (f->hdr.seq > r->repl.commit)
		return;
	/* Asked with no session the table tells the current one; asked with that, the result. */
	store_req_lookup(r->n->store, r->chain, &dup->client, dup->req_no, 0, 0, OP_NOP, &known);
	rec.session = known.session;
	store_req_lookup(r->n->store, r->chain, &dup->client, dup->req_no, 0, rec.session, OP_NOP,
			 &known);
	if (known.state != STORE_REQ_KNOWN || known.seq > r->repl.commit)
		return;
	rec.result = known.result;
	rec.offset_bytes = known.offset_bytes;
	rec.chain = r->chain;
	head_reply(r->n, &rec, r->repl.epoch);
}

static void on_marks(struct node *n, struct env_conn *c, const struct frame *f)
{
	const struct wire_mark *m = (const struct wire_mark *)(const void *)f->meta;
	bool tokens = f->hdr.type == WIRE_TOKENS;

	for (uint32_t i = 0; i < f->hdr.meta_bytes / sizeof(*m); i++) {
		const struct repl_event ev = {
			.type = tokens ? REPL_EV_TOKEN : REPL_EV_COMMIT,
			.epoch = m[i].epoch,
			.from = f->hdr.from,
			.seq = m[i].seq,
			.token = m[i].seq,
			.credit = m[i].commit,
		};
		struct replica *r = node_replica(n, m[i].chain);
		struct repl_actions todo;

		if (r && peer_event(r, c, &ev, &todo))
			replica_act(r, &todo);
	}
}

static void on_plain(struct replica *r, struct env_conn *c, const struct frame *f,
		     enum repl_event_type type)
{
	const struct repl_event ev = {.type = type,
				      .epoch = f->hdr.epoch,
				      .from = f->hdr.from,
				      .seq = f->hdr.seq,
				      .token = f->hdr.token,
				      .credit = f->hdr.credit};
	struct repl_actions todo;

	if (peer_event(r, c, &ev, &todo))
		replica_act(r, &todo);
}

void replica_from_pred(struct node *n, struct session *s, struct frame *f)
{
	struct replica *r = node_replica(n, f->hdr.chain);

	if (f->hdr.type == WIRE_TOKENS)
		on_marks(n, s->c, f);
	else if (!r || n->failed)
		return;
	else if (f->hdr.type == WIRE_FORWARD)
		on_forward(r, s, f);
	else if (f->hdr.type == WIRE_HELLO)
		on_plain(r, s->c, f, REPL_EV_HELLO);
	else if (f->hdr.type == WIRE_DUP)
		on_dup(r, f);
}

void replica_from_succ(struct node *n, struct env_conn *c, struct frame *f)
{
	struct replica *r = node_replica(n, f->hdr.chain);

	if (f->hdr.type == WIRE_COMMITS)
		on_marks(n, c, f);
	else if (!r || n->failed)
		return;
	else if (f->hdr.type == WIRE_HELLO_ACK)
		on_plain(r, c, f, REPL_EV_HELLO_ACK);
	else if (f->hdr.type == WIRE_NAK)
		on_plain(r, c, f, REPL_EV_NAK);
}

/* ---- life ---- */

/* W8. Pages that every member from here down may still fill with this chain's ops, plus one; 0
 * while the chain below us is cut or we are about to stop. Chains share the store: each is told its
 * part, but enough for two of the largest ops as long as that is a quarter of what is free. */
uint64_t replica_credit(const struct replica *r)
{
	struct node *n = r->n;
	uint64_t own;

	if (n->stopping || n->failed || !n->store_open || !r->repl.in)
		return REPL_CREDIT_NONE;
	if (!r->repl.is_tail && (!r->repl.synced || r->repl.credit_in == REPL_CREDIT_NONE))
		return REPL_CREDIT_NONE;
	own = 1 + (uint64_t)store_credit(n->store, r->chain);
	return r->repl.is_tail ? own : MIN(own, r->repl.credit_in);
}

void replica_init(struct replica *r, struct node *n, const struct store_chain_info *info)
{
	memset(r, 0, sizeof(*r));
	r->n = n;
	r->chain = info->chain;
	r->stored_epoch = info->epoch;
	r->history = info->history;
	r->appended = info->last;
	r->commit_done = info->committed;
	repl_init(&r->repl, info->committed, info->last);
	list_init(&r->down_link);
	list_init(&r->token_link);
	list_init(&r->commit_link);
	list_init(&r->stuck_link);
	list_init(&r->nak_link);
	list_init(&r->persist_link);
	list_init(&r->rmws);
}

void replica_check(const struct replica *r)
{
	uint32_t bytes = 0, pages = 0;

	repl_check(&r->repl);
	CHECK(r->appended <= r->repl.recv);
	CHECK(r->repl.durable <= r->appended);
	CHECK((r->send_next == 0) == !r->repl.synced);
	CHECK(r->commit_done == r->repl.commit);
	for (unsigned i = 0; i < WINDOW_OPS_MAX; i++) {
		const struct slot *s = r->ring[i];

		if (!s)
			continue;
		CHECK(s->in_ring);
		CHECK(s->op.rec.seq % WINDOW_OPS_MAX == i);
		CHECK(s->op.rec.seq > r->repl.commit);
		bytes += s->op.rec.data_bytes;
		pages += s->pages;
	}
	CHECK(bytes == r->window_bytes);
	CHECK(pages == r->window_pages);
}
