/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* seed - write the valid samples as files: seed CORPUS GOLDEN makes CORPUS/frame and CORPUS/map for
 * the fuzzers and GOLDEN/wire for the golden test. Run once after a message type is added, with
 * tests/fuzz/corpus and tests/golden, and look at the difference: the files are in the repository.
 */

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

int main(int argc, char **argv)
{
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
	return 0;
}
