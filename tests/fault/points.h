/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* points - the error sweep, whatever is below the store: in each script (scripts.h), for each way
 * in which something fails (a row), the Nth fails, N = 1, 2, 3 ... until the script has no Nth.
 *
 * A point's name is SCRIPT/CLASS/KIND/once|always/N. One thread; lives run in children (runner.h).
 */

#ifndef TESTS_FAULT_POINTS_H
#define TESTS_FAULT_POINTS_H

#include "tests/fault/runner.h"
#include "tests/fault/scripts.h"

struct points {
	struct runner runner;
	const struct fault_plan *rows; /* .n is not looked at */
	unsigned rows_n;
	enum fault_class alike; /* of this class one script's are like the other's: the first is
				 * enough */
	bool real;              /* scripts that are .real only */
	/* One life. Did the fault happen? */
	bool (*run)(const struct script *script, const struct fault_plan *plan);
};

/* The point of this name, here and now. Exit status: 0, 2 when there is no such name. */
int points_one(const struct points *p, const char *name);
/* All, or those of one script; said in the end. Exit status: 0, 1 when one was bad or there were
 * none, 2 when there is no such script. */
int points_all(struct points *p, const char *only, bool json);

#endif
