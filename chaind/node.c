/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

#include "lib/arena.h"

#define MEMORY_DEFAULT (48ull << 20)
#define FRAMES_N 4096u
#define STOP_QUIET_TICKS 2u

/* ---- memory ---- */

static struct buf_pool_config bufs_config(const struct node_config *cfg)
{
	uint64_t bytes = cfg->memory_bytes != 0 ? cfg->memory_bytes : MEMORY_DEFAULT;
	struct buf_pool_config c = {
		.large_n = (uint32_t)MAX(4u, bytes * 6 / 10 / OP_BYTES_MAX),
		.small_n = (uint32_t)MAX(64u, bytes * 4 / 10 / BUF_SMALL_BYTES),
	};

	c.reserve_large = c.large_n / 4;
	c.reserve_small = c.small_n / 4;
	return c;
}

static uint32_t slots_shared(const struct node_config *cfg)
{
	return MIN(2048u, MAX(2 * WINDOW_OPS_MAX, cfg->chains_max * 64));
}

static uint32_t slots_all(const struct node_config *cfg)
{
	return slots_shared(cfg) + cfg->chains_max * SLOTS_OWN;
}

void node_memory_of(const struct node_config *cfg, struct node_memory *ret)
{
	const struct buf_pool_config bufs = bufs_config(cfg);

	*ret = (struct node_memory){
		.store_bytes = store_memory(cfg->disk_bytes, cfg->chains_max),
		.buffers_bytes = buf_pool_bytes(&bufs),
	};
	ret->tables_bytes = arena_cost(sizeof(struct node), ARENA_ALIGN) +
			    frame_pool_bytes(FRAMES_N) +
			    2 * arena_cost(sizeof(struct chain_map), ARENA_ALIGN) +
			    arena_cost(cfg->chains_max * sizeof(struct replica), ARENA_ALIGN) +
			    arena_cost(slots_all(cfg) * sizeof(struct slot), ARENA_ALIGN) +
			    arena_cost(NODE_CONNS_MAX * sizeof(struct session), ARENA_ALIGN) +
			    arena_cost(READS_MAX * sizeof(struct read_ctx), ARENA_ALIGN) +
			    arena_cost(RMW_MAX * sizeof(struct rmw), ARENA_ALIGN);
}

size_t node_memory(const struct node_config *cfg)
{
	struct node_memory m;

	node_memory_of(cfg, &m);
	return m.store_bytes + m.buffers_bytes + m.tables_bytes;
}

/* ---- helpers of all files ---- */

void node_ready(struct node *n, int res, const char *why)
{
	void (*ready)(void *arg, int res, const char *why) = n->ready;

	n->ready = NULL;
	if (ready)
		ready(n->ready_arg, res, why);
}

void node_fail(struct node *n, const char *why)
{
	if (n->failed)
		return;
	n->failed = true;
	env_logf(n->env, ENV_ERR,
		 "chaind %s: store FAILED: %s; its chains stop here, nothing is retried: check the "
		 "device, then restart chaind",
		 n->cfg.name, why);
	/* The rest when the loop turn ends: we may be deep inside a replica. */
	cfglink_report_soon(n);
}

void node_soon(struct node *n)
{
	if (!n->soon.armed && !n->closed)
		n->env->timer_arm(n->env, &n->soon, n->env->now_ns(n->env) + SOON_NS);
}

struct replica *node_replica(const struct node *n, uint32_t chain)
{
	for (uint32_t i = 0; i < CHAIN_HASH; i++) {
		uint16_t at = n->by_chain[(chain + i) % CHAIN_HASH];

		if (at == 0)
			return NULL;
		if (n->replicas[at - 1].chain == chain)
			return &n->replicas[at - 1];
	}
	return NULL;
}

static struct replica *add(struct node *n, const struct store_chain_info *info)
{
	struct replica *r = &n->replicas[n->replicas_n];
	uint32_t at = info->chain % CHAIN_HASH;

	CHECK(n->replicas_n < n->cfg.chains_max);
	replica_init(r, n, info);
	while (n->by_chain[at] != 0)
		at = (at + 1) % CHAIN_HASH;
	n->by_chain[at] = (uint16_t)++n->replicas_n;
	return r;
}

struct replica *node_replica_add(struct node *n, uint32_t chain)
{
	const struct store_chain_info info = {.chain = chain};

	if (n->replicas_n == n->cfg.chains_max || store_chain_add(n->store, chain) < 0)
		return NULL;
	return add(n, &info);
}

struct frame *node_frame(struct node *n, enum wire_type type, uint32_t meta_bytes)
{
	struct frame *f = frame_new(&n->frames, type, meta_bytes);

	if (!f)
		return NULL;
	f->hdr.cluster = n->cluster;
	f->hdr.from = n->incarnation;
	return f;
}

struct frame *node_chain_frame(struct replica *r, enum wire_type type, uint32_t meta_bytes,
			       uint64_t seq)
{
	struct frame *f = node_frame(r->n, type, meta_bytes);

	if (!f)
		return NULL;
	f->hdr.chain = r->chain;
	f->hdr.epoch = r->repl.epoch;
	f->hdr.seq = seq;
	f->hdr.commit = r->repl.commit;
	return f;
}

void node_send(struct node *n, struct env_conn *c, struct frame *f)
{
	n->env->send(n->env, c, f);
	frame_put(f);
}

void node_send_stale(struct node *n, struct env_conn *c, uint32_t chain)
{
	const struct replica *r = node_replica(n, chain);
	const struct map_chain *rec = chain_map_chain(n->map, chain);
	struct frame *f;

	/* The newest we know: what we act in, or what the map says. */
	if (r && r->repl.in && (!rec || r->rec.epoch >= rec->epoch))
		rec = &r->rec;
	if (!rec)
		return;
	f = node_frame(n, WIRE_STALE, sizeof(*rec));
	if (!f)
		return;
	memcpy(f->meta, rec, sizeof(*rec));
	f->hdr.chain = chain;
	f->hdr.epoch = rec->epoch;
	node_send(n, c, f);
}

/* A store may fail with no op of ours on its way to it: while it destages, or writes a checkpoint.
 */
static void notice_failure(struct node *n)
{
	struct store_stats st;

	store_stats(n->store, &st);
	if (st.failed)
		node_fail(n, "its reason is in the line before");
}

/* ---- the loop's events ---- */

static void on_flush(struct env_task *t)
{
	struct node *n = CONTAINER_OF(t, struct node, flush);

	if (n->closed)
		return;
	if (n->failed)
		install_leave_all(n); /* says good-bye itself */
	peers_flush(n);
	if (n->cfglink.report_now)
		cfglink_tick(n, n->env->now_ns(n->env));
}

/* Take the list as it is now: what is added meanwhile waits for the next time. */
static void splice(struct list *from, struct list *to)
{
	list_init(to);
	while (!list_empty(from))
		list_add_tail(to, list_pop(from));
}

static void on_soon(struct env_timer *t)
{
	struct node *n = CONTAINER_OF(t, struct node, soon);
	struct list todo;

	if (n->closed)
		return;
	splice(&n->stuck, &todo);
	while (!list_empty(&todo))
		forward_pump(CONTAINER_OF(list_pop(&todo), struct replica, stuck_link));
	splice(&n->naks, &todo);
	while (!list_empty(&todo)) {
		struct replica *r = CONTAINER_OF(list_pop(&todo), struct replica, nak_link);

		if (n->env->now_ns(n->env) >= r->nak_ns) {
			replica_event(r, REPL_EV_NAK_DUE, 0);
		} else if (r->repl.nak != 0) {
			list_add_tail(&n->naks, &r->nak_link);
			node_soon(n);
		}
	}
	n->env->defer(n->env, &n->flush);
}

static void on_space(void *arg)
{
	struct node *n = arg;
	struct list todo;

	splice(&n->persists, &todo);
	while (!list_empty(&todo))
		replica_persist(CONTAINER_OF(list_pop(&todo), struct replica, persist_link));
}

/* Tell predecessors when what we can take has changed by much: the head may be waiting for it. */
static void credit_tick(struct node *n)
{
	for (unsigned i = 0; i < n->replicas_n; i++) {
		struct replica *r = &n->replicas[i];
		uint64_t now;

		if (!r->repl.in || r->repl.is_head)
			continue;
		now = replica_credit(r);
		if ((now == 0) != (r->credit_told == 0) || now < r->credit_told / 4 * 3 ||
		    now / 4 * 3 > r->credit_told)
			peers_commit(r);
	}
}

static void on_tick(struct env_timer *t)
{
	struct node *n = CONTAINER_OF(t, struct node, tick);
	uint64_t now = n->env->now_ns(n->env);

	if (n->closed)
		return;
	n->env->timer_arm(n->env, &n->tick, now + TICK_NS);
	notice_failure(n);
	session_tick(n, now);
	peers_tick(n, now);
	cfglink_tick(n, now);
	credit_tick(n);
	if (n->stopping)
		node_stop_tick(n);
}

/* ---- end ---- */

static void on_store_closed(void *arg)
{
	struct node *n = arg;

	n->stopped(n->stopped_arg);
}

static void finish(struct node *n)
{
	if (n->closed)
		return;
	peers_flush(n); /* the last watermarks */
	for (unsigned i = 0; i < n->replicas_n; i++)
		rmw_drop_all(&n->replicas[i]);
	n->closed = true;
	n->ready = NULL;
	n->env->timer_cancel(n->env, &n->tick);
	n->env->timer_cancel(n->env, &n->soon);
	n->env->timer_cancel(n->env, &n->stop_timer);
	cfglink_close(n);
	peers_close(n);
	LIST_FOR_EACH_SAFE(it, &n->sessions)
	session_close(CONTAINER_OF(it, struct session, link));
	if (n->store)
		store_close(n->store, on_store_closed, n);
	else
		on_store_closed(n);
}

/* ---- start ---- */

struct node *node_init(const struct node_config *cfg, struct env *env, struct env_disk *disk,
		       const struct id128 *incarnation, struct arena *a)
{
	const struct buf_pool_config bufs = bufs_config(cfg);
	struct node *n = arena_alloc(a, sizeof(*n), ARENA_ALIGN);

	CHECK(cfg->chains_max > 0 && cfg->chains_max <= NODE_CHAINS_MAX);
	CHECK(cfg->cfg_addrs[0][0] != '\0');
	n->cfg = *cfg;
	n->env = env;
	n->disk = disk;
	n->arena = a;
	n->incarnation = *incarnation;
	n->memory_bytes = node_memory(cfg);
	buf_pool_init(&n->bufs, &bufs, a);
	frame_pool_init(&n->frames, FRAMES_N, a);
	n->src = (struct frame_source){.frames = &n->frames, .bufs = &n->bufs};
	n->map = arena_alloc(a, sizeof(*n->map), ARENA_ALIGN);
	n->map_next = arena_alloc(a, sizeof(*n->map), ARENA_ALIGN);
	n->replicas = arena_alloc(a, cfg->chains_max * sizeof(*n->replicas), ARENA_ALIGN);
	n->slots_shared_max = slots_shared(cfg);
	n->slots_n = slots_all(cfg);
	n->slots = arena_alloc(a, n->slots_n * sizeof(*n->slots), ARENA_ALIGN);
	list_init(&n->free_slots);
	for (uint32_t i = 0; i < n->slots_n; i++)
		list_add_tail(&n->free_slots, &n->slots[i].link);
	n->all_sessions = arena_alloc(a, NODE_CONNS_MAX * sizeof(*n->all_sessions), ARENA_ALIGN);
	n->reads = arena_alloc(a, READS_MAX * sizeof(*n->reads), ARENA_ALIGN);
	n->rmws = arena_alloc(a, RMW_MAX * sizeof(*n->rmws), ARENA_ALIGN);
	list_init(&n->commits);
	list_init(&n->stuck);
	list_init(&n->naks);
	list_init(&n->persists);
	n->flush.fn = on_flush;
	n->tick.fn = on_tick;
	n->soon.fn = on_soon;
	session_init(n);
	peers_init(n);
	reader_init(n);
	rmw_init(n);
	return n;
}

void node_set_addrs(struct node *n, char addrs[SERVER_ADDRS_MAX][ADDR_BYTES])
{
	memcpy(n->cfg.addrs, addrs, sizeof(n->cfg.addrs));
}

static void on_opened(void *arg, int res, const char *why, const struct store_opened *found)
{
	struct node *n = arg;

	(void)found; /* on_validated() */
	if (res < 0) {
		n->store = NULL; /* it never opened: nothing to close */
		if (n->validated) {
			n->env->timer_cancel(n->env, &n->tick);
			cfglink_close(n);
		}
		node_ready(n, res, why);
		return;
	}
	n->store_open = true;
	if (n->stopping) {
		finish(n);
		return;
	}
	store_on_space(n->store, on_space, n);
	cfglink_store_open(n);
}

/* The store was read and nothing written. The configuration service knows whether it is ours. */
static void on_validated(void *arg, const struct store_opened *found)
{
	struct node *n = arg;

	n->validated = true;
	if (n->stopping) {
		finish(n);
		return;
	}
	n->cluster = found->cluster;
	n->disk_id = found->disk;
	for (unsigned i = 0; i < STORE_DOUBTFUL_MAX; i++)
		if (!id128_is_none(&found->doubtful[i]))
			n->earlier[n->earlier_n++] = found->doubtful[i];
	n->earlier[n->earlier_n++] = found->previous;
	for (unsigned i = 0; i < store_chains_n(n->store); i++) {
		struct store_chain_info info;

		store_chain_at(n->store, i, &info);
		add(n, &info);
	}
	n->cluster_new = id128_is_none(&n->cluster);
	n->env->timer_arm(n->env, &n->tick, n->env->now_ns(n->env) + TICK_NS);
	cfglink_open(n);
}

void node_start(struct node *n, void (*ready)(void *arg, int res, const char *why), void *arg)
{
	const struct store_config cfg = {
		.env = n->env,
		.disk = n->disk,
		.bufs = &n->bufs,
		.chains_max = n->cfg.chains_max,
		.reqtab_clients = n->cfg.reqtab_clients,
		.incarnation = n->incarnation,
		.watch_ns = WATCH_NS,
		.scrub_ns = n->cfg.scrub_ns,
		.validated = on_validated,
	};

	n->ready = ready;
	n->ready_arg = arg;
	n->store = store_open(&cfg, n->arena, on_opened, n);
}

/* ---- stop ---- */

static void on_stop_deadline(struct env_timer *t)
{
	struct node *n = CONTAINER_OF(t, struct node, stop_timer);

	if (n->registered)
		env_logf(n->env, ENV_WARN, "chaind %s: stopped with ops that are not committed",
			 n->cfg.name);
	finish(n);
}

void node_stop_tick(struct node *n)
{
	for (unsigned i = 0; i < n->replicas_n; i++) {
		const struct repl *r = &n->replicas[i].repl;

		if (r->in && r->commit < r->recv)
			n->quiet_ticks = 0;
	}
	/* Ops that heads had numbered before they heard that we stop may still be on their way. */
	if (n->failed || n->quiet_ticks++ >= STOP_QUIET_TICKS)
		finish(n);
}

void node_stop(struct node *n, uint64_t deadline_ns, void (*stopped)(void *arg), void *arg)
{
	if (n->stopping)
		return;
	n->stopped = stopped;
	n->stopped_arg = arg;
	n->stopping = true;
	n->stop_timer.fn = on_stop_deadline;
	n->env->timer_arm(n->env, &n->stop_timer, deadline_ns);
	if (!n->registered) {
		/* While the store opens: when it is open, or waits for an answer. */
		if (n->store_open || !n->store || (n->validated && !n->claimed))
			n->env->timer_arm(n->env, &n->stop_timer, n->env->now_ns(n->env));
		else
			n->env->timer_cancel(n->env, &n->stop_timer);
		return;
	}
	/* Credit 0: whoever is the head numbers nothing more. */
	for (unsigned i = 0; i < n->replicas_n; i++)
		peers_commit(&n->replicas[i]);
}

/* ---- views ---- */

struct frame_source *node_frames(struct node *n)
{
	return &n->src;
}

struct buf_pool *node_bufs(struct node *n)
{
	return &n->bufs;
}

unsigned node_chains_n(const struct node *n)
{
	return n->replicas_n;
}

void node_chain_view(const struct node *n, unsigned i, struct node_chain_view *ret)
{
	const struct replica *r = &n->replicas[i];
	bool in = r->repl.in && !n->failed;

	CHECK(i < n->replicas_n);
	*ret = (struct node_chain_view){
		.chain = r->chain,
		.epoch = r->repl.epoch,
		.position = in ? map_chain_position(&r->rec, n->server_id, &n->incarnation) : -1,
		.is_tail = in && r->repl.is_tail,
		.aligned = in && r->repl.aligned,
		.recv = r->repl.recv,
		/* What is being cut off may be there or not. */
		.durable = r->repl.undoing ? r->undo_to : r->repl.durable,
		.token = r->repl.token,
		.commit = r->repl.commit,
		.window_ops = (uint32_t)(r->repl.recv - r->repl.commit),
		.window_bytes = r->window_bytes,
	};
}

struct store *node_store(struct node *n)
{
	return n->store;
}

void node_check(const struct node *n)
{
	uint32_t shared = 0, used = 0;

	for (unsigned i = 0; i < n->replicas_n; i++)
		replica_check(&n->replicas[i]);
	for (uint32_t i = 0; i < n->slots_n; i++) {
		used += n->slots[i].r != NULL;
		shared += n->slots[i].r != NULL && n->slots[i].shared;
	}
	CHECK(shared == n->slots_shared);
	CHECK(shared <= n->slots_shared_max);
	CHECK(used <= n->slots_n);
	buf_pool_check(&n->bufs);
	CHECK(n->frames.free_n <= n->frames.made_n);
}
