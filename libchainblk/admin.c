/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* One question, one answer, one connection. The caller's thread drives the loop. */

#include "libchainblk/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/size.h"
#include "libchainblk/loop.h"
#include "libchainblk/volume.h"

#define CONNECT_NS 5000000000ull
#define ANSWER_NS 30000000000ull
#define FRAMES_N 32u

struct ask {
	struct loop *loop;
	struct env *env;
	struct env_conn *conn; /* NULL: none */
	struct env_timer timer;
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	uint32_t addr_i; /* the one being tried */
	bool connected;
	/* the question */
	enum wire_type type; /* WIRE_ADMIN or WIRE_MAP_GET */
	const struct wire_admin *req;
	/* the answer */
	struct frame *answer;
	int res;
	char *err;
};

static void finish(struct ask *a, int res)
{
	a->res = res;
	a->env->timer_cancel(a->env, &a->timer);
	if (a->conn)
		a->env->close(a->env, a->conn);
	a->conn = NULL;
	loop_stop(a->loop);
}

static void try_connect(struct ask *a);

/* This address is no good: the next, or the end. */
static void next_addr(struct ask *a, const char *why)
{
	snprintf(a->err, CHAINBLK_ERR_BYTES,
		 "configuration service %s: %s: is cfgsvc running there? (--cfg)",
		 a->addrs[a->addr_i], why);
	if (a->conn)
		a->env->close(a->env, a->conn);
	a->conn = NULL;
	a->addr_i++;
	if (a->addr_i < SERVER_ADDRS_MAX && a->addrs[a->addr_i][0])
		try_connect(a);
	else
		finish(a, -ENOTCONN);
}

static void send_and_put(struct ask *a, struct frame *f)
{
	a->env->send(a->env, a->conn, f);
	frame_put(f);
}

static void on_opened(struct env_conn *c, void *owner)
{
	struct ask *a = owner;
	struct frame *f =
		frame_new(loop_source(a->loop)->frames, WIRE_CONNECT, sizeof(struct wire_connect));
	struct wire_connect *body;

	(void)c;
	CHECK(f); /* the pool is ours alone */
	body = (struct wire_connect *)(void *)f->meta;
	body->role = ROLE_ADMIN;
	snprintf(body->name, sizeof(body->name), "chainctl");
	send_and_put(a, f);
}

static void send_question(struct ask *a, const struct frame *connected)
{
	uint32_t meta = a->type == WIRE_ADMIN ? sizeof(*a->req) : 0;
	struct frame *f = frame_new(loop_source(a->loop)->frames, a->type, meta);

	CHECK(f);
	if (meta)
		memcpy(f->meta, a->req, meta);
	f->hdr.cluster = connected->hdr.cluster;
	f->hdr.to = connected->hdr.from;
	f->hdr.tag = 1;
	a->connected = true;
	a->env->timer_arm(a->env, &a->timer, a->env->now_ns(a->env) + ANSWER_NS);
	send_and_put(a, f);
}

static void on_frame(struct env_conn *c, void *owner, struct frame *f)
{
	enum wire_type want = WIRE_MAP;
	struct ask *a = owner;

	(void)c;
	if (a->type == WIRE_ADMIN)
		want = WIRE_ADMIN_REPLY;
	if (f->hdr.type == WIRE_CONNECTED) {
		if (((const struct wire_connected *)(const void *)f->meta)->role == ROLE_CFG)
			send_question(a, f);
		else
			next_addr(a, "that is a chaind, not a configuration service");
	} else if (f->hdr.type == WIRE_ERROR) {
		next_addr(a, ((const struct wire_error *)(const void *)f->meta)->text);
	} else if (f->hdr.type == want) {
		a->answer = frame_ref(f);
		finish(a, f->flags & FRAME_DROPPED_DATA ? -ENOMEM : 0);
	}
}

static void on_closed(struct env_conn *c, void *owner, int err, const char *why)
{
	struct ask *a = owner;

	(void)c;
	a->conn = NULL;
	if (!a->connected) {
		next_addr(a, why);
		return;
	}
	/* Asked already: whether it was done is not known, so it is not asked elsewhere. */
	snprintf(a->err, CHAINBLK_ERR_BYTES,
		 "configuration service %s: %s before it answered: look (chainctl status) and try "
		 "again",
		 a->addrs[a->addr_i], why);
	finish(a, err == -EPROTO ? -EPROTO : -ENOTCONN);
}

static const struct conn_events events = {
	.opened = on_opened, .frame = on_frame, .closed = on_closed};

static void on_timer(struct env_timer *t)
{
	struct ask *a = CONTAINER_OF(t, struct ask, timer);

	if (!a->connected) {
		next_addr(a, "it does not answer");
		return;
	}
	snprintf(a->err, CHAINBLK_ERR_BYTES,
		 "configuration service %s: no answer in %llu s: look at its log",
		 a->addrs[a->addr_i], ANSWER_NS / 1000000000);
	finish(a, -ETIMEDOUT);
}

static void try_connect(struct ask *a)
{
	a->conn = a->env->connect(a->env, a->addrs[a->addr_i], &events, a);
	if (!a->conn) {
		next_addr(a, "not an address that can be used");
		return;
	}
	a->env->timer_arm(a->env, &a->timer, a->env->now_ns(a->env) + CONNECT_NS);
}

/* What the loop has to say is in the error text already, but for the plaintext refusal. */
static void on_log(void *arg, int level, const char *line)
{
	(void)arg;
	if (level <= ENV_ERR)
		fprintf(stderr, "%s\n", line);
}

/* Ask @type; the answer is @a->answer, to be put before loop_close(). */
static int ask(struct ask *a, const char *cfg_addrs, const char *insecure_lab)
{
	struct loop_config lc = {.insecure_lab = insecure_lab,
				 .frames_n = FRAMES_N,
				 .conns_max = SERVER_ADDRS_MAX + 4,
				 .bufs = {.small_n = 4, .large_n = 4},
				 .log = on_log,
				 .arg = a};
	uint32_t n;
	int res;

	if (addr_list_parse(cfg_addrs, a->addrs, &n) < 0) {
		snprintf(a->err, CHAINBLK_ERR_BYTES,
			 "configuration service '%.80s': write host:port or unix:/path, at most %u "
			 "separated by commas",
			 cfg_addrs, SERVER_ADDRS_MAX);
		return -EINVAL;
	}
	res = loop_open(&lc, &a->loop, a->err);
	if (res < 0)
		return res;
	a->env = loop_env(a->loop);
	a->timer.fn = on_timer;
	a->res = -EINPROGRESS;
	try_connect(a);
	if (a->res == -EINPROGRESS) {
		res = loop_run(a->loop);
		if (res < 0) {
			snprintf(a->err, CHAINBLK_ERR_BYTES, "io_uring failed: %s", strerror(-res));
			a->res = res;
		}
	}
	if (a->res == -ENOMEM)
		snprintf(a->err, CHAINBLK_ERR_BYTES, "no buffer for the answer");
	return a->res;
}

static void ask_fini(struct ask *a)
{
	frame_put(a->answer);
	loop_close(a->loop);
}

int chainblk_admin(const char *cfg_addrs, const char *insecure_lab, const struct wire_admin *req,
		   struct wire_admin_reply *ret_reply, void **ret_data, size_t *ret_data_len,
		   char err[CHAINBLK_ERR_BYTES])
{
	struct ask a = {.type = WIRE_ADMIN, .req = req, .err = err};
	int res = ask(&a, cfg_addrs, insecure_lab);
	void *data = NULL;
	size_t len = 0;

	if (res == 0 && a.answer->data) {
		len = a.answer->data->len_bytes;
		data = malloc(len);
		if (data)
			memcpy(data, a.answer->data->data, len);
		else
			res = -ENOMEM;
	}
	if (res == 0) {
		memcpy(ret_reply, a.answer->meta, sizeof(*ret_reply));
		*ret_data = data;
		*ret_data_len = len;
	}
	ask_fini(&a);
	return res;
}

int chainblk_admin_map(const char *cfg_addrs, const char *insecure_lab, struct chain_map *ret_map,
		       char err[CHAINBLK_ERR_BYTES])
{
	struct ask a = {.type = WIRE_MAP_GET, .err = err};
	int res = ask(&a, cfg_addrs, insecure_lab);
	const char *why;

	if (res == 0 &&
	    (!a.answer->data || chain_map_decode(a.answer->data->data, a.answer->data->len_bytes,
						 ret_map, &why) < 0)) {
		snprintf(err, CHAINBLK_ERR_BYTES,
			 "configuration service %s: its map is not one: same version of both?",
			 a.addrs[a.addr_i]);
		res = -EPROTO;
	}
	ask_fini(&a);
	return res;
}

int chainblk_open_deleting(const struct chainblk_options *opt, struct chainblk **ret_vol,
			   char err[CHAINBLK_ERR_BYTES])
{
	return volume_open(opt, true, ret_vol, err);
}
