/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* env - everything the pure core may ask of the world: clock, randomness, timers, disk, network,
 * log.
 *
 * io/ implements it with io_uring, sim/ with a virtual world; the core cannot tell which. Rules
 * both keep:
 *
 *   E1  No callback is entered from within a call of the core into env: completions, frames and
 *       timers always come from the event loop. Exception: none.
 *   E2  Every disk_io and every connection gets exactly one final callback (done, closed).
 *   E3  Frames sent on one connection arrive in order, whole, or the connection closes. After
 *       closed() no callback of that connection follows; after env_close() by its user none at all.
 *   E4  defer() tasks run after the current batch of events, before the loop blocks: the place to
 *       send what was gathered (tokens, confirms) in one message.
 *
 * Ownership: env_timer, env_task and disk_io are embedded by the user and belong to env from
 * arm/defer/submit until they fire, are cancelled or complete. Thread: the loop's. */

#ifndef LIB_ENV_H
#define LIB_ENV_H

#include "lib/limits.h"
#include "lib/list.h"

struct frame;
struct env;

struct env_timer {
	struct list link; /* env's */
	uint64_t at_ns;   /* env's: when it fires, on env_now_ns()'s clock */
	void (*fn)(struct env_timer *t);
	bool armed;
	uint32_t heap_pos; /* env's */
};

struct env_task {
	struct list link; /* env's */
	void (*fn)(struct env_task *t);
	bool queued;
};

/* ---- disk: one store each ---- */

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH };

struct disk_io {
	struct list link; /* env's */
	enum disk_op op;
	bool dsync;            /* WRITE: durable when done (RWF_DSYNC); else volatile until a FLUSH
				* that was submitted after it completed */
	uint64_t offset_bytes; /* multiple of BLOCK_BYTES */
	uint32_t len_bytes;    /* multiple of BLOCK_BYTES, at most DISK_IO_BYTES_MAX; 0 for FLUSH */
	void *data;            /* BLOCK_BYTES aligned, the user's until done */
	void (*done)(struct disk_io *io, int res); /* 0, or -errno; a short transfer is -EIO */
	void *env_priv;                            /* env's */
};

#define DISK_IO_BYTES_MAX ((1u << 20) + (64u << 10))

struct env_disk {
	uint64_t size_bytes;
	bool volatile_cache; /* false: every write is durable when done (printed at start) */
	void (*submit)(struct env_disk *d, struct disk_io *io);
};

/* ---- network: framed connections ---- */

struct env_conn; /* opaque; env's */

struct conn_events {
	/* An outgoing connection is established (never called for accepted ones). */
	void (*opened)(struct env_conn *c, void *owner);
	/* One validated frame (wire_hdr_check and CRCs passed). The callee must frame_ref() to keep
	 * it. */
	void (*frame)(struct env_conn *c, void *owner, struct frame *f);
	/* Gone: peer closed, reset, refused, protocol error. @why is a static one-line text, @err a
	 * negative errno (-ECONNRESET, -ECONNREFUSED, -EPROTO, -EBADMSG, -ETIMEDOUT, ...). */
	void (*closed)(struct env_conn *c, void *owner, int err, const char *why);
};

enum env_log_level { ENV_ERR = 3, ENV_WARN = 4, ENV_INFO = 6, ENV_DEBUG = 7 }; /* syslog's */

struct env {
	uint64_t (*now_ns)(struct env *e); /* monotonic; never 0 */
	uint64_t (*random_u64)(struct env *e);
	/* Re-arming moves it; cancelling is fine when not armed, deferring when queued. */
	void (*timer_arm)(struct env *e, struct env_timer *t, uint64_t at_ns);
	void (*timer_cancel)(struct env *e, struct env_timer *t);
	void (*defer)(struct env *e, struct env_task *t);
	void (*log)(struct env *e, int level, const char *line);
	/* Start connecting to "host:port" or "unix:/path". NULL only when connections are exhausted
	 * or the address is refused (plaintext off loopback): a named reason was logged. */
	struct env_conn *(*connect)(struct env *e, const char *addr, const struct conn_events *ev,
				    void *owner);
	/* Take over an accepted connection handed in by the shell: all further events go to @ev. */
	void (*attach)(struct env *e, struct env_conn *c, const struct conn_events *ev,
		       void *owner);
	/* Queue @f; env takes its own reference and fills in header CRCs. Never blocks, never
	 * fails: on a connection that is closing the frame is dropped. */
	void (*send)(struct env *e, struct env_conn *c, struct frame *f);
	/* Bytes queued and not yet handed to the kernel (or virtual wire): for back-pressure. */
	uint32_t (*send_queue_bytes)(struct env *e, struct env_conn *c);
	/* Flush what is queued if it can be done at once, then close; no callback follows. */
	void (*close)(struct env *e, struct env_conn *c);
};

/* Log a formatted line (<= 511 bytes), prefixing nothing. */
void env_logf(struct env *e, int level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
