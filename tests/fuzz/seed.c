/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* seed - write the valid samples as files: seed CORPUS GOLDEN makes CORPUS/frame and CORPUS/map for
 * the fuzzers and GOLDEN/wire for the golden test; and out of GOLDEN/disk, which
 * test_store_format writes, CORPUS/super, log, ckpt and recs. Run once after a message type is
 * added or the disk format has changed, with tests/fuzz/corpus and tests/golden, and look at the
 * difference: the files are in the repository. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/samples.h"

static void store(const char *folder, const char *kind, const char *name, const uint8_t *bytes,
		  size_t len)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, kind);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", folder, kind, name);
	file = fopen(path, "wb");
	if (!file || fwrite(bytes, 1, len, file) != len || fclose(file) != 0) {
		fprintf(stderr, "seed: %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

/* A golden block behind what its fuzzer wants first; all of them seal it (0x80). */
static void from_golden(const char *corpus, const char *golden, const char *kind, const char *name,
			const void *first, size_t first_len)
{
	static uint8_t bytes[1 + 8 + 4096];
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/disk/%s", golden, name);
	bytes[0] = 0x80;
	if (first_len)
		memcpy(bytes + 1, first, first_len);
	file = fopen(path, "rb");
	if (!file) {
		fprintf(stderr, "seed: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	first_len += 1 + fread(bytes + 1 + first_len, 1, 4096, file);
	fclose(file);
	store(corpus, kind, name, bytes, first_len);
}

int main(int argc, char **argv)
{
	static const uint64_t used =
		1ull << 41 | 1; /* pages that have records in golden/disk/recs */
	static uint8_t bytes[1u << 20];

	if (argc != 3) {
		fprintf(stderr, "usage: seed CORPUS GOLDEN\n");
		return 2;
	}
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		struct frame *f = sample_frame(type);

		if (!f)
			continue;
		bytes[0] = (uint8_t)(0x80u | (unsigned)sample_role(type)); /* fuzz_frame.c */
		store(argv[1], "frame", wire_type_info(type)->name, bytes,
		      1 + sample_flatten(f, bytes + 1, sizeof(bytes) - 1));
		store(argv[2], "wire", wire_type_info(type)->name, bytes + 1,
		      sample_flatten(f, bytes + 1, sizeof(bytes) - 1));
		if (type == WIRE_MAP)
			store(argv[1], "map", "one-of-each", f->data->data, f->data->len_bytes);
		frame_put(f);
	}
	from_golden(argv[1], argv[2], "super", "super", NULL, 0);
	from_golden(argv[1], argv[2], "log", "log_batch", NULL, 0);
	from_golden(argv[1], argv[2], "ckpt", "ckpt_recs", NULL, 0);
	from_golden(argv[1], argv[2], "ckpt", "ckpt_chain", NULL, 0);
	from_golden(argv[1], argv[2], "ckpt", "ckpt_client", NULL, 0);
	from_golden(argv[1], argv[2], "recs", "recs", &used, sizeof(used));
	return 0;
}
