/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* error_ignored - a planted bug, included before a file of the store: an error it sees does not
 * make the store FAILED. The error sweep must find it (meson.build). */

#ifndef TESTS_FAULT_PLANTS_ERROR_IGNORED_H
#define TESTS_FAULT_PLANTS_ERROR_IGNORED_H

#include "store/internal.h"

#define store_fail(s, why, res) ((void)(s), (void)(why), (void)(res))

#endif
