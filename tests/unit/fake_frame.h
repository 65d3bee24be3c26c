/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_frame - what every fake network does to a frame on its way. One thread. */

#ifndef TESTS_UNIT_FAKE_FRAME_H
#define TESTS_UNIT_FAKE_FRAME_H

#include <stdio.h>
#include <stdlib.h>

#include "lib/frame.h"

/* Seal @f and look at it as the receiver of one from @sender does; when it is bad, say that @who
 * sent it, and abort. */
static inline void fake_frame_seal(struct frame *f, enum wire_role sender, const char *who)
{
	const char *why = "";

	wire_frame_seal(f);
	if (wire_frame_check(f, sender, &why) < 0) {
		fprintf(stderr, "%s sent a bad frame: %s\n", who, why);
		abort();
	}
}

#endif
