/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The file cfgsvc keeps its state in, as found at start. Input: one byte (0x80: what follows is the
 * content of a sound record, with the first bytes of the input again as a torn end), then the file.
 */

#include <stdlib.h>
#include <string.h>

#include "cfgsvc/cfgstore_file.h"
#include "tests/fuzz/fuzz.h"

#define WRAP 0x80u

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct cfgfile_found found = {0};
	const char *why = NULL;
	size_t file_len;
	uint8_t *file;

	if (len < 1 || len - 1 > CTRL_STATE_BYTES_MAX)
		return 0;
	file = malloc(CFGFILE_REC_BYTES_MAX + len);
	if (input[0] & WRAP) {
		file_len = cfgfile_encode(1, input + 1, len - 1, file);
		CHECK(file_len <= CFGFILE_REC_BYTES_MAX);
		memcpy(file + file_len, input + 1, (len - 1) / 2);
		file_len += (len - 1) / 2;
	} else {
		file_len = len - 1;
		memcpy(file, input + 1, file_len);
	}
	file = realloc(file, file_len ? file_len : 1); /* the sanitizer sees one byte too many */
	if (cfgfile_scan(file, file_len, &found, &why) == 0) {
		CHECK(found.end_bytes <= file_len);
		CHECK(found.rev == 0 ||
		      (found.bytes >= file && found.len_bytes <= found.end_bytes &&
		       found.bytes + found.len_bytes <= file + file_len));
		CHECK(!(input[0] & WRAP) || found.rev >= 1);
	} else {
		CHECK(why != NULL);
	}
	free(file);
	return 0;
}
