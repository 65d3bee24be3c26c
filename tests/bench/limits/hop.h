/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* hop - one process of the limit program: takes requests, passes them on, writes meanwhile,
 * answers.
 *
 * A request is HOP_HEADER_BYTES and the payload; an answer is the header alone, with the same slot
 * number. A hop answers when its own durable write (if it has a disk) and the answers of all its
 * successors are there; it passes the request on first, so that all disks work at the same time.
 * A process each; the connection to the predecessor ending ends the process. */

#ifndef BENCH_HOP_H
#define BENCH_HOP_H

#include <stdbool.h>
#include <stdint.h>

#define HOP_HEADER_BYTES 64u
#define HOP_PAYLOAD_BYTES 4096u
#define HOP_DEPTH_MAX 256u
#define HOP_DOWN_MAX 2u

struct hop_header {
	uint32_t slot; /* the client's, < HOP_DEPTH_MAX */
	uint8_t pad[HOP_HEADER_BYTES - 4];
};

struct hop_config {
	int up; /* connection to the predecessor or the client */
	uint32_t down_n;
	int down[HOP_DOWN_MAX]; /* connections to successors */
	int disk;               /* O_DIRECT file, or -1: no write */
	uint64_t disk_bytes;
	uint32_t payload_bytes; /* 0 or HOP_PAYLOAD_BYTES */
	uint64_t seed;          /* of the write offsets; not 0 */
};

_Noreturn void hop_run(const struct hop_config *config);

#endif
