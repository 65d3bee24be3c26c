/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* checker - exact linearizability of registers with unique writes, by zones (Gibbons and Korach).
 *
 * A register is a block, or a sector where writes are smaller than a block. The cluster of a value
 * is its write and all reads that returned it; lo is the least return in it, hi the greatest
 * invocation. lo < hi makes a forward zone [lo, hi]: the value must hold throughout. Else the zone
 * is backward, [hi, lo]: the value must have been there at some moment of it. The history is
 * linearizable if and only if
 *
 *   Z1  no read returned before its write was invoked, or returned what nobody wrote
 *   Z2  no two forward zones overlap
 *   Z3  no backward zone lies inside a forward zone
 *
 * A compare-and-write that succeeded reads one value and writes the next at one moment, so the two
 * clusters must be neighbours: they are glued into one, and inside a glued row no operation on a
 * later value may return before one on an earlier value was invoked. Two that consumed the same
 * value contradict each other.
 *
 * A compare that failed says that its value did not hold at some moment between its ends: it must
 * not lie inside the forward zone of that value (sound; not complete together with other
 * operations).
 *
 * Value 0 is what a register holds before anything (written at time 0). An operation whose outcome
 * is unknown returns at HIST_NEVER; a failed read is not recorded. Times are positions in one total
 * order of invocations and returns, so no two are equal. O(n log n). */

#ifndef SIM_CHECKER_H
#define SIM_CHECKER_H

#include "lib/base.h"

#define HIST_NEVER UINT64_MAX

enum hist_kind {
	HIST_WRITE,
	HIST_READ,
	HIST_RMW,
	HIST_NOT, /* a compare that failed: at some moment the value was another than this */
};

struct hist_op {
	uint64_t inv, ret;
	uint64_t value; /* written, or read */
	uint64_t from;  /* RMW: the value it consumed */
	uint32_t reg;
	enum hist_kind kind;
};

struct checker_verdict {
	uint64_t registers, clusters, violations;
	uint32_t reg;   /* of the first violation */
	char text[240]; /* "" when there is none */
};

/* Check @n operations in any order. */
void checker_run(const struct hist_op *ops, size_t n, struct checker_verdict *ret);

#endif
