/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/disk_make.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/disk_kind.h"

/* Superblocks, partition tables, file systems, text: the first mebibyte of what is in use holds
 * something. */
#define USED_BYTES_MAX (1u << 20)
#define CHUNK_BYTES (4u << 20)

struct fill {
	const struct disk_make *m;
	int fd;
	void *zeros;        /* CHUNK_BYTES */
	bool made;          /* by us, just now */
	uint64_t old_bytes; /* its length when we came */
	struct disk_make_progress p;
};

int disk_make_check_unused(const char *path, char err[IO_ERR_BYTES])
{
	static const uint8_t zeros[BLOCK_BYTES];
	uint8_t block[BLOCK_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC), res = 0;
	ssize_t got = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		res = -errno;
	for (off_t at = 0; res == 0 && at < USED_BYTES_MAX; at += got) {
		got = pread(fd, block, sizeof(block), at);
		if (got <= 0)
			break;
		if (memcmp(block, zeros, (size_t)got) != 0)
			res = -EEXIST;
	}
	if (res == 0 && got < 0)
		res = -errno;
	if (fd >= 0)
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

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

/* ---- writing ---- */

static int write_zeros(struct fill *f, uint64_t from, uint64_t to)
{
	while (from < to) {
		size_t len = (size_t)MIN(to - from, (uint64_t)CHUNK_BYTES);
		ssize_t n = pwrite(f->fd, f->zeros, len, (off_t)from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += (uint64_t)n;
		f->p.at_bytes = from;
		f->p.written_bytes += (uint64_t)n;
		if (f->m->go_on && !f->m->go_on(f->m->arg, &f->p))
			return -EINTR;
	}
	f->p.at_bytes = to;
	return 0;
}

/* Space that is reserved and not written is a hole too, and would be found out later, as changes of
 * metadata in the middle of a write somebody waits for. */
static int fill_holes(struct fill *f, uint64_t end_bytes)
{
	uint64_t at = 0;

	while (at < end_bytes) {
		off_t data = lseek(f->fd, (off_t)at, SEEK_DATA), hole;
		int res;

		if (data < 0 && errno != ENXIO)
			return -errno;
		if (data < 0 || (uint64_t)data > end_bytes)
			data = (off_t)end_bytes;
		res = write_zeros(f, at, (uint64_t)data);
		if (res < 0 || (uint64_t)data == end_bytes)
			return res;
		hole = lseek(f->fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		at = (uint64_t)hole;
	}
	return 0;
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

/* What made it look like something goes first, so that a run that is stopped leaves no half of it.
 */
static int wipe(struct fill *f)
{
	uint64_t end = MIN((uint64_t)USED_BYTES_MAX, round_up(f->old_bytes));
	int res = 0;

	for (uint64_t at = 0; at < end && res == 0;) {
		ssize_t n = pwrite(f->fd, f->zeros, end - at, (off_t)at);

		if (n > 0)
			at += (uint64_t)n;
		else if (n == 0 || errno != EINTR)
			res = n == 0 ? -EIO : -errno;
	}
	if (res == 0 && fdatasync(f->fd) < 0)
		res = -errno;
	f->old_bytes = MAX(f->old_bytes, end);
	return res;
}

/* Told before anything is taken: to reserve what is not there takes all there is from everybody
 * else on the file system, for as long as that lasts. */
static int check_space(const struct fill *f)
{
	struct statvfs vfs;
	struct stat st;
	uint64_t have, free_bytes;

	if (fstat(f->fd, &st) < 0 || fstatvfs(f->fd, &vfs) < 0)
		return -errno;
	if (vfs.f_blocks == 0) /* it does not tell (nbdfuse): writing finds out */
		return 0;
	have = (uint64_t)st.st_blocks * 512;
	free_bytes = (uint64_t)vfs.f_bfree * vfs.f_frsize;
	return f->p.size_bytes > have && f->p.size_bytes - have > free_bytes ? -ENOSPC : 0;
}

/* The length stays until it is written: it is how the next run knows where to go on (M2). A file
 * system that cannot reserve says -ENOSPC later. One that can has taken what there was when it says
 * so: cutting the file at its own length gives that back. */
static int reserve(struct fill *f, uint64_t len)
{
	int res;

	if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)f->p.size_bytes) == 0 ||
	    errno == EOPNOTSUPP || errno == ENOSYS)
		return 0;
	res = -errno;
	if (ftruncate(f->fd, (off_t)len) < 0)
		return -errno;
	return res;
}

static int fill_file(struct fill *f, char err[IO_ERR_BYTES])
{
	uint64_t whole;
	int res;

	if (f->old_bytes > f->p.size_bytes && !f->m->force) {
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: %llu KiB long already: give that --size, or cut it with "
			 "--force",
			 f->m->path, (unsigned long long)(f->old_bytes >> 10));
		return -EFBIG;
	}
	whole = MIN(f->p.size_bytes, round_up(f->old_bytes));
	if (whole != f->old_bytes && ftruncate(f->fd, (off_t)whole) < 0)
		return -errno;
	res = reserve(f, whole);
	if (res == 0)
		res = fill_holes(f, whole);
	if (res == 0)
		res = write_zeros(f, whole, f->p.size_bytes);
	if (fsync(f->fd) < 0 && res == 0)
		res = -errno;
	return res == 0 ? sync_parent(f->m->path) : res;
}

/* ---- the whole ---- */

static int explain(const struct fill *f, int res, char err[IO_ERR_BYTES])
{
	const char *path = f->m->path;

	if (res == 0 || err[0] != '\0')
		return res;
	if (res == -EINTR)
		snprintf(
			err, IO_ERR_BYTES,
			"store %.100s: stopped at %llu of %llu MiB: no store yet; the same command "
			"goes on from there",
			path, (unsigned long long)(f->p.at_bytes >> 20),
			(unsigned long long)(f->p.size_bytes >> 20));
	else if (res == -EINVAL)
		snprintf(err, IO_ERR_BYTES,
			 "store %.160s: its file system has no O_DIRECT (tmpfs?): put the store on "
			 "a "
			 "disk",
			 path);
	else if (res == -ENOSPC || res == -EDQUOT)
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: no space for %llu MiB: free some, or choose a smaller "
			 "--size",
			 path, (unsigned long long)(f->m->size_bytes >> 20));
	else
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be filled: %s", path,
			 strerror(-res));
	return res;
}

static int open_place(struct fill *f, char err[IO_ERR_BYTES])
{
	const char *path = f->m->path;
	int res;

	f->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	f->made = f->fd >= 0;
	if (!f->made && errno == EEXIST)
		f->fd = open(path, O_RDWR | O_CLOEXEC);
	if (f->fd < 0) {
		res = -errno;
		snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be made: %s", path,
			 strerror(-res));
		return res;
	}
	if (flock(f->fd, LOCK_EX | LOCK_NB) < 0) {
		res = errno == EWOULDBLOCK ? -EBUSY : -errno;
		disk_lock_explain(res, path, err);
		return res;
	}
	return 0;
}

static int fill_place(struct fill *f, char err[IO_ERR_BYTES])
{
	struct disk_kind kind;
	int res = disk_kind_look(f->fd, f->m->path, &kind, err);

	if (res == 0)
		res = disk_kind_check_cow(f->fd, f->m->path, err);
	if (res < 0)
		return res;
	/* Direct: the page cache would swallow a small store whole and tell nothing about how long
	 * a large one takes. */
	if (fcntl(f->fd, F_SETFL, O_DIRECT) < 0)
		return -errno;
	if (posix_memalign(&f->zeros, BLOCK_BYTES, CHUNK_BYTES))
		return -ENOMEM;
	memset(f->zeros, 0, CHUNK_BYTES);
	f->old_bytes = kind.size_bytes;
	f->p.size_bytes = f->m->size_bytes / BLOCK_BYTES * BLOCK_BYTES;
	if (!kind.is_block)
		res = check_space(f);
	if (res == 0 && f->m->force)
		res = wipe(f);
	if (res == 0 && !kind.is_block)
		res = fill_file(f, err);
	return res;
}

int disk_make_file(const struct disk_make *m, uint64_t *ret_written_bytes, char err[IO_ERR_BYTES])
{
	struct fill f = {.m = m, .fd = -1};
	int res;

	err[0] = '\0';
	res = open_place(&f, err);
	if (res == 0)
		res = explain(&f, fill_place(&f, err), err);
	if (res < 0 && res != -EINTR && f.made)
		unlink(m->path);
	if (res == 0)
		*ret_written_bytes = f.p.written_bytes;
	free(f.zeros);
	if (f.fd >= 0)
		close(f.fd);
	return res;
}
