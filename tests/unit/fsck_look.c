/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fsck_look.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/arena.h"
#include "tests/unit/fake_env.h"

static int read_image(void *arg, uint64_t offset_bytes, void *to, uint32_t len_bytes)
{
	struct fsck_look *l = arg;

	CHECK(offset_bytes % BLOCK_BYTES == 0 && len_bytes % BLOCK_BYTES == 0);
	CHECK((uintptr_t)to % BLOCK_BYTES == 0);
	CHECK(len_bytes <= l->image_bytes && offset_bytes <= l->image_bytes - len_bytes);
	l->reads_n++;
	if (l->bad_block && l->bad_block >= offset_bytes && l->bad_block - offset_bytes < len_bytes)
		return -EIO;
	memcpy(to, l->image + offset_bytes, len_bytes);
	return 0;
}

static bool go_on(void *arg, const char *what, uint64_t at, uint64_t of)
{
	struct fsck_look *l = arg;

	CHECK(what != NULL && at <= of);
	return ++l->progress_n != l->stop_at;
}

static void found(void *arg, const struct fsck_finding *f)
{
	struct fsck_look *l = arg;
	struct fsck_look_finding *to;

	CHECK(f->verdict != FSCK_CLEAN && f->text[0] && f->next[0]);
	/* There is no command for it: whoever is told so is told where to read on. */
	CHECK(!strstr(f->next, "copied anew") ||
	      strstr(f->next, "\"A replica that must be copied anew\" in docs/OPERATIONS.md"));
	if (l->findings_n++ >= FSCK_LOOK_FINDINGS)
		return;
	to = &l->finding[l->findings_n - 1];
	to->verdict = f->verdict;
	to->offset_bytes = f->offset_bytes;
	snprintf(to->kind, sizeof(to->kind), "%s", f->kind);
	snprintf(to->text, sizeof(to->text), "%s", f->text);
}

enum fsck_verdict fsck_look(struct fsck_look *l)
{
	const struct inspect_disk disk = {
		.read = read_image, .progress = go_on, .arg = l, .size_bytes = l->image_bytes};
	const struct fsck_config cfg = {.disk = &disk, .quick = l->quick, .found = found, .arg = l};
	void *begin = fake_memory(fsck_begin_bytes()), *run;
	struct arena a;
	struct fsck *f;

	l->findings_n = 0;
	l->progress_n = l->reads_n = 0;
	l->why = "";
	arena_init(&a, begin, fsck_begin_bytes());
	l->res = fsck_begin(&cfg, &a, &f, &l->why);
	fsck_result(f, &l->result);
	if (l->res == 0) {
		size_t bytes = fsck_run_bytes(f);

		run = fake_memory(bytes);
		arena_init(&a, run, bytes);
		l->res = fsck_run(f, &a, &l->result);
		fake_memory_free(run, bytes);
	}
	fake_memory_free(begin, fsck_begin_bytes());
	return l->result.verdict;
}

const struct fsck_look_finding *fsck_look_for(const struct fsck_look *l, const char *kind)
{
	for (unsigned i = 0; i < MIN(l->findings_n, FSCK_LOOK_FINDINGS); i++)
		if (strcmp(l->finding[i].kind, kind) == 0)
			return &l->finding[i];
	return NULL;
}

void fsck_look_print(const struct fsck_look *l)
{
	fprintf(stderr, "fsck: %s, %u findings %s\n", fsck_verdict_name(l->result.verdict),
		l->findings_n, l->why);
	for (unsigned i = 0; i < MIN(l->findings_n, FSCK_LOOK_FINDINGS); i++)
		fprintf(stderr, "  %s (%s): %s\n", fsck_verdict_name(l->finding[i].verdict),
			l->finding[i].kind, l->finding[i].text);
}
