/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The messages of a lab's cast, in short. */
#include <string.h>

#include "lib/crc.h"
#include "tests/unit/node_lab.h"

static const struct id128 SELF = {{2}}, CLIENT_ID = {{0xc1}};

void lab_mark(enum who from, uint64_t seq, uint64_t credit)
{
	struct frame *f = lab_frame(from, from == PRED ? WIRE_TOKENS : WIRE_COMMITS,
				    sizeof(struct wire_mark));

	*(struct wire_mark *)(void *)f->meta =
		(struct wire_mark){.chain = 1, .epoch = LAB_EPOCH, .seq = seq, .commit = credit};
	f->hdr.to = SELF;
	lab_say(from, f);
}

void lab_plain(enum who from, enum wire_type type, uint64_t seq)
{
	struct frame *f = lab_frame(from, type, 0);

	f->hdr.chain = 1;
	f->hdr.epoch = LAB_EPOCH;
	f->hdr.seq = seq;
	f->hdr.credit = 1000;
	f->hdr.to = SELF;
	lab_say(from, f);
}

void lab_forward(uint64_t seq, uint64_t token, uint32_t block, uint8_t fill)
{
	struct frame *f = lab_frame(PRED, WIRE_FORWARD, sizeof(struct op_rec) + 4);
	struct block_addr at = {LAB_VOLUME, 0, block};
	struct buf *b = lab_buf(BLOCK_BYTES, fill);

	*(struct op_rec *)(void *)f->meta = (struct op_rec){.seq = seq,
							    .epoch = LAB_EPOCH,
							    .volume = LAB_VOLUME,
							    .chain = 1,
							    .kind = OP_WRITE,
							    .block = block,
							    .blocks = 1,
							    .data_bytes = BLOCK_BYTES,
							    .session = 1,
							    .client = CLIENT_ID,
							    .generation = 1,
							    .req_no = 100 + seq,
							    .low = 1,
							    .crcs_n = 1};
	*(uint32_t *)(void *)(f->meta + sizeof(struct op_rec)) = crc_block(&at, b->data);
	frame_set_data(f, b);
	f->hdr.chain = 1;
	f->hdr.epoch = LAB_EPOCH;
	f->hdr.seq = seq;
	f->hdr.token = token;
	f->hdr.to = SELF;
	lab_say(PRED, f);
}

static struct buf *request_data(const struct lab_req *q, bool whole)
{
	uint32_t len = q->kind == REQ_WRITE_SAME ? BLOCK_BYTES
		       : q->kind == REQ_CAW      ? 2 * q->len
						 : q->len;
	struct buf *b;

	if (q->kind != REQ_WRITE && q->kind != REQ_WRITE_SAME && q->kind != REQ_CAW)
		return NULL;
	CHECK(whole || q->kind != REQ_WRITE_SAME);
	b = lab_buf(len, q->fill);
	if (q->kind == REQ_CAW)
		memset(b->data, q->compare, q->len);
	return b;
}

void lab_request(enum who from, const struct lab_req *q)
{
	bool whole = (q->offset | q->len) % BLOCK_BYTES == 0 && q->kind != REQ_CAW;
	struct buf *b = request_data(q, whole);
	uint32_t crcs_n = b && whole ? b->len_bytes / BLOCK_BYTES : 0;
	struct frame *f = lab_frame(from, WIRE_REQUEST, sizeof(struct wire_request) + 4 * crcs_n);
	uint32_t *crcs = (uint32_t *)(void *)(f->meta + sizeof(struct wire_request));

	*(struct wire_request *)(void *)f->meta =
		(struct wire_request){.volume = q->volume ? q->volume : LAB_VOLUME,
				      .extent = q->extent,
				      .kind = (uint16_t)q->kind,
				      .offset_bytes = q->offset,
				      .len_bytes = q->len,
				      .session = q->session ? q->session : 1,
				      .generation = q->generation ? q->generation : 1,
				      .req_no = q->no,
				      .low = q->low ? q->low : 1,
				      .crcs_n = crcs_n};
	for (uint32_t i = 0; i < crcs_n; i++) {
		struct block_addr at = {LAB_VOLUME, q->extent, q->offset / BLOCK_BYTES + i};

		crcs[i] = q->kind == REQ_WRITE_SAME
				  ? crc_block_anywhere(b->data)
				  : crc_block(&at, b->data + (size_t)i * BLOCK_BYTES);
		crcs[i] ^= q->damage;
	}
	if (b)
		frame_set_data(f, b);
	f->hdr.chain = 1;
	f->hdr.epoch = q->epoch ? q->epoch : LAB_EPOCH;
	f->hdr.to = SELF;
	if (q->drop_data) {
		wire_frame_seal(f);
		buf_put(f->data);
		f->data = NULL;
		f->flags |= FRAME_DROPPED_DATA;
	}
	lab_say(from, f);
}

void lab_read(enum who from, uint32_t block, uint32_t blocks, enum wire_read_kind kind)
{
	struct frame *f = lab_frame(from, WIRE_READ, sizeof(struct wire_read));

	*(struct wire_read *)(void *)f->meta = (struct wire_read){.volume = LAB_VOLUME,
								  .block = block,
								  .blocks = blocks,
								  .kind = kind,
								  .generation = 1};
	f->hdr.chain = 1;
	f->hdr.epoch = LAB_EPOCH;
	lab_say(from, f);
}

void lab_confirm(enum who from, uint64_t epoch)
{
	struct frame *f = lab_frame(from, WIRE_CONFIRM, sizeof(struct wire_confirm));

	*(struct wire_confirm *)(void *)f->meta = (struct wire_confirm){.chain = 1, .epoch = epoch};
	lab_say(from, f);
}
