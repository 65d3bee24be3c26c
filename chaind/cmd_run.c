/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* `chaind run`: serves a store, with as many reactors as it has slices. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chaind/cmd_memory.h"
#include "chaind/cmd_slices.h"
#include "chaind/cmd_worker.h"
#include "io/addr.h"
#include "io/reactor.h"
#include "io/tcp.h"
#include "store/store.h"

#define SCRUB_DAYS 14ull
#define NS_PER_DAY (24ull * 3600 * 1000 * 1000 * 1000)

struct program {
	const struct options *opt;
	char cfg_addrs[SERVER_ADDRS_MAX][ADDR_BYTES];
	char listen[SERVER_ADDRS_MAX][ADDR_BYTES];
	char advertise[SERVER_ADDRS_MAX][ADDR_BYTES];
	struct reactor *reactor; /* the first worker's */
	struct env_disk *disk;   /* the whole */
	struct slices slices;
	struct memory_plan memory;
	struct worker workers[REACTORS_MAX];
	struct crew crew;
};

/* ---- the command line ---- */

static int take_addrs(const char *option, const char *list, char ret[SERVER_ADDRS_MAX][ADDR_BYTES])
{
	char err[IO_ERR_BYTES];

	if (tcp_parse_addrs(list, ret, err) == 0)
		return 0;
	fprintf(stderr, "chaind: --%s: %s\n", option, err);
	return -EINVAL;
}

static int take_options(struct program *p)
{
	const struct options *o = p->opt;

	if (!o->name || !o->cfg || !o->listen)
		return cmd_usage_error("run needs --name, --cfg and --listen");
	if (!name_is_valid(o->name, SERVER_NAME_BYTES))
		return cmd_usage_error(
			"--name: 1 to 31 letters, digits, '.', '_' or '-', not starting "
			"with '.' or '-'");
	if (take_addrs("cfg", o->cfg, p->cfg_addrs) < 0 ||
	    take_addrs("listen", o->listen, p->listen) < 0 ||
	    take_addrs("advertise", o->advertise ? o->advertise : o->listen, p->advertise) < 0)
		return 2;
	return 0;
}

/* What can never be reached is said at once; a name that is not known now may be later. */
static int check_cfg(const struct program *p, char err[IO_ERR_BYTES])
{
	for (unsigned i = 0; i < SERVER_ADDRS_MAX && p->cfg_addrs[i][0] != '\0'; i++) {
		struct addr a;
		int rc = addr_parse(p->cfg_addrs[i], &a, err);

		if (rc == -EADDRNOTAVAIL)
			continue;
		if (rc == 0 && !addr_plaintext_ok(&a, p->opt->insecure_lab, false)) {
			addr_plaintext_error(&a, err);
			rc = -EPERM;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- who gets what ---- */

static int find_slices(struct program *p, char err[IO_ERR_BYTES])
{
	const struct options *o = p->opt;
	int rc;

	if (p->disk->size_bytes < STORE_BYTES_MIN) {
		snprintf(err, IO_ERR_BYTES,
			 "store %.120s: too short to be a store: make one with chaind format",
			 o->store);
		return -EINVAL;
	}
	rc = slices_find(p->disk, &p->slices, err);
	if (rc < 0)
		return rc;
	if (o->reactors == 0 || o->reactors == p->slices.n)
		return 0;
	snprintf(err, IO_ERR_BYTES,
		 "store %.80s: formatted for %u reactor%s, not %u: leave --reactors out, or empty "
		 "it and "
		 "run chaind format --reactors %u --force",
		 o->store, p->slices.n, p->slices.n == 1 ? "" : "s", (unsigned)o->reactors,
		 (unsigned)o->reactors);
	return -EINVAL;
}

static int share_with(struct program *p, uint32_t i, const struct node_config *common,
		      char err[IO_ERR_BYTES])
{
	struct worker *w = &p->workers[i];
	uint32_t n = p->slices.n, cpus[REACTORS_MAX];
	int rc;

	*w = (struct worker){
		.crew = &p->crew, .cfg = *common, .part = slices_part(&p->slices, i), .cpu = -1};
	memcpy(w->listen, p->listen, sizeof(w->listen));
	rc = share_name(p->opt->name, i, n, w->cfg.name, err);
	if (rc == 0)
		rc = share_addrs(w->listen, i, n, err);
	if (rc == 0)
		rc = share_addrs(w->cfg.addrs, i, n, err);
	if (rc == 0 && p->opt->pin) {
		rc = share_cpus(p->opt->pin, n, cpus, err);
		if (rc == 0)
			w->cpu = (int)cpus[i];
	}
	return rc;
}

static void say_scrub(const struct program *p, uint64_t scrub_ns)
{
	uint64_t days = scrub_ns / NS_PER_DAY;

	if (days)
		fprintf(stderr,
			"chaind: %s: scrubbing: all it holds is read and checked once in %llu "
			"day%s\n",
			p->opt->name, (unsigned long long)days, days == 1 ? "" : "s");
	else
		fprintf(stderr,
			"chaind: %s: scrubbing is off (--scrub 0): what rots is found when it is "
			"read\n",
			p->opt->name);
}

static int share_all(struct program *p, char err[IO_ERR_BYTES])
{
	struct node_config common = {
		.disk_bytes = p->slices.each_bytes,
		.chains_max = NODE_CHAINS_MAX,
		.scrub_ns = (p->opt->scrub_given ? p->opt->scrub_days : SCRUB_DAYS) * NS_PER_DAY,
	};
	char text[MEMORY_TEXT_BYTES];
	int rc = memory_plan(&common, p->slices.n, p->opt->memory_bytes, &p->memory, text);

	if (rc == 0)
		rc = memory_fits(
			&p->memory, p->slices.n, p->opt->memory_bytes,
			(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), text);
	if (rc < 0) {
		snprintf(err, IO_ERR_BYTES, "store %.60s: %.180s", p->opt->store, text);
		return rc;
	}
	memory_text(&p->memory, p->slices.n, text);
	fprintf(stderr, "chaind: %s: %s\n", p->opt->name, text);
	say_scrub(p, common.scrub_ns);
	memcpy(common.cfg_addrs, p->cfg_addrs, sizeof(common.cfg_addrs));
	memcpy(common.addrs, p->advertise, sizeof(common.addrs));
	/* Whatever ends this process ends all its reactors. */
	snprintf(common.domain, sizeof(common.domain), "%s", p->opt->name);
	p->crew = (struct crew){
		.opt = p->opt, .disk = p->disk, .workers = p->workers, .n = p->slices.n};
	for (uint32_t i = 0; i < p->slices.n && rc == 0; i++)
		rc = share_with(p, i, &common, err);
	p->workers[0].reactor = p->reactor;
	return rc;
}

/* ---- life ---- */

static void on_signal(void *arg, int signo)
{
	struct program *p = arg;

	if (atomic_load(&p->crew.stop) != STOP_NOT) {
		fprintf(stderr, "chaind: %s: second signal, stopping at once\n", p->opt->name);
		crew_stop(&p->crew, STOP_AT_ONCE);
		return;
	}
	fprintf(stderr, "chaind: %s: %s, finishing what is in flight\n", p->opt->name,
		signo == SIGINT ? "SIGINT" : "SIGTERM");
	crew_stop(&p->crew, STOP_IN_ORDER);
}

static int open_store(struct program *p, char err[IO_ERR_BYTES])
{
	const struct disk_config dc = {.path = p->opt->store,
				       .trust_write_through = p->opt->trust_write_through};
	int rc = check_cfg(p, err);

	if (rc == 0)
		rc = reactor_open(&(struct reactor_config){.spin_us = 0}, &p->reactor, err);
	if (rc == 0)
		rc = reactor_signals(p->reactor, on_signal, p, err);
	if (rc == 0)
		rc = disk_open(p->reactor, &dc, &p->disk, err);
	if (rc == 0)
		rc = find_slices(p, err);
	return rc == 0 ? share_all(p, err) : rc;
}

static void *worker_thread(void *arg)
{
	worker_run(arg);
	return NULL;
}

/* Signals are blocked in all threads since reactor_signals(): they arrive at the first worker. */
static int serve(struct program *p)
{
	struct crew *c = &p->crew;
	bool in_order = true;

	crew_init(c);
	for (uint32_t i = 1; i < c->n; i++) {
		int rc = pthread_create(&c->workers[i].thread, NULL, worker_thread, &c->workers[i]);

		/* Nothing has begun; those that are there wait for the rest and end with us. */
		if (rc != 0)
			return cmd_fail("a thread cannot be started", strerror(rc));
	}
	worker_run(&c->workers[0]);
	for (uint32_t i = 1; i < c->n; i++)
		pthread_join(c->workers[i].thread, NULL);
	for (uint32_t i = 0; i < c->n; i++)
		in_order = in_order && c->workers[i].in_order;
	if (!in_order || c->failed)
		return EXIT_FAILURE;
	disk_close(p->disk);
	crew_fini(c);
	return EXIT_SUCCESS;
}

int cmd_run(const struct options *o)
{
	static struct program p;
	char err[IO_ERR_BYTES] = "";
	int rc;

	p.opt = o;
	rc = take_options(&p);
	if (rc != 0)
		return rc;
	return open_store(&p, err) < 0 ? cmd_fail_io(err) : serve(&p);
}
