/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* replay - bring one state back by its name and look at it again.
 *
 *	seq:used:step:wpc@37:torn2          a state of a sequence
 *	life:17:3@210:but1/12:all           one below a state of a life
 *	seq:used:step:wpc                   the run itself, which aborted */

#ifndef TESTS_CRASH_REPLAY_H
#define TESTS_CRASH_REPLAY_H

#include "tests/crash/hunt.h"

/* What the run did is printed to stderr, and what is wrong. -EINVAL: not a name. */
MUST_CHECK int replay(struct hunt *h, const char *name);

#endif
