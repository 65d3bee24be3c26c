/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "store/internal.h"

/* ---- memory ---- */

/* Tables are sized by the default log of such a disk. A log made longer than that at format works,
 * but no more of it is used than the tables can describe. */
static uint32_t log_blocks_for(uint64_t disk_bytes)
{
	return (uint32_t)(MAX(format_log_default(disk_bytes), STORE_LOG_BYTES_MIN) / BLOCK_BYTES);
}

static uint32_t index_n_for(uint64_t disk_bytes)
{
	return MAX(log_blocks_for(disk_bytes), 4 * EXTENT_BLOCKS);
}

static uint32_t ring_n_for(uint64_t disk_bytes)
{
	return log_blocks_for(disk_bytes) / 4 * 3 + 64;
}

static uint32_t pages_n_for(uint64_t disk_bytes)
{
	return (uint32_t)MIN(disk_bytes / PAGE_BYTES, UINT32_MAX / 2);
}

void store_memory_parts(uint64_t disk_bytes, uint32_t chains_max, struct store_memory_parts *ret)
{
	uint32_t chains = MIN(chains_max, NODE_CHAINS_MAX);

	*ret = (struct store_memory_parts){
		.pages = pages_bytes(pages_n_for(disk_bytes), index_n_for(disk_bytes)),
		.index = index_bytes(index_n_for(disk_bytes)) +
			 arena_cost(ring_n_for(disk_bytes) * sizeof(struct log_ref), ARENA_ALIGN),
		.cache = recs_bytes(disk_bytes, recs_slots_for(disk_bytes)),
		.chains = chains *
			  (chain_bytes() +
			   arena_cost(PENDING_OPS_MAX * sizeof(struct store_op), ARENA_ALIGN))};
}

size_t store_memory(uint64_t disk_bytes, uint32_t chains_max)
{
	struct store_memory_parts p;

	store_memory_parts(disk_bytes, chains_max, &p);
	return p.pages + p.index + p.cache + p.chains +
	       arena_cost(sizeof(struct store), ARENA_ALIGN) +
	       LOG_INFLIGHT_MAX * arena_cost(LOG_BATCH_BLOCKS_MAX * BLOCK_BYTES, BLOCK_BYTES) +
	       read_bytes() + destage_bytes() + ckpt_bytes() + again_bytes() + direct_bytes() +
	       recovery_bytes() + scrub_bytes() + 3 * arena_cost(BLOCK_BYTES, BLOCK_BYTES);
}

static void init_chains(struct store *s, struct arena *a, uint32_t chains_max)
{
	s->chains_max = MIN(chains_max, NODE_CHAINS_MAX);
	s->chains = arena_alloc(a, s->chains_max * sizeof(s->chains[0]), ARENA_ALIGN);
	for (uint32_t i = 0; i < s->chains_max; i++)
		chain_init(s, &s->chains[i], a);
	list_init(&s->rec_free);
	s->rec_ops_n = s->chains_max * PENDING_OPS_MAX;
	s->rec_ops = arena_alloc(a, s->rec_ops_n * sizeof(s->rec_ops[0]), ARENA_ALIGN);
}

/* ---- the deferred turn: everything that calls back ---- */

static void fail_queued(struct store *s)
{
	struct list *it, waiting;

	while ((it = list_pop(&s->log.queue)))
		list_add_tail(&s->failed_ops, it);
	while ((it = list_pop(&s->log.headed)))
		list_add_tail(&s->failed_ops, it);
	while ((it = list_pop(&s->log.epochs)))
		list_add_tail(&s->failed_epochs, it);
	while ((it = list_pop(&s->failed_epochs))) {
		struct epoch_change *ch = CONTAINER_OF(it, struct epoch_change, link);

		ch->busy = false;
		if (ch->done)
			ch->done(ch->arg, -EIO);
	}
	list_init(&waiting);
	while ((it = list_pop(&s->failed_ops))) {
		struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		if (op->writes) { /* told when its buffer is nobody's any more */
			list_add_tail(&waiting, it);
			continue;
		}
		if (op->rec.data_bytes && !(op->priv & OP_PRIV_AGAIN))
			buf_put(op->data);
		op->done(op, -EIO);
	}
	while ((it = list_pop(&waiting)))
		list_add_tail(&s->failed_ops, it);
}

static void tell(struct store *s)
{
	struct list *it;

	while ((it = list_pop(&s->released))) {
		struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		op->released(op);
	}
	reads_tell(s);
	while ((it = list_pop(&s->fetches_done))) {
		struct store_fetch *f = CONTAINER_OF(it, struct store_fetch, link);

		f->done(f, f->res);
	}
	repair_tell(s);
	if (s->cluster_due) {
		s->cluster_due = false;
		s->cluster_done(s->cluster_arg, s->cluster_res);
	}
	if (s->space_due) {
		s->space_due = false;
		if (s->space)
			s->space(s->space_arg);
	}
}

/* Returns whether the store is closed and the caller has its memory back. */
static bool close_progress(struct store *s)
{
	bool quiet = s->ios == 0 && !s->sw.busy && list_empty(&s->log.queue) &&
		     list_empty(&s->reads) && list_empty(&s->recs.starved);

	/* Not while another turn is due: the task lies in the memory that is given back. */
	if (!s->closing || !quiet || s->turn.queued)
		return false;
	if (!s->failed && !s->close_header) {
		s->close_header = true;
		s->log.want_header = true;
		log_pump(s);
		if (s->ios)
			return false;
	}
	s->env->timer_cancel(s->env, &s->idle_timer);
	s->env->timer_cancel(s->env, &s->log.idle);
	s->env->timer_cancel(s->env, &s->watch.timer);
	s->env->timer_cancel(s->env, &s->scrub.timer);
	s->closed(s->closed_arg);
	return true;
}

static void turn(struct env_task *t)
{
	struct store *s = CONTAINER_OF(t, struct store, turn);

	if (!s->opened)
		return;
	undo_pump(s);
	if (s->failed)
		fail_queued(s);
	log_pump(s);
	read_pump(s);
	tell(s);
	recs_pump(s);
	repair_pump(s);
	land_pump(s);
	destage_pump(s);
	again_pump(s);
	ckpt_pump(s);
	close_progress(s);
}

void store_turn(struct store *s)
{
	s->env->defer(s->env, &s->turn);
}

void store_submit(struct store *s, struct disk_io *io)
{
	s->ios++;
	if (io->op == DISK_WRITE)
		s->stats.written_bytes += io->len_bytes;
	s->disk->submit(s->disk, io);
}

void store_fail(struct store *s, const char *why, int res)
{
	if (s->failed)
		return;
	s->failed = true;
	env_logf(s->env, ENV_ERR,
		 "store: FAILED: %s (%s): this store serves nothing until it is looked at", why,
		 strerror(-res));
	store_turn(s);
}

void store_space_back(struct store *s)
{
	if (!s->refused_log && !s->refused_pages && !s->refused_window)
		return;
	s->refused_log = s->refused_pages = s->refused_window = false;
	s->space_due = true;
	store_turn(s);
}

/* ---- idleness ---- */

static void idle_fired(struct env_timer *t)
{
	struct store *s = CONTAINER_OF(t, struct store, idle_timer);
	uint64_t now = s->env->now_ns(s->env);

	if (s->closing || s->failed)
		return;
	if (now < s->active_ns + IDLE_NS) {
		s->env->timer_arm(s->env, t, s->active_ns + IDLE_NS);
		return;
	}
	s->idle = true;
	store_turn(s);
}

void store_activity(struct store *s)
{
	s->idle = false;
	s->active_ns = s->env->now_ns(s->env);
	if (s->idle_timer.armed || s->closing)
		return;
	s->idle_timer.fn = idle_fired;
	s->env->timer_arm(s->env, &s->idle_timer, s->active_ns + IDLE_NS);
}

/* ---- open, close ---- */

struct store *store_open(const struct store_config *cfg, struct arena *a,
			 void (*done)(void *arg, int res, const char *why,
				      const struct store_opened *found),
			 void *arg)
{
	struct store *s = arena_alloc(a, sizeof(*s), ARENA_ALIGN);
	uint64_t disk_bytes = cfg->disk->size_bytes;

	CHECK(cfg->reqtab_clients <= REQTAB_CLIENTS_MAX);
	*s = (struct store){.env = cfg->env, .disk = cfg->disk, .bufs = cfg->bufs};
	s->reqtab_clients = cfg->reqtab_clients ? cfg->reqtab_clients : REQTAB_CLIENTS_MAX;
	s->turn.fn = turn;
	s->watch.every_ns = cfg->watch_ns;
	list_init(&s->released);
	list_init(&s->failed_ops);
	list_init(&s->failed_epochs);
	list_init(&s->fetches_done);
	list_init(&s->repairs_done);
	init_chains(s, a, cfg->chains_max);
	log_init(s, a, ring_n_for(disk_bytes));
	index_init(&s->index, index_n_for(disk_bytes), a);
	pages_init(&s->pages, pages_n_for(disk_bytes), index_n_for(disk_bytes), a);
	recs_init(
		s, a, disk_bytes,
		MIN(cfg->cache_slots ? cfg->cache_slots : UINT32_MAX, recs_slots_for(disk_bytes)));
	direct_init(s, a);
	read_init(s, a);
	destage_init(s, a);
	ckpt_init(s, a);
	again_init(s, a);
	super_init(s, a);
	scrub_init(s, a, cfg->scrub_ns);
	recovery_start(s, a, cfg, done, arg);
	return s;
}

void store_close(struct store *s, void (*done)(void *arg), void *arg)
{
	CHECK(!s->closing);
	s->closing = true;
	s->closed = done;
	s->closed_arg = arg;
	if (!s->opened)
		s->opened = s->failed = true; /* a store that did not open only gives back memory */
	scrub_save(s);
	store_turn(s);
}

static void cluster_written(struct super_wait *w, int res)
{
	struct store *s = CONTAINER_OF(w, struct store, cluster_wait);

	s->cluster_done(s->cluster_arg, res);
}

void store_set_cluster(struct store *s, const struct id128 *cluster,
		       void (*done)(void *arg, int res), void *arg)
{
	CHECK(!id128_is_none(cluster));
	s->cluster_done = done;
	s->cluster_arg = arg;
	if (s->failed || !id128_is_none(&s->super.cluster)) {
		s->cluster_res = s->failed                              ? -EIO
				 : id128_eq(&s->super.cluster, cluster) ? 0
									: -EEXIST;
		s->cluster_due = true;
		store_turn(s);
		return;
	}
	s->super.cluster = *cluster;
	s->cluster_wait.done = cluster_written;
	super_write(s, &s->cluster_wait);
}

static void registered_written(struct super_wait *w, int res)
{
	(void)w;
	(void)res; /* not noted: one more start in doubt */
}

void store_registered(struct store *s)
{
	if (s->failed || s->closing || s->super.registered)
		return;
	s->super.registered = 1;
	memset(s->super.doubtful, 0, sizeof(s->super.doubtful));
	s->registered_wait.done = registered_written;
	super_write(s, &s->registered_wait);
}

void store_on_space(struct store *s, void (*space)(void *arg), void *arg)
{
	s->space = space;
	s->space_arg = arg;
}

void store_stats(const struct store *s, struct store_stats *ret)
{
	*ret = s->stats;
	ret->bytes_total = (uint64_t)(s->pages.n - s->pages.spare_max) * PAGE_BYTES;
	ret->bytes_free = ((uint64_t)pages_room(&s->pages) + pages_lent(&s->pages)) * PAGE_BYTES;
	ret->log_bytes = (uint64_t)s->log.blocks * BLOCK_BYTES;
	ret->log_used_bytes = (uint64_t)s->log.used * BLOCK_BYTES;
	ret->scrub_passes = s->super.scrub_passes;
	ret->cache_hits = s->recs.hits;
	ret->cache_misses = s->recs.loads;
	ret->failed = s->failed;
}

/* ---- check ---- */

static void check_chain(const struct store *s, const struct chain *c)
{
	uint32_t n = 0, crcs = 0, blocks = 0, cost = 0;
	uint64_t lsn = 0, seq = 0;

	CHECK(c->known_durable <= c->committed);
	CHECK(c->committed <= c->durable);
	CHECK(c->durable <= c->appended);
	for (uint32_t at = c->fifo.first; at != INDEX_NONE; at = s->index.v[at].next) {
		const struct index_entry *e = &s->index.v[at];

		CHECK(e->seq >= seq);
		CHECK(e->seq <= c->committed);
		CHECK(s->log.ring[e->ring].lsn >= lsn);
		seq = e->seq;
		lsn = s->log.ring[e->ring].lsn;
	}
	for (uint64_t q = c->committed + 1; q <= c->appended; q++) {
		const struct store_op *op = chain_op(c, q);

		CHECK(op != NULL);
		CHECK(op->rec.seq == q);
		CHECK(op->durable == (q <= c->durable));
		CHECK(op->durable || op->lsn == 0 || op->lsn >= lsn);
		n++;
		crcs += op->rec.crcs_n;
		blocks += op_log_blocks(op);
		cost += op_cost(&op->rec, op->priv & OP_PRIV_ZERO);
	}
	CHECK(cost == c->pend_cost);
	CHECK(blocks == c->pend_blocks);
	CHECK(n == c->pend_n);
	CHECK(crcs == c->pend_crcs);
}

static void check_log(const struct store *s)
{
	const struct log *l = &s->log;
	uint64_t live = 0, cost = 0, dead_cost = 0, pending = 0;
	uint32_t used = 0, queued;

	for (uint32_t i = 0; i < l->count; i++) {
		const struct log_ref *ref = &l->ring[(l->first + i) % l->ring_n];

		live += ref->live;
		used += ref->blocks;
		cost += ref->cost;
		dead_cost += i < l->live_at ? ref->cost : 0;
		CHECK(i >= l->live_at || ref->live == 0);
	}
	CHECK(dead_cost == l->dead_cost);
	CHECK(used == l->used);
	CHECK(l->used <= l->blocks);
	LIST_FOR_EACH(it, &l->queue)
	{
		const struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		cost += op_cost(&op->rec, op->priv & OP_PRIV_ZERO);
		pending++;
	}
	CHECK(pending == l->queue_n);
	CHECK(cost == s->cost);
	CHECK(s->cost <= s->index.entries_n);
	for (uint32_t i = 0; i < s->chains_n; i++)
		live -= s->chains[i].pend_n;
	live -= again_held(s, &queued);
	CHECK(live + pending - queued == s->index.used);
}

void store_check(const struct store *s)
{
	uint32_t reserved = 0;

	if (!s->opened || s->failed)
		return;
	for (uint32_t i = 0; i < s->chains_n; i++) {
		check_chain(s, &s->chains[i]);
		reserved += s->chains[i].reserved;
	}
	CHECK(reserved == s->reserved_n);
	check_log(s);
	index_check(&s->index);
	pages_check(&s->pages);
	recs_check_all(s);
}
