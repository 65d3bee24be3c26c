/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* sound - what must be true of a life once its disk is sound again (J4 of life.h). */

#ifndef TESTS_FAULT_SOUND_H
#define TESTS_FAULT_SOUND_H

#include "tests/fault/life.h"

/* No fault from here on; a disk whose formatting failed is formatted again. */
void sound_heal(struct life *l);
/* It opens, holds everything, takes new ops; @through: puts them in their place, and holds those
 * too. The store is closed afterwards. */
void sound_expect(struct life *l, bool through);

#endif
