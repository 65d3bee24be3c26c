/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_NS 5000000000ull
#define STRANGER_NS 10000000000ull
#define ACCEPT_RETRY_NS 100000000ull
#define CLOSE_NS 2000000000ull
#define USER_TIMEOUT_MS 10000
#define RING_BUFS_MANY 128u
#define RING_BUFS_FEW 64u

static struct tcp *of_env(struct env *e)
{
	return CONTAINER_OF(e, struct reactor, env)->tcp;
}

static void set_options(int fd, const struct addr *a)
{
	int one = 1, ms = USER_TIMEOUT_MS, idle_s = 10, interval_s = 3;

	if (a->any.sa_family != AF_INET)
		return;
	/* None of these can fail on a TCP socket; a connection without them still works. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
}

static void start_receiving(struct env_conn *c)
{
	c->state = CONN_OPEN;
	recv_arm(c);
}

/* ---- connecting ---- */

static void connect_timeout(struct env_timer *t)
{
	conn_fail(CONTAINER_OF(t, struct env_conn, timer), -ETIMEDOUT, "connecting took too long");
}

static void connect_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct env_conn *c = CONTAINER_OF(op, struct env_conn, connect_op);

	(void)cqe_flags;
	c->connect_armed = false;
	if (c->state == CONN_DEAD) {
		conn_reap(c);
		return;
	}
	timers_cancel(c->tcp->r, &c->timer);
	if (res < 0) {
		conn_fail(c, res == -ENOENT ? -ECONNREFUSED : res, conn_why(res));
		conn_reap(c);
		return;
	}
	start_receiving(c);
	if (!list_empty(&c->sendq))
		conn_mark_dirty(c);
	if (c->ev->opened)
		c->ev->opened(c, c->owner);
}

static struct env_conn *tcp_connect(struct env *e, const char *addr, const struct conn_events *ev,
				    void *owner)
{
	struct tcp *t = of_env(e);
	char err[IO_ERR_BYTES];
	struct io_uring_sqe *sqe;
	struct env_conn *c;
	struct addr a;
	int fd;

	if (addr_parse(addr, &a, err) < 0)
		goto refused;
	if (!addr_plaintext_ok(&a, t->cfg.insecure_lab, false)) {
		addr_plaintext_error(&a, err);
		goto refused;
	}
	fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(err, sizeof(err), "connection to %s: %s", addr, strerror(errno));
		goto refused;
	}
	c = conn_new(t, fd);
	if (!c) {
		snprintf(err, sizeof(err), "connection to %s: all %u connections are in use", addr,
			 t->cfg.conns_max);
		close(fd);
		goto refused;
	}
	set_options(fd, &a);
	c->state = CONN_CONNECTING;
	c->ev = ev;
	c->owner = owner;
	c->addr = a;
	addr_text(&a, c->peer);
	c->connect_op.fn = connect_done;
	c->connect_armed = true;
	sqe = uring_sqe(t->r);
	io_uring_prep_connect(sqe, fd, &c->addr.any, c->addr.len);
	io_uring_sqe_set_data(sqe, &c->connect_op);
	c->timer.fn = connect_timeout;
	timers_arm(t->r, &c->timer, e->now_ns(e) + CONNECT_NS);
	return c;
refused:
	e->log(e, ENV_ERR, err);
	return NULL;
}

/* ---- accepting ---- */

static void accept_done(struct uring_op *op, int res, uint32_t cqe_flags);

static void accept_arm(struct listener *l)
{
	struct io_uring_sqe *sqe = uring_sqe(l->tcp->r);

	if (l->single)
		io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
	else
		io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
	l->op.fn = accept_done;
	io_uring_sqe_set_data(sqe, &l->op);
	l->armed = true;
}

static void accept_retry(struct env_timer *t)
{
	struct listener *l = CONTAINER_OF(t, struct listener, timer);

	if (l->fd >= 0 && !l->armed)
		accept_arm(l);
}

static void stranger_timeout(struct env_timer *t)
{
	conn_fail(CONTAINER_OF(t, struct env_conn, timer), -ETIMEDOUT,
		  "it did not say who it is (CONNECT)");
}

static void accepted(struct listener *l, int fd)
{
	struct tcp *t = l->tcp;
	struct addr a = {.len = sizeof(a.un)};
	char err[IO_ERR_BYTES];
	struct env_conn *c;

	if (getpeername(fd, &a.any, &a.len) < 0) { /* gone already */
		close(fd);
		return;
	}
	if (!addr_plaintext_ok(&a, t->cfg.insecure_lab, false)) {
		addr_plaintext_error(&a, err);
		t->r->env.log(&t->r->env, ENV_WARN, err);
		close(fd);
		return;
	}
	c = conn_new(t, fd);
	if (!c) {
		env_logf(&t->r->env, ENV_WARN, "io: connection refused: all %u are in use",
			 t->cfg.conns_max);
		close(fd);
		return;
	}
	set_options(fd, &a);
	c->addr = a;
	addr_text(&a, c->peer);
	c->accepted = true;
	c->state = CONN_ACCEPTED;
	/* A slot is not for those who only hold it. */
	c->timer.fn = stranger_timeout;
	timers_arm(t->r, &c->timer, t->r->env.now_ns(&t->r->env) + STRANGER_NS);
	l->accepted(l->arg, c);
	if (c->state == CONN_ACCEPTED)
		conn_kill(c);
}

static void accept_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct listener *l = CONTAINER_OF(op, struct listener, op);
	struct env *e = &l->tcp->r->env;

	if (!(cqe_flags & IORING_CQE_F_MORE))
		l->armed = false;
	if (l->fd < 0) {
		if (res >= 0)
			close(res);
		return;
	}
	if (res >= 0) {
		accepted(l, res);
	} else if (res == -EINVAL && !l->single) {
		l->single = true;
	} else if (res != -ECONNABORTED && res != -EINTR && res != -EAGAIN) {
		env_logf(e, ENV_WARN, "io: accepting failed: %s", strerror(-res));
		timers_arm(l->tcp->r, &l->timer, e->now_ns(e) + ACCEPT_RETRY_NS);
		return;
	}
	if (!l->armed && l->fd >= 0)
		accept_arm(l);
}

/* A socket file nobody listens on is a leftover. */
static void remove_stale_unix(const struct addr *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return;
	if (connect(fd, &a->any, a->len) < 0 && errno == ECONNREFUSED)
		unlink(a->un.sun_path);
	close(fd);
}

/* After kill -9 the port was once found in use by the next start. Likely the dead process's ring
 * held it a moment longer through its pending accept; that was not proved. Waits up to a second.
 * Blocking; nothing runs yet. */
static int bind_patiently(int fd, const struct addr *a)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	int res = -1;

	for (unsigned i = 0; i < 20; i++) {
		res = bind(fd, &a->any, a->len);
		if (res == 0 || errno != EADDRINUSE)
			return res;
		nanosleep(&pause, NULL);
	}
	errno = EADDRINUSE;
	return res;
}

static int listen_fd(const struct addr *a, const char *text, char err[IO_ERR_BYTES])
{
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, res;

	if (fd < 0)
		goto fail;
	if (a->any.sa_family == AF_UNIX)
		remove_stale_unix(a);
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind_patiently(fd, a) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
fail:
	res = -errno;
	snprintf(err, IO_ERR_BYTES, "listening on %s: %s%s", text, strerror(-res),
		 res == -EADDRINUSE ? ": another program does: stop it or choose another port"
				    : "");
	if (fd >= 0)
		close(fd);
	return res;
}

int tcp_listen(struct reactor *r, const char *addr, void (*fn)(void *arg, struct env_conn *c),
	       void *arg, char err[IO_ERR_BYTES])
{
	struct tcp *t = r->tcp;
	struct listener *l;
	struct addr a, bound = {.len = sizeof(bound.un)};
	int fd, res = addr_parse(addr, &a, err);

	if (res < 0)
		return res;
	if (!addr_plaintext_ok(&a, t->cfg.insecure_lab, true)) {
		addr_plaintext_error(&a, err);
		return -EPERM;
	}
	if (t->listeners_n == LISTENERS_MAX) {
		snprintf(err, IO_ERR_BYTES, "listening on %s: at most %u addresses", addr,
			 LISTENERS_MAX);
		return -E2BIG;
	}
	fd = listen_fd(&a, addr, err);
	if (fd < 0)
		return fd;
	t->port = 0;
	if (a.any.sa_family == AF_INET && getsockname(fd, &bound.any, &bound.len) == 0)
		t->port = ntohs(bound.in.sin_port);
	l = &t->listeners[t->listeners_n++];
	memset(l, 0, sizeof(*l));
	l->tcp = t;
	l->fd = fd;
	l->single = t->plain;
	l->accepted = fn;
	l->arg = arg;
	l->timer.fn = accept_retry;
	if (a.any.sa_family == AF_UNIX)
		snprintf(l->unix_path, sizeof(l->unix_path), "%.63s", a.un.sun_path);
	accept_arm(l);
	return 0;
}

unsigned tcp_port(const struct reactor *r)
{
	return r->tcp->port;
}

void tcp_stop_listening(struct reactor *r)
{
	struct tcp *t = r->tcp;

	for (uint32_t i = 0; t && i < t->listeners_n; i++) {
		struct listener *l = &t->listeners[i];

		if (l->fd < 0)
			continue;
		timers_cancel(r, &l->timer);
		if (l->armed) {
			struct io_uring_sqe *sqe = uring_sqe(r);

			io_uring_prep_cancel(sqe, &l->op, 0);
			io_uring_sqe_set_data(sqe, &uring_ignore);
		}
		shutdown(l->fd, SHUT_RDWR);
		close(l->fd);
		l->fd = -1;
		if (l->unix_path[0])
			unlink(l->unix_path);
	}
}

/* ---- env ---- */

static void tcp_attach(struct env *e, struct env_conn *c, const struct conn_events *ev, void *owner)
{
	(void)e;
	c->ev = ev;
	c->owner = owner;
	if (c->state == CONN_ACCEPTED)
		start_receiving(c);
}

static void tcp_send(struct env *e, struct env_conn *c, struct frame *f)
{
	(void)e;
	conn_send(c, f);
}

static uint32_t tcp_send_queue_bytes(struct env *e, struct env_conn *c)
{
	(void)e;
	return c->sendq_bytes;
}

static void tcp_env_close(struct env *e, struct env_conn *c)
{
	(void)e;
	conn_linger(c);
}

const char *tcp_peer(const struct env_conn *c)
{
	return c->peer;
}

/* ---- the end of a turn ---- */

static void reap_dead(struct tcp *t)
{
	LIST_FOR_EACH_SAFE(it, &t->dead)
	conn_reap(CONTAINER_OF(it, struct env_conn, link));
}

static void turn_end(struct reactor *r)
{
	struct tcp *t = r->tcp;
	struct list *item;

	recv_resume(t);
	while ((item = list_first(&t->dirty)))
		conn_flush(CONTAINER_OF(item, struct env_conn, dirty_link));
	reap_dead(t);
}

/* ---- open and close ---- */

static uint32_t ring_bufs(uint32_t conns_max)
{
	return conns_max >= NODE_CONNS_MAX ? RING_BUFS_MANY : RING_BUFS_FEW;
}

size_t tcp_bytes(uint32_t conns_max)
{
	uint32_t n = conns_max ? conns_max : NODE_CONNS_MAX;

	return sizeof(struct tcp) + n * (sizeof(struct env_conn) + CONN_STAGE_BYTES) +
	       rxring_bytes(ring_bufs(n));
}

int tcp_open(struct reactor *r, const struct tcp_config *cfg, char err[IO_ERR_BYTES])
{
	const char *plain = getenv("CHAINBLK_IO_PLAIN");
	struct tcp *t = calloc(1, sizeof(*t));

	CHECK(!r->tcp);
	if (!t)
		goto no_memory;
	t->r = r;
	t->cfg = *cfg;
	if (!t->cfg.conns_max)
		t->cfg.conns_max = NODE_CONNS_MAX;
	t->frames_reserve = MAX(cfg->src->frames->made_n / 8, 4u);
	t->conns = calloc(t->cfg.conns_max, sizeof(struct env_conn));
	t->stages = reactor_memory((size_t)t->cfg.conns_max * CONN_STAGE_BYTES);
	if (!t->conns || !t->stages)
		goto no_memory;
	list_init(&t->free);
	list_init(&t->live);
	list_init(&t->dead);
	list_init(&t->dirty);
	list_init(&t->stalled);
	list_init(&t->starved);
	for (uint32_t i = 0; i < t->cfg.conns_max; i++)
		list_add_tail(&t->free, &t->conns[i].link);
	t->plain = (plain && strcmp(plain, "1") == 0) ||
		   rxring_open(t, ring_bufs(t->cfg.conns_max)) < 0;
	r->tcp = t;
	r->turn_end = turn_end;
	r->env.connect = tcp_connect;
	r->env.attach = tcp_attach;
	r->env.send = tcp_send;
	r->env.send_queue_bytes = tcp_send_queue_bytes;
	r->env.close = tcp_env_close;
	return 0;
no_memory:
	snprintf(err, IO_ERR_BYTES, "network: out of memory for %u connections", cfg->conns_max);
	if (t) {
		reactor_memory_free(t->stages, (size_t)t->cfg.conns_max * CONN_STAGE_BYTES);
		free(t->conns);
	}
	free(t);
	return -ENOMEM;
}

void tcp_close(struct reactor *r)
{
	struct env_timer limit = {.fn = NULL}; /* wakes the loop below; closing runs no timers */
	struct tcp *t = r->tcp;
	struct list *item;
	uint64_t end_ns;

	if (!t)
		return;
	r->closing = true;
	tcp_stop_listening(r);
	while ((item = list_first(&t->live)))
		conn_kill(CONTAINER_OF(item, struct env_conn, link));
	reap_dead(t);
	/* Frames go back to their pools before these are freed; cancels complete at once. */
	end_ns = r->env.now_ns(&r->env) + CLOSE_NS;
	timers_arm(r, &limit, end_ns);
	while (!list_empty(&t->dead) && r->env.now_ns(&r->env) < end_ns) {
		if (uring_turn(r, true) < 0)
			break;
	}
	timers_cancel(r, &limit);
	r->tcp = NULL;
	r->turn_end = NULL;
	rxring_close(t);
	reactor_memory_free(t->stages, (size_t)t->cfg.conns_max * CONN_STAGE_BYTES);
	free(t->conns);
	free(t);
}
