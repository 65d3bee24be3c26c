/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/lane.h"

#include <errno.h>
#include <stdio.h>

#include "client/lane_send.h"
#include "client/reader.h"

static void set_state(struct part *p, enum part_state state, struct list *to)
{
	list_del(&p->link);
	p->state = state;
	list_add_tail(to, &p->link);
}

static struct part **slot_of(struct lane *l, uint64_t req_no)
{
	return &l->by_no[req_no % LANE_NUMBERS_MAX];
}

/* N1: @p's number is complete, or given up for good. */
static void drop_number(struct lane *l, struct part *p)
{
	if (!p->req_no)
		return;
	CHECK(*slot_of(l, p->req_no) == p);
	*slot_of(l, p->req_no) = NULL;
	while (l->low < l->next_no && !*slot_of(l, l->low))
		l->low++;
}

static void uncount_sent(struct lane *l, struct part *p)
{
	if (p->state != PART_SENT)
		return;
	CHECK(l->sent_n > 0);
	CHECK(l->sent_bytes >= p->sent_bytes);
	l->sent_n--;
	l->sent_bytes -= p->sent_bytes;
}

void lane_take_number(struct lane *l, struct part *p)
{
	CHECK(l->next_no - l->low < LANE_NUMBERS_MAX);
	CHECK(!*slot_of(l, l->next_no));
	p->req_no = l->next_no++;
	*slot_of(l, p->req_no) = p;
}

struct link *lane_member(const struct lane *l, uint32_t pos)
{
	struct link *link = pos < l->rec.in_n ? l->links[pos] : NULL;

	if (!link || !link->up || !id128_eq(&link->incarnation, &l->rec.in[pos].incarnation))
		return NULL;
	return link;
}

bool lane_writes_idle(const struct lane *l)
{
	return list_empty(&l->w_wait) && list_empty(&l->w_resend) && list_empty(&l->w_sent) &&
	       list_empty(&l->w_backoff) && list_empty(&l->w_dead);
}

bool lane_is_idle(const struct lane *l)
{
	return lane_writes_idle(l) && reader_is_idle(l);
}

bool lane_is_closed(const struct lane *l)
{
	const struct part *ctl = &l->ctl;

	if (l->session == 0 && (ctl->state == PART_FREE || ctl->state == PART_WAIT))
		return true; /* the chain never heard of us */
	return l->closed;
}

void lane_progress(struct lane *l)
{
	l->patience_ns = PATIENCE_NS;
	l->progress_ns = client_now(l->client);
}

void lane_wakes(struct lane *l)
{
	if (lane_is_idle(l) && !l->stalled)
		lane_progress(l);
}

/* ---- sessions ---- */

/* The way to head or tail broke, or the record changed: what is unanswered may have been lost, or
 * may still arrive somewhere. X3: a new session decides which, before anything is sent again. */
static void disturbed(struct lane *l)
{
	if (l->ctl.state == PART_SENT)
		l->ctl.state = PART_RESEND;
	if (!list_empty(&l->w_sent))
		l->open = false;
}

void lane_watch(struct lane *l, uint64_t now_ns)
{
	struct part *first = NULL;

	if (l->ctl.state == PART_SENT)
		first = &l->ctl;
	else if (l->open && !list_empty(&l->w_sent))
		first = CONTAINER_OF(list_first(&l->w_sent), struct part, link);
	if (!first || now_ns - first->sent_ns <= l->patience_ns)
		return;
	l->patience_ns = MIN(2 * l->patience_ns, PATIENCE_MAX_NS);
	disturbed(l);
	client_kick(l->client);
}

/* X3, after SESSION committed: an op is in the table or never will be. Same numbers, in order. */
static void resend_unanswered(struct lane *l)
{
	for (uint64_t no = l->low; no < l->next_no; no++) {
		struct part *p = *slot_of(l, no);

		if (!p || p->state != PART_SENT || p == &l->ctl)
			continue;
		uncount_sent(l, p);
		p->carried = true;
		set_state(p, PART_RESEND, &l->w_resend);
	}
	CHECK(l->sent_n == 0);
#ifdef PLANT_RESEND_NEW_ID
	LIST_FOR_EACH(it, &l->w_resend)
	{
		drop_number(l, CONTAINER_OF(it, struct part, link));
		lane_take_number(l, CONTAINER_OF(it, struct part, link));
	}
#endif
}

/* N3: a session committed after them: their numbers are given up. */
void lane_bury_dead(struct lane *l)
{
	LIST_FOR_EACH_SAFE(it, &l->w_dead)
	{
		struct part *p = CONTAINER_OF(it, struct part, link);

		drop_number(l, p);
		client_part_free(l->client, p);
	}
}

static void control_done(struct lane *l)
{
	struct part *ctl = &l->ctl;

	drop_number(l, ctl);
	ctl->state = PART_FREE;
	if (ctl->kind == REQ_CLOSE) {
		l->closed = true;
		return;
	}
	CHECK(ctl->session > l->session);
	l->session = ctl->session;
	l->open = true;
	l->fencing = false;
	lane_bury_dead(l);
	resend_unanswered(l);
}

/* The chain will not have us (fenced, ...): everything here fails with its reason, and what may
 * have been numbered stays dead until a session commits after all. */
static void control_refused(struct lane *l, int status)
{
	struct list *const lists[] = {&l->w_wait, &l->w_resend, &l->w_sent, &l->w_backoff};

	if (l->ctl.kind == REQ_CLOSE) {
		control_done(l);
		return;
	}
	client_part_backoff(&l->ctl);
	for (unsigned i = 0; i < ARRAY_LEN(lists); i++) {
		LIST_FOR_EACH_SAFE(it, lists[i])
		{
			struct part *p = CONTAINER_OF(it, struct part, link);
			struct req *r = p->req;

			if (r->status == 0)
				r->status = status;
			lane_abandon(p);
		}
	}
}

/* X6: the chain has given our entry to another client, and refuses everything but a first session.
 * What may have been numbered stays in doubt for good. The rest starts over with new numbers, so
 * that SESSION 1 carries a low above every number used before. */
static void forgotten(struct lane *l)
{
	struct list *const lists[] = {&l->w_resend, &l->w_sent, &l->w_backoff};

	drop_number(l, &l->ctl);
	l->ctl.state = PART_FREE;
	for (unsigned i = 0; i < ARRAY_LEN(lists); i++) {
		LIST_FOR_EACH_SAFE(it, lists[i])
		{
			struct part *p = CONTAINER_OF(it, struct part, link);

			if (p->doubt) {
				lane_abandon(p);
				continue;
			}
			drop_number(l, p);
			p->req_no = 0;
			set_state(p, PART_WAIT, &l->w_wait);
		}
	}
	lane_bury_dead(l);
	CHECK(l->low == l->next_no);
	l->session = 0;
	l->open = false;
	client_kick(l->client);
}

/* Ops numbered before we were forgotten are answered still: not after as long as any answer may
 * take. */
static bool answers_may_come(const struct lane *l)
{
	uint64_t now = client_now(l->client);

	LIST_FOR_EACH(it, &l->w_sent)
	if (now - CONTAINER_OF(it, struct part, link)->sent_ns <= PATIENCE_NS)
		return true;
	return false;
}

/* ---- answers ---- */

/* Refusals that a later try may not meet: no room, not the head of that epoch, or a head whose map
 * is older than ours (a volume just made or grown; deletion is learned from cfgsvc). */
static bool may_pass(int status, const struct part *p)
{
	if (status == -ENOTCONN)
		return p->kind != REQ_CLOSE; /* forgotten already: an answer was lost */
	if (status == -EUSERS)
		return p->kind == REQ_SESSION;
	/* Whole blocks are only checked, so they were damaged on the way. A ragged end is merged,
	 * and what it is merged into may have no good copy. */
	if (status == -EBADMSG)
		return p->kind == REQ_WRITE_SAME ||
		       (p->kind == REQ_WRITE && split_is_whole(&p->range));
	return status == -EAGAIN || status == -ESTALE || status == -ENOENT || status == -ENXIO;
}

static int known_status(int status)
{
	switch (status) {
	case 0:
	case -EINVAL:
	case -ENOSPC:
	case -EBADMSG:
	case -EROFS:
	case -EILSEQ:
		return status;
	default:
		return -EIO;
	}
}

/* Halve at most once per flight; grow by one per flight (as TCP does). */
static void adjust_room(struct lane *l, const struct part *p, bool refused)
{
	if (refused) {
		if (p->req_no < l->room_cut_no)
			return;
		l->room_cut_no = l->next_no;
		l->room_ops = MAX(l->room_ops / 2, 1u);
		l->room_acks = 0;
	} else if (++l->room_acks >= l->room_ops) {
		l->room_acks = 0;
		l->room_ops = MIN(l->room_ops + 1, LANE_REQUESTS_MAX);
	}
}

static void refused(struct lane *l, struct part *p, int status)
{
	if (status != -EAGAIN)
		cfglink_refresh(l->client);
	if (p == &l->ctl) {
		if (status == -ENOTCONN && p->session > 1 && !answers_may_come(l))
			forgotten(l);
		else
			client_part_backoff(p);
		return;
	}
	/* The head does not know our session: it forgot us, or never heard of it. */
	if (status == -ENOTCONN && p->session == l->session)
		l->open = false;
	if (status == -EAGAIN)
		adjust_room(l, p, true);
	uncount_sent(l, p);
	p->doubt = p->carried;
	set_state(p, PART_BACKOFF, &l->w_backoff);
	client_part_backoff(p);
}

void lane_reply(struct lane *l, const struct wire_reply *rep)
{
	struct part *p = *slot_of(l, rep->req_no);

	if (!p || p->req_no != rep->req_no)
		return; /* answered before: the tail answers every DUP */
	if (may_pass(rep->status, p)) {
		/* A refusal speaks of one sending; an older one says nothing about the newer. */
		if (p->state == PART_SENT && rep->session == p->session)
			refused(l, p, rep->status);
		return;
	}
	lane_progress(l);
	if (p == &l->ctl) {
		if (rep->session != p->session)
			return;
		if (rep->status == 0)
			control_done(l);
		else
			control_refused(l, known_status(rep->status));
		return;
	}
	adjust_room(l, p, false);
	uncount_sent(l, p);
	drop_number(l, p);
	if (p->state == PART_DEAD)
		client_part_free(l->client, p);
	else
		client_part_done(p, known_status(rep->status), rep->offset_bytes);
}

/* ---- life of a part ---- */

void lane_push(struct lane *l, struct part *p)
{
	CHECK(p->lane == l);
	lane_wakes(l);
	p->state = PART_WAIT;
	list_add_tail(&l->w_wait, &p->link);
}

void lane_abandon(struct part *p)
{
	struct lane *l = p->lane;

	CHECK(p->state != PART_DEAD);
	if (!p->doubt) {
		drop_number(l, p);
		client_part_done(p, -ETIMEDOUT, 0);
		return;
	}
	/* X5: it may still happen. The number stays in use, the lane closes until a session that
	 * was sent after it has committed. One that is being asked for now was. */
	uncount_sent(l, p);
	l->fencing = true;
	l->open = false;
	set_state(p, PART_DEAD, &l->w_dead);
	client_part_detach(p, -ETIMEDOUT);
}

void lane_link_down(struct lane *l, const struct link *link)
{
	uint32_t tail = l->rec.in_n - 1;

	if (!l->rec.epoch)
		return;
	if (l->links[0] == link || l->links[tail] == link)
		disturbed(l);
	for (uint32_t i = 0; i <= tail; i++) {
		if (l->links[i] == link) {
			reader_restart(l);
			break;
		}
	}
}

void lane_adopt(struct lane *l, const struct map_chain *rec)
{
	bool newer = rec->epoch > l->rec.epoch;

	CHECK(rec->id == l->rec.id);
	if (rec->epoch < l->rec.epoch)
		return;
	l->rec = *rec;
	for (uint32_t i = 0; i < rec->in_n; i++)
		l->links[i] = servers_link(l->client, rec->in[i].server);
	if (!newer)
		return;
	for (uint32_t i = 0; i < CHAIN_MEMBERS_MAX; i++)
		l->confirmed[i] = 0;
	disturbed(l);
	reader_restart(l);
	client_kick(l->client);
}

static void on_timer(struct env_timer *t)
{
	client_kick(CONTAINER_OF(t, struct lane, timer)->client);
}

void lane_init(struct lane *l, struct client *c, uint32_t index)
{
	*l = (struct lane){.client = c, .index = index, .next_no = 1, .low = 1};
	l->patience_ns = PATIENCE_NS;
	l->timer.fn = on_timer;
	l->room_ops = LANE_REQUESTS_MAX;
	l->ctl.lane = l;
	list_init(&l->ctl.link);
	list_init(&l->ctl.of_req);
	list_init(&l->w_wait);
	list_init(&l->w_resend);
	list_init(&l->w_sent);
	list_init(&l->w_backoff);
	list_init(&l->w_dead);
	list_init(&l->r_wait);
	list_init(&l->r_sent);
	list_init(&l->r_backoff);
}

void lane_fini(struct lane *l)
{
	l->client->env->timer_cancel(l->client->env, &l->timer);
}

void lane_explain(const struct lane *l, char *out, size_t out_bytes)
{
	for (uint32_t i = 0; i < l->rec.in_n; i++) {
		if (!l->links[i])
			snprintf(out, out_bytes, "server %u is not in the map",
				 l->rec.in[i].server);
		else if (!l->links[i]->up)
			snprintf(out, out_bytes, "%s is not connected (%s)", l->links[i]->name,
				 l->links[i]->why);
		else if (!lane_member(l, i))
			snprintf(out, out_bytes, "%s was restarted and is not in the chain again",
				 l->links[i]->name);
		else
			continue;
		return;
	}
	snprintf(out, out_bytes, "%s",
		 l->rec.epoch ? "its servers are connected but do not answer"
			      : "its record is not known yet");
}

static void check_list(const struct list *head, enum part_state state)
{
	LIST_FOR_EACH(it, head)
	{
		const struct part *p = CONTAINER_OF(it, struct part, link);

		CHECK(p->state == state);
		CHECK((p->req == NULL) == (state == PART_DEAD));
		if (state == PART_SENT || state == PART_DEAD)
			CHECK(p->req_no);
	}
}

void lane_check(const struct lane *l)
{
	uint32_t sent_n = 0, sent_bytes = 0;

	CHECK(l->low <= l->next_no);
	CHECK(l->next_no - l->low <= LANE_NUMBERS_MAX);
	for (unsigned i = 0; i < LANE_NUMBERS_MAX; i++) {
		const struct part *p = l->by_no[i];

		if (!p)
			continue;
		CHECK(p->lane == l);
		CHECK(p->req_no % LANE_NUMBERS_MAX == i);
		CHECK(p->req_no >= l->low);
		CHECK(p->req_no < l->next_no);
		CHECK(p->session <= l->session + 1);
	}
	check_list(&l->w_wait, PART_WAIT);
	check_list(&l->w_resend, PART_RESEND);
	check_list(&l->w_sent, PART_SENT);
	check_list(&l->w_backoff, PART_BACKOFF);
	check_list(&l->w_dead, PART_DEAD);
	LIST_FOR_EACH(it, &l->w_sent)
	{
		sent_n++;
		sent_bytes += CONTAINER_OF(it, struct part, link)->sent_bytes;
	}
	CHECK(sent_n == l->sent_n);
	CHECK(sent_bytes == l->sent_bytes);
	if (!list_empty(&l->w_dead))
		CHECK(l->fencing);
	if (l->fencing)
		CHECK(!l->open);
	if (l->open)
		CHECK(l->session > 0);
	reader_check(l);
}
