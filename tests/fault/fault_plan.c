/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/fault_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const class_names[FAULT_CLASSES] = {"write",  "flush",  "read",  "buffer",
						       "memory", "submit", "setup", "register",
						       "alloc",  "call"};
static const char *const kind_names[FAULT_KINDS] = {"eio",    "torn",  "done",   "gone",  "flip",
						    "sector", "rot",   "eagain", "ebusy", "eintr",
						    "enomem", "eperm", "enosys"};

bool fault_due(struct fault_plan *p, enum fault_class class)
{
	uint64_t nth;

	if (!p->armed)
		return false;
	nth = ++p->seen[class];
	if (p->n == 0 || class != p->class || nth < p->n || (nth > p->n && !p->persistent))
		return false;
	p->fired++;
	return true;
}

int fault_errno(enum fault_kind kind)
{
	static const int errnos[FAULT_KINDS] = {
		[FAULT_EAGAIN] = -EAGAIN, [FAULT_EBUSY] = -EBUSY, [FAULT_EINTR] = -EINTR,
		[FAULT_ENOMEM] = -ENOMEM, [FAULT_EPERM] = -EPERM, [FAULT_ENOSYS] = -ENOSYS};

	return errnos[kind] ? errnos[kind] : -EIO;
}

int fault_name(const struct fault_plan *p, char *to, size_t len)
{
	return snprintf(to, len, "%s/%s/%s/%llu", class_names[p->class], kind_names[p->kind],
			p->persistent ? "always" : "once", (unsigned long long)p->n);
}

bool fault_parse(const char *name, struct fault_plan *ret)
{
	const char *slash = strrchr(name, '/');
	char text[96];

	*ret = (struct fault_plan){0};
	if (!slash)
		return false;
	ret->n = strtoull(slash + 1, NULL, 10);
	for (unsigned i = 0; i < FAULT_CLASSES * FAULT_KINDS * 2; i++) {
		ret->class = (enum fault_class)(i / 2 / FAULT_KINDS);
		ret->kind = (enum fault_kind)(i / 2 % FAULT_KINDS);
		ret->persistent = i % 2;
		fault_name(ret, text, sizeof(text));
		if (strcmp(text, name) == 0)
			return true;
	}
	return false;
}
