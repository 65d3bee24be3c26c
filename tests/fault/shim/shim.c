/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* shim - a library to preload, that lets the Nth of something fail in a real process: transfers and
 * calls of io_uring, memory, system calls made at start.
 *
 *	LD_PRELOAD=libfault_shim.so FAULT_POINT=alloc/enomem/once/3 chaind run ...
 *
 * Ring I/O passes no libc call. What can be taken hold of are liburing's exported submit calls,
 * where queued entries are still ours to change, and io_uring_peek_batch_cqe(), where results are.
 * Only transfers of files and block devices count. Armed from the start by FAULT_POINT
 * (fault_plan.h), or by a program that knows of fault_shim_plan(). FAULT_REPORT names a file that
 * becomes the plan in memory: whether it fired is there for the parent to see.
 *
 * Threads: those of the process; counting is not atomic, the programs under test have one. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/fault/fault_plan.h"

#define MARKS 256u

struct mark { /* a transfer whose result is changed on its way back */
	uint64_t user_data;
	uint8_t *flip; /* or NULL */
	bool used, eio;
};

static struct fault_plan *plan;
static struct mark marks[MARKS];

struct fault_plan *fault_shim_plan(void);

struct fault_plan *fault_shim_plan(void)
{
	return plan;
}

static void *real(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

static void *map_plan(const char *path)
{
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR) : -1;

	return (void *)syscall(SYS_mmap, NULL, sizeof(*plan), PROT_READ | PROT_WRITE,
			       fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
}

__attribute__((constructor)) static void start(void)
{
	const char *point = getenv("FAULT_POINT");
	struct fault_plan parsed, *p = map_plan(getenv("FAULT_REPORT"));

	if (p == MAP_FAILED)
		abort();
	if (point) {
		if (!fault_parse(point, &parsed))
			abort();
		*p = parsed;
		p->armed = true;
	}
	plan = p;
}

static bool due(enum fault_class class)
{
	return plan && fault_due(plan, class);
}

/* ---- transfers ---- */

static bool of_a_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

static enum fault_class class_of(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READ_FIXED:
		return of_a_file(sqe->fd) ? FAULT_READ : FAULT_CLASSES;
	case IORING_OP_WRITE:
	case IORING_OP_WRITE_FIXED:
		return of_a_file(sqe->fd) ? FAULT_WRITE : FAULT_CLASSES;
	case IORING_OP_FSYNC:
		return FAULT_FLUSH;
	default:
		return FAULT_CLASSES;
	}
}

static void mark(struct mark m)
{
	for (unsigned i = 0; i < MARKS; i++) {
		if (marks[i].used)
			continue;
		marks[i] = m;
		return;
	}
	abort();
}

static void spoil(struct io_uring_sqe *sqe)
{
	struct mark m = {.user_data = sqe->user_data, .used = true, .eio = true};

	if (plan->kind == FAULT_TORN) { /* the kernel says itself how little it did */
		sqe->len = sqe->len / 2 / 512 * 512;
		return;
	}
	if (plan->kind == FAULT_FLIP) {
		m.eio = false;
		m.flip = (uint8_t *)(uintptr_t)sqe->addr + plan->n * 769 % sqe->len;
	} else if (plan->kind != FAULT_DONE) {
		sqe->opcode = IORING_OP_NOP;
		sqe->fd = -1;
		sqe->off = sqe->addr = 0;
		sqe->len = 0;
		sqe->rw_flags = 0;
		sqe->buf_index = 0;
	}
	mark(m);
}

static void before_submit(struct io_uring *r)
{
	struct io_uring_sq *q = &r->sq;

	for (unsigned i = q->sqe_head; plan && i != q->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &q->sqes[i & *q->kring_mask];
		enum fault_class class = class_of(sqe);

		if (class != FAULT_CLASSES && due(class))
			spoil(sqe);
	}
}

unsigned io_uring_peek_batch_cqe(struct io_uring *r, struct io_uring_cqe **cqes, unsigned count)
{
	static unsigned (*next)(struct io_uring *, struct io_uring_cqe **, unsigned);
	unsigned n;

	next = next ? next : real("io_uring_peek_batch_cqe");
	n = next(r, cqes, count);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < MARKS; k++) {
			struct mark *m = &marks[k];

			if (!m->used || m->user_data != cqes[i]->user_data)
				continue;
			if (m->eio)
				cqes[i]->res = -EIO;
			else
				*m->flip ^= 0x10;
			m->used = false;
		}
	}
	return n;
}

/* ---- calls of io_uring ---- */

#define SUBMIT(name, params, args)                                                                 \
	int name params                                                                            \
	{                                                                                          \
		static int(*next) params;                                                          \
                                                                                                   \
		next = next ? next : real(#name);                                                  \
		if (due(FAULT_SUBMIT))                                                             \
			return fault_errno(plan->kind);                                            \
		before_submit(r);                                                                  \
		return next args;                                                                  \
	}

SUBMIT(io_uring_submit, (struct io_uring * r), (r))
SUBMIT(io_uring_submit_and_wait, (struct io_uring * r, unsigned n), (r, n))
SUBMIT(io_uring_submit_and_get_events, (struct io_uring * r), (r))
SUBMIT(io_uring_submit_and_wait_timeout,
       (struct io_uring * r, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *ts,
	sigset_t *sigmask),
       (r, cqe, n, ts, sigmask))

int io_uring_queue_init_params(unsigned entries, struct io_uring *r, struct io_uring_params *p)
{
	int (*next)(unsigned, struct io_uring *, struct io_uring_params *) =
		real("io_uring_queue_init_params");

	return due(FAULT_SETUP) ? fault_errno(plan->kind) : next(entries, r, p);
}

int io_uring_register_buffers(struct io_uring *r, const struct iovec *iovecs, unsigned n)
{
	int (*next)(struct io_uring *, const struct iovec *, unsigned) =
		real("io_uring_register_buffers");

	return due(FAULT_REGISTER) ? fault_errno(plan->kind) : next(r, iovecs, n);
}

/* ---- memory: glibc's own names, for dlsym() itself allocates ---- */

void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *p, size_t len);
void *__libc_memalign(size_t align, size_t len);

static void *none(void)
{
	errno = ENOMEM;
	return NULL;
}

void *malloc(size_t len)
{
	return due(FAULT_ALLOC) ? none() : __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
	return due(FAULT_ALLOC) ? none() : __libc_calloc(n, len);
}

void *realloc(void *p, size_t len)
{
	return due(FAULT_ALLOC) ? none() : __libc_realloc(p, len);
}

void *aligned_alloc(size_t align, size_t len)
{
	return due(FAULT_ALLOC) ? none() : __libc_memalign(align, len);
}

int posix_memalign(void **ret, size_t align, size_t len)
{
	*ret = due(FAULT_ALLOC) ? NULL : __libc_memalign(align, len);
	return *ret ? 0 : ENOMEM;
}

static void *map(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if (due(FAULT_ALLOC)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return map(at, len, prot, flags, fd, off);
}

void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return map(at, len, prot, flags, fd, off);
}

/* ---- system calls ---- */

static bool call_fails(void)
{
	if (!due(FAULT_CALL))
		return false;
	errno = -fault_errno(plan->kind);
	return true;
}

static int open_file(const char *path, int flags, unsigned mode)
{
	if (call_fails())
		return -1;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	unsigned mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, unsigned) : 0;
	va_end(ap);
	return open_file(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	unsigned mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, unsigned) : 0;
	va_end(ap);
	return open_file(path, flags, mode);
}

#define CALL(type, name, sys, params, ...)                                                         \
	type name params                                                                           \
	{                                                                                          \
		return call_fails() ? -1 : (type)syscall(sys, __VA_ARGS__);                        \
	}

CALL(int, flock, SYS_flock, (int fd, int how), fd, how)
CALL(int, fsync, SYS_fsync, (int fd), fd)
CALL(ssize_t, pread, SYS_pread64, (int fd, void *p, size_t n, off_t at), fd, p, n, at)
CALL(ssize_t, pread64, SYS_pread64, (int fd, void *p, size_t n, off_t at), fd, p, n, at)
CALL(ssize_t, pwrite, SYS_pwrite64, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
CALL(ssize_t, pwrite64, SYS_pwrite64, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
CALL(off_t, lseek, SYS_lseek, (int fd, off_t at, int how), fd, at, how)
CALL(off_t, lseek64, SYS_lseek, (int fd, off_t at, int how), fd, at, how)
CALL(int, eventfd, SYS_eventfd2, (unsigned n, int flags), n, flags)
CALL(int, signalfd, SYS_signalfd4, (int fd, const sigset_t *set, int flags), fd, set, 8, flags)
