/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Opening, closing, and questions about a volume. */

#include "libchainblk/chainblk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/size.h"
#include "libchainblk/volume.h"

#define FRAMES_N 1024u
#define CONNS_MAX 72u /* one per server, one to cfgsvc, and some that linger */
#define PARTS_MAX 512u

/* Half of the large ones are kept for what comes in (B3): a read needs one on each side. */
static const struct buf_pool_config bufs = {
	.small_n = 512, .large_n = 48, .reserve_small = 128, .reserve_large = 16};

static_assert((int)CLIENT_EVENT_RESIZED == (int)CHAINBLK_EVENT_RESIZED,
	      "events are handed through");
static_assert((int)CLIENT_EVENT_DELETED == (int)CHAINBLK_EVENT_DELETED,
	      "events are handed through");
static_assert((int)CLIENT_EVENT_STALLED == (int)CHAINBLK_EVENT_STALLED,
	      "events are handed through");
static_assert((int)CLIENT_EVENT_RESUMED == (int)CHAINBLK_EVENT_RESUMED,
	      "events are handed through");

/* ---- on the loop ---- */

static void on_log(void *arg, int level, const char *line)
{
	struct chainblk *v = arg;

	if (v->opt.log)
		v->opt.log(v->opt.arg, level, line);
}

static void on_opened(void *arg, int res, const char *why)
{
	struct chainblk *v = arg;
	const struct map_volume *vol = client_volume(v->client);

	loop_lock(v->loop);
	if (res == 0) {
		CHECK(vol);
		v->info = (struct chainblk_info){.size_bytes = vol->size_bytes,
						 .volume_id = vol->id,
						 .lanes = vol->lanes_n,
						 .sector_bytes = vol->sector_bytes};
		memcpy(v->info.cluster_id, client_map(v->client)->hdr.cluster.b,
		       sizeof(v->info.cluster_id));
		snprintf(v->info.name, sizeof(v->info.name), "%s", vol->name);
	} else {
		snprintf(v->open_err, sizeof(v->open_err), "%s", why);
		loop_stop(v->loop);
	}
	v->open_res = res;
	v->opened = true;
	loop_notify(v->loop);
	loop_unlock(v->loop);
}

static void on_event(void *arg, int type, uint64_t size_bytes, const char *text)
{
	struct chainblk *v = arg;
	struct chainblk_event ev = {
		.type = (enum chainblk_event_type)type, .size_bytes = size_bytes, .text = text};

	if (ev.type == CHAINBLK_EVENT_RESIZED) {
		loop_lock(v->loop);
		v->info.size_bytes = size_bytes;
		loop_unlock(v->loop);
	}
	if (v->opt.event)
		v->opt.event(v->opt.arg, &ev);
}

static void make_client_config(struct chainblk *v, struct client_config *cfg)
{
	uint32_t n;

	memset(cfg, 0, sizeof(*cfg));
	cfg->deleting = v->deleting;
	cfg->reqs_max = PIECES_MAX;
	cfg->parts_max = PARTS_MAX;
	cfg->opened = on_opened;
	cfg->event = on_event;
	cfg->arg = v;
	snprintf(cfg->volume, sizeof(cfg->volume), "%s", v->name);
	/* volume_open() has checked the list. */
	if (addr_list_parse(v->cfg, cfg->cfg_addrs, &n) < 0)
		cfg->cfg_addrs[0][0] = '\0';
}

static void on_begin(void *arg, struct loop *l)
{
	struct chainblk *v = arg;
	struct arena *a = loop_arena(l);
	struct client_config cfg;

	v->env = loop_env(l);
	make_client_config(v, &cfg);
	cfg.src = loop_source(l);
	for (unsigned i = 0; i < sizeof(cfg.id.b); i++)
		cfg.id.b[i] = (uint8_t)v->env->random_u64(v->env);
	bridge_init(v, a);
	v->client = client_init(&cfg, v->env, a);
	env_logf(v->env, ENV_INFO, "volume %s: opening, with at most %zu MiB of memory", v->name,
		 loop_memory_bytes(l) >> 20);
	client_start(v->client, v->env->now_ns(v->env) + v->opt.open_ms * 1000000ull);
}

static void on_wake(void *arg)
{
	bridge_intake(arg);
}

static void on_closed(void *arg)
{
	struct chainblk *v = arg;

	loop_stop(v->loop);
}

void volume_stop(struct chainblk *v)
{
	v->stopping = true;
	v->env->timer_cancel(v->env, &v->timer);
	client_stop(v->client, on_closed, v);
}

/* ---- open and close ---- */

static int copy_text(char *to, size_t size, const char *from, const char *what,
		     char err[CHAINBLK_ERR_BYTES])
{
	if (!from || !from[0]) {
		snprintf(err, CHAINBLK_ERR_BYTES, "no %s given", what);
		return -EINVAL;
	}
	if (strlen(from) >= size) {
		snprintf(err, CHAINBLK_ERR_BYTES, "%s %.60s...: longer than %zu characters", what,
			 from, size - 1);
		return -EINVAL;
	}
	snprintf(to, size, "%s", from);
	return 0;
}

static int take_options(struct chainblk *v, const struct chainblk_options *opt,
			char err[CHAINBLK_ERR_BYTES])
{
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	uint32_t n;
	int res;

	v->opt = *opt;
	if (!v->opt.deadline_ms)
		v->opt.deadline_ms = DEADLINE_MS_DEFAULT;
	if (!v->opt.open_ms)
		v->opt.open_ms = OPEN_MS_DEFAULT;
	res = copy_text(v->cfg, sizeof(v->cfg), opt->cfg, "configuration service (cfg)", err);
	if (res == 0)
		res = copy_text(v->name, sizeof(v->name), opt->volume, "volume", err);
	if (res == 0 && opt->insecure_lab && opt->insecure_lab[0])
		res = copy_text(v->insecure_lab, sizeof(v->insecure_lab), opt->insecure_lab,
				"address prefix (insecure_lab)", err);
	if (res < 0)
		return res;
	if (addr_list_parse(v->cfg, addrs, &n) < 0) {
		snprintf(err, CHAINBLK_ERR_BYTES,
			 "configuration service '%.80s': write host:port or unix:/path, at most %u "
			 "separated by commas",
			 v->cfg, SERVER_ADDRS_MAX);
		return -EINVAL;
	}
	if (!name_is_valid(v->name, sizeof(v->name))) {
		snprintf(err, CHAINBLK_ERR_BYTES,
			 "volume '%.64s': a name has letters, digits, '.', '_' and '-', and begins "
			 "with none of '.' and '-'",
			 v->name);
		return -EINVAL;
	}
	v->opt.cfg = v->cfg;
	v->opt.volume = v->name;
	v->opt.insecure_lab = v->insecure_lab[0] ? v->insecure_lab : NULL;
	return 0;
}

static int spawn(struct chainblk *v, char err[CHAINBLK_ERR_BYTES])
{
	struct client_config *cfg = malloc(sizeof(*cfg));
	struct loop_config lc = {.insecure_lab = v->opt.insecure_lab,
				 .frames_n = FRAMES_N,
				 .conns_max = CONNS_MAX,
				 .bufs = bufs,
				 .log = on_log,
				 .begin = on_begin,
				 .wake = on_wake,
				 .arg = v};

	static_assert(CHAINBLK_ERR_BYTES >= LOOP_ERR_BYTES, "the loop's errors fit");
	if (!cfg) {
		snprintf(err, CHAINBLK_ERR_BYTES, "out of memory");
		return -ENOMEM;
	}
	make_client_config(v, cfg);
	lc.arena_bytes = client_memory(cfg) + bridge_memory();
	free(cfg);
	return loop_spawn(&lc, &v->loop, err);
}

int volume_open(const struct chainblk_options *opt, bool deleting, struct chainblk **ret_vol,
		char err[CHAINBLK_ERR_BYTES])
{
	struct chainblk *v = calloc(1, sizeof(*v));
	int res;

	if (!v) {
		snprintf(err, CHAINBLK_ERR_BYTES, "out of memory");
		return -ENOMEM;
	}
	v->deleting = deleting;
	res = take_options(v, opt, err);
	if (res == 0)
		res = spawn(v, err);
	if (res < 0) {
		free(v);
		return res;
	}
	loop_lock(v->loop);
	while (!v->opened)
		loop_wait(v->loop);
	res = v->open_res;
	loop_unlock(v->loop);
	if (res < 0) {
		snprintf(err, CHAINBLK_ERR_BYTES, "%s", v->open_err);
		loop_join(v->loop);
		free(v);
		return res;
	}
	*ret_vol = v;
	return 0;
}

int chainblk_open(const struct chainblk_options *opt, struct chainblk **ret_vol,
		  char err[CHAINBLK_ERR_BYTES])
{
	return volume_open(opt, false, ret_vol, err);
}

void chainblk_close(struct chainblk *vol)
{
	if (!vol)
		return;
	CHECK(!loop_is_self(vol->loop));
	loop_lock(vol->loop);
	vol->closing = true;
	loop_wake(vol->loop); /* under the lock: the thread may be gone right after */
	loop_unlock(vol->loop);
	loop_join(vol->loop);
	free(vol);
}

/* ---- questions ---- */

void chainblk_get_info(struct chainblk *vol, struct chainblk_info *ret_info)
{
	loop_lock(vol->loop);
	*ret_info = vol->info;
	loop_unlock(vol->loop);
}

static int find_where(const struct chainblk *v, uint64_t offset_bytes, struct chainblk_where *ret)
{
	const struct map_volume *vol = client_volume(v->client);
	const struct chain_map *m = client_map(v->client);
	const struct map_chain *c;

	if (!vol || offset_bytes >= vol->size_bytes)
		return -ENXIO;
	c = chain_map_chain(m, map_volume_lane(vol, offset_bytes / EXTENT_BYTES));
	if (!c)
		return -ENOENT;
	memset(ret, 0, sizeof(*ret));
	ret->chain = c->id;
	ret->epoch = c->epoch;
	ret->servers_n = MIN(c->in_n, CHAINBLK_SERVERS_MAX);
	for (uint32_t i = 0; i < ret->servers_n; i++) {
		const struct map_server *s = chain_map_server(m, c->in[i].server);

		ret->servers[i].id = c->in[i].server;
		snprintf(ret->servers[i].name, sizeof(ret->servers[i].name), "%s",
			 s ? s->name : "?");
	}
	return 0;
}

void volume_answer_where(struct chainblk *v)
{
	loop_lock(v->loop);
	while (v->where_calls) {
		struct where_call *w = v->where_calls;

		v->where_calls = w->next;
		w->res = find_where(v, w->offset_bytes, w->ret);
		w->answered = true;
		loop_notify(v->loop);
	}
	loop_unlock(v->loop);
}

int chainblk_where(struct chainblk *vol, uint64_t offset_bytes, struct chainblk_where *ret_where)
{
	struct where_call call = {.offset_bytes = offset_bytes, .ret = ret_where};

	if (loop_is_self(vol->loop))
		return find_where(vol, offset_bytes, ret_where);
	loop_lock(vol->loop);
	if (vol->closing) {
		loop_unlock(vol->loop);
		return -ESHUTDOWN;
	}
	call.next = vol->where_calls;
	vol->where_calls = &call;
	loop_wake(vol->loop);
	while (!call.answered)
		loop_wait(vol->loop);
	loop_unlock(vol->loop);
	return call.res;
}

const char *chainblk_strerror(int status)
{
	switch (status) {
	case 0:
		return "success";
	case -EINVAL:
		return "bad range or flag";
	case -ENXIO:
		return "past the end of the volume";
	case -EAGAIN:
		return "too many operations queued";
	case -ETIMEDOUT:
		return "deadline hit, the outcome is unknown";
	case -EILSEQ:
		return "data differ";
	case -ENOENT:
		return "no such volume";
	case -ESHUTDOWN:
		return "the volume is being closed";
	case -ENOSPC:
		return "no space on a store";
	case -EBADMSG:
		return "no good copy of the data";
	case -EROFS:
		return "fenced, or opened read-only";
	case -EIO:
		return "the chain failed the operation";
	case -ENOTCONN:
		return "no configuration service answers";
	case -ENOMEM:
		return "out of memory";
	case -ENOSYS:
		return "io_uring is not available";
	case -EPERM:
		return "not permitted";
	default:
		return "unexpected error";
	}
}
