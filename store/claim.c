/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Between reading everything and the first write: the caller finds out whether this store is its
 * own. A disk of another cluster or server, a clone and an old copy stay as they are. */
#include <errno.h>
#include <string.h>

#include "store/recover.h"

/* C7. Which earlier start the configuration service knows is only certain when it was noted. All
 * that came later are kept as well; should there be too many, the oldest is forgotten, and a
 * service that knows just that one will refuse the disk: safe, and a matter of starts that all died
 * early. */
static void take_incarnation(struct disk_super *sb, const struct id128 *incarnation)
{
	if (sb->registered) {
		sb->previous = sb->incarnation;
		memset(sb->doubtful, 0, sizeof(sb->doubtful));
	} else if (!id128_is_none(&sb->incarnation)) {
		memmove(&sb->doubtful[1], &sb->doubtful[0],
			sizeof(sb->doubtful) - sizeof(sb->doubtful[0]));
		sb->doubtful[0] = sb->incarnation;
	}
	sb->registered = 0;
	sb->incarnation = *incarnation;
}

/* The superblock of this start, in memory. */
static void prepare_super(struct recovery *r)
{
	struct store *s = r->s;
	struct log *l = &s->log;

	l->durable = l->stable = l->lsn;
	log_settle(s);
	take_incarnation(&s->super, &r->incarnation);
	s->super.generation = MAX(s->super.generation, r->newest);
	s->super.start = MAX(s->super.start, l->start) + 1;
	if (l->count)
		env_logf(s->env, ENV_INFO, "store: replayed %u batches of the device log",
			 l->count);
}

int recovery_ask(struct recovery *r, bool *ret_wait)
{
	struct store_opened found;

	prepare_super(r);
	*ret_wait = r->validated != NULL;
	if (!r->validated)
		return 0;
	found = recovery_found(r);
	r->validated(r->arg, &found); /* it may claim the store before it returns */
	return 0;
}

void store_claim(struct store *s)
{
	CHECK(s->recovery != NULL);
	CHECK(s->recovery->phase == REC_ASK);
	recovery_go_on(s->recovery);
}

/* The answer may have taken long, and the lock does not hold where two devices show one disk: is
 * the superblock still the one that was read? */
int recovery_look_again(struct recovery *r, bool *ret_wait)
{
	const char *why;

	*ret_wait = r->validated && r->win_n == 0;
	if (*ret_wait)
		recovery_read_window(r, 0, 0, SUPER_REGION_BYTES / BLOCK_BYTES);
	for (unsigned i = 0; r->validated && !*ret_wait && i < SUPER_COPIES; i++) {
		const struct disk_super *sb = (const void *)(r->buf + super_offset_bytes(i));

		if (super_check(sb, r->s->disk->size_bytes, &why) == 0 &&
		    sb->generation > r->newest)
			return recovery_fail(r, -EBUSY,
					     "superblock: another daemon writes to this store: "
					     "stop that one first");
	}
	return 0;
}
