/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/audit.h"

#include <errno.h>
#include <string.h>

static const struct map_chain *chain_of(const struct audit *a)
{
	const struct map_volume *v = chain_map_volume_named(&a->inv->map, "vol");

	return chain_map_chain(&a->inv->map, map_volume_lane(v, a->block / EXTENT_BLOCKS));
}

/* The next blocks somebody wrote, on a chain that is at rest; false at the end. */
static bool find_blocks(struct audit *a)
{
	const struct workload *l = &a->inv->cl->work;
	uint32_t n = 0;

	for (a->block += a->blocks; a->block < l->blocks; a->block++)
		if (l->touched[a->block] && invariants_chain_rests(a->inv, chain_of(a)->id))
			break;
	if (a->block >= l->blocks)
		return false;
	while (n < RUN_BLOCKS && a->block + n < l->blocks && l->touched[a->block + n] &&
	       (a->block + n) / EXTENT_BLOCKS == a->block / EXTENT_BLOCKS)
		n++;
	a->blocks = n;
	a->member = 0;
	return true;
}

static void compare(struct audit *a)
{
	for (uint32_t i = 0; i < a->blocks; i++) {
		if (a->member == 0)
			a->crcs[i] = a->read.crcs[i];
		else if (a->read.crcs[i] != a->crcs[i])
			world_violation(
				a->inv->w,
				"I11: chain %u: member %u holds other content than the head in "
				"block %u",
				chain_of(a)->id, a->member, a->block + i);
	}
	a->compared += a->blocks;
}

static void on_read(struct store_read *r, int res)
{
	struct audit *a = CONTAINER_OF(r, struct audit, read);

	a->reading = false;
	if (res == 0)
		compare(a);
	else if (!a->inv->media_lie && res != -ENOBUFS)
		world_violation(a->inv->w, "I14: member %u can not read block %u: %d", a->member,
				a->block, res);
	if (res == 0)
		buf_put(r->data);
	a->member++;
	world_at(a->inv->w, &a->next_ev, a->inv->w->now_ns);
}

static void next_fire(struct sim_event *ev)
{
	struct audit *a = CONTAINER_OF(ev, struct audit, next_ev);
	struct actor_node *n;

	if (a->reading || a->done)
		return;
	if (a->blocks == 0 || a->member == chain_of(a)->in_n) {
		if (!find_blocks(a)) {
			a->done = true;
			return;
		}
	}
	n = invariants_member(a->inv, chain_of(a), a->member);
	CHECK(n && n->ready);
	a->read = (struct store_read){
		.chain = chain_of(a)->id,
		.volume = chain_map_volume_named(&a->inv->map, "vol")->id,
		.extent = a->block / EXTENT_BLOCKS,
		.block = a->block % EXTENT_BLOCKS,
		.blocks = a->blocks,
		.done = on_read,
	};
	list_init(&a->read.link);
	a->reading = true;
	store_read(node_store(n->node), &a->read);
}

void audit_start(struct audit *a, struct invariants *inv)
{
	memset(a, 0, sizeof(*a));
	a->inv = inv;
	a->next_ev.fire = next_fire;
	if (!chain_map_volume_named(&inv->map, "vol"))
		a->done = true;
	else
		world_at(inv->w, &a->next_ev, inv->w->now_ns);
}
