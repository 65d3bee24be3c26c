/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* store_rig - a store on a fake disk for unit tests: ops with recognisable content, reads that are
 * checked, crashes. Content of a block: 512 words of 64 bits made from (stamp of the op, block). */

#ifndef TESTS_UNIT_STORE_RIG_H
#define TESTS_UNIT_STORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/buf.h"
#include "lib/crc.h"
#include "store/store.h"
#include "tests/unit/fake_env.h"

#define RIG_TEST(fn) cmocka_unit_test(fn)
#define RIG_DISK_BYTES (64u << 20)
#define RIG_CHAINS 4u
#define RIG_OPS 8192u

struct rig_op {
	struct store_op op;
	uint32_t crcs[OP_BLOCKS_MAX];
	uint64_t stamp; /* 0: zeros */
	bool is_done, is_released;
	int res;
};

struct rig {
	struct fake_env fe;
	struct fake_disk disk;
	struct buf_pool bufs;
	void *bufs_memory, *memory;
	uint64_t disk_bytes, log_bytes;
	/* For the next rig_open(). */
	uint64_t scrub_ns, watch_ns;
	void (*validated)(void *rig, const struct store_opened *found);
	uint32_t cache_slots;
	bool ask; /* somebody is asked for bad blocks: .bad is what was asked for last */
	struct store_bad bad;
	unsigned asked;
	struct store *s;
	struct id128 incarnation;
	int open_res;
	bool open_done, closed, flag, space_called;
	char why[200];
	struct store_opened found;
	uint64_t last[RIG_CHAINS + 8]; /* appended per chain id */
	struct rig_op *ops[RIG_OPS];
	unsigned ops_n;
	struct rig_op *ops_of_last[RIG_CHAINS + 8][EXTENT_BLOCKS]; /* extent 0: newest writer */
};

struct rig *rig_new(void *unused, uint64_t seed); /* formatted, 64 MiB */
struct rig *rig_new_sized(uint64_t seed, uint64_t disk_bytes, uint64_t log_bytes);
void rig_free(struct rig *r);
int rig_format(struct rig *r, bool force);
int rig_open(struct rig *r);
void rig_open_start(struct rig *r); /* .open_done and .open_res tell */
void rig_close(struct rig *r);
void rig_crash(struct rig *r, uint32_t keep_permille);
void rig_kill(struct rig *r); /* the process alone: the power stays */
void rig_wait(struct rig *r, const bool *flag);
void rig_settle(struct rig *r); /* until nothing happens any more: destaged, checkpointed */
void rig_chain(struct rig *r, uint32_t chain);
void rig_set_epoch(struct rig *r, uint32_t chain, uint64_t epoch, uint64_t history);
int rig_set_cluster(struct rig *r, const struct id128 *cluster);

/* Volume of chain c is c. The op is kept until rig_free(). */
struct rig_op *rig_op(struct rig *r, uint32_t chain, enum op_kind kind, uint64_t extent);
int rig_append(struct rig *r, struct rig_op *op);
struct rig_op *rig_write(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			 uint32_t n);
struct rig_op *rig_write_retry(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			       uint32_t n); /* waits for space on -EAGAIN */
int rig_try_write(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		  struct rig_op **ret);
struct rig_op *rig_unmap(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			 uint32_t n);
struct rig_op *rig_write_same(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			      uint32_t n, uint64_t stamp);

/* 0 or the error of the read; contents in @out (n * 4096). CRCs returned are checked. */
int rig_read(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
	     bool sequenced, uint8_t *out);
void rig_expect(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		bool sequenced, const struct rig_op *op);
void rig_expect_part(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		     const struct rig_op *op); /* committed */
void rig_expect_block(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
		      const struct rig_op *op);
void rig_expect_zero(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
		     bool sequenced);
void rig_expect_fetch(struct rig *r, uint32_t chain, uint64_t seq, const struct rig_op *op);
void rig_fill(uint8_t *block, uint64_t stamp, uint32_t index);

#endif
