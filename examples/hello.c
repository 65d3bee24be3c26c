/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Write a block, read it back, compare. Built outside of this tree with
 *	cc hello.c $(pkg-config --cflags --libs libchainblk) -lpthread -o hello
 * and run against a cluster: ./hello 127.0.0.1:7400 vol0 */

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#ifdef CHAINBLK_IN_TREE
#include "libchainblk/chainblk.h"
#else
#include <chainblk.h>
#endif

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int done;
	struct chainblk_result result;
};

/* On the library's thread: must not block. */
static void on_done(void *arg, const struct chainblk_result *result)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	w->result = *result;
	w->done = 1;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static int wait_for(struct waiter *w, int submitted)
{
	if (submitted < 0)
		return submitted;
	pthread_mutex_lock(&w->lock);
	while (!w->done)
		pthread_cond_wait(&w->cond, &w->lock);
	w->done = 0;
	pthread_mutex_unlock(&w->lock);
	return w->result.status;
}

int main(int argc, char **argv)
{
	struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0, 0}};
	struct chainblk_options opt = {0};
	struct chainblk_where where;
	struct chainblk_info info;
	struct chainblk *vol;
	static char out[4096] = "hello, chain", in[4096];
	char err[CHAINBLK_ERR_BYTES];
	struct iovec iov = {out, sizeof(out)};
	int res;

	if (argc != 3) {
		fprintf(stderr, "usage: %s HOST:PORT VOLUME\n", argv[0]);
		return 2;
	}
	opt.cfg = argv[1];
	opt.volume = argv[2];
	if (chainblk_open(&opt, &vol, err) < 0) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	chainblk_get_info(vol, &info);
	printf("%s: %llu bytes over %u chains\n", info.name, (unsigned long long)info.size_bytes,
	       info.lanes);
	if (chainblk_where(vol, 0, &where) == 0)
		printf("its first extent: chain %u, head %s, tail %s\n", where.chain,
		       where.servers[0].name, where.servers[where.servers_n - 1].name);

	res = wait_for(&w, chainblk_write(vol, &iov, 1, 0, 0, on_done, &w));
	if (res == 0) {
		iov.iov_base = in;
		res = wait_for(&w, chainblk_read(vol, &iov, 1, 0, on_done, &w));
	}
	if (res == 0)
		printf("read back: %s\n", in);
	else
		fprintf(stderr, "I/O failed: %s\n", chainblk_strerror(res));
	chainblk_close(vol);
	return res == 0 && memcmp(in, out, sizeof(in)) == 0 ? 0 : 1;
}
