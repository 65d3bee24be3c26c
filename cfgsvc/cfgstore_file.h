/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cfgstore_file - the configuration in one file of one machine: a CRC'd append log.
 *
 *	state.log = record, record, ...    record = header (40 B), the whole state, zeros to 8 B
 *
 * Each put appends a record with the next revision and is durable when it returns. When the file
 * grows beyond CFGFILE_BYTES_MAX it is replaced by one that holds the newest record only (the
 * snapshot), by writing another file and renaming it over.
 *
 *   F1  the newest whole record is the state; revisions grow by 1 from record to record
 *   F2  what follows the last whole record is a put that was cut short (nobody was told of it): it
 *       is ignored, and cut off before the next append
 *   F3  a record that fails its checksum and has a whole one behind it is rot, not a torn end:
 *       nothing is served from such a file
 *   F4  after a failed write nothing is written any more until the next start: what the disk holds
 *       is not known
 *
 * The encoding is pure; struct env_file is the disk: main.c implements it, tests tear it. done() is
 * called before load() and put() return. Thread: the caller's. */

#ifndef CFGSVC_CFGSTORE_FILE_H
#define CFGSVC_CFGSTORE_FILE_H

#include "cfgsvc/ctrl.h"
#include "cfgsvc/svc.h"

#define CFGFILE_MAGIC 0x52474643u /* "CFGR" */
#define CFGFILE_VERSION 1u
#define CFGFILE_BYTES_MAX (4u << 20)

struct cfgfile_rec {
	uint32_t magic;
	uint32_t version;
	uint64_t rev;       /* F1; from 1 */
	uint32_t len_bytes; /* of the state that follows */
	uint32_t data_crc;
	uint64_t reserved;
	uint32_t reserved2;
	uint32_t hdr_crc; /* of the 36 bytes before it */
};
static_assert(sizeof(struct cfgfile_rec) == 40, "disk format");
static_assert(offsetof(struct cfgfile_rec, hdr_crc) == 36, "disk format");

/* One file. All return 0 or -errno; writes are durable when they return. */
struct env_file {
	/* The whole file into @buf; *ret_len 0 when there is no such file; -EFBIG beyond @cap. */
	int (*read)(struct env_file *f, void *buf, size_t cap, size_t *ret_len);
	/* Write @len bytes at @offset_bytes, which is where the file ends afterwards. */
	int (*append)(struct env_file *f, uint64_t offset_bytes, const void *bytes, size_t len);
	/* Make the file hold just @bytes: all or nothing, whenever the power goes. */
	int (*replace)(struct env_file *f, const void *bytes, size_t len);
};

struct cfgfile {
	struct cfgstore store;
	struct env_file *file;
	uint8_t *buf;       /* CFGFILE_BUF_BYTES: the file when loading, a record when writing */
	uint64_t rev;       /* of the newest record; 0: none */
	uint64_t end_bytes; /* where it ends */
	bool failed;        /* F4 */
	const char *why;    /* of the last failed load: static text */
};

#define CFGFILE_REC_BYTES_MAX (sizeof(struct cfgfile_rec) + CTRL_STATE_BYTES_MAX + 8)
#define CFGFILE_BUF_BYTES (CFGFILE_BYTES_MAX + CFGFILE_REC_BYTES_MAX)

struct arena;
size_t cfgfile_memory(void);
void cfgfile_init(struct cfgfile *c, struct env_file *file, struct arena *a);

/* Encode one record into @out (room for CFGFILE_REC_BYTES_MAX); returns its length. */
size_t cfgfile_encode(uint64_t rev, const void *bytes, size_t len_bytes, void *out);
/* What a file says. */
struct cfgfile_found {
	uint64_t rev;         /* 0: no record */
	const uint8_t *bytes; /* its state, within the file's bytes */
	size_t len_bytes;
	size_t end_bytes; /* where the next record goes */
};
/* 0, -EBADMSG for rot (F3), -EPROTONOSUPPORT for another version, with *ret_why. */
MUST_CHECK int cfgfile_scan(const void *file, size_t len_bytes, struct cfgfile_found *ret,
			    const char **ret_why);

#endif
