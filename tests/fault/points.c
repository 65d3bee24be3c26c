/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/points.h"

#include <stdio.h>
#include <string.h>

struct job {
	const struct points *p;
	const struct script *script;
	const struct fault_plan *row;
};

static struct fault_plan nth(const struct job *j, uint64_t n)
{
	struct fault_plan plan = *j->row;

	plan.n = n;
	return plan;
}

static bool run_nth(void *arg, uint64_t n)
{
	const struct job *j = arg;
	const struct fault_plan plan = nth(j, n);

	return j->p->run(j->script, &plan);
}

static void name_nth(void *arg, uint64_t n, char *to, size_t len)
{
	const struct job *j = arg;
	const struct fault_plan plan = nth(j, n);
	int at = snprintf(to, len, "--point %s/", j->script->name);

	fault_name(&plan, to + at, len - (size_t)at);
}

int points_one(const struct points *p, const char *name)
{
	const char *slash = strchr(name, '/');
	const struct script *script;
	struct fault_plan plan;
	char word[16];

	snprintf(word, sizeof(word), "%.*s", slash ? (int)(slash - name) : 0, name);
	script = script_find(word);
	if (!script || !fault_parse(slash + 1, &plan)) {
		fprintf(stderr, "%s: %s names no point\n", p->runner.program, name);
		return 2;
	}
	printf("%s: %s\n", name, p->run(script, &plan) ? "good" : "no such point");
	return 0;
}

static void sweep(struct points *p, unsigned i)
{
	for (unsigned k = 0; k < p->rows_n; k++) {
		struct job job = {p, &scripts[i], &p->rows[k]};
		const struct runner_row nths = {run_nth, name_nth, &job};

		if (p->rows[k].class != p->alike || i == 0)
			runner_run(&p->runner, &nths);
	}
}

int points_all(struct points *p, const char *only, bool json)
{
	const struct runner *r = &p->runner;

	if (only && !script_find(only)) {
		fprintf(stderr, "%s: no script %s\n", r->program, only);
		return 2;
	}
	for (unsigned i = 0; i < scripts_n; i++) {
		uint64_t before = r->points;

		if ((p->real && !scripts[i].real) || (only && strcmp(only, scripts[i].name) != 0))
			continue;
		sweep(p, i);
		if (!json)
			printf("%-6s %6llu points\n", scripts[i].name,
			       (unsigned long long)(r->points - before));
	}
	runner_print(r, json);
	return r->bad || !r->points;
}
