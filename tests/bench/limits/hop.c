/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/bench/limits/hop.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/measure.h"

#define SLOTS (HOP_DEPTH_MAX + 1u) /* one more is always being received */

enum tag { TAG_REQUEST, TAG_ANSWER, TAG_DISK, TAG_SEND };

struct hop_slot {
	uint8_t *message; /* header; the payload behind it is 4 KiB aligned */
	uint32_t wants;   /* own disk and successors that have not answered */
	uint32_t sends;   /* of this buffer, not completed: until then it is not free */
};

struct hop {
	struct hop_config config;
	struct io_uring ring;
	struct hop_slot slot[SLOTS];
	uint32_t by_client_slot[HOP_DEPTH_MAX];
	uint32_t free[SLOTS], free_n;
	uint32_t receiving; /* the slot of the pending receive */
	uint64_t random;
	struct hop_header answer[HOP_DOWN_MAX];
};

static struct io_uring_sqe *sqe_of(struct hop *h)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&h->ring);

	if (!sqe) {
		io_uring_submit(&h->ring);
		sqe = io_uring_get_sqe(&h->ring);
	}
	if (!sqe)
		measure_die("the ring is full", 0);
	return sqe;
}

/* After the prep function: some versions of liburing clear user_data there. */
static void tagged(struct io_uring_sqe *sqe, enum tag tag, uint32_t value)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)tag << 32 | value);
}

static void receive_request(struct hop *h)
{
	struct io_uring_sqe *sqe = sqe_of(h);

	io_uring_prep_recv(sqe, h->config.up, h->slot[h->receiving].message,
			   HOP_HEADER_BYTES + h->config.payload_bytes, MSG_WAITALL);
	tagged(sqe, TAG_REQUEST, h->receiving);
}

static void receive_answer(struct hop *h, uint32_t down)
{
	struct io_uring_sqe *sqe = sqe_of(h);

	io_uring_prep_recv(sqe, h->config.down[down], &h->answer[down], HOP_HEADER_BYTES,
			   MSG_WAITALL);
	tagged(sqe, TAG_ANSWER, down);
}

static void send_slot(struct hop *h, int fd, uint32_t slot, uint32_t len_bytes)
{
	struct io_uring_sqe *sqe = sqe_of(h);

	h->slot[slot].sends++;
	io_uring_prep_send(sqe, fd, h->slot[slot].message, len_bytes, MSG_WAITALL | MSG_NOSIGNAL);
	tagged(sqe, TAG_SEND, slot);
}

static void write_slot(struct hop *h, uint32_t slot)
{
	struct io_uring_sqe *sqe = sqe_of(h);
	uint64_t blocks = h->config.disk_bytes / HOP_PAYLOAD_BYTES;

	io_uring_prep_write(sqe, h->config.disk, h->slot[slot].message + HOP_HEADER_BYTES,
			    HOP_PAYLOAD_BYTES,
			    measure_random(&h->random) % blocks * HOP_PAYLOAD_BYTES);
	sqe->rw_flags = RWF_DSYNC;
	tagged(sqe, TAG_DISK, slot);
}

static void on_request(struct hop *h, uint32_t slot)
{
	struct hop_header *header = (struct hop_header *)(void *)h->slot[slot].message;
	uint32_t whole = HOP_HEADER_BYTES + h->config.payload_bytes;

	if (header->slot >= HOP_DEPTH_MAX || !h->free_n)
		measure_die("a request out of range", EPROTO);
	h->by_client_slot[header->slot] = slot;
	h->slot[slot].sends = 0;
	h->slot[slot].wants = h->config.down_n + (h->config.disk >= 0);
	h->receiving = h->free[--h->free_n];
	receive_request(h);
	for (uint32_t i = 0; i < h->config.down_n; i++)
		send_slot(h, h->config.down[i], slot, whole);
	if (h->config.disk >= 0)
		write_slot(h, slot);
	if (!h->slot[slot].wants)
		send_slot(h, h->config.up, slot, HOP_HEADER_BYTES);
}

static void one_less(struct hop *h, uint32_t slot)
{
	if (--h->slot[slot].wants == 0)
		send_slot(h, h->config.up, slot, HOP_HEADER_BYTES);
}

static void on_completion(struct hop *h, enum tag tag, uint32_t value, int res)
{
	uint32_t wanted = HOP_HEADER_BYTES + h->config.payload_bytes;

	switch (tag) {
	case TAG_REQUEST:
		if (res != (int)wanted)
			_exit(0); /* the client is done */
		on_request(h, value);
		break;
	case TAG_ANSWER:
		if (res != (int)HOP_HEADER_BYTES || h->answer[value].slot >= HOP_DEPTH_MAX)
			_exit(0);
		one_less(h, h->by_client_slot[h->answer[value].slot]);
		receive_answer(h, value);
		break;
	case TAG_DISK:
		if (res != (int)HOP_PAYLOAD_BYTES)
			measure_die("durable write", res < 0 ? -res : EIO);
		one_less(h, value);
		break;
	case TAG_SEND:
		if (--h->slot[value].sends == 0 && h->slot[value].wants == 0)
			h->free[h->free_n++] = value;
		break;
	}
}

static void hop_init(struct hop *h, const struct hop_config *config)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
						  IORING_SETUP_DEFER_TASKRUN};
	int res = io_uring_queue_init_params(1024, &h->ring, &params);

	if (res == -EINVAL) { /* an older kernel */
		params = (struct io_uring_params){0};
		res = io_uring_queue_init_params(1024, &h->ring, &params);
	}
	if (res < 0)
		measure_die("io_uring", -res);
	h->config = *config;
	h->random = config->seed;
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint8_t *page = aligned_alloc(4096, 8192);

		if (!page)
			measure_die("memory", ENOMEM);
		h->slot[i].message = page + 4096 - HOP_HEADER_BYTES;
		h->free[h->free_n++] = i;
	}
	h->receiving = h->free[--h->free_n];
	receive_request(h);
	for (uint32_t i = 0; i < config->down_n; i++)
		receive_answer(h, i);
}

void hop_run(const struct hop_config *config)
{
	static struct hop hop;

	hop_init(&hop, config);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		int res = io_uring_submit_and_wait(&hop.ring, 1);

		if (res < 0 && res != -EINTR)
			measure_die("io_uring_submit_and_wait", -res);
		io_uring_for_each_cqe(&hop.ring, head, cqe)
		{
			seen++;
			on_completion(&hop, (enum tag)(cqe->user_data >> 32),
				      (uint32_t)cqe->user_data, cqe->res);
		}
		io_uring_cq_advance(&hop.ring, seen);
	}
}
