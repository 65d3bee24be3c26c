/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/wire.h"

#include <errno.h>
#include <string.h>

#include "lib/chain_map.h"
#include "lib/crc.h"
#include "lib/frame.h"
#include "lib/status.h"
#include "lib/wire_body.h"

#define NONE (1u << ROLE_NONE)
#define NODE (1u << ROLE_NODE)
#define CLIENT (1u << ROLE_CLIENT)
#define ADMIN (1u << ROLE_ADMIN)
#define CFG (1u << ROLE_CFG)

#define REPORTS_BYTES_MAX (NODE_CHAINS_MAX * (uint32_t)sizeof(struct wire_report))
#define STATUS_BYTES_MAX                                                                           \
	((uint32_t)(sizeof(struct status_hdr) + SERVERS_MAX * sizeof(struct status_server) +       \
		    CHAINS_MAX * sizeof(struct status_chain)))

#define FIXED(type) (uint32_t)sizeof(struct type), (uint32_t)sizeof(struct type), 0
#define ARRAY(type, n_max)                                                                         \
	(uint32_t)sizeof(struct type), (uint32_t)((n_max) * sizeof(struct type)),                  \
		(uint32_t)sizeof(struct type)
#define WITH_CRCS(type)                                                                            \
	(uint32_t)sizeof(struct type), (uint32_t)sizeof(struct type) + 4 * OP_BLOCKS_MAX, 4

/* The opcode-by-role matrix. What a receiver sends on a connection somebody else opened it sends
 * under its own role: a chaind answers its clients as NODE, a cfgsvc everybody as CFG. */
static const struct wire_type_info types[WIRE_TYPE_END] = {
	[WIRE_CONNECT] = {"CONNECT", FIXED(wire_connect), 0, NONE},
	[WIRE_CONNECTED] = {"CONNECTED", FIXED(wire_connected), 0, NODE | CFG},
	[WIRE_ERROR] = {"ERROR", FIXED(wire_error), 0, NODE | CFG},
	[WIRE_HELLO] = {"HELLO", 0, 0, 0, 0, NODE},
	[WIRE_FORWARD] = {"FORWARD", WITH_CRCS(op_rec), OP_BYTES_MAX, NODE},
	[WIRE_TOKENS] = {"TOKENS", ARRAY(wire_mark, WIRE_MARKS_MAX), 0, NODE},
	[WIRE_DUP] = {"DUP", FIXED(wire_dup), 0, NODE},
	[WIRE_HELLO_ACK] = {"HELLO_ACK", 0, 0, 0, 0, NODE},
	[WIRE_COMMITS] = {"COMMITS", ARRAY(wire_mark, WIRE_MARKS_MAX), 0, NODE},
	[WIRE_NAK] = {"NAK", 0, 0, 0, 0, NODE},
	[WIRE_STALE] = {"STALE", FIXED(map_chain), 0, NODE | CFG},
	[WIRE_REQUEST] = {"REQUEST", WITH_CRCS(wire_request), OP_BYTES_MAX, CLIENT},
	[WIRE_REPLY] = {"REPLY", FIXED(wire_reply), 0, NODE},
	[WIRE_READ] = {"READ", FIXED(wire_read), 0, CLIENT},
	[WIRE_READ_REPLY] = {"READ_REPLY", WITH_CRCS(wire_read_reply), OP_BYTES_MAX, NODE},
	[WIRE_CONFIRM] = {"CONFIRM", ARRAY(wire_confirm, WIRE_CONFIRMS_MAX), 0, CLIENT},
	[WIRE_CONFIRMED] = {"CONFIRMED", ARRAY(wire_confirm, WIRE_CONFIRMS_MAX), 0, NODE},
	[WIRE_REGISTER] = {"REGISTER", FIXED(wire_register), REPORTS_BYTES_MAX, NODE},
	[WIRE_REGISTERED] = {"REGISTERED", FIXED(wire_registered), 0, CFG},
	[WIRE_REPORT] = {"REPORT", FIXED(wire_server_report), REPORTS_BYTES_MAX, NODE},
	[WIRE_MAP_GET] = {"MAP_GET", 0, 0, 0, 0, NODE | CLIENT | ADMIN},
	[WIRE_MAP] = {"MAP", 0, 0, 0, sizeof(struct chain_map), CFG},
	[WIRE_OPEN] = {"OPEN", FIXED(wire_open), 0, CLIENT | ADMIN},
	[WIRE_OPENED] = {"OPENED", FIXED(wire_opened), 0, CFG},
	[WIRE_ADMIN] = {"ADMIN", FIXED(wire_admin), 0, ADMIN},
	[WIRE_ADMIN_REPLY] = {"ADMIN_REPLY", FIXED(wire_admin_reply), STATUS_BYTES_MAX, CFG},
};
static_assert(sizeof(struct chain_map) <= OP_BYTES_MAX, "a map fits the largest buffer");
static_assert(STATUS_BYTES_MAX <= OP_BYTES_MAX, "a status fits the largest buffer");
static_assert(sizeof(struct op_rec) + 4 * OP_BLOCKS_MAX <= WIRE_META_MAX, "a forward fits");

const struct wire_type_info *wire_type_info(unsigned type)
{
	return type < WIRE_TYPE_END && types[type].name ? &types[type] : NULL;
}

const char *wire_role_name(unsigned role)
{
	static const char *const names[ROLE_END] = {"nobody yet", "node", "client", "admin", "cfg"};

	return role < ROLE_END ? names[role] : "?";
}

static const char *hdr_lengths_wrong(const struct wire_hdr *h, const struct wire_type_info *t)
{
	if (h->meta_bytes < t->meta_min)
		return "header: meta is shorter than this type allows";
	if (h->meta_bytes > t->meta_max)
		return "header: meta is longer than this type allows";
	if (t->meta_step != 0 && (h->meta_bytes - t->meta_min) % t->meta_step != 0)
		return "header: meta is not a whole number of entries";
	if (h->data_bytes > t->data_max)
		return "header: data is longer than this type allows";
	return NULL;
}

int wire_hdr_check(const struct wire_hdr *h, const char **ret_why)
{
	const struct wire_type_info *t = wire_type_info(h->type);
	const char *why = NULL;

	if (h->magic != WIRE_MAGIC) {
		why = "header: not a chainblk frame (magic)";
	} else if (h->version != WIRE_VERSION) {
		*ret_why = "header: another protocol version";
		return -EPROTONOSUPPORT;
	} else if (!t) {
		why = "header: unknown message type";
	} else if ((h->flags & ~WIRE_FLAGS_ALL) != 0) {
		why = "header: unknown flag";
	} else if (h->reserved != 0) {
		why = "header: reserved bits are set";
	} else if (!(h->flags & WIRE_F_DATA_CRC) && h->data_crc != 0) {
		why = "header: a data checksum without its flag";
	} else {
		why = hdr_lengths_wrong(h, t);
	}
	if (!why)
		return 0;
	*ret_why = why;
	return -EPROTO;
}

static uint32_t meta_crc(const struct frame *f)
{
	struct wire_hdr h = f->hdr;
	uint32_t crc;

	h.meta_crc = 0;
	crc = crc32c(0, &h, sizeof(h));
	return crc32c(crc, f->meta, h.meta_bytes);
}

int wire_crc_check(const struct frame *f, const char **ret_why)
{
	CHECK(f->hdr.meta_bytes <= WIRE_META_MAX);
	if (f->hdr.meta_crc != meta_crc(f)) {
		*ret_why = "frame: checksum of header and meta differs";
		return -EBADMSG;
	}
	if (!(f->hdr.flags & WIRE_F_DATA_CRC) || (f->flags & FRAME_DROPPED_DATA))
		return 0;
	if (f->hdr.data_crc !=
	    (f->data ? crc32c(0, f->data->data, f->data->len_bytes) : crc32c(0, "", 0))) {
		*ret_why = "frame: checksum of the data differs";
		return -EBADMSG;
	}
	return 0;
}

/* The header fields that depend on the type. */
static const char *hdr_fields_wrong(const struct frame *f)
{
	const struct wire_hdr *h = &f->hdr;
	bool handshake =
		h->type == WIRE_CONNECT || h->type == WIRE_CONNECTED || h->type == WIRE_ERROR;
	bool about_chain = (h->type >= WIRE_HELLO && h->type <= WIRE_STALE &&
			    h->type != WIRE_TOKENS && h->type != WIRE_COMMITS) ||
			   (h->type >= WIRE_REQUEST && h->type <= WIRE_READ_REPLY);

	if (id128_is_none(&h->cluster) && !handshake)
		return "frame: no cluster id";
	if (about_chain && h->chain == 0)
		return "frame: no chain id";
	if ((h->flags & WIRE_F_ASK) && h->type != WIRE_REGISTER && h->type != WIRE_REGISTERED)
		return "frame: a question of a type that has none";
	if (h->data_bytes != 0 && !(f->flags & FRAME_DROPPED_DATA) &&
	    (!f->data || f->data->len_bytes != h->data_bytes))
		return "frame: the payload is missing";
	if (h->data_bytes != 0 && !(h->flags & WIRE_F_DATA_CRC) && !wire_body_covers_data(f))
		return "frame: no checksum covers the data";
	return NULL;
}

int wire_frame_check(const struct frame *f, enum wire_role sender, const char **ret_why)
{
	const char *why;
	int rc = wire_hdr_check(&f->hdr, ret_why);

	if (rc < 0)
		return rc;
	rc = wire_crc_check(f, ret_why);
	if (rc < 0)
		return rc;
	if (sender >= ROLE_END || !(types[f->hdr.type].senders & (1u << sender))) {
		*ret_why = "frame: the sender's role may not send this type";
		return -EPERM;
	}
	why = hdr_fields_wrong(f);
	if (!why)
		why = wire_body_wrong(f);
	if (!why)
		return 0;
	*ret_why = why;
	return -EPROTO;
}

void wire_frame_seal(struct frame *f)
{
	struct wire_hdr *h = &f->hdr;

	CHECK(wire_type_info(h->type) != NULL);
	CHECK(h->meta_bytes <= WIRE_META_MAX);
	h->magic = WIRE_MAGIC;
	h->version = WIRE_VERSION;
	h->data_bytes = f->data ? f->data->len_bytes : 0;
	if (h->data_bytes != 0 && !wire_body_covers_data(f))
		h->flags |= WIRE_F_DATA_CRC;
	h->data_crc = 0;
	if (h->flags & WIRE_F_DATA_CRC)
		h->data_crc = crc32c(0, f->data ? f->data->data : NULL, h->data_bytes);
	h->meta_crc = meta_crc(f);
}

int wire_blocks_check(const void *data, const uint32_t *crcs, uint32_t n, uint64_t volume,
		      uint64_t extent, uint32_t block)
{
	const uint8_t *at = data;

	CHECK(n <= EXTENT_BLOCKS);
	for (uint32_t i = 0; i < n; i++) {
		const struct block_addr addr = {volume, extent, block + i};

		if (crc_block(&addr, at + (size_t)i * BLOCK_BYTES) != crcs[i])
			return (int)i;
	}
	return -1;
}
