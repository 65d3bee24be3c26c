/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk - a virtual disk with a volatile cache, sector by sector.
 *
 * Two images: what a read sees now, and what survives a power loss. A plain write reaches the first
 * when it completes and the second when a flush submitted after that completes; a dsync write
 * reaches both. At a power loss every 512-byte sector of every unflushed or unfinished write
 * survives or not, each by its own throw: torn inside 4 KiB, any subset, older versions included.
 *
 *   K1  after disk_power_lost() both images are equal
 *   K2  what a dsync write or a flush completed is in the stable image
 *   K3  a process killed without power loss loses no completed write; an unfinished one has
 * happened whole, in part or not at all
 *
 * The images are sparse: untouched parts cost nothing. One thread. */

#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim/world.h"

struct sim_disk {
	struct env_disk env; /* first */
	struct world *w;
	struct proc *owner; /* whose completions these are */
	uint8_t *seen, *stable;
	struct list inflight; /* disk_req, in submission order */
	struct list cache;    /* disk_cached, oldest first */
	uint64_t write_lo_ns, write_hi_ns, read_lo_ns, read_hi_ns;
	uint64_t slow_until_ns;         /* until then 100 times slower */
	uint32_t eio_writes, eio_reads; /* fail so many of the next */
	uint64_t completed;             /* plain writes so far: which of them a flush covers */
	uint64_t writes, reads, flushes, lost_sectors;
};

void disk_init(struct sim_disk *d, struct world *w, uint64_t size_bytes, bool volatile_cache);
void disk_fini(struct sim_disk *d);
void disk_own(struct sim_disk *d, struct proc *owner);
/* The owner was killed; call before proc_stop(). */
void disk_proc_died(struct sim_disk *d);
/* The machine lost power; call before proc_stop(). */
void disk_power_lost(struct sim_disk *d);

#endif
