/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/invariants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc.h"
#include "sim/wrap.h"

#define DEEP_EVERY 4096u /* events of a node between two slow checks of it */

static struct invariants *invariants_current;

/* ---- tables ---- */

static struct inv_entry *entry_at(struct inv_entry **ops, uint64_t *cap, uint64_t seq)
{
	uint64_t want = *cap;

	while (seq >= want)
		want = MAX((uint64_t)1024, 2 * want);
	if (want != *cap) {
		*ops = realloc(*ops, want * sizeof(**ops));
		CHECK(*ops);
		memset(*ops + *cap, 0, (want - *cap) * sizeof(**ops));
		*cap = want;
	}
	return &(*ops)[seq];
}

/* False when it was there already. */
static bool requests_add(struct inv_chain *c, uint64_t key)
{
	if (2 * c->requests_n >= c->requests_cap) {
		uint64_t cap = MAX((uint64_t)2048, 2 * c->requests_cap), *old = c->requests;
		uint64_t old_cap = c->requests_cap;

		c->requests = calloc(cap, sizeof(uint64_t));
		CHECK(c->requests);
		c->requests_cap = cap;
		c->requests_n = 0;
		for (uint64_t i = 0; i < old_cap; i++)
			if (old[i])
				requests_add(c, old[i]);
		free(old);
	}
	for (uint64_t i = rng_mix(key) & (c->requests_cap - 1);;
	     i = (i + 1) & (c->requests_cap - 1)) {
		if (c->requests[i] == key)
			return false;
		if (!c->requests[i]) {
			c->requests[i] = key;
			c->requests_n++;
			return true;
		}
	}
}

static struct actor_node *node_of_store(struct invariants *inv, const struct store *s)
{
	for (uint32_t i = 0; i < inv->cl->cfg.nodes_n; i++) {
		struct actor_node *a = &inv->cl->nodes[i];

		if (a->node && node_store(a->node) == s)
			return a;
	}
	return NULL;
}

static uint32_t index_of(struct invariants *inv, const struct actor_node *a)
{
	return (uint32_t)(a - inv->cl->nodes);
}

static struct inv_log *log_of(struct invariants *inv, const struct actor_node *a, uint32_t chain)
{
	CHECK(chain < INV_CHAINS_MAX);
	return &inv->logs[index_of(inv, a)][chain];
}

/* The log of member @i of @c, NULL when its server was never seen. */
static struct inv_log *member_log(struct invariants *inv, const struct map_chain *c, uint32_t i)
{
	uint32_t node = inv->node_of[c->in[i].server];

	return node ? &inv->logs[node - 1][c->id] : NULL;
}

/* ---- I1, I2, I8: at the stores ---- */

static uint64_t id_fold(const struct id128 *id)
{
	uint64_t x[2];

	memcpy(x, id, sizeof(x));
	return rng_mix(x[0]) ^ x[1];
}

static uint64_t op_hash(const struct store_op *op)
{
	struct op_rec rec = op->rec;

	rec.known = 0; /* differs from copy to copy */
	return rng_mix(((uint64_t)crc32c(0, &rec, sizeof(rec)) << 32) ^
		       crc32c(0, op->crcs, rec.crcs_n * sizeof(uint32_t)));
}

/* Which seq an operation of the workload got: for I10. */
static void note_parts(struct invariants *inv, const struct store_op *op)
{
	const struct op_rec *rec = &op->rec;
	uint32_t first = (uint32_t)(rec->extent * EXTENT_BLOCKS + rec->block), block, said;
	uint32_t step = rec->kind == OP_WRITE_SAME ? 0 : 1;
	uint64_t id;

	if (!op->data || (rec->kind != OP_WRITE && rec->kind != OP_WRITE_SAME))
		return;
	for (uint32_t i = 0; i < rec->blocks; i++) {
		struct workload_info *info;
		uint64_t part;

		block = first + i;
		if (workload_by_sector(block))
			continue;
		if (!stamp_peek(op->data->data + (size_t)i * step * BLOCK_BYTES, &id, &said))
			return;
		info = workload_info(&inv->cl->work, id);
		part = info ? rec->extent - info->block / EXTENT_BLOCKS : 2;
		if (part < 2)
			info->parts[part] = (struct workload_part){rec->chain, rec->seq};
		return;
	}
}

static void appended(struct invariants *inv, struct actor_node *a, const struct store_op *op)
{
	struct inv_log *log = log_of(inv, a, op->rec.chain);
	struct inv_entry *e = entry_at(&log->ops, &log->cap, op->rec.seq);

	e->hash = op_hash(op);
	e->request = 0;
	if (op->rec.req_no && op->rec.kind != OP_SESSION && op->rec.kind != OP_CLOSE &&
	    op->rec.kind != OP_NOP)
		e->request = rng_mix(id_fold(&op->rec.client) ^ rng_mix(op->rec.volume) ^
				     op->rec.req_no) |
			     1;
	log->last = op->rec.seq;
	note_parts(inv, op);
}

/* Who of @c's members lacks @seq on stable media: index, or -1. */
static int member_lacking(struct invariants *inv, const struct map_chain *c, uint64_t seq)
{
	for (uint32_t i = 0; i < c->in_n; i++) {
		const struct inv_log *log = member_log(inv, c, i);

		if (!log || log->durable < seq)
			return (int)i;
	}
	return -1;
}

static void commit_one(struct invariants *inv, struct actor_node *a, struct inv_log *log,
		       uint32_t chain, uint64_t seq)
{
	struct inv_chain *c = &inv->chains[chain];
	const struct inv_entry *mine = entry_at(&log->ops, &log->cap, seq);
	struct inv_entry *truth = entry_at(&c->ops, &c->cap, seq);

	if (seq <= c->committed) {
		if (truth->hash != mine->hash)
			world_violation(inv->w,
					"I2: %s commits another op at chain %u seq %lu than "
					"was committed before",
					a->proc.name, chain, seq);
		return;
	}
	*truth = *mine;
	c->committed = seq;
	inv->commits++;
	if (truth->request && !requests_add(c, truth->request))
		world_violation(inv->w, "I8: chain %u seq %lu applies a request a second time",
				chain, seq);
}

static void committed(struct invariants *inv, struct actor_node *a, uint32_t chain, uint64_t seq)
{
	const struct map_chain *rec = chain_map_chain(&inv->map, chain);
	struct inv_log *log = log_of(inv, a, chain);
	int lacking;

	if (seq > inv->chains[chain].committed && rec) {
		/* Our own tables are as of the end of the event: look at this store now. */
		struct store_chain_info info;

		if (!store_chain_info(node_store(a->node), chain, &info))
			log->durable = MAX(log->durable, info.last);
		lacking = member_lacking(inv, rec, seq);
		if (lacking >= 0)
			world_violation(inv->w,
					"I1: %s commits chain %u seq %lu, which member %d "
					"does not have on stable media",
					a->proc.name, chain, seq, lacking);
	}
	while (log->committed < seq)
		commit_one(inv, a, log, chain, ++log->committed);
}

int __wrap_store_append(struct store *s, struct store_op *op)
{
	int res = __real_store_append(s, op);
	struct actor_node *a = invariants_current ? node_of_store(invariants_current, s) : NULL;

	if (res == 0 && a)
		appended(invariants_current, a, op);
	return res;
}

void __wrap_store_commit(struct store *s, uint32_t chain, uint64_t seq)
{
	struct actor_node *a = invariants_current ? node_of_store(invariants_current, s) : NULL;

	if (a)
		committed(invariants_current, a, chain, seq);
	__real_store_commit(s, chain, seq);
}

/* What is cut off was on no other member, or nobody was told of it. */
static void undone(struct invariants *inv, struct actor_node *a, uint32_t chain, uint64_t to)
{
	struct inv_log *log = log_of(inv, a, chain);

	if (to < inv->chains[chain].committed)
		world_violation(inv->w, "I1: %s cuts chain %u back to %lu, and %lu is committed",
				a->proc.name, chain, to, inv->chains[chain].committed);
	inv->undone += log->durable - to;
	log->durable = log->last = to;
}

void __wrap_store_undo(struct store *s, uint32_t chain, uint64_t to,
		       void (*done)(void *arg, int res), void *arg)
{
	struct actor_node *a = invariants_current ? node_of_store(invariants_current, s) : NULL;

	if (a)
		undone(invariants_current, a, chain, to);
	__real_store_undo(s, chain, to, done, arg);
}

/* ---- I1, I10: on the wire ---- */

static void sent_reply(struct invariants *inv, const struct proc *from, const struct frame *f)
{
	const struct wire_reply *r = (const struct wire_reply *)(const void *)f->meta;
	const struct map_chain *rec = chain_map_chain(&inv->map, f->hdr.chain);

	if ((r->status != 0 && r->status != -84) || !f->hdr.seq || !rec)
		return;
	inv->acks++;
	if (f->hdr.seq > inv->chains[f->hdr.chain].committed)
		world_violation(inv->w,
				"I1: %s acknowledges chain %u seq %lu, which is not committed",
				from->name, f->hdr.chain, f->hdr.seq);
	else if (member_lacking(inv, rec, f->hdr.seq) >= 0)
		world_violation(inv->w,
				"I1: %s acknowledges chain %u seq %lu, which is not on every "
				"member's stable media",
				from->name, f->hdr.chain, f->hdr.seq);
}

static void sent_read_reply(struct invariants *inv, const struct proc *from, const struct frame *f)
{
	const struct wire_read_reply *r = (const struct wire_read_reply *)(const void *)f->meta;

	if (r->status || !f->data || !r->crcs_n)
		return;
	for (uint32_t i = 0; i < f->hdr.data_bytes / BLOCK_BYTES; i++) {
		struct workload_info *info;
		struct workload_part *part;
		uint32_t block;
		uint64_t id, at;

		if (!stamp_peek(f->data->data + (size_t)i * BLOCK_BYTES, &id, &block) ||
		    block == STAMP_ANY_BLOCK || workload_by_sector(block))
			continue;
		info = workload_info(&inv->cl->work, id);
		at = info ? block / EXTENT_BLOCKS - info->block / EXTENT_BLOCKS : 2;
		if (at >= 2)
			continue;
		part = &info->parts[at];
		if (part->chain == f->hdr.chain && part->seq > inv->chains[f->hdr.chain].committed)
			world_violation(inv->w,
					"I10: %s serves block %u of chain %u seq %lu, which "
					"is not committed",
					from->name, block, part->chain, part->seq);
	}
}

static void on_send(struct net *n, struct proc *from, struct proc *to, const struct frame *f)
{
	struct invariants *inv = invariants_current;

	(void)n;
	(void)to;
	if (f->hdr.chain >= INV_CHAINS_MAX)
		return;
	if (f->hdr.type == WIRE_REPLY)
		sent_reply(inv, from, f);
	else if (f->hdr.type == WIRE_READ_REPLY)
		sent_read_reply(inv, from, f);
}

/* ---- I4 and the daemons' views ---- */

static void check_order(struct invariants *inv, const struct map_chain *rec, uint32_t i)
{
	const struct inv_log *pred = i > 0 ? member_log(inv, rec, i - 1) : NULL;
	const struct inv_log *me = member_log(inv, rec, i);

	if (!pred || !me || !pred->viewed || !me->viewed || pred->view.position < 0 ||
	    me->view.position < 0 || !me->view.aligned || pred->view.epoch != me->view.epoch)
		return;
	if (me->view.recv > pred->view.recv)
		world_violation(inv->w,
				"I4: chain %u member %u received seq %lu, its predecessor only "
				"%lu",
				rec->id, i, me->view.recv, pred->view.recv);
}

static void look_at(struct invariants *inv, struct actor_node *a, const struct node_chain_view *v)
{
	const struct map_chain *rec = chain_map_chain(&inv->map, v->chain);
	struct inv_log *log = log_of(inv, a, v->chain);
	bool moved = !log->viewed || v->recv != log->view.recv || v->epoch != log->view.epoch ||
		     v->aligned != log->view.aligned;

	log->durable = MAX(log->durable, v->durable);
	if (v->commit > v->durable)
		world_violation(inv->w, "I1: %s knows chain %u committed to %lu and holds %lu",
				a->proc.name, v->chain, v->commit, v->durable);
	log->view = *v;
	log->viewed = true;
	if (!rec || v->position < 0 || !moved)
		return;
	check_order(inv, rec, (uint32_t)v->position);
	if ((uint32_t)v->position + 1 < rec->in_n)
		check_order(inv, rec, (uint32_t)v->position + 1);
}

static void node_ran(struct invariants *inv, struct actor_node *a)
{
	struct node_chain_view v;

	for (unsigned i = 0; i < node_chains_n(a->node); i++) {
		node_chain_view(a->node, i, &v);
		if (v.chain < INV_CHAINS_MAX)
			look_at(inv, a, &v);
	}
	if (++inv->checks % DEEP_EVERY == 0) {
		node_check(a->node);
		if (a->ready && node_store(a->node))
			store_check(node_store(a->node));
	}
}

/* ---- I5 ---- */

static void take_map(struct invariants *inv, const struct chain_map *m)
{
	inv->map = *m;
	memset(inv->node_of, 0, sizeof(inv->node_of));
	for (uint32_t s = 0; s < m->hdr.servers_n; s++)
		for (uint32_t i = 0; i < inv->cl->cfg.nodes_n; i++)
			if (!strcmp(m->servers[s].name, inv->cl->nodes[i].proc.name) &&
			    m->servers[s].id <= SERVERS_MAX)
				inv->node_of[m->servers[s].id] = i + 1;
	for (uint32_t i = 0; i < m->hdr.chains_n; i++) {
		const struct map_chain *c = &m->chains[i];
		uint64_t hash = rng_mix(crc32c(1, c, sizeof(*c))) | 1, *known;

		CHECK(c->id < INV_CHAINS_MAX);
		known = &inv->chains[c->id].epochs[c->epoch % INV_EPOCHS_MAX];
		if (c->epoch < INV_EPOCHS_MAX && *known && *known != hash)
			world_violation(inv->w, "I5: chain %u has two configurations of epoch %lu",
					c->id, c->epoch);
		*known = hash;
	}
}

static void after(struct world *w, struct proc *p, void *arg)
{
	struct invariants *inv = arg;
	struct cluster *cl = inv->cl;

	(void)w;
	if (p == &cl->svc.proc) {
		if (cl->svc.ready && svc_map(cl->svc.svc)->hdr.version != inv->map.hdr.version)
			take_map(inv, svc_map(cl->svc.svc));
		return;
	}
	for (uint32_t i = 0; i < cl->cfg.nodes_n; i++)
		if (p == &cl->nodes[i].proc && cl->nodes[i].node)
			node_ran(inv, &cl->nodes[i]);
}

/* ---- told by the actors ---- */

void invariants_node_down(struct invariants *inv, struct actor_node *a)
{
	for (uint32_t c = 0; c < INV_CHAINS_MAX; c++)
		inv->logs[index_of(inv, a)][c].viewed = false;
}

void invariants_node_recovered(struct invariants *inv, struct actor_node *a)
{
	struct store *s = node_store(a->node);
	struct store_chain_info info;

	store_check(s);
	for (unsigned i = 0; i < store_chains_n(s); i++) {
		struct inv_log *log;

		store_chain_at(s, i, &info);
		log = log_of(inv, a, info.chain);
		if (info.last < log->durable && !inv->media_lie)
			world_violation(inv->w,
					"I1: %s said chain %u is durable to seq %lu and "
					"recovered only %lu",
					a->proc.name, info.chain, log->durable, info.last);
		if (info.last < inv->chains[info.chain].committed && !inv->media_lie)
			world_violation(inv->w,
					"I1: %s lost committed ops of chain %u: %lu of %lu left",
					a->proc.name, info.chain, info.last,
					inv->chains[info.chain].committed);
		if (info.committed > inv->chains[info.chain].committed)
			world_violation(inv->w,
					"I1: %s recovered chain %u as committed to %lu, which "
					"only is to %lu",
					a->proc.name, info.chain, info.committed,
					inv->chains[info.chain].committed);
		log->durable = info.last;
		log->committed = info.committed;
	}
}

void invariants_node_unusable(struct invariants *inv, struct actor_node *a, int res,
			      const char *why)
{
	if (!inv->media_lie)
		world_violation(inv->w, "%s can not start on its own disk: %d %s", a->proc.name,
				res, why ? why : "");
}

void invariants_op_done(struct invariants *inv, const struct workload_op *op, int status)
{
	(void)inv;
	CHECK(op->id > 0);
	CHECK(status <= 0);
}

void invariants_deep(struct invariants *inv)
{
	for (uint32_t i = 0; i < inv->cl->cfg.nodes_n; i++) {
		struct actor_node *a = &inv->cl->nodes[i];

		if (!a->ready)
			continue;
		node_check(a->node);
		store_check(node_store(a->node));
		buf_pool_check(node_bufs(a->node));
	}
}

bool invariants_chain_can_serve(struct invariants *inv, uint32_t chain)
{
	const struct map_chain *rec = chain_map_chain(&inv->map, chain);

	for (uint32_t i = 0; rec && i < rec->in_n; i++) {
		const struct inv_log *log = member_log(inv, rec, i);

		if (!log || log->durable < inv->chains[chain].committed)
			return false;
	}
	return rec != NULL;
}

bool invariants_chain_serves(struct invariants *inv, uint32_t chain)
{
	const struct map_chain *rec = chain_map_chain(&inv->map, chain);

	for (uint32_t i = 0; rec && i < rec->in_n; i++) {
		const struct inv_log *log = member_log(inv, rec, i);

		if (!log || !log->viewed || log->view.epoch != rec->epoch || log->view.position < 0)
			return false;
	}
	return rec != NULL;
}

bool invariants_chain_rests(struct invariants *inv, uint32_t chain)
{
	const struct map_chain *rec = chain_map_chain(&inv->map, chain);

	if (!invariants_chain_serves(inv, chain))
		return false;
	for (uint32_t i = 0; i < rec->in_n; i++) {
		const struct node_chain_view *v = &member_log(inv, rec, i)->view;

		if (v->commit != v->recv || v->recv != inv->chains[chain].committed)
			return false;
	}
	return true;
}

struct actor_node *invariants_member(struct invariants *inv, const struct map_chain *rec,
				     uint32_t i)
{
	uint32_t node = inv->node_of[rec->in[i].server];

	return node ? &inv->cl->nodes[node - 1] : NULL;
}

/* ---- for a person ---- */

void invariants_dump(struct invariants *inv)
{
	for (uint32_t i = 0; i < inv->map.hdr.chains_n; i++) {
		const struct map_chain *rec = &inv->map.chains[i];

		fprintf(stderr, "chain %u epoch %lu committed %lu can serve %d\n", rec->id,
			rec->epoch, inv->chains[rec->id].committed,
			invariants_chain_can_serve(inv, rec->id));
		for (uint32_t m = 0; m < rec->in_n; m++) {
			const struct inv_log *log = member_log(inv, rec, m);
			const struct node_chain_view *v = &log->view;

			fprintf(stderr,
				"    s%u%s epoch %lu position %d recv %lu durable %lu token %lu "
				"commit %lu window %u\n",
				inv->node_of[rec->in[m].server],
				log->viewed ? "" : " (not seen since its start)", v->epoch,
				v->position, v->recv, v->durable, v->token, v->commit,
				v->window_ops);
		}
	}
}

/* ---- life ---- */

void invariants_leave(void)
{
	invariants_current = NULL;
}

void invariants_init(struct invariants *inv, struct cluster *cl)
{
	memset(inv, 0, sizeof(*inv));
	inv->cl = cl;
	inv->w = cl->w;
	cl->inv = inv;
	cl->w->after = after;
	cl->w->after_arg = inv;
	cl->net.on_send = on_send;
	invariants_current = inv;
}

void invariants_fini(struct invariants *inv)
{
	for (uint32_t i = 0; i < NODES_MAX; i++)
		for (uint32_t c = 0; c < INV_CHAINS_MAX; c++)
			free(inv->logs[i][c].ops);
	for (uint32_t c = 0; c < INV_CHAINS_MAX; c++) {
		free(inv->chains[c].ops);
		free(inv->chains[c].requests);
	}
	invariants_current = NULL;
}
