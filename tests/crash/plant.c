/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/plant.h"

#include <stdio.h>
#include <string.h>

#include "store/format.h"

static const struct plant plants[] = {
	{"log_dsync", PLANT_DSYNC, REGION_LOG},
	{"pages_dsync", PLANT_DSYNC, REGION_PAGES},
	{"super_flush", PLANT_FLUSH, REGION_SUPER},
	{"ckpt_flush", PLANT_FLUSH, REGION_CKPT},
	{"ckpt_forgotten", PLANT_FORGET, REGION_CKPT},
	{"recs_forgotten", PLANT_FORGET, REGION_RECS},
	{"pages_forgotten", PLANT_FORGET, REGION_PAGES},
};

const struct plant *plant_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(plants); i++)
		if (strcmp(plants[i].name, name) == 0)
			return &plants[i];
	return NULL;
}

void plant_list(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(plants); i++)
		puts(plants[i].name);
}

int region_map_init(struct region_map *m, uint64_t disk_bytes, uint64_t log_bytes)
{
	struct store_layout l;
	const char *why;
	int res = format_layout(disk_bytes, log_bytes, 0, &l, &why);

	if (res)
		return res;
	m->end_bytes[REGION_SUPER] = l.log_offset_bytes;
	m->end_bytes[REGION_LOG] = l.ckpt_offset_bytes;
	m->end_bytes[REGION_CKPT] = l.recs_offset_bytes;
	m->end_bytes[REGION_RECS] = l.pages_offset_bytes;
	m->end_bytes[REGION_PAGES] = disk_bytes;
	return 0;
}

enum region region_of(const struct region_map *m, uint64_t offset_bytes)
{
	enum region r = REGION_SUPER;

	while (r + 1 < REGION_END && offset_bytes >= m->end_bytes[r])
		r++;
	return r;
}

const char *region_name(enum region r)
{
	static const char *const names[REGION_END] = {"super", "log", "ckpt", "recs", "pages"};

	return r < REGION_END ? names[r] : "?";
}
