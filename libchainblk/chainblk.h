/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chainblk - open a volume of a chainblk cluster and do I/O on it.
 *
 * A volume is an array of bytes, replicated on chains of storage daemons. Every frontend (the
 * tcmu-runner plugin, the nbdkit plugin, chainctl, your program) stands on this header.
 *
 *	struct chainblk_options opt = {.cfg = "127.0.0.1:7400", .volume = "vol0"};
 *	struct chainblk *vol;
 *	char err[CHAINBLK_ERR_BYTES];
 *
 *	if (chainblk_open(&opt, &vol, err) < 0) ...
 *	chainblk_write(vol, &iov, 1, 0, on_done, my_arg);     returns at once
 *	...
 *	chainblk_close(vol);
 *
 * What is promised:
 *
 *   L1  A write that completed with 0 is on stable media of every member of its chain. There is no
 *       volatile cache: flush and FUA cost nothing.
 *   L2  Per 4 KiB block, completed operations are linearizable across all clients of the volume.
 *       One call that spans several blocks or 4 MiB extents is not atomic as a whole.
 *   L3  Every submitted operation completes exactly once, in at most
 *       chainblk_options.deadline_ms plus the time of one loop turn, whatever fails.
 *   L4  Data that fails its checksum is never returned: the operation fails with -EBADMSG.
 *
 * Ownership: iovec arrays are copied by the call; the memory they point to belongs to the library
 * from the call until the completion function is entered.
 *
 * Threads: every function may be called from any thread, except that chainblk_close() must not be
 * called from a completion function. Completions and events run on the library's own loop thread
 * and must not block. A submit function never blocks and never calls the completion function
 * before it returns; when it returns an error the completion function is never called.
 *
 * Errors (negative errno, the same for returns and completions):
 *   -EINVAL     unaligned or overlong range, unknown flag
 *   -ENXIO      past the end of the volume
 *   -EAGAIN     too many operations queued in the library
 *   -ETIMEDOUT  deadline hit: the outcome is unknown
 *   -EILSEQ     compare-and-write: data differ (see chainblk_result.offset)
 *   -ENOENT     no such volume
 *   -ESHUTDOWN  the volume is being closed
 *   -ENOSPC     a store is full
 *   -EBADMSG    no good copy (medium error)
 *   -EROFS      fenced, or opened read-only
 *   -EIO        the chain failed the operation
 *   -ENOTCONN   no configuration service answers
 */

#ifndef CHAINBLK_H
#define CHAINBLK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAINBLK_API __attribute__((visibility("default")))

#define CHAINBLK_BLOCK_BYTES 4096u          /* unit of checksums, discard and atomicity */
#define CHAINBLK_SECTOR_BYTES 512u          /* smallest unit of read and write */
#define CHAINBLK_EXTENT_BYTES (4u << 20)    /* one extent lives on one chain */
#define CHAINBLK_IO_BYTES_MAX (32u << 20)   /* longest read or write in one call */
#define CHAINBLK_CAW_BYTES_MAX (8u * 4096u) /* longest compare-and-write */
#define CHAINBLK_QUEUE_MAX 1024u            /* operations in flight per open volume */
#define CHAINBLK_ERR_BYTES 256u             /* size of every error text buffer */
#define CHAINBLK_SERVERS_MAX 8u             /* members of one chain, in chainblk_where */

struct chainblk; /* an open volume */

enum chainblk_event_type {
	CHAINBLK_EVENT_RESIZED, /* .size_bytes is the new size; I/O up to it is possible now */
	CHAINBLK_EVENT_DELETED, /* the volume is gone; every further operation fails with -ENOENT */
	CHAINBLK_EVENT_STALLED, /* some lane has not answered for a second; .text says why */
	CHAINBLK_EVENT_RESUMED, /* all lanes answer again */
};

struct chainblk_event {
	enum chainblk_event_type type;
	uint64_t size_bytes;
	const char *text; /* one line for a person, valid during the call; never NULL */
};

struct chainblk_options {
	const char *cfg;      /* "host:port[,host:port...]" or "unix:/path" of cfgsvc; required */
	const char *volume;   /* name; required */
	bool read_only;       /* refuse every modifying call with -EROFS */
	uint32_t deadline_ms; /* per operation; 0 means the default of 20000 */
	uint32_t open_ms;     /* how long open may wait for cfgsvc; 0 means 5000 */
	const char *insecure_lab; /* NULL, or an address prefix such as "10.0.2.": plaintext is
				   * otherwise refused off loopback and unix sockets */
	void (*event)(void *arg, const struct chainblk_event *ev); /* may be NULL */
	void (*log)(void *arg, int level, const char *line);       /* syslog level; may be NULL */
	void *arg;                                                 /* passed to both */
};

struct chainblk_info {
	uint64_t size_bytes;
	uint64_t volume_id; /* unique in the cluster, never reused */
	uint8_t cluster_id[16];
	uint32_t lanes;        /* chains the volume is spread over */
	uint32_t sector_bytes; /* 512 or 4096: logical sector size the volume was created with */
	char name[64];
};

/* What an operation came to. */
struct chainblk_result {
	int status; /* 0 or a negative errno from the list above */
	uint32_t
		offset; /* -EILSEQ only: first differing byte, counted from the operation's start */
};

typedef void chainblk_done_fn(void *arg, const struct chainblk_result *res);

enum {                         /* flags of the modifying calls */
       CHAINBLK_FUA = 1u << 0, /* accepted everywhere, changes nothing: L1 */
};

/* Open @opt->volume. Blocks until the configuration is known, at most @opt->open_ms. On failure
 * @err holds one line naming the thing, the cause and the next step. */
CHAINBLK_API int chainblk_open(const struct chainblk_options *opt, struct chainblk **ret_vol,
			       char err[CHAINBLK_ERR_BYTES]);

/* Wait for everything in flight (at most the deadline), then release. NULL is allowed. */
CHAINBLK_API void chainblk_close(struct chainblk *vol);

/* Current size and identity; cheap, never blocks. */
CHAINBLK_API void chainblk_get_info(struct chainblk *vol, struct chainblk_info *ret_info);

/* Ranges of read and write are multiples of CHAINBLK_SECTOR_BYTES; the iovec's total is the length.
 */
CHAINBLK_API int chainblk_read(struct chainblk *vol, const struct iovec *iov, int iov_n,
			       uint64_t offset_bytes, chainblk_done_fn *done, void *arg);
CHAINBLK_API int chainblk_write(struct chainblk *vol, const struct iovec *iov, int iov_n,
				uint64_t offset_bytes, uint32_t flags, chainblk_done_fn *done,
				void *arg);

/* Completes when every write that completed before this call is durable: at once (L1). */
CHAINBLK_API int chainblk_flush(struct chainblk *vol, chainblk_done_fn *done, void *arg);

/* After it completes the whole blocks inside the range read as zero and use no space. The ragged
 * ends of a discard (less than CHAINBLK_BLOCK_BYTES) are left as they were; those of write_zeroes
 * are written with zeros. Length up to the whole volume. */
CHAINBLK_API int chainblk_discard(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
				  chainblk_done_fn *done, void *arg);
CHAINBLK_API int chainblk_write_zeroes(struct chainblk *vol, uint64_t offset_bytes,
				       uint64_t len_bytes, uint32_t flags, chainblk_done_fn *done,
				       void *arg);

/* Fill [offset, offset+len) with copies of the CHAINBLK_BLOCK_BYTES at @pattern. Both must be
 * multiples of CHAINBLK_BLOCK_BYTES. @pattern is copied by the call. */
CHAINBLK_API int chainblk_write_same(struct chainblk *vol, const void *pattern,
				     uint64_t offset_bytes, uint64_t len_bytes, uint32_t flags,
				     chainblk_done_fn *done, void *arg);

/* Atomically: if the range equals @cmp write @data there, else change nothing and complete with
 * -EILSEQ. @len_bytes is a multiple of CHAINBLK_SECTOR_BYTES, at most CHAINBLK_CAW_BYTES_MAX,
 * within one extent. Both buffers are copied by the call. */
CHAINBLK_API int chainblk_compare_write(struct chainblk *vol, const void *cmp, const void *data,
					uint32_t len_bytes, uint64_t offset_bytes, uint32_t flags,
					chainblk_done_fn *done, void *arg);

/* Which blocks hold data: bit i of @ret_present (allocated by the caller, (len/4096+7)/8 bytes, and
 * the library's until completion) is set when block i of the range is present. Range: multiples of
 * CHAINBLK_BLOCK_BYTES, at most 64 extents. */
CHAINBLK_API int chainblk_present(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
				  uint8_t *ret_present, chainblk_done_fn *done, void *arg);

/* Where the extent that holds @offset_bytes lives, head first. */
struct chainblk_where {
	uint32_t chain;
	uint64_t epoch;
	uint32_t servers_n;
	struct {
		uint32_t id;
		char name[32];
	} servers[CHAINBLK_SERVERS_MAX];
};
CHAINBLK_API int chainblk_where(struct chainblk *vol, uint64_t offset_bytes,
				struct chainblk_where *ret_where);

/* One word and meaning for each negative errno above, for people: "no space on a store". */
CHAINBLK_API const char *chainblk_strerror(int status);

#ifdef __cplusplus
}
#endif

#endif
