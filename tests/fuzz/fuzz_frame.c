/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A frame as a receiver takes it from the network. Input: one byte (low bits: sender's role; 0x80:
 * mend magic, version and checksums first, or a mutation would never get past them), then the
 * stream. What is accepted must be accepted again after sealing, and change nothing. */

#include <stdlib.h>
#include <string.h>

#include "lib/chain_map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/samples.h"

#define MEND 0x80u

static void mend(uint8_t *bytes, size_t len)
{
	struct wire_hdr *h = (struct wire_hdr *)(void *)bytes;
	struct frame *f;
	const char *why;

	h->magic = WIRE_MAGIC;
	h->version = WIRE_VERSION;
	h->flags &= WIRE_FLAGS_ALL;
	h->reserved = 0;
	h->data_crc = 0;
	if (sample_receive(bytes, len, &f, &why) < 0)
		return;
	if (f->hdr.data_bytes == 0)
		f->hdr.flags = 0;
	wire_frame_seal(f);
	*h = f->hdr;
	frame_put(f);
}

static void take(const struct frame *f)
{
	static struct chain_map map;
	struct wire_hdr before = f->hdr;
	const char *why;

	wire_frame_seal((struct frame *)(uintptr_t)f);
	CHECK(memcmp(&before, &f->hdr, sizeof(before)) == 0);
	if (f->hdr.type == WIRE_MAP)
		CHECK(chain_map_decode(f->data->data, f->data->len_bytes, &map, &why) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	enum wire_role role = (enum wire_role)(len ? (input[0] & 0x7fu) % ROLE_END : 0);
	uint8_t *stream;
	struct frame *f;
	const char *why;

	if (len < 1 + sizeof(struct wire_hdr))
		return 0;
	stream = malloc(len - 1); /* exact, so that the sanitizer sees one byte too many */
	memcpy(stream, input + 1, len - 1);
	if (input[0] & MEND)
		mend(stream, len - 1);
	why = NULL;
	if (sample_receive(stream, len - 1, &f, &why) == 0) {
		why = NULL;
		if (wire_frame_check(f, role, &why) == 0)
			take(f);
		else
			CHECK(why != NULL);
		frame_put(f);
	} else {
		CHECK(why != NULL);
	}
	CHECK(sample_source()->frames->free_n == sample_source()->frames->made_n);
	buf_pool_check(sample_source()->bufs);
	free(stream);
	return 0;
}
