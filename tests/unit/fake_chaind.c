/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_chaind.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc.h"

#define BODY(type, f) ((struct type *)(void *)(f)->meta)

static void note(struct fake_cluster *k, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct fake_cluster *k, const char *fmt, ...)
{
	size_t at = strlen(k->trace);
	va_list ap;

	if (at > FAKE_TRACE_BYTES - 128)
		return;
	va_start(ap, fmt);
	vsnprintf(k->trace + at, FAKE_TRACE_BYTES - at, fmt, ap);
	va_end(ap);
}

static struct frame *new_frame(struct fake_cluster *k, const struct fake_peer *p,
			       enum wire_type type, size_t meta_bytes)
{
	struct frame *f = frame_new(&k->net->frames, type, (uint32_t)meta_bytes);

	CHECK(f != NULL);
	f->hdr.cluster = k->map->hdr.cluster;
	f->hdr.from = p->incarnation;
	return f;
}

static void drop_outbox(struct fake_peer *p)
{
	struct list *it;

	while ((it = list_pop(&p->outbox)))
		frame_put(CONTAINER_OF(it, struct frame, link));
}

/* The client's connection, unless the client closed it. */
static struct env_conn *conn_of(struct fake_peer *p)
{
	if (p->conn && !p->conn->open) {
		p->conn = NULL;
		drop_outbox(p);
	}
	return p->conn;
}

static void post(struct fake_peer *p, struct frame *f)
{
	if (conn_of(p))
		list_add_tail(&p->outbox, &f->link);
	else
		frame_put(f);
}

/* ---- cfgsvc ---- */

void fake_send_map(struct fake_cluster *k)
{
	struct fake_peer *p = &k->peers[0];
	struct frame *f = new_frame(k, p, WIRE_MAP, 0);
	struct buf *b = buf_get(&k->net->bufs, (uint32_t)chain_map_encoded_bytes(k->map), BUF_NODE);

	CHECK(b != NULL);
	chain_map_encode(k->map, b->data);
	frame_set_data(f, b);
	post(p, f);
}

static void on_cfg_frame(struct fake_cluster *k, const struct frame *f)
{
	struct fake_peer *p = &k->peers[0];
	struct frame *answer;
	bool known;

	if (f->hdr.type == WIRE_MAP_GET) {
		fake_send_map(k);
		return;
	}
	CHECK(f->hdr.type == WIRE_OPEN);
	known = k->map->hdr.volumes_n && strcmp(BODY(wire_open, f)->name, "vol") == 0;
	answer = new_frame(k, p, WIRE_OPENED, sizeof(struct wire_opened));
	answer->hdr.tag = f->hdr.tag;
	BODY(wire_opened, answer)->status = known ? 0 : -ENOENT;
	BODY(wire_opened, answer)->volume = known ? FAKE_VOLUME_ID : 0;
	snprintf(BODY(wire_opened, answer)->text, WIRE_TEXT_BYTES, "%s",
		 known ? "" : "no volume of that name");
	post(p, answer);
}

/* ---- the log of a chain ---- */

static void reply(struct fake_cluster *k, struct fake_chain *c, uint32_t position,
		  const struct wire_reply *r, uint64_t seq)
{
	struct fake_peer *p = &k->peers[c->rec.in[position].server];
	struct frame *f = new_frame(k, p, WIRE_REPLY, sizeof(*r));

	f->hdr.chain = c->rec.id;
	f->hdr.epoch = c->rec.epoch;
	f->hdr.seq = seq;
	*BODY(wire_reply, f) = *r;
	post(p, f);
}

static void tail_answers(struct fake_cluster *k, struct fake_chain *c, uint64_t no,
			 uint32_t session)
{
	reply(k, c, c->rec.in_n - 1,
	      &(struct wire_reply){.req_no = no,
				   .session = session,
				   .status = c->status[no],
				   .offset_bytes = c->offset[no]},
	      1);
}

static void apply(struct fake_cluster *k, struct fake_chain *c, const struct fake_op *op)
{
	const struct wire_request *q = &op->req;
	uint64_t at = q->extent * EXTENT_BYTES + q->offset_bytes;
	uint8_t *to = k->disk + at;
	uint64_t first = at / BLOCK_BYTES,
		 end = (at + q->len_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
	const uint8_t *from = op->data ? op->data->data : NULL;

	switch ((enum wire_req_kind)q->kind) {
	case REQ_WRITE:
		memcpy(to, from, q->len_bytes);
		break;
	case REQ_WRITE_SAME:
		for (uint64_t b = first; b < end; b++)
			memcpy(k->disk + b * BLOCK_BYTES, from, BLOCK_BYTES);
		break;
	case REQ_UNMAP:
		memset(to, 0, q->len_bytes);
		break;
	case REQ_CAW:
		for (uint32_t i = 0; i < q->len_bytes; i++) {
			if (to[i] != from[i]) {
				c->status[q->req_no] = -EILSEQ;
				c->offset[q->req_no] = i;
				return;
			}
		}
		memcpy(to, from + q->len_bytes, q->len_bytes);
		break;
	case REQ_SESSION:
	case REQ_CLOSE:
	case REQ_KIND_END:
		return;
	}
	for (uint64_t b = first; b < end; b++)
		k->present[b] = q->kind != REQ_UNMAP;
}

static void commit_one(struct fake_cluster *k, struct fake_chain *c)
{
	struct fake_op *op = CONTAINER_OF(list_pop(&c->pending), struct fake_op, link);

	CHECK(c->known[op->req.req_no] == 1);
	c->known[op->req.req_no] = 2;
	c->commit++;
	apply(k, c, op);
	if (op->req.kind == REQ_CLOSE)
		c->closed = true;
	tail_answers(k, c, op->req.req_no, op->req.session);
	buf_put(op->data);
	free(op);
}

void fake_chain_drop(struct fake_chain *c)
{
	struct list *it;

	while ((it = list_pop(&c->pending))) {
		buf_put(CONTAINER_OF(it, struct fake_op, link)->data);
		free(CONTAINER_OF(it, struct fake_op, link));
	}
}

static const char *kind_name(const struct wire_request *q)
{
	static const char *const names[] = {"?",   "WRITE",   "UNMAP", "WRITE_SAME",
					    "CAW", "SESSION", "CLOSE"};

	return names[q->kind];
}

static void refuse(struct fake_cluster *k, struct fake_chain *c, const struct wire_request *q,
		   int status)
{
	reply(k, c, 0,
	      &(struct wire_reply){.req_no = q->req_no, .session = q->session, .status = status},
	      0);
}

/* X6. A daemon reads nothing from an old connection once there is a newer one, so no ghost comes
 * after its client was told. */
void fake_forget(struct fake_cluster *k, uint32_t id)
{
	struct fake_chain *c = &k->chains[id - 1];

	while (k->ghosts_n)
		frame_put(k->ghosts[--k->ghosts_n].f);
	c->forgotten = true;
	c->session = 0;
}

/* ... and it has given up every number it used before. */
static void begin_again(struct fake_chain *c, const struct wire_request *q)
{
	for (uint64_t no = q->low; no < q->low + REQ_OUTSTANDING_MAX; no++)
		CHECK(!c->known[no]);
	c->forgotten = false;
}

/* W1, X1 to X3 at the head. */
static void on_request(struct fake_cluster *k, struct fake_chain *c, const struct frame *f)
{
	const struct wire_request *q = BODY(wire_request, f);
	bool session = q->kind == REQ_SESSION;
	struct fake_op *op;

	CHECK(q->req_no > 0);
	CHECK(q->req_no < FAKE_NUMBERS_MAX);
	if (q->kind == REQ_WRITE && q->crcs_n)
		CHECK(wire_blocks_check(f->data->data, (uint32_t *)(void *)(f->meta + sizeof(*q)),
					q->crcs_n, q->volume, q->extent,
					q->offset_bytes / BLOCK_BYTES) < 0);
	if (f->hdr.epoch != c->rec.epoch) {
		refuse(k, c, q, -ESTALE);
		return;
	}
	if (c->forgotten && !(session && q->session == 1)) {
		refuse(k, c, q, -ENOTCONN);
		return;
	}
	if (session ? q->session < c->session : q->session != c->session)
		return;            /* fenced: the client has a newer session */
	if (c->known[q->req_no]) { /* X2: DUP */
		if (c->known[q->req_no] == 2)
			tail_answers(k, c, q->req_no, q->session);
		return;
	}
	if (q->req_no < c->low)
		return;
	if (k->busy_n || fake_random(k->net) % 100 < k->busy_percent) {
		k->busy_n -= k->busy_n ? 1 : 0;
		refuse(k, c, q, -EAGAIN);
		return;
	}
	if (k->fail_status && !session) {
		refuse(k, c, q, k->fail_status);
		return;
	}
	if (c->forgotten)
		begin_again(c, q);
	c->low = MAX(c->low, q->low);
	c->contiguous = MAX(c->contiguous, c->low - 1);
	while (c->known[c->contiguous + 1])
		c->contiguous++;
	CHECK(q->req_no <= c->contiguous + REQ_OUTSTANDING_MAX);
	if (session)
		c->session = q->session;
	c->known[q->req_no] = 1;
	c->seq++;
	op = calloc(1, sizeof(*op));
	CHECK(op != NULL);
	op->req = *q;
	op->data = f->data ? buf_ref(f->data) : NULL;
	list_add_tail(&c->pending, &op->link);
}

static void on_read(struct fake_cluster *k, struct fake_peer *p, const struct frame *f)
{
	const struct wire_read *q = BODY(wire_read, f);
	const struct fake_chain *c = &k->chains[f->hdr.chain - 1];
	uint64_t first = q->extent * EXTENT_BLOCKS + q->block;
	bool again = k->read_again_n > 0, data = q->kind == READ_DATA;
	uint32_t crcs_n = !again && data ? q->blocks : 0;
	struct frame *a = new_frame(k, p, WIRE_READ_REPLY,
				    sizeof(struct wire_read_reply) + crcs_n * sizeof(uint32_t));
	uint32_t *crcs = (uint32_t *)(void *)(a->meta + sizeof(struct wire_read_reply));
	struct buf *b;

	CHECK(c->rec.in[c->rec.in_n - 1].server == p->server_id);
	a->hdr.chain = c->rec.id;
	a->hdr.epoch = c->rec.epoch;
	a->hdr.tag = f->hdr.tag;
	*BODY(wire_read_reply, a) = (struct wire_read_reply){.status = again ? -EAGAIN : 0,
							     .block = q->block,
							     .blocks = q->blocks,
							     .crcs_n = crcs_n};
	if (again) {
		k->read_again_n--;
		post(p, a);
		return;
	}
	b = buf_get(&k->net->bufs, data ? q->blocks * BLOCK_BYTES : (q->blocks + 7) / 8, BUF_NODE);
	CHECK(b != NULL);
	memset(b->data, 0, b->len_bytes);
	for (uint32_t i = 0; i < q->blocks; i++) {
		const struct block_addr at = {q->volume, q->extent, q->block + i};
		uint8_t *to = b->data + (size_t)i * BLOCK_BYTES;

		if (!data) {
			b->data[i / 8] |= (uint8_t)(k->present[first + i] << (i % 8));
			continue;
		}
		memcpy(to, k->disk + (first + i) * BLOCK_BYTES, BLOCK_BYTES);
		crcs[i] = crc_block(&at, to);
	}
	if (k->rot_n && data) {
		k->rot_n--;
		b->data[fake_random(k->net) % b->len_bytes] ^= 1;
	}
	frame_set_data(a, b);
	post(p, a);
}

static void on_confirm(struct fake_cluster *k, struct fake_peer *p, const struct frame *f)
{
	uint32_t n = f->hdr.meta_bytes / (uint32_t)sizeof(struct wire_confirm);
	struct frame *a = new_frame(k, p, WIRE_CONFIRMED, f->hdr.meta_bytes);

	a->hdr.tag = f->hdr.tag;
	for (uint32_t i = 0; i < n; i++) {
		struct wire_confirm *w = &BODY(wire_confirm, a)[i];

		*w = BODY(wire_confirm, f)[i];
		w->epoch = k->chains[w->chain - 1].rec.epoch;
		if (k->deny_n) {
			k->deny_n--;
			w->epoch = 0;
		}
	}
	post(p, a);
}

static void on_node_frame(struct fake_cluster *k, struct fake_peer *p, const struct frame *f)
{
	const struct wire_request *q = BODY(wire_request, f);
	struct fake_chain *c = f->hdr.chain ? &k->chains[f->hdr.chain - 1] : NULL;

	/* N1 of node.h */
	if (!id128_eq(&f->hdr.to, &p->incarnation))
		return;
	switch (f->hdr.type) {
	case WIRE_REQUEST:
		note(k, "%s %s %u/%llu; ", p->conn ? "" : "ghost", kind_name(q), q->session,
		     (unsigned long long)q->req_no);
		CHECK(c->rec.in[0].server == p->server_id);
		on_request(k, c, f);
		break;
	case WIRE_READ:
		note(k, " READ s%u; ", p->server_id);
		on_read(k, p, f);
		break;
	case WIRE_CONFIRM:
		note(k, " CONFIRM s%u x%u; ", p->server_id,
		     f->hdr.meta_bytes / (uint32_t)sizeof(struct wire_confirm));
		on_confirm(k, p, f);
		break;
	default:
		CHECK(!"a client sends nothing else to a daemon");
	}
}

/* ---- connections ---- */

void fake_lose(struct fake_cluster *k, struct fake_peer *p, struct env_conn *c)
{
	struct frame *f;

	while ((f = fake_conn_take(c))) {
		if (f->hdr.type == WIRE_REQUEST && k->ghosts_n < FAKE_GHOSTS_MAX) {
			k->ghosts[k->ghosts_n].f = f;
			k->ghosts[k->ghosts_n++].server = p->server_id;
		} else {
			frame_put(f);
		}
	}
	if (p->conn == c) {
		p->conn = NULL;
		drop_outbox(p);
	}
	fake_reset(c);
}

static struct fake_peer *peer_of(struct fake_cluster *k, const char *addr)
{
	for (uint32_t i = 0; i <= FAKE_SERVERS_MAX; i++)
		if (strcmp(k->peers[i].addr, addr) == 0)
			return &k->peers[i];
	return NULL;
}

static void greet(struct fake_cluster *k, struct fake_peer *p, struct env_conn *c)
{
	struct frame *f = new_frame(k, p, WIRE_CONNECTED, sizeof(struct wire_connected));

	*BODY(wire_connected, f) =
		(struct wire_connected){.role = p->server_id ? ROLE_NODE : ROLE_CFG,
					.server_id = p->server_id,
					.window_ops = k->window_ops};
	drop_outbox(p);
	p->conn = c;
	fake_deliver(c, f, p->server_id ? ROLE_NODE : ROLE_CFG);
}

static bool move_conn(struct fake_cluster *k, struct env_conn *c)
{
	struct fake_peer *p = peer_of(k, c->addr);
	struct frame *f;

	if (!p || p->refuse) { /* nobody listens there */
		fake_reset(c);
		return true;
	}
	if (!c->opened) {
		fake_accept(c);
		return true;
	}
	f = fake_conn_take(c);
	if (!f)
		return false;
	if (f->hdr.type == WIRE_CONNECT)
		greet(k, p, c);
	else if (p->server_id)
		on_node_frame(k, p, f);
	else
		on_cfg_frame(k, f);
	frame_put(f);
	return true;
}

static bool held(const struct fake_cluster *k, const struct frame *f)
{
	return (f->hdr.type == WIRE_READ_REPLY && k->hold_reads) ||
	       (f->hdr.type == WIRE_CONFIRMED && k->hold_confirms);
}

static bool move_outbox(struct fake_cluster *k, struct fake_peer *p)
{
	struct frame *f;

	if (!conn_of(p) || list_empty(&p->outbox))
		return false;
	f = CONTAINER_OF(list_first(&p->outbox), struct frame, link);
	if (held(k, f))
		return false;
	list_del(&f->link);
	if (f->hdr.type != WIRE_MAP && f->hdr.type != WIRE_OPENED &&
	    fake_random(k->net) % 100 < k->drop_percent) {
		frame_put(f);
		return true;
	}
	fake_deliver(p->conn, f, p->server_id ? ROLE_NODE : ROLE_CFG);
	return true;
}

bool fake_step(struct fake_cluster *k)
{
	bool moved = false;

	for (uint32_t i = 0; i < k->net->conns_n; i++)
		while (k->net->conns[i] && move_conn(k, k->net->conns[i]))
			moved = true;
	for (uint32_t i = 0; i < k->chains_n && !k->hold_commits; i++) {
		while (!list_empty(&k->chains[i].pending)) {
			commit_one(k, &k->chains[i]);
			moved = true;
		}
	}
	for (uint32_t i = 0; i <= FAKE_SERVERS_MAX; i++)
		while (move_outbox(k, &k->peers[i]))
			moved = true;
	return moved;
}

static void chaos_ghost(struct fake_cluster *k)
{
	uint32_t server, i;
	struct frame *f;

	if (!k->ghosts_n)
		return;
	/* the oldest of a random server: order within one connection holds */
	server = k->ghosts[fake_random(k->net) % k->ghosts_n].server;
	for (i = 0; k->ghosts[i].server != server; i++)
		;
	f = k->ghosts[i].f;
	memmove(&k->ghosts[i], &k->ghosts[i + 1], (--k->ghosts_n - i) * sizeof(k->ghosts[0]));
	on_node_frame(k, &k->peers[server], f);
	frame_put(f);
}

void fake_chaos(struct fake_cluster *k)
{
	uint64_t r = fake_random(k->net) % 1000, pick = fake_random(k->net);
	struct fake_peer *p = &k->peers[pick % (1 + FAKE_SERVERS_MAX)];
	struct fake_chain *c = &k->chains[pick % k->chains_n];
	struct env_conn *conn = k->net->conns_n ? k->net->conns[pick % k->net->conns_n] : NULL;

	if (k->forget_tenths && fake_random(k->net) % 1000 < k->forget_tenths)
		fake_forget(k, c->rec.id);
	else if (r < k->reset_percent && conn_of(p))
		fake_lose(k, p, p->conn);
	else if (r < 20)
		chaos_ghost(k);
	else if (r < 450)
		for (uint32_t i = 0; i < k->net->conns_n; i++) {
			conn = k->net->conns[(i + pick) % k->net->conns_n];
			if (conn && move_conn(k, conn))
				break;
		}
	else if (r < 600 && !list_empty(&c->pending))
		commit_one(k, c);
	else if (r < 900)
		(void)move_outbox(k, p);
	else
		fake_advance(k->net, pick % (r < 990 ? 200000u : 20000000u));
	fake_run(k->net);
}
