/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "cfgsvc/cfgstore_file.h"

#include <errno.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/crc.h"

#define REC_BYTES sizeof(struct cfgfile_rec)
#define HDR_CRC_BYTES offsetof(struct cfgfile_rec, hdr_crc)

static size_t padded(size_t len_bytes)
{
	return (len_bytes + 7) / 8 * 8;
}

size_t cfgfile_encode(uint64_t rev, const void *bytes, size_t len_bytes, void *out)
{
	struct cfgfile_rec r = {
		.magic = CFGFILE_MAGIC,
		.version = CFGFILE_VERSION,
		.rev = rev,
		.len_bytes = (uint32_t)len_bytes,
		.data_crc = crc32c(0, bytes, len_bytes),
	};
	uint8_t *at = out;

	CHECK(rev > 0);
	CHECK(len_bytes <= CTRL_STATE_BYTES_MAX);
	r.hdr_crc = crc32c(0, &r, HDR_CRC_BYTES);
	memcpy(at, &r, REC_BYTES);
	memcpy(at + REC_BYTES, bytes, len_bytes);
	memset(at + REC_BYTES + len_bytes, 0, padded(len_bytes) - len_bytes);
	return REC_BYTES + padded(len_bytes);
}

/* A header that is whole, whatever follows it. */
static bool hdr_at(const uint8_t *file, size_t len_bytes, size_t at, struct cfgfile_rec *ret)
{
	if (len_bytes - at < REC_BYTES)
		return false;
	memcpy(ret, file + at, REC_BYTES);
	return ret->magic == CFGFILE_MAGIC && ret->hdr_crc == crc32c(0, ret, HDR_CRC_BYTES);
}

static bool rec_at(const uint8_t *file, size_t len_bytes, size_t at, struct cfgfile_rec *ret)
{
	if (!hdr_at(file, len_bytes, at, ret) || ret->len_bytes > CTRL_STATE_BYTES_MAX)
		return false;
	return len_bytes - at - REC_BYTES >= padded(ret->len_bytes) &&
	       ret->data_crc == crc32c(0, file + at + REC_BYTES, ret->len_bytes);
}

/* F3: is there a header of a later record anywhere behind @at? Looked for at every byte, because
 * the length that would lead to it may be what rotted. */
static bool later_record(const uint8_t *file, size_t len_bytes, size_t at, uint64_t rev)
{
	struct cfgfile_rec r;

	for (size_t i = at + 1; i + REC_BYTES <= len_bytes; i++)
		if (hdr_at(file, len_bytes, i, &r) && r.rev > rev)
			return true;
	return false;
}

int cfgfile_scan(const void *file, size_t len_bytes, struct cfgfile_found *ret,
		 const char **ret_why)
{
	struct cfgfile_found found = {0};
	const uint8_t *bytes = file;
	struct cfgfile_rec r;

	while (rec_at(bytes, len_bytes, found.end_bytes, &r)) {
		if (r.version != CFGFILE_VERSION) {
			*ret_why = "configuration file: written by another version of cfgsvc";
			return -EPROTONOSUPPORT;
		}
		if (found.rev != 0 && r.rev != found.rev + 1) {
			*ret_why = "configuration file: damaged: a revision is missing";
			return -EBADMSG;
		}
		found.rev = r.rev;
		found.bytes = bytes + found.end_bytes + REC_BYTES;
		found.len_bytes = r.len_bytes;
		found.end_bytes += REC_BYTES + padded(r.len_bytes);
	}
	if (later_record(bytes, len_bytes, found.end_bytes, found.rev)) {
		*ret_why = "configuration file: damaged in the middle: restore it from a copy";
		return -EBADMSG;
	}
	/* The first record is written by replace(), so it is never torn: bytes and no record are no
	 * configuration of ours, or one that has rotted. Starting a new cluster over it would be
	 * wrong. */
	if (found.rev == 0 && len_bytes > 0) {
		*ret_why = "configuration file: damaged, or not a configuration of chainblk's";
		return -EBADMSG;
	}
	*ret = found;
	return 0;
}

static struct cfgfile *cfgfile_of(struct cfgstore *s)
{
	return CONTAINER_OF(s, struct cfgfile, store);
}

static void load(struct cfgstore *s,
		 void (*done)(void *arg, int res, const void *bytes, size_t len, uint64_t rev),
		 void *arg)
{
	struct cfgfile *c = cfgfile_of(s);
	struct cfgfile_found found = {0};
	size_t len = 0;
	int rc = c->file->read(c->file, c->buf, CFGFILE_BUF_BYTES, &len);

	if (rc < 0)
		c->why = "configuration file: cannot be read";
	else
		rc = cfgfile_scan(c->buf, len, &found, &c->why);
	if (rc < 0) {
		c->failed = true;
		done(arg, rc, NULL, 0, 0);
		return;
	}
	c->rev = found.rev;
	c->end_bytes = found.end_bytes;
	done(arg, 0, found.bytes, found.len_bytes, found.rev);
}

static int write_record(struct cfgfile *c, const void *bytes, size_t len_bytes)
{
	size_t rec = cfgfile_encode(c->rev + 1, bytes, len_bytes, c->buf);
	bool fresh = c->rev == 0 || c->end_bytes + rec > CFGFILE_BYTES_MAX;
	int rc = fresh ? c->file->replace(c->file, c->buf, rec)
		       : c->file->append(c->file, c->end_bytes, c->buf, rec);

	if (rc < 0) {
		c->failed = true;
		return rc;
	}
	c->rev++;
	c->end_bytes = (fresh ? 0 : c->end_bytes) + rec;
	return 0;
}

static void put(struct cfgstore *s, uint64_t rev, const void *bytes, size_t len_bytes,
		void (*done)(void *arg, int res), void *arg)
{
	struct cfgfile *c = cfgfile_of(s);

	if (c->failed)
		done(arg, -EIO);
	else if (rev != c->rev)
		done(arg, -ESTALE);
	else
		done(arg, write_record(c, bytes, len_bytes) < 0 ? -EIO : 0);
}

size_t cfgfile_memory(void)
{
	return arena_cost(CFGFILE_BUF_BYTES, ARENA_ALIGN);
}

void cfgfile_init(struct cfgfile *c, struct env_file *file, struct arena *a)
{
	*c = (struct cfgfile){
		.store = {.load = load, .put = put},
		.file = file,
		.buf = arena_alloc(a, CFGFILE_BUF_BYTES, ARENA_ALIGN),
	};
}
