/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* volume delete: mark it (nobody may open it any more), empty it on every replica through the
 * client library, then drop the record. Interrupted at any point, the same command goes on where it
 * was. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>

#include "cli/cli.h"
#include "libchainblk/admin.h"

#define STEP_BYTES (256ull << 20)

struct waiter {
	mtx_t lock;
	cnd_t changed;
	bool done;
	int status;
};

static void on_done(void *arg, const struct chainblk_result *res)
{
	struct waiter *w = arg;

	mtx_lock(&w->lock);
	w->done = true;
	w->status = res->status;
	cnd_signal(&w->changed);
	mtx_unlock(&w->lock);
}

static int discard(struct chainblk *vol, struct waiter *w, uint64_t offset, uint64_t len)
{
	int rc;

	w->done = false;
	rc = chainblk_discard(vol, offset, len, on_done, w);
	if (rc < 0)
		return rc;
	mtx_lock(&w->lock);
	while (!w->done)
		cnd_wait(&w->changed, &w->lock);
	rc = w->status;
	mtx_unlock(&w->lock);
	return rc;
}

static int discard_all(struct chainblk *vol, const char *name)
{
	struct chainblk_info info;
	struct waiter w = {0};
	int rc = 0;

	if (mtx_init(&w.lock, mtx_plain) != thrd_success || cnd_init(&w.changed) != thrd_success)
		return -ENOMEM;
	chainblk_get_info(vol, &info);
	for (uint64_t at = 0; at < info.size_bytes && rc == 0; at += STEP_BYTES) {
		rc = discard(vol, &w, at, MIN(STEP_BYTES, info.size_bytes - at));
		fprintf(stderr, "\rvolume %s: emptying, %3u %%", name,
			(unsigned)(MIN(at + STEP_BYTES, info.size_bytes) * 100 / info.size_bytes));
	}
	fputc('\n', stderr);
	cnd_destroy(&w.changed);
	mtx_destroy(&w.lock);
	return rc;
}

static int empty(const struct cli *c)
{
	const struct chainblk_options opt = {
		.cfg = c->cfg,
		.volume = c->name,
		.insecure_lab = c->insecure_lab,
	};
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk *vol;
	int rc = chainblk_open_deleting(&opt, &vol, err);

	if (rc < 0)
		return cli_fail("%s", err);
	rc = discard_all(vol, c->name);
	chainblk_close(vol);
	if (rc < 0)
		return cli_fail("volume %s: it could not be emptied: %s: it stays marked for "
				"deletion: see chainctl status, then delete it again",
				c->name, chainblk_strerror(rc));
	return 0;
}

/* A service that has just started does not know yet who has the volume open, and says so. */
static int mark(const struct cli *c)
{
	struct wire_admin req = {.op = ADMIN_VOLUME_DELETING};
	struct wire_admin_reply reply;
	int rc = -EAGAIN;

	snprintf(req.name, sizeof(req.name), "%s", c->name);
	for (int round = 0; round < 20 && rc == -EAGAIN; round++) {
		rc = ask_admin_unless(c, &req, -EAGAIN, &reply);
		if (rc == -EAGAIN)
			thrd_sleep(&(struct timespec){.tv_nsec = 500 * 1000 * 1000}, NULL);
	}
	if (rc == -EAGAIN)
		cli_fail("%s", reply.text);
	return rc;
}

int cmd_volume_delete(const struct cli *c)
{
	struct wire_admin req = {.op = ADMIN_VOLUME_DELETE};
	struct wire_admin_reply reply;

	if (!name_is_valid(c->name, NAME_BYTES))
		return cli_fail(
			"volume '%s': there cannot be one of this name: see chainctl volume list",
			c->name);
	snprintf(req.name, sizeof(req.name), "%s", c->name);
	if (mark(c) < 0 || empty(c) != 0 || ask_admin(c, &req, &reply) < 0)
		return EXIT_FAILURE;
	if (c->json)
		return cli_print_json(json_pack("{s:s, s:b}", "name", c->name, "deleted", 1));
	printf("volume %s: deleted\n", c->name);
	return EXIT_SUCCESS;
}
