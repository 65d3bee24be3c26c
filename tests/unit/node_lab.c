/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/node_lab.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/arena.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/fake_conn.h"

#define US 2u /* our server id */

static const struct id128 CLUSTER = {{0xcc}};
static const struct id128 IDS[WHO_END] = {{{0xcf}}, {{1}}, {{3}}, {{0xc1}}, {{0xc2}}};
static const struct id128 SELF = {{2}};

struct node *lab_node;
static struct lab_place place;
static struct fake_clock world;
static struct env_disk disk;
static struct env_conn *conns[WHO_END], *calling;
static char log_text[16384];
static void *memory;
static struct frame_pool frames;
static struct buf_pool bufs;
static bool stopped;

/* ---- env ---- */

static void log_line(struct env *e, int level, const char *line)
{
	size_t at = strlen(log_text);

	(void)e;
	snprintf(log_text + at, sizeof(log_text) - at, "<%d> %s\n", level, line);
}

static struct env_conn *conn_new(bool called)
{
	struct env_conn *c = calloc(1, sizeof(*c));

	CHECK(c != NULL);
	c->open = true;
	c->opened = true;
	c->called = called;
	c->who = "the node";
	c->role = ROLE_NODE;
	return c;
}

static void drop_conn(enum who w)
{
	if (!conns[w])
		return;
	fake_conn_forget(conns[w]);
	free(conns[w]);
	conns[w] = NULL;
}

static struct env_conn *do_connect(struct env *e, const char *addr, const struct conn_events *ev,
				   void *owner)
{
	struct env_conn *c = conn_new(true);
	enum who w;

	(void)e;
	c->ev = ev;
	c->owner = owner;
	w = strcmp(addr, "127.0.0.1:7400") == 0 ? CFG : SUCC;
	CHECK(!conns[w] || !conns[w]->open);
	drop_conn(w);
	conns[w] = c;
	if (w == SUCC)
		calling = c;
	return c;
}

static void do_close(struct env *e, struct env_conn *c)
{
	(void)e;
	CHECK(c->open);
	c->open = false;
}

static void run_tasks(void)
{
	while (fake_clock_tasks(&world))
		;
}

void lab_time(uint64_t ns)
{
	uint64_t end = world.now_ns + ns;

	run_tasks();
	while (fake_clock_next_ns(&world) <= end) {
		fake_clock_fire(&world);
		run_tasks();
	}
	world.now_ns = end;
}

/* ---- what was heard ---- */

static int print_marks(const struct frame *f, char *out, size_t len)
{
	const struct wire_mark *m = (const struct wire_mark *)(const void *)f->meta;

	return snprintf(out, len, "%s %llu%s", wire_type_info(f->hdr.type)->name,
			(unsigned long long)m->seq,
			f->hdr.type == WIRE_COMMITS && m->commit == 0 ? " no credit" : "");
}

static void print_frame(const struct frame *f, char *out, size_t len)
{
	const struct op_rec *op = (const struct op_rec *)(const void *)f->meta;
	const struct wire_reply *rep = (const struct wire_reply *)(const void *)f->meta;
	const struct wire_read_reply *rd = (const struct wire_read_reply *)(const void *)f->meta;
	const struct wire_confirm *cf = (const struct wire_confirm *)(const void *)f->meta;
	unsigned long long seq = f->hdr.seq;
	const char *name = wire_type_info(f->hdr.type)->name;
	int n;

	switch (f->hdr.type) {
	case WIRE_FORWARD:
		snprintf(out, len, "%s %llu %s %u+%u", name, seq, op_kind_name(op->kind), op->block,
			 op->blocks);
		return;
	case WIRE_TOKENS:
	case WIRE_COMMITS:
		print_marks(f, out, len);
		return;
	case WIRE_REPLY:
		n = snprintf(out, len, "%s %llu: %d", name, (unsigned long long)rep->req_no,
			     rep->status);
		if (rep->offset_bytes != 0)
			snprintf(out + n, len - (size_t)n, " at %u", rep->offset_bytes);
		return;
	case WIRE_READ_REPLY:
		n = snprintf(out, len, "%s: %d", name, rd->status);
		if (rd->status == 0)
			snprintf(out + n, len - (size_t)n, " %u+%u [%02x]", rd->block, rd->blocks,
				 f->data->data[0]);
		return;
	case WIRE_CONFIRMED:
		snprintf(out, len, "%s %llu", name, (unsigned long long)cf->epoch);
		return;
	case WIRE_ERROR:
		snprintf(out, len, "%s %d", name,
			 ((const struct wire_error *)(const void *)f->meta)->code);
		return;
	default:
		n = snprintf(out, len, "%s%s", name, f->hdr.flags & WIRE_F_ASK ? "?" : "");
		if (seq != 0 || f->hdr.type == WIRE_HELLO || f->hdr.type == WIRE_HELLO_ACK)
			snprintf(out + n, len - (size_t)n, " %llu", seq);
	}
}

void lab_hear(enum who w, const char *expected)
{
	static char text[65536];
	struct env_conn *c = conns[w];
	struct frame *f;
	size_t at = 0;

	run_tasks();
	text[0] = '\0';
	while (c && (f = fake_conn_take(c))) {
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", at > 0 ? "; " : "");
		print_frame(f, text + at, sizeof(text) - at);
		at = strlen(text);
		frame_put(f);
	}
	assert_string_equal(text, expected);
}

struct frame *lab_take(enum who w)
{
	struct frame *f = fake_conn_take(conns[w]);

	CHECK(f != NULL);
	return f;
}

void lab_forget(void)
{
	run_tasks();
	for (unsigned w = 0; w < WHO_END; w++)
		if (conns[w])
			fake_conn_forget(conns[w]);
}

void lab_log_expected(const char *part)
{
	if (!strstr(log_text, part))
		fail_msg("not in the log: %s\n%s", part, log_text);
}

bool lab_is_closed(enum who w)
{
	return !conns[w] || !conns[w]->open;
}

/* ---- what is said ---- */

struct frame *lab_frame(enum who from, enum wire_type type, uint32_t meta_bytes)
{
	struct frame *f = frame_new(&frames, type, meta_bytes);

	CHECK(f != NULL);
	f->hdr.cluster = CLUSTER;
	f->hdr.from = IDS[from];
	return f;
}

void lab_say(enum who from, struct frame *f)
{
	struct env_conn *c = conns[from];

	if (!(f->flags & FRAME_DROPPED_DATA))
		wire_frame_seal(f);
	CHECK(c != NULL);
	CHECK(c->open);
	c->ev->frame(c, c->owner, f);
	frame_put(f);
	run_tasks();
}

void lab_cut(enum who w)
{
	struct env_conn *c = conns[w];

	if (c->open) {
		c->open = false;
		c->ev->closed(c, c->owner, -ECONNRESET, "connection reset");
	}
	if (conns[w] == c)
		drop_conn(w);
	run_tasks();
}

static void answer_call(enum who w, uint32_t role)
{
	struct frame *f = lab_frame(w, WIRE_CONNECTED, sizeof(struct wire_connected));
	struct wire_connected *c = (struct wire_connected *)(void *)f->meta;

	c->role = role;
	c->server_id = w == SUCC ? 3 : 0;
	conns[w]->ev->opened(conns[w], conns[w]->owner);
	fake_conn_forget(conns[w]);
	lab_say(w, f);
}

void lab_connect_as(enum who w, enum who id)
{
	struct frame *f;
	struct wire_connect *c;

	conns[w] = conn_new(false);
	node_accept(lab_node, conns[w]);
	f = lab_frame(id, WIRE_CONNECT, sizeof(*c));
	c = (struct wire_connect *)(void *)f->meta;
	c->role = w == PRED ? ROLE_NODE : ROLE_CLIENT;
	snprintf(c->name, sizeof(c->name), "lab");
	lab_say(w, f);
}

void lab_connect(enum who w)
{
	if (w == SUCC || w == CFG) {
		if (w == SUCC && !calling)
			lab_time(2ull * 1000 * 1000 * 1000);
		CHECK(conns[w] != NULL);
		calling = NULL;
		answer_call(w, w == SUCC ? ROLE_NODE : ROLE_CFG);
		return;
	}
	lab_connect_as(w, w);
}

/* ---- the world at start ---- */

static void make_map(struct chain_map *m, uint64_t version, uint64_t epoch, uint32_t state)
{
	struct map_chain *ch = &m->chains[0];
	struct map_volume *v = &m->volumes[0];

	memset(m, 0, sizeof(*m));
	m->hdr = (struct chain_map_hdr){.cluster = CLUSTER,
					.version = version,
					.servers_n = 3,
					.chains_n = 1,
					.volumes_n = 1};
	for (uint32_t i = 0; i < 3; i++) {
		struct map_server *s = &m->servers[i];

		s->id = i + 1;
		s->disk.b[0] = (uint8_t)(0xd0 + i);
		s->incarnation.b[0] = (uint8_t)(i + 1);
		snprintf(s->name, sizeof(s->name), "s%u", i + 1);
		snprintf(s->addrs[0], ADDR_BYTES, "127.0.0.1:%u", 7401 + i);
	}
	*ch = (struct map_chain){.id = 1,
				 .in_n = place.members,
				 .epoch = epoch,
				 .history = 1,
				 .target_n = place.members};
	for (uint32_t i = 0; i < place.members; i++) {
		/* Server 1 stands before us, 3 behind. */
		uint32_t server = i < place.at ? 1 : i > place.at ? 3 : US;

		ch->in[i].server = server;
		ch->in[i].incarnation.b[0] = (uint8_t)server;
	}
	*v = (struct map_volume){.id = LAB_VOLUME,
				 .size_bytes = 2 * EXTENT_BYTES,
				 .generation = 1,
				 .state = state,
				 .sector_bytes = 512,
				 .lanes_n = 1,
				 .min_in = 1};
	v->lanes[0] = 1;
	snprintf(v->name, sizeof(v->name), "vol");
}

void lab_map(uint64_t version, uint64_t epoch, uint32_t volume_state)
{
	static struct chain_map m;
	struct frame *f = lab_frame(CFG, WIRE_MAP, 0);
	struct buf *b;

	make_map(&m, version, epoch, volume_state);
	b = buf_get(&bufs, (uint32_t)chain_map_encoded_bytes(&m), BUF_NODE);
	chain_map_encode(&m, b->data);
	frame_set_data(f, b);
	lab_say(CFG, f);
}

static void on_ready(void *arg, int res, const char *why)
{
	(void)arg;
	if (res < 0)
		fail_msg("not ready: %s", why);
}

static void init_world(void)
{
	const struct buf_pool_config bc = {.small_n = 600, .large_n = 8};
	size_t len = frame_pool_bytes(4096) + buf_pool_bytes(&bc);
	struct node_config cfg = {
		.name = "s2", .disk_bytes = 1 << 30, .chains_max = 4, .memory_bytes = 16 << 20};
	struct arena a;

	fake_clock_init(&world, 1000000000ull, 42);
	world.env.log = log_line;
	world.env.connect = do_connect;
	fake_conn_fill_env(&world.env);
	world.env.close = do_close;
	log_text[0] = '\0';
	calling = NULL;
	stopped = false;
	snprintf(cfg.cfg_addrs[0], ADDR_BYTES, "127.0.0.1:7400");
	snprintf(cfg.addrs[0], ADDR_BYTES, "127.0.0.1:7402");
	len += node_memory(&cfg);
	memory = aligned_alloc(4096, (len + 4095) / 4096 * 4096);
	CHECK(memory != NULL);
	memset(memory, 0, len);
	arena_init(&a, memory, len);
	frame_pool_init(&frames, 4096, &a);
	buf_pool_init(&bufs, &bc, &a);
	fake_store_reset(&world.env, place.stored_epoch, place.known, place.last);
	lab_node = node_init(&cfg, &world.env, &disk, &SELF, &a);
	node_start(lab_node, on_ready, NULL);
	run_tasks();
}

void lab_registered(uint16_t flags)
{
	struct frame *f = lab_frame(CFG, WIRE_REGISTERED, sizeof(struct wire_registered));

	((struct wire_registered *)(void *)f->meta)->server_id = US;
	f->hdr.flags |= flags;
	lab_say(CFG, f);
}

void lab_start(const struct lab_place *p)
{
	place = *p;
	init_world();
	lab_connect(CFG);
	if (place.not_registered)
		return;
	lab_hear(CFG, "REGISTER?");
	lab_registered(WIRE_F_ASK);
	lab_hear(CFG, "REGISTER");
	lab_registered(0);
	lab_hear(CFG, "MAP_GET");
	if (place.no_map)
		return;
	lab_map(1, LAB_EPOCH, VOLUME_NORMAL);
	lab_forget();
	if (place.at > 0) { /* R7: it says nothing to the successor before it has heard that */
		lab_connect(PRED);
		lab_plain(PRED, WIRE_HELLO, place.last);
		lab_forget();
	}
	if (place.at + 1 < place.members) {
		lab_connect(SUCC);
		lab_hear(SUCC, place.last ? "HELLO 8" : "HELLO 0");
		lab_plain(SUCC, WIRE_HELLO_ACK, place.last);
		lab_hear(SUCC, place.at == 0 && place.last ? "TOKENS 8" : "TOKENS 0");
	}
	lab_connect(CLIENT);
	lab_forget();
}

static void on_stopped(void *arg)
{
	(void)arg;
	stopped = true;
}

void lab_end(void)
{
	node_check(lab_node);
	fake_store.hold_durable = fake_store.hold_reads = false;
	fake_store_durable(fake_store_appended());
	lab_forget();
	node_stop(lab_node, world.now_ns + 1000000000ull, on_stopped, NULL);
	lab_time(3000000000ull);
	assert_true(stopped);
	assert_true(list_empty(&world.timers));
	for (unsigned w = 0; w < WHO_END; w++) {
		assert_true(lab_is_closed((enum who)w));
		drop_conn((enum who)w);
	}
	buf_pool_check(node_bufs(lab_node));
	assert_int_equal(node_frames(lab_node)->frames->free_n,
			 node_frames(lab_node)->frames->made_n);
	assert_int_equal(frames.free_n, frames.made_n);
	assert_int_equal(node_bufs(lab_node)->small_free_n, node_bufs(lab_node)->small_n);
	assert_int_equal(bufs.small_free_n, bufs.small_n);
	free(memory);
}

struct buf *lab_buf(uint32_t len_bytes, uint8_t fill)
{
	struct buf *b = buf_get(&bufs, len_bytes, BUF_NODE);

	CHECK(b != NULL);
	memset(b->data, fill, len_bytes);
	return b;
}
