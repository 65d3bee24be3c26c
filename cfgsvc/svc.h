/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* svc - the configuration service: connections in front, ctrl.c (pure decisions) behind.
 *
 *	chaind, libchainblk, chainctl --frames--> svc.c -> ctrl.c --txn--> cfgstore (file | sim)
 *
 * Holds the only truth about servers, chains, volumes; persists it before anybody is told (V1). Not
 * on any I/O path: its absence stops no I/O.
 *
 *   V1  a map version is sent only after the transaction that made it is durable
 *   V2  epochs only grow; one configuration per (chain, epoch) for ever (I5)
 *   V3  in this version a chain is re-formed, with the same members in the same order, only when
 *       all of them are there and one at least is new; otherwise status names the reason
 *
 * Thread: the reactor's. */

#ifndef CFGSVC_SVC_H
#define CFGSVC_SVC_H

#include "lib/chain_map.h"
#include "lib/env.h"
#include "lib/frame.h"

struct arena;
struct svc; /* opaque */

/* Where the configuration is kept: the whole state as one value under a revision, plus its history.
 * Implemented by cfgstore_file.c over env files, and by sim/. */
struct cfgstore {
	/* Load the latest state: done(arg, res, bytes, len, revision); len 0 when new. */
	void (*load)(struct cfgstore *c,
		     void (*done)(void *arg, int res, const void *bytes, size_t len, uint64_t rev),
		     void *arg);
	/* Durably replace state if its revision is still @rev: done(arg, 0 or -ESTALE or -EIO). The
	 * bytes are the caller's until done. */
	void (*put)(struct cfgstore *c, uint64_t rev, const void *bytes, size_t len,
		    void (*done)(void *arg, int res), void *arg);
};

struct svc_config {
	struct env *env;
	struct cfgstore *store;
	struct frame_source *src;
	char name[SERVER_NAME_BYTES];
};

size_t svc_memory(void);
struct svc *svc_init(const struct svc_config *cfg, struct arena *a);
/* Load, create the cluster id if new; ready(arg, 0 or -errno, why). */
void svc_start(struct svc *s, void (*ready)(void *arg, int res, const char *why), void *arg);
void svc_accept(struct svc *s, struct env_conn *c);
void svc_stop(struct svc *s);
const struct chain_map *svc_map(const struct svc *s);
void svc_check(const struct svc *s);

#endif
