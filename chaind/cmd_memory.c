/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/cmd_memory.h"

#include <errno.h>
#include <stdio.h>

#include "io/disk.h"
#include "io/reactor.h"
#include "io/tcp.h"

#define BUFFERS_BYTES_MIN (8ull << 20) /* a few ops of the largest size, and many small ones */

/* Whole mebibytes, rounded up: what is asked for must be enough when it is given. */
static unsigned long long mib(uint64_t bytes)
{
	return (bytes + (1u << 20) - 1) >> 20;
}

/* A pool of buffers takes a little more than the payload it holds: never more than this. */
static uint64_t pool_bytes(uint64_t payload_bytes)
{
	return payload_bytes + payload_bytes / 32;
}

static uint64_t payload_bytes(uint64_t pool)
{
	return pool / 33 * 32;
}

/* All that is not payload buffers, of one reactor. */
static uint64_t fixed_bytes(const struct memory_plan *p)
{
	return p->node.store_bytes + p->node.tables_bytes + p->io_bytes;
}

static uint64_t least_bytes(const struct memory_plan *p, uint32_t reactors)
{
	return reactors * (fixed_bytes(p) + pool_bytes(BUFFERS_BYTES_MIN));
}

int memory_plan(struct node_config *cfg, uint32_t reactors, uint64_t budget_bytes,
		struct memory_plan *ret, char err[MEMORY_TEXT_BYTES])
{
	struct memory_plan p = {.io_bytes = reactor_bytes() + tcp_bytes(0) + disk_bytes()};
	uint64_t needed;

	CHECK(reactors > 0);
	cfg->memory_bytes = 0;
	node_memory_of(cfg, &p.node);
	needed = least_bytes(&p, reactors);
	if (budget_bytes != 0 && needed > budget_bytes) {
		snprintf(err, MEMORY_TEXT_BYTES,
			 "%lluM need %lluM of memory (%lluM of it for the store itself), "
			 "--memory allows %lluM: give --memory %lluM or more",
			 mib(reactors * cfg->disk_bytes), mib(needed),
			 mib(reactors * (uint64_t)p.node.store_bytes), mib(budget_bytes),
			 mib(needed));
		return -ENOMEM;
	}
	if (budget_bytes != 0) {
		cfg->memory_bytes = payload_bytes(budget_bytes / reactors - fixed_bytes(&p));
		node_memory_of(cfg, &p.node);
	}
	store_memory_parts(cfg->disk_bytes, cfg->chains_max, &p.store);
	p.total_bytes = reactors * (fixed_bytes(&p) + p.node.buffers_bytes);
	CHECK(budget_bytes == 0 || p.total_bytes <= budget_bytes);
	*ret = p;
	return 0;
}

int memory_fits(const struct memory_plan *p, uint32_t reactors, uint64_t budget_bytes,
		uint64_t ram_bytes, char err[MEMORY_TEXT_BYTES])
{
	const uint64_t least = least_bytes(p, reactors);
	/* Rounded down: what is proposed must not be refused when it is given. */
	const unsigned long long ram_mib = ram_bytes >> 20;

	if (budget_bytes <= ram_bytes && p->total_bytes <= ram_bytes)
		return 0;
	if (mib(least) > ram_mib)
		snprintf(err, MEMORY_TEXT_BYTES,
			 "needs at least %lluM of memory, this machine has %lluM: give it more, or "
			 "format a smaller store",
			 mib(least), ram_mib);
	else
		snprintf(err, MEMORY_TEXT_BYTES,
			 "%s %lluM are more than the %lluM of memory of this machine, and all is "
			 "taken at start: give --memory %lluM to %lluM",
			 budget_bytes ? "--memory" : "the default of",
			 mib(budget_bytes ? budget_bytes : p->total_bytes), ram_mib, mib(least),
			 ram_mib);
	return -ENOMEM;
}

void memory_text(const struct memory_plan *p, uint32_t reactors, char out[MEMORY_TEXT_BYTES])
{
	const uint64_t n = reactors;
	int len = snprintf(
		out, MEMORY_TEXT_BYTES,
		"memory %lluM, taken at start: store %lluM (page table %lluM, log index %lluM, "
		"checksum "
		"cache %lluM, chains %lluM), tables %lluM, network %lluM, payload buffers %lluM",
		mib(p->total_bytes), mib(n * p->node.store_bytes), mib(n * p->store.pages),
		mib(n * p->store.index), mib(n * p->store.cache), mib(n * p->store.chains),
		mib(n * p->node.tables_bytes), mib(n * p->io_bytes),
		mib(n * p->node.buffers_bytes));

	if (reactors > 1)
		snprintf(out + len, MEMORY_TEXT_BYTES - (size_t)len,
			 "; of each of %u reactors %lluM", reactors,
			 mib(p->total_bytes / reactors));
}
