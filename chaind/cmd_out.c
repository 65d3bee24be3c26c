/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/cmd_out.h"

#include <inttypes.h>

static struct out_level *level(struct out *o)
{
	return &o->level[o->depth];
}

/* For people, the outermost object is not indented. */
static void indent(struct out *o)
{
	for (unsigned i = 1; i < o->depth; i++)
		fputs("  ", o->file);
}

static void quoted(struct out *o, const char *text)
{
	fputc('"', o->file);
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fprintf(o->file, "\\%c", *c);
		else if ((unsigned char)*c < 0x20)
			fprintf(o->file, "\\u%04x", (unsigned char)*c);
		else
			fputc(*c, o->file);
	}
	fputc('"', o->file);
}

/* What comes before any member of the innermost object or list. */
static void member(struct out *o, const char *name)
{
	struct out_level *l = level(o);

	if (o->json) {
		if (l->any)
			fputs(l->kind == OUT_LIST ? ",\n" : ", ", o->file);
		if (name) {
			quoted(o, name);
			fputs(": ", o->file);
		}
	} else if (name && l->kind == OUT_ROW && !l->broken) {
		if (l->any)
			fputs("  ", o->file);
		fprintf(o->file, "%s ", name);
	} else if (name) {
		indent(o);
		if (o->depth)
			fputs("  ", o->file);
		fprintf(o->file, "%s:", name);
	}
	l->any = true;
}

/* The same for a value, which follows on the same line. */
static void value(struct out *o, const char *name)
{
	const struct out_level *l = level(o);

	member(o, name);
	if (!o->json && (l->kind != OUT_ROW || l->broken))
		fputc(' ', o->file);
}

static void value_end(struct out *o)
{
	const struct out_level *l = level(o);

	if (!o->json && (l->kind != OUT_ROW || l->broken))
		fputc('\n', o->file);
}

static void push(struct out *o, enum out_kind kind)
{
	CHECK(o->depth + 1 < OUT_DEPTH_MAX);
	o->depth++;
	*level(o) = (struct out_level){.kind = kind};
	if (o->json)
		fputc(kind == OUT_LIST ? '[' : '{', o->file);
}

void out_begin(struct out *o, FILE *file, bool json)
{
	*o = (struct out){.file = file, .json = json};
	if (json)
		fputc('{', file);
}

void out_end(struct out *o)
{
	CHECK(o->depth == 0);
	if (o->json)
		fputs("}\n", o->file);
}

static void open_named(struct out *o, const char *name, enum out_kind kind)
{
	struct out_level *l = level(o);

	if (!o->json && l->kind == OUT_ROW && !l->broken) {
		fputc('\n', o->file);
		l->broken = true;
	}
	member(o, name);
	if (!o->json)
		fputc('\n', o->file);
	push(o, kind);
}

void out_open(struct out *o, const char *name)
{
	open_named(o, name, OUT_OBJECT);
}

void out_list(struct out *o, const char *name)
{
	open_named(o, name, OUT_LIST);
}

void out_row(struct out *o)
{
	CHECK(level(o)->kind == OUT_LIST);
	member(o, NULL);
	push(o, OUT_ROW);
	if (!o->json)
		indent(o);
}

void out_close(struct out *o)
{
	const struct out_level *l = level(o);

	CHECK(o->depth > 0);
	if (o->json)
		fputc(l->kind == OUT_LIST ? ']' : '}', o->file);
	else if (l->kind == OUT_ROW && !l->broken)
		fputc('\n', o->file);
	o->depth--;
}

/* ---- values ---- */

void out_u64(struct out *o, const char *name, uint64_t n)
{
	value(o, name);
	fprintf(o->file, "%" PRIu64, n);
	value_end(o);
}

void out_bool(struct out *o, const char *name, bool is)
{
	value(o, name);
	fputs(o->json ? is ? "true" : "false" : is ? "yes" : "no", o->file);
	value_end(o);
}

void out_text(struct out *o, const char *name, const char *text)
{
	value(o, name);
	if (o->json)
		quoted(o, text);
	else
		fputs(text, o->file);
	value_end(o);
}

void out_null(struct out *o, const char *name)
{
	value(o, name);
	fputs(o->json ? "null" : "none", o->file);
	value_end(o);
}

void out_numbers(struct out *o, const char *name, const uint32_t *v, uint32_t n)
{
	value(o, name);
	if (o->json)
		fputc('[', o->file);
	for (uint32_t i = 0; i < n; i++)
		fprintf(o->file, "%s%" PRIu32, i ? "," : "", v[i]);
	if (o->json)
		fputc(']', o->file);
	value_end(o);
}

void out_hex(struct out *o, const char *name, uint64_t n, unsigned digits)
{
	char text[17];

	snprintf(text, sizeof(text), "%0*" PRIx64, (int)digits, n);
	out_text(o, name, text);
}

void out_id(struct out *o, const char *name, const struct id128 *id)
{
	char text[33];

	if (id128_is_none(id)) {
		out_null(o, name);
		return;
	}
	for (unsigned i = 0; i < sizeof(id->b); i++)
		snprintf(text + 2 * i, 3, "%02x", id->b[i]);
	out_text(o, name, text);
}
