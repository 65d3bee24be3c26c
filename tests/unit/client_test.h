/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* client_test - what every test of client/ includes: cmocka in its order, and the fake cluster. */

#ifndef TESTS_UNIT_CLIENT_TEST_H
#define TESTS_UNIT_CLIENT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fake_cluster.h"

#define MS 1000000ull
#define KIB 1024ull

/* A cluster with an open client; chains of three. */
static inline struct fake_cluster *cluster_open(uint32_t chains_n)
{
	struct fake_cluster *k =
		fake_cluster_init(&(struct fake_cluster_config){.seed = 1, .chains_n = chains_n});

	fake_open(k);
	assert_int_equal(k->opened, 0);
	(void)fake_trace(k);
	return k;
}

/* Submit, wait at most @ms, and say what it came to; 1 when it is not done. */
static inline int result(struct fake_req *q)
{
	return q->done_n ? q->r.status : 1;
}

static inline int run(struct fake_cluster *k, enum client_kind kind, uint64_t offset_bytes,
		      uint64_t len_bytes, int byte)
{
	struct fake_req *q = fake_req(k, kind, offset_bytes, len_bytes, byte);
	int status;

	fake_submit(q);
	fake_pass(k, 100 * MS);
	status = result(q);
	fake_req_free(q);
	return status;
}

static inline bool filled(const uint8_t *at, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] != (uint8_t)byte)
			return false;
	return true;
}

#endif
