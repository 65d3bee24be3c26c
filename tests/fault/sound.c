/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/sound.h"

/* Did the disk hold back or change what was read, for good? Then blocks that were moved meanwhile
 * are lost here, unless there was a neighbour. */
static bool loses_blocks(const struct life *l)
{
	const struct fault_plan *p = l->plan;

	return p->fired && p->class == FAULT_READ && !l->neighbour &&
	       (p->persistent || p->kind == FAULT_SECTOR || p->kind == FAULT_ROT);
}

void sound_heal(struct life *l)
{
	l->blocks_lost = loses_blocks(l);
	fault_disk_heal(&l->disk);
	l->plan = &l->own_plan;
	l->own_plan = (struct fault_plan){0};
	l->over = false;
	if (l->formatted)
		return;
	/* Formatting was cut off: what is there may be a store or not, but must not be worse. */
	l->damaged = true;
	life_open(l);
	life_verify(l);
	life_close(l);
	l->damaged = l->over = false;
	life_format(l);
}

void sound_expect(struct life *l, bool through)
{
	for (unsigned i = 0; i < LIFE_CHAINS + 1; i++)
		l->chain[i].stuck = false;
	life_open(l);
	life_verify(l);
	for (uint32_t c = 1; c <= LIFE_CHAINS; c++)
		life_write(l, c, 0, c, 3);
	life_sync(l);
	life_commit(l, 1);
	if (through) {
		life_rest(l);
		life_read(l, 1, 0, 0, 8, false);
	}
	life_close(l);
	if (through) {
		life_open(l);
		life_verify(l);
		life_close(l);
	}
	CHECK(!l->over);
}
