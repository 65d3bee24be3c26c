/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_store - store/store.h in memory, with the test deciding when and whether.
 *
 * Keeps every op for ever and answers reads by looking through them. Callbacks come from a deferred
 * task, never from within a call. One store at a time; one thread. */

#ifndef TESTS_UNIT_FAKE_STORE_H
#define TESTS_UNIT_FAKE_STORE_H

#include "store/store.h"

struct fake_store_knobs {
	bool hold_durable; /* appended ops become durable with fake_store_durable() only */
	bool hold_reads;   /* reads wait for fake_store_reads() */
	int append_result; /* what store_append() says instead of taking the op; 0: takes it */
	int fetch_result;  /* the same for the next store_fetch(), once */
	uint64_t bytes_free;
};
extern struct fake_store_knobs fake_store;

/* Forget everything; @known and @last are what chain 1 recovers with (ops below are NOPs). */
void fake_store_reset(struct env *env, uint64_t epoch, uint64_t known, uint64_t last);
void fake_store_durable(uint64_t seq);
void fake_store_write_error(void);
void fake_store_reads(void);
void fake_store_space(void);
bool fake_store_registered(void);
bool fake_store_claimed(void);
uint64_t fake_store_appended(void);
uint64_t fake_store_committed(void);
const struct op_rec *fake_store_op(uint64_t seq);
/* First byte of a block as the newest appended op left it. */
uint8_t fake_store_byte(uint64_t volume, uint64_t extent, uint32_t block, uint32_t at);

#endif
