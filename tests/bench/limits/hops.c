/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* hops - the limit of replicated durable writes on this machine: processes that only move bytes.
 *
 *	hops --dir DIR --depth 32 --seconds 5            three hops, one durable 4 KiB write each
 *	hops --hops 1 --empty --depth 1 --seconds 5      one empty round trip, no disk
 *
 * A client and N hop processes on loopback TCP, io_uring everywhere. Shape `star`: the first hop
 * passes every request to all others; `chain`: each to the next. In both a hop passes on first and
 * writes meanwhile, and answers when all behind it have. DIR/hop1.dat ... are made by
 * `rawdisk --fill`. Prints one line of JSON with the CPU seconds of all hops. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/limits/hop.h"
#include "tests/bench/measure.h"

#define HOPS_MAX 3u

struct options {
	const char *dir; /* NULL: no disk */
	uint32_t hops, depth, seconds, payload_bytes;
	bool star;
};

struct client {
	struct io_uring ring;
	int fd;
	uint32_t payload_bytes;
	uint8_t *message[HOP_DEPTH_MAX];
	uint64_t start_ns[HOP_DEPTH_MAX];
	struct hop_header answer;
	struct measure m;
};

/* A connected TCP pair on loopback. */
static void tcp_pair(int *ret_a, int *ret_b)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *ret_a < 0 || bind(listener, (struct sockaddr *)&addr, len) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&addr, &len) < 0 ||
	    connect(*ret_a, (struct sockaddr *)&addr, len) < 0)
		measure_die("a loopback connection", errno);
	*ret_b = accept(listener, NULL, NULL);
	if (*ret_b < 0)
		measure_die("accept", errno);
	close(listener);
	setsockopt(*ret_a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*ret_b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void open_disk(struct hop_config *config, const char *dir, uint32_t index)
{
	char path[4096];
	struct stat st;

	config->disk = -1;
	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/hop%u.dat", dir, index + 1);
	config->disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (config->disk < 0 || fstat(config->disk, &st) < 0)
		measure_die(path, errno);
	config->disk_bytes = (uint64_t)st.st_size;
	if (config->disk_bytes < HOP_PAYLOAD_BYTES)
		measure_die("a disk file is smaller than one block", 0);
}

/* Start all hops; returns the client's connection to the first. */
static int start_hops(const struct options *o, pid_t *ret_pids)
{
	struct hop_config config[HOPS_MAX] = {{0}};
	int client;

	tcp_pair(&client, &config[0].up);
	for (uint32_t i = 1; i < o->hops; i++) {
		struct hop_config *from = &config[o->star ? 0 : i - 1];

		tcp_pair(&from->down[from->down_n], &config[i].up);
		from->down_n++;
	}
	for (uint32_t i = 0; i < o->hops; i++) {
		ret_pids[i] = fork();
		if (ret_pids[i] < 0)
			measure_die("fork", errno);
		if (ret_pids[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Only the connections of this hop: an end of file must reach the others. */
		close(client);
		for (uint32_t j = 0; j < o->hops; j++) {
			for (uint32_t k = 0; j != i && k < config[j].down_n; k++)
				close(config[j].down[k]);
			if (j != i)
				close(config[j].up);
		}
		config[i].payload_bytes = o->payload_bytes;
		config[i].seed = measure_now_ns() | 1u;
		open_disk(&config[i], o->dir, i);
		hop_run(&config[i]);
	}
	for (uint32_t i = 0; i < o->hops; i++) {
		close(config[i].up);
		for (uint32_t k = 0; k < config[i].down_n; k++)
			close(config[i].down[k]);
	}
	return client;
}

static void client_send(struct client *c, uint32_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);

	io_uring_prep_send(sqe, c->fd, c->message[slot], HOP_HEADER_BYTES + c->payload_bytes,
			   MSG_WAITALL | MSG_NOSIGNAL);
	io_uring_sqe_set_data64(sqe, 0);
	c->start_ns[slot] = measure_now_ns();
}

static void client_receive(struct client *c)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);

	io_uring_prep_recv(sqe, c->fd, &c->answer, HOP_HEADER_BYTES, MSG_WAITALL);
	io_uring_sqe_set_data64(sqe, 1);
}

static void client_run(struct client *c, const struct options *o)
{
	uint64_t start_ns = measure_now_ns(), end_ns = start_ns + o->seconds * 1000000000ull;
	uint32_t flying = 0;

	while (flying < o->depth)
		client_send(c, flying++);
	client_receive(c);
	while (flying) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		int res = io_uring_submit_and_wait(&c->ring, 1);

		if (res < 0 && res != -EINTR)
			measure_die("io_uring_submit_and_wait", -res);
		io_uring_for_each_cqe(&c->ring, head, cqe)
		{
			uint64_t now = measure_now_ns();
			uint32_t slot = c->answer.slot;

			seen++;
			if (!io_uring_cqe_get_data64(cqe))
				continue;
			if (cqe->res != (int)HOP_HEADER_BYTES || slot >= o->depth)
				measure_die("a hop ended early", cqe->res < 0 ? -cqe->res : 0);
			measure_add(&c->m, now - c->start_ns[slot], o->payload_bytes);
			if (now < end_ns)
				client_send(c, slot);
			else
				flying--;
			if (flying)
				client_receive(c);
		}
		io_uring_cq_advance(&c->ring, seen);
	}
	c->m.elapsed_ns = measure_now_ns() - start_ns;
}

static void client_init(struct client *c, const struct options *o)
{
	int res = io_uring_queue_init(1024, &c->ring, 0);

	if (res < 0)
		measure_die("io_uring_queue_init", -res);
	c->payload_bytes = o->payload_bytes;
	for (uint32_t i = 0; i < o->depth; i++) {
		struct hop_header header = {.slot = i};

		c->message[i] = malloc(HOP_HEADER_BYTES + HOP_PAYLOAD_BYTES);
		if (!c->message[i])
			measure_die("memory", ENOMEM);
		memcpy(c->message[i], &header, sizeof(header));
		measure_fill(c->message[i] + HOP_HEADER_BYTES, (struct block_stamp){.block = i});
	}
}

static void usage(int status)
{
	fputs("usage: hops [--dir DIR] [--hops 1..3] [--shape star|chain] [--empty]\n"
	      "            --depth N --seconds S\n",
	      status ? stderr : stdout);
	exit(status);
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{"dir", required_argument, NULL, 'D'},     {"hops", required_argument, NULL, 'n'},
		{"shape", required_argument, NULL, 's'},   {"depth", required_argument, NULL, 'd'},
		{"seconds", required_argument, NULL, 't'}, {"empty", no_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'D')
			o->dir = optarg;
		else if (c == 'n')
			o->hops = (uint32_t)measure_size(optarg);
		else if (c == 's')
			o->star = strcmp(optarg, "star") == 0;
		else if (c == 'd')
			o->depth = (uint32_t)measure_size(optarg);
		else if (c == 't')
			o->seconds = (uint32_t)measure_size(optarg);
		else if (c == 'e')
			o->payload_bytes = 0;
		else
			usage(c == 'h' ? 0 : 2);
	}
	if (o->hops < 1 || o->hops > HOPS_MAX || o->depth < 1 || o->depth > HOP_DEPTH_MAX)
		usage(2);
	if (o->dir && !o->payload_bytes)
		usage(2);
}

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

int main(int argc, char **argv)
{
	static struct client client;
	struct options o = {.hops = 3,
			    .depth = 1,
			    .seconds = 5,
			    .payload_bytes = HOP_PAYLOAD_BYTES,
			    .star = true};
	struct rusage usage_hops;
	pid_t pids[HOPS_MAX];
	char extra[96];
	double cpu;

	parse(&o, argc, argv);
	client.fd = start_hops(&o, pids);
	client_init(&client, &o);
	client_run(&client, &o);
	close(client.fd);
	io_uring_queue_exit(&client.ring);
	for (uint32_t i = 0; i < o.hops; i++)
		waitpid(pids[i], NULL, 0);
	getrusage(RUSAGE_CHILDREN, &usage_hops);
	cpu = seconds_of(usage_hops.ru_utime) + seconds_of(usage_hops.ru_stime);
	snprintf(extra, sizeof(extra), ", \"hops_cpu_s\": %.3f, \"hops_cpu_s_per_100k\": %.3f", cpu,
		 client.m.ops ? cpu / (double)client.m.ops * 1e5 : 0.0);
	measure_print(&client.m, extra);
	return 0;
}
