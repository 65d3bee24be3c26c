/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* wire - what travels between programs: one frame = header (128 B), meta, data.
 *
 *	+-----------+----------------------------+---------------------------+
 *	| wire_hdr  | meta: body struct, arrays  | data: payload             |
 *	| 128 bytes | meta_bytes <= 1280         | data_bytes <= 1 MiB       |
 *	+-----------+----------------------------+---------------------------+
 *
 * meta_crc covers header (itself taken as zero) and meta. Data is covered by data_crc when
 * WIRE_F_DATA_CRC is set, else by the seeded per-block CRCs in meta, which travel from the client
 * to the platter. wire_types[] says per type the bounds of meta and data and which roles may send
 * it: the opcode-by-role matrix (design 07) in one table.
 *
 * A receiver checks in this order and closes on the first failure, naming it: magic, version, type,
 * flags, lengths (wire_hdr_check, before any allocation), meta CRC, cluster, role, body
 * (wire_frame_check). Integers are little-endian, every struct is padded explicitly. Pure, no
 * state. */

#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include "lib/op.h"

#define WIRE_MAGIC 0x314b4243u /* "CBK1" */
#define WIRE_VERSION 2u
#define WIRE_META_MAX 1280u
#define WIRE_F_DATA_CRC 1u
#define WIRE_F_ASK 2u /* REGISTER: would you take it? REGISTERED: I would; nothing changed */
#define WIRE_FLAGS_ALL (WIRE_F_DATA_CRC | WIRE_F_ASK)

struct wire_hdr {
	uint32_t magic;
	uint8_t version;
	uint8_t type;   /* enum wire_type */
	uint16_t flags; /* WIRE_F_* */
	uint32_t meta_bytes;
	uint32_t data_bytes;
	uint32_t meta_crc;
	uint32_t data_crc; /* 0 unless WIRE_F_DATA_CRC */
	uint32_t chain;    /* 0 when the message is about no chain; chain ids start at 1 */
	uint32_t reserved;
	uint64_t epoch;
	uint64_t seq;
	uint64_t token;
	uint64_t commit;
	struct id128 cluster; /* none only in CONNECT, CONNECTED and ERROR */
	struct id128 from;    /* sender's incarnation; a client's id */
	struct id128 to;      /* receiver's incarnation as the sender knows it, or none */
	uint64_t credit;      /* W8: pages the sender has reserved for the chain */
	uint64_t tag;         /* chosen by the asker, echoed in the answer */
};
static_assert(sizeof(struct wire_hdr) == 128, "wire_hdr is a wire format");
static_assert(offsetof(struct wire_hdr, epoch) == 32, "wire_hdr layout");
static_assert(offsetof(struct wire_hdr, cluster) == 64, "wire_hdr layout");
static_assert(offsetof(struct wire_hdr, tag) == 120, "wire_hdr layout");

enum wire_role {
	ROLE_NONE = 0,   /* before CONNECT: only CONNECT is accepted */
	ROLE_NODE = 1,   /* a chaind */
	ROLE_CLIENT = 2, /* libchainblk with an open volume */
	ROLE_ADMIN = 3,  /* chainctl */
	ROLE_CFG = 4,    /* a cfgsvc: what it sends on connections others opened to it */
	ROLE_END
};

enum wire_type {
	/* every connection */
	WIRE_CONNECT = 1,   /* opener's first frame; wire_connect */
	WIRE_CONNECTED = 2, /* acceptor's answer; wire_connected */
	WIRE_ERROR = 3,     /* wire_error, then the sender closes */
	/* predecessor -> successor */
	WIRE_HELLO = 16,   /* chain, epoch, seq = sender's last, token, commit */
	WIRE_FORWARD = 17, /* op_rec, crcs; data; hdr: chain, epoch, seq, token, commit */
	WIRE_TOKENS = 18,  /* wire_mark[]: seq = token */
	WIRE_DUP = 19,     /* chain, epoch, seq = original; wire_dup */
	/* successor -> predecessor */
	WIRE_HELLO_ACK = 20, /* chain, epoch, seq = sender's recv */
	WIRE_COMMITS = 21,   /* wire_mark[]: seq = commit */
	WIRE_NAK = 22,       /* chain, epoch, seq = next wanted */
	/* anyone to whoever is behind */
	WIRE_STALE = 23, /* chain, epoch = the sender's; map_chain record */
	/* client <-> chaind */
	WIRE_REQUEST = 32,    /* client -> head; wire_request, crcs; data */
	WIRE_REPLY = 33,      /* tail (or head, when refused unnumbered) -> client; wire_reply */
	WIRE_READ = 34,       /* client -> tail; wire_read; tag */
	WIRE_READ_REPLY = 35, /* wire_read_reply, crcs; data; tag; epoch */
	WIRE_CONFIRM = 36,    /* client -> member; wire_confirm[]; tag */
	WIRE_CONFIRMED = 37,  /* wire_confirm[], epoch 0: it confirms nothing; tag */
	/* with cfgsvc */
	WIRE_REGISTER = 48,    /* chaind -> cfgsvc; wire_register; data = wire_report[] */
	WIRE_REGISTERED = 49,  /* wire_registered */
	WIRE_REPORT = 50,      /* the same, every second and on change; wire_server_report; data */
	WIRE_MAP_GET = 51,     /* anyone -> cfgsvc: send MAP now and whenever it changes */
	WIRE_MAP = 52,         /* data = chain_map bytes */
	WIRE_OPEN = 53,        /* client -> cfgsvc; wire_open; tag */
	WIRE_OPENED = 54,      /* wire_opened; tag */
	WIRE_ADMIN = 55,       /* wire_admin; tag */
	WIRE_ADMIN_REPLY = 56, /* wire_admin_reply; data = what was asked for; tag */
	WIRE_TYPE_END = 64
};

struct wire_connect {
	uint32_t role;                /* enum wire_role: what the opener is */
	uint32_t server_id;           /* ROLE_NODE: its id, 0 before it is registered */
	char name[SERVER_NAME_BYTES]; /* for logs; NUL terminated */
	uint64_t reserved;
};
static_assert(sizeof(struct wire_connect) == 48, "wire format");

struct wire_connected {
	uint32_t role; /* what the acceptor is: ROLE_NODE or ROLE_CFG */
	uint32_t server_id;
	uint32_t window_ops; /* per chain, outstanding before BUSY is likely */
	uint32_t window_bytes;
};
static_assert(sizeof(struct wire_connected) == 16, "wire format");

#define WIRE_TEXT_BYTES 200u
struct wire_error {
	int32_t code; /* -errno */
	uint32_t reserved;
	char text[WIRE_TEXT_BYTES]; /* NUL terminated: thing, cause, next step */
};
static_assert(sizeof(struct wire_error) == 208, "wire format");

/* One chain's watermark in TOKENS and COMMITS. */
struct wire_mark {
	uint32_t chain;
	uint32_t reserved;
	uint64_t epoch;
	uint64_t seq;    /* TOKENS: sender's token. COMMITS: sender's commit */
	uint64_t commit; /* TOKENS: commit watermark the sender knows. COMMITS: sender's credit */
};
static_assert(sizeof(struct wire_mark) == 32, "wire format");
#define WIRE_MARKS_MAX (WIRE_META_MAX / 32u)

struct wire_dup {
	struct id128 client;
	uint64_t req_no;
};
static_assert(sizeof(struct wire_dup) == 24, "wire format");

enum wire_req_kind {
	REQ_WRITE = 1,      /* offset, len multiples of 512, touching at most OP_BLOCKS_MAX blocks;
			     * crcs when both are of 4096 */
	REQ_UNMAP = 2,      /* multiples of 4096 */
	REQ_WRITE_SAME = 3, /* multiples of 4096; data = one block, crcs[0] not seeded */
	REQ_CAW = 4,        /* multiples of 512, <= 8 blocks; data: to compare, then to write */
	REQ_SESSION = 5,    /* X3 */
	REQ_CLOSE = 6,
	REQ_KIND_END
};

struct wire_request {
	uint64_t volume, extent;
	uint16_t kind; /* enum wire_req_kind */
	uint16_t flags;
	uint32_t offset_bytes; /* in the extent */
	uint32_t len_bytes;    /* of the range */
	uint32_t session;
	uint64_t generation;
	uint64_t req_no;
	uint64_t low;
	uint32_t crcs_n; /* REQ_WRITE of whole blocks: one each (crc_block). WRITE_SAME: 1. Else 0
			  * and WIRE_F_DATA_CRC covers the data */
	uint32_t reserved;
};
static_assert(sizeof(struct wire_request) == 64, "wire format");

struct wire_reply { /* hdr: chain, epoch, seq (0 when refused unnumbered) */
	uint64_t req_no;
	uint32_t session;
	int32_t status;        /* 0; -EAGAIN: BUSY, not numbered; -ESTALE: not the head in
				* that epoch; -ENOSPC, -EROFS, -EILSEQ, -EBADMSG, -ENOENT,
				* -EINVAL, -EUSERS ... */
	uint32_t offset_bytes; /* -EILSEQ */
	uint32_t reserved;
};
static_assert(sizeof(struct wire_reply) == 24, "wire format");

enum wire_read_kind { READ_DATA = 1, READ_PRESENT = 2 };
struct wire_read { /* hdr: chain, epoch, tag */
	uint64_t volume, extent;
	uint32_t block, blocks; /* READ_DATA: <= OP_BLOCKS_MAX; READ_PRESENT: <= EXTENT_BLOCKS */
	uint32_t kind;
	uint32_t reserved;
	uint64_t generation;
};
static_assert(sizeof(struct wire_read) == 40, "wire format");

struct wire_read_reply { /* hdr: chain, epoch, tag, commit; data = blocks, or the bitmap */
	int32_t status;  /* 0, -EAGAIN (R3 not reached, or overload), -ESTALE, -EBADMSG, -ENOENT;
			  * when not 0 there are no crcs and no data */
	uint32_t block, blocks;
	uint32_t crcs_n; /* READ_DATA: one per block, absent blocks included (crc_block_zero).
			  * READ_PRESENT: 0, and data is a bitmap of (blocks + 7) / 8 bytes */
};
static_assert(sizeof(struct wire_read_reply) == 16, "wire format");

struct wire_confirm {
	uint32_t chain;
	uint32_t reserved;
	uint64_t epoch;
};
static_assert(sizeof(struct wire_confirm) == 16, "wire format");
#define WIRE_CONFIRMS_MAX (WIRE_META_MAX / 16u)

enum wire_replica_state {
	REPLICA_OUT = 0,
	REPLICA_IN = 3,
	REPLICA_FAILED = 4,
}; /* PROTOCOL 4 */

struct wire_report { /* one replica, in REGISTER and REPORT data */
	uint32_t chain;
	uint32_t state; /* enum wire_replica_state */
	uint64_t epoch; /* highest it installed; 0 = never */
	uint64_t last;  /* highest seq durable in its log */
	uint64_t known;
};
static_assert(sizeof(struct wire_report) == 32, "wire format");

struct wire_register {
	char name[SERVER_NAME_BYTES];
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES]; /* in order of preference; unused are empty */
	struct id128 disk;                        /* store uuid */
	struct id128 previous; /* incarnation before this start, none at the first (C7) */
	struct id128 incarnation;
	uint64_t bytes_total, bytes_free;
	char domain[SERVER_NAME_BYTES]; /* what fails together with it; empty: it alone */
};
static_assert(sizeof(struct wire_register) == 32 + 256 + 48 + 16 + 32, "wire format");

struct wire_registered {
	uint32_t server_id;
	uint32_t reserved;
};
static_assert(sizeof(struct wire_registered) == 8, "wire format");

struct wire_server_report {
	uint64_t bytes_total, bytes_free;
	uint64_t log_bytes, log_used_bytes;
	uint64_t reads, writes; /* client blocks since start */
	uint64_t disk_written_bytes;
	uint64_t rss_bytes; /* memory taken at start */
};
static_assert(sizeof(struct wire_server_report) == 64, "wire format");

struct wire_open {
	char name[NAME_BYTES];
	uint32_t flags; /* WIRE_OPEN_* */
	uint32_t reserved;
};
static_assert(sizeof(struct wire_open) == 72, "wire format");
#define WIRE_OPEN_DELETING 1u /* chainctl emptying a volume that is being deleted */

struct wire_opened {
	int32_t status;
	uint32_t reserved;
	uint64_t volume;
	char text[WIRE_TEXT_BYTES];
};
static_assert(sizeof(struct wire_opened) == 216, "wire format");

enum wire_admin_op {
	ADMIN_CLUSTER_INIT = 1,    /* arg0 = replicas, arg1 = chains; 0: default, D7 */
	ADMIN_VOLUME_CREATE = 2,   /* name, arg0 = size_bytes, arg1 = sector_bytes */
	ADMIN_VOLUME_DELETING = 3, /* name: marks it; heads refuse all but UNMAP from now on */
	ADMIN_VOLUME_DELETE = 4,   /* name: drop the record; must be marked */
	ADMIN_VOLUME_RESIZE = 5,   /* name, arg0 = size_bytes; grow only */
	ADMIN_STATUS = 6,          /* reply data = wire_status (lib/status.h) */
	ADMIN_OP_END
};

struct wire_admin {
	uint32_t op;
	uint32_t reserved;
	uint64_t arg0, arg1;
	char name[NAME_BYTES];
};
static_assert(sizeof(struct wire_admin) == 88, "wire format");

struct wire_admin_reply {
	int32_t status;
	uint32_t reserved;
	uint64_t value;             /* VOLUME_CREATE: id; CLUSTER_INIT: chains made */
	char text[WIRE_TEXT_BYTES]; /* on failure: thing, cause, next step */
};
static_assert(sizeof(struct wire_admin_reply) == 216, "wire format");

struct wire_type_info {
	const char *name; /* NULL: no such type */
	uint32_t meta_min, meta_max;
	uint32_t meta_step; /* meta beyond meta_min is a multiple of it; 0: there is none */
	uint32_t data_max;
	uint32_t senders; /* bit per enum wire_role */
};
/* NULL for an unknown type. */
const struct wire_type_info *wire_type_info(unsigned type);
const char *wire_role_name(unsigned role);

/* Everything that can be said from the 128 header bytes alone. 0, or -EPROTO (-EPROTONOSUPPORT for
 * another version) with *ret_why a static text. */
MUST_CHECK int wire_hdr_check(const struct wire_hdr *h, const char **ret_why);

struct frame;
/* The CRCs alone: meta, and data if flagged. 0 or -EBADMSG. For a receiver that does not know the
 * sender's role yet. */
MUST_CHECK int wire_crc_check(const struct frame *f, const char **ret_why);
/* The rest, once meta (and data) are in: meta CRC, data CRC if flagged, body fields, counts against
 * lengths, NUL termination, reserved zero, and that @sender may send it. -EBADMSG for a CRC,
 * -EPROTO otherwise, -EPERM for the role. Seeded block CRCs are left to wire_blocks_check(). */
MUST_CHECK int wire_frame_check(const struct frame *f, enum wire_role sender, const char **ret_why);

/* Fill magic, version, lengths and CRCs of an outgoing frame. Sets WIRE_F_DATA_CRC when there is
 * data that no block CRCs in meta cover. Called by env when sending; repeating it changes
 * nothing. */
void wire_frame_seal(struct frame *f);

/* Check @n whole blocks at @data against seeded @crcs. Returns the index of the first that differs,
 * or -1. */
int wire_blocks_check(const void *data, const uint32_t *crcs, uint32_t n, uint64_t volume,
		      uint64_t extent, uint32_t block);

#endif
