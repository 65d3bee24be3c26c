/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* ctrl_fixture - a controller's state and what it hears, new for each test: three servers that
 * register and form chains. Each test program has its own. */

#ifndef TESTS_UNIT_CTRL_FIXTURE_H
#define TESTS_UNIT_CTRL_FIXTURE_H

#include <cmocka.h>

#include "tests/unit/ctrl_test.h"

#define SEC (1000ull * 1000 * 1000)

static struct ctrl_state st;
static struct ctrl_live live;
static struct ctrl_answer ans;

static inline int fresh(void **state)
{
	const struct id128 cluster = test_id('c', 1);

	(void)state;
	ctrl_new(&st, &cluster);
	memset(&live, 0, sizeof(live));
	live.now_ns = 100 * SEC;
	return 0;
}

/* Server @n registers and is connected from now on; its replicas are not known yet. */
static inline void registers(uint8_t n, uint8_t life)
{
	const struct wire_register r = test_registration(n, life);
	struct ctrl_server_live *l;

	ctrl_register(&st, &r, &ans);
	assert_int_equal(ans.status, 0);
	l = &live.servers[ctrl_server_index(&st, (uint32_t)ans.value)];
	memset(l, 0, sizeof(*l));
	l->connected = true;
	l->seen_ns = live.now_ns;
}

static inline void admin(enum wire_admin_op op, const char *name, uint64_t arg0, uint64_t arg1)
{
	struct wire_admin req = {.op = op, .arg0 = arg0, .arg1 = arg1};

	snprintf(req.name, sizeof(req.name), "%s", name);
	ctrl_admin(&st, &req, &live, &ans);
	ctrl_check(&st);
}

static inline void three_servers(uint64_t replicas)
{
	for (uint8_t n = 1; n <= 3; n++)
		registers(n, 1);
	admin(ADMIN_CLUSTER_INIT, "", replicas, 0);
	assert_int_equal(ans.status, 0);
	assert_true(ans.changed);
}

#endif
