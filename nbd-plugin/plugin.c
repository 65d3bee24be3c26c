/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* nbdkit-chain-plugin - volumes over NBD.
 *
 *	nbdkit chain volume=vol0 cfg=127.0.0.1:7400
 *	nbdkit chain cfg=127.0.0.1:7400              any volume, by export name
 *
 * nbdkit calls us from many threads; each waits for its own operation. A volume is opened when the
 * first client connects to it and shared by all its connections: a write one of them was told is
 * done is on stable media of the whole chain, so every connection sees it (multi-conn) and FUA and
 * flush cost nothing. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/chain_map.h"
#include "libchainblk/admin.h"
#include "libchainblk/chainblk.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define LEVEL_WARNING 4
#define PRESENT_BYTES 2048u /* bitmap of one question: 64 MiB */

/* An open volume and the connections that use it. */
struct shared {
	struct shared *next;
	char name[NAME_BYTES];
	uint32_t users;
	struct chainblk *vol;
	struct chainblk_info info;
	mtx_t lock;
	cnd_t room;
	uint32_t in_flight; /* at most CHAINBLK_QUEUE_MAX: then we wait, the client is not told */
};

static char *cfg, *volume, *insecure_lab;
static uint32_t deadline_ms;
static mtx_t shared_lock;
static struct shared *all_shared;

/* ---- configuration ---- */

static void chain_load(void)
{
	mtx_init(&shared_lock, mtx_plain);
}

static void chain_unload(void)
{
	mtx_destroy(&shared_lock);
	free(cfg);
	free(volume);
	free(insecure_lab);
}

static int take_text(char **to, const char *key, const char *value)
{
	if (*to) {
		nbdkit_error("%s= was given twice", key);
		return -1;
	}
	*to = strdup(value);
	if (!*to) {
		nbdkit_error("out of memory");
		return -1;
	}
	return 0;
}

static int chain_config(const char *key, const char *value)
{
	if (strcmp(key, "cfg") == 0)
		return take_text(&cfg, key, value);
	if (strcmp(key, "volume") == 0)
		return take_text(&volume, key, value);
	if (strcmp(key, "insecure_lab") == 0)
		return take_text(&insecure_lab, key, value);
	if (strcmp(key, "deadline_ms") == 0)
		return nbdkit_parse_uint32_t("deadline_ms", value, &deadline_ms);
	nbdkit_error("unknown parameter '%s': there are cfg, volume, insecure_lab and deadline_ms",
		     key);
	return -1;
}

static int chain_config_complete(void)
{
	if (!cfg) {
		nbdkit_error("where is the configuration service? Add cfg=HOST:PORT");
		return -1;
	}
	if (volume && !name_is_valid(volume, NAME_BYTES)) {
		nbdkit_error("volume=%s: a name has letters, digits, '.', '_' and '-'", volume);
		return -1;
	}
	return 0;
}

#define CONFIG_HELP                                                                                \
	"cfg=HOST:PORT[,HOST:PORT...]   (required) the configuration service\n"                    \
	"volume=NAME                    the volume; without it, the export name says which\n"      \
	"insecure_lab=PREFIX            allow plaintext to addresses that begin so\n"              \
	"deadline_ms=N                  fail an operation after so long (default 20000)"

/* ---- connections ---- */

static void on_log(void *arg, int level, const char *line)
{
	const struct shared *s = arg;

	if (level <= LEVEL_WARNING)
		nbdkit_error("%s: %s", s->name, line);
	else
		nbdkit_debug("%s: %s", s->name, line);
}

static void on_event(void *arg, const struct chainblk_event *ev)
{
	const struct shared *s = arg;

	if (ev->type == CHAINBLK_EVENT_DELETED) /* stalls were logged by the library */
		nbdkit_error("%s: %s", s->name, ev->text);
	else
		nbdkit_debug("%s: %s", s->name, ev->text);
}

static struct shared *shared_open(const char *name)
{
	struct shared *s = calloc(1, sizeof(*s));
	char err[CHAINBLK_ERR_BYTES];
	struct chainblk_options opt = {.cfg = cfg,
				       .volume = name,
				       .deadline_ms = deadline_ms,
				       .insecure_lab = insecure_lab,
				       .event = on_event,
				       .log = on_log,
				       .arg = s};
	int res;

	if (!s) {
		nbdkit_error("out of memory");
		return NULL;
	}
	snprintf(s->name, sizeof(s->name), "%s", name);
	res = chainblk_open(&opt, &s->vol, err);
	if (res < 0) {
		nbdkit_error("%s", err);
		nbdkit_set_error(-res);
		free(s);
		return NULL;
	}
	chainblk_get_info(s->vol, &s->info);
	mtx_init(&s->lock, mtx_plain);
	cnd_init(&s->room);
	return s;
}

static void *chain_open(int readonly)
{
	const char *name = volume ? volume : nbdkit_export_name();
	struct shared *s;

	(void)readonly; /* nbdkit refuses the writes */
	if (!name || !name[0]) {
		nbdkit_error("no volume: give volume=NAME, or ask for it as the export name");
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	/* Held while opening: the second of two that come at once finds the volume of the first. */
	mtx_lock(&shared_lock);
	for (s = all_shared; s; s = s->next)
		if (strcmp(s->name, name) == 0)
			break;
	if (!s) {
		s = shared_open(name);
		if (s) {
			s->next = all_shared;
			all_shared = s;
		}
	}
	if (s)
		s->users++;
	mtx_unlock(&shared_lock);
	return s;
}

static void chain_close(void *handle)
{
	struct shared *s = handle, **at;
	bool last;

	mtx_lock(&shared_lock);
	last = --s->users == 0;
	if (last) {
		for (at = &all_shared; *at != s; at = &(*at)->next)
			;
		*at = s->next;
	}
	mtx_unlock(&shared_lock);
	if (!last)
		return;
	chainblk_close(s->vol);
	cnd_destroy(&s->room);
	mtx_destroy(&s->lock);
	free(s);
}

static int chain_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	struct chain_map *map;
	char err[CHAINBLK_ERR_BYTES];
	int res = -1;

	(void)readonly;
	(void)is_tls;
	if (volume)
		return nbdkit_add_export(exports, volume, NULL);
	map = malloc(sizeof(*map));
	if (!map) {
		nbdkit_error("out of memory");
		return -1;
	}
	if (chainblk_admin_map(cfg, insecure_lab, map, err) < 0) {
		nbdkit_error("%s", err);
		goto out;
	}
	for (uint32_t i = 0; i < map->hdr.volumes_n; i++)
		if (map->volumes[i].state == VOLUME_NORMAL &&
		    nbdkit_add_export(exports, map->volumes[i].name, NULL) < 0)
			goto out;
	res = 0;
out:
	free(map);
	return res;
}

static const char *chain_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return volume ? volume : "";
}

static int64_t chain_get_size(void *handle)
{
	struct shared *s = handle;

	chainblk_get_info(s->vol, &s->info);
	return (int64_t)s->info.size_bytes;
}

static int chain_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	const struct shared *s = handle;

	*minimum = s->info.sector_bytes;
	*preferred = CHAINBLK_BLOCK_BYTES;
	*maximum = CHAINBLK_IO_BYTES_MAX;
	return 0;
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int no(void *handle)
{
	(void)handle;
	return 0;
}

static int chain_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

/* ---- one operation ---- */

struct call {
	struct shared *s;
	mtx_t lock;
	cnd_t cond;
	bool done;
	int status;
};

static void call_done(void *arg, const struct chainblk_result *result)
{
	struct call *c = arg;

	mtx_lock(&c->lock);
	c->status = result->status;
	c->done = true;
	cnd_signal(&c->cond);
	mtx_unlock(&c->lock);
}

static void call_begin(struct call *c, struct shared *s)
{
	memset(c, 0, sizeof(*c));
	c->s = s;
	mtx_init(&c->lock, mtx_plain);
	cnd_init(&c->cond);
	mtx_lock(&s->lock);
	while (s->in_flight == CHAINBLK_QUEUE_MAX)
		cnd_wait(&s->room, &s->lock);
	s->in_flight++;
	mtx_unlock(&s->lock);
}

/* What an NBD client is told: the protocol knows few errors, and nbdkit makes EINVAL of the rest.
 */
static int nbd_errno(int status)
{
	switch (status) {
	case -EINVAL:
	case -ENXIO:
		return EINVAL;
	case -ENOSPC:
		return ENOSPC;
	case -EROFS:
		return EROFS;
	case -ESHUTDOWN:
		return ESHUTDOWN;
	default:
		return EIO;
	}
}

/* @submitted is what the submit function returned. nbdkit's 0 or -1. */
static int call_end(struct call *c, int submitted, const char *what, uint64_t offset)
{
	struct shared *s = c->s;
	int status = submitted;

	if (submitted == 0) {
		mtx_lock(&c->lock);
		while (!c->done)
			cnd_wait(&c->cond, &c->lock);
		status = c->status;
		mtx_unlock(&c->lock);
	}
	cnd_destroy(&c->cond);
	mtx_destroy(&c->lock);
	mtx_lock(&s->lock);
	s->in_flight--;
	cnd_signal(&s->room);
	mtx_unlock(&s->lock);
	if (status == 0)
		return 0;
	nbdkit_error("%s: %s at %" PRIu64 ": %s", s->name, what, offset, chainblk_strerror(status));
	nbdkit_set_error(nbd_errno(status));
	return -1;
}

static int chain_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)flags;
	while (count) {
		uint32_t len = MIN(count, CHAINBLK_IO_BYTES_MAX);
		struct iovec iov = {.iov_base = buf, .iov_len = len};
		struct call c;

		call_begin(&c, handle);
		if (call_end(&c, chainblk_read(c.s->vol, &iov, 1, offset, call_done, &c), "read",
			     offset) < 0)
			return -1;
		buf = (char *)buf + len;
		offset += len;
		count -= len;
	}
	return 0;
}

static int chain_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
			uint32_t flags)
{
	const char *at = buf;

	(void)flags;
	while (count) {
		uint32_t len = MIN(count, CHAINBLK_IO_BYTES_MAX);
		struct iovec iov = {.iov_base = (void *)(uintptr_t)at, .iov_len = len};
		struct call c;

		call_begin(&c, handle);
		if (call_end(&c, chainblk_write(c.s->vol, &iov, 1, offset, 0, call_done, &c),
			     "write", offset) < 0)
			return -1;
		at += len;
		offset += len;
		count -= len;
	}
	return 0;
}

/* Every write we answered is durable already. */
static int chain_flush(void *handle, uint32_t flags)
{
	(void)handle;
	(void)flags;
	return 0;
}

static int chain_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct call c;

	(void)flags;
	call_begin(&c, handle);
	return call_end(&c, chainblk_discard(c.s->vol, offset, count, call_done, &c), "trim",
			offset);
}

static int chain_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct call c;

	(void)flags;
	call_begin(&c, handle);
	return call_end(&c, chainblk_write_zeroes(c.s->vol, offset, count, 0, call_done, &c),
			"zero", offset);
}

static int add_extents(struct nbdkit_extents *extents, const uint8_t *present, uint64_t offset,
		       uint64_t blocks)
{
	uint64_t from = 0;

	while (from < blocks) {
		bool here = present[from / 8] >> (from % 8) & 1;
		uint64_t to = from + 1;

		while (to < blocks && (present[to / 8] >> (to % 8) & 1) == here)
			to++;
		if (nbdkit_add_extent(extents, offset + from * CHAINBLK_BLOCK_BYTES,
				      (to - from) * CHAINBLK_BLOCK_BYTES,
				      here ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
			return -1;
		from = to;
	}
	return 0;
}

/* Answers for the first 64 MiB of a longer range: the client asks again for the rest. */
static int chain_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			 struct nbdkit_extents *extents)
{
	uint8_t present[PRESENT_BYTES];
	uint64_t most = PRESENT_BYTES * 8ull * CHAINBLK_BLOCK_BYTES;
	uint64_t from = offset / CHAINBLK_BLOCK_BYTES * CHAINBLK_BLOCK_BYTES, len;
	struct call c;

	(void)flags;
	len = MIN(offset + count - from, most);
	len = (len + CHAINBLK_BLOCK_BYTES - 1) / CHAINBLK_BLOCK_BYTES * CHAINBLK_BLOCK_BYTES;
	call_begin(&c, handle);
	if (call_end(&c, chainblk_present(c.s->vol, from, len, present, call_done, &c), "extents",
		     offset) < 0)
		return -1;
	return add_extents(extents, present, from, len / CHAINBLK_BLOCK_BYTES);
}

static struct nbdkit_plugin plugin = {
	.name = "chain",
	.longname = "chainblk volumes",
	.version = "0.1.0",
	.description = "volumes of a chainblk cluster, replicated on chains of storage daemons",
	.load = chain_load,
	.unload = chain_unload,
	.config = chain_config,
	.config_complete = chain_config_complete,
	.config_help = CONFIG_HELP,
	.magic_config_key = "volume",
	.open = chain_open,
	.close = chain_close,
	.list_exports = chain_list_exports,
	.default_export = chain_default_export,
	.get_size = chain_get_size,
	.block_size = chain_block_size,
	.can_write = yes,
	.can_flush = yes,
	.is_rotational = no,
	.can_trim = yes,
	.can_zero = yes,
	.can_fast_zero = yes,
	.can_extents = yes,
	.can_fua = chain_can_fua,
	.can_multi_conn = yes,
	.pread = chain_pread,
	.pwrite = chain_pwrite,
	.flush = chain_flush,
	.trim = chain_trim,
	.zero = chain_zero,
	.extents = chain_extents,
	.errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(plugin)
