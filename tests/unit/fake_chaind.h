/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_chaind - what the programs of a fake cluster do with what they receive (fake_cluster.h).
 * Only fake_cluster.c includes it. One thread. */

#ifndef TESTS_UNIT_FAKE_CHAIND_H
#define TESTS_UNIT_FAKE_CHAIND_H

#include "tests/unit/fake_cluster.h"

/* One pass over everything that can move; false when nothing did. */
bool fake_step(struct fake_cluster *k);
/* The connection breaks; what was on its way to the daemon becomes ghosts. */
void fake_lose(struct fake_cluster *k, struct fake_peer *p, struct env_conn *c);
void fake_send_map(struct fake_cluster *k);
void fake_chain_drop(struct fake_chain *c);

#endif
