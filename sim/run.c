/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/run.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sim/audit.h"
#include "sim/plan.h"

#define SETUP_BOUND_NS (60 * SEC)
#define SETTLE_BOUND_NS (60 * SEC)
#define DONE_BOUND_NS (10 * SEC) /* past the deadline of the operations */
#define FORM_BOUND_NS (10 * SEC)
#define ALL_DOWN_NS (11 * SEC)
#define VERIFY_BOUND_NS (120 * SEC)
#define AUDIT_BOUND_NS (60 * SEC)
#define EVENTS_BOUND 20000000ull

struct run {
	struct world w;
	struct plan plan;
	struct cluster cl;
	struct invariants inv;
	struct faults faults;
	struct audit audit;
};

static struct run *run_now; /* lazily zeroed memory: too large for a stack */

/* Until @until or @fn says so; false when @bound_ns passed first. */
static bool run_until(struct run *r, bool (*fn)(struct run *r), uint64_t bound_ns)
{
	uint64_t end = r->w.now_ns + bound_ns, last = r->w.events + EVENTS_BOUND;

	while (!r->w.violations) {
		if (fn && fn(r))
			return true;
		if (!r->w.heap_n || r->w.heap[0]->at_ns > end || r->w.events > last)
			return false;
		world_step(&r->w);
	}
	return true;
}

static bool made(struct run *r)
{
	return r->cl.admin.state == ADMIN_DONE;
}

static bool out_of_events(struct run *r)
{
	return r->w.events >= r->plan.work_events;
}

static bool idle(struct run *r)
{
	return cluster_busy(&r->cl) == 0;
}

static bool settled(struct run *r)
{
	for (uint32_t i = 0; i < r->cl.cfg.nodes_n; i++)
		if (!r->cl.nodes[i].ready && !r->cl.nodes[i].failed)
			return false;
	for (uint32_t i = 0; i < r->cl.cfg.clients_n; i++)
		if (!r->cl.clients[i].open)
			return false;
	return r->cl.svc.ready;
}

static bool audited(struct run *r)
{
	return r->audit.done;
}

static bool verified(struct run *r)
{
	return r->cl.verify_cursor == r->cl.work.blocks && idle(r);
}

/* Every chain is formed of daemons that run now. */
static bool formed(struct run *r)
{
	for (uint32_t i = 0; i < r->inv.map.hdr.chains_n; i++) {
		uint32_t chain = r->inv.map.chains[i].id;

		if (invariants_chain_can_serve(&r->inv, chain) &&
		    !invariants_chain_serves(&r->inv, chain))
			return false;
	}
	return true;
}

/* A daemon whose disk failed serves nothing until it is started anew. Long enough for the slowest
 * peer to learn that they stopped. */
static void restart_all(struct run *r)
{
	world_trace(&r->w, NULL, "all daemons are restarted");
	for (uint32_t i = 0; i < r->cl.cfg.nodes_n; i++)
		actor_node_kill(&r->cl.nodes[i], false);
	run_until(r, NULL, ALL_DOWN_NS);
	for (uint32_t i = 0; i < r->cl.cfg.nodes_n; i++)
		actor_node_start(&r->cl.nodes[i]);
	if (!run_until(r, settled, SETTLE_BOUND_NS))
		world_violation(&r->w, "I16: not everybody is up %lu s after a restart of all",
				SETTLE_BOUND_NS / SEC);
}

/* What lies on chains that can not serve is not asked for. */
static void skip_lost_chains(struct run *r)
{
	const struct map_volume *v = chain_map_volume_named(&r->inv.map, "vol");

	for (uint32_t b = 0; v && b < r->cl.work.blocks; b++) {
		uint32_t chain = map_volume_lane(v, b / EXTENT_BLOCKS);

		if (b % EXTENT_BLOCKS == 0 && invariants_chain_can_serve(&r->inv, chain))
			b += EXTENT_BLOCKS - 1;
		else
			r->cl.work.touched[b] = 0;
	}
}

static void setup(struct run *r, const struct run_options *opt)
{
	world_init(&r->w, opt->seed, opt->verbose);
	plan_draw(&r->plan, &r->w.rng);
	cluster_init(&r->cl, &r->w, &r->plan.cluster);
	r->cl.net.delay_lo_ns = r->plan.delay_lo_ns;
	r->cl.net.delay_hi_ns = r->plan.delay_hi_ns;
	r->cl.net.spike_ppm = r->plan.spike_ppm;
	r->w.turn_max_ns = r->plan.turn_max_ns;
	for (uint32_t i = 0; i < r->plan.cluster.nodes_n; i++)
		r->cl.nodes[i].disk.write_hi_ns = r->plan.write_hi_ns;
	invariants_init(&r->inv, &r->cl);
	faults_init(&r->faults, &r->cl, &r->plan.faults);
}

static void describe(const struct run *r)
{
	const struct cluster_config *c = &r->plan.cluster;

	fprintf(stderr,
		"plan: %u servers, %u replicas, %u chains, %u clients x %u, disk %" PRIu64
		" MiB, log %" PRIu64 " MiB, think %" PRIu64 " us, deadline %" PRIu64
		" s, work %" PRIu64 " ms, %" PRIu64 " events\nfaults every %" PRIu64 " ms:",
		c->nodes_n, c->replicas, c->chains, c->clients_n, c->depth, c->disk_bytes >> 20,
		c->log_bytes >> 20, c->think_ns / US, c->deadline_ns / SEC, r->plan.work_ns / MS,
		r->plan.work_events, r->plan.faults.mean_ns / MS);
	if (c->reqtab_clients)
		fprintf(stderr, " tables of %u clients,", c->reqtab_clients);
	for (unsigned k = 0; k < FAULT_KINDS; k++)
		if (r->plan.faults.weights[k])
			fprintf(stderr, " %s", fault_name((enum fault_kind)k));
	fprintf(stderr, "\n");
}

static void work(struct run *r)
{
	actor_svc_start(&r->cl.svc);
	for (uint32_t i = 0; i < r->cl.cfg.nodes_n; i++)
		actor_node_start(&r->cl.nodes[i]);
	actor_admin_start(&r->cl.admin);
	if (!run_until(r, made, SETUP_BOUND_NS)) {
		world_violation(&r->w, "I16: cluster init did not succeed within %lu s: %s",
				SETUP_BOUND_NS / SEC, r->cl.admin.why);
		return;
	}
	for (uint32_t i = 0; i < r->cl.cfg.clients_n; i++)
		actor_client_start(&r->cl.clients[i]);
	faults_start(&r->faults);
	run_until(r, out_of_events, r->plan.work_ns);
	faults_stop(&r->faults);
}

static void finish(struct run *r)
{
	uint64_t timeouts;

	cluster_phase_set(&r->cl, PHASE_QUIET);
	if (!run_until(r, idle, r->cl.cfg.deadline_ns + DONE_BOUND_NS))
		world_violation(&r->w,
				"I16: %u operations did not complete %lu s past their deadline",
				cluster_busy(&r->cl), DONE_BOUND_NS / SEC);
	if (!run_until(r, settled, SETTLE_BOUND_NS))
		world_violation(&r->w, "I16: not everybody is up %lu s after the faults stopped",
				SETTLE_BOUND_NS / SEC);
	if (r->inv.media_lie && !run_until(r, formed, FORM_BOUND_NS))
		restart_all(r);
	if (!run_until(r, formed, FORM_BOUND_NS))
		world_violation(&r->w,
				"I16: a chain is not formed %lu s after all its members came back",
				FORM_BOUND_NS / SEC);
	timeouts = r->cl.work.timeouts;
	skip_lost_chains(r);
	cluster_phase_set(&r->cl, PHASE_VERIFY);
	if (!run_until(r, verified, VERIFY_BOUND_NS))
		world_violation(&r->w, "I16: reading back did not end within %lu s",
				VERIFY_BOUND_NS / SEC);
	if (r->cl.work.timeouts != timeouts && !r->inv.media_lie)
		world_violation(&r->w, "I16: a read of a chain that can serve timed out after all "
				       "faults stopped");
	if (r->w.violations)
		return;
	audit_start(&r->audit, &r->inv);
	if (!run_until(r, audited, AUDIT_BOUND_NS))
		world_violation(&r->w, "I16: reading all members did not end within %lu s",
				AUDIT_BOUND_NS / SEC);
	invariants_deep(&r->inv);
	workload_check(&r->cl.work);
}

static void fill_result(struct run *r, struct run_result *ret)
{
	ret->events = r->w.events;
	ret->operations = r->cl.work.done;
	ret->failed = r->cl.work.failed;
	ret->faults = r->cl.faults;
	ret->simulated_ns = r->w.now_ns;
	ret->hash = r->w.hash;
	ret->violations = r->w.violations;
	ret->commits = r->inv.commits;
	ret->acks = r->inv.acks;
	ret->undone = r->inv.undone;
	ret->frames = r->cl.net.frames;
	ret->checked = r->cl.work.history_n;
	memcpy(ret->text, r->w.first_violation, sizeof(ret->text));
}

/* ---- guard ---- */

static sigjmp_buf guard;
static volatile sig_atomic_t guarded, guard_signal;

static void on_signal(int sig)
{
	if (!guarded)
		return;
	guard_signal = sig;
	siglongjmp(guard, 1);
}

static void guard_install(void)
{
	static bool done;
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
	static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

	for (size_t i = 0; !done && i < ARRAY_LEN(signals); i++)
		CHECK(sigaction(signals[i], &sa, NULL) == 0);
	done = true;
}

void run_guarded(const struct run_options *opt, struct run_result *ret)
{
	memset(ret, 0, sizeof(*ret));
	guard_install();
	run_now = sim_map(sizeof(*run_now));
	guarded = 1;
	if (sigsetjmp(guard, 1) == 0) {
		setup(run_now, opt);
		if (opt->describe)
			describe(run_now);
		work(run_now);
		if (!run_now->w.violations)
			finish(run_now);
		guarded = 0;
		fill_result(run_now, ret);
		ret->audited = run_now->audit.compared;
		if (opt->verbose)
			invariants_dump(&run_now->inv);
		faults_fini(&run_now->faults);
		invariants_fini(&run_now->inv);
		cluster_fini(&run_now->cl);
		world_fini(&run_now->w);
	} else {
		/* The world is in the middle of something: leave it all where it is. */
		guarded = 0;
		fill_result(run_now, ret);
		ret->violations++;
		snprintf(ret->text, sizeof(ret->text), "%s in the code under test (see above)",
			 guard_signal == SIGABRT ? "CHECK failed" : "crash");
		invariants_leave();
	}
	sim_unmap(run_now, sizeof(*run_now));
	run_now = NULL;
}
