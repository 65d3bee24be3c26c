/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* samples - a valid frame of every message type, for tests that pull frames apart.
 *
 * Each sample passes wire_frame_check() from the role sample_role() names. Frames and payloads come
 * from pools of the tests' own; the caller puts the frame back. One thread. */

#ifndef FUZZ_SAMPLES_H
#define FUZZ_SAMPLES_H

#include "lib/frame.h"

/* Pools big enough for every sample; made at the first call. */
struct frame_source *sample_source(void);
/* NULL when @type does not exist. Sealed. */
struct frame *sample_frame(unsigned type);
/* A role that may send @type. */
enum wire_role sample_role(unsigned type);
/* Header, meta and data of @f behind each other; returns the length. */
size_t sample_flatten(const struct frame *f, uint8_t *ret_bytes, size_t cap);
/* The reverse, as a receiver does it: header checked first, then meta and data taken. 0 or what
 * wire_hdr_check() said; -EMSGSIZE when @bytes ends early. */
int sample_receive(const uint8_t *bytes, size_t len, struct frame **ret_frame,
		   const char **ret_why);

#endif
