/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fuzz - the one function a fuzzer has, called by libFuzzer (./dev fuzz NAME) and by replay.c.
 *
 * It returns 0 whatever the input; a CHECK or a sanitizer ends the process when the decoder under
 * test broke a promise. Inputs never change what later inputs do. */

#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#endif
