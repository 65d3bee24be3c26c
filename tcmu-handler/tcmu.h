/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* tcmu - what the plugin uses of the stock tcmu-runner 1.5.4: its own headers and two prototypes.
 *
 * tcmu-runner has no version check. The coupling is the layout of struct tcmur_handler: asserted
 * here, because a daemon that reads a pointer from the wrong offset takes every LUN with it.
 */

#ifndef TCMU_HANDLER_TCMU_H
#define TCMU_HANDLER_TCMU_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#include <libtcmu.h>
#include <tcmu-runner.h>

static_assert(sizeof(struct tcmur_handler) == 200, "tcmu-runner 1.5.4 to 1.6.2");
static_assert(offsetof(struct tcmur_handler, nr_threads) == 64, "tcmu-runner 1.5.4 to 1.6.2");

/* Exported by the tcmu-runner binary, declared only in its private tcmur_device.h. */
void tcmur_dev_set_private(struct tcmu_device *dev, void *priv);
void *tcmur_dev_get_private(struct tcmu_device *dev);
int tcmur_dev_update_size(struct tcmu_device *dev, uint64_t new_size);

/* The one symbol tcmu-runner looks for. */
int handler_init(void);

#endif
