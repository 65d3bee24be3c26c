/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Every test runs twice: as the kernel allows, and with CHAINBLK_IO_PLAIN=1. */

#include "tests/unit/io_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/tcp.h"

#define LARGE ((1u << 20) - 4096)

static struct io_test t;
static struct env_conn *client, *server; /* NULL once closed */
static char server_addr[ADDR_BYTES];
static char err[IO_ERR_BYTES];
static unsigned opened_n, client_closed_n, server_closed_n;
static int client_err, server_err;
static char client_why[256], server_why[256];
static void (*on_server_frame)(struct frame *f);
static void (*on_client_frame)(struct frame *f);

static const struct buf_pool_config some_bufs = {.small_n = 40, .large_n = 8};
static const struct id128 cluster = {{1, 2, 3}};

/* ---- both ends ---- */

static struct frame *make(enum wire_type type, uint32_t meta_bytes)
{
	struct frame *f = frame_new(&t.frames, type, meta_bytes);

	assert_non_null(f);
	if (type != WIRE_CONNECT && type != WIRE_CONNECTED && type != WIRE_ERROR)
		f->hdr.cluster = cluster;
	return f;
}

static void send_and_put(struct env_conn *c, struct frame *f)
{
	t.env->send(t.env, c, f);
	frame_put(f);
}

static struct frame *make_connect(enum wire_role role)
{
	struct frame *f = make(WIRE_CONNECT, sizeof(struct wire_connect));
	struct wire_connect *b = (struct wire_connect *)(void *)f->meta;

	b->role = role;
	snprintf(b->name, sizeof(b->name), "test");
	return f;
}

static struct frame *make_connected(void)
{
	struct frame *f = make(WIRE_CONNECTED, sizeof(struct wire_connected));

	((struct wire_connected *)(void *)f->meta)->role = ROLE_NODE;
	return f;
}

/* A request to write @data_bytes of @fill, checksummed as a whole. */
static struct frame *make_request(uint32_t data_bytes, uint8_t fill, uint64_t req_no)
{
	struct frame *f = make(WIRE_REQUEST, sizeof(struct wire_request));
	struct wire_request *b = (struct wire_request *)(void *)f->meta;
	struct buf *data = buf_get(&t.bufs, data_bytes, BUF_NODE);

	assert_non_null(data);
	memset(data->data, fill, data_bytes);
	frame_set_data(f, data);
	f->hdr.chain = 1;
	f->hdr.epoch = 1;
	f->hdr.flags = WIRE_F_DATA_CRC;
	f->hdr.from = (struct id128){{9}};
	b->volume = 1;
	b->kind = REQ_WRITE;
	b->offset_bytes = 512; /* not of whole blocks: covered by the data CRC */
	b->len_bytes = data_bytes;
	b->session = 1;
	b->generation = 1;
	b->req_no = req_no;
	b->low = 1;
	return f;
}

static void client_opened(struct env_conn *c, void *owner)
{
	assert_ptr_equal(c, client);
	assert_ptr_equal(owner, &client);
	opened_n++;
}

static void client_frame(struct env_conn *c, void *owner, struct frame *f)
{
	assert_ptr_equal(c, client);
	(void)owner;
	on_client_frame(f);
}

static void client_closed(struct env_conn *c, void *owner, int res, const char *why)
{
	assert_ptr_equal(c, client);
	(void)owner;
	client = NULL;
	client_closed_n++;
	client_err = res;
	snprintf(client_why, sizeof(client_why), "%s", why);
	reactor_stop(t.r);
}

static void server_frame(struct env_conn *c, void *owner, struct frame *f)
{
	assert_ptr_equal(c, server);
	assert_ptr_equal(owner, &server);
	on_server_frame(f);
}

static void server_closed(struct env_conn *c, void *owner, int res, const char *why)
{
	assert_ptr_equal(c, server);
	(void)owner;
	server = NULL;
	server_closed_n++;
	server_err = res;
	snprintf(server_why, sizeof(server_why), "%s", why);
	reactor_stop(t.r);
}

static const struct conn_events client_events = {client_opened, client_frame, client_closed};
static const struct conn_events server_events = {NULL, server_frame, server_closed};

static void on_accept(void *arg, struct env_conn *c)
{
	assert_ptr_equal(arg, &t);
	server = c;
	t.env->attach(t.env, c, &server_events, &server);
}

static void answer_connect(struct frame *f)
{
	assert_int_equal(f->hdr.type, WIRE_CONNECT);
	send_and_put(server, make_connected());
}

static void stop_at_connected(struct frame *f)
{
	assert_int_equal(f->hdr.type, WIRE_CONNECTED);
	reactor_stop(t.r);
}

/* ---- set-up ---- */

static int setup_mode(const char *plain, const char *listen_addr)
{
	struct tcp_config cfg = {.conns_max = 8, .src = &t.src};

	setenv("CHAINBLK_IO_PLAIN", plain, 1);
	client = server = NULL;
	opened_n = client_closed_n = server_closed_n = 0;
	client_why[0] = server_why[0] = '\0';
	io_test_open(&t, 40, &some_bufs);
	if (tcp_open(t.r, &cfg, err) < 0 || tcp_listen(t.r, listen_addr, on_accept, &t, err) < 0)
		fail_msg("%s", err);
	if (strncmp(listen_addr, "unix:", 5) == 0)
		snprintf(server_addr, sizeof(server_addr), "%s", listen_addr);
	else
		snprintf(server_addr, sizeof(server_addr), "127.0.0.1:%u", tcp_port(t.r));
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_mode("0", "127.0.0.1:0");
}

static int setup_plain(void **state)
{
	(void)state;
	return setup_mode("1", "127.0.0.1:0");
}

static int setup_unix(void **state)
{
	(void)state;
	return setup_mode("0", "unix:/tmp/chainblk-test-tcp.sock");
}

static int teardown(void **state)
{
	(void)state;
	io_test_close(&t);
	return 0;
}

static void connect_as(enum wire_role role)
{
	on_server_frame = answer_connect;
	on_client_frame = stop_at_connected;
	client = t.env->connect(t.env, server_addr, &client_events, &client);
	assert_non_null(client);
	send_and_put(client, make_connect(role));
	io_test_run(&t);
	assert_int_equal(opened_n, 1);
	assert_non_null(server);
}

/* A peer outside of this reactor, so that its frames are not ours. */
static int raw_connect(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)tcp_port(t.r)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

/* ---- frames ---- */

static uint64_t got_n, want_n;
static uint32_t sizes[64];

static void expect_request(struct frame *f)
{
	const struct wire_request *b = (const struct wire_request *)(const void *)f->meta;

	assert_int_equal(f->hdr.type, WIRE_REQUEST);
	assert_int_equal(b->req_no, ++got_n);
	assert_int_equal(f->hdr.data_bytes, sizes[b->req_no % 64]);
	assert_int_equal(f->flags & FRAME_DROPPED_DATA, 0);
	assert_non_null(f->data);
	assert_int_equal((uintptr_t)f->data->data % BLOCK_BYTES, 0);
	for (uint32_t i = 0; i < f->data->len_bytes; i++)
		if (f->data->data[i] != (uint8_t)b->req_no)
			fail_msg("byte %u of request %llu", i, (unsigned long long)b->req_no);
	if (got_n == want_n)
		reactor_stop(t.r);
}

static void test_tcp_frames_arrive_whole_and_in_order(void **state)
{
	static const uint32_t some[] = {512,   4096 * 4, 1024, (1u << 20) - 1024,
					65536, 7 * 512,  512};
	uint64_t req_no = 0;

	(void)state;
	connect_as(ROLE_CLIENT);
	on_server_frame = expect_request;
	got_n = 0;
	want_n = 0;
	for (int round = 0; round < 20; round++) {
		for (unsigned i = 0; i < ARRAY_LEN(some); i++) {
			uint32_t bytes = some[(i + (unsigned)round) % ARRAY_LEN(some)];

			sizes[++req_no % 64] = bytes;
			send_and_put(client, make_request(bytes, (uint8_t)req_no, req_no));
		}
		want_n = req_no;
		io_test_run(&t);
		assert_int_equal(got_n, want_n);
	}
	/* The last sends may not have completed here yet; once the connection ends they have. */
	t.env->close(t.env, client);
	client = NULL;
	io_test_run(&t);
	assert_int_equal(server_closed_n, 1);
	assert_int_equal(server_err, -ECONNRESET);
	assert_string_equal(server_why, "closed by the peer");
}

static void count_reply(struct frame *f)
{
	assert_int_equal(f->hdr.type, WIRE_CONFIRMED);
	if (++got_n == want_n)
		reactor_stop(t.r);
}

static void ignore_frame(struct frame *f)
{
	(void)f;
}

static void test_tcp_many_frames_of_a_turn_leave_in_one_send(void **state)
{
	struct reactor_stats before, after;

	(void)state;
	connect_as(ROLE_CLIENT);
	on_client_frame = count_reply;
	on_server_frame = ignore_frame;
	got_n = 0;
	want_n = 20;
	before = reactor_get_stats(t.r);
	for (uint64_t i = 0; i < want_n; i++) {
		struct frame *f = make(WIRE_CONFIRMED, sizeof(struct wire_confirm));

		((struct wire_confirm *)(void *)f->meta)->chain = 1;
		send_and_put(server, f);
	}
	assert_true(t.env->send_queue_bytes(t.env, server) > 20 * 128);
	io_test_run(&t);
	assert_int_equal(t.env->send_queue_bytes(t.env, server), 0);
	after = reactor_get_stats(t.r);
	assert_true(after.sqes - before.sqes < 8);
}

static void expect_dropped(struct frame *f)
{
	got_n++;
	assert_null(f->data);
	assert_int_equal(f->flags & FRAME_DROPPED_DATA, FRAME_DROPPED_DATA);
	assert_int_equal(f->hdr.data_bytes, got_n == 1 ? LARGE : 4096u);
	if (got_n == want_n)
		reactor_stop(t.r);
}

static void test_tcp_payload_without_a_buffer_is_thrown_away_and_said_so(void **state)
{
	struct buf *hog[64];
	uint32_t hogs = 0;
	struct frame *f, *g;

	(void)state;
	connect_as(ROLE_CLIENT);
	f = make_request(LARGE, 1, 1);
	g = make_request(4096, 2, 2);
	while ((hog[hogs] = buf_get(&t.bufs, 512, BUF_NODE)))
		hogs++;
	on_server_frame = expect_dropped;
	got_n = 0;
	want_n = 2;
	/* Kept here, so that no buffer becomes free when they were sent. */
	t.env->send(t.env, client, f);
	t.env->send(t.env, client, g);
	io_test_run(&t);
	assert_int_equal(got_n, 2);
	frame_put(f);
	frame_put(g);
	while (hogs)
		buf_put(hog[--hogs]);
	/* And the connection is as good as before. */
	on_server_frame = expect_request;
	got_n = 2;
	want_n = 3;
	sizes[3] = 1024;
	send_and_put(client, make_request(1024, 3, 3));
	io_test_run(&t);
	assert_int_equal(got_n, 3);
}

static struct frame *kept[64];
static unsigned kept_n;
static struct env_timer release_timer;

static void release_kept(struct env_timer *timer)
{
	(void)timer;
	while (kept_n)
		frame_put(kept[--kept_n]);
}

/* Keeps frames until no more come, then lets them go: they must all come in the end. */
static void keep(struct frame *f)
{
	kept[kept_n++] = frame_ref(f);
	got_n++;
	if (t.frames.free_n <= t.frames.made_n / 8)
		t.env->timer_arm(t.env, &release_timer, t.env->now_ns(t.env) + 2000000);
	if (got_n == want_n) {
		release_kept(NULL);
		reactor_stop(t.r);
	}
}

static void test_tcp_receives_nothing_while_no_frame_is_free(void **state)
{
	int fd = raw_connect();
	struct frame *f;

	(void)state;
	release_timer.fn = release_kept;
	on_server_frame = keep;
	got_n = 0;
	want_n = 501;
	f = make_connect(ROLE_CLIENT);
	wire_frame_seal(f);
	assert_true(send(fd, &f->hdr, sizeof(f->hdr) + f->hdr.meta_bytes, 0) > 0);
	frame_put(f);
	f = make(WIRE_MAP_GET, 0);
	wire_frame_seal(f);
	for (int i = 0; i < 500; i++)
		assert_int_equal(send(fd, &f->hdr, sizeof(f->hdr), 0), sizeof(f->hdr));
	frame_put(f);
	io_test_run(&t);
	assert_int_equal(got_n, 501);
	shutdown(fd, SHUT_WR);
	io_test_run(&t);
	assert_int_equal(server_closed_n, 1);
	close(fd);
}

/* ---- what goes wrong ---- */

/* Send bytes to the server, wait until it closed, return the text of the ERROR that came first. */
static void raw_refused(const void *bytes, size_t len, int want_err, const char *want_why)
{
	struct {
		struct wire_hdr hdr;
		struct wire_error body;
	} answer;
	int fd = raw_connect();

	on_server_frame = ignore_frame;
	server_why[0] = '\0';
	assert_int_equal(send(fd, bytes, len, 0), len);
	io_test_run(&t);
	assert_int_equal(server_err, want_err);
	assert_non_null(strstr(server_why, want_why));
	/* The ERROR leaves at the end of that turn. */
	assert_int_equal(recv(fd, &answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	assert_int_equal(answer.hdr.type, WIRE_ERROR);
	assert_int_equal(answer.body.code, want_err);
	assert_string_equal(answer.body.text, server_why);
	close(fd);
}

static void test_tcp_bad_frames_are_named_and_close_the_connection(void **state)
{
	struct frame *f = make_connect(ROLE_CLIENT);
	uint8_t bytes[1024];
	size_t len = sizeof(f->hdr) + f->hdr.meta_bytes;
	struct wire_hdr *h = (struct wire_hdr *)(void *)bytes;

	(void)state;
	wire_frame_seal(f);
#define FRESH() memcpy(bytes, &f->hdr, len)
	FRESH();
	h->magic++;
	raw_refused(bytes, len, -EPROTO, "magic");
	FRESH();
	h->version = 77;
	raw_refused(bytes, len, -EPROTONOSUPPORT, "version");
	FRESH();
	h->type = 63;
	raw_refused(bytes, len, -EPROTO, "type");
	FRESH();
	h->meta_bytes = 0xffffffffu;
	raw_refused(bytes, len, -EPROTO, "meta");
	FRESH();
	h->data_bytes = 0x80000000u;
	raw_refused(bytes, len, -EPROTO, "data");
	FRESH();
	bytes[sizeof(*h) + 8] ^= 1;
	raw_refused(bytes, len, -EBADMSG, "checksum");
	FRESH();
	h->type = WIRE_MAP_GET;
	h->meta_bytes = 0;
	raw_refused(bytes, sizeof(*h), -EPERM, "first must be CONNECT");
	frame_put(f);
}

static void test_tcp_a_role_may_send_only_what_is_its_own(void **state)
{
	struct frame *f;

	(void)state;
	connect_as(ROLE_ADMIN);
	on_server_frame = on_client_frame = ignore_frame;
	f = make(WIRE_HELLO, 0); /* a node's */
	f->hdr.chain = 1;
	send_and_put(client, f);
	io_test_run(&t);
	assert_int_equal(server_err, -EPERM);
	assert_non_null(strstr(server_why, "role"));
}

static void test_tcp_a_truncated_frame_is_a_closed_connection(void **state)
{
	struct frame *f = make_connect(ROLE_CLIENT);
	size_t len = sizeof(f->hdr) + f->hdr.meta_bytes;

	(void)state;
	wire_frame_seal(f);
	on_server_frame = ignore_frame;
	for (size_t n = 1; n < len; n += 7) {
		int fd = raw_connect();

		assert_int_equal(send(fd, &f->hdr, n, 0), n);
		close(fd);
		io_test_run(&t);
		assert_int_equal(server_err, -ECONNRESET);
	}
	frame_put(f);
}

static void stop_now(void *arg)
{
	(void)arg;
	reactor_stop(t.r);
}

static void test_tcp_bytes_one_at_a_time_make_the_same_frame(void **state)
{
	struct frame *f = make_connect(ROLE_CLIENT);
	const uint8_t *p = (const uint8_t *)&f->hdr;
	size_t len = sizeof(f->hdr) + f->hdr.meta_bytes;
	int fd = raw_connect();

	(void)state;
	wire_frame_seal(f);
	on_server_frame = keep;
	kept_n = 0;
	got_n = 0;
	want_n = 1;
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(send(fd, p + i, 1, 0), 1);
		if (i + 1 == len) {
			io_test_run(&t);
		} else {
			reactor_on_wake(t.r, stop_now, NULL);
			reactor_wake(t.r);
			io_test_run(&t);
		}
	}
	assert_int_equal(got_n, 1);
	frame_put(f);
	close(fd);
}

static void test_tcp_a_refused_connection_says_so_once(void **state)
{
	(void)state;
	tcp_stop_listening(t.r);
	client = t.env->connect(t.env, server_addr, &client_events, &client);
	assert_non_null(client);
	send_and_put(client, make_connect(ROLE_CLIENT));
	io_test_run(&t);
	assert_int_equal(client_closed_n, 1);
	assert_int_equal(opened_n, 0);
	assert_int_equal(client_err, -ECONNREFUSED);
}

static void test_tcp_what_was_queued_before_close_still_arrives(void **state)
{
	(void)state;
	connect_as(ROLE_CLIENT);
	on_server_frame = expect_request;
	got_n = 0;
	want_n = 2;
	sizes[1] = 4096;
	sizes[2] = LARGE;
	send_and_put(client, make_request(4096, 1, 1));
	send_and_put(client, make_request(LARGE, 2, 2));
	t.env->close(t.env, client);
	client = NULL;
	io_test_run(&t);
	assert_int_equal(got_n, 2);
	assert_int_equal(client_closed_n, 0);
}

static void test_tcp_plaintext_stays_on_this_machine(void **state)
{
	(void)state;
	assert_null(t.env->connect(t.env, "192.0.2.1:7400", &client_events, &client));
	assert_null(t.env->connect(t.env, "not an address", &client_events, &client));
	assert_int_equal(tcp_listen(t.r, "0.0.0.0:0", on_accept, &t, err), -EPERM);
	assert_non_null(strstr(err, "--insecure-lab"));
}

int main(void)
{
#define T(name)                                                                                    \
	{#name, name, setup, teardown, NULL},                                                      \
	{                                                                                          \
#name " (plain)", name, setup_plain, teardown, NULL                                \
	}
	const struct CMUnitTest tests[] = {
		T(test_tcp_frames_arrive_whole_and_in_order),
		{"test_tcp_frames_arrive_whole_and_in_order (unix socket)",
		 test_tcp_frames_arrive_whole_and_in_order, setup_unix, teardown, NULL},
		T(test_tcp_many_frames_of_a_turn_leave_in_one_send),
		T(test_tcp_payload_without_a_buffer_is_thrown_away_and_said_so),
		T(test_tcp_receives_nothing_while_no_frame_is_free),
		T(test_tcp_bad_frames_are_named_and_close_the_connection),
		T(test_tcp_a_role_may_send_only_what_is_its_own),
		T(test_tcp_a_truncated_frame_is_a_closed_connection),
		T(test_tcp_bytes_one_at_a_time_make_the_same_frame),
		T(test_tcp_a_refused_connection_says_so_once),
		T(test_tcp_what_was_queued_before_close_still_arrives),
		T(test_tcp_plaintext_stays_on_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
