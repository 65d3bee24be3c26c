/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* wrap - the calls of the daemons the simulator looks at, by the linker's --wrap: __wrap_X is
 * entered instead of X, __real_X is X. Nothing of the daemons is compiled differently. One thread.
 */

#ifndef SIM_WRAP_H
#define SIM_WRAP_H

#include "store/store.h"

int __real_store_append(struct store *s, struct store_op *op);
int __wrap_store_append(struct store *s, struct store_op *op);
void __real_store_commit(struct store *s, uint32_t chain, uint64_t seq);
void __wrap_store_commit(struct store *s, uint32_t chain, uint64_t seq);
void __real_store_undo(struct store *s, uint32_t chain, uint64_t to,
		       void (*done)(void *arg, int res), void *arg);
void __wrap_store_undo(struct store *s, uint32_t chain, uint64_t to,
		       void (*done)(void *arg, int res), void *arg);

#endif
