/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/cmd_source.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/arena.h"

#define NS_PER_S 1000000000ull
#define SHOW_TERMINAL_NS (NS_PER_S / 5)
#define SHOW_LOG_NS (5 * NS_PER_S)

static volatile sig_atomic_t stop_signal;

static void on_signal(int signo)
{
	stop_signal = signo;
}

bool source_stopped(void)
{
	return stop_signal != 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- reading ---- */

static int read_at(void *arg, uint64_t offset_bytes, void *to, uint32_t len_bytes)
{
	const struct source *s = arg;
	uint32_t got = 0;

	while (got < len_bytes) {
		ssize_t n = pread(s->fd, (uint8_t *)to + got, len_bytes - got,
				  (off_t)(s->base_bytes + offset_bytes + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		got += (uint32_t)n;
	}
	return 0;
}

static bool go_on(void *arg, const char *what, uint64_t at, uint64_t of)
{
	struct source *s = arg;
	uint64_t ns = now_ns();

	if (of && ns - s->shown_ns >= (s->terminal ? SHOW_TERMINAL_NS : SHOW_LOG_NS)) {
		fprintf(stderr, "%schaind: %s: reading %s, %u %%%s", s->terminal ? "\r\033[K" : "",
			s->path, what, (unsigned)(at * 100 / of), s->terminal ? "" : "\n");
		s->shown = s->terminal;
		s->shown_ns = ns;
	}
	return !source_stopped();
}

void source_quiet(struct source *s)
{
	if (s->shown)
		fputs("\r\033[K", stderr);
	s->shown = false;
}

void source_say(struct source *s, const char *text)
{
	source_quiet(s);
	fprintf(stderr, "chaind: %s: %s\n", s->path, text);
}

void source_slice(struct source *s, uint64_t base_bytes, uint64_t size_bytes)
{
	uint64_t left = s->size_bytes > base_bytes ? s->size_bytes - base_bytes : 0;

	s->base_bytes = base_bytes;
	s->disk.size_bytes = MIN(size_bytes, left);
}

struct inspect_slices source_slices(struct source *s, void *mem)
{
	static struct inspect_supers first;
	struct inspect in;
	struct arena a;
	int res;

	arena_init(&a, mem, inspect_bytes());
	inspect_init(&in, &s->disk, &a);
	res = inspect_supers(&in, &first);
	(void)res;
	return inspect_slices(&first, s->size_bytes);
}

/* ---- open ---- */

static const char *open_error(int res)
{
	switch (res) {
	case -ENOENT:
		return "not there: is the path right?";
	case -EACCES:
	case -EPERM:
		return "no permission to read it: run this as the user of the daemon, or as root";
	case -ENOTBLK:
		return "neither a file nor a block device";
	default:
		return strerror(-res);
	}
}

static int open_read_only(struct source *s, const char *path)
{
	struct stat st;
	off_t end;

	/* Without the page cache, as the daemon; an image in a file system that cannot is read as
	 * it is. */
	s->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
	if (s->fd < 0 && errno == EINVAL)
		s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -ENOTBLK;
	end = lseek(s->fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	s->size_bytes = (uint64_t)end / BLOCK_BYTES * BLOCK_BYTES;
	s->busy = flock(s->fd, LOCK_SH | LOCK_NB) < 0;
	return 0;
}

int source_open(struct source *s, const char *path, char err[IO_ERR_BYTES])
{
	const struct sigaction catch = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	int res;

	*s = (struct source){.path = path, .fd = -1};
	res = open_read_only(s, path);
	if (res < 0) {
		snprintf(err, IO_ERR_BYTES, "%s", open_error(res));
		source_close(s);
		return res;
	}
	s->disk = (struct inspect_disk){.read = read_at, .progress = go_on, .arg = s};
	source_slice(s, 0, s->size_bytes);
	s->terminal = isatty(STDERR_FILENO) == 1;
	s->shown_ns = now_ns();
	sigaction(SIGINT, &catch, NULL);
	sigaction(SIGTERM, &catch, NULL);
	return 0;
}

void source_close(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}
