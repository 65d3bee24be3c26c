/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "tests/unit/fake_chaind.h"

#define DEADLINE_NS 20000000000ull
#define STEP_NS 5000000ull

static void on_opened(void *arg, int res, const char *why)
{
	struct fake_cluster *k = arg;

	CHECK(k->opened == 1);
	k->opened = res;
	snprintf(k->opened_why, sizeof(k->opened_why), "%s", why);
}

static void on_event(void *arg, int event, uint64_t size_bytes, const char *text)
{
	struct fake_cluster *k = arg;

	CHECK(size_bytes > 0);
	CHECK(text != NULL);
	k->events[k->events_n++ % 16] = event;
}

static void on_closed(void *arg)
{
	((struct fake_cluster *)arg)->closed = true;
}

static void fill_id(struct id128 *id, unsigned kind, unsigned n)
{
	memset(id->b, (int)kind, sizeof(id->b));
	id->b[0] = (uint8_t)n;
	id->b[1] = (uint8_t)(n >> 8);
}

static void make_map(struct fake_cluster *k)
{
	struct chain_map *m = k->map;
	struct map_volume *v = &m->volumes[0];

	fill_id(&m->hdr.cluster, 0xcc, 1);
	m->hdr.version = 1;
	m->hdr.servers_n = FAKE_SERVERS_MAX;
	m->hdr.chains_n = k->chains_n;
	m->hdr.volumes_n = 1;
	for (uint32_t i = 0; i < FAKE_SERVERS_MAX; i++) {
		struct map_server *s = &m->servers[i];

		s->id = i + 1;
		fill_id(&s->disk, 0xdd, i + 1);
		s->incarnation = k->peers[i + 1].incarnation;
		snprintf(s->name, sizeof(s->name), "s%u", i + 1);
		snprintf(s->addrs[0], ADDR_BYTES, "elsewhere:%u", i + 1);
		snprintf(s->addrs[1], ADDR_BYTES, "%s", k->peers[i + 1].addr);
	}
	for (uint32_t i = 0; i < k->chains_n; i++) {
		struct map_chain *c = &m->chains[i];

		*c = (struct map_chain){.id = i + 1,
					.in_n = k->members_n,
					.epoch = 1,
					.history = 1,
					.target_n = k->members_n};
		for (uint32_t j = 0; j < k->members_n; j++) {
			uint32_t id = (i + j) % FAKE_SERVERS_MAX + 1;

			c->in[j] = (struct map_member){.server = id,
						       .incarnation = k->peers[id].incarnation};
		}
		k->chains[i].rec = *c;
		k->chains[i].low = 1;
		list_init(&k->chains[i].pending);
		v->lanes[i] = i + 1;
	}
	v->id = FAKE_VOLUME_ID;
	v->size_bytes = (uint64_t)FAKE_EXTENTS * EXTENT_BYTES;
	v->generation = 1;
	v->state = VOLUME_NORMAL;
	v->sector_bytes = 512;
	v->lanes_n = k->chains_n;
	v->min_in = 1;
	snprintf(v->name, sizeof(v->name), "vol");
}

static void make_client(struct fake_cluster *k, const struct fake_cluster_config *cfg)
{
	struct client_config cc = {.volume = "vol",
				   .reqs_max = cfg->reqs_max ? cfg->reqs_max : 64,
				   .parts_max = cfg->parts_max ? cfg->parts_max : 64,
				   .src = &k->net->src,
				   .opened = on_opened,
				   .event = on_event,
				   .arg = k};
	struct arena a;
	size_t bytes;

	snprintf(cc.cfg_addrs[0], ADDR_BYTES, FAKE_CFG_ADDR);
	fill_id(&cc.id, 0xee, 1);
	bytes = client_memory(&cc);
	k->client_memory = calloc(1, bytes);
	CHECK(k->client_memory != NULL);
	arena_init(&a, k->client_memory, bytes);
	k->client = client_init(&cc, &k->net->clock.env, &a);
	k->opened = 1;
}

struct fake_cluster *fake_cluster_init(const struct fake_cluster_config *cfg)
{
	struct fake_cluster *k = calloc(1, sizeof(*k));

	CHECK(k != NULL);
	k->net = fake_init(cfg->seed);
	k->members_n = cfg->members_n ? cfg->members_n : 3;
	k->chains_n = cfg->chains_n ? cfg->chains_n : 2;
	k->map = calloc(1, sizeof(*k->map));
	k->chains = calloc(k->chains_n, sizeof(*k->chains));
	k->disk = calloc(FAKE_EXTENTS, EXTENT_BYTES);
	CHECK(k->map && k->chains && k->disk);
	for (uint32_t i = 0; i <= FAKE_SERVERS_MAX; i++) {
		struct fake_peer *p = &k->peers[i];

		snprintf(p->addr, ADDR_BYTES, i ? "s%u:1" : FAKE_CFG_ADDR, i);
		p->server_id = i;
		fill_id(&p->incarnation, 0x11, i + 1);
		list_init(&p->outbox);
	}
	make_map(k);
	make_client(k, cfg);
	return k;
}

static void free_frames(struct list *l)
{
	struct list *it;

	while ((it = list_pop(l))) {
		struct frame *f = CONTAINER_OF(it, struct frame, link);

		frame_put(f);
	}
}

void fake_cluster_stop(struct fake_cluster *k)
{
	client_stop(k->client, on_closed, k);
	for (int i = 0; i < 1000 && !k->closed; i++)
		fake_pass(k, 100000000);
	CHECK(k->closed);
}

void fake_cluster_fini(struct fake_cluster *k)
{
	if (!k->closed)
		fake_cluster_stop(k);
	for (uint32_t i = 0; i <= FAKE_SERVERS_MAX; i++)
		free_frames(&k->peers[i].outbox);
	for (uint32_t i = 0; i < k->ghosts_n; i++)
		frame_put(k->ghosts[i].f);
	for (uint32_t i = 0; i < k->chains_n; i++)
		fake_chain_drop(&k->chains[i]);
	fake_fini(k->net);
	free(k->client_memory);
	free(k->map);
	free(k->chains);
	free(k->disk);
	free(k);
}

void fake_open(struct fake_cluster *k)
{
	client_start(k->client, k->net->clock.now_ns + 5000000000ull);
	fake_pass(k, 100000000);
}

void fake_settle(struct fake_cluster *k)
{
	fake_run(k->net);
	while (fake_step(k))
		client_check(k->client);
}

void fake_pass(struct fake_cluster *k, uint64_t ns)
{
	uint64_t end = k->net->clock.now_ns + ns;

	fake_settle(k);
	while (k->net->clock.now_ns < end && !k->closed) {
		uint64_t at =
			MIN(fake_clock_next_ns(&k->net->clock), k->net->clock.now_ns + STEP_NS);

		at = MAX(MIN(at, end), k->net->clock.now_ns);
		fake_advance(k->net, at - k->net->clock.now_ns);
		fake_settle(k);
	}
}

void fake_cut(struct fake_cluster *k, uint32_t id)
{
	struct env_conn *c = fake_conn(k->net, k->peers[id].addr);

	if (c)
		fake_lose(k, &k->peers[id], c);
}

void fake_publish(struct fake_cluster *k)
{
	k->map->hdr.version++;
	fake_send_map(k);
	fake_settle(k);
}

void fake_restart_chain(struct fake_cluster *k, uint32_t id)
{
	struct fake_chain *c = &k->chains[id - 1];

	for (uint32_t i = 0; i < c->rec.in_n; i++) {
		struct fake_peer *p = &k->peers[c->rec.in[i].server];

		p->incarnation.b[15]++;
		fake_cut(k, p->server_id);
		k->map->servers[p->server_id - 1].incarnation = p->incarnation;
	}
	for (uint32_t i = 0; i < k->chains_n; i++) {
		struct map_chain *rec = &k->chains[i].rec;

		for (uint32_t j = 0; j < rec->in_n; j++)
			rec->in[j].incarnation = k->peers[rec->in[j].server].incarnation;
		rec->epoch++;
		k->map->chains[i] = *rec;
	}
	k->map->hdr.version++;
}

const char *fake_trace(struct fake_cluster *k)
{
	static char out[FAKE_TRACE_BYTES];

	memcpy(out, k->trace, sizeof(out));
	k->trace[0] = 0;
	return out;
}

static void on_done(struct client_req *r)
{
	struct fake_req *q = CONTAINER_OF(r, struct fake_req, r);

	q->done_n++;
	CHECK(q->done_n == 1);
	if (q->then)
		q->then(q);
}

struct fake_req *fake_req(struct fake_cluster *k, enum client_kind kind, uint64_t offset_bytes,
			  uint64_t len_bytes, int byte)
{
	struct fake_req *q = calloc(1, sizeof(*q));
	uint64_t bytes = len_bytes;

	CHECK(q != NULL);
	if (kind == CLIENT_WRITE_SAME)
		bytes = BLOCK_BYTES;
	else if (kind == CLIENT_CAW)
		bytes = 2 * len_bytes;
	else if (kind == CLIENT_PRESENT)
		bytes = (len_bytes / BLOCK_BYTES + 7) / 8;
	q->k = k;
	q->r = (struct client_req){.kind = kind,
				   .offset_bytes = offset_bytes,
				   .len_bytes = len_bytes,
				   .deadline_ns = k->net->clock.now_ns + DEADLINE_NS,
				   .done = on_done};
	if (kind == CLIENT_UNMAP)
		return q;
	q->r.data = buf_get(&k->net->bufs, (uint32_t)bytes, BUF_NODE);
	CHECK(q->r.data != NULL);
	memset(q->r.data->data, byte, bytes);
	return q;
}

void fake_req_free(struct fake_req *q)
{
	CHECK(q->done_n == 1);
	buf_put(q->r.data);
	free(q);
}

void fake_submit(struct fake_req *q)
{
	CHECK(client_submit(q->k->client, &q->r) == 0);
	CHECK(q->done_n == 0); /* never from within the call */
	fake_settle(q->k);
}
