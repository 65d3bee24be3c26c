/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* lane_send - the sending half of a lane (lane.h): what may go out now, and as which bytes.
 *
 * lane_pump() lives here; the rest is what the two halves need of each other. Invariants are
 * lane.h's. */

#ifndef CLIENT_LANE_SEND_H
#define CLIENT_LANE_SEND_H

#include "client/lane.h"

/* Give @p the lane's next number; there is one (N1). */
void lane_take_number(struct lane *l, struct part *p);
/* Give up the numbers of the dead. */
void lane_bury_dead(struct lane *l);

#endif
