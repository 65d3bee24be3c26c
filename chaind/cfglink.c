/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The connection to the configuration service. Its loss stops no I/O: chains go on in the epoch
 * they are in, and the link comes back by itself. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RETRY_MIN_NS (100ull * 1000 * 1000)
#define RETRY_MAX_NS (2000ull * 1000 * 1000)
#define ANSWER_NS (5ull * 1000 * 1000 * 1000)
/* Longer than it takes cfgsvc to notice that the daemon before us is gone. */
#define TAKEN_NS (10ull * 1000 * 1000 * 1000)

static void drop(struct node *n, bool close)
{
	struct cfglink *l = &n->cfglink;
	struct env *env = n->env;
	struct env_conn *c = l->c;
	uint64_t wait = MIN(RETRY_MIN_NS << MIN(l->failures, 6u), RETRY_MAX_NS);

	l->c = NULL;
	l->state = CFG_DOWN;
	l->failures++;
	l->retry_ns = env->now_ns(env) + wait / 2 + env->random_u64(env) % (wait / 2 + 1);
	if (close && c)
		env->close(env, c);
}

/* Every replica of the store, members or not: cfgsvc re-forms chains from this. */
static struct buf *reports(struct node *n)
{
	uint32_t len = n->replicas_n * (uint32_t)sizeof(struct wire_report);
	struct buf *b = buf_get(&n->bufs, len, BUF_NODE);
	struct wire_report *w;

	if (!b)
		return NULL;
	w = (struct wire_report *)(void *)b->data;
	for (unsigned i = 0; i < n->replicas_n; i++) {
		const struct replica *r = &n->replicas[i];

		w[i] = (struct wire_report){
			.chain = r->chain,
			.state = n->failed    ? REPLICA_FAILED
				 : r->repl.in ? REPLICA_IN
					      : REPLICA_OUT,
			.epoch = r->stored_epoch,
			.last = r->repl.durable,
			.known = r->repl.commit,
		};
	}
	return b;
}

static bool attach_reports(struct node *n, struct frame *f)
{
	struct buf *b;

	if (n->replicas_n == 0)
		return true;
	b = reports(n);
	if (!b)
		return false;
	frame_set_data(f, b);
	f->hdr.flags |= WIRE_F_DATA_CRC;
	return true;
}

static void send_report(struct node *n)
{
	struct cfglink *l = &n->cfglink;
	struct frame *f = node_frame(n, WIRE_REPORT, sizeof(struct wire_server_report));
	struct wire_server_report *rep;
	struct store_stats st;

	if (!f || !attach_reports(n, f)) {
		frame_put(f);
		return; /* the next tick tries again */
	}
	store_stats(n->store, &st);
	rep = (struct wire_server_report *)(void *)f->meta;
	*rep = (struct wire_server_report){
		.bytes_total = st.bytes_total,
		.bytes_free = st.bytes_free,
		.log_bytes = st.log_bytes,
		.log_used_bytes = st.log_used_bytes,
		.reads = n->reads_blocks,
		.writes = n->writes_blocks,
		.disk_written_bytes = st.written_bytes,
		.rss_bytes = n->memory_bytes,
	};
	l->report_now = false;
	l->report_ns = n->env->now_ns(n->env) + REPORT_NS;
	node_send(n, l->c, f);
}

/* @flags: WIRE_F_ASK, or 0 to do it. */
static void send_register(struct node *n, uint16_t flags)
{
	struct cfglink *l = &n->cfglink;
	struct frame *f = node_frame(n, WIRE_REGISTER, sizeof(struct wire_register));
	struct wire_register *reg;
	struct store_stats st;

	if (!f || !attach_reports(n, f)) {
		frame_put(f);
		drop(n, true);
		return;
	}
	store_stats(n->store, &st);
	reg = (struct wire_register *)(void *)f->meta;
	memcpy(reg->name, n->cfg.name, sizeof(reg->name));
	memcpy(reg->addrs, n->cfg.addrs, sizeof(reg->addrs));
	memcpy(reg->domain, n->cfg.domain, sizeof(reg->domain));
	reg->disk = n->disk_id;
	reg->previous = n->earlier[n->earlier_at];
	reg->incarnation = n->incarnation;
	reg->bytes_total = st.bytes_total;
	reg->bytes_free = st.bytes_free;
	f->hdr.flags |= flags;
	l->state = flags & WIRE_F_ASK ? CFG_ASKING : CFG_REGISTERING;
	node_send(n, l->c, f);
}

static void on_opened(struct env_conn *c, void *owner)
{
	struct node *n = owner;
	struct frame *f = node_frame(n, WIRE_CONNECT, sizeof(struct wire_connect));
	struct wire_connect *hello;

	CHECK(n->cfglink.c == c);
	if (!f) {
		drop(n, true);
		return;
	}
	hello = (struct wire_connect *)(void *)f->meta;
	hello->role = ROLE_NODE;
	hello->server_id = n->server_id;
	memcpy(hello->name, n->cfg.name, sizeof(hello->name));
	n->cfglink.state = CFG_GREETING;
	node_send(n, c, f);
}

static void cluster_noted(void *arg, int res)
{
	struct node *n = arg;

	n->cluster_setting = false;
	if (n->closed)
		return;
	if (res < 0) {
		node_ready(n, res, "store: the cluster id could not be written");
		return;
	}
	n->cluster_new = false;
	if (n->cfglink.state == CFG_CLUSTER)
		send_register(n, 0);
}

/* The next step towards being registered; the service is our cluster's. */
static void announce(struct node *n)
{
	if (!n->claimed) {
		send_register(n, WIRE_F_ASK);
	} else if (!n->store_open) {
		n->cfglink.state = CFG_CLAIMING;
	} else if (!n->cluster_new) {
		send_register(n, 0);
	} else {
		n->cfglink.state = CFG_CLUSTER;
		if (!n->cluster_setting)
			store_set_cluster(n->store, &n->cluster, cluster_noted, n);
		n->cluster_setting = true;
	}
}

void cfglink_store_open(struct node *n)
{
	if (n->cfglink.state == CFG_CLAIMING)
		announce(n);
}

static void on_connected(struct node *n, const struct frame *f)
{
	const struct wire_connected *c = (const struct wire_connected *)(const void *)f->meta;

	if (c->role != ROLE_CFG || id128_is_none(&f->hdr.cluster)) {
		env_logf(n->env, ENV_ERR, "chaind %s: %s is no configuration service", n->cfg.name,
			 n->cfg.cfg_addrs[n->cfglink.addr % SERVER_ADDRS_MAX]);
		drop(n, true);
		return;
	}
	if (id128_is_none(&n->cluster))
		n->cluster = f->hdr.cluster; /* a new store joins the first it meets, for ever */
	if (!id128_eq(&n->cluster, &f->hdr.cluster)) {
		env_logf(n->env, ENV_ERR, "chaind %s: cfgsvc is another cluster's", n->cfg.name);
		drop(n, true);
		node_ready(n, -EPERM,
			   "the store belongs to another cluster than this cfgsvc: "
			   "point --cfg at its own, or format the store");
		return;
	}
	announce(n);
}

static void ask_map(struct node *n)
{
	struct frame *f = node_frame(n, WIRE_MAP_GET, 0);

	n->cfglink.map_lost = f == NULL;
	if (f)
		node_send(n, n->cfglink.c, f);
}

static void on_map(struct node *n, struct frame *f)
{
	const char *why;

	if (f->flags & FRAME_DROPPED_DATA || !f->data) {
		n->cfglink.map_lost = true; /* no buffer: asked again with the next tick */
		return;
	}
	if (chain_map_decode(f->data->data, f->data->len_bytes, n->map_next, &why) < 0) {
		env_logf(n->env, ENV_ERR, "chaind %s: map refused: %s", n->cfg.name, why);
		return;
	}
	install_map(n);
}

/* The store is ours. */
static void on_asked(struct node *n)
{
	n->cfglink.state = CFG_CLAIMING;
	n->claimed = true;
	store_claim(n->store);
}

static void on_registered(struct node *n, const struct frame *f)
{
	const struct wire_registered *r = (const struct wire_registered *)(const void *)f->meta;

	n->server_id = r->server_id;
	n->cfglink.state = CFG_UP;
	n->cfglink.failures = 0;
	n->registered = true;
	store_registered(n->store);
	n->cfglink.report_ns = n->env->now_ns(n->env) + REPORT_NS;
	ask_map(n);
	node_ready(n, 0, NULL);
}

/* Refusals of a registration that will be the same the next time. Others mean later, or that our
 * bytes were damaged on the way. */
static bool is_final(int code)
{
	return code == -ESTALE || code == -EEXIST || code == -EINVAL || code == -EPERM ||
	       code == -ENOSPC;
}

/* Another daemon has the store: the one before us, of whose end cfgsvc has not heard yet, or one
 * that runs on a copy of it. The first passes. */
static bool is_taken_for_good(struct node *n, int code)
{
	struct cfglink *l = &n->cfglink;
	uint64_t now = n->env->now_ns(n->env);

	if (code != -EBUSY)
		return false;
	if (l->taken_ns == 0)
		l->taken_ns = now;
	return now - l->taken_ns > TAKEN_NS;
}

static void on_error(struct node *n, const struct frame *f)
{
	const struct wire_error *e = (const struct wire_error *)(const void *)f->meta;
	bool registering = n->cfglink.state == CFG_REGISTERING || n->cfglink.state == CFG_ASKING;

	if (registering && !n->registered && e->code == -ESTALE &&
	    n->earlier_at + 1 < n->earlier_n) {
		/* It knows us by an earlier start: ask about the next at once. */
		n->earlier_at++;
		n->cfglink.failures = 0;
		drop(n, true);
		return;
	}
	env_logf(n->env, ENV_ERR, "chaind %s: cfgsvc says: %s", n->cfg.name, e->text);
	if (registering && !n->registered && (is_final(e->code) || is_taken_for_good(n, e->code)))
		node_ready(n, e->code, e->text);
	drop(n, true);
}

static void on_frame(struct env_conn *c, void *owner, struct frame *f)
{
	struct node *n = owner;
	struct cfglink *l = &n->cfglink;
	const char *why;
	int rc = wire_frame_check(f, ROLE_CFG, &why);

	CHECK(l->c == c);
	if (rc == 0 && f->hdr.type != WIRE_CONNECTED && f->hdr.type != WIRE_ERROR &&
	    !id128_eq(&f->hdr.cluster, &n->cluster)) {
		rc = -EPERM;
		why = "frame: another cluster's";
	}
	if (rc < 0) {
		env_logf(n->env, ENV_ERR, "chaind %s: cfgsvc: %s", n->cfg.name, why);
		drop(n, true);
		return;
	}
	if (f->hdr.type == WIRE_ERROR)
		on_error(n, f);
	else if (f->hdr.type == WIRE_CONNECTED && l->state == CFG_GREETING)
		on_connected(n, f);
	else if (f->hdr.type == WIRE_REGISTERED && l->state == CFG_ASKING)
		on_asked(n);
	else if (f->hdr.type == WIRE_REGISTERED && l->state == CFG_REGISTERING)
		on_registered(n, f);
	else if (f->hdr.type == WIRE_MAP && l->state == CFG_UP)
		on_map(n, f);
	else if (f->hdr.type == WIRE_STALE && l->state == CFG_UP)
		install_record(n, (const struct map_chain *)(const void *)f->meta);
}

static void on_closed(struct env_conn *c, void *owner, int err, const char *why)
{
	struct node *n = owner;

	CHECK(n->cfglink.c == c);
	if (n->cfglink.failures == 0 || n->cfglink.state == CFG_UP)
		env_logf(n->env, ENV_WARN, "chaind %s: cfgsvc: %s (%d); trying again", n->cfg.name,
			 why, err);
	drop(n, false);
}

static const struct conn_events events = {
	.opened = on_opened, .frame = on_frame, .closed = on_closed};

static void try_connect(struct node *n)
{
	struct cfglink *l = &n->cfglink;
	const char *addr = NULL;

	for (unsigned i = 0; i < SERVER_ADDRS_MAX && !addr; i++) {
		l->addr = (l->addr + 1) % SERVER_ADDRS_MAX;
		if (n->cfg.cfg_addrs[l->addr][0] != '\0')
			addr = n->cfg.cfg_addrs[l->addr];
	}
	CHECK(addr != NULL); /* node_init */
	l->c = n->env->connect(n->env, addr, &events, n);
	if (!l->c) {
		drop(n, false);
		return;
	}
	l->state = CFG_CONNECTING;
	l->since_ns = n->env->now_ns(n->env);
}

void cfglink_open(struct node *n)
{
	n->cfglink.addr = SERVER_ADDRS_MAX - 1;
	try_connect(n);
}

void cfglink_report_soon(struct node *n)
{
	n->cfglink.report_now = true;
	n->env->defer(n->env, &n->flush);
}

void cfglink_tick(struct node *n, uint64_t now_ns)
{
	struct cfglink *l = &n->cfglink;

	if (l->state == CFG_DOWN) {
		if (now_ns >= l->retry_ns)
			try_connect(n);
	} else if (l->state != CFG_UP) {
		if (now_ns - l->since_ns > ANSWER_NS)
			drop(n, true);
	} else {
		if (l->map_lost)
			ask_map(n);
		if (l->report_now || now_ns >= l->report_ns)
			send_report(n);
	}
}

void cfglink_close(struct node *n)
{
	if (n->cfglink.c)
		n->env->close(n->env, n->cfglink.c);
	n->cfglink.c = NULL;
	n->cfglink.state = CFG_DOWN;
}
