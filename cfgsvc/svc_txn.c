/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Transactions: a job changes a copy of the state, the copy is written, then it counts. */
#include <errno.h>
#include <string.h>

#include "cfgsvc/svc_priv.h"

#define BODY(type, f) ((const struct type *)(const void *)(f)->meta)

/* ---- answers ---- */

static void answer_register(struct svc *s, struct svc_conn *c, const struct frame *f,
			    const struct ctrl_answer *a)
{
	struct wire_registered *b;
	struct ctrl_server_live *l;
	struct frame *out;
	int at;

	if (a->status < 0) {
		svc_conn_drop(c, a->status, "%s", a->text);
		return;
	}
	at = ctrl_server_index(s->cur, (uint32_t)a->value);
	CHECK(at >= 0);
	if (s->server_conn[at] && s->server_conn[at] != c)
		svc_conn_drop(s->server_conn[at], -ESTALE,
			      "server %s: it registered again over another connection",
			      s->cur->map.servers[at].name);
	if (c->server >= 0 && c->server != at) {
		svc_conn_drop(c, -EPROTO, "%s: two stores over one connection", c->name);
		return;
	}
	s->server_conn[at] = c;
	c->server = at;
	l = &s->live->servers[at];
	memset(l, 0, sizeof(*l));
	l->connected = true;
	l->seen_ns = s->env->now_ns(s->env);
	l->report.bytes_total = BODY(wire_register, f)->bytes_total;
	l->report.bytes_free = BODY(wire_register, f)->bytes_free;
	if (f->data)
		ctrl_live_reports(l, (const struct wire_report *)(const void *)f->data->data,
				  f->data->len_bytes / (uint32_t)sizeof(struct wire_report));
	env_logf(s->env, ENV_INFO, "server %s: registered as server %u at %s",
		 s->cur->map.servers[at].name, (unsigned)a->value,
		 s->cur->map.servers[at].addrs[0]);
	s->reform_due = true;
	out = svc_frame(c, WIRE_REGISTERED, sizeof(*b), f->hdr.tag);
	if (!out)
		return;
	b = (struct wire_registered *)(void *)out->meta;
	b->server_id = (uint32_t)a->value;
	svc_send(c, out);
	c->subscribed = true; /* a server always follows the map */
	c->map_due = true;
}

/* It would be registered; nobody hears of it, and nothing has changed. */
static void answer_asked(struct svc_conn *c, const struct frame *f, const struct ctrl_answer *a)
{
	struct frame *out;

	if (a->status < 0) {
		svc_conn_drop(c, a->status, "%s", a->text);
		return;
	}
	out = svc_frame(c, WIRE_REGISTERED, sizeof(struct wire_registered), f->hdr.tag);
	if (!out)
		return;
	out->hdr.flags |= WIRE_F_ASK;
	((struct wire_registered *)(void *)out->meta)->server_id = (uint32_t)a->value;
	svc_send(c, out);
}

static void answer_open(struct svc_conn *c, const struct frame *f, const struct ctrl_answer *a)
{
	struct frame *out = svc_frame(c, WIRE_OPENED, sizeof(struct wire_opened), f->hdr.tag);
	struct wire_opened *b;

	if (!out)
		return;
	b = (struct wire_opened *)(void *)out->meta;
	b->status = a->status;
	b->volume = a->value;
	memcpy(b->text, a->text, sizeof(b->text));
	if (a->status == 0) {
		c->open_volume = a->value;
		c->open_deleting = BODY(wire_open, f)->flags & WIRE_OPEN_DELETING;
	}
	svc_send(c, out);
}

/* The ADMIN_STATUS reply's data; NULL without a buffer. */
static struct buf *status_data(struct svc *s)
{
	const struct chain_map *m = &s->cur->map;
	const struct status_hdr h = {.servers_n = m->hdr.servers_n,
				     .chains_n = m->hdr.chains_n,
				     .map_version = m->hdr.version};
	size_t len = sizeof(h) + h.servers_n * sizeof(struct status_server) +
		     h.chains_n * sizeof(struct status_chain);
	struct buf *b = buf_get(s->cfg.src->bufs, (uint32_t)len, BUF_CLIENT);
	uint8_t *at;

	if (!b)
		return NULL;
	at = b->data;
	memcpy(at, &h, sizeof(h));
	at += sizeof(h);
	for (uint32_t i = 0; i < h.servers_n; i++, at += sizeof(struct status_server)) {
		const struct ctrl_server_live *l = &s->live->servers[i];
		const struct status_server srv = {
			.id = m->servers[i].id,
			.connected = l->connected,
			.silent_ms =
				l->seen_ns ? (s->live->now_ns - l->seen_ns) / 1000000 : UINT64_MAX,
			.report = l->report,
		};

		memcpy(at, &srv, sizeof(srv));
	}
	for (uint32_t i = 0; i < h.chains_n; i++, at += sizeof(struct status_chain)) {
		struct status_chain c;

		ctrl_chain_status(s->cur, s->live, &m->chains[i], &c);
		memcpy(at, &c, sizeof(c));
	}
	return b;
}

static void answer_admin(struct svc *s, struct svc_conn *c, const struct frame *f,
			 struct ctrl_answer *a)
{
	struct buf *data = NULL;
	struct wire_admin_reply *b;
	struct frame *out;

	if (BODY(wire_admin, f)->op == ADMIN_STATUS) {
		*a = (struct ctrl_answer){0};
		data = status_data(s);
		if (!data)
			ctrl_refuse(a, -EAGAIN, "status: out of buffers: try again");
	}
	out = svc_frame(c, WIRE_ADMIN_REPLY, sizeof(*b), f->hdr.tag);
	if (!out) {
		buf_put(data);
		return;
	}
	b = (struct wire_admin_reply *)(void *)out->meta;
	b->status = a->status;
	b->value = a->value;
	memcpy(b->text, a->text, sizeof(b->text));
	if (data)
		frame_set_data(out, data);
	svc_send(c, out);
}

static void job_end(struct svc *s, struct svc_job *job, struct ctrl_answer *a)
{
	struct svc_conn *c = job->from;
	struct frame *f = job->f;

	/* The slot first: answering may close the connection, which looks through the jobs. */
	job->from = NULL;
	job->f = NULL;
	list_add_tail(&s->jobs_free, &job->link);
	if (c) {
		if (f->hdr.flags & WIRE_F_ASK)
			answer_asked(c, f, a);
		else if (f->hdr.type == WIRE_REGISTER)
			answer_register(s, c, f, a);
		else if (f->hdr.type == WIRE_OPEN)
			answer_open(c, f, a);
		else
			answer_admin(s, c, f, a);
	}
	frame_put(f);
}

/* ---- jobs ---- */

static uint32_t opens_of(const struct svc *s, const char *volume)
{
	const struct map_volume *v = chain_map_volume_named(&s->cur->map, volume);
	uint32_t n = 0;

	if (!v)
		return 0;
	LIST_FOR_EACH(it, &s->conns)
	{
		const struct svc_conn *c = CONTAINER_OF(it, struct svc_conn, link);

		n += c->open_volume == v->id && !c->open_deleting;
	}
	return n;
}

static void put_done(void *arg, int res)
{
	struct svc *s = arg;

	CHECK(s->putting);
	s->put_done = true;
	s->put_res = res;
	svc_kick(s);
}

static void put_next(struct svc *s, struct svc_job *job)
{
	CHECK(!s->putting);
	s->next->map.hdr.version++;
	ctrl_check(s->next);
	s->job = job;
	s->putting = true;
	s->put_done = false;
	ctrl_encode(s->next, s->bytes);
	s->cfg.store->put(s->cfg.store, s->rev, s->bytes, ctrl_encoded_bytes(s->next), put_done, s);
}

static void register_job(struct svc *s, const struct frame *f, struct ctrl_answer *a)
{
	const struct wire_register *r = BODY(wire_register, f);
	const struct wire_report *reports =
		f->data ? (const struct wire_report *)(const void *)f->data->data : NULL;

	ctrl_register(s->next, r, a);
	if (a->status == 0)
		ctrl_register_live(s->cur, s->live, r, reports,
				   f->data ? f->data->len_bytes / (uint32_t)sizeof(*reports) : 0,
				   a);
}

static void job_start(struct svc *s, struct svc_job *job)
{
	const struct frame *f = job->f;
	struct ctrl_answer *a = &s->answer;

	memset(a, 0, sizeof(*a));
	*s->next = *s->cur;
	s->live->now_ns = s->env->now_ns(s->env);
	if (f->hdr.type == WIRE_REGISTER) {
		register_job(s, f, a);
	} else if (f->hdr.type == WIRE_OPEN) {
		ctrl_open(s->next, BODY(wire_open, f), a);
	} else if (BODY(wire_admin, f)->op != ADMIN_STATUS) {
		s->live->opens = opens_of(s, BODY(wire_admin, f)->name);
		ctrl_admin(s->next, BODY(wire_admin, f), s->live, a);
	}
	if (a->status == 0 && a->changed && !(f->hdr.flags & WIRE_F_ASK))
		put_next(s, job);
	else
		job_end(s, job, a);
}

static void reform(struct svc *s)
{
	uint32_t n;

	s->reform_due = false;
	s->live->now_ns = s->env->now_ns(s->env);
	if (ctrl_reformable(s->cur, s->live) == 0)
		return;
	*s->next = *s->cur;
	n = ctrl_reform(s->next, s->live);
	env_logf(s->env, ENV_INFO,
		 "forming %u chains again: all members are there, some started anew", n);
	put_next(s, NULL);
}

/* ---- the end of a transaction ---- */

static void announce_ready(struct svc *s, int res, const char *why)
{
	void (*ready)(void *arg, int res, const char *why) = s->ready;

	if (!ready)
		return;
	s->ready = NULL;
	s->loaded = res == 0;
	ready(s->ready_arg, res, why);
}

static void put_worked(struct svc *s)
{
	struct ctrl_state *old = s->cur;

	s->cur = s->next;
	s->next = old;
	s->rev++;
	LIST_FOR_EACH(it, &s->conns)
	CONTAINER_OF(it, struct svc_conn, link)->map_due = true;
	if (s->job)
		job_end(s, s->job, &s->answer);
	s->job = NULL;
	announce_ready(s, 0, NULL);
}

static void put_failed(struct svc *s)
{
	static const char why[] = "the configuration could not be written: see the log of cfgsvc";

	env_logf(s->env, ENV_ERR, "%s (%d)", why, s->put_res);
	ctrl_refuse(&s->answer, s->put_res, "%s", why);
	if (s->job)
		job_end(s, s->job, &s->answer);
	s->job = NULL;
	announce_ready(s, s->put_res, why);
}

static void put_end(struct svc *s)
{
	s->putting = false;
	s->put_done = false;
	if (s->put_res == 0) {
		put_worked(s);
	} else if (s->put_res == -ESTALE) {
		/* Another configuration service wrote first: look again, then decide anew. */
		if (s->job)
			list_add_head(&s->jobs, &s->job->link);
		s->job = NULL;
		s->reform_due = true;
		svc_load(s);
	} else {
		put_failed(s);
	}
}

static void on_run(struct env_task *t)
{
	struct svc *s = CONTAINER_OF(t, struct svc, run);
	struct list *item;

	if (s->stopping)
		return;
	if (s->putting && s->put_done)
		put_end(s);
	while (!s->putting && s->loaded && (item = list_pop(&s->jobs)))
		job_start(s, CONTAINER_OF(item, struct svc_job, link));
	if (!s->putting && s->loaded && s->reform_due)
		reform(s);
	svc_push_maps(s);
}

/* ---- loading ---- */

static void put_first(struct svc *s)
{
	struct id128 cluster;
	uint64_t words[2] = {s->env->random_u64(s->env), s->env->random_u64(s->env) | 1};

	memcpy(cluster.b, words, sizeof(cluster.b));
	ctrl_new(s->next, &cluster);
	s->next->map.hdr.version = 0; /* put_next() makes it 1 */
	env_logf(s->env, ENV_INFO, "a new cluster");
	put_next(s, NULL);
}

static void on_loaded(void *arg, int res, const void *bytes, size_t len, uint64_t rev)
{
	struct svc *s = arg;
	const char *why = "the configuration could not be read";

	s->rev = rev;
	if (res == 0 && len == 0) {
		put_first(s);
		return;
	}
	if (res == 0)
		res = ctrl_decode(bytes, len, s->next, &why);
	if (res < 0) {
		env_logf(s->env, ENV_ERR, "%s (%d)", why, res);
		announce_ready(s, res, why);
		return;
	}
	*s->cur = *s->next;
	s->live->started_ns = s->env->now_ns(s->env);
	s->loaded = true;
	LIST_FOR_EACH(it, &s->conns)
	CONTAINER_OF(it, struct svc_conn, link)->map_due = true;
	announce_ready(s, 0, NULL);
	svc_kick(s);
}

void svc_load(struct svc *s)
{
	s->loaded = false;
	s->cfg.store->load(s->cfg.store, on_loaded, s);
}

/* ---- interface to svc.c ---- */

void svc_txn_init(struct svc *s)
{
	list_init(&s->jobs);
	list_init(&s->jobs_free);
	for (uint32_t i = 0; i < SVC_JOBS_MAX; i++)
		list_add_tail(&s->jobs_free, &s->job_slots[i].link);
	s->run.fn = on_run;
}

void svc_kick(struct svc *s)
{
	s->env->defer(s->env, &s->run);
}

void svc_job_add(struct svc_conn *c, struct frame *f)
{
	struct svc *s = c->svc;
	struct list *slot = list_pop(&s->jobs_free);
	struct svc_job *job;

	if (!slot) {
		svc_conn_drop(c, -EAGAIN, "%s: too many requests are waiting: try again", c->name);
		return;
	}
	job = CONTAINER_OF(slot, struct svc_job, link);
	job->from = c;
	job->f = frame_ref(f);
	list_add_tail(&s->jobs, &job->link);
	svc_kick(s);
}

void svc_jobs_forget(struct svc_conn *c)
{
	struct svc *s = c->svc;

	if (s->job && s->job->from == c)
		s->job->from = NULL;
	LIST_FOR_EACH_SAFE(it, &s->jobs)
	{
		struct svc_job *job = CONTAINER_OF(it, struct svc_job, link);

		if (job->from != c)
			continue;
		list_del(&job->link);
		frame_put(job->f);
		job->from = NULL;
		job->f = NULL;
		list_add_tail(&s->jobs_free, &job->link);
	}
}
