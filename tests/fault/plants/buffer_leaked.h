/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* buffer_leaked - a planted bug, included before a file of the store: it gives no buffer back. The
 * error sweep must find it (meson.build). */

#ifndef TESTS_FAULT_PLANTS_BUFFER_LEAKED_H
#define TESTS_FAULT_PLANTS_BUFFER_LEAKED_H

#include "lib/buf.h"

#define buf_put(b) ((void)(b))

#endif
