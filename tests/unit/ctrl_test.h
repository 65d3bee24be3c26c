/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* ctrl_test - what the tests of the controller share: ids, registrations, reports. */

#ifndef TESTS_UNIT_CTRL_TEST_H
#define TESTS_UNIT_CTRL_TEST_H

#include <stdio.h>
#include <string.h>

#include "cfgsvc/ctrl.h"

static inline struct id128 test_id(uint8_t kind, uint8_t n)
{
	return (struct id128){{kind, n, 7}};
}

/* Server @n ("s1" is 1) starting as its @life-th incarnation; the one before it is @life - 1. */
static inline struct wire_register test_registration(uint8_t n, uint8_t life)
{
	struct wire_register r = {
		.disk = test_id('d', n),
		.incarnation = test_id((uint8_t)('A' + n), life),
		.bytes_total = 10ull << 30,
		.bytes_free = 9ull << 30,
	};

	if (life > 1)
		r.previous = test_id((uint8_t)('A' + n), (uint8_t)(life - 1));
	snprintf(r.name, sizeof(r.name), "s%u", n);
	snprintf(r.addrs[0], ADDR_BYTES, "127.0.0.1:%u", 7400u + n);
	return r;
}

#endif
