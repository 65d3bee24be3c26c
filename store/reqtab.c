/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/reqtab.h"

#include <errno.h>
#include <string.h>

#define SLOT(req_no) ((uint32_t)((req_no) % REQ_OUTSTANDING_MAX))

static bool have(const struct req_client *c, uint64_t req_no)
{
	return c->have[SLOT(req_no) / 64] >> (SLOT(req_no) % 64) & 1;
}

static bool in_window(const struct req_client *c, uint64_t req_no)
{
	return req_no >= c->low && req_no - c->low < REQ_OUTSTANDING_MAX;
}

const struct req_client *reqtab_find(const struct reqtab *t, const struct id128 *client)
{
	if (id128_is_none(client))
		return NULL;
	for (uint32_t i = 0; i < t->clients_max; i++)
		if (id128_eq(&t->clients[i].client, client))
			return &t->clients[i];
	return NULL;
}

static struct req_client *find(struct reqtab *t, const struct id128 *client)
{
	const struct req_client *c = reqtab_find(t, client);

	return c ? &t->clients[c - t->clients] : NULL;
}

static struct req_client *free_entry(struct reqtab *t)
{
	for (uint32_t i = 0; i < t->clients_max; i++)
		if (id128_is_none(&t->clients[i].client))
			return &t->clients[i];
	return NULL;
}

/* Q4: may a client without an entry have one by this session? */
static bool may_begin(uint32_t session)
{
#ifdef PLANT_FORGOTTEN_RETURNS
	return session != 0;
#endif
	return session == 1;
}

/* Of the client's newest op. Slots keep their seq when they fall out of the window, so this is what
 * the applied ops say and nothing else. */
static uint64_t last_seq(const struct req_client *c)
{
	uint64_t last = c->session_seq;

	for (uint32_t i = 0; i < REQ_OUTSTANDING_MAX; i++)
		last = MAX(last, c->seq[i]);
	return last;
}

/* Q3. No two clients share a seq: the same victim on every replica. */
static struct req_client *forget_one(struct reqtab *t)
{
	struct req_client *victim = NULL;
	uint64_t oldest = UINT64_MAX;

	for (uint32_t i = 0; i < t->clients_max; i++) {
		uint64_t last = last_seq(&t->clients[i]);

		if (last < oldest) {
			oldest = last;
			victim = &t->clients[i];
		}
	}
	CHECK(victim != NULL);
	t->clients_n--;
	return victim;
}

/* Forget what fell out of the window. */
static void raise_low(struct req_client *c, uint64_t low)
{
	if (low <= c->low)
		return;
	if (low - c->low >= REQ_OUTSTANDING_MAX) {
		memset(c->have, 0, sizeof(c->have));
		c->low = low;
		return;
	}
	for (; c->low < low; c->low++)
		c->have[SLOT(c->low) / 64] &= ~(1ull << (SLOT(c->low) % 64));
}

static void apply_session(struct reqtab *t, const struct op_rec *op)
{
	struct req_client *c = find(t, &op->client);

	if (!c) {
		if (!may_begin(op->session))
			return; /* Q4: forgotten after this was numbered */
		c = free_entry(t);
		if (!c)
			c = forget_one(t);
		*c = (struct req_client){.client = op->client, .low = 1};
		t->clients_n++;
	}
	if (op->session > c->session) {
		c->session = op->session;
		c->session_seq = op->seq;
	}
	c->chain = op->chain;
	c->generation = MAX(c->generation, op->generation);
	raise_low(c, op->low);
}

void reqtab_apply(struct reqtab *t, const struct op_rec *op)
{
	struct req_client *c;

	if (id128_is_none(&op->client))
		return;
	if (op->kind == OP_SESSION) {
		apply_session(t, op);
		return;
	}
	c = find(t, &op->client);
	if (!c)
		return;
	if (op->kind == OP_CLOSE) {
		*c = (struct req_client){0};
		t->clients_n--;
		return;
	}
	raise_low(c, op->low);
	if (op->req_no == 0 || !in_window(c, op->req_no))
		return;
	c->have[SLOT(op->req_no) / 64] |= 1ull << (SLOT(op->req_no) % 64);
	c->seq[SLOT(op->req_no)] = op->seq;
	c->result[SLOT(op->req_no)] = (int16_t)op->result;
	c->offset_bytes[SLOT(op->req_no)] = (uint16_t)op->offset_bytes;
}

int reqtab_restore(struct reqtab *t, const struct req_client *from)
{
	struct req_client *c = free_entry(t);

	if (!c || reqtab_find(t, &from->client))
		return -EBADMSG;
	*c = *from;
	t->clients_n++;
	return 0;
}

void req_view_init(struct req_view *v, const struct reqtab *t, const struct id128 *client,
		   uint64_t req_no)
{
	const struct req_client *c = reqtab_find(t, client);

	*v = (struct req_view){.client = client,
			       .req_no = req_no,
			       .clients_n = t->clients_n,
			       .clients_max = t->clients_max};
	if (!c)
		return;
	v->exists = true;
	v->session = c->session;
	v->session_seq = c->session_seq;
	v->low = c->low;
	if (in_window(c, req_no) && have(c, req_no)) {
		v->found = true;
		v->seq = c->seq[SLOT(req_no)];
		v->result = c->result[SLOT(req_no)];
		v->offset_bytes = c->offset_bytes[SLOT(req_no)];
	}
}

static void overlay_own(struct req_view *v, const struct op_rec *op)
{
	if (op->kind == OP_CLOSE) {
		v->clients_n -= v->exists;
		v->exists = v->found = false;
		v->session = 0;
		return;
	}
	if (op->kind == OP_SESSION) {
		if (!v->exists && !may_begin(op->session))
			return; /* Q4 */
		if (!v->exists)
			v->low = 1;
		v->exists = true;
		if (op->session > v->session) {
			v->session = op->session;
			v->session_seq = op->seq;
		}
		v->low = MAX(v->low, op->low);
		return;
	}
	if (!v->exists)
		return;
	v->low = MAX(v->low, op->low);
	if (op->req_no != v->req_no || op->req_no == 0)
		return;
	v->found = true;
	v->seq = op->seq;
	v->result = op->result;
	v->offset_bytes = op->offset_bytes;
}

void req_view_overlay(struct req_view *v, const struct op_rec *op)
{
	if (id128_eq(&op->client, v->client)) {
		overlay_own(v, op);
		return;
	}
	/* Another client's entry counts against the room of the table. Whether it will be ours that
	 * is taken for it is not asked: what we number until then leaves no trace (Q4). */
	if (op->kind == OP_SESSION && op->session == 1) {
		v->clients_n++;
		v->newcomer = true;
	}
}

static enum store_req_state session_state(const struct req_view *v, uint32_t session)
{
	if (!v->exists) {
		if (!may_begin(session))
			return STORE_REQ_NO_CLIENT;
		/* One newcomer at a time takes somebody's place. */
		return v->clients_n >= v->clients_max && v->newcomer ? STORE_REQ_FULL
								     : STORE_REQ_NEW;
	}
	if (session < v->session)
		return STORE_REQ_OLD_SESSION;
	return session == v->session ? STORE_REQ_KNOWN : STORE_REQ_NEW;
}

static enum store_req_state request_state(const struct req_view *v, uint64_t low, uint32_t session)
{
	uint64_t low_now = MAX(v->low, low);

	if (!v->exists || session > v->session)
		return STORE_REQ_NO_CLIENT;
	if (session < v->session)
		return STORE_REQ_OLD_SESSION;
	if (v->req_no < low_now)
		return STORE_REQ_BELOW_LOW;
	if (v->found)
		return STORE_REQ_KNOWN;
	return v->req_no - low_now >= REQ_OUTSTANDING_MAX ? STORE_REQ_AHEAD : STORE_REQ_NEW;
}

void req_view_answer(const struct req_view *v, uint64_t low, uint32_t session, unsigned kind,
		     struct store_req_answer *ret)
{
	*ret = (struct store_req_answer){.session = v->exists ? v->session : 0};
	if (kind == OP_SESSION) {
		ret->state = session_state(v, session);
		if (ret->state == STORE_REQ_KNOWN)
			ret->seq = v->session_seq;
		return;
	}
	ret->state = request_state(v, low, session);
	if (ret->state == STORE_REQ_KNOWN) {
		ret->seq = v->seq;
		ret->result = v->result;
		ret->offset_bytes = v->offset_bytes;
	}
}
