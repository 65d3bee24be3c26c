/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* unchecked - a planted bug, included before a file of the store: it takes the blocks of a
 * checkpoint for good without a look. The damage test must find it (meson.build). */

#ifndef TESTS_FAULT_PLANTS_UNCHECKED_H
#define TESTS_FAULT_PLANTS_UNCHECKED_H

#include "store/internal.h"

#define ckpt_check(h, secret, generation, index, pages_n, ret_why)                                 \
	((void)(secret), (void)(generation), (void)(pages_n), *(ret_why) = "", 0)

#endif
