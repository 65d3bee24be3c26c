/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Records: which chains name us, at which epoch. A record is noted on disk before anything is done
 * in its epoch, so that after a crash nobody acts in an older one (PROTOCOL 4, Install). */
#include "chaind/node_priv.h"

#include <errno.h>

static void start_install(struct replica *r);

static void leave(struct replica *r)
{
	const struct repl_actions stop = {.n = 1, .a = {{REPL_DO_STOP, 0}}};

	rmw_drop_all(r);
	repl_leave(&r->repl);
	replica_act(r, &stop);
	if (r->down)
		peers_detach(r);
	list_del(&r->commit_link);
}

static void act_in(struct replica *r)
{
	struct node *n = r->n;
	int at = map_chain_position(&r->rec, n->server_id, &n->incarnation);
	struct repl_config cfg = {.epoch = r->rec.epoch};
	struct repl_actions todo;

	CHECK(at >= 0);
	cfg.is_head = at == 0;
	cfg.is_tail = (uint32_t)at + 1 == r->rec.in_n;
	if (!cfg.is_head)
		cfg.pred = r->rec.in[at - 1].incarnation;
	if (!cfg.is_tail)
		cfg.succ = r->rec.in[at + 1].incarnation;
	repl_install(&r->repl, &cfg, &todo);
	r->state = RS_IN;
	r->credit_told = REPL_CREDIT_NONE;
	replica_act(r, &todo);
	if (!cfg.is_tail)
		peers_attach(r, &r->rec.in[at + 1]);
}

static void noted(void *arg, int res)
{
	struct replica *r = arg;
	struct node *n = r->n;

	if (n->closed || n->failed)
		return;
	if (res < 0) {
		node_fail(n, "an epoch could not be noted on disk");
		return;
	}
	CHECK(r->state == RS_INSTALLING);
	r->stored_epoch = r->noting_epoch;
	if (r->next.epoch != r->stored_epoch) {
		start_install(r); /* a newer one came meanwhile */
		return;
	}
	r->rec = r->next;
	r->history = r->rec.history;
	act_in(r);
	cfglink_report_soon(n);
}

static void start_install(struct replica *r)
{
	CHECK(r->next.epoch > r->stored_epoch);
	r->state = RS_INSTALLING;
	r->noting_epoch = r->next.epoch;
	store_set_epoch(r->n->store, r->chain, r->next.epoch, r->next.history, noted, r);
}

static void undone(void *arg, int res)
{
	struct replica *r = arg;
	struct node *n = r->n;

	if (n->closed || n->failed)
		return;
	if (res < 0) {
		node_fail(n, "the end of a chain's log could not be cut off on disk");
		return;
	}
	r->appended = r->undo_to;
	replica_event(r, REPL_EV_UNDONE, r->undo_to);
	cfglink_report_soon(n);
	if (r->next.epoch > r->stored_epoch) { /* a newer one came meanwhile */
		if (r->state == RS_IN)
			leave(r);
		start_install(r);
	}
}

void install_undo(struct replica *r, uint64_t seq)
{
	env_logf(r->n->env, ENV_INFO,
		 "chain %u: ops %llu to %llu are not on every member and were not acknowledged: "
		 "undone in epoch %llu",
		 r->chain, (unsigned long long)seq + 1, (unsigned long long)r->repl.recv,
		 (unsigned long long)r->repl.epoch);
	r->undo_to = seq;
	r->undo_begun = false;
	install_undo_go_on(r);
}

/* What is still on its way to the log, or read back from it, comes first. */
void install_undo_go_on(struct replica *r)
{
	if (!r->repl.undoing || r->undo_begun || r->fetching || r->repl.durable < r->repl.recv)
		return;
	r->undo_begun = true;
	for (uint64_t seq = r->undo_to + 1; seq <= r->repl.recv; seq++) {
		struct slot *s = replica_slot(r, seq);

		if (s)
			replica_ring_del(r, s); /* the store releases it */
	}
	store_undo(r->n->store, r->chain, r->undo_to, undone, r);
}

/* Why a record that names us cannot be obeyed, or NULL. */
static const char *record_wrong(const struct replica *r, const struct map_chain *rec)
{
	if (r->history != 0 && r->history != rec->history)
		return "it has another history than our log: this disk was part of another chain";
	if (rec->epoch <= r->stored_epoch && r->state == RS_OUT)
		return "it is not newer than what we acted in: the configuration store was rolled "
		       "back";
	return NULL;
}

void install_record(struct node *n, const struct map_chain *rec)
{
	struct replica *r = node_replica(n, rec->id);
	int at = map_chain_position(rec, n->server_id, &n->incarnation);
	const char *why;

	if (n->failed || n->closed || !n->registered || (at < 0 && !r))
		return;
	if (at < 0) {
		if (r->state == RS_IN && rec->epoch > r->repl.epoch) {
			env_logf(n->env, ENV_INFO, "chain %u: not a member any more in epoch %llu",
				 r->chain, (unsigned long long)rec->epoch);
			leave(r);
			r->state = RS_OUT;
			cfglink_report_soon(n);
		}
		return;
	}
	if (!r) {
		r = node_replica_add(n, rec->id);
		if (!r) {
			env_logf(n->env, ENV_ERR,
				 "chain %u: the store has no room for one more chain; start chaind "
				 "with fewer chains per server",
				 rec->id);
			return;
		}
	}
	why = record_wrong(r, rec);
	if (why) {
		env_logf(n->env, ENV_ERR, "chain %u: record of epoch %llu refused: %s", r->chain,
			 (unsigned long long)rec->epoch, why);
		return;
	}
	if (r->state != RS_OUT && rec->epoch <= r->next.epoch)
		return;
	r->next = *rec;
	if (r->state == RS_INSTALLING || r->repl.undoing)
		return;
	if (r->state == RS_IN)
		leave(r);
	start_install(r);
}

/* What the log never took holds a buffer. */
static void drop_payloads(struct replica *r)
{
	for (unsigned i = 0; i < WINDOW_OPS_MAX; i++) {
		if (!r->ring[i])
			continue;
		buf_put(r->ring[i]->data);
		r->ring[i]->data = NULL;
	}
}

void install_leave_all(struct node *n)
{
	/* Credit 0, so that heads do not fill their windows for nothing. */
	for (unsigned i = 0; i < n->replicas_n; i++)
		if (n->replicas[i].state == RS_IN)
			peers_commit(&n->replicas[i]);
	peers_flush(n);
	for (unsigned i = 0; i < n->replicas_n; i++) {
		if (n->replicas[i].state == RS_IN)
			leave(&n->replicas[i]);
		n->replicas[i].state = RS_OUT;
		drop_payloads(&n->replicas[i]);
	}
}

void install_map(struct node *n)
{
	struct chain_map *m = n->map_next;

	if (!id128_eq(&m->hdr.cluster, &n->cluster) || m->hdr.version < n->map->hdr.version)
		return;
	n->map_next = n->map;
	n->map = m;
	for (uint32_t i = 0; i < m->hdr.volumes_n; i++)
		n->volume_seen = MAX(n->volume_seen, m->volumes[i].id);
	for (uint32_t i = 0; i < m->hdr.chains_n; i++)
		install_record(n, &m->chains[i]);
}
