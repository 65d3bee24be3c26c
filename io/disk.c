/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/uring.h"

#define DISK_OPS_MAX 1024u
#define CREATE_CHUNK_BYTES (1u << 20)

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
	int region = -1;

	d->free = slot->next_free;
	d->in_flight++;
	*slot = (struct disk_op_slot){.op.fn = disk_done, .disk = d, .io = io};
	if (io->op != DISK_FLUSH)
		region = uring_region(d->r, io->data, io->len_bytes);
	switch (io->op) {
	case DISK_READ:
		if (region >= 0)
			io_uring_prep_read_fixed(sqe, d->fd, io->data, io->len_bytes,
						 io->offset_bytes, region);
		else
			io_uring_prep_read(sqe, d->fd, io->data, io->len_bytes, io->offset_bytes);
		break;
	case DISK_WRITE:
		if (region >= 0)
			io_uring_prep_write_fixed(sqe, d->fd, io->data, io->len_bytes,
						  io->offset_bytes, region);
		else
			io_uring_prep_write(sqe, d->fd, io->data, io->len_bytes, io->offset_bytes);
		if (io->dsync)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case DISK_FLUSH:
		io_uring_prep_fsync(sqe, d->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, &slot->op);
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
		snprintf(err, IO_ERR_BYTES, "store %.160s: no permission to read and write it",
			 path);
		break;
	default:
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be opened: %s", path,
			 strerror(-res));
		break;
	}
	return res;
}

/* Does the kernel call the cache of block device @rdev "write through"? */
static bool is_write_through(dev_t rdev)
{
	char path[128], text[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/write_cache", major(rdev),
		 minor(rdev));
	f = fopen(path, "re");
	if (!f) { /* a partition: its queue is its disk's */
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../queue/write_cache",
			 major(rdev), minor(rdev));
		f = fopen(path, "re");
	}
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return strncmp(text, "write through", 13) == 0;
}

static int inspect(struct disk *d, const struct disk_config *cfg, char err[IO_ERR_BYTES])
{
	struct stat st;
	uint64_t size = 0;
	unsigned sector = SECTOR_BYTES;
	const char *cache = "volatile (made durable by FUA writes and flushes)";

	if (fstat(d->fd, &st) < 0)
		return open_error(-errno, cfg->path, err);
	d->env.volatile_cache = true;
	if (S_ISREG(st.st_mode)) {
		size = (uint64_t)st.st_size;
	} else if (S_ISBLK(st.st_mode)) {
		if (ioctl(d->fd, BLKGETSIZE64, &size) < 0 || ioctl(d->fd, BLKSSZGET, &sector) < 0)
			return open_error(-errno, cfg->path, err);
		if (is_write_through(st.st_rdev)) {
			cache = cfg->trust_write_through
					? "none (the device says write through, and is trusted)"
					: "said to be none, taken as volatile";
			d->env.volatile_cache = !cfg->trust_write_through;
		}
	} else {
		snprintf(err, IO_ERR_BYTES, "store %.160s: neither a file nor a block device",
			 cfg->path);
		return -ENOTBLK;
	}
	if (sector > BLOCK_BYTES) {
		snprintf(err, IO_ERR_BYTES,
			 "store %.160s: its sectors of %u bytes are larger than %u", cfg->path,
			 sector, BLOCK_BYTES);
		return -EINVAL;
	}
	d->env.size_bytes = size / BLOCK_BYTES * BLOCK_BYTES;
	env_logf(reactor_env(d->r), ENV_INFO, "store %.160s: %s of %llu MiB, cache: %s", cfg->path,
		 S_ISREG(st.st_mode) ? "file" : "block device",
		 (unsigned long long)(d->env.size_bytes >> 20), cache);
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

int disk_open(struct reactor *r, const struct disk_config *cfg, struct env_disk **ret_disk,
	      char err[IO_ERR_BYTES])
{
	struct disk *d = calloc(1, sizeof(*d));
	int res;

	if (!d)
		return open_error(-ENOMEM, cfg->path, err);
	d->r = r;
	d->env.submit = disk_submit;
	list_init(&d->waiting);
	for (unsigned i = 0; i < DISK_OPS_MAX; i++) {
		d->slots[i].next_free = d->free;
		d->free = &d->slots[i];
	}
	d->fd = open(cfg->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (d->fd < 0) {
		res = open_error(-errno, cfg->path, err);
		goto out;
	}
	if (flock(d->fd, LOCK_EX | LOCK_NB) < 0) {
		res = errno == EWOULDBLOCK ? -EBUSY : -errno;
		snprintf(err, IO_ERR_BYTES,
			 res == -EBUSY
				 ? "store %.160s: in use by another daemon: stop that one first"
				 : "store %.160s: cannot be locked",
			 cfg->path);
		goto out;
	}
	res = inspect(d, cfg, err);
	if (res == 0)
		res = probe_direct(d, cfg->path, err);
	if (res == 0) {
		*ret_disk = &d->env;
		return 0;
	}
out:
	if (d->fd >= 0)
		close(d->fd);
	free(d);
	return res;
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

/* ---- making a file ---- */

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
	void *zeros = NULL;
	int res = 0;

	if (posix_memalign(&zeros, BLOCK_BYTES, CREATE_CHUNK_BYTES))
		return -ENOMEM;
	memset(zeros, 0, CREATE_CHUNK_BYTES);
	while (from < to && res == 0) {
		size_t len = (size_t)MIN(to - from, (uint64_t)CREATE_CHUNK_BYTES);
		ssize_t n = pwrite(fd, zeros, len, (off_t)from);

		if (n > 0)
			from += (uint64_t)n;
		else if (n == 0)
			res = -EIO;
		else if (errno != EINTR)
			res = -errno;
	}
	free(zeros);
	return res;
}

static int sync_parent(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	int fd, res = 0;

	if (!slash)
		snprintf(dir, sizeof(dir), ".");
	else if (slash == path)
		snprintf(dir, sizeof(dir), "/");
	else if ((size_t)(slash - path) >= sizeof(dir))
		return -ENAMETOOLONG;
	else
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		res = -errno;
	close(fd);
	return res;
}

/* Write zeros where nothing was written yet: allocated but unwritten space is a hole too, and would
 * be found out later, as metadata writes in the middle of an acknowledged one. What is there is
 * kept. */
static int fill_holes(int fd, uint64_t size_bytes)
{
	uint64_t at = 0;
	int res = 0;

	while (at < size_bytes && res == 0) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno != ENXIO)
			return -errno;
		if (data < 0 || (uint64_t)data > size_bytes)
			data = (off_t)size_bytes;
		res = write_zeros(fd, at, (uint64_t)data);
		if (res < 0 || (uint64_t)data == size_bytes)
			return res;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		at = (uint64_t)hole;
	}
	return res;
}

static int fill(int fd, const char *path, uint64_t size_bytes)
{
	struct stat st;
	int res;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode))
		return 0;
	if (!S_ISREG(st.st_mode))
		return -ENOTBLK;
	res = -posix_fallocate(fd, 0, (off_t)size_bytes);
	if (res == 0)
		res = fill_holes(fd, size_bytes);
	if (res == 0 && fsync(fd) < 0)
		res = -errno;
	return res == 0 ? sync_parent(path) : res;
}

/* The first mebibyte of anything that is in use holds something: superblocks, partition tables,
 * text. */
#define USED_BYTES_MAX (1u << 20)

int disk_check_unused(const char *path, char err[IO_ERR_BYTES])
{
	static const uint8_t zeros[BLOCK_BYTES];
	uint8_t block[BLOCK_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC), res = 0;
	ssize_t got = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) {
		res = -errno;
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be read: %s", path,
			 strerror(-res));
		return res;
	}
	for (off_t at = 0; res == 0 && at < USED_BYTES_MAX; at += got) {
		got = pread(fd, block, sizeof(block), at);
		if (got <= 0)
			break;
		if (memcmp(block, zeros, (size_t)got) != 0)
			res = -EEXIST;
	}
	if (res == 0 && got < 0)
		res = -errno;
	close(fd);
	if (res == -EEXIST)
		snprintf(err, IO_ERR_BYTES,
			 "store %.160s: holds data already: choose another path, or lose that data "
			 "with --force",
			 path);
	else if (res < 0)
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be read: %s", path,
			 strerror(-res));
	return res;
}

int disk_create_file(const char *path, uint64_t size_bytes, char err[IO_ERR_BYTES])
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), res;

	if (fd < 0) {
		res = -errno;
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be made: %s", path,
			 strerror(-res));
		return res;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		res = -EBUSY;
		snprintf(err, IO_ERR_BYTES, "store %.160s: in use by a daemon: stop that one first",
			 path);
	} else {
		res = fill(fd, path, size_bytes);
		if (res == -ENOSPC)
			snprintf(err, IO_ERR_BYTES,
				 "store %.120s: no space for %llu MiB: free some, "
				 "or choose a smaller --size",
				 path, (unsigned long long)(size_bytes >> 20));
		else if (res < 0)
			snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be filled: %s", path,
				 strerror(-res));
	}
	close(fd);
	return res;
}
