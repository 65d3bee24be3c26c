/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

void table_begin(struct table *t, const char *const *heads)
{
	memset(t, 0, sizeof(*t));
	while (heads[t->columns_n])
		t->columns_n++;
	CHECK(t->columns_n <= TABLE_COLUMNS_MAX);
	table_row(t);
	for (uint32_t i = 0; i < t->columns_n; i++)
		table_cell(t, i, "%s", heads[i]);
}

void table_row(struct table *t)
{
	CHECK(t->rows_n < TABLE_ROWS_MAX);
	t->rows_n++;
}

void table_cell(struct table *t, uint32_t column, const char *fmt, ...)
{
	va_list ap;

	CHECK(column < t->columns_n);
	va_start(ap, fmt);
	vsnprintf(t->cells[t->rows_n - 1][column], TABLE_CELL_BYTES, fmt, ap);
	va_end(ap);
}

void table_print(const struct table *t)
{
	int width[TABLE_COLUMNS_MAX] = {0};

	for (uint32_t r = 0; r < t->rows_n; r++)
		for (uint32_t c = 0; c < t->columns_n; c++)
			width[c] = MAX(width[c], (int)strlen(t->cells[r][c]));
	for (uint32_t r = 0; r < t->rows_n; r++) {
		for (uint32_t c = 0; c + 1 < t->columns_n; c++)
			printf("%-*s  ", width[c], t->cells[r][c]);
		printf("%s\n", t->cells[r][t->columns_n - 1]);
	}
}
