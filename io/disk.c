/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/disk_kind.h"
#include "io/uring.h"

#define DISK_OPS_MAX 1024u

struct disk_op_slot {
	struct uring_op op;
	struct disk *disk;
	struct disk_io *io;
	struct disk_op_slot *next_free;
};

struct disk {
	struct env_disk env;
	struct reactor *r;
	int fd;
	uint64_t base_bytes; /* where on the file this disk begins (K5) */
	uint32_t in_flight;
	struct list waiting; /* submitted while all slots were taken */
	struct disk_op_slot *free;
	struct disk_op_slot slots[DISK_OPS_MAX];
};

/* ---- I/O ---- */

static void disk_done(struct uring_op *op, int res, uint32_t cqe_flags);

static void start(struct disk *d, struct disk_io *io)
{
	struct disk_op_slot *slot = d->free;
	struct io_uring_sqe *sqe = uring_sqe(d->r);
	uint64_t at = d->base_bytes + io->offset_bytes;
	int region = -1;

	d->free = slot->next_free;
	d->in_flight++;
	*slot = (struct disk_op_slot){.op.fn = disk_done, .disk = d, .io = io};
	if (io->op != DISK_FLUSH)
		region = uring_region(d->r, io->data, io->len_bytes);
	switch (io->op) {
	case DISK_READ:
		if (region >= 0)
			io_uring_prep_read_fixed(sqe, d->fd, io->data, io->len_bytes, at, region);
		else
			io_uring_prep_read(sqe, d->fd, io->data, io->len_bytes, at);
		break;
	case DISK_WRITE:
		if (region >= 0)
			io_uring_prep_write_fixed(sqe, d->fd, io->data, io->len_bytes, at, region);
		else
			io_uring_prep_write(sqe, d->fd, io->data, io->len_bytes, at);
		if (io->dsync)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case DISK_FLUSH:
		io_uring_prep_fsync(sqe, d->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, &slot->op);
	uring_disk_ready(d->r);
}

static void disk_done(struct uring_op *op, int res, uint32_t cqe_flags)
{
	struct disk_op_slot *slot = CONTAINER_OF(op, struct disk_op_slot, op);
	struct disk *d = slot->disk;
	struct disk_io *io = slot->io;
	struct list *next;

	(void)cqe_flags;
	slot->next_free = d->free;
	d->free = slot;
	d->in_flight--;
	next = list_pop(&d->waiting);
	if (next)
		start(d, CONTAINER_OF(next, struct disk_io, link));
	if (res >= 0)
		res = io->op == DISK_FLUSH || (uint32_t)res == io->len_bytes ? 0 : -EIO;
	io->done(io, res);
}

static void disk_submit(struct env_disk *e, struct disk_io *io)
{
	struct disk *d = CONTAINER_OF(e, struct disk, env);

	CHECK(io->len_bytes <= DISK_IO_BYTES_MAX);
	CHECK(io->offset_bytes % BLOCK_BYTES == 0);
	CHECK(io->len_bytes % BLOCK_BYTES == 0);
	CHECK(io->op == DISK_FLUSH || (uintptr_t)io->data % BLOCK_BYTES == 0);
	CHECK(io->offset_bytes <= e->size_bytes);
	CHECK(io->len_bytes <= e->size_bytes - io->offset_bytes);
	if (d->free)
		start(d, io);
	else
		list_add_tail(&d->waiting, &io->link);
}

/* ---- open ---- */

static int open_error(int res, const char *path, char err[IO_ERR_BYTES])
{
	switch (res) {
	case -ENOENT:
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: not there: make it with: chaind format "
			 "%.60s --size SIZE",
			 path, path);
		break;
	case -EINVAL:
		snprintf(err, IO_ERR_BYTES,
			 "store %.160s: its file system has no O_DIRECT (tmpfs?): "
			 "put the store on a disk",
			 path);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: no permission to read and write it: start as its owner, or "
			 "chown it",
			 path);
		break;
	default:
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be opened: %s", path,
			 strerror(-res));
		break;
	}
	return res;
}

/* What it lies on decides whether it may be a store, and how writes are made durable (K3). */
static int inspect(struct disk *d, const struct disk_config *cfg, char err[IO_ERR_BYTES])
{
	struct disk_kind kind;
	const char *durability;
	int res = disk_kind_look(d->fd, cfg->path, &kind, err);

	if (res == 0)
		res = disk_kind_check_cow(d->fd, cfg->path, err);
	if (res < 0)
		return res;
	d->env.volatile_cache = !disk_kind_plain(&kind, cfg->trust_write_through, &durability);
	d->env.size_bytes = kind.size_bytes / BLOCK_BYTES * BLOCK_BYTES;
	if (cfg->trust_write_through && !kind.is_block)
		env_logf(reactor_env(d->r), ENV_WARN,
			 "store %.160s: a file: --trust-write-through is for block devices and "
			 "changes nothing here",
			 cfg->path);
	env_logf(reactor_env(d->r), ENV_INFO, "store %.160s: %s of %llu MiB; durable by %s",
		 cfg->path, kind.is_block ? "block device" : "file",
		 (unsigned long long)(d->env.size_bytes >> 20), durability);
	return 0;
}

/* Some file systems accept O_DIRECT at open and refuse it at the first read. */
static int probe_direct(struct disk *d, const char *path, char err[IO_ERR_BYTES])
{
	void *block;
	ssize_t n;
	int res = 0;

	if (posix_memalign(&block, BLOCK_BYTES, BLOCK_BYTES))
		return open_error(-ENOMEM, path, err);
	n = pread(d->fd, block, BLOCK_BYTES, 0);
	if (n < 0)
		res = open_error(-errno, path, err);
	free(block);
	return res;
}

static struct disk *disk_new(struct reactor *r)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->r = r;
	d->fd = -1;
	d->env.submit = disk_submit;
	list_init(&d->waiting);
	for (unsigned i = 0; i < DISK_OPS_MAX; i++) {
		d->slots[i].next_free = d->free;
		d->free = &d->slots[i];
	}
	return d;
}

static int lock(const struct disk *d, const char *path, char err[IO_ERR_BYTES])
{
	int res;

	if (flock(d->fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	res = errno == EWOULDBLOCK ? -EBUSY : -errno;
	disk_lock_explain(res, path, err);
	return res;
}

/* Before it is opened: open() and O_DIRECT say of a FIFO or /dev/null what sounds like a file
 * system's fault. Whether the store is one is asked of what was opened once more (inspect()). */
static int look_first(const char *path, char err[IO_ERR_BYTES])
{
	struct stat st;

	if (stat(path, &st) < 0)
		return open_error(-errno, path, err);
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return 0;
	snprintf(err, IO_ERR_BYTES,
		 "store %.120s: is %s, a store is a file or a block device: give what chaind "
		 "format made",
		 path,
		 S_ISDIR(st.st_mode)    ? "a folder"
		 : S_ISCHR(st.st_mode)  ? "a character device"
		 : S_ISFIFO(st.st_mode) ? "a FIFO"
					: "a socket");
	return -ENOTBLK;
}

int disk_open(struct reactor *r, const struct disk_config *cfg, struct env_disk **ret_disk,
	      char err[IO_ERR_BYTES])
{
	struct disk *d;
	int res = look_first(cfg->path, err);

	if (res < 0)
		return res;
	d = disk_new(r);
	if (!d)
		return open_error(-ENOMEM, cfg->path, err);
	d->fd = open(cfg->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	res = d->fd < 0 ? open_error(-errno, cfg->path, err) : lock(d, cfg->path, err);
	if (res == 0)
		res = inspect(d, cfg, err);
	if (res == 0)
		res = probe_direct(d, cfg->path, err);
	if (res == 0) {
		*ret_disk = &d->env;
		return 0;
	}
	if (d->fd >= 0)
		close(d->fd);
	free(d);
	return res;
}

int disk_open_part(struct reactor *r, const struct env_disk *whole, const struct disk_part *part,
		   struct env_disk **ret_disk, char err[IO_ERR_BYTES])
{
	const struct disk *from = CONTAINER_OF(whole, struct disk, env);
	struct disk *d = disk_new(r);
	int res = -ENOMEM;

	CHECK(part->offset_bytes % BLOCK_BYTES == 0);
	CHECK(part->offset_bytes <= whole->size_bytes);
	CHECK(part->size_bytes <= whole->size_bytes - part->offset_bytes);
	/* The same open file: the lock belongs to it, not to the descriptor. */
	if (d && (d->fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 0)) < 0)
		res = -errno;
	if (!d || d->fd < 0) {
		snprintf(err, IO_ERR_BYTES, "store: a part of it cannot be opened: %s",
			 strerror(-res));
		free(d);
		return res;
	}
	d->base_bytes = from->base_bytes + part->offset_bytes;
	d->env.size_bytes = part->size_bytes;
	d->env.volatile_cache = whole->volatile_cache;
	*ret_disk = &d->env;
	return 0;
}

int disk_read_now(const struct env_disk *e, uint64_t offset_bytes, void *buf, size_t len_bytes)
{
	const struct disk *d = CONTAINER_OF(e, struct disk, env);
	uint64_t at = d->base_bytes + offset_bytes;
	uint8_t *to = buf;

	if (offset_bytes > e->size_bytes || len_bytes > e->size_bytes - offset_bytes)
		return -EIO;
	while (len_bytes > 0) {
		ssize_t n = pread(d->fd, to, len_bytes, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		to += n;
		at += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

size_t disk_bytes(void)
{
	return sizeof(struct disk);
}

void disk_close(struct env_disk *e)
{
	struct disk *d;

	if (!e)
		return;
	d = CONTAINER_OF(e, struct disk, env);
	CHECK(d->in_flight == 0);
	close(d->fd);
	free(d);
}
