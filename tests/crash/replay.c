/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/life.h"
#include "tests/crash/seq.h"

struct step {
	uint32_t at;
	struct pick pick;
};

/* "@37:torn2/5:all"; returns how many, or 0. */
static unsigned parse_steps(const char *s, struct step ret[HUNT_LEVELS])
{
	unsigned n = 0;

	while (*s) {
		char *end;

		if (n == HUNT_LEVELS || *s != (n ? '/' : '@'))
			return 0;
		ret[n].at = (uint32_t)strtoul(s + 1, &end, 10);
		if (end == s + 1 || *end != ':')
			return 0;
		s = end + 1;
		if (!pick_parse(&s, &ret[n++].pick))
			return 0;
	}
	return n;
}

/* Level 0's record of the run named @name. */
static int record_run(struct hunt *h, const char *name)
{
	static struct life life;
	unsigned long long seed;
	unsigned generation;
	struct seq q;

	if (seq_parse(name, &q)) {
		if (!seq_init(h) || seq_record(h, &q) == RECORD_NEVER)
			return 0;
		hunt_begin(h, 0);
		return 1;
	}
	if (sscanf(name, "life:%llu:%u", &seed, &generation) != 2)
		return -EINVAL;
	if (!life_start(&life, h, seed))
		return 0;
	while (life_record(&life)) {
		if (life.generation == generation)
			return 1;
		life_cut(&life);
	}
	return 0;
}

int replay(struct hunt *h, const char *name)
{
	const char *where = strchr(name, '@');
	struct step steps[HUNT_LEVELS];
	unsigned n = where ? parse_steps(where, steps) : 0;
	int res;

	if (where && n == 0)
		return -EINVAL;
	h->replaying = true;
	res = record_run(h, name);
	if (res <= 0)
		return res;
	record_print(&h->level[0].rec);
	for (unsigned i = 0; i < n; i++) {
		if (steps[i].at > h->level[i].rec.events_n)
			return -EINVAL;
		if (i + 1 == n)
			hunt_state(h, i, steps[i].at, &steps[i].pick);
		else if (!hunt_descend(h, steps[i].at, &steps[i].pick))
			break;
		else
			record_print(&h->level[i + 1].rec);
	}
	return 0;
}
