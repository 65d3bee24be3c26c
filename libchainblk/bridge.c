/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* From foreign threads to the client core and back. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libchainblk/volume.h"

#define RETRY_NS 1000000ull

static void pump(struct chainblk *v);

/* ---- the user's memory ---- */

/* Copy @len bytes between @buf and the iovecs, @at bytes from the operation's start. */
static void copy_iov(const struct bridge_op *op, uint64_t at, uint8_t *buf, uint32_t len,
		     bool to_user)
{
	for (int i = 0; i < op->iov_n && len; i++) {
		const struct iovec *v = &op->iov[i];
		uint32_t n;

		if (at >= v->iov_len) {
			at -= v->iov_len;
			continue;
		}
		n = (uint32_t)MIN((uint64_t)len, v->iov_len - at);
		if (to_user)
			memcpy((uint8_t *)v->iov_base + at, buf, n);
		else
			memcpy(buf, (uint8_t *)v->iov_base + at, n);
		buf += n;
		len -= n;
		at = 0;
	}
	CHECK(len == 0);
}

/* ---- the end of an operation ---- */

static void complete(struct bridge_op *op)
{
	struct chainblk *v = op->vol;
	struct chainblk_result result = op->result;
	chainblk_done_fn *done = op->done;
	void *arg = op->arg;
	bool stop;

	CHECK(op->pieces_out == 0);
	if (op->iov != op->iov_inline)
		free(op->iov);
	free(op->copy);
	op->copy = NULL;
	loop_lock(v->loop);
	list_add_head(&v->free_ops, &op->link);
	v->active_n--;
	loop_unlock(v->loop);
	done(arg, &result);
	loop_lock(v->loop);
	stop = v->closing && v->active_n == 0 && !v->stopping;
	loop_unlock(v->loop);
	if (stop)
		volume_stop(v);
}

static void fail(struct bridge_op *op, int status)
{
	if (!op->result.status)
		op->result.status = status;
	op->cursor_bytes = op->len_bytes;
}

static void piece_done(struct client_req *req)
{
	struct piece *p = CONTAINER_OF(req, struct piece, req);
	struct bridge_op *op = p->op;
	struct chainblk *v = op->vol;

	if (req->status < 0) {
		if (req->status == -EILSEQ && !op->result.status)
			op->result.offset = req->miscompare_offset;
		fail(op, req->status);
	} else if (op->type == OP_READ) {
		copy_iov(op, p->at_bytes, req->data->data, (uint32_t)req->len_bytes, true);
	} else if (op->type == OP_PRESENT_MAP) {
		memcpy(op->present, req->data->data, (op->len_bytes / BLOCK_BYTES + 7) / 8);
	}
	buf_put(req->data);
	req->data = NULL;
	list_add_head(&v->pieces_free, &p->link);
	v->pieces_out--;
	op->pieces_out--;
	if (op->cursor_bytes == op->len_bytes && op->pieces_out == 0) {
		list_del(&op->link); /* it may have been waiting to be cut further */
		complete(op);
	}
	if (!list_empty(&v->waiting))
		v->env->defer(v->env, &v->intake_task);
}

/* ---- cutting ---- */

struct cut {
	enum client_kind kind;
	uint64_t len_bytes;
	uint32_t buf_bytes; /* 0: no buffer */
};

/* Zeros: whole blocks become absent, ragged ends are written. */
static struct cut cut_zeroes(uint64_t offset_bytes, uint64_t left_bytes)
{
	uint64_t ragged = offset_bytes % BLOCK_BYTES;

	if (ragged || left_bytes < BLOCK_BYTES) {
		uint64_t len = MIN(left_bytes, BLOCK_BYTES - ragged);

		return (struct cut){CLIENT_WRITE, len, (uint32_t)len};
	}
	return (struct cut){CLIENT_UNMAP, left_bytes / BLOCK_BYTES * BLOCK_BYTES, 0};
}

static struct cut next_cut(const struct bridge_op *op)
{
	uint64_t at = op->offset_bytes + op->cursor_bytes;
	uint64_t left = op->len_bytes - op->cursor_bytes;
	/* At borders that are extent borders too, so that no piece lies in two chains. */
	uint64_t len = MIN(left, OP_BYTES_MAX - at % OP_BYTES_MAX);

	switch (op->type) {
	case OP_READ:
		return (struct cut){CLIENT_READ, len, (uint32_t)len};
	case OP_WRITE_DATA:
		return (struct cut){CLIENT_WRITE, len, (uint32_t)len};
	case OP_ZEROES:
		return cut_zeroes(at, left);
	case OP_SAME:
		return (struct cut){CLIENT_WRITE_SAME, left, BLOCK_BYTES};
	case OP_COMPARE_WRITE:
		return (struct cut){CLIENT_CAW, left, (uint32_t)left * 2};
	case OP_PRESENT_MAP:
		return (struct cut){CLIENT_PRESENT, left, (uint32_t)(left / BLOCK_BYTES + 7) / 8};
	case OP_DISCARD:
	case OP_FLUSH:
		break;
	}
	return (struct cut){CLIENT_UNMAP, left, 0};
}

static void fill(const struct bridge_op *op, struct buf *data)
{
	switch (op->type) {
	case OP_WRITE_DATA:
		copy_iov(op, op->cursor_bytes, data->data, data->len_bytes, false);
		break;
	case OP_ZEROES:
	case OP_PRESENT_MAP:
		memset(data->data, 0, data->len_bytes);
		break;
	case OP_SAME:
	case OP_COMPARE_WRITE:
		memcpy(data->data, op->copy, data->len_bytes);
		break;
	case OP_READ:
	case OP_DISCARD:
	case OP_FLUSH:
		break;
	}
}

/* Hand the next piece of @op to the client. False when a pool is empty: later. */
static bool issue(struct chainblk *v, struct bridge_op *op)
{
	struct cut cut = next_cut(op);
	struct list *item = list_first(&v->pieces_free);
	struct buf *data = NULL;
	struct piece *p;
	int res;

	if (!item)
		return false;
	if (cut.buf_bytes) {
		data = buf_get(loop_source(v->loop)->bufs, cut.buf_bytes, BUF_CLIENT);
		if (!data)
			return false;
		fill(op, data);
	}
	p = CONTAINER_OF(item, struct piece, link);
	p->op = op;
	p->at_bytes = op->cursor_bytes;
	p->req = (struct client_req){.kind = cut.kind,
				     .offset_bytes = op->offset_bytes + op->cursor_bytes,
				     .len_bytes = cut.len_bytes,
				     .data = data,
				     .deadline_ns = op->deadline_ns,
				     .done = piece_done};
	res = client_submit(v->client, &p->req);
	if (res < 0) {
		buf_put(data);
		if (res == -EAGAIN)
			return false;
		fail(op, res);
		return true;
	}
	list_del(&p->link);
	v->pieces_out++;
	op->pieces_out++;
	op->cursor_bytes += cut.len_bytes;
	return true;
}

static void pump(struct chainblk *v)
{
	struct list *item;
	uint64_t at_ns;

	while ((item = list_first(&v->waiting))) {
		struct bridge_op *op = CONTAINER_OF(item, struct bridge_op, link);

		while (op->cursor_bytes < op->len_bytes && issue(v, op))
			;
		if (op->cursor_bytes < op->len_bytes)
			break;
		list_del(&op->link);
		if (op->pieces_out == 0)
			complete(op);
	}
	if (!item) {
		v->env->timer_cancel(v->env, &v->timer);
		return;
	}
	at_ns = CONTAINER_OF(item, struct bridge_op, link)->deadline_ns;
	/* A piece that completes comes here; without one out, somebody else holds the buffers. */
	if (v->pieces_out == 0)
		at_ns = MIN(at_ns, v->env->now_ns(v->env) + RETRY_NS);
	v->env->timer_arm(v->env, &v->timer, at_ns);
}

static void on_timer(struct env_timer *t)
{
	struct chainblk *v = CONTAINER_OF(t, struct chainblk, timer);
	uint64_t now_ns = v->env->now_ns(v->env);

	LIST_FOR_EACH_SAFE(it, &v->waiting)
	{
		struct bridge_op *op = CONTAINER_OF(it, struct bridge_op, link);

		if (op->deadline_ns > now_ns)
			break; /* they are in order */
		fail(op, -ETIMEDOUT);
	}
	pump(v);
}

/* ---- intake ---- */

void bridge_intake(struct chainblk *v)
{
	uint64_t deadline_ns = v->env->now_ns(v->env) + v->opt.deadline_ms * 1000000ull;
	struct list batch, *item;
	bool stop;

	list_init(&batch);
	loop_lock(v->loop);
	v->woken = false;
	while ((item = list_pop(&v->incoming)))
		list_add_tail(&batch, item);
	stop = v->closing && v->active_n == 0 && !v->stopping;
	loop_unlock(v->loop);
	volume_answer_where(v);
	while ((item = list_pop(&batch))) {
		struct bridge_op *op = CONTAINER_OF(item, struct bridge_op, link);

		op->deadline_ns = deadline_ns;
		list_add_tail(&v->waiting, &op->link);
	}
	pump(v);
	if (stop)
		volume_stop(v);
}

static void on_intake_task(struct env_task *t)
{
	bridge_intake(CONTAINER_OF(t, struct chainblk, intake_task));
}

size_t bridge_memory(void)
{
	return arena_cost(CHAINBLK_QUEUE_MAX * sizeof(struct bridge_op), ARENA_ALIGN) +
	       arena_cost(PIECES_MAX * sizeof(struct piece), ARENA_ALIGN);
}

void bridge_init(struct chainblk *v, struct arena *a)
{
	list_init(&v->waiting);
	list_init(&v->pieces_free);
	list_init(&v->free_ops);
	list_init(&v->incoming);
	v->intake_task.fn = on_intake_task;
	v->timer.fn = on_timer;
	v->ops = arena_alloc(a, CHAINBLK_QUEUE_MAX * sizeof(*v->ops), ARENA_ALIGN);
	v->pieces = arena_alloc(a, PIECES_MAX * sizeof(*v->pieces), ARENA_ALIGN);
	for (uint32_t i = 0; i < CHAINBLK_QUEUE_MAX; i++)
		list_add_tail(&v->free_ops, &v->ops[i].link);
	for (uint32_t i = 0; i < PIECES_MAX; i++)
		list_add_tail(&v->pieces_free, &v->pieces[i].link);
}

/* ---- submitting, from any thread ---- */

struct submission {
	enum op_type type;
	uint64_t offset_bytes, len_bytes;
	const struct iovec *iov;
	int iov_n;
	uint8_t *copy; /* taken over on success */
	uint8_t *present;
	chainblk_done_fn *done;
	void *arg;
};

static int take_op(struct chainblk *v, const struct submission *s, struct iovec *big)
{
	struct bridge_op *op;
	struct list *item;

	if (v->closing)
		return -ESHUTDOWN;
	if (s->offset_bytes > v->info.size_bytes ||
	    s->len_bytes > v->info.size_bytes - s->offset_bytes)
		return -ENXIO;
	item = list_pop(&v->free_ops);
	if (!item)
		return -EAGAIN;
	op = CONTAINER_OF(item, struct bridge_op, link);
	*op = (struct bridge_op){.vol = v,
				 .type = s->type,
				 .offset_bytes = s->offset_bytes,
				 .len_bytes = s->len_bytes,
				 .iov_n = s->iov_n,
				 .copy = s->copy,
				 .present = s->present,
				 .done = s->done,
				 .arg = s->arg};
	op->iov = big ? big : op->iov_inline;
	if (s->iov_n)
		memcpy(op->iov, s->iov, (size_t)s->iov_n * sizeof(*s->iov));
	list_add_tail(&v->incoming, &op->link);
	v->active_n++;
	return 0;
}

static int submit(struct chainblk *v, const struct submission *s)
{
	struct iovec *big = NULL;
	int res;

	if (s->iov_n > OP_IOV_INLINE) {
		big = malloc((size_t)s->iov_n * sizeof(*big));
		if (!big)
			return -EAGAIN;
	}
	loop_lock(v->loop);
	res = take_op(v, s, big);
	/* Under the lock: once it is free, the operation may complete and the volume be closed. */
	if (res == 0 && !v->woken) {
		v->woken = true;
		loop_wake(v->loop);
	}
	loop_unlock(v->loop);
	if (res < 0)
		free(big);
	return res;
}

static int total_bytes(const struct iovec *iov, int iov_n, uint64_t *ret)
{
	uint64_t total = 0;

	if (iov_n < 0 || iov_n > 65536)
		return -EINVAL;
	for (int i = 0; i < iov_n; i++) {
		if (iov[i].iov_len > CHAINBLK_IO_BYTES_MAX)
			return -EINVAL;
		total += iov[i].iov_len;
	}
	if (total == 0 || total > CHAINBLK_IO_BYTES_MAX)
		return -EINVAL;
	*ret = total;
	return 0;
}

static bool aligned(uint64_t offset_bytes, uint64_t len_bytes, uint32_t unit)
{
	return (offset_bytes | len_bytes) % unit == 0 && len_bytes > 0;
}

int chainblk_read(struct chainblk *vol, const struct iovec *iov, int iov_n, uint64_t offset_bytes,
		  chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_READ,
			       .offset_bytes = offset_bytes,
			       .iov = iov,
			       .iov_n = iov_n,
			       .done = done,
			       .arg = arg};

	if (total_bytes(iov, iov_n, &s.len_bytes) < 0 ||
	    !aligned(offset_bytes, s.len_bytes, SECTOR_BYTES))
		return -EINVAL;
	return submit(vol, &s);
}

static int refuse(const struct chainblk *vol, uint32_t flags)
{
	if (flags & ~(uint32_t)CHAINBLK_FUA)
		return -EINVAL;
	return vol->opt.read_only ? -EROFS : 0;
}

static int refuse_range(const struct chainblk *vol, const struct submission *s, uint32_t flags,
			uint32_t unit)
{
	int res = refuse(vol, flags);

	if (res < 0)
		return res;
	return aligned(s->offset_bytes, s->len_bytes, unit) ? 0 : -EINVAL;
}

int chainblk_write(struct chainblk *vol, const struct iovec *iov, int iov_n, uint64_t offset_bytes,
		   uint32_t flags, chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_WRITE_DATA,
			       .offset_bytes = offset_bytes,
			       .iov = iov,
			       .iov_n = iov_n,
			       .done = done,
			       .arg = arg};
	int res = refuse(vol, flags);

	if (res < 0)
		return res;
	if (total_bytes(iov, iov_n, &s.len_bytes) < 0 ||
	    !aligned(offset_bytes, s.len_bytes, SECTOR_BYTES))
		return -EINVAL;
	return submit(vol, &s);
}

int chainblk_flush(struct chainblk *vol, chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_FLUSH, .done = done, .arg = arg};

	return submit(vol, &s);
}

int chainblk_discard(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
		     chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_DISCARD,
			       .offset_bytes = offset_bytes,
			       .len_bytes = len_bytes,
			       .done = done,
			       .arg = arg};
	int res = refuse_range(vol, &s, 0, SECTOR_BYTES);

	if (res < 0)
		return res;
	return submit(vol, &s);
}

int chainblk_write_zeroes(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
			  uint32_t flags, chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_ZEROES,
			       .offset_bytes = offset_bytes,
			       .len_bytes = len_bytes,
			       .done = done,
			       .arg = arg};
	int res = refuse_range(vol, &s, flags, SECTOR_BYTES);

	if (res < 0)
		return res;
	return submit(vol, &s);
}

/* submit() with a copy of up to two pieces of the caller's memory. */
static int submit_copied(struct chainblk *vol, struct submission *s, const void *a, const void *b,
			 size_t each_bytes)
{
	int res;

	s->copy = malloc(each_bytes * 2);
	if (!s->copy)
		return -EAGAIN;
	memcpy(s->copy, a, each_bytes);
	if (b)
		memcpy(s->copy + each_bytes, b, each_bytes);
	res = submit(vol, s);
	if (res < 0)
		free(s->copy);
	return res;
}

int chainblk_write_same(struct chainblk *vol, const void *pattern, uint64_t offset_bytes,
			uint64_t len_bytes, uint32_t flags, chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_SAME,
			       .offset_bytes = offset_bytes,
			       .len_bytes = len_bytes,
			       .done = done,
			       .arg = arg};
	int res = refuse_range(vol, &s, flags, BLOCK_BYTES);

	if (res < 0)
		return res;
	return submit_copied(vol, &s, pattern, NULL, BLOCK_BYTES);
}

int chainblk_compare_write(struct chainblk *vol, const void *cmp, const void *data,
			   uint32_t len_bytes, uint64_t offset_bytes, uint32_t flags,
			   chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_COMPARE_WRITE,
			       .offset_bytes = offset_bytes,
			       .len_bytes = len_bytes,
			       .done = done,
			       .arg = arg};
	int res = refuse_range(vol, &s, flags, SECTOR_BYTES);

	if (res < 0)
		return res;
	if (len_bytes > CHAINBLK_CAW_BYTES_MAX ||
	    offset_bytes / EXTENT_BYTES != (offset_bytes + len_bytes - 1) / EXTENT_BYTES)
		return -EINVAL;
	return submit_copied(vol, &s, cmp, data, len_bytes);
}

int chainblk_present(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
		     uint8_t *ret_present, chainblk_done_fn *done, void *arg)
{
	struct submission s = {.type = OP_PRESENT_MAP,
			       .offset_bytes = offset_bytes,
			       .len_bytes = len_bytes,
			       .present = ret_present,
			       .done = done,
			       .arg = arg};

	if (!aligned(offset_bytes, len_bytes, BLOCK_BYTES) || len_bytes > 64ull * EXTENT_BYTES)
		return -EINVAL;
	return submit(vol, &s);
}
