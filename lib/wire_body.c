/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/wire_body.h"

#include <errno.h>

#include "lib/chain_map.h"

#define BODY(type, f) ((const struct type *)(const void *)(f)->meta)

static const char *connect_wrong(const struct wire_connect *b)
{
	if (b->role != ROLE_NODE && b->role != ROLE_CLIENT && b->role != ROLE_ADMIN)
		return "CONNECT: a role nobody may open a connection with";
	if (b->server_id != 0 && b->role != ROLE_NODE)
		return "CONNECT: a server id from somebody who is no node";
	if (b->reserved != 0)
		return "CONNECT: reserved bits are set";
	return text_is_clean(b->name, sizeof(b->name)) ? NULL : "CONNECT: name is not a clean text";
}

static const char *error_wrong(const struct wire_error *b)
{
	if (b->code > 0 || b->code < -4095 || b->reserved != 0)
		return "ERROR: code is not an errno, or reserved bits are set";
	return text_is_clean(b->text, sizeof(b->text)) ? NULL : "ERROR: text is not clean";
}

static const char *marks_wrong(const struct frame *f)
{
	const struct wire_mark *m = BODY(wire_mark, f);

	for (uint32_t i = 0; i < f->hdr.meta_bytes / sizeof(*m); i++)
		if (m[i].chain == 0 || m[i].epoch == 0 || m[i].reserved != 0)
			return "mark: chain or epoch is 0, or reserved bits are set";
	return NULL;
}

static const char *confirms_wrong(const struct frame *f)
{
	const struct wire_confirm *c = BODY(wire_confirm, f);

	for (uint32_t i = 0; i < f->hdr.meta_bytes / sizeof(*c); i++) {
		if (c[i].chain == 0 || c[i].reserved != 0)
			return "confirm: chain is 0, or reserved bits are set";
		if (c[i].epoch == 0 && f->hdr.type == WIRE_CONFIRM)
			return "CONFIRM: epoch is 0";
	}
	return NULL;
}

static const char *forward_wrong(const struct frame *f)
{
	const struct op_rec *op = BODY(op_rec, f);
	const char *why;

	if (op_rec_check(op, &why) < 0)
		return why;
	if (op->chain != f->hdr.chain || op->seq != f->hdr.seq || op->epoch > f->hdr.epoch)
		return "FORWARD: op and header name different chains, seqs or epochs";
	if (f->hdr.meta_bytes != sizeof(*op) + 4 * op->crcs_n)
		return "FORWARD: meta does not hold the number of checksums it names";
	if (f->hdr.data_bytes != op->data_bytes)
		return "FORWARD: payload length differs from the op's";
	return NULL;
}

/* Blocks [offset, offset + len) touches. */
static uint32_t span_blocks(const struct wire_request *b)
{
	return (b->offset_bytes + b->len_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES -
	       b->offset_bytes / BLOCK_BYTES;
}

static bool range_is_whole(const struct wire_request *b)
{
	return (b->offset_bytes | b->len_bytes) % BLOCK_BYTES == 0;
}

static const char *request_shape_wrong(const struct frame *f, uint32_t crcs_n, uint32_t data_bytes)
{
	if (BODY(wire_request, f)->crcs_n != crcs_n)
		return "REQUEST: number of checksums does not match the range";
	if (f->hdr.meta_bytes != sizeof(struct wire_request) + 4 * crcs_n)
		return "REQUEST: meta does not hold the number of checksums it names";
	if (f->hdr.data_bytes != data_bytes)
		return "REQUEST: payload length does not match the range";
	return NULL;
}

static const char *request_common_wrong(const struct wire_request *b)
{
	if (b->kind == 0 || b->kind >= REQ_KIND_END)
		return "REQUEST: unknown kind";
	if (b->flags != 0 || b->reserved != 0)
		return "REQUEST: reserved bits are set";
	if (b->session == 0)
		return "REQUEST: session number is 0";
	if (b->kind == REQ_SESSION || b->kind == REQ_CLOSE)
		return b->offset_bytes != 0 || b->len_bytes != 0
			       ? "REQUEST: range on a kind that has none"
			       : NULL;
	if (b->req_no == 0 || b->low > b->req_no)
		return "REQUEST: number is 0 or below its own low mark";
	if (b->extent >= EXTENTS_MAX)
		return "REQUEST: extent beyond the longest volume";
	if (b->len_bytes == 0 || b->offset_bytes >= EXTENT_BYTES ||
	    b->len_bytes > EXTENT_BYTES - b->offset_bytes)
		return "REQUEST: range is empty or leaves its extent";
	if ((b->offset_bytes | b->len_bytes) % SECTOR_BYTES != 0)
		return "REQUEST: range is not whole sectors";
	return NULL;
}

static const char *request_wrong(const struct frame *f)
{
	const struct wire_request *b = BODY(wire_request, f);
	const char *why = request_common_wrong(b);

	if (why)
		return why;
	switch ((enum wire_req_kind)b->kind) {
	case REQ_WRITE:
		if (span_blocks(b) > OP_BLOCKS_MAX)
			return "REQUEST: range longer than one op";
		return request_shape_wrong(f, range_is_whole(b) ? b->len_bytes / BLOCK_BYTES : 0,
					   b->len_bytes);
	case REQ_UNMAP:
		if (!range_is_whole(b))
			return "REQUEST: range is not whole blocks";
		return request_shape_wrong(f, 0, 0);
	case REQ_WRITE_SAME:
		if (!range_is_whole(b))
			return "REQUEST: range is not whole blocks";
		return request_shape_wrong(f, 1, BLOCK_BYTES);
	case REQ_CAW:
		if (b->len_bytes > CAW_BLOCKS_MAX * BLOCK_BYTES)
			return "REQUEST: compare-and-write longer than 8 blocks";
		return request_shape_wrong(f, 0, 2 * b->len_bytes);
	case REQ_SESSION:
	case REQ_CLOSE:
	case REQ_KIND_END:
		break;
	}
	return request_shape_wrong(f, 0, 0);
}

static const char *reply_wrong(const struct wire_reply *b)
{
	if (b->status > 0 || b->status < -4095 || b->reserved != 0)
		return "REPLY: status is not an errno, or reserved bits are set";
	if (b->offset_bytes != 0 &&
	    (b->status != -EILSEQ || b->offset_bytes >= CAW_BLOCKS_MAX * BLOCK_BYTES))
		return "REPLY: offset of the difference out of bounds";
	return NULL;
}

static const char *read_wrong(const struct wire_read *b)
{
	if ((b->kind != READ_DATA && b->kind != READ_PRESENT) || b->reserved != 0)
		return "READ: unknown kind, or reserved bits are set";
	if (b->extent >= EXTENTS_MAX)
		return "READ: extent beyond the longest volume";
	if (b->blocks == 0 || b->block >= EXTENT_BLOCKS || b->blocks > EXTENT_BLOCKS - b->block)
		return "READ: range is empty or leaves its extent";
	if (b->kind == READ_DATA && b->blocks > OP_BLOCKS_MAX)
		return "READ: longer than one op";
	return NULL;
}

static const char *read_reply_wrong(const struct frame *f)
{
	const struct wire_read_reply *b = BODY(wire_read_reply, f);

	if (b->status > 0 || b->status < -4095)
		return "READ_REPLY: status is not an errno";
	if (f->hdr.meta_bytes != sizeof(*b) + 4 * b->crcs_n)
		return "READ_REPLY: meta does not hold the number of checksums it names";
	if (b->status != 0)
		return f->hdr.data_bytes != 0 || b->crcs_n != 0 ? "READ_REPLY: data with an error"
								: NULL;
	if (b->blocks == 0 || b->block >= EXTENT_BLOCKS || b->blocks > EXTENT_BLOCKS - b->block)
		return "READ_REPLY: range is empty or leaves its extent";
	if (b->crcs_n == 0)
		return f->hdr.data_bytes == (b->blocks + 7) / 8
			       ? NULL
			       : "READ_REPLY: bitmap length does not match the range";
	if (b->crcs_n != b->blocks || f->hdr.data_bytes != b->blocks * BLOCK_BYTES)
		return "READ_REPLY: checksums or data do not match the range";
	return NULL;
}

static const char *reports_wrong(const struct frame *f)
{
	const struct wire_report *r;

	if (f->hdr.data_bytes % sizeof(*r) != 0)
		return "report: data is not a whole number of entries";
	if (!f->data)
		return NULL;
	r = (const struct wire_report *)(const void *)f->data->data;
	for (uint32_t i = 0; i < f->data->len_bytes / sizeof(*r); i++) {
		if (r[i].chain == 0)
			return "report: chain is 0";
		if (r[i].state != REPLICA_OUT && r[i].state != REPLICA_IN &&
		    r[i].state != REPLICA_FAILED)
			return "report: unknown replica state";
	}
	return NULL;
}

static const char *register_wrong(const struct frame *f)
{
	const struct wire_register *b = BODY(wire_register, f);

	if (!text_is_clean(b->name, sizeof(b->name)))
		return "REGISTER: name is not a clean text";
	for (unsigned i = 0; i < SERVER_ADDRS_MAX; i++)
		if (!text_is_clean(b->addrs[i], ADDR_BYTES))
			return "REGISTER: address is not a clean text";
	if (!text_is_clean(b->domain, sizeof(b->domain)))
		return "REGISTER: domain is not a clean text";
	if (id128_is_none(&b->disk) || id128_is_none(&b->incarnation))
		return "REGISTER: no disk or no incarnation";
	if (b->bytes_free > b->bytes_total)
		return "REGISTER: more bytes free than there are";
	return reports_wrong(f);
}

static const char *open_wrong(const struct wire_open *b)
{
	if ((b->flags & ~WIRE_OPEN_DELETING) != 0 || b->reserved != 0)
		return "OPEN: reserved bits are set";
	return text_is_clean(b->name, sizeof(b->name)) ? NULL : "OPEN: name is not a clean text";
}

static const char *opened_wrong(const struct wire_opened *b)
{
	if (b->status > 0 || b->status < -4095 || b->reserved != 0)
		return "OPENED: status is not an errno, or reserved bits are set";
	if (b->status == 0 && b->volume == 0)
		return "OPENED: no volume id";
	return text_is_clean(b->text, sizeof(b->text)) ? NULL : "OPENED: text is not clean";
}

static const char *admin_wrong(const struct wire_admin *b)
{
	if (b->op == 0 || b->op >= ADMIN_OP_END || b->reserved != 0)
		return "ADMIN: unknown operation, or reserved bits are set";
	return text_is_clean(b->name, sizeof(b->name)) ? NULL : "ADMIN: name is not a clean text";
}

static const char *admin_reply_wrong(const struct wire_admin_reply *b)
{
	if (b->status > 0 || b->status < -4095 || b->reserved != 0)
		return "ADMIN_REPLY: status is not an errno, or reserved bits are set";
	return text_is_clean(b->text, sizeof(b->text)) ? NULL : "ADMIN_REPLY: text is not clean";
}

static const char *stale_wrong(const struct frame *f)
{
	const struct map_chain *c = BODY(map_chain, f);
	const char *why;

	if (map_chain_check(c, &why) < 0)
		return why;
	return c->id == f->hdr.chain ? NULL : "STALE: record and header name different chains";
}

static const char *connected_wrong(const struct wire_connected *b)
{
	return b->role == ROLE_NODE || b->role == ROLE_CFG
		       ? NULL
		       : "CONNECTED: a role nobody accepts connections with";
}

const char *wire_body_wrong(const struct frame *f)
{
	switch ((enum wire_type)f->hdr.type) {
	case WIRE_CONNECT:
		return connect_wrong(BODY(wire_connect, f));
	case WIRE_CONNECTED:
		return connected_wrong(BODY(wire_connected, f));
	case WIRE_ERROR:
		return error_wrong(BODY(wire_error, f));
	case WIRE_FORWARD:
		return forward_wrong(f);
	case WIRE_TOKENS:
	case WIRE_COMMITS:
		return marks_wrong(f);
	case WIRE_DUP:
		return BODY(wire_dup, f)->req_no != 0 ? NULL : "DUP: request number is 0";
	case WIRE_STALE:
		return stale_wrong(f);
	case WIRE_REQUEST:
		return request_wrong(f);
	case WIRE_REPLY:
		return reply_wrong(BODY(wire_reply, f));
	case WIRE_READ:
		return read_wrong(BODY(wire_read, f));
	case WIRE_READ_REPLY:
		return read_reply_wrong(f);
	case WIRE_CONFIRM:
	case WIRE_CONFIRMED:
		return confirms_wrong(f);
	case WIRE_REGISTER:
		return register_wrong(f);
	case WIRE_REGISTERED:
		return BODY(wire_registered, f)->server_id != 0 &&
				       BODY(wire_registered, f)->reserved == 0
			       ? NULL
			       : "REGISTERED: no server id, or reserved bits are set";
	case WIRE_REPORT:
		return reports_wrong(f);
	case WIRE_MAP:
		return f->hdr.data_bytes != 0 ? NULL : "MAP: empty";
	case WIRE_OPEN:
		return open_wrong(BODY(wire_open, f));
	case WIRE_OPENED:
		return opened_wrong(BODY(wire_opened, f));
	case WIRE_ADMIN:
		return admin_wrong(BODY(wire_admin, f));
	case WIRE_ADMIN_REPLY:
		return admin_reply_wrong(BODY(wire_admin_reply, f));
	case WIRE_HELLO:
	case WIRE_HELLO_ACK:
	case WIRE_NAK:
	case WIRE_MAP_GET:
	case WIRE_TYPE_END:
		break;
	}
	return NULL;
}

bool wire_body_covers_data(const struct frame *f)
{
	switch ((enum wire_type)f->hdr.type) {
	case WIRE_FORWARD:
		return BODY(op_rec, f)->crcs_n != 0;
	case WIRE_REQUEST:
		return BODY(wire_request, f)->crcs_n != 0;
	case WIRE_READ_REPLY:
		return BODY(wire_read_reply, f)->crcs_n != 0;
	case WIRE_CONNECT:
	case WIRE_CONNECTED:
	case WIRE_ERROR:
	case WIRE_HELLO:
	case WIRE_TOKENS:
	case WIRE_DUP:
	case WIRE_HELLO_ACK:
	case WIRE_COMMITS:
	case WIRE_NAK:
	case WIRE_STALE:
	case WIRE_REPLY:
	case WIRE_READ:
	case WIRE_CONFIRM:
	case WIRE_CONFIRMED:
	case WIRE_REGISTER:
	case WIRE_REGISTERED:
	case WIRE_REPORT:
	case WIRE_MAP_GET:
	case WIRE_MAP:
	case WIRE_OPEN:
	case WIRE_OPENED:
	case WIRE_ADMIN:
	case WIRE_ADMIN_REPLY:
	case WIRE_TYPE_END:
		break;
	}
	return false;
}
