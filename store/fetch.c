/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "store/internal.h"

/* A rewind sends again what the successor did not receive: ops that are pending here. Their payload
 * is in memory until it is durable, then in the log. */

static void fetch_end(struct store *s, struct store_fetch *f, int res)
{
	f->res = res;
	list_add_tail(&s->fetches_done, &f->link);
	store_turn(s);
}

static bool payload_ok(const struct store_fetch *f)
{
	struct disk_log_rec rec = {.kind = LOG_OP};
	const struct log_item item = {.rec = &rec, .op = &f->rec, .crcs = f->crcs};

	return log_item_payload_ok(&item, f->data->data);
}

/* Where the op's blocks lie stays there while they are read, whatever becomes of the op. */
static void pin(struct store *s, const struct store_fetch *f, int by)
{
	s->log.ring[f->ring].pins += (uint32_t)by;
	for (unsigned i = 0; i < f->pages_n; i++)
		s->pages.v[f->pages[i]].pins = (uint8_t)(s->pages.v[f->pages[i]].pins + by);
}

static void read_next(struct store *s, struct store_fetch *f);

static void piece_read(struct disk_io *io, int res)
{
	struct store_fetch *f = CONTAINER_OF(io, struct store_fetch, io);
	struct store *s = f->store;

	s->ios--;
	if (res == 0 && f->at < f->rec.data_bytes / BLOCK_BYTES) {
		read_next(s, f);
		return;
	}
	pin(s, f, -1);
	if (res || !payload_ok(f)) {
		buf_put(f->data);
		f->data = NULL;
		fetch_end(s, f, res ? -EIO : -EBADMSG);
		return;
	}
	fetch_end(s, f, 0);
}

/* Its blocks in the log, or a page, in turn. */
static void read_next(struct store *s, struct store_fetch *f)
{
	const struct store_op as_op = {.rec = f->rec, .pages_n = f->pages_n};
	struct op_pages whole = op_pages_of(&f->rec);
	uint32_t at = f->at, total = f->rec.data_bytes / BLOCK_BYTES, n = total - at;
	uint32_t slot = (f->rec.block + at) / PAGE_BLOCKS;
	uint64_t from;

	if (f->pages_n && slot >= whole.first && slot - whole.first < whole.n) {
		n = PAGE_BLOCKS;
		from = page_offset(s, f->pages[slot - whole.first]);
	} else {
		if (f->pages_n && slot < whole.first)
			n = whole.first * PAGE_BLOCKS - f->rec.block;
		from = f->payload_offset + (uint64_t)op_log_block(&as_op, at) * BLOCK_BYTES;
	}
	f->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes = from,
				 .len_bytes = n * BLOCK_BYTES,
				 .data = f->data->data + (size_t)at * BLOCK_BYTES,
				 .done = piece_read};
	f->at += n;
	store_submit(s, &f->io);
}

void store_fetch(struct store *s, struct store_fetch *f)
{
	const struct chain *c = chain_find(s, f->chain);
	const struct store_op *op;

	CHECK(c != NULL);
	f->store = s;
	f->data = NULL;
	op = s->failed ? NULL : chain_op(c, f->seq);
	if (!op) {
		fetch_end(s, f, s->failed ? -EIO : -ENOENT);
		return;
	}
	f->rec = op->rec;
	if (op->rec.crcs_n)
		memcpy(f->crcs, op->crcs, op->rec.crcs_n * sizeof(uint32_t));
	if (op->rec.data_bytes == 0) {
		fetch_end(s, f, 0);
		return;
	}
	if (!op->logged) {
		f->data = buf_ref(op->data);
		fetch_end(s, f, 0);
		return;
	}
	f->data = buf_get(s->bufs, op->rec.data_bytes, BUF_NODE);
	if (!f->data) {
		fetch_end(s, f, -ENOBUFS);
		return;
	}
	f->ring = op_ring(op);
	f->at = 0;
	f->payload_offset = op->payload_offset;
	f->pages_n = op->pages_n;
	memcpy(f->pages, op->pages, sizeof(f->pages));
	pin(s, f, 1);
	read_next(s, f);
}
