/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/env.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES 512u

void env_logf(struct env *e, int level, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	e->log(e, level, line);
}
