/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* `chaind format`: makes a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "chaind/cmd.h"
#include "io/disk.h"
#include "io/reactor.h"
#include "lib/arena.h"
#include "lib/size.h"
#include "store/store.h"

struct format {
	const struct options *opt;
	struct reactor *reactor;
	struct env_disk *disk;
	struct arena arena;
	int status;
};

static void on_formatted(void *arg, int res, const char *why)
{
	struct format *p = arg;

	p->status = res < 0 ? cmd_fail(p->opt->store, why) : EXIT_SUCCESS;
	reactor_stop(p->reactor);
}

static int format_disk(struct format *p)
{
	struct store_format f = {.log_bytes = p->opt->log_bytes, .force = p->opt->force};
	size_t len = store_format_memory();
	void *mem = reactor_memory(len);
	char size[SIZE_TEXT_BYTES];

	if (!mem)
		return cmd_fail(p->opt->store, "no memory to format it");
	arena_init(&p->arena, mem, len);
	cmd_random(&f.disk, sizeof(f.disk));
	cmd_random(&f.secret, sizeof(f.secret));
	p->status = EXIT_FAILURE;
	store_format_start(reactor_env(p->reactor), p->disk, &f, &p->arena, on_formatted, p);
	if (reactor_run(p->reactor) < 0)
		p->status = cmd_fail(p->opt->store, "io_uring failed while formatting");
	reactor_memory_free(mem, len);
	if (p->status == EXIT_SUCCESS) {
		size_format(p->disk->size_bytes, size);
		fprintf(stderr, "chaind: %s: formatted, %s\n", p->opt->store, size);
	}
	return p->status;
}

int cmd_format(const struct options *o)
{
	struct format format = {.opt = o}, *p = &format;
	struct disk_config dc = {.path = p->opt->store};
	char err[IO_ERR_BYTES];
	struct stat st;
	bool is_block = stat(p->opt->store, &st) == 0 && S_ISBLK(st.st_mode);

	if (!is_block && p->opt->size_bytes == 0)
		return cmd_fail(p->opt->store,
				"a store in a file needs --size, for instance --size 10G");
	if (!p->opt->force && disk_check_unused(p->opt->store, err) < 0)
		return cmd_fail_io(err);
	if (!is_block && disk_create_file(p->opt->store, p->opt->size_bytes, err) < 0)
		return cmd_fail_io(err);
	if (reactor_open(&(struct reactor_config){0}, &p->reactor, err) < 0)
		return cmd_fail("io_uring", err);
	if (disk_open(p->reactor, &dc, &p->disk, err) < 0)
		p->status = cmd_fail_io(err);
	else
		p->status = format_disk(p);
	disk_close(p->disk);
	reactor_close(p->reactor);
	return p->status;
}
