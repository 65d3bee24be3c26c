/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/repl.h"

#include <errno.h>

static void act(struct repl_actions *todo, enum repl_action_type type, uint64_t seq)
{
	CHECK(todo->n < REPL_ACTIONS_MAX);
	todo->a[todo->n].type = type;
	todo->a[todo->n].seq = seq;
	todo->n++;
}

/* W4: our disk and everyone's before us. */
static uint64_t token_now(const struct repl *r)
{
#ifdef PLANT_TOKEN_NOT_MIN
	return r->durable;
#endif
	if (r->is_head || r->durable < r->token_in)
		return r->durable;
	return r->token_in;
}

/* Whatever moved a disk or a watermark ends here: derive token and commit and say what changed. */
static void settle(struct repl *r, struct repl_actions *todo)
{
	uint64_t token = token_now(r);
	uint64_t commit;

	if (token > r->token) {
		r->token = token;
		if (!r->is_tail)
			act(todo, REPL_DO_TOKEN, token);
	}
	if (r->is_tail)
		r->commit_in = r->token;
#ifdef PLANT_COMMIT_ON_TAIL_DURABLE
	if (r->is_tail)
		r->commit_in = r->token = r->durable;
#endif
	/* The successor can know no more than it had from us; should it claim more, our own token
	 * is the bound, and the rest counts when the token gets there. */
	commit = MIN(r->commit_in, r->token);
	if (commit > r->commit) {
		r->commit = commit;
		act(todo, REPL_DO_COMMIT, commit);
		if (!r->is_head)
			act(todo, REPL_DO_COMMIT_UP, commit);
	}
}

static void on_number(struct repl *r, struct repl_actions *todo)
{
	CHECK(r->is_head);
	r->recv++;
	if (r->synced)
		act(todo, REPL_DO_FORWARD, r->recv);
}

static void take_token(struct repl *r, uint64_t token)
{
	/* R7: it may cover ops that we are about to cut off and get anew. A repeat of an older
	 * frame tells less than we know: not an error. */
	if (r->aligned && token > r->token_in)
		r->token_in = token;
}

static void on_gap(struct repl *r, struct repl_actions *todo)
{
	/* One NAK for one gap: the ops behind it that are on their way say nothing new. */
	if (r->nak == r->recv + 1)
		return;
	r->nak = r->recv + 1;
	act(todo, REPL_DO_NAK, r->nak);
	act(todo, REPL_DO_NAK_LATER, r->nak);
}

static void on_write(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	if (!r->aligned)
		return; /* R7: nobody may send before we have answered its HELLO */
	take_token(r, ev->token);
#ifdef PLANT_ACCEPT_WRONG_SEQ
	if (ev->seq != r->recv && r->recv - r->commit < WINDOW_OPS_MAX) {
#else
	/* W2 */
	if (ev->seq == r->recv + 1 && r->recv - r->commit < WINDOW_OPS_MAX) {
#endif
		/* W3, cut-through: disk and successor work in parallel. Waiting for our disk before
		 * forwarding would be simpler and cost one device write per hop; safety does not
		 * need it because nobody commits before the token says so. */
		r->recv++;
		r->nak = 0;
		act(todo, REPL_DO_PERSIST, r->recv);
		if (r->synced)
			act(todo, REPL_DO_FORWARD, r->recv);
	} else if (ev->seq <= r->recv) {
		/* The sender does not know that we have it: repeat what it waits for. */
		if (r->is_tail)
			act(todo, REPL_DO_COMMIT_UP, r->commit);
		else if (r->synced)
			act(todo, REPL_DO_TOKEN, r->token);
	} else {
		on_gap(r, todo);
	}
	settle(r, todo);
}

static void on_lost(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	if (!r->aligned)
		return;
	take_token(r, ev->token);
	if (ev->seq > r->recv && r->nak != r->recv + 1) {
		/* Asking at once would meet the same full pool. */
		r->nak = r->recv + 1;
		act(todo, REPL_DO_NAK_LATER, r->nak);
	}
	settle(r, todo);
}

static void on_durable(struct repl *r, uint64_t seq, struct repl_actions *todo)
{
	/* Our own log reports this, so a wrong value is our bug: CHECK, not -EPROTO. */
	CHECK(seq > r->durable);
	CHECK(seq <= r->recv);
	r->durable = seq;
	if (r->in)
		settle(r, todo);
}

static void say_hello(struct repl *r, struct repl_actions *todo)
{
	if (r->linked && !r->synced && r->aligned)
		act(todo, REPL_DO_HELLO, r->recv);
}

static void align(struct repl *r, struct repl_actions *todo)
{
	if (r->aligned)
		return;
	r->aligned = true;
	say_hello(r, todo);
}

static int on_hello(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	/* I4: it can never have less than we got from it or its predecessors in this epoch, nor
	 * less than what is committed. */
	if (ev->seq < r->recv && (r->aligned || ev->seq < r->commit))
		return -EPROTO;
	if (r->undoing)
		return 0; /* it asks again */
#ifdef PLANT_NO_UNDO
	if (ev->seq < r->recv) {
		act(todo, REPL_DO_HELLO_ACK, ev->seq);
		align(r, todo);
		return 0;
	}
#endif
	if (ev->seq < r->recv) {
		/* R7. Each member's log of an older epoch ends where its disk stopped, and ours has
		 * more: nobody was told that this is durable everywhere. */
		r->undoing = true;
		act(todo, REPL_DO_UNDO, ev->seq);
		return 0;
	}
	r->nak = 0;
	act(todo, REPL_DO_HELLO_ACK, r->recv);
	act(todo, REPL_DO_COMMIT_UP, r->commit);
	align(r, todo);
	take_token(r, ev->token);
	settle(r, todo);
	return 0;
}

static void on_undone(struct repl *r, uint64_t seq, struct repl_actions *todo)
{
	CHECK(r->undoing);
	CHECK(seq >= r->commit);
	CHECK(seq < r->recv);
	r->undoing = false;
	r->recv = r->durable = seq;
	r->barrier = MIN(r->barrier, seq);
	/* Our predecessor asks again, and is answered then. */
	(void)todo;
}

static int on_hello_ack(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	if (ev->seq > r->recv || ev->seq < r->commit)
		return -EPROTO;
	if (!r->linked || !r->aligned)
		return 0;
	r->synced = true;
	r->credit_in = ev->credit;
#ifdef PLANT_ACCEPT_WRONG_SEQ
	act(todo, REPL_DO_REWIND, r->recv + 1); /* the other half of W2: nobody goes back */
#else
	act(todo, REPL_DO_REWIND, ev->seq + 1);
#endif
	act(todo, REPL_DO_TOKEN, r->token);
	if (!r->is_head)
		act(todo, REPL_DO_COMMIT_UP, r->commit);
	return 0;
}

static int on_nak(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	if (ev->seq > r->recv + 1)
		return -EPROTO;
	/* A late repeat: by the watermark it has got it since. */
	if (!r->synced || ev->seq <= r->commit)
		return 0;
	act(todo, REPL_DO_REWIND, ev->seq);
	return 0;
}

static void on_commit(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	if (ev->seq > r->commit_in)
		r->commit_in = ev->seq;
	if (r->synced)
		r->credit_in = ev->credit;
	settle(r, todo);
}

static void on_link(struct repl *r, bool up, struct repl_actions *todo)
{
	CHECK(!r->is_tail);
	r->linked = up;
	r->synced = false;
	r->credit_in = REPL_CREDIT_NONE;
	if (up)
		say_hello(r, todo);
	else
		act(todo, REPL_DO_STOP, 0);
	/* Our predecessor's head learns by the credit that the chain is cut. */
	if (!r->is_head)
		act(todo, REPL_DO_COMMIT_UP, r->commit);
}

static bool is_local(enum repl_event_type t)
{
	return t == REPL_EV_NUMBER || t == REPL_EV_NAK_DUE || t == REPL_EV_DURABLE ||
	       t == REPL_EV_LINK_UP || t == REPL_EV_HELLO_DUE || t == REPL_EV_LINK_DOWN ||
	       t == REPL_EV_UNDONE;
}

/* N1: who may say this to us, and in which epoch? */
static int admit(const struct repl *r, const struct repl_event *ev)
{
	bool from_succ = ev->type == REPL_EV_COMMIT || ev->type == REPL_EV_HELLO_ACK ||
			 ev->type == REPL_EV_NAK;
	const struct id128 *neighbour = from_succ ? &r->succ : &r->pred;

	if (is_local(ev->type))
		return 0;
	if (ev->epoch < r->epoch)
		return -ESTALE;
	if (ev->epoch > r->epoch)
		return -EAGAIN;
	if (!r->in)
		return -EAGAIN;
	if (from_succ ? r->is_tail : r->is_head)
		return -EPERM;
	return id128_eq(&ev->from, neighbour) ? 0 : -EPERM;
}

static int step(struct repl *r, const struct repl_event *ev, struct repl_actions *todo)
{
	switch (ev->type) {
	case REPL_EV_NUMBER:
		on_number(r, todo);
		return 0;
	case REPL_EV_WRITE:
		on_write(r, ev, todo);
		return 0;
	case REPL_EV_LOST:
		on_lost(r, ev, todo);
		return 0;
	case REPL_EV_NAK_DUE:
		if (r->in && r->nak != 0) {
			act(todo, REPL_DO_NAK, r->nak);
			act(todo, REPL_DO_NAK_LATER, r->nak);
		}
		return 0;
	case REPL_EV_DURABLE:
		on_durable(r, ev->seq, todo);
		return 0;
	case REPL_EV_TOKEN:
		take_token(r, ev->token);
		settle(r, todo);
		return 0;
	case REPL_EV_HELLO:
		return on_hello(r, ev, todo);
	case REPL_EV_COMMIT:
		on_commit(r, ev, todo);
		return 0;
	case REPL_EV_HELLO_ACK:
		return on_hello_ack(r, ev, todo);
	case REPL_EV_NAK:
		return on_nak(r, ev, todo);
	case REPL_EV_LINK_UP:
	case REPL_EV_LINK_DOWN:
		on_link(r, ev->type == REPL_EV_LINK_UP, todo);
		return 0;
	case REPL_EV_HELLO_DUE:
		say_hello(r, todo);
		return 0;
	case REPL_EV_UNDONE:
		on_undone(r, ev->seq, todo);
		return 0;
	}
	return -EPROTO;
}

void repl_init(struct repl *r, uint64_t known, uint64_t durable)
{
	CHECK(known <= durable);
	*r = (struct repl){.recv = durable, .durable = durable, .commit = known};
	repl_check(r);
}

void repl_install(struct repl *r, const struct repl_config *cfg, struct repl_actions *ret_do)
{
	CHECK(cfg->epoch > r->epoch);
	CHECK(cfg->is_head == id128_is_none(&cfg->pred));
	CHECK(cfg->is_tail == id128_is_none(&cfg->succ));
	r->epoch = cfg->epoch;
	r->in = true;
	r->is_head = cfg->is_head;
	r->is_tail = cfg->is_tail;
	r->pred = cfg->pred;
	r->succ = cfg->succ;
	/* W4: "as received in this epoch". What an older predecessor promised counts no more. */
	r->token_in = r->token = r->commit_in = 0;
	r->barrier = r->recv;
	r->nak = 0;
	r->credit_in = REPL_CREDIT_NONE;
	CHECK(!r->undoing);
	r->linked = r->synced = false;
	r->aligned = cfg->is_head;
	ret_do->n = 0;
	act(ret_do, REPL_DO_STOP, 0);
	settle(r, ret_do);
	repl_check(r);
}

void repl_leave(struct repl *r)
{
	r->in = false;
	r->linked = r->synced = r->aligned = false;
	r->nak = 0;
}

int repl_step(struct repl *r, const struct repl_event *ev, struct repl_actions *ret_do)
{
	struct repl_actions todo = {.n = 0};
	int rc = admit(r, ev);

	if (rc == 0)
		rc = step(r, ev, &todo);
	if (rc < 0)
		return rc;
	repl_check(r);
	*ret_do = todo;
	return 0;
}

int repl_may_number(const struct repl *r, bool reserved)
{
	uint64_t window = WINDOW_OPS_MAX - (reserved ? 0 : WINDOW_OPS_RESERVED);

	/* The barrier: below it are ops of an earlier life that only the log remembers. */
	if (!r->in || !r->is_head || r->commit < r->barrier)
		return -EAGAIN;
	if (r->recv - r->commit >= window)
		return -EAGAIN;
	/* R7: somebody behind us may still have other ops under the numbers that come next. And a
	 * cut chain commits nothing: what we numbered now would only have to be sent again. */
	if (!r->is_tail && (!r->synced || r->credit_in == REPL_CREDIT_NONE))
		return -EAGAIN;
	return 0;
}

bool repl_may_read(const struct repl *r)
{
	if (!r->in || !r->is_tail)
		return false;
#ifdef PLANT_NO_R3
	return true;
#endif
	return r->commit >= r->barrier;
}

const char *repl_action_name(enum repl_action_type t)
{
	switch (t) {
	case REPL_DO_PERSIST:
		return "persist";
	case REPL_DO_FORWARD:
		return "forward";
	case REPL_DO_REWIND:
		return "rewind";
	case REPL_DO_STOP:
		return "stop";
	case REPL_DO_TOKEN:
		return "token";
	case REPL_DO_COMMIT:
		return "commit";
	case REPL_DO_COMMIT_UP:
		return "commit_up";
	case REPL_DO_HELLO:
		return "hello";
	case REPL_DO_HELLO_ACK:
		return "hello_ack";
	case REPL_DO_NAK:
		return "nak";
	case REPL_DO_NAK_LATER:
		return "nak_later";
	case REPL_DO_UNDO:
		return "undo";
	}
	return "?";
}

void repl_check(const struct repl *r)
{
	CHECK(r->token <= r->durable);
	CHECK(r->durable <= r->recv);
#if !defined(PLANT_COMMIT_ON_TAIL_DURABLE) && !defined(PLANT_TOKEN_NOT_MIN)
	if (!r->is_head)
		CHECK(r->token <= r->token_in);
#endif
	CHECK(r->commit <= r->durable);
	if (r->in && r->commit >= r->barrier)
		CHECK(r->recv - r->commit <= WINDOW_OPS_MAX);
	CHECK(r->linked || !r->synced);
	CHECK(r->aligned || !r->synced);
	CHECK(!r->aligned || !r->undoing);
}
