/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* world - virtual time: one heap of events, one tape of random choices, and simulated processes.
 *
 *	run.c --> world_step() --> event.fire() --> pure core --struct env--> world.c, net.c, disk.c
 *
 * A proc is one operating system process: its memory, its clock (offset and drift), its timers, its
 * deferred tasks, its connections. It dies as a whole between two events: nothing of it runs later.
 * The env handed to the core keeps E1-E4 of lib/env.h: no callback from within a call; deferred
 * tasks run at the end of a loop turn, whose length is drawn from the tape.
 *
 *   W1  events fire in the order (time, creation); time never goes back
 *   W2  no event of a proc fires while it is down, and none while it is paused
 *   W3  same seed, same hash after every event (I17)
 *
 * Ownership: sim_event is embedded by its user, which cancels it before it goes. One thread. */

#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "lib/arena.h"
#include "lib/env.h"
#include "lib/frame.h"
#include "sim/rng.h"

#define US ((uint64_t)1000)
#define MS ((uint64_t)1000000)
#define SEC ((uint64_t)1000000000)
#define WORLD_PROCS_MAX 64u

struct net;
struct proc;

struct sim_event {
	uint64_t at_ns, order;
	uint32_t pos; /* 1-based place in the heap, 0: not queued */
	void (*fire)(struct sim_event *ev);
};

struct world {
	uint64_t now_ns, end_ns;
	struct rng rng;
	struct sim_event **heap;
	uint32_t heap_n, heap_cap;
	uint64_t order, events, hash;
	struct proc *procs[WORLD_PROCS_MAX];
	uint32_t procs_n;
	struct net *net;
	int verbose;
	uint64_t turn_max_ns; /* longest loop turn of a proc */
	uint32_t violations;
	char first_violation[512];
	/* Called after each event that ran code of @p; may call world_violation(). */
	void (*after)(struct world *w, struct proc *p, void *arg);
	void *after_arg;
};

struct proc {
	struct env env; /* first: the core's handle on us */
	struct world *w;
	uint32_t index;
	char name[SERVER_NAME_BYTES], addr[ADDR_BYTES];
	bool up;
	uint64_t paused_until_ns;
	uint64_t clock_zero_ns, clock_base_ns; /* reads base + elapsed since zero, drifting */
	int64_t clock_ppm;
	struct env_timer **timers; /* binary heap by at_ns */
	uint32_t timers_n, timers_cap;
	struct sim_event timer_ev, turn_ev;
	struct list tasks;
	struct list conns;        /* env_conn.proc_link */
	struct frame_source *src; /* where received frames come from; set before any traffic */
	void (*accept)(struct proc *p, struct env_conn *c); /* NULL: refuses connections */
	struct arena arena;
	uint32_t incarnations;
	void *arg; /* the actor's */
};

void world_init(struct world *w, uint64_t seed, int verbose);
void world_fini(struct world *w); /* events still queued are forgotten */
/* (Re)schedule @ev; a time in the past means now. */
void world_at(struct world *w, struct sim_event *ev, uint64_t at_ns);
void world_cancel(struct world *w, struct sim_event *ev); /* fine when not queued */
/* Fire the next event. False when none is left. */
bool world_step(struct world *w);
void world_violation(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
void world_trace(struct world *w, const struct proc *p, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Memory of the simulation that starts as zeros and costs nothing until touched. */
void *sim_map(size_t len_bytes);
void sim_unmap(void *mem, size_t len_bytes);

/* Register @p under @name; it is down. @addr "" for one that takes no connections. */
void proc_init(struct proc *p, struct world *w, const char *name, const char *addr);
void proc_fini(struct proc *p);
/* A new incarnation: fresh clock and @memory_bytes of zeroed arena. */
void proc_start(struct proc *p, size_t memory_bytes);
/* Gone at once: timers, tasks, memory. Connections and disk I/O must have been dealt with before
 * (net_proc_died(), disk_proc_died()). */
void proc_stop(struct proc *p);
/* True when @p may not run now: @ev was put back, or (down) dropped. First call of every event that
 * enters a proc's code. */
bool proc_hold(struct proc *p, struct sim_event *ev);
/* Last call of every event that ran a proc's code. */
void proc_ran(struct proc *p);
static inline struct proc *proc_of(struct env *e)
{
	return CONTAINER_OF(e, struct proc, env);
}

#endif
