/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <inttypes.h>

#include "store/recover.h"

/* What a long open says (V4). Asked before every transfer: what the disk does not answer has no
 * progress. */

#define PROGRESS_NS 1000000000ull

/* Those that read as much as there is. */
static const char *const phase_name[REC_PAGES + 1] = {
	[REC_CKPT] = "checkpoint",
	[REC_RECORDS] = "page records",
	[REC_WALK] = "finding the end of the device log",
	[REC_PROVE] = "checking its last batches",
	[REC_SCAN] = "looking for rot behind its end",
	[REC_MARKS] = "finding what is committed",
	[REC_REPLAY] = "replaying the device log",
	[REC_PAGES] = "checking pages of the last writes"};

static void tell(const struct recovery *r, uint64_t percent)
{
	env_logf(r->s->env, ENV_INFO, "store: opening, step %d of %d: %s: %" PRIu64 " %%",
		 (int)r->phase, REC_PAGES, phase_name[r->phase], percent);
}

void recovery_progress(struct recovery *r, uint64_t at, uint64_t of)
{
	uint64_t now = r->s->env->now_ns(r->s->env);

	if (now - r->told_ns < PROGRESS_NS || of == 0)
		return;
	r->told_ns = now;
	r->told = true;
	tell(r, at * 100 / of);
}

void recovery_log_progress(struct recovery *r)
{
	const struct log *l = &r->s->log;
	uint32_t rest = l->blocks - l->used;

	if (r->phase == REC_WALK)
		recovery_progress(r, l->used, l->blocks);
	else if (r->phase == REC_SCAN)
		recovery_progress(r, rest - r->left, rest);
	else
		recovery_progress(r, r->at, l->count);
}

void recovery_progress_end(struct recovery *r)
{
	if (r->told)
		tell(r, 100);
	r->told = false;
}
