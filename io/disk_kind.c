/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/disk_kind.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define ZFS_MAGIC 0x2fc12fc1u      /* not the kernel's: in no header of it */
#define BCACHEFS_MAGIC 0xca451a4eu /* not in the headers of every supported kernel */

/* ---- the device and its cache ---- */

static bool read_queue(const char *sysfs, dev_t dev, const char *name, char ret_text[32])
{
	static const char *const places[] = {"queue", "../queue"}; /* a partition's is its disk's */
	FILE *f = NULL;
	char path[256];
	bool ok;

	for (unsigned i = 0; i < ARRAY_LEN(places) && !f; i++) {
		snprintf(path, sizeof(path), "%.128s/dev/block/%u:%u/%s/%s", sysfs, major(dev),
			 minor(dev), places[i], name);
		f = fopen(path, "re");
	}
	if (!f)
		return false;
	ok = fgets(ret_text, 32, f) != NULL;
	fclose(f);
	return ok;
}

enum disk_cache disk_kind_cache(const char *sysfs, dev_t dev)
{
	char text[32];

	if (!read_queue(sysfs, dev, "write_cache", text))
		return CACHE_UNKNOWN;
	if (strncmp(text, "write through", 13) == 0)
		return CACHE_NONE;
	if (!read_queue(sysfs, dev, "fua", text))
		return CACHE_UNKNOWN;
	return text[0] == '1' ? CACHE_FUA : CACHE_FLUSH;
}

bool disk_kind_plain(const struct disk_kind *k, bool trust_write_through, const char **ret_text)
{
	if (k->is_block && k->cache == CACHE_NONE && trust_write_through) {
		*ret_text =
			"plain writes: the device says it has no volatile cache, and is trusted";
		return true;
	}
	switch (k->cache) {
	case CACHE_NONE:
		*ret_text = k->is_block
				    ? "RWF_DSYNC writes, though the device says it has no volatile "
				      "cache (believe it with --trust-write-through)"
				    : "RWF_DSYNC writes; the device below says it has no volatile "
				      "cache";
		break;
	case CACHE_FUA:
		*ret_text = "RWF_DSYNC writes; the device has FUA: each is one write";
		break;
	case CACHE_FLUSH:
		*ret_text =
			"RWF_DSYNC writes; the device has no FUA: the kernel makes each a write "
			"and a flush";
		break;
	case CACHE_UNKNOWN:
		*ret_text = "RWF_DSYNC writes; whether the device has FUA is not known";
		break;
	}
	return false;
}

static int look_error(int res, const char *path, char err[IO_ERR_BYTES])
{
	snprintf(err, IO_ERR_BYTES, "store %.160s: cannot be looked at: %s", path, strerror(-res));
	return res;
}

int disk_kind_look(int fd, const char *path, struct disk_kind *ret, char err[IO_ERR_BYTES])
{
	struct disk_kind k = {.sector_bytes = SECTOR_BYTES};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return look_error(-errno, path, err);
	if (S_ISREG(st.st_mode)) {
		k.size_bytes = (uint64_t)st.st_size;
		k.cache = disk_kind_cache("/sys", st.st_dev);
	} else if (S_ISBLK(st.st_mode)) {
		k.is_block = true;
		if (ioctl(fd, BLKGETSIZE64, &k.size_bytes) < 0 ||
		    ioctl(fd, BLKSSZGET, &k.sector_bytes) < 0)
			return look_error(-errno, path, err);
		k.cache = disk_kind_cache("/sys", st.st_rdev);
	} else {
		snprintf(err, IO_ERR_BYTES,
			 "store %.160s: neither a file nor a block device: give one of these",
			 path);
		return -ENOTBLK;
	}
	if (k.sector_bytes > BLOCK_BYTES) {
		snprintf(err, IO_ERR_BYTES,
			 "store %.160s: its sectors of %u bytes are larger than %u: use another "
			 "device",
			 path, k.sector_bytes, BLOCK_BYTES);
		return -EINVAL;
	}
	*ret = k;
	return 0;
}

/* ---- copy on write ---- */

const char *disk_kind_cow_name(uint64_t fs_magic, unsigned flags, bool *ret_can_turn_off)
{
	static const struct {
		uint64_t magic;
		const char *name;
		bool can_turn_off; /* per file, by FS_NOCOW_FL */
	} systems[] = {
		{BTRFS_SUPER_MAGIC, "btrfs", true},
		{BCACHEFS_MAGIC, "bcachefs", true},
		{ZFS_MAGIC, "ZFS", false},
		{NILFS_SUPER_MAGIC, "NILFS2", false},
	};

	for (unsigned i = 0; i < ARRAY_LEN(systems); i++) {
		if (fs_magic != systems[i].magic)
			continue;
		*ret_can_turn_off = systems[i].can_turn_off;
		return systems[i].can_turn_off && (flags & FS_NOCOW_FL) ? NULL : systems[i].name;
	}
	return NULL;
}

/* Bytes of the file that another one shares. A file system that cannot say has nothing to share. */
static uint64_t shared_bytes(int fd)
{
	union {
		struct fiemap map;
		uint8_t room[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)];
	} u;
	uint64_t at = 0, shared = 0;

	for (;;) {
		uint32_t n;

		memset(&u, 0, sizeof(u));
		u.map.fm_start = at;
		u.map.fm_length = UINT64_MAX - at;
		u.map.fm_extent_count = 64;
		if (ioctl(fd, FS_IOC_FIEMAP, &u.map) < 0)
			return shared;
		n = u.map.fm_mapped_extents;
		for (uint32_t i = 0; i < n; i++) {
			const struct fiemap_extent *e = &u.map.fm_extents[i];

			if (e->fe_flags & FIEMAP_EXTENT_SHARED)
				shared += e->fe_length;
			at = e->fe_logical + e->fe_length;
		}
		if (n == 0 || (u.map.fm_extents[n - 1].fe_flags & FIEMAP_EXTENT_LAST))
			return shared;
	}
}

int disk_kind_check_cow(int fd, const char *path, char err[IO_ERR_BYTES])
{
	unsigned flags = 0;
	bool can_turn_off;
	const char *name;
	struct statfs fs;
	struct stat st;
	uint64_t shared;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return look_error(-errno, path, err);
	if (!S_ISREG(st.st_mode))
		return 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		flags = 0; /* a file system without flags cannot have it turned off */
	name = disk_kind_cow_name((uint32_t)fs.f_type, flags, &can_turn_off);
	if (name) {
		snprintf(err, IO_ERR_BYTES,
			 can_turn_off
				 ? "store %.100s: %s copies what is overwritten: make the file "
				   "in a folder after chattr +C FOLDER, or use another file "
				   "system"
				 : "store %.100s: %s copies what is overwritten: use another "
				   "file system",
			 path, name);
		return -EOPNOTSUPP;
	}
	shared = shared_bytes(fd);
	if (shared == 0)
		return 0;
	snprintf(err, IO_ERR_BYTES,
		 "store %.80s: shares %llu KiB with a reflink copy or snapshot, the first write "
		 "there "
		 "would copy: delete that, or use a real copy (cp --reflink=never)",
		 path, (unsigned long long)(shared >> 10));
	return -EXDEV;
}

void disk_lock_explain(int res, const char *path, char err[IO_ERR_BYTES])
{
	if (res == -EBUSY)
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: in use by another daemon: stop that one first", path);
	else
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: cannot be locked (flock: %s), and without the lock two "
			 "daemons could write it: use a device or a local file system",
			 path, strerror(-res));
}
