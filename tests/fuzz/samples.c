/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fuzz/samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/chain_map.h"
#include "lib/crc.h"

#define BLOCKS 2u /* of the samples that carry data */
#define BODY(type, f) ((struct type *)(void *)(f)->meta)

struct frame_source *sample_source(void)
{
	static const struct buf_pool_config config = {.small_n = 4, .large_n = 2};
	static struct frame_pool frames;
	static struct buf_pool bufs;
	static struct frame_source source;
	static struct arena arena;
	size_t bytes = frame_pool_bytes(4) + buf_pool_bytes(&config);

	if (!source.frames) {
		arena_init(&arena, calloc(1, bytes), bytes);
		frame_pool_init(&frames, 4, &arena);
		buf_pool_init(&bufs, &config, &arena);
		source = (struct frame_source){.frames = &frames, .bufs = &bufs};
	}
	return &source;
}

enum wire_role sample_role(unsigned type)
{
	const struct wire_type_info *info = wire_type_info(type);

	for (unsigned role = 0; info && role < ROLE_END; role++)
		if (info->senders & (1u << role))
			return (enum wire_role)role;
	return ROLE_END;
}

static const struct id128 some_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

/* Payload of @blocks blocks that repeats, with the block checksums behind the body at @crcs. */
static void add_data(struct frame *f, uint32_t *crcs, uint32_t blocks)
{
	struct buf *data = buf_get(sample_source()->bufs, blocks * BLOCK_BYTES, BUF_NODE);

	memset(data->data, 0x5a, data->len_bytes);
	for (uint32_t i = 0; i < blocks; i++) {
		const struct block_addr at = {.volume = 3, .extent = 4, .block = 5 + i};

		crcs[i] = crc_block(&at, data->data + (size_t)i * BLOCK_BYTES);
	}
	frame_set_data(f, data);
}

static void fill_op(struct frame *f)
{
	*BODY(op_rec, f) = (struct op_rec){.seq = f->hdr.seq,
					   .epoch = f->hdr.epoch,
					   .volume = 3,
					   .extent = 4,
					   .chain = f->hdr.chain,
					   .kind = OP_WRITE,
					   .block = 5,
					   .blocks = BLOCKS,
					   .data_bytes = BLOCKS * BLOCK_BYTES,
					   .session = 1,
					   .client = some_id,
					   .generation = 1,
					   .req_no = 9,
					   .low = 8,
					   .known = 6,
					   .crcs_n = BLOCKS};
	add_data(f, (uint32_t *)(void *)(f->meta + sizeof(struct op_rec)), BLOCKS);
}

static void fill_client_message(struct frame *f)
{
	if (f->hdr.type == WIRE_REQUEST) {
		*BODY(wire_request, f) = (struct wire_request){.volume = 3,
							       .extent = 4,
							       .kind = REQ_WRITE,
							       .offset_bytes = 5 * BLOCK_BYTES,
							       .len_bytes = BLOCKS * BLOCK_BYTES,
							       .session = 1,
							       .generation = 1,
							       .req_no = 9,
							       .low = 8,
							       .crcs_n = BLOCKS};
		add_data(f, (uint32_t *)(void *)(f->meta + sizeof(struct wire_request)), BLOCKS);
	} else if (f->hdr.type == WIRE_READ_REPLY) {
		*BODY(wire_read_reply, f) =
			(struct wire_read_reply){.block = 5, .blocks = BLOCKS, .crcs_n = BLOCKS};
		add_data(f, (uint32_t *)(void *)(f->meta + sizeof(struct wire_read_reply)), BLOCKS);
	} else if (f->hdr.type == WIRE_READ) {
		*BODY(wire_read, f) = (struct wire_read){.volume = 3,
							 .extent = 4,
							 .block = 5,
							 .blocks = 2,
							 .kind = READ_DATA,
							 .generation = 1};
	} else if (f->hdr.type == WIRE_REPLY) {
		*BODY(wire_reply, f) = (struct wire_reply){.req_no = 9, .session = 1};
	}
}

static void fill_map(struct frame *f)
{
	static struct chain_map map;
	struct buf *data;

	memset(&map, 0, sizeof(map));
	map.hdr = (struct chain_map_hdr){
		.cluster = some_id, .version = 7, .servers_n = 1, .chains_n = 1, .volumes_n = 1};
	map.servers[0] = (struct map_server){.id = 1, .disk = some_id, .incarnation = some_id};
	snprintf(map.servers[0].name, sizeof(map.servers[0].name), "s1");
	snprintf(map.servers[0].addrs[0], ADDR_BYTES, "127.0.0.1:7401");
	map.chains[0] =
		(struct map_chain){.id = 1, .in_n = 1, .epoch = 1, .history = 1, .target_n = 1};
	map.chains[0].in[0] = (struct map_member){.server = 1, .incarnation = some_id};
	map.volumes[0] = (struct map_volume){.id = 3,
					     .size_bytes = 1u << 30,
					     .generation = 1,
					     .state = VOLUME_NORMAL,
					     .sector_bytes = 512,
					     .lanes_n = 1,
					     .lanes = {1},
					     .min_in = 1};
	snprintf(map.volumes[0].name, sizeof(map.volumes[0].name), "vol0");
	data = buf_get(sample_source()->bufs, (uint32_t)chain_map_encoded_bytes(&map), BUF_NODE);
	chain_map_encode(&map, data->data);
	frame_set_data(f, data);
}

static void fill_cfg_message(struct frame *f)
{
	if (f->hdr.type == WIRE_REGISTER) {
		*BODY(wire_register, f) = (struct wire_register){.name = "s1",
								 .addrs = {"127.0.0.1:7401"},
								 .disk = some_id,
								 .incarnation = some_id,
								 .bytes_total = 1u << 30,
								 .bytes_free = 1u << 29};
	} else if (f->hdr.type == WIRE_REGISTERED) {
		*BODY(wire_registered, f) = (struct wire_registered){.server_id = 1};
	} else if (f->hdr.type == WIRE_OPEN) {
		*BODY(wire_open, f) = (struct wire_open){.name = "vol0"};
	} else if (f->hdr.type == WIRE_OPENED) {
		*BODY(wire_opened, f) = (struct wire_opened){.volume = 3};
	} else if (f->hdr.type == WIRE_ADMIN) {
		*BODY(wire_admin, f) = (struct wire_admin){.op = ADMIN_STATUS};
	} else if (f->hdr.type == WIRE_MAP) {
		fill_map(f);
	}
}

static void fill_chain_message(struct frame *f)
{
	if (f->hdr.type == WIRE_FORWARD) {
		fill_op(f);
	} else if (f->hdr.type == WIRE_TOKENS || f->hdr.type == WIRE_COMMITS) {
		*BODY(wire_mark, f) =
			(struct wire_mark){.chain = 1, .epoch = 1, .seq = 9, .commit = 8};
	} else if (f->hdr.type == WIRE_DUP) {
		*BODY(wire_dup, f) = (struct wire_dup){.client = some_id, .req_no = 9};
	} else if (f->hdr.type == WIRE_STALE) {
		*BODY(map_chain, f) =
			(struct map_chain){.id = f->hdr.chain,
					   .in_n = 1,
					   .epoch = 2,
					   .history = 1,
					   .target_n = 1,
					   .in[0] = {.server = 1, .incarnation = some_id}};
	} else if (f->hdr.type == WIRE_CONFIRM || f->hdr.type == WIRE_CONFIRMED) {
		*BODY(wire_confirm, f) = (struct wire_confirm){.chain = 1, .epoch = 1};
	}
}

struct frame *sample_frame(unsigned type)
{
	const struct wire_type_info *info = wire_type_info(type);
	bool with_crcs = type == WIRE_FORWARD || type == WIRE_REQUEST || type == WIRE_READ_REPLY;
	struct frame *f;

	if (!info)
		return NULL;
	f = frame_new(sample_source()->frames, (enum wire_type)type,
		      info->meta_min + (with_crcs ? 4 * BLOCKS : 0));
	f->hdr.chain = 1;
	f->hdr.epoch = 2;
	f->hdr.seq = 9;
	f->hdr.cluster = f->hdr.from = f->hdr.to = some_id;
	if (type == WIRE_CONNECT)
		*BODY(wire_connect, f) =
			(struct wire_connect){.role = ROLE_CLIENT, .name = "sample"};
	else if (type == WIRE_CONNECTED)
		*BODY(wire_connected, f) =
			(struct wire_connected){.role = ROLE_NODE, .server_id = 1};
	fill_chain_message(f);
	fill_client_message(f);
	fill_cfg_message(f);
	wire_frame_seal(f);
	return f;
}

size_t sample_flatten(const struct frame *f, uint8_t *ret_bytes, size_t cap)
{
	size_t len = sizeof(f->hdr) + f->hdr.meta_bytes;

	CHECK(len + f->hdr.data_bytes <= cap);
	memcpy(ret_bytes, &f->hdr, sizeof(f->hdr));
	memcpy(ret_bytes + sizeof(f->hdr), f->meta, f->hdr.meta_bytes);
	if (f->data)
		memcpy(ret_bytes + len, f->data->data, f->data->len_bytes);
	return len + f->hdr.data_bytes;
}

int sample_receive(const uint8_t *bytes, size_t len, struct frame **ret_frame, const char **ret_why)
{
	struct wire_hdr hdr;
	struct frame *f;
	int res;

	*ret_why = "the stream ends early";
	if (len < sizeof(hdr))
		return -EMSGSIZE;
	memcpy(&hdr, bytes, sizeof(hdr));
	res = wire_hdr_check(&hdr, ret_why);
	if (res < 0)
		return res;
	if (len - sizeof(hdr) < (size_t)hdr.meta_bytes + hdr.data_bytes)
		return -EMSGSIZE;
	f = frame_new(sample_source()->frames, (enum wire_type)hdr.type, hdr.meta_bytes);
	f->hdr = hdr;
	memcpy(f->meta, bytes + sizeof(hdr), hdr.meta_bytes);
	if (hdr.data_bytes) {
		struct buf *data = buf_get(sample_source()->bufs, hdr.data_bytes, BUF_NODE);

		memcpy(data->data, bytes + sizeof(hdr) + hdr.meta_bytes, hdr.data_bytes);
		frame_set_data(f, data);
	}
	*ret_frame = f;
	return 0;
}
