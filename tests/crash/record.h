/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* record - everything one run of a store did to its disk, and everything its model was told, in
 * order: what crash images are cut from.
 *
 *	event 0 | event 1 | ... | event n     a write began or ended, a flush began or ended
 *	        m         m m   m             marks: what the caller asked for or was told meanwhile
 *
 *   N1  "cut t": the first t events have happened and no more; what the model was told up to event
 *       t holds
 *   N2  bytes of a write are copied when it begins and compared when it ends: nobody may change
 *       them in between
 *
 * One record is written by one disk (disk.h). Its bytes lie in the heap. One thread. */

#ifndef TESTS_CRASH_RECORD_H
#define TESTS_CRASH_RECORD_H

#include "tests/crash/image.h"
#include "tests/crash/model.h"
#include "tests/crash/plant.h"

#define RECORD_NEVER UINT32_MAX

enum event_kind {
	EVENT_WRITE,      /* .arg: index of the write; it began */
	EVENT_WRITTEN,    /* it ended */
	EVENT_DROPPED,    /* its process was killed before it reached the disk */
	EVENT_FLUSH,      /* a flush began */
	EVENT_FLUSHED,    /* .arg: the event where it began */
	EVENT_NO_FLUSH,   /* a flush ended that a plant made do nothing */
	EVENT_NEW_PROCESS /* the store is opened (again) */
};
struct event {
	enum event_kind kind;
	uint32_t arg;
};

struct write {
	uint32_t block, blocks; /* place on the disk */
	bool durable;           /* when it ends: DSYNC, or no volatile cache */
	bool forgotten;         /* PLANT_FORGET */
	enum region region;
	uint32_t ended;      /* event, or RECORD_NEVER */
	uint32_t began;      /* event */
	const uint8_t *data; /* blocks * BLOCK_BYTES */
	uint64_t *sums;      /* of each block */
};

struct record {
	struct image start;
	struct model start_model;
	struct event *event;
	struct write *write;
	struct mark *mark;
	uint32_t *mark_at; /* events that had happened */
	uint32_t events_n, writes_n, marks_n;
	uint32_t events_max, writes_max, marks_max; /* room */
};

void record_init(struct record *r);
void record_fini(struct record *r);
/* Empty, from @image and @model on. */
void record_start(struct record *r, const struct image *image, const struct model *model);
void record_event(struct record *r, enum event_kind kind, uint32_t arg);
void record_mark(struct record *r, const struct mark *k);
/* A write begins: @w without .ended, .sums and .data, whose bytes are copied from @data. Returns
 * its index. */
uint32_t record_write(struct record *r, struct heap *h, const struct write *w, const void *data);
void record_print(const struct record *r); /* to stderr */

#endif
