/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* An encoded map, as in a MAP frame and in cfgsvc's snapshot: what is accepted encodes to the same.
 */

#include <stdlib.h>
#include <string.h>

#include "lib/chain_map.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static struct chain_map map;
	uint8_t *bytes = malloc(len ? len : 1), *again;
	const char *why = NULL;

	memcpy(bytes, input, len);
	if (chain_map_decode(bytes, len, &map, &why) == 0) {
		CHECK(chain_map_encoded_bytes(&map) == len);
		again = malloc(len);
		chain_map_encode(&map, again);
		CHECK(memcmp(bytes, again, len) == 0);
		free(again);
	} else {
		CHECK(why != NULL);
	}
	free(bytes);
	return 0;
}
