/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* wire_body - the field-by-field half of wire_frame_check(): what the body of each message may say.
 * Private to lib/. Lengths were checked against wire_types[] before, so meta holds at least the
 * body struct. Pure, no state. */

#ifndef LIB_WIRE_BODY_H
#define LIB_WIRE_BODY_H

#include "lib/frame.h"

/* NULL, or what is wrong with the body, its arrays and its payload length. */
const char *wire_body_wrong(const struct frame *f);
/* True when block CRCs in meta cover the whole payload. */
bool wire_body_covers_data(const struct frame *f);

#endif
