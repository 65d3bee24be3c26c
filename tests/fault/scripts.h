/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* scripts - what the lives of the error sweep and of the damage test consist of. Each begins with a
 * disk of zeros, calls life_arm() where the sweep starts to count, and leaves the store open or
 * closed. Same script, same calls, as long as nothing fails. */

#ifndef TESTS_FAULT_SCRIPTS_H
#define TESTS_FAULT_SCRIPTS_H

#include "tests/fault/life.h"

#define SCRIPT_SMALL_DISK (10u << 20) /* soon full */

struct script {
	const char *name;
	void (*run)(struct life *l);
	uint64_t disk_bytes; /* 0: LIFE_DISK_BYTES */
	bool real;           /* needs no virtual time and no power cuts */
};

extern const struct script scripts[];
extern const unsigned scripts_n;
const struct script *script_find(const char *name); /* NULL: none */

#endif
