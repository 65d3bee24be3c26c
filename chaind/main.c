/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chaind - the storage daemon as a program: `chaind format` makes a store, `chaind run` serves it.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "chaind/node.h"
#include "io/addr.h"
#include "io/disk.h"
#include "io/reactor.h"
#include "io/tcp.h"
#include "lib/arena.h"
#include "lib/size.h"
#include "store/store.h"

#define STOP_NS (10ull * 1000 * 1000 * 1000)
#define LOG_BYTES_MIN (4ull << 20)

struct options {
	const char *store;
	const char *name, *cfg, *listen, *advertise, *insecure_lab;
	uint64_t size_bytes, log_bytes, memory_bytes;
	bool force, trust_write_through;
};

struct program {
	struct options opt;
	struct node_config cfg;
	char listen[SERVER_ADDRS_MAX][ADDR_BYTES];
	struct reactor *reactor;
	struct env_disk *disk;
	struct arena arena;
	struct node *node;
	bool stopping;
	int status;
};

static int fail(const char *thing, const char *why)
{
	fprintf(stderr, "chaind: %s: %s\n", thing, why);
	return EXIT_FAILURE;
}

/* io/ names the store itself. */
static int fail_disk(const char *why)
{
	fprintf(stderr, "chaind: %s\n", why);
	return EXIT_FAILURE;
}

/* Random bytes from the kernel; there is no going on without. */
static void randomize(void *out, size_t len)
{
	if (getrandom(out, len, 0) != (ssize_t)len) {
		fprintf(stderr, "chaind: getrandom: %s\n", strerror(errno));
		exit(EXIT_FAILURE);
	}
}

/* ---- format ---- */

static void on_formatted(void *arg, int res, const char *why)
{
	struct program *p = arg;

	p->status = res < 0 ? fail(p->opt.store, why) : EXIT_SUCCESS;
	reactor_stop(p->reactor);
}

static int format_disk(struct program *p)
{
	struct store_format f = {.log_bytes = p->opt.log_bytes, .force = p->opt.force};
	size_t len = store_format_memory();
	void *mem = reactor_memory(len);
	char size[SIZE_TEXT_BYTES];

	if (!mem)
		return fail(p->opt.store, "no memory to format it");
	arena_init(&p->arena, mem, len);
	randomize(&f.disk, sizeof(f.disk));
	randomize(&f.secret, sizeof(f.secret));
	p->status = EXIT_FAILURE;
	store_format_start(reactor_env(p->reactor), p->disk, &f, &p->arena, on_formatted, p);
	if (reactor_run(p->reactor) < 0)
		p->status = fail(p->opt.store, "io_uring failed while formatting");
	reactor_memory_free(mem, len);
	if (p->status == EXIT_SUCCESS) {
		size_format(p->disk->size_bytes, size);
		fprintf(stderr, "chaind: %s: formatted, %s\n", p->opt.store, size);
	}
	return p->status;
}

static int command_format(struct program *p)
{
	struct disk_config dc = {.path = p->opt.store};
	char err[IO_ERR_BYTES];
	struct stat st;
	bool is_block = stat(p->opt.store, &st) == 0 && S_ISBLK(st.st_mode);

	if (!is_block && p->opt.size_bytes == 0)
		return fail(p->opt.store,
			    "a store in a file needs --size, for instance --size 10G");
	if (!p->opt.force && disk_check_unused(p->opt.store, err) < 0)
		return fail_disk(err);
	if (!is_block && disk_create_file(p->opt.store, p->opt.size_bytes, err) < 0)
		return fail_disk(err);
	if (reactor_open(&(struct reactor_config){0}, &p->reactor, err) < 0)
		return fail("io_uring", err);
	if (disk_open(p->reactor, &dc, &p->disk, err) < 0)
		p->status = fail_disk(err);
	else
		p->status = format_disk(p);
	disk_close(p->disk);
	reactor_close(p->reactor);
	return p->status;
}

/* ---- run ---- */

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
		p->status = fail(p->opt.store, why);
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
	if (!p->opt.advertise)
		memcpy(p->cfg.addrs, p->listen, sizeof(p->cfg.addrs));
	return 0;
}

static int open_all(struct program *p, char err[IO_ERR_BYTES])
{
	struct disk_config dc = {.path = p->opt.store,
				 .trust_write_through = p->opt.trust_write_through};
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
	struct tcp_config tc = {.insecure_lab = p->opt.insecure_lab};
	struct id128 incarnation;
	char size[SIZE_TEXT_BYTES];
	int rc;

	arena_init(&p->arena, mem, len);
	randomize(&incarnation, sizeof(incarnation));
	p->node = node_init(&p->cfg, reactor_env(p->reactor), p->disk, &incarnation, &p->arena);
	tc.src = node_frames(p->node);
	reactor_region(p->reactor, node_bufs(p->node)->region, node_bufs(p->node)->region_bytes);
	rc = tcp_open(p->reactor, &tc, err);
	if (rc == 0)
		rc = listen_all(p, err);
	if (rc < 0)
		return rc;
	node_set_addrs(p->node, p->cfg.addrs);
	size_format(len, size);
	fprintf(stderr, "chaind: %s: memory %s, taken at start; nothing is allocated later\n",
		p->cfg.name, size);
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
		if (rc == 0 && !addr_plaintext_ok(&a, p->opt.insecure_lab, false)) {
			addr_plaintext_error(&a, err);
			rc = -EPERM;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int command_run(struct program *p)
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
		p->cfg.memory_bytes = p->opt.memory_bytes;
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
		p->status = fail(p->opt.store, err);
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

/* ---- command line ---- */

static const char usage_text[] =
	"usage: chaind format STORE --size SIZE [--log-size SIZE] [--force]\n"
	"       chaind run STORE --name NAME --cfg ADDR[,ADDR...] --listen ADDR[,ADDR...]\n"
	"                  [--advertise ADDR[,ADDR...]] [--memory SIZE]\n"
	"                  [--trust-write-through] [--insecure-lab=PREFIX]\n"
	"\n"
	"The storage daemon of a chainblk cluster. STORE is a file or a block device.\n"
	"\n"
	"  --size SIZE            length of a store in a file (K, M, G, T: powers of 1024)\n"
	"  --log-size SIZE        length of its device log (default: 5 %, at least 64M)\n"
	"  --force                format even what holds data already: it is lost\n"
	"  --name NAME            name of this server in the cluster\n"
	"  --cfg ADDR[,...]       the configuration service: host:port or unix:/path\n"
	"  --listen ADDR[,...]    where to serve\n"
	"  --advertise ADDR[,...] how others reach it (default: the --listen addresses)\n"
	"  --memory SIZE          payload buffers (default: 48M)\n"
	"  --trust-write-through  believe a block device that says it has no volatile cache\n"
	"  --insecure-lab=PREFIX  allow plaintext to addresses that begin with PREFIX; it is\n"
	"                         otherwise refused off loopback and unix sockets\n"
	"  -h, --help  --version\n";

static int usage_error(const char *what)
{
	fprintf(stderr, "chaind: %s\n\n%s", what, usage_text);
	return 2;
}

static int take_size(const char *option, const char *text, uint64_t *ret)
{
	if (size_parse(text, ret) == 0 && *ret > 0)
		return 0;
	fprintf(stderr, "chaind: --%s %s: not a size: digits and one of K, M, G, T\n", option,
		text);
	return -EINVAL;
}

static const struct option longs[] = {
	{"size", required_argument, NULL, 's'},
	{"log-size", required_argument, NULL, 'g'},
	{"force", no_argument, NULL, 'f'},
	{"name", required_argument, NULL, 'n'},
	{"cfg", required_argument, NULL, 'c'},
	{"listen", required_argument, NULL, 'l'},
	{"advertise", required_argument, NULL, 'a'},
	{"memory", required_argument, NULL, 'm'},
	{"trust-write-through", no_argument, NULL, 't'},
	{"insecure-lab", required_argument, NULL, 'i'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'v'},
	{0},
};

/* 0 go on, else exit with ret - 1. */
static int parse_options(int argc, char **argv, struct options *opt)
{
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		int rc = 0;

		switch (c) {
		case 's':
			rc = take_size("size", optarg, &opt->size_bytes);
			break;
		case 'g':
			rc = take_size("log-size", optarg, &opt->log_bytes);
			break;
		case 'm':
			rc = take_size("memory", optarg, &opt->memory_bytes);
			break;
		case 'f':
			opt->force = true;
			break;
		case 't':
			opt->trust_write_through = true;
			break;
		case 'n':
			opt->name = optarg;
			break;
		case 'c':
			opt->cfg = optarg;
			break;
		case 'l':
			opt->listen = optarg;
			break;
		case 'a':
			opt->advertise = optarg;
			break;
		case 'i':
			opt->insecure_lab = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 1;
		case 'v':
			puts("chaind (chainblk) " CHAINBLK_VERSION);
			return 1;
		default:
			return 1 + usage_error("wrong option");
		}
		if (rc < 0)
			return 3;
	}
	return 0;
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
	const struct options *o = &p->opt;

	if (!o->name || !o->cfg || !o->listen)
		return usage_error("run needs --name, --cfg and --listen");
	if (!name_is_valid(o->name, SERVER_NAME_BYTES))
		return usage_error("--name: 1 to 31 letters, digits, '.', '_' or '-', not starting "
				   "with '.' or '-'");
	if (take_addrs("cfg", o->cfg, p->cfg.cfg_addrs) < 0 ||
	    take_addrs("listen", o->listen, p->listen) < 0 ||
	    take_addrs("advertise", o->advertise ? o->advertise : o->listen, p->cfg.addrs) < 0)
		return 2;
	snprintf(p->cfg.name, sizeof(p->cfg.name), "%s", o->name);
	return 0;
}

int main(int argc, char **argv)
{
	static struct program p;
	const char *command;
	int rc = parse_options(argc, argv, &p.opt);

	if (rc != 0)
		return rc - 1;
	if (argc - optind != 2)
		return usage_error("a command and a store are needed");
	command = argv[optind];
	p.opt.store = argv[optind + 1];
	if (p.opt.log_bytes != 0 && p.opt.log_bytes < LOG_BYTES_MIN)
		return usage_error("--log-size: at least 4M");
	if (strcmp(command, "format") == 0)
		return command_format(&p);
	if (strcmp(command, "run") != 0)
		return usage_error("the commands are format and run");
	rc = prepare_run(&p);
	return rc != 0 ? rc : command_run(&p);
}
