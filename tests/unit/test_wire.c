/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What the fields of each message may say. Truncation, lengths and checksums: test_pull_apart. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/chain_map.h"
#include "tests/fuzz/samples.h"

#define AT(type, field) offsetof(struct type, field), sizeof(((struct type *)0)->field)

/* Set a field of a sample's body to a value, and hear why that is refused. */
struct wrong {
	enum wire_type type;
	size_t at, len;
	uint64_t value;
	const char *why;
};

static const struct wrong wrongs[] = {
	{WIRE_CONNECT, AT(wire_connect, role), 0, "CONNECT: a role nobody may open"},
	{WIRE_CONNECT, AT(wire_connect, role), ROLE_CFG, "CONNECT: a role nobody may open"},
	{WIRE_CONNECT, AT(wire_connect, role), ROLE_END, "CONNECT: a role nobody may open"},
	{WIRE_CONNECT, AT(wire_connect, server_id), 1, "CONNECT: a server id from somebody"},
	{WIRE_CONNECT, AT(wire_connect, reserved), 1, "CONNECT: reserved"},
	{WIRE_CONNECT, offsetof(struct wire_connect, name) + 2, 1, '\n', "CONNECT: name"},
	{WIRE_CONNECT, offsetof(struct wire_connect, name) + 31, 1, 'x', "CONNECT: name"},
	{WIRE_CONNECTED, AT(wire_connected, role), ROLE_CLIENT, "CONNECTED: a role nobody accepts"},
	{WIRE_ERROR, AT(wire_error, code), 5, "ERROR: code"},
	{WIRE_ERROR, AT(wire_error, code), (uint64_t)-4096, "ERROR: code"},
	{WIRE_ERROR, AT(wire_error, reserved), 1, "ERROR: code"},
	{WIRE_ERROR, offsetof(struct wire_error, text) + 199, 1, 'x', "ERROR: text"},
	{WIRE_FORWARD, AT(op_rec, kind), 0, "op: unknown kind"},
	{WIRE_FORWARD, AT(op_rec, kind), OP_KIND_END, "op: unknown kind"},
	{WIRE_FORWARD, AT(op_rec, flags), 1, "op: reserved"},
	{WIRE_FORWARD, AT(op_rec, reserved0), 1, "op: reserved"},
	{WIRE_FORWARD, AT(op_rec, reserved1), 1, "op: reserved"},
	{WIRE_FORWARD, AT(op_rec, seq), 0, "op: seq, epoch or chain is 0"},
	{WIRE_FORWARD, AT(op_rec, seq), 8, "FORWARD: op and header name different"},
	{WIRE_FORWARD, AT(op_rec, chain), 2, "FORWARD: op and header name different"},
	{WIRE_FORWARD, AT(op_rec, epoch), 0, "op: seq, epoch or chain is 0"},
	{WIRE_FORWARD, AT(op_rec, epoch), 3, "FORWARD: op and header name different"},
	{WIRE_FORWARD, AT(op_rec, result), 1, "op: result"},
	{WIRE_FORWARD, AT(op_rec, block), 1023, "op: range leaves its extent"},
	{WIRE_FORWARD, AT(op_rec, block), UINT32_MAX, "op: range leaves its extent"},
	{WIRE_FORWARD, AT(op_rec, blocks), 0, "op: number of blocks"},
	{WIRE_FORWARD, AT(op_rec, blocks), 257, "op: number of blocks"},
	{WIRE_FORWARD, AT(op_rec, blocks), UINT32_MAX, "op: range leaves its extent"},
	{WIRE_FORWARD, AT(op_rec, crcs_n), 3, "op: number of checksums"},
	{WIRE_FORWARD, AT(op_rec, crcs_n), UINT32_MAX, "op: number of checksums"},
	{WIRE_FORWARD, AT(op_rec, data_bytes), 4096, "op: payload length"},
	{WIRE_FORWARD, AT(op_rec, extent), 1ull << 28, "op: extent beyond"},
	{WIRE_FORWARD, AT(op_rec, offset_bytes), 1, "op: offset on a kind"},
	{WIRE_TOKENS, AT(wire_mark, chain), 0, "mark: chain or epoch is 0"},
	{WIRE_TOKENS, AT(wire_mark, epoch), 0, "mark: chain or epoch is 0"},
	{WIRE_COMMITS, AT(wire_mark, reserved), 1, "mark: chain or epoch is 0"},
	{WIRE_DUP, AT(wire_dup, req_no), 0, "DUP: request number is 0"},
	{WIRE_STALE, AT(map_chain, in_n), 0, "chain: number of members"},
	{WIRE_STALE, AT(map_chain, in_n), 9, "chain: number of members"},
	{WIRE_STALE, AT(map_chain, in_n), 2, "chain: a member without server"},
	{WIRE_STALE, AT(map_chain, target_n), 0, "chain: wanted number"},
	{WIRE_STALE, AT(map_chain, epoch), 0, "chain: id or epoch is 0"},
	{WIRE_STALE, AT(map_chain, id), 2, "STALE: record and header"},
	{WIRE_STALE, AT(map_chain, reserved), 1, "chain: reserved"},
	{WIRE_STALE, AT(map_chain, in[7].server), 1, "chain: bytes behind"},
	{WIRE_STALE, AT(map_chain, sync.server), 1, "chain: the joiner is half"},
	{WIRE_REQUEST, AT(wire_request, kind), 0, "REQUEST: unknown kind"},
	{WIRE_REQUEST, AT(wire_request, kind), REQ_KIND_END, "REQUEST: unknown kind"},
	{WIRE_REQUEST, AT(wire_request, flags), 1, "REQUEST: reserved"},
	{WIRE_REQUEST, AT(wire_request, reserved), 1, "REQUEST: reserved"},
	{WIRE_REQUEST, AT(wire_request, session), 0, "REQUEST: session"},
	{WIRE_REQUEST, AT(wire_request, req_no), 0, "REQUEST: number is 0 or below"},
	{WIRE_REQUEST, AT(wire_request, low), 10, "REQUEST: number is 0 or below"},
	{WIRE_REQUEST, AT(wire_request, extent), 1ull << 28, "REQUEST: extent beyond"},
	{WIRE_REQUEST, AT(wire_request, len_bytes), 0, "REQUEST: range is empty or leaves"},
	{WIRE_REQUEST, AT(wire_request, len_bytes), UINT32_MAX,
	 "REQUEST: range is empty or leaves"},
	{WIRE_REQUEST, AT(wire_request, offset_bytes), EXTENT_BYTES, "REQUEST: range is empty or"},
	{WIRE_REQUEST, AT(wire_request, offset_bytes), 100, "REQUEST: range is not whole sectors"},
	{WIRE_REQUEST, AT(wire_request, offset_bytes), 512, "REQUEST: number of checksums"},
	{WIRE_REQUEST, AT(wire_request, len_bytes), (1u << 20) + 4096, "REQUEST: range longer"},
	{WIRE_REQUEST, AT(wire_request, crcs_n), 1, "REQUEST: number of checksums"},
	{WIRE_REQUEST, AT(wire_request, kind), REQ_UNMAP, "REQUEST: number of checksums"},
	{WIRE_REQUEST, AT(wire_request, kind), REQ_WRITE_SAME, "REQUEST: number of checksums"},
	{WIRE_REQUEST, AT(wire_request, kind), REQ_CAW, "REQUEST: number of checksums"},
	{WIRE_REQUEST, AT(wire_request, kind), REQ_SESSION, "REQUEST: range on a kind"},
	{WIRE_REPLY, AT(wire_reply, status), 1, "REPLY: status"},
	{WIRE_REPLY, AT(wire_reply, reserved), 1, "REPLY: status"},
	{WIRE_REPLY, AT(wire_reply, offset_bytes), 1, "REPLY: offset"},
	{WIRE_READ, AT(wire_read, kind), 0, "READ: unknown kind"},
	{WIRE_READ, AT(wire_read, kind), 3, "READ: unknown kind"},
	{WIRE_READ, AT(wire_read, reserved), 1, "READ: unknown kind"},
	{WIRE_READ, AT(wire_read, extent), 1ull << 28, "READ: extent beyond"},
	{WIRE_READ, AT(wire_read, blocks), 0, "READ: range is empty"},
	{WIRE_READ, AT(wire_read, blocks), 1020, "READ: range is empty or leaves"},
	{WIRE_READ, AT(wire_read, blocks), 257, "READ: longer than one op"},
	{WIRE_READ, AT(wire_read, block), UINT32_MAX, "READ: range is empty or leaves"},
	{WIRE_READ_REPLY, AT(wire_read_reply, status), 1, "READ_REPLY: status"},
	{WIRE_READ_REPLY, AT(wire_read_reply, status), (uint64_t)-EIO,
	 "READ_REPLY: data with an error"},
	{WIRE_READ_REPLY, AT(wire_read_reply, crcs_n), 3, "READ_REPLY: meta does not hold"},
	{WIRE_READ_REPLY, AT(wire_read_reply, blocks), 3, "READ_REPLY: checksums or data"},
	{WIRE_READ_REPLY, AT(wire_read_reply, block), 1023, "READ_REPLY: range is empty or leaves"},
	{WIRE_CONFIRM, AT(wire_confirm, chain), 0, "confirm: chain is 0"},
	{WIRE_CONFIRM, AT(wire_confirm, epoch), 0, "CONFIRM: epoch is 0"},
	{WIRE_CONFIRMED, AT(wire_confirm, reserved), 1, "confirm: chain is 0"},
	{WIRE_REGISTER, offsetof(struct wire_register, name) + 31, 1, 'x', "REGISTER: name"},
	{WIRE_REGISTER, offsetof(struct wire_register, addrs) + 255, 1, 'x', "REGISTER: address"},
	{WIRE_REGISTER, AT(wire_register, bytes_free), 1ull << 31, "REGISTER: more bytes free"},
	{WIRE_REGISTERED, AT(wire_registered, server_id), 0, "REGISTERED: no server id"},
	{WIRE_OPEN, AT(wire_open, flags), 2, "OPEN: reserved"},
	{WIRE_OPEN, offsetof(struct wire_open, name) + 63, 1, 'x', "OPEN: name"},
	{WIRE_OPENED, AT(wire_opened, volume), 0, "OPENED: no volume"},
	{WIRE_OPENED, AT(wire_opened, status), 1, "OPENED: status"},
	{WIRE_ADMIN, AT(wire_admin, op), 0, "ADMIN: unknown operation"},
	{WIRE_ADMIN, AT(wire_admin, op), ADMIN_OP_END, "ADMIN: unknown operation"},
	{WIRE_ADMIN, offsetof(struct wire_admin, name) + 63, 1, 'x', "ADMIN: name"},
	{WIRE_ADMIN_REPLY, AT(wire_admin_reply, status), 1, "ADMIN_REPLY: status"},
	{WIRE_ADMIN_REPLY, offsetof(struct wire_admin_reply, text) + 199, 1, 'x',
	 "ADMIN_REPLY: text"},
};

static void expect_refusal(const struct frame *f, int rc, const char *part)
{
	const char *why = "accepted";

	assert_int_equal(wire_frame_check(f, sample_role(f->hdr.type), &why), rc);
	if (strncmp(why, part, strlen(part)) != 0)
		fail_msg("%s: refused as '%s', not '%s'", wire_type_info(f->hdr.type)->name, why,
			 part);
}

static void test_every_wrong_field_is_refused_by_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrongs); i++) {
		struct frame *f = sample_frame(wrongs[i].type);

		memcpy(f->meta + wrongs[i].at, &wrongs[i].value, wrongs[i].len);
		wire_frame_seal(f);
		expect_refusal(f, -EPROTO, wrongs[i].why);
		frame_put(f);
	}
}

static void test_ids_that_must_be_there_are_missed(void **state)
{
	struct frame *f = sample_frame(WIRE_REGISTER);
	struct wire_register *r = (struct wire_register *)(void *)f->meta;

	(void)state;
	memset(&r->disk, 0, sizeof(r->disk));
	wire_frame_seal(f);
	expect_refusal(f, -EPROTO, "REGISTER: no disk");
	frame_put(f);
	for (unsigned type = 1; type < WIRE_TYPE_END; type++) {
		if (!wire_type_info(type))
			continue;
		f = sample_frame(type);
		memset(&f->hdr.cluster, 0, sizeof(f->hdr.cluster));
		wire_frame_seal(f);
		if (type > WIRE_ERROR)
			expect_refusal(f, -EPROTO, "frame: no cluster id");
		frame_put(f);
	}
}

static void test_messages_about_a_chain_name_it(void **state)
{
	static const enum wire_type about[] = {
		WIRE_HELLO, WIRE_FORWARD, WIRE_DUP,  WIRE_HELLO_ACK,  WIRE_NAK,
		WIRE_STALE, WIRE_REQUEST, WIRE_READ, WIRE_READ_REPLY, WIRE_REPLY,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(about); i++) {
		struct frame *f = sample_frame(about[i]);

		f->hdr.chain = 0;
		wire_frame_seal(f);
		expect_refusal(f, -EPROTO, "frame: no chain id");
		frame_put(f);
	}
}

static void test_the_role_matrix_is_the_one_of_the_design(void **state)
{
	static const char *const may[ROLE_END] = {
		[ROLE_NONE] = "CONNECT ",
		[ROLE_NODE] =
			"CONNECTED ERROR HELLO FORWARD TOKENS DUP HELLO_ACK COMMITS NAK STALE "
			"REPLY READ_REPLY CONFIRMED REGISTER REPORT MAP_GET ",
		[ROLE_CLIENT] = "REQUEST READ CONFIRM MAP_GET OPEN ",
		[ROLE_ADMIN] = "MAP_GET OPEN ADMIN ",
		[ROLE_CFG] = "CONNECTED ERROR STALE REGISTERED MAP OPENED ADMIN_REPLY ",
	};

	(void)state;
	for (unsigned role = 0; role < ROLE_END; role++) {
		char list[512] = "";
		size_t len = 0;

		for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
			const struct wire_type_info *t = wire_type_info(type);

			if (t && (t->senders & (1u << role)))
				len += (size_t)snprintf(list + len, sizeof(list) - len, "%s ",
							t->name);
		}
		assert_string_equal(list, may[role]);
	}
}

static struct frame *with_reports(uint32_t n)
{
	struct frame *f = sample_frame(WIRE_REPORT);
	struct buf *b = buf_get(sample_source()->bufs, n * 32, BUF_NODE);

	for (uint32_t i = 0; i < n; i++)
		((struct wire_report *)(void *)b->data)[i] = (struct wire_report){
			.chain = i + 1, .state = REPLICA_IN, .epoch = 1, .last = 2, .known = 1};
	frame_set_data(f, b);
	wire_frame_seal(f);
	return f;
}

static void test_reports_are_looked_through(void **state)
{
	struct frame *f = with_reports(256);
	struct wire_report *r = (struct wire_report *)(void *)f->data->data;
	const char *why = "";

	(void)state;
	assert_int_equal(wire_frame_check(f, ROLE_NODE, &why), 0);
	r[255].state = 2;
	wire_frame_seal(f);
	expect_refusal(f, -EPROTO, "report: unknown replica state");
	r[255].state = REPLICA_IN;
	r[3].chain = 0;
	wire_frame_seal(f);
	expect_refusal(f, -EPROTO, "report: chain is 0");
	r[3].chain = 4;
	f->data->len_bytes -= 8;
	wire_frame_seal(f);
	expect_refusal(f, -EPROTO, "report: data is not a whole number");
	frame_put(f);
}

static void test_data_that_no_block_checksum_covers_is_flagged_and_checked(void **state)
{
	struct frame *f = with_reports(2);
	const char *why = "";

	(void)state;
	assert_true(f->hdr.flags & WIRE_F_DATA_CRC);
	f->data->data[40] ^= 1;
	assert_int_equal(wire_crc_check(f, &why), -EBADMSG);
	assert_string_equal(why, "frame: checksum of the data differs");
	f->data->data[40] ^= 1;
	f->hdr.flags = 0;
	f->hdr.data_crc = 0;
	f->hdr.meta_crc = 0;
	wire_frame_seal(f); /* sets the flag again */
	assert_true(f->hdr.flags & WIRE_F_DATA_CRC);
	frame_put(f);
	f = sample_frame(WIRE_FORWARD);
	assert_false(f->hdr.flags & WIRE_F_DATA_CRC);
	frame_put(f);
}

static void test_a_payload_that_was_thrown_away_is_still_a_valid_frame(void **state)
{
	struct frame *f = sample_frame(WIRE_REQUEST);
	const char *why = "";

	(void)state;
	buf_put(f->data);
	f->data = NULL;
	assert_int_equal(wire_frame_check(f, ROLE_CLIENT, &why), -EPROTO);
	assert_string_equal(why, "frame: the payload is missing");
	f->flags |= FRAME_DROPPED_DATA;
	assert_int_equal(wire_frame_check(f, ROLE_CLIENT, &why), 0);
	frame_put(f);
}

static void test_a_block_in_the_wrong_place_is_found(void **state)
{
	struct frame *f = sample_frame(WIRE_FORWARD);
	const uint32_t *crcs = (const uint32_t *)(const void *)(f->meta + sizeof(struct op_rec));

	(void)state;
	assert_int_equal(wire_blocks_check(f->data->data, crcs, 2, 3, 4, 5), -1);
	assert_int_equal(wire_blocks_check(f->data->data, crcs, 2, 3, 4, 6), 0);
	assert_int_equal(wire_blocks_check(f->data->data, crcs, 2, 2, 4, 5), 0);
	f->data->data[BLOCK_BYTES] ^= 1;
	assert_int_equal(wire_blocks_check(f->data->data, crcs, 2, 3, 4, 5), 1);
	frame_put(f);
}

static void test_a_bitmap_answers_a_question_about_presence(void **state)
{
	struct frame *f = sample_frame(WIRE_READ_REPLY);
	struct wire_read_reply *b = (struct wire_read_reply *)(void *)f->meta;
	const char *why = "";

	(void)state;
	*b = (struct wire_read_reply){.block = 3, .blocks = 1021};
	f->hdr.meta_bytes = sizeof(*b);
	f->data->len_bytes = 128;
	wire_frame_seal(f);
	assert_int_equal(wire_frame_check(f, ROLE_NODE, &why), 0);
	f->data->len_bytes = 127;
	wire_frame_seal(f);
	expect_refusal(f, -EPROTO, "READ_REPLY: bitmap length");
	frame_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_wrong_field_is_refused_by_its_name),
		cmocka_unit_test(test_ids_that_must_be_there_are_missed),
		cmocka_unit_test(test_messages_about_a_chain_name_it),
		cmocka_unit_test(test_the_role_matrix_is_the_one_of_the_design),
		cmocka_unit_test(test_reports_are_looked_through),
		cmocka_unit_test(test_data_that_no_block_checksum_covers_is_flagged_and_checked),
		cmocka_unit_test(test_a_payload_that_was_thrown_away_is_still_a_valid_frame),
		cmocka_unit_test(test_a_block_in_the_wrong_place_is_found),
		cmocka_unit_test(test_a_bitmap_answers_a_question_about_presence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
