/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Setting up the ring, and finding out at start whether it can be used at all: a kernel can be too
 * old, an administrator may have switched io_uring off, and sandboxes hide any of its three system
 * calls. Each of these has another way out, so each has its own words. */

#include "io/uring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define DISABLED_PATH "/proc/sys/kernel/io_uring_disabled"

static int ring_init(struct reactor *r, uint32_t entries)
{
	static const unsigned wanted[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
					  IORING_SETUP_COOP_TASKRUN, 0};
	int res = -EINVAL;

	for (unsigned i = 0; i < ARRAY_LEN(wanted) && res == -EINVAL; i++) {
		struct io_uring_params p = {.flags = wanted[i] | IORING_SETUP_CQSIZE,
					    .cq_entries = entries * URING_CQES_PER_ENTRY};

		res = io_uring_queue_init_params(entries, &r->ring, &p);
		if (res < 0)
			continue;
		r->defer_taskrun = (wanted[i] & IORING_SETUP_DEFER_TASKRUN) != 0;
		if (!(p.features & IORING_FEAT_NODROP) || !(p.features & IORING_FEAT_EXT_ARG)) {
			io_uring_queue_exit(&r->ring);
			return -ENOSYS;
		}
	}
	return res;
}

/* Both other system calls, used once: io_uring_register asks for what the kernel can do,
 * io_uring_enter does nothing and waits for it. */
static int ring_test(struct reactor *r)
{
	static const int needed[] = {IORING_OP_READ,        IORING_OP_WRITE,  IORING_OP_READ_FIXED,
				     IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,  IORING_OP_RECV,
				     IORING_OP_SENDMSG,     IORING_OP_ACCEPT, IORING_OP_CONNECT,
				     IORING_OP_ASYNC_CANCEL};
	union {
		struct io_uring_probe probe;
		uint8_t room[sizeof(struct io_uring_probe) +
			     256 * sizeof(struct io_uring_probe_op)];
	} asked;
	struct io_uring_cqe *cqe;
	int res;

	memset(&asked, 0, sizeof(asked));
	res = io_uring_register_probe(&r->ring, &asked.probe, 256);
	if (res < 0)
		return res;
	for (unsigned i = 0; i < ARRAY_LEN(needed); i++)
		if (!io_uring_opcode_supported(&asked.probe, needed[i]))
			return -ENOSYS;
	io_uring_prep_nop(io_uring_get_sqe(&r->ring));
	res = io_uring_submit_and_wait(&r->ring, 1);
	if (res < 0)
		return res;
	res = io_uring_wait_cqe(&r->ring, &cqe);
	if (res == 0)
		io_uring_cqe_seen(&r->ring, cqe);
	return res;
}

/* The sysctl, or 0 where the kernel has none. */
static int disabled_level(void)
{
	FILE *f = fopen(DISABLED_PATH, "re");
	char text[16] = "0";

	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = '0';
	fclose(f);
	return text[0] - '0';
}

void uring_explain(int res, int disabled, char err[IO_ERR_BYTES])
{
	if (disabled == 2)
		snprintf(err, IO_ERR_BYTES,
			 "io_uring: switched off on this machine (kernel.io_uring_disabled is 2): "
			 "switch it on: sysctl kernel.io_uring_disabled=0");
	else if (disabled == 1 && res == -EPERM)
		snprintf(err, IO_ERR_BYTES,
			 "io_uring: switched off for this user (kernel.io_uring_disabled is 1): "
			 "sysctl kernel.io_uring_disabled=0, or put the user into the group that "
			 "kernel.io_uring_group names");
	else if (res == -EPERM || res == -EACCES)
		snprintf(err, IO_ERR_BYTES,
			 "io_uring: forbidden to this process, not to the machine: a container or "
			 "unit filters system calls: allow io_uring_setup, io_uring_enter and "
			 "io_uring_register there (seccomp profile)");
	else if (res == -ENOSYS)
		snprintf(
			err, IO_ERR_BYTES,
			"io_uring: this kernel has none that is new enough, or a sandbox hides it: "
			"use Linux 6.1 or later, or allow io_uring_setup, io_uring_enter and "
			"io_uring_register in the seccomp profile");
	else if (res == -ENOMEM)
		snprintf(err, IO_ERR_BYTES,
			 "io_uring: no memory for its queues: raise the memory lock limit "
			 "(ulimit -l), or free memory");
	else if (res == -EMFILE || res == -ENFILE)
		snprintf(err, IO_ERR_BYTES,
			 "io_uring: too many open files: raise the limit (ulimit -n)");
	else
		snprintf(err, IO_ERR_BYTES, "io_uring: cannot be set up: %s", strerror(-res));
}

int uring_open(struct reactor *r, uint32_t entries, char err[IO_ERR_BYTES])
{
	int res = ring_init(r, entries);

	if (res == 0) {
		res = ring_test(r);
		if (res < 0)
			io_uring_queue_exit(&r->ring);
	}
	if (res < 0)
		uring_explain(res, disabled_level(), err);
	return res;
}

static void explain_region(struct reactor *r, size_t len_bytes, int res)
{
	struct rlimit limit;

	if (res == -ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		env_logf(&r->env, ENV_WARN,
			 "io: %zu MiB of buffers are not registered with the kernel, the memory "
			 "lock limit is %llu KiB: I/O works, a little slower; raise it (ulimit -l, "
			 "LimitMEMLOCK= of the unit)",
			 len_bytes >> 20, (unsigned long long)limit.rlim_cur >> 10);
	else
		env_logf(&r->env, ENV_WARN,
			 "io: %zu MiB of buffers are not registered with the kernel (%s): I/O "
			 "works, a little slower",
			 len_bytes >> 20, strerror(-res));
}

void reactor_region(struct reactor *r, void *base, size_t len_bytes)
{
	int res;

	CHECK(r->regions_n < REACTOR_REGIONS_MAX);
	if (r->regions_pinned)
		io_uring_unregister_buffers(&r->ring);
	r->regions[r->regions_n++] = (struct iovec){.iov_base = base, .iov_len = len_bytes};
	res = io_uring_register_buffers(&r->ring, r->regions, r->regions_n);
	r->regions_pinned = res == 0;
	if (res < 0)
		explain_region(r, len_bytes, res);
}
