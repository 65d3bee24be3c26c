/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fault_plan - which one of many like events is to fail, and how. Shared by the filter over fake
 * disks (fault_disk.h), by what counts buffers and memory (life.h) and by the preloaded library
 * that does the same to real processes (shim/shim.c).
 *
 * A point's name is CLASS/KIND/once|always/N, as in messages and on command lines. */

#ifndef TESTS_FAULT_PLAN_H
#define TESTS_FAULT_PLAN_H

#include "lib/base.h"

enum fault_class {
	FAULT_WRITE,
	FAULT_FLUSH,
	FAULT_READ,
	FAULT_BUFFER,   /* buf_get() */
	FAULT_MEMORY,   /* arena_alloc() */
	FAULT_SUBMIT,   /* io_uring_submit*() */
	FAULT_SETUP,    /* io_uring_queue_init_params() */
	FAULT_REGISTER, /* io_uring_register_buffers() */
	FAULT_ALLOC,    /* malloc() and its like, mmap() */
	FAULT_CALL,     /* open(), flock(), pread(), eventfd() and their like */
	FAULT_CLASSES
};

enum fault_kind {
	FAULT_EIO,    /* nothing was done */
	FAULT_TORN,   /* write: some of its sectors were; real transfers: it was short */
	FAULT_DONE,   /* write, flush: it was done, the caller hears EIO all the same */
	FAULT_GONE,   /* flush: what it should cover is gone, reads say so, later flushes succeed */
	FAULT_FLIP,   /* read: one bit is wrong, this once */
	FAULT_SECTOR, /* read: its first block cannot be read any more */
	FAULT_ROT,    /* read: one bit of it went wrong on the medium */
	FAULT_EAGAIN, /* other classes: this error */
	FAULT_EBUSY,
	FAULT_EINTR,
	FAULT_ENOMEM,
	FAULT_EPERM,
	FAULT_ENOSYS,
	FAULT_KINDS
};

struct fault_plan {
	enum fault_class class;
	enum fault_kind kind;
	uint64_t n;      /* the Nth of its class since .armed is spoiled, from 1; 0: none */
	bool persistent; /* and all after it */
	bool armed;
	uint64_t seen[FAULT_CLASSES]; /* since .armed */
	uint64_t fired;
};

/* Count one of @class; is it to fail? */
bool fault_due(struct fault_plan *p, enum fault_class class);
/* The negative errno of a kind. */
int fault_errno(enum fault_kind kind);
/* Returns what snprintf() does. */
int fault_name(const struct fault_plan *p, char *to, size_t len);
/* Class, kind, once or always, N; the rest of @ret is cleared. False: no such name. */
bool fault_parse(const char *name, struct fault_plan *ret);

#endif
