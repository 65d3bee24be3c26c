/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_out - one text for two readers: the same calls print JSON or lines for people.
 *
 *	out_open "log"; out_u64 "batches" 3; out_list "ends"; out_item; out_text "why" "torn"; ...
 *
 *	{"log": {"batches": 3,           log:
 *	  "ends": [{"why": "torn"}]}}      batches: 3
 *	                                   ends:
 *	                                     why torn
 *
 * Written as it comes, so a list may be longer than memory. Objects inside of objects have names,
 * those of a list have none and are one line for people. Texts are ours or validated: what JSON
 * cannot hold is escaped. One thread. */

#ifndef CHAIND_CMD_OUT_H
#define CHAIND_CMD_OUT_H

#include <stdio.h>

#include "lib/base.h"

#define OUT_DEPTH_MAX 8u

enum out_kind { OUT_OBJECT, OUT_LIST, OUT_ROW }; /* OUT_ROW: an object of a list */
struct out {
	FILE *file;
	bool json;
	unsigned depth;
	struct out_level {
		enum out_kind kind;
		bool any;    /* something is in it */
		bool broken; /* OUT_ROW, for people: its line is ended, lists follow */
	} level[OUT_DEPTH_MAX];
};

void out_begin(struct out *o, FILE *file, bool json); /* the outermost object */
void out_end(struct out *o);
void out_open(struct out *o, const char *name);
void out_list(struct out *o, const char *name);
void out_row(struct out *o);
void out_close(struct out *o); /* the innermost of those */

void out_u64(struct out *o, const char *name, uint64_t n);
void out_bool(struct out *o, const char *name, bool is);
void out_text(struct out *o, const char *name, const char *text);
void out_numbers(struct out *o, const char *name, const uint32_t *v, uint32_t n);
void out_hex(struct out *o, const char *name, uint64_t n, unsigned digits);
void out_id(struct out *o, const char *name, const struct id128 *id);
void out_null(struct out *o, const char *name);

#endif
