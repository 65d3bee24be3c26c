/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* replay - run a fuzzer over its corpus without libFuzzer, and over simple mutations of each file:
 * every truncation of the first bytes, every bit of them flipped, bytes at 0 and 255. In a quick
 * test of every build, also with gcc and the sanitizers.
 *
 *	replay FOLDER */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (2u << 20)
#define MUTATED_BYTES 512u /* header and body; what follows is payload */

static uint8_t input[INPUT_MAX];

static void mutations(size_t len)
{
	size_t mutated = len < MUTATED_BYTES ? len : MUTATED_BYTES;

	for (size_t at = 0; at < mutated; at++) {
		uint8_t was = input[at];

		LLVMFuzzerTestOneInput(input, at);
		for (unsigned bit = 0; bit < 8; bit++) {
			input[at] = (uint8_t)(was ^ (1u << bit));
			LLVMFuzzerTestOneInput(input, len);
		}
		input[at] = 0;
		LLVMFuzzerTestOneInput(input, len);
		input[at] = 255;
		LLVMFuzzerTestOneInput(input, len);
		input[at] = was;
	}
}

int main(int argc, char **argv)
{
	struct dirent *entry;
	unsigned files = 0;
	DIR *folder;

	folder = argc == 2 ? opendir(argv[1]) : NULL;
	if (!folder) {
		fprintf(stderr, "usage: replay FOLDER with at least one input\n");
		return 2;
	}
	while ((entry = readdir(folder))) {
		char path[4096];
		FILE *file;
		size_t len;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		file = fopen(path, "rb");
		if (!file) {
			perror(path);
			return 1;
		}
		len = fread(input, 1, sizeof(input), file);
		fclose(file);
		LLVMFuzzerTestOneInput(input, len);
		mutations(len);
		files++;
	}
	closedir(folder);
	printf("%u inputs and their mutations\n", files);
	return files ? 0 : 1;
}
