/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/uring.h"

#define NO_SANDBOX 99 /* exit status: the kernel lets no process filter its own system calls */
#define REGION_BYTES (4u << 20)

enum { PINNED = 1, NOT_PINNED = 2 };

/* What happened in a child process. */
struct outcome {
	int res;
	char text[IO_ERR_BYTES];
};

static struct outcome said; /* the child's, by the log or as the error */

static void note(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	snprintf(said.text, sizeof(said.text), "%s", line);
}

/* Run @fn in a process of its own: a filter and a dropped privilege cannot be taken back. */
static struct outcome in_child(void (*fn)(long arg1, long arg2), long arg1, long arg2)
{
	struct outcome got = {0};
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fn(arg1, arg2);
		_exit(write(ends[1], &said, sizeof(said)) == (ssize_t)sizeof(said) ? 0 : 1);
	}
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_SANDBOX) {
		print_message("no seccomp here\n");
		exit(77);
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(read(ends[0], &got, sizeof(got)), sizeof(got));
	close(ends[0]);
	return got;
}

static void open_reactor(void)
{
	struct reactor *r;

	said.res = reactor_open(&(struct reactor_config){0}, &r, said.text);
	if (said.res == 0)
		reactor_close(r);
}

/* As a container's profile does it: @nr fails with @error. */
static void open_filtered(long nr, long error)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = ARRAY_LEN(rules), .filter = rules};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(NO_SANDBOX);
	open_reactor();
}

static void test_uring_that_a_sandbox_forbids_is_said_at_start(void **state)
{
	static const long calls[] = {__NR_io_uring_setup, __NR_io_uring_enter,
				     __NR_io_uring_register};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
		struct outcome got = in_child(open_filtered, calls[i], EPERM);

		assert_int_equal(got.res, -EPERM);
		assert_non_null(strstr(got.text, "forbidden to this process"));
		assert_non_null(strstr(got.text, "io_uring_enter"));
		got = in_child(open_filtered, calls[i], ENOSYS);
		assert_int_equal(got.res, -ENOSYS);
		assert_non_null(strstr(got.text, "sandbox hides it"));
	}
}

static void test_uring_that_the_administrator_switched_off_names_the_switch(void **state)
{
	char err[IO_ERR_BYTES];

	/* The switch is the whole machine's: not turned here. */
	(void)state;
	uring_explain(-EPERM, 2, err);
	assert_non_null(strstr(err, "sysctl kernel.io_uring_disabled=0"));
	uring_explain(-EPERM, 1, err);
	assert_non_null(strstr(err, "kernel.io_uring_group"));
	uring_explain(-EMFILE, 0, err);
	assert_non_null(strstr(err, "ulimit -n"));
	uring_explain(-ENOMEM, 0, err);
	assert_non_null(strstr(err, "ulimit -l"));
}

/* Nobody may lock more than the limit, unless he is root. The limit counts what all processes of a
 * user lock, for a while after they ended too: so a user nobody else is. */
static void pin_within(long limit_bytes, long len_bytes)
{
	const uid_t uid = 1000000u + (uid_t)getpid();
	const struct rlimit limit = {.rlim_cur = (rlim_t)limit_bytes,
				     .rlim_max = (rlim_t)limit_bytes};
	struct reactor_config cfg = {.log = note};
	struct reactor *r;
	void *base = reactor_memory((size_t)len_bytes);

	if (!base || setrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
	    (geteuid() == 0 && setresuid(uid, uid, uid) < 0))
		_exit(1);
	said.res = reactor_open(&cfg, &r, said.text);
	if (said.res < 0)
		return;
	said.text[0] = '\0';
	reactor_region(r, base, (size_t)len_bytes);
	said.res = uring_region(r, base, 4096) == 0 ? PINNED : NOT_PINNED;
	reactor_close(r);
}

static void test_uring_buffers_beyond_the_memory_lock_limit_are_said_and_survived(void **state)
{
	struct outcome got = in_child(pin_within, REGION_BYTES / 2, REGION_BYTES);

	(void)state;
	if (got.res < 0) {
		print_message("%s\n", got.text);
		exit(77);
	}
	assert_int_equal(got.res, NOT_PINNED);
	assert_non_null(strstr(got.text, "4 MiB of buffers"));
	assert_non_null(strstr(got.text, "limit is 2048 KiB"));
	assert_non_null(strstr(got.text, "ulimit -l"));
	got = in_child(pin_within, 2 * REGION_BYTES, REGION_BYTES);
	assert_int_equal(got.res, PINNED);
	assert_string_equal(got.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uring_that_a_sandbox_forbids_is_said_at_start),
		cmocka_unit_test(test_uring_that_the_administrator_switched_off_names_the_switch),
		cmocka_unit_test(
			test_uring_buffers_beyond_the_memory_lock_limit_are_said_and_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
