/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* shim - a bad disk for one real daemon: LD_PRELOAD over the submit functions of liburing.
 *
 *	CHAINBLK_SHIM=RULE[,RULE...] CHAINBLK_SHIM_LOG=FILE [CHAINBLK_SHIM_ARM=FILE] \
 *		LD_PRELOAD=.../libshim.so chaind run ...
 *
 *	RULE  OP:NTH[+]:KIND[=N][@FROM-TO]
 *	OP    read, write, flush: ring operations on a file that is open with O_DIRECT
 *	NTH   counts from 1 those of that sort which begin in [FROM, TO), bytes of the file;
 *	      "+" means this one and all later ones
 *	KIND  eio    nothing is transferred, the result is -EIO
 *	      short  N sectors of 512 bytes are written, the result says so
 *	      torn   N sectors are written, then the process is killed
 *	      flip   the data arrive with bit N (modulo their length) turned over
 *	      slow   done as asked, N milliseconds late: the disk is, and nothing else waits for
 *	time
 *
 * What is done to an operation is done by sending it elsewhere, to a file that answers as wanted:
 * /proc/self/mem at 0 for EIO, /dev/null for a result without a transfer, a memory file for changed
 * data. So any kernel will do, and the order of completions stays the kernel's.
 *
 * With CHAINBLK_SHIM_ARM nothing is counted or done while that file does not exist.
 *
 * The log gets a line per hit: "hit OP NTH OFFSET LEN KIND". It gets one for every write or flush
 * that was submitted though the program knew of a failed one: "later OP OFFSET LEN". The program
 * takes that completion off the ring with others and may handle those first; it knows when it
 * takes the next ones. Of what it submits in between only a write to the same place is named. A
 * program that retries nothing never causes such a line.
 *
 * Does not see registered files, vectored operations and linked ones other than as themselves. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 8u
#define SECTOR 512u
#define CHANGED_BYTES (64u << 20) /* of the memory file, used as a ring */
#define CHANGED_MAX (4u << 20)    /* longest read that can be changed */

enum op { OP_READ, OP_WRITE, OP_FLUSH, OP_NONE };
static const char *const op_names[] = {"read", "write", "flush"};

enum kind { KIND_EIO, KIND_SHORT, KIND_TORN, KIND_FLIP, KIND_SLOW, KINDS };
static const char *const kind_names[] = {"eio", "short", "torn", "flip", "slow"};

struct rule {
	enum op op;
	enum kind kind;
	unsigned long long nth, n, from, to, seen;
	bool later_too;
};

static struct {
	pthread_mutex_t lock;
	struct rule rule[RULES_MAX];
	unsigned rules_n;
	const char *arm;
	int log, mem, null, changed;
	unsigned long long changed_at;
	char *buf; /* CHANGED_MAX */
	/* The first failed write or flush, and whether the program knows of it. */
	struct io_uring *failed_ring;
	unsigned long long failed_data, failed_off;
	unsigned failed_cq; /* tail of the completion queue before it was submitted */
	unsigned taken_cq;  /* head of that queue when it had been taken */
	bool failed_taken, failed_known;
} shim = {.lock = PTHREAD_MUTEX_INITIALIZER, .log = -1};

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "shim: %s: %s\n", what, strerror(errno));
	_exit(99);
}

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
	char line[160];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (shim.log >= 0 && write(shim.log, line, (size_t)n) != n)
		give_up("log");
}

/* ---- rules ---- */

static bool parse_rule(const char *text, struct rule *r)
{
	char op[8], kind[8], plus[2] = "";
	int at = 0;

	*r = (struct rule){.to = ~0ull};
	if (sscanf(text, "%7[a-z]:%llu%n", op, &r->nth, &at) != 2)
		return false;
	text += at;
	if (*text == '+')
		plus[0] = *text++;
	r->later_too = plus[0] != '\0';
	if (sscanf(text, ":%7[a-z]%n", kind, &at) != 1)
		return false;
	text += at;
	if (sscanf(text, "=%llu%n", &r->n, &at) == 1)
		text += at;
	if (sscanf(text, "@%llu-%llu%n", &r->from, &r->to, &at) == 2)
		text += at;
	for (r->op = OP_READ; r->op < OP_NONE && strcmp(op, op_names[r->op]) != 0;)
		r->op++;
	for (r->kind = KIND_EIO; r->kind < KINDS && strcmp(kind, kind_names[r->kind]) != 0;)
		r->kind++;
	return *text == '\0' && r->op < OP_NONE && r->kind < KINDS && r->nth > 0;
}

__attribute__((constructor)) static void start(void)
{
	const char *rules = getenv("CHAINBLK_SHIM"), *log = getenv("CHAINBLK_SHIM_LOG");
	char *text = strdup(rules ? rules : ""), *save = NULL;

	for (char *r = strtok_r(text, ",", &save); r; r = strtok_r(NULL, ",", &save)) {
		errno = EINVAL;
		if (shim.rules_n == RULES_MAX || !parse_rule(r, &shim.rule[shim.rules_n++]))
			give_up(r);
	}
	free(text);
	shim.arm = getenv("CHAINBLK_SHIM_ARM");
	if (log)
		shim.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	shim.mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	shim.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	shim.changed = memfd_create("changed", MFD_CLOEXEC);
	if ((log && shim.log < 0) || shim.mem < 0 || shim.null < 0 || shim.changed < 0)
		give_up("its files");
	if (posix_memalign((void **)&shim.buf, 4096, CHANGED_MAX))
		give_up("memory");
}

static enum op op_of(const struct io_uring_sqe *s)
{
	int flags;

	if (s->flags & IOSQE_FIXED_FILE)
		return OP_NONE;
	if (s->opcode != IORING_OP_READ && s->opcode != IORING_OP_READ_FIXED &&
	    s->opcode != IORING_OP_WRITE && s->opcode != IORING_OP_WRITE_FIXED &&
	    s->opcode != IORING_OP_FSYNC)
		return OP_NONE;
	flags = fcntl(s->fd, F_GETFL);
	if (flags < 0 || !(flags & O_DIRECT))
		return OP_NONE;
	if (s->opcode == IORING_OP_FSYNC)
		return OP_FLUSH;
	return s->opcode == IORING_OP_READ || s->opcode == IORING_OP_READ_FIXED ? OP_READ
										: OP_WRITE;
}

/* Every rule counts what fits it; the first that is due is applied. */
static const struct rule *rule_for(enum op op, const struct io_uring_sqe *s)
{
	const struct rule *due = NULL;

	if (shim.arm && access(shim.arm, F_OK) < 0)
		return NULL;
	for (unsigned i = 0; i < shim.rules_n; i++) {
		struct rule *r = &shim.rule[i];

		if (r->op != op || (op != OP_FLUSH && (s->off < r->from || s->off >= r->to)))
			continue;
		r->seen++;
		if (!due && (r->seen == r->nth || (r->seen > r->nth && r->later_too)))
			due = r;
	}
	return due;
}

/* ---- what is done to an operation ---- */

static void send_to(struct io_uring_sqe *s, int fd, unsigned long long off, bool is_write)
{
	s->opcode = is_write ? IORING_OP_WRITE : IORING_OP_READ;
	s->fd = fd;
	s->off = off;
	s->rw_flags = 0;
	s->buf_index = 0;
}

static void answer_eio(struct io_uring_sqe *s, bool is_write)
{
	if (s->opcode == IORING_OP_FSYNC) {
		s->addr = (unsigned long)shim.buf;
		s->len = 1;
	}
	send_to(s, shim.mem, 0, is_write);
}

/* Durable, and past the alignment that direct I/O may ask for. */
static unsigned write_sectors(const struct io_uring_sqe *s, unsigned long long sectors)
{
	unsigned len = sectors * SECTOR < s->len ? (unsigned)sectors * SECTOR : s->len;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, (const void *)(unsigned long)s->addr, len, (off_t)s->off) != len ||
	    fdatasync(fd) < 0)
		give_up("torn write");
	close(fd);
	return len;
}

static void change(struct io_uring_sqe *s, unsigned long long bit)
{
	bit %= s->len * 8ull;
	if (s->len > CHANGED_MAX || pread(s->fd, shim.buf, s->len, (off_t)s->off) != (int)s->len)
		give_up("read to be changed");
	shim.buf[bit / 8] ^= (char)(1 << bit % 8);
	if (shim.changed_at + s->len > CHANGED_BYTES)
		shim.changed_at = 0;
	if (pwrite(shim.changed, shim.buf, s->len, (off_t)shim.changed_at) != (int)s->len)
		give_up("changed data");
	send_to(s, shim.changed, shim.changed_at, false);
	shim.changed_at += s->len;
}

static void apply(struct io_uring *ring, struct io_uring_sqe *s, enum op op, const struct rule *r)
{
	note("hit %s %llu %llu %u %s\n", op_names[op], r->seen, op == OP_FLUSH ? 0 : s->off, s->len,
	     kind_names[r->kind]);
	if (op != OP_READ && r->kind != KIND_SLOW && !shim.failed_ring) {
		shim.failed_ring = ring;
		shim.failed_data = s->user_data;
		shim.failed_off = op == OP_WRITE ? s->off : ~0ull;
		shim.failed_cq = *ring->cq.ktail;
	}
	switch (r->kind) {
	case KIND_EIO:
		answer_eio(s, op != OP_READ);
		break;
	case KIND_SHORT:
		s->len = write_sectors(s, r->n);
		send_to(s, shim.null, 0, true);
		break;
	case KIND_TORN:
		write_sectors(s, r->n);
		raise(SIGKILL);
		break;
	case KIND_FLIP:
		change(s, r->n);
		break;
	case KIND_SLOW:
		nanosleep(&(struct timespec){.tv_sec = (time_t)(r->n / 1000),
					     .tv_nsec = (long)(r->n % 1000) * 1000000},
			  NULL);
		break;
	case KINDS:
		break;
	}
}

/* ---- the ring ---- */

/* Has the program taken the failed operation's completion? */
static void look_for_failed(void)
{
	const struct io_uring_cq *cq = &shim.failed_ring->cq;

	for (unsigned at = shim.failed_cq; (int)(*cq->khead - at) > 0; at++)
		if (cq->cqes[at & *cq->kring_mask].user_data == shim.failed_data)
			shim.failed_taken = true;
	shim.taken_cq = *cq->khead;
}

static void pass(struct io_uring *ring)
{
	const struct io_uring_sq *sq = &ring->sq;

	pthread_mutex_lock(&shim.lock);
	if (shim.failed_taken && *shim.failed_ring->cq.khead != shim.taken_cq)
		shim.failed_known = true;
	if (shim.failed_ring == ring && !shim.failed_taken)
		look_for_failed();
	/* What is not the kernel's yet. */
	for (unsigned at = sq->sqe_head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *s = &sq->sqes[at & *sq->kring_mask];
		enum op op = op_of(s);
		const struct rule *r;

		if (op == OP_NONE)
			continue;
		if (op != OP_READ &&
		    (shim.failed_known || (shim.failed_taken && s->off == shim.failed_off)))
			note("later %s %llu %u\n", op_names[op], op == OP_FLUSH ? 0 : s->off,
			     s->len);
		r = rule_for(op, s);
		if (r)
			apply(ring, s, op, r);
	}
	pthread_mutex_unlock(&shim.lock);
}

#define REAL(name, ...)                                                                            \
	static int (*real)(__VA_ARGS__);                                                           \
	if (!real)                                                                                 \
		*(void **)(&real) = dlsym(RTLD_NEXT, #name);                                       \
	pass(ring)

int io_uring_submit(struct io_uring *ring)
{
	REAL(io_uring_submit, struct io_uring *);
	return real(ring);
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
	REAL(io_uring_submit_and_get_events, struct io_uring *);
	return real(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
	REAL(io_uring_submit_and_wait, struct io_uring *, unsigned);
	return real(ring, wait_nr);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
				     unsigned wait_nr, struct __kernel_timespec *ts, sigset_t *mask)
{
	REAL(io_uring_submit_and_wait_timeout, struct io_uring *, struct io_uring_cqe **, unsigned,
	     struct __kernel_timespec *, sigset_t *);
	return real(ring, cqe, wait_nr, ts, mask);
}
