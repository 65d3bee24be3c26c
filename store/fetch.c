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

static void fetch_read(struct disk_io *io, int res)
{
	struct store_fetch *f = CONTAINER_OF(io, struct store_fetch, io);
	struct store *s = f->store;

	s->ios--;
	s->log.ring[f->ring].pins--;
	if (res || !payload_ok(f)) {
		buf_put(f->data);
		f->data = NULL;
		fetch_end(s, f, res ? -EIO : -EBADMSG);
		return;
	}
	fetch_end(s, f, 0);
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
	s->log.ring[f->ring].pins++;
	f->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes = op->payload_offset,
				 .len_bytes = op->rec.data_bytes,
				 .data = f->data->data,
				 .done = fetch_read};
	store_submit(s, &f->io);
}
