/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* base - compile-time helpers used by every folder, and the three kinds of wrong.
 *
 * CHECK(x)       our own invariant: on in release builds, prints and aborts.
 * MUST_CHECK     the world's failures: a function returns 0 or -errno and the caller must look.
 * UNEXPECTED(x)  believed impossible but survivable: counted, traced once, the caller takes the
 *                safe branch. Evaluates to the truth of x.
 *
 * Bytes that came from a disk, a peer or a user are never CHECKed before they were validated. */

#ifndef LIB_BASE_H
#define LIB_BASE_H

#include <assert.h> /* static_assert */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* On-disk and wire integers are little-endian and are read in place. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "chainblk runs on little-endian hosts");

#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))
#define UNEXPECTED(cond) ((cond) ? (unexpected(#cond, __FILE__, __LINE__), true) : false)

_Noreturn void check_failed(const char *cond, const char *file, int line);
void unexpected(const char *cond, const char *file, int line);
/* How many UNEXPECTED conditions were true since the start of the process. */
uint64_t unexpected_count(void);

/* A random 128-bit identity: cluster, incarnation, client, disk. All zero means "none". */
struct id128 {
	uint8_t b[16];
};
static_assert(sizeof(struct id128) == 16, "id128 is a wire and disk type");

static inline bool id128_eq(const struct id128 *a, const struct id128 *b)
{
	return __builtin_memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool id128_is_none(const struct id128 *a)
{
	static const struct id128 none;

	return id128_eq(a, &none);
}

#endif
