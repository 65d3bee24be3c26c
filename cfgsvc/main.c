/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cfgsvc - the configuration service as a program: options, its file, the reactor. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cfgsvc/cfgstore_file.h"
#include "cfgsvc/svc.h"
#include "io/reactor.h"
#include "io/tcp.h"
#include "lib/arena.h"
#include "lib/size.h"

#define FRAMES_N 2048u
#define FILE_NAME "state.log"
#define TEMP_NAME "state.log.new"

static const struct buf_pool_config bufs_config = {.small_n = 128, .large_n = 12};

struct options {
	const char *dir;
	const char *listen;
	const char *insecure_lab;
};

struct dir_file { /* struct env_file over FILE_NAME in a folder */
	struct env_file file;
	int dir_fd;
	int lock_fd;
};

struct program {
	struct options opt;
	struct dir_file dir;
	struct reactor *reactor;
	struct cfgfile cfgfile;
	struct frame_source src;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct svc *svc;
	int exit_status;
};

/* ---- the file ---- */

static int write_all(int fd, uint64_t offset_bytes, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n = pwrite(fd, at, len, (off_t)offset_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
		offset_bytes += (uint64_t)n;
	}
	return 0;
}

static int read_all(int fd, uint8_t *buf, size_t cap, size_t *ret_len)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, buf + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == cap)
			return -EFBIG;
	}
	*ret_len = len;
	return 0;
}

static struct dir_file *dir_of(struct env_file *f)
{
	return CONTAINER_OF(f, struct dir_file, file);
}

static int dir_read(struct env_file *f, void *buf, size_t cap, size_t *ret_len)
{
	int fd = openat(dir_of(f)->dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC), rc;

	*ret_len = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = read_all(fd, buf, cap, ret_len);
	close(fd);
	return rc;
}

static int dir_append(struct env_file *f, uint64_t offset_bytes, const void *bytes, size_t len)
{
	int fd = openat(dir_of(f)->dir_fd, FILE_NAME, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	/* What a torn put left behind goes first: its bytes must not show behind a shorter
	 * record. */
	if (ftruncate(fd, (off_t)offset_bytes) < 0)
		rc = -errno;
	if (rc == 0)
		rc = write_all(fd, offset_bytes, bytes, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int dir_replace(struct env_file *f, const void *bytes, size_t len)
{
	int dir_fd = dir_of(f)->dir_fd, rc;
	int fd = openat(dir_fd, TEMP_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	rc = write_all(fd, 0, bytes, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && renameat(dir_fd, TEMP_NAME, dir_fd, FILE_NAME) < 0)
		rc = -errno;
	if (rc == 0 && fsync(dir_fd) < 0)
		rc = -errno;
	return rc;
}

static int dir_open(struct dir_file *d, const char *path)
{
	*d = (struct dir_file){
		.file = {.read = dir_read, .append = dir_append, .replace = dir_replace},
	};
	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		fprintf(stderr, "cfgsvc: %s: cannot make the folder: %s: choose another --dir\n",
			path, strerror(errno));
		return -errno;
	}
	d->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dir_fd < 0) {
		fprintf(stderr, "cfgsvc: %s: %s: choose another --dir\n", path, strerror(errno));
		return -errno;
	}
	d->lock_fd = openat(d->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock_fd < 0 || flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		fprintf(stderr, "cfgsvc: %s: %s\n", path,
			errno == EWOULDBLOCK ? "another cfgsvc uses this folder: stop it first"
					     : strerror(errno));
		return -errno;
	}
	return 0;
}

/* ---- the program ---- */

static void on_accept(void *arg, struct env_conn *c)
{
	struct program *p = arg;

	svc_accept(p->svc, c);
}

static void on_signal(void *arg, int signo)
{
	struct program *p = arg;

	(void)signo;
	svc_stop(p->svc);
	reactor_stop(p->reactor);
}

static void on_ready(void *arg, int res, const char *why)
{
	struct program *p = arg;
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES], err[IO_ERR_BYTES];

	if (res < 0) {
		fprintf(stderr, "cfgsvc: %s: %s (%s)\n", p->opt.dir, why, strerror(-res));
		goto fail;
	}
	if (tcp_parse_addrs(p->opt.listen, addrs, err) < 0) {
		fprintf(stderr, "cfgsvc: %s\n", err);
		goto fail;
	}
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && addrs[i][0] != '\0'; i++) {
		if (tcp_listen(p->reactor, addrs[i], on_accept, p, err) < 0) {
			fprintf(stderr, "cfgsvc: %s\n", err);
			goto fail;
		}
		if (tcp_port(p->reactor) != 0)
			fprintf(stderr, "cfgsvc: ready on %.*s:%u\n",
				(int)(strrchr(addrs[i], ':') - addrs[i]), addrs[i],
				tcp_port(p->reactor));
		else
			fprintf(stderr, "cfgsvc: ready on %s\n", addrs[i]);
	}
	return;
fail:
	p->exit_status = EXIT_FAILURE;
	reactor_stop(p->reactor);
}

static size_t program_memory(void)
{
	return svc_memory() + cfgfile_memory() + frame_pool_bytes(FRAMES_N) +
	       buf_pool_bytes(&bufs_config);
}

static int run(struct program *p)
{
	char err[IO_ERR_BYTES];
	struct arena arena;
	void *mem = NULL;
	int rc = reactor_open(&(struct reactor_config){0}, &p->reactor, err);

	if (rc < 0)
		goto out;
	rc = reactor_signals(p->reactor, on_signal, p, err);
	if (rc < 0)
		goto out;
	mem = reactor_memory(program_memory());
	if (!mem) {
		rc = -ENOMEM;
		snprintf(err, sizeof(err), "no memory: %zu bytes wanted", program_memory());
		goto out;
	}
	arena_init(&arena, mem, program_memory());
	frame_pool_init(&p->frames, FRAMES_N, &arena);
	buf_pool_init(&p->bufs, &bufs_config, &arena);
	p->src = (struct frame_source){.frames = &p->frames, .bufs = &p->bufs};
	cfgfile_init(&p->cfgfile, &p->dir.file, &arena);
	rc = tcp_open(p->reactor,
		      &(struct tcp_config){.src = &p->src, .insecure_lab = p->opt.insecure_lab},
		      err);
	if (rc < 0)
		goto out;
	p->svc = svc_init(&(struct svc_config){.env = reactor_env(p->reactor),
					       .store = &p->cfgfile.store,
					       .src = &p->src,
					       .name = "cfgsvc"},
			  &arena);
	svc_start(p->svc, on_ready, p);
	if (p->exit_status == 0)
		rc = reactor_run(p->reactor);
	if (rc < 0)
		snprintf(err, sizeof(err), "io_uring failed: %s", strerror(-rc));
out:
	if (rc < 0)
		fprintf(stderr, "cfgsvc: %s\n", err);
	reactor_close(p->reactor);
	reactor_memory_free(mem, program_memory());
	return rc < 0 ? EXIT_FAILURE : p->exit_status;
}

static void usage(FILE *out)
{
	fputs("usage: cfgsvc --dir DIR --listen ADDR[,ADDR...] [--insecure-lab=PREFIX]\n"
	      "\n"
	      "The configuration service of a chainblk cluster: who is in which chain. It is on "
	      "no\n"
	      "I/O path.\n"
	      "\n"
	      "  --dir DIR              where the configuration is kept; made, with a new cluster\n"
	      "                         id, when it is not there\n"
	      "  --listen ADDR[,...]    host:port or unix:/path\n"
	      "  --insecure-lab=PREFIX  allow plaintext to addresses that begin with PREFIX; it "
	      "is\n"
	      "                         otherwise refused off loopback and unix sockets\n"
	      "  -h, --help  --version\n",
	      out);
}

/* 0 go on, else exit with ret - 1. */
static int parse(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{"dir", required_argument, NULL, 'd'},
		{"listen", required_argument, NULL, 'l'},
		{"insecure-lab", required_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			opt->dir = optarg;
			break;
		case 'l':
			opt->listen = optarg;
			break;
		case 'i':
			opt->insecure_lab = optarg;
			break;
		case 'h':
			usage(stdout);
			return 1;
		case 'v':
			puts("cfgsvc (chainblk) " CHAINBLK_VERSION);
			return 1;
		default:
			usage(stderr);
			return 3;
		}
	}
	if (optind == argc && opt->dir && opt->listen)
		return 0;
	fprintf(stderr, "cfgsvc: %s\n",
		optind < argc ? "a word too many on the command line"
			      : "--dir and --listen are needed");
	usage(stderr);
	return 3;
}

int main(int argc, char **argv)
{
	static struct program p;
	int rc = parse(argc, argv, &p.opt);

	if (rc != 0)
		return rc - 1;
	if (dir_open(&p.dir, p.opt.dir) < 0)
		return EXIT_FAILURE;
	return run(&p);
}
