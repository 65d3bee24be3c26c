/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fault - run something that may abort, and go on.
 *
 * A CHECK that fails, in the store or in what compares it, or a wild pointer, ends the call and not
 * the program: the state is bad, the next one is looked at. So does a call that takes a minute of
 * CPU time: no store does that. What was called leaves its memory behind as it is; whoever calls it
 * again starts from a fresh process of the world (world_boot). */

#ifndef TESTS_CRASH_FAULT_H
#define TESTS_CRASH_FAULT_H

#include "lib/base.h"

void fault_init(void);
/* False when @fn did not come back by itself. May be nested. */
bool fault_guard(void (*fn)(void *arg), void *arg);

#endif
