/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The head: what may become an op, and its number. Everything that can be refused is refused here,
 * before numbering (W8); after that the chain owes the client an answer. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

#include "lib/crc.h"

#define REQ(f) ((const struct wire_request *)(const void *)(f)->meta)

static const uint32_t *req_crcs(const struct frame *f)
{
	return (const uint32_t *)(const void *)(f->meta + sizeof(struct wire_request));
}

/* ---- answers ---- */

void head_reply(struct node *n, const struct op_rec *rec, uint64_t epoch)
{
	struct session *s = session_find(n, &rec->client, ROLE_CLIENT);
	struct frame *f = s ? node_frame(n, WIRE_REPLY, sizeof(struct wire_reply)) : NULL;

	if (!f)
		return; /* not connected: it asks again in its next session, X3 */
	*(struct wire_reply *)(void *)f->meta = (struct wire_reply){
		.req_no = rec->req_no,
		.session = rec->session,
		.status = rec->result,
		.offset_bytes = rec->offset_bytes,
	};
	f->hdr.chain = rec->chain;
	f->hdr.epoch = epoch;
	f->hdr.seq = rec->seq;
	f->hdr.to = s->peer;
	node_send(n, s->c, f);
}

void head_refuse(struct node *n, const struct frame *f, int status)
{
	const struct op_rec rec = {
		.chain = f->hdr.chain,
		.client = f->hdr.from,
		.req_no = REQ(f)->req_no,
		.session = REQ(f)->session,
		.result = status,
	};
	struct session *s = session_find(n, &f->hdr.from, ROLE_CLIENT);

	if (s && status == -ESTALE)
		node_send_stale(n, s->c, f->hdr.chain);
	head_reply(n, &rec, f->hdr.epoch);
}

/* ---- checks ---- */

int head_chain(struct node *n, const struct wire_hdr *h, struct replica **ret_r)
{
	struct replica *r = node_replica(n, h->chain);

	if (n->failed)
		return -EIO;
	if (!r || !r->repl.in) {
		const struct map_chain *rec = chain_map_chain(n->map, h->chain);

		/* The record the client acts by has not reached us, or is being installed. */
		if (!rec || h->epoch > rec->epoch ||
		    (h->epoch == rec->epoch && r && r->state == RS_INSTALLING))
			return -EAGAIN;
		return -ESTALE;
	}
	if (h->epoch < r->repl.epoch)
		return -ESTALE;
	if (h->epoch > r->repl.epoch)
		return -EAGAIN; /* the newer record is on its way to us */
	*ret_r = r;
	return 0;
}

int head_volume(const struct node *n, const struct wire_hdr *h, uint64_t volume, uint64_t extent,
		uint64_t generation, const struct map_volume **ret_v)
{
	const struct map_volume *v = chain_map_volume(n->map, volume);

	/* A client may have a newer map than we: BUSY, until ours has come. */
	if (!v)
		return volume > n->volume_seen && volume != 0 ? -EAGAIN : -ENOENT;
	if (generation < v->generation)
		return -EROFS;
	if (generation > v->generation)
		return -EAGAIN;
	if (map_volume_lane(v, extent) != h->chain)
		return -EINVAL;
	*ret_v = v;
	return 0;
}

static int check_range(const struct map_volume *v, const struct wire_request *q)
{
	uint64_t end = q->extent * EXTENT_BYTES + q->offset_bytes + q->len_bytes;

	if ((q->offset_bytes | q->len_bytes) % v->sector_bytes != 0)
		return -EINVAL;
	if (v->state != VOLUME_NORMAL && q->kind != REQ_UNMAP)
		return -ENOENT;
	/* Volumes only grow, so a longer one is one whose new record has not reached us yet. */
	return end <= v->size_bytes ? 0 : -EAGAIN;
}

static int check_request_volume(struct replica *r, const struct frame *f)
{
	const struct wire_request *q = REQ(f);
	const struct map_volume *v;
	int rc;

	/* A client says good-bye even when its volume is gone already. */
	if (q->kind == REQ_CLOSE)
		return 0;
	rc = head_volume(r->n, &f->hdr, q->volume, q->extent, q->generation, &v);
	/* SESSION is for a lane, not for an extent. */
	if (q->kind == REQ_SESSION && rc == -EINVAL)
		return 0;
	if (rc < 0 || q->kind == REQ_SESSION)
		return rc;
	return check_range(v, q);
}

static enum op_kind op_kind_of(const struct wire_request *q)
{
	switch ((enum wire_req_kind)q->kind) {
	case REQ_UNMAP:
		return OP_UNMAP;
	case REQ_WRITE_SAME:
		return OP_WRITE_SAME;
	case REQ_SESSION:
		return OP_SESSION;
	case REQ_CLOSE:
		return OP_CLOSE;
	case REQ_WRITE:
	case REQ_CAW:
	case REQ_KIND_END:
		break;
	}
	return OP_WRITE;
}

/* X2: numbered before. Committed: we may say so ourselves. Else the tail answers at commit; DUP
 * makes it answer again if it has done so, and we do when we hear of the commit. */
static void again(struct replica *r, const struct frame *f, const struct store_req_answer *known)
{
	struct wire_dup dup = {.client = f->hdr.from, .req_no = REQ(f)->req_no};
	struct slot *s = replica_slot(r, known->seq);

	if (known->seq <= r->repl.commit) {
		const struct op_rec rec = {
			.seq = known->seq,
			.chain = r->chain,
			.client = f->hdr.from,
			.req_no = REQ(f)->req_no,
			.session = REQ(f)->session,
			.result = known->result,
			.offset_bytes = known->offset_bytes,
		};

		head_reply(r->n, &rec, r->repl.epoch);
		return;
	}
	if (s) {
		s->asked_again = true;
		s->session_again = REQ(f)->session;
	}
	if (dup.req_no != 0)
		forward_dup(r, known->seq, &dup);
}

static int check_table(struct replica *r, const struct frame *f)
{
	const struct wire_request *q = REQ(f);
	struct store_req_answer known;

	store_req_lookup(r->n->store, r->chain, &f->hdr.from, q->req_no, q->low, q->session,
			 op_kind_of(q), &known);
	switch (known.state) {
	case STORE_REQ_NEW:
		return 0;
	case STORE_REQ_KNOWN:
#ifdef PLANT_RETRY_RENUMBERED
		if (q->kind != REQ_SESSION)
			return 0;
#endif
		again(r, f, &known);
		return -EEXIST;
	case STORE_REQ_BELOW_LOW:
	case STORE_REQ_AHEAD:
		return -EINVAL;
	case STORE_REQ_OLD_SESSION:
		/* X3. The client itself has moved on; an answer would be to a question it asks
		 * again under the new number. */
		return known.session > q->session ? -EEXIST : -ENOTCONN;
	case STORE_REQ_NO_CLIENT:
		return -ENOTCONN; /* a session first */
	case STORE_REQ_FULL:
		return -EUSERS;
	}
	return -EIO;
}

int head_check(struct replica *r, const struct frame *f)
{
	const struct wire_request *q = REQ(f);
	bool reserved = q->kind == REQ_SESSION || q->kind == REQ_CLOSE;
	int rc;

	/* Not while ops of an earlier life are undecided: the table would speak of them. */
	if (!r->repl.is_head)
		return -ESTALE;
	if (r->repl.commit < r->repl.barrier)
		return -EAGAIN;
	rc = check_table(r, f);
	if (rc < 0)
		return rc;
	if (r->n->stopping)
		return -EAGAIN;
	rc = check_request_volume(r, f);
	if (rc < 0)
		return rc;
	return repl_may_number(&r->repl, reserved);
}

/* ---- numbering ---- */

/* Pages of the op's range that committed content has not got yet. */
static uint32_t pages_missing(struct replica *r, const struct wire_request *q,
			      const struct head_op *op)
{
	uint8_t present[EXTENT_BLOCKS / 8];
	uint32_t n = 0;

	store_present(r->n->store, q->volume, q->extent, present);
	for (uint32_t page = op->block / PAGE_BLOCKS;
	     page <= (op->block + op->blocks - 1) / PAGE_BLOCKS; page++) {
		const uint8_t *bits = &present[page * PAGE_BLOCKS / 8];

		if (bits[0] == 0 && bits[1] == 0)
			n++;
	}
	return n;
}

static bool block_is_zero(const uint8_t *block)
{
	static const uint8_t zeros[BLOCK_BYTES];

	return memcmp(block, zeros, BLOCK_BYTES) == 0;
}

/* W8: a store below us that is nearly full must not be made to fail. While there is plenty an upper
 * bound will do; when it gets tight overwrites still pass. */
static int check_credit(struct replica *r, const struct wire_request *q, const struct head_op *op,
			uint32_t *ret_pages)
{
	uint32_t pages;

	*ret_pages = 0;
	if (r->repl.is_tail || (op->kind != OP_WRITE && op->kind != OP_WRITE_SAME))
		return 0;
	if (op->kind == OP_WRITE_SAME && block_is_zero(op->data->data))
		return 0; /* takes no pages, it gives some back */
	pages = (op->block + op->blocks - 1) / PAGE_BLOCKS - op->block / PAGE_BLOCKS + 1;
	if (r->window_pages + (uint64_t)pages >= r->repl.credit_in)
		pages = pages_missing(r, q, op);
	*ret_pages = pages;
	if (pages == 0 || r->window_pages + (uint64_t)pages < r->repl.credit_in)
		return 0;
	return r->window_pages > 0 ? -EAGAIN : -ENOSPC;
}

static void fill_rec(struct op_rec *rec, const struct replica *r, const struct frame *req,
		     const struct head_op *op)
{
	const struct wire_request *q = REQ(req);

	*rec = (struct op_rec){
		.seq = r->repl.recv + 1,
		.epoch = r->repl.epoch,
		.volume = q->volume,
		.extent = q->extent,
		.chain = r->chain,
		.kind = (uint16_t)op->kind,
		.block = op->block,
		.blocks = op->blocks,
		.data_bytes = op->data ? op->data->len_bytes : 0,
		.result = op->result,
		.offset_bytes = op->offset_bytes,
		.session = q->session,
		.client = req->hdr.from,
		.generation = q->generation,
		.req_no = q->req_no,
		.low = q->low,
		.known = r->repl.commit,
		.crcs_n = op->crcs_n,
	};
}

static int number(struct replica *r, const struct frame *req, const struct head_op *op)
{
	uint32_t bytes = op->data ? op->data->len_bytes : 0;
	uint32_t pages;
	struct slot *s;
	int rc = check_credit(r, REQ(req), op, &pages);

	if (rc < 0)
		return rc;
	if (r->window_bytes > 0 && r->window_bytes + bytes > WINDOW_BYTES_MAX)
		return -EAGAIN;
	s = slot_get(r, true);
	if (!s)
		return -EAGAIN;
	fill_rec(&s->op.rec, r, req, op);
	if (op->crcs_n > 0)
		memcpy(s->crcs, op->crcs, op->crcs_n * 4);
	s->op.data = op->data;
	s->op.numbered = false;
	s->pages = pages;
	CHECK(r->appended == r->repl.recv);
	rc = store_append(r->n->store, &s->op);
	if (rc < 0) {
		slot_put(s);
		return rc;
	}
	r->appended++;
	/* From here on it is an op. */
	s->data = op->data;
	replica_ring_add(r, s);
	replica_event(r, REPL_EV_NUMBER, 0);
	s->data = NULL; /* the log has its own reference, and so has the frame */
	r->n->writes_blocks += op->blocks;
	return 0;
}

void head_number(struct replica *r, const struct frame *req, const struct head_op *op)
{
	/* Between arrival and now its session may have ended or its volume gone. */
	int rc = head_check(r, req);

	if (rc == 0)
		rc = number(r, req, op);
	if (rc < 0 && rc != -EEXIST)
		head_refuse(r->n, req, rc);
}

/* The op of a request that needs no merging. */
static struct head_op whole_op(const struct frame *f)
{
	const struct wire_request *q = REQ(f);

	return (struct head_op){
		.kind = op_kind_of(q),
		.block = q->offset_bytes / BLOCK_BYTES,
		.blocks = q->len_bytes / BLOCK_BYTES,
		.crcs = req_crcs(f),
		.crcs_n = q->crcs_n,
		.data = f->data,
	};
}

void head_number_whole(struct replica *r, const struct frame *f)
{
	const struct head_op op = whole_op(f);

	head_number(r, f, &op);
}

static bool payload_is_damaged(const struct frame *f)
{
	const struct wire_request *q = REQ(f);

	if (q->kind == REQ_WRITE && q->crcs_n > 0)
		return wire_blocks_check(f->data->data, req_crcs(f), q->crcs_n, q->volume,
					 q->extent, q->offset_bytes / BLOCK_BYTES) >= 0;
	if (q->kind == REQ_WRITE_SAME)
		return crc_block_anywhere(f->data->data) != req_crcs(f)[0];
	return false; /* WIRE_F_DATA_CRC was checked with the frame */
}

/* Once a second: a client whose memory or version is wrong sends nothing else. */
static void log_damage(struct replica *r)
{
	struct node *n = r->n;
	uint64_t now = n->env->now_ns(n->env);

	if (now < n->damage_log_ns)
		return;
	n->damage_log_ns = now + REPORT_NS;
	env_logf(n->env, ENV_WARN,
		 "chain %u: a client's block does not match its checksum: answered BUSY; if this "
		 "goes on, its memory is bad or its version another",
		 r->chain);
}

/* Checked just now: number it, or have it wait for its blocks. */
static int admit(struct replica *r, struct frame *f)
{
	const struct wire_request *q = REQ(f);
	const struct head_op op = whole_op(f);

	if (payload_is_damaged(f)) {
		log_damage(r);
		return -EAGAIN; /* on the way here most likely: sent again it will be whole */
	}
	if (q->kind != REQ_SESSION && q->kind != REQ_CLOSE && rmw_must_queue(r, f)) {
		rmw_arrive(r, f);
		return 0;
	}
	return number(r, f, &op);
}

void head_request(struct session *s, struct frame *f)
{
	struct node *n = s->n;
	struct replica *r = NULL;
	int rc = head_chain(n, &f->hdr, &r);

	if (rc == 0 && (f->flags & FRAME_DROPPED_DATA))
		rc = -EAGAIN;
	if (rc == 0)
		rc = head_check(r, f);
	if (rc == 0)
		rc = admit(r, f);
	if (rc < 0 && rc != -EEXIST)
		head_refuse(n, f, rc);
}
