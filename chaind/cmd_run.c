/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* `chaind run`: serves a store. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chaind/cmd.h"
#include "chaind/cmd_memory.h"
#include "chaind/node.h"
#include "io/addr.h"
#include "io/disk.h"
#include "io/reactor.h"
#include "io/tcp.h"
#include "lib/arena.h"
#include "store/store.h"

#define STOP_NS (10ull * 1000 * 1000 * 1000)

struct program {
	const struct options *opt;
	struct node_config cfg;
	char listen[SERVER_ADDRS_MAX][ADDR_BYTES];
	struct reactor *reactor;
	struct env_disk *disk;
	struct arena arena;
	struct memory_plan memory;
	struct node *node;
	bool stopping;
	int status;
};

static void on_stopped(void *arg)
{
	struct program *p = arg;

	reactor_stop(p->reactor);
}

static void on_signal(void *arg, int signo)
{
	struct program *p = arg;
	struct env *env = reactor_env(p->reactor);

	if (p->stopping) {
		fprintf(stderr, "chaind: %s: second signal, stopping at once\n", p->cfg.name);
		p->status = EXIT_FAILURE;
		reactor_stop(p->reactor);
		return;
	}
	p->stopping = true;
	fprintf(stderr, "chaind: %s: %s, finishing what is in flight\n", p->cfg.name,
		signo == SIGINT ? "SIGINT" : "SIGTERM");
	tcp_stop_listening(p->reactor);
	node_stop(p->node, env->now_ns(env) + STOP_NS, on_stopped, p);
}

static void on_ready(void *arg, int res, const char *why)
{
	struct program *p = arg;

	if (res < 0) {
		p->status = cmd_fail(p->opt->store, why);
		reactor_stop(p->reactor);
		return;
	}
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && p->listen[i][0] != '\0'; i++)
		fprintf(stderr, "chaind: %s ready on %s\n", p->cfg.name, p->listen[i]);
}

static void on_accept(void *arg, struct env_conn *c)
{
	struct program *p = arg;

	node_accept(p->node, c);
}

/* Port 0 becomes the one the kernel chose, so that it can be registered. */
static void note_port(char addr[ADDR_BYTES], unsigned port)
{
	char *colon = strrchr(addr, ':');

	if (port == 0 || !colon || strcmp(colon, ":0") != 0)
		return;
	snprintf(colon, ADDR_BYTES - (size_t)(colon - addr), ":%u", port);
}

static int listen_all(struct program *p, char err[IO_ERR_BYTES])
{
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && p->listen[i][0] != '\0'; i++) {
		int rc = tcp_listen(p->reactor, p->listen[i], on_accept, p, err);

		if (rc < 0)
			return rc;
		note_port(p->listen[i], tcp_port(p->reactor));
	}
	if (!p->opt->advertise)
		memcpy(p->cfg.addrs, p->listen, sizeof(p->cfg.addrs));
	return 0;
}

static int open_all(struct program *p, char err[IO_ERR_BYTES])
{
	struct disk_config dc = {.path = p->opt->store,
				 .trust_write_through = p->opt->trust_write_through};
	int rc = reactor_open(&(struct reactor_config){.spin_us = 0}, &p->reactor, err);

	if (rc == 0)
		rc = reactor_signals(p->reactor, on_signal, p, err);
	if (rc == 0)
		rc = disk_open(p->reactor, &dc, &p->disk, err);
	return rc;
}

/* The network wants the frame source, the node wants to know its port: pools first, then the
 * listeners, then start. */
static int serve(struct program *p, void *mem, size_t len, char err[IO_ERR_BYTES])
{
	struct tcp_config tc = {.insecure_lab = p->opt->insecure_lab};
	struct id128 incarnation;
	char text[MEMORY_TEXT_BYTES];
	int rc;

	arena_init(&p->arena, mem, len);
	cmd_random(&incarnation, sizeof(incarnation));
	p->node = node_init(&p->cfg, reactor_env(p->reactor), p->disk, &incarnation, &p->arena);
	tc.src = node_frames(p->node);
	reactor_region(p->reactor, node_bufs(p->node)->region, node_bufs(p->node)->region_bytes);
	rc = tcp_open(p->reactor, &tc, err);
	if (rc == 0)
		rc = listen_all(p, err);
	if (rc < 0)
		return rc;
	node_set_addrs(p->node, p->cfg.addrs);
	memory_text(&p->memory, 1, text);
	fprintf(stderr, "chaind: %s: %s\n", p->cfg.name, text);
	node_start(p->node, on_ready, p);
	rc = reactor_run(p->reactor);
	if (rc < 0)
		snprintf(err, IO_ERR_BYTES, "io_uring failed: %s", strerror(-rc));
	return rc;
}

/* What can never be reached is said at once; a name that is not known now may be later. */
static int check_cfg(const struct program *p, char err[IO_ERR_BYTES])
{
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && p->cfg.cfg_addrs[i][0] != '\0'; i++) {
		struct addr a;
		int rc = addr_parse(p->cfg.cfg_addrs[i], &a, err);

		if (rc == -EADDRNOTAVAIL)
			continue;
		if (rc == 0 && !addr_plaintext_ok(&a, p->opt->insecure_lab, false)) {
			addr_plaintext_error(&a, err);
			rc = -EPERM;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int serve_store(struct program *p)
{
	char err[IO_ERR_BYTES] = "";
	void *mem = NULL;
	size_t len = 0;
	int rc = check_cfg(p, err);

	if (rc == 0)
		rc = open_all(p, err);
	if (rc == 0 && p->disk->size_bytes < STORE_BYTES_MIN) {
		rc = -EINVAL;
		snprintf(err, sizeof(err), "too short to be a store: make one with chaind format");
	}
	if (rc == 0) {
		p->cfg.disk_bytes = p->disk->size_bytes;
		p->cfg.chains_max = NODE_CHAINS_MAX;
		rc = memory_plan(&p->cfg, 1, p->opt->memory_bytes, &p->memory, err);
	}
	if (rc == 0) {
		len = node_memory(&p->cfg);
		mem = reactor_memory(len);
		if (mem)
			rc = serve(p, mem, len, err);
		else
			rc = -ENOMEM;
		if (!mem)
			snprintf(err, sizeof(err), "no memory: %zu bytes wanted", len);
	}
	if (rc < 0)
		p->status = cmd_fail(p->opt->store, err);
	if (p->status != EXIT_SUCCESS) {
		/* Not stopped in order: the disk may have something in flight, in memory that must
		 * stay until it is done. The kernel sees to both when the process ends. */
		if (p->node)
			tcp_stop_listening(p->reactor);
		return p->status;
	}
	tcp_close(p->reactor);
	disk_close(p->disk);
	reactor_close(p->reactor);
	reactor_memory_free(mem, len);
	return p->status;
}

static int take_addrs(const char *option, const char *list, char ret[SERVER_ADDRS_MAX][ADDR_BYTES])
{
	char err[IO_ERR_BYTES];

	if (tcp_parse_addrs(list, ret, err) == 0)
		return 0;
	fprintf(stderr, "chaind: --%s: %s\n", option, err);
	return -EINVAL;
}

static int prepare_run(struct program *p)
{
	const struct options *o = p->opt;

	if (!o->name || !o->cfg || !o->listen)
		return cmd_usage_error("run needs --name, --cfg and --listen");
	if (!name_is_valid(o->name, SERVER_NAME_BYTES))
		return cmd_usage_error(
			"--name: 1 to 31 letters, digits, '.', '_' or '-', not starting "
			"with '.' or '-'");
	if (take_addrs("cfg", o->cfg, p->cfg.cfg_addrs) < 0 ||
	    take_addrs("listen", o->listen, p->listen) < 0 ||
	    take_addrs("advertise", o->advertise ? o->advertise : o->listen, p->cfg.addrs) < 0)
		return 2;
	snprintf(p->cfg.name, sizeof(p->cfg.name), "%s", o->name);
	return 0;
}

int cmd_run(const struct options *o)
{
	static struct program p;
	int rc;

	p.opt = o;
	rc = prepare_run(&p);
	return rc != 0 ? rc : serve_store(&p);
}
